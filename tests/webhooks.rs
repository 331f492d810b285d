//! Webhooks: what happened comes to who asked, in order and signed, whatever becomes of receiver or server.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::postgres::Postgres;
use support::publisher::Publisher;
use support::{SOON, Server};

const SECRET: &str = "a secret of at least 32 characters";

#[derive(Clone)]
struct Got {
    id: String,
    headers: HeaderMap,
    body: String,
    event: Value,
}

/// A receiver that answers as it is told.
#[derive(Default)]
struct Receiver {
    status: AtomicU16,
    delay_ms: AtomicU64,
    /// What it took.
    got: Mutex<Vec<Got>>,
    refused: AtomicU64,
}

impl Receiver {
    async fn listen(self: &Arc<Self>, port: u16) -> (u16, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let routes = Router::new()
            .route("/hook", post(take))
            .with_state(self.clone());
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("it serves");
        });
        (port, serving)
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("a lock").clone()
    }

    fn types_of(&self, room: &str) -> Vec<String> {
        let got = self.got().into_iter();
        let of_room = got.filter(|got| got.event["room"] == room);
        of_room.map(|got| got.event["type"].to_string()).collect()
    }
}

async fn take(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let delay = Duration::from_millis(receiver.delay_ms.load(Ordering::Relaxed));
    tokio::time::sleep(delay).await;
    let status = StatusCode::from_u16(receiver.status.load(Ordering::Relaxed)).expect("a status");
    if status.is_success() {
        let id = headers["webhook-id"].to_str().expect("text").to_owned();
        let event = serde_json::from_str(&body).expect("JSON");
        receiver.got.lock().expect("a lock").push(Got {
            id,
            headers,
            body,
            event,
        });
    } else {
        receiver.refused.fetch_add(1, Ordering::Relaxed);
    }
    status
}

/// Asks the API; with a body it is sent as JSON.
async fn ask(server: &Server, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = Client::new().request(method, server.url(path));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("answered");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

async fn until(what: &str, within: Duration, is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(within, waits).await;
    assert!(waited.is_ok(), "not within {within:?}: {what}");
}

/// The published library of another language agrees with each signature.
fn assert_signed(secret: &str, got: &[Got]) {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let script = "import sys, json\n\
        from standardwebhooks.webhooks import Webhook\n\
        given = json.load(sys.stdin)\n\
        for one in given['got']:\n    Webhook(given['secret']).verify(one['body'], one['headers'])\n\
        try:\n    Webhook(given['secret']).verify(one['body'] + ' ', one['headers'])\n\
        except Exception: pass\n\
        else: sys.exit('anything is verified')\n";
    let header = |got: &Got, name: &str| got.headers[name].to_str().expect("text").to_owned();
    let named = |got: &Got| {
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
        names
            .map(|name| (name, header(got, name)))
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    };
    let all: Vec<_> = got
        .iter()
        .map(|got| json!({"body": got.body, "headers": named(got)}))
        .collect();
    let mut verifier = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .expect("python; `make test` installs it");
    let mut stdin = verifier.stdin.take().expect("piped");
    let given = json!({"secret": secret, "got": all});
    stdin
        .write_all(given.to_string().as_bytes())
        .expect("written");
    drop(stdin);
    assert!(verifier.wait().expect("ended").success());
}

/// One who publishes for a moment, into a folder's room.
async fn visit(server: &Server, room: &str) {
    let small = ["--size", "320x180", "--bitrate", "300", "--for", "1s"];
    let publisher = Publisher::start(server, room, &small);
    tokio::task::spawn_blocking(|| publisher.wait())
        .await
        .expect("left");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_through_a_receiver_that_is_down_slow_or_failing_nor_a_killed_server() {
    nothing_is_lost(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_postgres_either() {
    let postgres = Postgres::start();
    nothing_is_lost(&[("AMPHI_DATA_DATABASE", &postgres.url())]).await;
}

async fn nothing_is_lost(environment: &[(&str, &str)]) {
    let receiver = Arc::new(Receiver::default());
    receiver.answers(500);
    let (port, serving) = receiver.listen(0).await;
    let mut server = Server::start_with(&[], environment);
    let hook = format!("http://127.0.0.1:{port}/hook");
    let (status, made) = ask(
        &server,
        Method::POST,
        "/api/v1/webhooks",
        Some(json!({"url": hook})),
    )
    .await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let place = format!("/api/v1/webhooks/{}", made["id"].as_str().expect("an id"));

    // It answers 500, then nobody is there, and the server is killed.
    visit(&server, "one").await;
    until("it was tried", SOON, || {
        receiver.refused.load(Ordering::Relaxed) > 1
    })
    .await;
    serving.abort();
    visit(&server, "two").await;
    let deliveries = format!("{place}/deliveries");
    let (_, waiting) = ask(&server, Method::GET, &deliveries, None).await;
    let waiting = waiting["items"].as_array().expect("items").clone();
    assert!(waiting.len() >= 10, "{waiting:?}");
    assert!(waiting.iter().all(|one| one["state"] == "waiting"));
    let errors = waiting.iter().filter_map(|one| one["error"].as_str());
    assert!(
        errors.clone().any(|error| error.contains("500")),
        "{waiting:?}"
    );

    server.kill_and_restart();
    receiver.delay_ms.store(150, Ordering::Relaxed);
    receiver.answers(204);
    let (_, serving) = receiver.listen(port).await;
    visit(&server, "three").await;
    until("all is taken", Duration::from_secs(60), || {
        let taken: Vec<_> = receiver.got().into_iter().map(|got| got.id).collect();
        let all_before = waiting
            .iter()
            .all(|one| taken.iter().any(|id| one["id"] == id.as_str()));
        all_before
            && receiver
                .types_of("three")
                .contains(&"\"recording.completed\"".to_owned())
    })
    .await;
    // In order, and no more often than once where each answer was heard.
    let got = receiver.got();
    for room in ["one", "two"] {
        let of_room = waiting.iter().filter(|one| one["room"] == room);
        let expected: Vec<_> = of_room.map(|one| one["type"].to_string()).collect();
        let types = receiver.types_of(room);
        assert_eq!(types[..expected.len()], expected, "{room}");
    }
    assert_signed(&secret, &got);
    let deadline = std::time::Instant::now() + SOON;
    while ask(&server, Method::GET, &deliveries, None).await.1["items"] != json!([]) {
        assert!(std::time::Instant::now() < deadline, "some is left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Again, by the same ids.
    let before = receiver.got().len();
    let since = waiting[0]["at"].clone();
    let replay = format!("{place}/replay");
    let (status, answer) = ask(
        &server,
        Method::POST,
        &replay,
        Some(json!({"since": since})),
    )
    .await;
    assert_eq!((status, &answer["events"]), (202, &json!(before)));
    receiver.delay_ms.store(0, Ordering::Relaxed);
    until("all is taken again", SOON, || {
        receiver.got().len() == 2 * before
    })
    .await;
    let ids = |got: &[Got]| {
        got.iter()
            .map(|got| got.id.clone())
            .collect::<BTreeSet<_>>()
    };
    let all = receiver.got();
    assert_eq!(ids(&all[..before]), ids(&all[before..]));

    // 410 Gone: it is left in peace.
    let refused = receiver.refused.load(Ordering::Relaxed);
    receiver.answers(410);
    ask(
        &server,
        Method::POST,
        &replay,
        Some(json!({"since": since})),
    )
    .await;
    until("it said so", SOON, || {
        receiver.refused.load(Ordering::Relaxed) > refused
    })
    .await;
    let deadline = std::time::Instant::now() + SOON;
    while ask(&server, Method::GET, &place, None).await.1["enabled"] != false {
        assert!(std::time::Instant::now() < deadline, "it is not disabled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hears_of_what_it_asked_for_alone() {
    let receiver = Arc::new(Receiver::default());
    receiver.answers(200);
    let (port, _serving) = receiver.listen(0).await;
    let server = Server::start();
    let hook = format!("http://127.0.0.1:{port}/hook");
    let asked =
        json!({"url": hook, "room": "mine", "events": ["broadcast.started", "broadcast.stopped"]});
    let (_, made) = ask(&server, Method::POST, "/api/v1/webhooks", Some(asked)).await;
    let place = format!("/api/v1/webhooks/{}", made["id"].as_str().expect("an id"));
    tokio::join!(visit(&server, "mine"), visit(&server, "other"));
    until("both came", SOON, || receiver.got().len() >= 2).await;
    assert_eq!(
        receiver.types_of("mine"),
        ["\"broadcast.started\"", "\"broadcast.stopped\""]
    );
    assert_eq!(receiver.types_of("other"), [""; 0]);

    let (status, changed) = ask(
        &server,
        Method::PATCH,
        &place,
        Some(json!({"events": ["track.ended"]})),
    )
    .await;
    assert_eq!((status, &changed["events"]), (200, &json!(["track.ended"])));
    assert_eq!(ask(&server, Method::DELETE, &place, None).await.0, 204);
    assert_eq!(ask(&server, Method::GET, &place, None).await.0, 404);
    for (asked, word) in [
        (json!({"url": "ftp://example.com"}), "https"),
        (json!({"url": "https://user:word@example.com"}), "password"),
        (json!({"url": "not one"}), "url"),
        (
            json!({"url": hook, "events": ["all"]}),
            "participant.joined",
        ),
    ] {
        let (status, problem) = ask(&server, Method::POST, "/api/v1/webhooks", Some(asked)).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 422 && detail.contains(word), "{status} {problem}");
    }
}

#[tokio::test]
async fn nothing_is_sent_into_the_own_network_unless_it_is_allowed() {
    let server = Server::start_with_secret(SECRET);
    let made = Command::new(env!("CARGO_BIN_EXE_amphi"))
        .args(["token", "--room", "*", "--role", "producer"])
        .env("AMPHI_AUTH_SECRET", SECRET)
        .output()
        .expect("a token");
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    for (url, expected) in [
        ("http://127.0.0.1:1/", 422),
        ("http://[::ffff:10.0.0.1]/", 422),
        ("http://169.254.169.254/latest", 422),
        ("http://0x7f000001/", 422),
        ("https://example.com/hook", 201),
        // Where a name leads is seen when it is sent to.
        ("http://localhost:1/hook", 201),
    ] {
        let request = Client::new().post(server.url("/api/v1/webhooks"));
        let request = request.bearer_auth(&token).json(&json!({"url": url}));
        let status = request.send().await.expect("answered").status();
        assert_eq!(status, expected, "{url}");
    }
}

/// What was answered is told, though the server is killed at once; and what it left open, the next one ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_live_leaves_nothing_untold() {
    let receiver = Arc::new(Receiver::default());
    receiver.answers(200);
    let (port, _serving) = receiver.listen(0).await;
    let mut server = Server::start();
    let url = format!("http://127.0.0.1:{port}/hook");
    let hook = Some(json!({"url": url}));
    assert_eq!(
        ask(&server, Method::POST, "/api/v1/webhooks", hook).await.0,
        201
    );
    let small = ["--size", "320x180", "--bitrate", "200"];
    let publisher = Publisher::start(&server, "show", &small);
    let room = "/api/v1/rooms/show";
    let mut id = String::new();
    for _ in 0..500 {
        let (_, list) = ask(&server, Method::GET, &format!("{room}/participants"), None).await;
        let (_, view) = ask(&server, Method::GET, room, None).await;
        if view["live"] == true {
            id = list["items"][0]["id"].as_str().expect("an id").to_owned();
            break;
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    // A segment, at least, is to be in the recording.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let names: Vec<String> = (0..20).map(|n| format!("Ada {n}")).collect();
    for name in &names {
        let path = format!("{room}/participants/{id}");
        let renamed = ask(&server, Method::PATCH, &path, Some(json!({"name": name}))).await;
        assert_eq!(renamed.0, 200, "{}", renamed.1);
    }
    tokio::task::block_in_place(|| {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(server.pid().try_into().expect("a pid")),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("killed");
        drop(publisher);
        server.kill_and_restart();
    });
    let types = || receiver.types_of("show");
    let ends = [
        "participant.left",
        "broadcast.stopped",
        "recording.completed",
    ];
    until("the end is told", SOON, || {
        ends.iter().all(|end| types().contains(&format!("{end:?}")))
    })
    .await;
    let got = receiver.got();
    let renamed = got
        .iter()
        .filter(|got| got.event["type"] == "participant.renamed");
    let mut told: Vec<_> = renamed.map(|got| got.event["name"].as_str()).collect();
    // At least once each, in order: what was on its way as the server died is told again.
    told.dedup();
    assert_eq!(
        told,
        names
            .iter()
            .map(|name| Some(name.as_str()))
            .collect::<Vec<_>>()
    );
    for end in ends {
        let count = types()
            .iter()
            .filter(|kind| **kind == format!("{end:?}"))
            .count();
        assert_eq!(count, 1, "{end}");
    }
    // Once, and not at each start; but what the server did not know to be taken comes again.
    let told = || -> BTreeSet<String> { receiver.got().into_iter().map(|got| got.id).collect() };
    let before = told();
    tokio::task::block_in_place(|| server.kill_and_restart());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(told(), before);
}
