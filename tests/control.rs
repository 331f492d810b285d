//! What the API promises besides: done once, forgotten when asked, slowed when too much, warned in time.

mod support;

use reqwest::blocking::{Client, Response};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::postgres::Postgres;
use support::publisher::Publisher;
use support::{SOON, Server, wait_for};

const SECRET: &str = "a secret of at least 32 characters";

struct Producer {
    server: Server,
    client: Client,
    token: String,
}

impl Producer {
    fn start(settings: &[(&str, &str)]) -> Self {
        let secret = [("AMPHI_AUTH_SECRET", SECRET)];
        let server = Server::start_as_operator(&[&secret, settings].concat());
        let token = token(&["--room", "*", "--role", "host", "--identity", "boss"]);
        Self {
            server,
            client: Client::new(),
            token,
        }
    }

    fn ask(&self, method: Method, path: &str, body: Value, headers: &[(&str, &str)]) -> Response {
        let request = self.client.request(method, self.server.url(path));
        let mut request = request.bearer_auth(&self.token).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().expect("answered")
    }

    fn get(&self, path: &str) -> Value {
        let request = self.client.get(self.server.url(path));
        let answer = request.bearer_auth(&self.token).send();
        answer.expect("answered").json().expect("JSON")
    }
}

fn token(arguments: &[&str]) -> String {
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_amphi"))
        .arg("token")
        .args(arguments)
        .env("AMPHI_AUTH_SECRET", SECRET)
        .output()
        .expect("a token");
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

fn what_is_asked_twice_is_done_once(settings: &[(&str, &str)]) {
    let mut producer = Producer::start(settings);
    let new = json!({"name": "the portal", "room": "*", "role": "producer"});
    let path = "/api/v1/keys";
    let make = |producer: &Producer, body: &Value, key: &str| {
        producer.ask(
            Method::POST,
            path,
            body.clone(),
            &[("idempotency-key", key)],
        )
    };
    let first = make(&producer, &new, "one");
    assert_eq!(first.status(), 201);
    assert!(first.headers().get("idempotency-replayed").is_none());
    let first: Value = first.json().expect("JSON");
    // Over a crash, too.
    producer.server.kill_and_restart();
    let again = make(&producer, &new, "one");
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.headers()["content-type"], "application/json");
    assert_eq!(again.json::<Value>().expect("JSON"), first);

    let other = json!({"name": "another", "room": "*", "role": "producer"});
    assert_eq!(make(&producer, &other, "one").status(), 422);
    assert_eq!(make(&producer, &other, "two").status(), 201);
    assert_eq!(make(&producer, &other, "").status(), 400);
    // What failed may be mended and asked again.
    let wrong = json!({"name": "", "room": "*", "role": "producer"});
    assert_eq!(make(&producer, &wrong, "three").status(), 422);
    assert_eq!(make(&producer, &other, "three").status(), 201);
    // Somebody else's key is another.
    let theirs = Producer {
        token: token(&["--room", "*", "--role", "host"]),
        client: Client::new(),
        server: producer.server,
    };
    assert_eq!(make(&theirs, &new, "one").status(), 201);
    let keys = theirs.get(path)["items"].as_array().map_or(0, Vec::len);
    assert_eq!(keys, 4);

    // All at once: one does it, and all that are answered are answered alike.
    let answers: Vec<(StatusCode, Value)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let answer = make(&theirs, &new, "race");
                    (answer.status(), answer.json().expect("JSON"))
                })
            })
            .collect();
        asked
            .into_iter()
            .map(|one| one.join().expect("asked"))
            .collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 201);
    assert!(!made.is_empty() && made.iter().all(|one| *one == made[0]));
    assert!(
        refused.iter().all(|(status, _)| *status == 409),
        "{refused:?}"
    );
    let keys = theirs.get(path)["items"].as_array().map_or(0, Vec::len);
    assert_eq!(keys, 5);
}

#[test]
fn a_request_with_a_key_is_carried_out_once() {
    what_is_asked_twice_is_done_once(&[]);
}

#[test]
fn a_request_with_a_key_is_carried_out_once_with_postgres() {
    let postgres = Postgres::start();
    what_is_asked_twice_is_done_once(&[("AMPHI_DATA_DATABASE", &postgres.url())]);
}

fn someone_is_forgotten(settings: &[(&str, &str)]) {
    let webhooks = ("AMPHI_WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true");
    let producer = Producer::start(&[settings, &[webhooks]].concat());
    // Nobody is there: what it is to be told waits.
    let hook = json!({"url": "http://127.0.0.1:9/hook"});
    let hook = producer.ask(Method::POST, "/api/v1/webhooks", hook, &[]);
    assert_eq!(hook.status(), 201);
    let ada = json!({"room": "show", "role": "speaker", "identity": "ada@example.org", "name": "Ada Lovelace"});
    let ada: Value = producer
        .ask(Method::POST, "/api/v1/tokens", ada, &[])
        .json()
        .expect("JSON");
    let token = ada["token"].as_str().expect("a token");
    let small = ["--size", "320x180", "--bitrate", "200", "--token", token];
    let publisher = Publisher::start(&producer.server, "show", &small);
    let participants = "/api/v1/rooms/show/participants";
    let here = wait_for("she is here", SOON, || {
        producer.get(participants)["items"].get(0).cloned()
    });
    assert_eq!(here["identity"], "ada@example.org");
    let id = here["id"].as_str().expect("an id");
    let renamed = json!({"name": "Countess Lovelace"});
    let path = format!("{participants}/{id}");
    assert_eq!(
        producer.ask(Method::PATCH, &path, renamed, &[]).status(),
        200
    );
    let ban = format!("{path}?ban=true");
    assert_eq!(
        producer
            .ask(Method::DELETE, &ban, Value::Null, &[])
            .status(),
        204
    );
    publisher.leave();

    let all = || {
        let export = producer
            .client
            .get(producer.server.url("/api/v1/audit/export"));
        let export = export
            .bearer_auth(&producer.token)
            .send()
            .expect("answered");
        let audit = export.text().expect("read");
        let bans = producer.get("/api/v1/rooms/show/bans").to_string();
        (audit, bans)
    };
    let (audit, bans) = all();
    assert!(audit.contains("ada@example.org") && audit.contains("Ada Lovelace"));
    assert!(audit.contains("Countess Lovelace") && bans.contains("Lovelace"));
    let lines = audit.lines().count();
    let path = "/api/v1/people/ada@example.org";
    let forgotten = producer.ask(Method::DELETE, path, Value::Null, &[]);
    assert_eq!(forgotten.status(), 200);
    let forgotten: Value = forgotten.json().expect("JSON");
    assert!(
        forgotten["audit"].as_u64() >= Some(3) && forgotten["events"].as_u64() >= Some(2),
        "{forgotten}"
    );
    let (audit, bans) = all();
    assert!(
        !audit.contains("ada@") && !audit.contains("Lovelace"),
        "{audit}"
    );
    // What was done stays, with one line more, and so does the ban.
    assert_eq!(audit.lines().count(), lines + 1);
    assert!(audit.contains("boss") && !bans.contains("Lovelace") && bans.contains("ada@"));
}

#[test]
fn someone_who_asks_is_forgotten() {
    someone_is_forgotten(&[]);
}

#[test]
fn someone_who_asks_is_forgotten_by_postgres_too() {
    let postgres = Postgres::start();
    someone_is_forgotten(&[("AMPHI_DATA_DATABASE", &postgres.url())]);
}

/// Who has no token takes nobody's turn.
#[test]
fn a_room_is_joined_so_often_and_no_more() {
    let producer = Producer::start(&[("AMPHI_HTTP_ROOM_JOINS_PER_MINUTE", "2")]);
    let offer = std::fs::read_to_string("tests/vectors/offers/chromium-audio-only.sdp");
    let offer = offer.unwrap_or_else(|_| panic!("an offer"));
    let join = |room: &str, token: &str| {
        let request = producer
            .client
            .post(producer.server.url(&format!("/whip/{room}")));
        let request = request
            .header("content-type", "application/sdp")
            .bearer_auth(token);
        let answer = request.body(offer.clone()).send().expect("answered");
        let after = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), after)
    };
    for _ in 0..5 {
        assert_eq!(join("show", "nonsense").0, 401);
    }
    for _ in 0..2 {
        assert_eq!(join("show", &producer.token).0, 201);
    }
    assert_eq!(join("show", &producer.token), (429, true));
    assert_eq!(join("attic", &producer.token).0, 201);
}

/// What a producer makes of somebody holds at every door, over restarts, in this room alone.
#[test]
fn a_producer_gives_roles() {
    let mut producer = Producer::start(&[]);
    let room = "/api/v1/rooms/show";
    let made = producer.ask(Method::PUT, room, json!({"broadcast": "manual"}), &[]);
    assert_eq!(made.status(), 201);
    let bob = token(&["--room", "*", "--role", "speaker", "--identity", "bob"]);
    let small = ["--size", "320x180", "--bitrate", "200", "--token", &bob];
    let publisher = Publisher::start(&producer.server, "show", &small);
    let id = wait_for("bob is here", SOON, || {
        let list = producer.get(&format!("{room}/participants"));
        list["items"][0]["id"].as_str().map(str::to_owned)
    });
    let bob_starts = |producer: &Producer, room: &str| {
        let start = producer.client.post(
            producer
                .server
                .url(&format!("/api/v1/rooms/{room}/broadcast")),
        );
        let started = start.bearer_auth(&bob).send().expect("answered");
        started.status().as_u16()
    };
    let path = format!("{room}/participants/{id}");
    let make = |producer: &Producer, role: &str| {
        let answer = producer.ask(Method::PATCH, &path, json!({"role": role}), &[]);
        (
            answer.status().as_u16(),
            answer.json::<Value>().expect("JSON"),
        )
    };
    assert_eq!(bob_starts(&producer, "show"), 403);
    let (status, view) = make(&producer, "host");
    assert_eq!((status, &view["role"]), (200, &json!("host")));
    assert_eq!(bob_starts(&producer, "show"), 201);
    assert_eq!(bob_starts(&producer, "attic"), 403);
    // Nothing is overwritten that was not seen.
    let tag = |producer: &Producer| {
        let show = producer.client.get(producer.server.url(&path));
        let shown = show.bearer_auth(&producer.token).send().expect("answered");
        shown.headers()["etag"].to_str().expect("text").to_owned()
    };
    let name = |tag: &str| {
        let body = json!({"name": "Bob"});
        let answer = producer.ask(Method::PATCH, &path, body, &[("if-match", tag)]);
        answer.status().as_u16()
    };
    let seen = tag(&producer);
    assert_eq!([name(&seen), name(&seen)], [200, 412]);
    // Who publishes cannot be what may not.
    assert_eq!(make(&producer, "producer").0, 409);
    let (status, view) = make(&producer, "viewer");
    assert_eq!((status, &view["presence"]), (200, &json!("left")));
    assert_eq!(bob_starts(&producer, "show"), 403);
    publisher.leave();
    producer.server.kill_and_restart();
    let publish = |producer: &Producer| {
        let offer =
            std::fs::read_to_string("tests/vectors/offers/chromium-vp8.sdp").expect("an offer");
        let request = producer.client.post(producer.server.url("/whip/show"));
        let request = request
            .header("content-type", "application/sdp")
            .bearer_auth(&bob);
        request
            .body(offer)
            .send()
            .expect("answered")
            .status()
            .as_u16()
    };
    assert_eq!(publish(&producer), 403);
    let deleted = producer.ask(Method::DELETE, room, Value::Null, &[]);
    assert_eq!(deleted.status(), 204);
    assert_eq!(publish(&producer), 201);
}

/// What was asked for is encoded, and who watches is counted.
#[test]
fn a_room_has_its_own_ladder_and_says_how_it_does() {
    let producer = Producer::start(&[]);
    let room = "/api/v1/rooms/show";
    let unknown = producer.ask(Method::PUT, room, json!({"ladder": "huge"}), &[]);
    assert_eq!(unknown.status(), 422);
    let made = producer.ask(Method::PUT, room, json!({"ladder": "small"}), &[]);
    assert_eq!(made.status(), 201);
    let stats = || producer.get(&format!("{room}/stats"));
    assert_eq!(
        stats(),
        json!({"participants": 0, "publishers": 0, "broadcast": null})
    );
    let small = [
        "--size",
        "320x180",
        "--bitrate",
        "200",
        "--token",
        &producer.token,
    ];
    let publisher = Publisher::start(&producer.server, "show", &small);
    let playlist = wait_for("the room is live", SOON, || {
        let answer = producer
            .client
            .get(producer.server.url("/live/show/index.m3u8"));
        let text = answer.send().expect("answered").text().expect("read");
        let mut lines = text.lines();
        let media = lines.find(|line| line.ends_with("360p/index.m3u8"))?;
        Some(producer.server.url(&format!("/live/show/{media}")))
    });
    // Three players at the live edge.
    let over = std::sync::atomic::AtomicBool::new(false);
    let watched = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut next = String::new();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = producer.client.get(format!("{playlist}{next}")).send();
                    let text = answer.and_then(Response::text).unwrap_or_default();
                    let hint = text.lines().find_map(|line| {
                        let name = line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")?;
                        let (msn, part) = name.split_once(".m4s")?.0.split_once('.')?;
                        Some(format!("?_HLS_msn={msn}&_HLS_part={part}"))
                    });
                    next = hint.unwrap_or_default();
                }
            });
        }
        let within = std::time::Duration::from_secs(20);
        let until = std::time::Instant::now() + within;
        let mut last = Value::Null;
        while std::time::Instant::now() < until {
            last = stats();
            let broadcast = &last["broadcast"];
            if broadcast["hls_viewers"] == 3 && broadcast["cores"].is_number() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        last
    });
    assert_eq!(watched["publishers"], 1);
    let broadcast = &watched["broadcast"];
    assert_eq!(broadcast["hls_viewers"], 3, "{watched}");
    assert_eq!(broadcast["whep_viewers"], 0);
    let renditions = broadcast["renditions"].as_array().expect("a list");
    let names: Vec<_> = renditions.iter().map(|one| one["name"].as_str()).collect();
    assert_eq!(names, [Some("360p"), Some("audio")]);
    publisher.leave();
    wait_for("nobody is left", SOON, || {
        (stats()["participants"] == 0).then_some(())
    });
}

/// It never expires; a stream that ends with its token does not end.
#[test]
fn who_has_an_api_key_hears_what_happens() {
    use std::io::{BufRead, BufReader};
    let producer = Producer::start(&[]);
    let new = json!({"name": "the portal", "room": "*", "role": "producer"});
    let key: Value = producer
        .ask(Method::POST, "/api/v1/keys", new, &[])
        .json()
        .expect("JSON");
    let key = key["key"].as_str().expect("a key");
    let listen = producer.client.get(producer.server.url("/api/v1/events"));
    let stream = listen
        .bearer_auth(key)
        .timeout(SOON)
        .send()
        .expect("answered");
    assert_eq!(stream.status(), 200);
    let small = [
        "--size",
        "320x180",
        "--bitrate",
        "200",
        "--token",
        &producer.token,
    ];
    let publisher = Publisher::start(&producer.server, "show", &small);
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains("participant.joined"));
    assert!(told.is_some_and(|line| line.contains("\"identity\":\"boss\"")));
    publisher.leave();
}
