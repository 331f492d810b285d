//! The same load through Janus (Debian's package), by its videoroom plugin: one who publishes, and
//! many who subscribe. CPU is that of its whole process.

use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi::client::load::peer::{Candidate, Picture};
use amphi::room::Codec;
use amphi::rtc::core::dtls::Identity;
use amphi::rtc::core::sdp::client::Wish;
use amphi::rtc::core::sdp::{self, AnswerSettings, Offer};
use amphi::rtc::{Rtc, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Counter, cpu_of_process};

const ROOM: u64 = 1234;
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A Janus of our own, until dropped.
struct Janus {
    process: Child,
    base: String,
    client: reqwest::Client,
    session: u64,
    _config: TempDir,
}

impl Drop for Janus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Janus {
    async fn start() -> Option<Self> {
        let port = UdpSocket::bind("127.0.0.1:0")
            .ok()?
            .local_addr()
            .ok()?
            .port();
        let config = tempfile::tempdir().ok()?;
        let write = |name: &str, text: String| {
            let mut file = std::fs::File::create(config.path().join(name)).expect("a file");
            file.write_all(text.as_bytes()).expect("written");
        };
        write(
            "janus.jcfg",
            // One loop for all handles, as its authors advise for many: fewer threads, less CPU.
            "general: { debug_level = 2 event_loops = 1 }\nnat: { ice_lite = false }\nmedia: { }\n\
             plugins: { disable = \"\" }\ntransports: { disable = \"libjanus_websockets.so,libjanus_pfunix.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_rabbitmq.so\" }\n"
                .to_owned(),
        );
        write(
            "janus.transport.http.jcfg",
            format!(
                "general: {{ json = \"compact\" http = true port = {port} ip = \"127.0.0.1\" }}\nadmin: {{ admin_http = false }}\n"
            ),
        );
        write("janus.plugin.videoroom.jcfg", "general: { }\n".to_owned());
        let process = Command::new("janus")
            .arg("--configs-folder")
            .arg(config.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut janus = Self {
            process,
            base: format!("http://127.0.0.1:{port}/janus"),
            client: reqwest::Client::new(),
            session: 0,
            _config: config,
        };
        let since = Instant::now();
        while since.elapsed() < READY_WITHIN {
            if let Some(created) = janus.post("", json!({"janus": "create"})).await {
                janus.session = created["data"]["id"].as_u64()?;
                return Some(janus);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    async fn post(&self, path: &str, mut message: Value) -> Option<Value> {
        message["transaction"] = json!(format!("{:x}", rand::random::<u64>()));
        let response = self
            .client
            .post(format!("{}{path}", self.base))
            .json(&message);
        response.send().await.ok()?.json().await.ok()
    }

    async fn attach(&self) -> u64 {
        let message = json!({"janus": "attach", "plugin": "janus.plugin.videoroom"});
        let attached = self.post(&format!("/{}", self.session), message).await;
        attached.expect("attached")["data"]["id"]
            .as_u64()
            .expect("a handle")
    }

    async fn ask(&self, handle: u64, body: Value, jsep: Option<Value>) -> Value {
        let mut message = json!({"janus": "message", "body": body});
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let path = format!("/{}/{handle}", self.session);
        self.post(&path, message).await.expect("answered")
    }

    /// The next event of a handle that has a description or plugin data.
    async fn event(&self, handle: u64) -> Value {
        loop {
            let url = format!("{}/{}?maxev=1", self.base, self.session);
            let event: Value = self
                .client
                .get(url)
                .send()
                .await
                .expect("polled")
                .json()
                .await
                .expect("JSON");
            let is_event = event["janus"] == "event" && event["sender"] == handle;
            if is_event {
                return event;
            }
        }
    }
}

pub struct Measured {
    pub us_a_packet: f64,
    /// The share of what was due that arrived.
    pub arrived: f64,
}

/// `None` where there is no Janus.
pub async fn forward(
    players: usize,
    picture: Picture,
    settle: Duration,
    measured: Duration,
) -> Option<Measured> {
    let janus = Janus::start().await?;
    let identity = Arc::new(Identity::generate().expect("a certificate"));
    let host = janus.attach().await;
    let room = json!({"request": "create", "room": ROOM, "publishers": 2, "videocodec": "vp8", "audiocodec": "opus", "bitrate": 0, "transport_wide_cc_ext": true});
    janus.ask(host, room, None).await;

    let candidate = Candidate::new(Wish::Publish, identity.clone());
    let join = json!({"request": "joinandconfigure", "room": ROOM, "ptype": "publisher"});
    let offer = json!({"type": "offer", "sdp": candidate.offer()});
    janus.ask(host, join, Some(offer)).await;
    let event = janus.event(host).await;
    let feed = event["plugindata"]["data"]["id"].as_u64().expect("an id");
    let answer = event["jsep"]["sdp"].as_str().expect("an answer");
    let publisher = candidate.answered(answer).expect("a usable answer");
    let until = Instant::now() + Duration::from_secs(60) + settle + measured;
    let publishing = tokio::spawn(publisher.run(Some(picture), until));
    tokio::time::sleep(Duration::from_secs(2)).await;

    // To those who subscribe Janus offers, as publishers do to us: our own server takes it.
    let address: SocketAddr = publisher_side_address();
    let rtc = Rtc::start(Settings {
        bind: address,
        max_connections: players,
        ..Settings::default()
    });
    let rtc = rtc.expect("the players' side");
    let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
    for _ in 0..players {
        let handle = janus.attach().await;
        let join = json!({"request": "join", "room": ROOM, "ptype": "subscriber", "streams": [{"feed": feed}]});
        janus.ask(handle, join, None).await;
        let event = janus.event(handle).await;
        let offer = event["jsep"]["sdp"]
            .as_str()
            .unwrap_or_else(|| panic!("an offer: {event}"));
        let offer = Offer::parse(offer).expect("an offer that reads");
        let settings = AnswerSettings {
            codecs: vec![Codec::Opus, Codec::Vp8],
            start_bitrate_kbps: 0,
            candidates: rtc.candidates(),
            fingerprint: rtc.fingerprint(),
        };
        let ice = rtc.credentials("janus");
        let (text, agreement) = sdp::answer(&offer, ice, &settings).expect("answered");
        let sink = Counter(count.clone());
        rtc.open(agreement, Box::new(sink)).await.expect("opened");
        let answer = json!({"type": "answer", "sdp": text});
        janus
            .ask(handle, json!({"request": "start"}), Some(answer))
            .await;
        janus.event(handle).await;
    }
    tokio::time::sleep(settle).await;
    let pid = janus.process.id();
    let (cpu, got) = (
        cpu_of_process(pid),
        count.load(std::sync::atomic::Ordering::Relaxed),
    );
    tokio::time::sleep(measured).await;
    let cpu = cpu_of_process(pid) - cpu;
    let got = count.load(std::sync::atomic::Ordering::Relaxed) - got;
    publishing.abort();
    rtc.shutdown();
    let rate = f64::from(picture.fps * picture.packets_per_frame);
    let due = rate * measured.as_secs_f64() * players as f64;
    Some(Measured {
        us_a_packet: cpu.as_secs_f64() * 1e6 / got as f64,
        arrived: got as f64 / due,
    })
}

/// Janus leaves the loopback interface out.
fn publisher_side_address() -> SocketAddr {
    let probe = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let outside = probe
        .connect("192.0.2.1:9")
        .and_then(|()| probe.local_addr());
    outside.map_or(([127, 0, 0, 1], 0).into(), |at| SocketAddr::new(at.ip(), 0))
}
