//! The origin over real connections: a crowd that waits, viewers who leave, and bad questions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi::hls::core::reload::{Edge, decide, parse_query};
use amphi::hls::{Directory, Front, Init, Live, Origin, Part, Rendition, Settings};
use amphi::room::{BroadcastId, RoomId};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;

const VIEWERS: usize = 300;
const BASE: &str = "/live/demo/00000000-0000-0000-0000-000000000000/720p";

struct One(Arc<Live>);

impl Directory for One {
    fn live(&self, _: &RoomId) -> Option<Arc<Live>> {
        Some(self.0.clone())
    }
}

/// A broadcast with one part, and where it is served.
async fn serve() -> (Arc<Live>, String) {
    let id: BroadcastId = "00000000-0000-0000-0000-000000000000".parse().unwrap();
    let rendition = Rendition::video("720p", 1280, 720, 30.0, 2_500_000);
    let live = Live::new(Settings::default(), id, chrono::Utc::now(), vec![rendition]);
    let init = Init {
        rendition: "720p".into(),
        bytes: Bytes::from_static(b"init"),
    };
    live.push_init(init).unwrap();
    let live = Arc::new(live);
    push(&live, 0);
    let origin = Origin::new(Arc::new(One(live.clone())), VIEWERS);
    let front = Front::new(origin, axum::Router::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}{BASE}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(front.clone());
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (live, base)
}

fn push(live: &Live, number: u64) {
    let part = Part {
        rendition: "720p".into(),
        decode_time: Duration::from_millis(200 * number),
        duration: Duration::from_millis(200),
        independent: number.is_multiple_of(10),
        segment: number / 10,
        ends_segment: number % 10 == 9,
        discontinuity: false,
        bytes: Bytes::from(vec![number as u8; 62_500]),
    };
    live.push_part(part).unwrap();
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_part_wakes_everyone() {
    let (live, base) = serve().await;
    let client = reqwest::Client::new();
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|viewer| {
            // Half wait for the playlist, half for the part that it hints at.
            let url = match viewer % 2 {
                0 => format!("{base}/index.m3u8?_HLS_msn=0&_HLS_part=1"),
                _ => format!("{base}/0.1.m4s"),
            };
            let request = client.get(url);
            tokio::spawn(async move {
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                (
                    status,
                    response.bytes().await.unwrap().len(),
                    Instant::now(),
                )
            })
        })
        .collect();
    until("all wait", || live.waiting() == VIEWERS).await;
    let refused = client.get(format!("{base}/0.1.m4s")).send().await.unwrap();
    assert_eq!(refused.status(), 503, "one too many");
    assert_eq!(refused.headers()["retry-after"], "1");

    let pushed = Instant::now();
    push(&live, 1);
    let mut delays = Vec::new();
    for viewer in viewers {
        let (status, length, at) = viewer.await.unwrap();
        assert_eq!(status, 200);
        assert!(length > 300);
        delays.push(at - pushed);
    }
    delays.sort();
    let (half, last) = (delays[VIEWERS / 2], delays[VIEWERS - 1]);
    println!("{VIEWERS} viewers served after {half:?} (p50), {last:?} (last)");
    assert!(last < Duration::from_secs(2), "{last:?}");
    until("nobody waits", || live.waiting() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_waits_no_longer() {
    let (live, base) = serve().await;
    let url = format!("{base}/index.m3u8?_HLS_msn=1");
    let impatient = tokio::spawn(async move { reqwest::get(url).await.map(|r| r.status()) });
    until("one waits", || live.waiting() == 1).await;
    impatient.abort();
    until("the place is free again", || live.waiting() == 0).await;
}

#[test]
fn what_strangers_asked_before_is_answered_or_refused() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/hls_query");
    let mut seen = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let query = std::fs::read_to_string(file.unwrap().path()).unwrap();
        if let Ok(directives) = parse_query(&query) {
            let _ = decide(directives.wanted, Edge::default(), false, 15);
        }
        seen += 1;
    }
    assert!(seen >= 11);
}
