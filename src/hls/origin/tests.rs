//! The routes, asked as viewers and caches ask them.

use std::io::Read;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::super::window::tests::{live, push};
use super::*;

const ID: &str = "00000000-0000-0000-0000-000000000000";

struct One(Arc<Live>);

impl Directory for One {
    fn live(&self, room: &RoomId) -> Option<Arc<Live>> {
        (room.as_str() == "demo").then(|| self.0.clone())
    }
}

/// A room with one segment and three parts.
fn app() -> Router {
    let live = live(10);
    (0..13).for_each(|number| drop(push(&live, number)));
    routes(Arc::new(One(live)))
}

async fn send(method: &str, path: &str, headers: &[(&str, &str)]) -> (Response<()>, Bytes) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let (parts, body) = app().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), body)
}

use http::Response;

async fn get(path: &str) -> (Response<()>, Bytes) {
    send("GET", path, &[]).await
}

fn header_of(response: &Response<()>, name: header::HeaderName) -> &str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_uri_of_every_playlist_is_there() {
    let (response, text) = get("/live/demo/index.m3u8").await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        header_of(&response, header::CACHE_CONTROL),
        "public, max-age=1"
    );
    let master = m3u8_rs::parse_master_playlist_res(&text).unwrap();
    for variant in &master.variants {
        let base = format!("/live/demo/{}", variant.uri.trim_end_matches("index.m3u8"));
        let (response, text) = get(&format!("{base}index.m3u8")).await;
        assert_eq!(
            header_of(&response, header::CONTENT_TYPE),
            reply::PLAYLIST_TYPE
        );
        let text = std::str::from_utf8(&text).unwrap();
        let quoted = text
            .lines()
            .filter(|l| !l.contains("HINT") && !l.contains("REPORT"));
        let quoted = quoted.filter_map(|l| Some(l.split_once("URI=\"")?.1.split_once('"')?.0));
        let plain = text.lines().filter(|l| !l.starts_with('#'));
        let uris: Vec<&str> = quoted.chain(plain).collect();
        assert!(uris.len() > 14, "{text}");
        for uri in uris {
            let (response, body) = get(&format!("{base}{uri}")).await;
            assert_eq!(response.status(), 200, "{uri}");
            assert!(!body.is_empty());
            assert_eq!(
                header_of(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN),
                "*"
            );
        }
    }
}

#[tokio::test]
async fn a_segment_is_served_in_one_and_in_ranges() {
    let path = format!("/live/demo/{ID}/720p/0.m4s");
    let (response, whole) = get(&path).await;
    assert!(whole.starts_with(b"[720p 0][720p 1]"));
    assert_eq!(
        header_of(&response, header::CONTENT_LENGTH),
        whole.len().to_string()
    );
    assert_eq!(header_of(&response, header::CONTENT_TYPE), "video/mp4");
    assert!(header_of(&response, header::CACHE_CONTROL).ends_with("immutable"));

    let (response, part) = send("GET", &path, &[("range", "bytes=6-10")]).await;
    assert_eq!(
        (response.status().as_u16(), &part[..]),
        (206, &whole[6..11])
    );
    let range = format!("bytes 6-10/{}", whole.len());
    assert_eq!(header_of(&response, header::CONTENT_RANGE), range);
    let (response, _) = send("GET", &path, &[("range", "bytes=900-")]).await;
    assert_eq!(response.status(), 416);

    let (response, body) = send("HEAD", &path, &[]).await;
    assert_eq!(
        header_of(&response, header::CONTENT_LENGTH),
        whole.len().to_string()
    );
    assert!(body.is_empty());
    let (response, _) = send("GET", &path, &[("if-none-match", "\"1\"")]).await;
    assert_eq!(response.status(), 304);
}

#[tokio::test]
async fn a_playlist_is_compressed_for_who_wants_it() {
    let path = format!("/live/demo/{ID}/720p/index.m3u8");
    let (plain, text) = get(&path).await;
    let (response, gzip) = send("GET", &path, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(header_of(&response, header::CONTENT_ENCODING), "gzip");
    assert_eq!(header_of(&response, header::VARY), "accept-encoding");
    assert_ne!(
        header_of(&response, header::ETAG),
        header_of(&plain, header::ETAG)
    );
    let mut read = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&gzip[..]);
    decoder.read_to_string(&mut read).unwrap();
    assert_eq!(read, text);
}

#[tokio::test]
async fn a_blocking_answer_may_be_kept_a_little_longer() {
    let path = format!("/live/demo/{ID}/audio/index.m3u8?_HLS_msn=1&_HLS_part=2&_HLS_skip=YES");
    let (response, text) = get(&path).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        header_of(&response, header::CACHE_CONTROL),
        "public, max-age=6"
    );
    assert!(
        std::str::from_utf8(&text)
            .unwrap()
            .contains("URI=\"1.2.m4s\"")
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_kindly() {
    let check = async |path: &str, status: u16| {
        let (response, body) = get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            header_of(&response, header::CONTENT_TYPE),
            "application/problem+json"
        );
        assert!(body.starts_with(b"{"), "{path}");
    };
    check("/live/other/index.m3u8", 404).await;
    check("/live/demo/index.html", 404).await;
    check("/live/demo", 404).await;
    check("/live/a%2Fb/index.m3u8", 404).await;
    check(
        "/live/demo/018f0000-0000-7000-8000-000000000000/720p/0.m4s",
        404,
    )
    .await;
    for file in [
        "9.m4s",
        "00.m4s",
        "-1.m4s",
        "+1.m4s",
        "0.99.m4s",
        "init-7.mp4",
        "../x",
        "1.m4s",
    ] {
        check(&format!("/live/demo/{ID}/720p/{file}"), 404).await;
    }
    check(&format!("/live/demo/{ID}/4k/index.m3u8"), 404).await;
    for query in [
        "_HLS_msn=x",
        "_HLS_msn=-1",
        "_HLS_part=1",
        "_HLS_msn=99",
        "_HLS_skip=NO",
    ] {
        check(&format!("/live/demo/{ID}/720p/index.m3u8?{query}"), 400).await;
    }
    let (response, _) = send("POST", "/live/demo/index.m3u8", &[]).await;
    assert_eq!(response.status(), 405);
    let (response, _) = send("OPTIONS", "/live/demo/index.m3u8", &[]).await;
    assert_eq!(response.status(), 204);
}
