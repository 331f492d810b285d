//! A show run by the API alone, from a room that is made to the audit log that is read.

mod support;

use std::process::{Child, Command, Stdio};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use support::postgres::Postgres;
use support::{SOON, Server};

const SECRET: &str = "a secret of at least 32 characters";

/// A producer's platform.
struct Platform<'a> {
    server: &'a Server,
    token: String,
}

impl<'a> Platform<'a> {
    fn new(server: &'a Server, token: &str) -> Self {
        let token = token.to_owned();
        Self { server, token }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = Client::new().request(method, self.server.url(path));
        let request = request.bearer_auth(&self.token);
        let request = match body {
            Value::Null => request,
            body => request.json(&body),
        };
        let answer = request.send().await.expect("answered");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await.1
    }

    /// Asks until it is so.
    async fn until(&self, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let answer = self.get(path).await;
                if is_so(&answer) {
                    return answer;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(SOON, asked).await;
        found.unwrap_or_else(|_| panic!("not soon: {what}"))
    }

    async fn token(&self, identity: &str, name: &str) -> String {
        let new = json!({"room": "gala", "role": "speaker", "identity": identity, "name": name, "ttl_s": 600});
        let (status, issued) = self.ask(Method::POST, "/api/v1/tokens", new).await;
        assert_eq!(status, 201, "{issued}");
        issued["token"].as_str().expect("a token").to_owned()
    }
}

/// Ends with the test.
struct Speaker(Child);

impl Speaker {
    fn start(server: &Server, token: &str) -> Self {
        let publish = ["publish", "test", "--size", "320x180", "--bitrate", "300"];
        let process = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .args(publish)
            .args(["--whip", &server.url("/whip/gala"), "--token", token])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(process.expect("the publisher"))
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of the newest second of a live stream's sound, against full scale; `None` while there is less.
fn level_db(url: &str) -> Option<f64> {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-live_start_index", "-1", "-i", url])
        .args(["-t", "1", "-map", "0:a:0", "-ac", "1", "-ar", "48000"])
        .args(["-f", "s16le", "-"])
        .output()
        .expect("ffmpeg");
    let samples = decoded.stdout.chunks_exact(2);
    let samples = samples.map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0);
    let (sum, count) = samples.fold((0.0, 0.0), |(sum, count), sample| {
        (sum + sample * sample, count + 1.0)
    });
    (count >= 48_000.0).then(|| 10.0 * f64::log10((sum / count).max(1e-10)))
}

fn named<'a>(participants: &'a Value, name: &str) -> &'a Value {
    let items = participants["items"].as_array().expect("items");
    items
        .iter()
        .find(|one| one["name"] == name)
        .unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_run_by_the_api_alone() {
    run_a_show(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_show_is_run_with_postgres() {
    let postgres = Postgres::start();
    run_a_show(&[("AMPHI_DATA_DATABASE", &postgres.url())]).await;
}

async fn run_a_show(environment: &[(&str, &str)]) {
    let mut environment = environment.to_vec();
    environment.extend([
        ("AMPHI_AUTH_SECRET", SECRET),
        ("AMPHI_ROOM_BY_USE", "false"),
    ]);
    let mut server = Server::start_as_operator(&environment);
    let made = Command::new(env!("CARGO_BIN_EXE_amphi"))
        .args([
            "token",
            "--room",
            "*",
            "--role",
            "producer",
            "--identity",
            "crm",
        ])
        .env("AMPHI_AUTH_SECRET", SECRET)
        .output()
        .expect("a token");
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let api = Platform::new(&server, &token);

    // A room that begins when it is told to.
    let room = "/api/v1/rooms/gala";
    assert_eq!(api.ask(Method::GET, room, Value::Null).await.0, 404);
    let settings = json!({"broadcast": "manual", "layout": "side-by-side"});
    let (status, view) = api.ask(Method::PUT, room, settings).await;
    assert_eq!((status, &view["layout"]), (201, &json!("side-by-side")));
    let (ada, bob) = (api.token("ada", "Ada").await, api.token("bob", "Bob").await);
    let (ada, _bob) = (
        Speaker::start(&server, &ada),
        (Speaker::start(&server, &bob), bob),
    );
    let participants = format!("{room}/participants");
    let here = api
        .until(&participants, "both publish", |all| {
            ["Ada", "Bob"].iter().all(|name| {
                named(all, name)["tracks"]
                    .as_array()
                    .is_some_and(|tracks| tracks.len() == 2)
            })
        })
        .await;
    assert_eq!(api.get(room).await["broadcast"], Value::Null);
    let broadcast = format!("{room}/broadcast");
    assert_eq!(api.ask(Method::POST, &broadcast, Value::Null).await.0, 201);
    api.until(room, "it is live", |room| room["live"] == true)
        .await;

    // Both are heard; then neither, whatever they send.
    let live = server.url("/live/gala/index.m3u8");
    let heard = async |is_so: fn(f64) -> bool| {
        let url = live.clone();
        let listens = tokio::task::spawn_blocking(move || {
            support::wait_for("heard as it is to be", SOON, || {
                level_db(&url).filter(|db| is_so(*db))
            })
        });
        listens.await.expect("heard")
    };
    heard(|db| db > -50.0).await;
    let of = |name: &str| {
        format!(
            "{participants}/{}",
            named(&here, name)["id"].as_str().expect("an id")
        )
    };
    for name in ["Ada", "Bob"] {
        let muted = json!({"muted": ["microphone"]});
        let (status, view) = api.ask(Method::PATCH, &of(name), muted).await;
        assert_eq!((status, &view["muted"]), (200, &json!(["microphone"])));
    }
    heard(|db| db < -80.0).await;
    let layout = json!({"layout": "grid", "pinned": named(&here, "Bob")["id"]});
    let (status, view) = api.ask(Method::PATCH, &broadcast, layout).await;
    assert_eq!((status, &view["layout"]), (200, &json!("grid")));

    // Bob has to leave, and may not come back.
    let away = format!("{}?ban=true", of("Bob"));
    assert_eq!(api.ask(Method::DELETE, &away, Value::Null).await.0, 204);
    let (_, bob_token) = &_bob;
    let mut again = Speaker::start(&server, bob_token);
    let left = tokio::task::spawn_blocking(move || again.0.wait().expect("left")).await;
    assert!(!left.expect("waited").success(), "who is banned comes in");
    let here = api.get(&participants).await;
    assert_eq!(
        (named(&here, "Bob"), &here["items"][0]["name"]),
        (&Value::Null, &json!("Ada"))
    );
    assert_eq!(
        api.get(&format!("{room}/bans")).await["items"][0]["identity"],
        "bob"
    );

    assert_eq!(
        api.ask(Method::DELETE, &broadcast, Value::Null).await.0,
        204
    );
    drop(ada);
    let recordings = api
        .until("/api/v1/recordings", "it is recorded", |all| {
            all["items"][0]["state"] == "complete"
        })
        .await;
    let id = recordings["items"][0]["id"].as_str().expect("an id");
    let film = reqwest::get(server.url(&format!("/vod/{id}/index.m3u8"))).await;
    assert_eq!(film.expect("answered").status(), 200);

    // What was commanded, and what was promised, is there after a restart.
    let before = api.get("/api/v1/audit?room=gala").await;
    server.kill_and_restart();
    let api = Platform::new(&server, &token);
    assert_eq!(api.get("/api/v1/audit?room=gala").await, before);
    let entries = before["items"].as_array().expect("items");
    let actions: Vec<_> = entries
        .iter()
        .rev()
        .map(|e| e["action"].as_str().expect("text"))
        .collect();
    assert_eq!(
        actions,
        [
            "PUT /api/v1/rooms/{room}",
            "POST /api/v1/tokens",
            "POST /api/v1/tokens",
            "POST /api/v1/rooms/{room}/broadcast",
            "PATCH /api/v1/rooms/{room}/participants/{id}",
            "PATCH /api/v1/rooms/{room}/participants/{id}",
            "PATCH /api/v1/rooms/{room}/broadcast",
            "DELETE /api/v1/rooms/{room}/participants/{id}",
            "DELETE /api/v1/rooms/{room}/broadcast",
        ]
    );
    assert!(
        entries
            .iter()
            .all(|e| e["identity"] == "crm" && e["address"] == "127.0.0.1")
    );
    let directed = &entries[2];
    assert_eq!(
        (&directed["before"]["layout"], &directed["after"]["layout"]),
        (&json!("side-by-side"), &json!("grid"))
    );
    let export = Client::new().get(server.url("/api/v1/audit/export?room=gala"));
    let export = export.bearer_auth(&token).send().await.expect("answered");
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    let lines = export.text().await.expect("text");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let reversed: Vec<Value> = entries.iter().rev().cloned().collect();
    assert_eq!(lines, reversed);
    assert_eq!(api.get(room).await["settings"]["broadcast"], "manual");
    assert_eq!(
        api.get(&format!("{room}/bans")).await["items"][0]["identity"],
        "bob"
    );

    // Nothing is overwritten that was not seen.
    let url = server.url(room);
    let seen = Client::new().get(&url).send().await.expect("answered");
    let tag = seen.headers()["etag"].clone();
    let set = |tag: &reqwest::header::HeaderValue| {
        let request = Client::new()
            .patch(&url)
            .bearer_auth(&token)
            .header("if-match", tag);
        request.json(&json!({"max_participants": 7})).send()
    };
    assert_eq!(set(&tag).await.expect("answered").status(), 200);
    assert_eq!(set(&tag).await.expect("answered").status(), 412);
    let operator = |arguments: &[&str]| {
        let asked = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .args(arguments)
            .args(["--server", &server.base, "--token", &token])
            .output()
            .expect("amphi");
        let said = String::from_utf8_lossy(&asked.stdout).into_owned();
        (asked.status.success(), said)
    };
    let (done, rooms) = operator(&["room", "list"]);
    assert!(
        done && rooms.starts_with("gala\t-\tmade\t0 participants\tside-by-side"),
        "{rooms}"
    );
    assert!(
        operator(&["recording", "list"])
            .1
            .contains(&format!("{id}\tgala"))
    );
    assert!(operator(&["recording", "delete", id]).0);
    assert_eq!(operator(&["recording", "list"]).1, "");
    assert!(
        operator(&[
            "room",
            "make",
            "attic",
            "--manual",
            "--max-participants",
            "3"
        ])
        .0
    );
    assert_eq!(
        api.get("/api/v1/rooms/attic").await["settings"]["max_participants"],
        3
    );
    assert!(!operator(&["room", "start", "nowhere"]).0);
    // It begins before anybody is there.
    assert!(operator(&["room", "start", "attic"]).0);
    api.until("/api/v1/rooms?live=true", "the attic is live", |all| {
        all["items"][0]["id"] == "attic"
    })
    .await;
    assert!(operator(&["room", "stop", "attic"]).0);
    assert!(operator(&["room", "delete", "attic"]).0);
    assert_eq!(api.ask(Method::DELETE, room, Value::Null).await.0, 204);
    assert_eq!(api.ask(Method::GET, room, Value::Null).await.0, 404);
    assert_eq!(api.get(&format!("{room}/bans")).await["items"], json!([]));
}
