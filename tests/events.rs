//! What happens in the rooms, told to who listens, also to who was away for a while.

mod support;

use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use support::publisher::Publisher;
use support::{SOON, Server};

const SECRET: &str = "a secret of at least 32 characters";

/// An open stream, and what of it was read and not yet looked at.
struct Listener {
    body: std::pin::Pin<Box<dyn futures::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    text: String,
}

impl Listener {
    async fn open(server: &Server, query: &str, last_id: Option<&str>) -> Self {
        let url = server.url(&format!("/api/v1/events{query}"));
        let mut request = reqwest::Client::new().get(url);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self {
            body: Box::pin(answer.bytes_stream()),
            text: String::new(),
        }
    }

    /// The next event's id and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::trim)
                };
                let found = field("id:").zip(field("data:"));
                let found = found
                    .map(|(id, data)| (id.to_owned(), serde_json::from_str(data).expect("JSON")));
                self.text = rest.to_owned();
                if found.is_some() {
                    return found;
                }
                continue;
            }
            let more = tokio::time::timeout(SOON, self.body.next());
            let bytes = more.await.expect("soon")?.ok()?;
            self.text += &String::from_utf8_lossy(&bytes);
        }
    }

    /// Up to the first of this type, that included.
    async fn until(&mut self, kind: &str) -> Vec<(String, Value)> {
        let mut seen = Vec::new();
        loop {
            let next = self.next().await.expect("the stream goes on");
            let is_it = next.1["type"] == kind;
            seen.push(next);
            if is_it {
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_hears_all_and_who_comes_back_what_they_missed() {
    let server = Server::start();
    let mut all = Listener::open(&server, "", None).await;
    let mut other = Listener::open(&server, "?room=other", None).await;
    let small = ["--size", "320x180", "--bitrate", "300", "--for", "4s"];
    let publisher = Publisher::start(&server, "show", &small);
    let heard = all.until("recording.completed").await;
    tokio::task::spawn_blocking(|| publisher.wait())
        .await
        .expect("left");
    let kinds: Vec<_> = heard.iter().map(|(_, data)| &data["type"]).collect();
    let at = |kind: &str| kinds.iter().position(|seen| *seen == kind).expect(kind);
    assert!(
        at("participant.joined") < at("broadcast.started"),
        "{kinds:?}"
    );
    assert!(
        at("broadcast.started") < at("broadcast.stopped"),
        "{kinds:?}"
    );
    assert!(at("track.started") < at("track.ended"), "{kinds:?}");
    assert!(heard.iter().all(|(_, data)| data["room"] == "show"));
    let joined = &heard[at("participant.joined")].1;
    assert_eq!(
        (&joined["name"], &joined["role"]),
        (&"Guest".into(), &"host".into())
    );

    // Away after the third, and back.
    let mut back = Listener::open(&server, "?room=show", Some(&heard[2].0)).await;
    let again = back.until("recording.completed").await;
    assert_eq!(again, heard[3..]);
    // From another server, or too long ago.
    let mut lost = Listener::open(&server, "", Some("17-3")).await;
    let (id, missed) = lost.next().await.expect("told");
    assert_eq!(
        (missed["type"].as_str(), id),
        (Some("missed"), heard.last().expect("some").0.clone())
    );

    let nothing = tokio::time::timeout(Duration::from_millis(300), other.next()).await;
    assert!(
        nothing.is_err(),
        "another room's events are not for this one"
    );
    let leaves = tokio::task::spawn_blocking(|| server.terminate());
    assert!(
        all.next().await.is_none(),
        "the stream ends with the server"
    );
    assert!(leaves.await.expect("left").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_direct_hears_nothing() {
    let server = Server::start_with_secret(SECRET);
    let token = |room: &str, role: &str| {
        let made = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .args(["token", "--room", room, "--role", role, "--ttl", "5s"])
            .env("AMPHI_AUTH_SECRET", SECRET)
            .output()
            .expect("a token");
        String::from_utf8_lossy(&made.stdout).trim().to_owned()
    };
    for (query, who, expected) in [
        ("", None, 401),
        ("", Some(("show", "host")), 403),
        ("", Some(("*", "viewer")), 403),
        ("", Some(("*", "producer")), 200),
        ("?room=show", Some(("show", "speaker")), 403),
        ("?room=show", Some(("attic", "host")), 403),
        ("?room=show", Some(("show", "producer")), 200),
        ("?room=a/b", Some(("*", "host")), 404),
    ] {
        let url = server.url(&format!("/api/v1/events{query}"));
        let mut request = reqwest::Client::new().get(url);
        if let Some((room, role)) = who {
            request = request.bearer_auth(token(room, role));
        }
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), expected, "{query} {who:?}");
        if expected == 200 {
            let whole = tokio::time::timeout(SOON, answer.text()).await;
            whole.expect("a token's stream ends with it").expect("read");
        }
    }
}
