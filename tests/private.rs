//! A private room: its broadcast and its recording for who holds a token for it, and for nobody else.

mod support;

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use support::publisher::Publisher;
use support::{SOON, Server, wait_for};

const SECRET: &str = "a secret of at least 32 characters";

struct House {
    server: Server,
    client: Client,
    /// Of all rooms.
    host: String,
}

impl House {
    fn open() -> Self {
        let server = Server::start_with_secret(SECRET);
        let made = std::process::Command::new(env!("CARGO_BIN_EXE_amphi"))
            .args(["token", "--room", "*", "--role", "host"])
            .env("AMPHI_AUTH_SECRET", SECRET)
            .output()
            .expect("a token");
        let host = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        Self {
            server,
            client: Client::new(),
            host,
        }
    }

    fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let request = self.client.request(method, self.server.url(path));
        let answer = request.bearer_auth(&self.host).json(body).send();
        let answer = answer.expect("answered");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().expect("JSON")
    }

    fn get(&self, path: &str, token: Option<&str>) -> Response {
        let mut request = self.client.get(self.server.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().expect("answered")
    }

    fn status(&self, path: &str, token: Option<&str>) -> u16 {
        self.get(path, token).status().as_u16()
    }

    fn token(&self, room: &str, role: &str) -> String {
        let body = json!({"room": room, "role": role});
        let issued = self.send(reqwest::Method::POST, "/api/v1/tokens", &body);
        issued["token"].as_str().expect("a token").to_owned()
    }

    fn listed(&self, path: &str, token: Option<&str>) -> usize {
        let list: Value = self.get(path, token).json().expect("JSON");
        list["items"].as_array().expect("a list").len()
    }
}

#[test]
fn a_private_room_is_watched_with_a_token_alone() {
    let house = House::open();
    let settings = json!({"private": true});
    house.send(reqwest::Method::PUT, "/api/v1/rooms/show", &settings);
    let viewer = house.token("show", "viewer");
    let stranger = house.token("attic", "host");
    // An encoder's key, as it is typed into it once.
    let key = json!({"name": "the encoder", "room": "show", "role": "speaker"});
    let key = house.send(reqwest::Method::POST, "/api/v1/keys", &key);
    let key_text = key["key"].as_str().expect("a key");
    let small = ["--size", "320x180", "--bitrate", "200", "--token", key_text];
    let publisher = Publisher::start(&house.server, "show", &small);
    let room = "/api/v1/rooms/show";
    let view: Value = wait_for("the room is live", SOON, || {
        let view: Value = house.get(room, Some(&viewer)).json().expect("JSON");
        (view["live"] == true).then_some(view)
    });
    assert_eq!(view["settings"]["private"], true);

    let broadcast = view["broadcast"]["id"].as_str().expect("an id");
    let inside = house.get(&format!("/with/{viewer}/live/show/index.m3u8"), None);
    let inside = inside.text().expect("read");
    let media = inside
        .lines()
        .find(|line| line.ends_with("index.m3u8") && !line.starts_with('#'));
    let media = media.expect("a media playlist");
    assert!(media.starts_with(broadcast), "it is relative: {media}");
    let paths = [
        "/live/show/index.m3u8".to_owned(),
        format!("/live/show/{media}"),
        format!("/live/show/{}", media.replace("index.m3u8", "init-0.mp4")),
    ];
    for path in &paths {
        assert_eq!(house.status(path, None), 401, "{path}");
        assert_eq!(house.status(path, Some("nonsense")), 401, "{path}");
        assert_eq!(house.status(path, Some(&stranger)), 403, "{path}");
        assert_eq!(house.status(&format!("/with/{stranger}{path}"), None), 403);
        for (path, token, cached) in [
            (path.clone(), Some(viewer.as_str()), "private"),
            (format!("/with/{viewer}{path}"), None, "public"),
        ] {
            let answer = house.get(&path, token);
            assert_eq!(answer.status(), 200, "{path}");
            let cache = &answer.headers()["cache-control"];
            assert!(
                cache.to_str().is_ok_and(|text| text.contains(cached)),
                "{cache:?}"
            );
        }
    }
    // A token in an address opens what is watched, and commands nothing.
    let host = &house.host;
    assert_eq!(
        house.status(&format!("/with/{host}/api/v1/rooms/show"), None),
        404
    );

    assert_eq!(house.status(room, None), 401);
    assert_eq!(house.status(room, Some(&stranger)), 403);
    assert_eq!(house.listed("/api/v1/rooms", None), 0);
    assert_eq!(house.listed("/api/v1/rooms", Some(&stranger)), 0);
    assert_eq!(house.listed("/api/v1/rooms", Some(&viewer)), 1);

    // A key that is deleted is good for nothing.
    let participants = house.get(&format!("{room}/participants"), Some(host));
    let participants: Value = participants.json().expect("JSON");
    assert_eq!(participants["items"][0]["name"], "the encoder");
    // Who may not come back does not watch, either.
    let live = "/live/show/index.m3u8";
    assert_eq!(house.status(live, Some(key_text)), 200);
    let id = participants["items"][0]["id"].as_str().expect("an id");
    let ban = format!("{room}/participants/{id}?ban=true");
    let banned = house
        .client
        .delete(house.server.url(&ban))
        .bearer_auth(host);
    assert_eq!(banned.send().expect("answered").status(), 204);
    assert_eq!(house.status(live, Some(key_text)), 403);
    publisher.leave();
    let id = key["id"].as_str().expect("an id");
    let delete = house
        .client
        .delete(house.server.url(&format!("/api/v1/keys/{id}")));
    let deleted = delete.bearer_auth(host).send().expect("answered");
    assert_eq!(deleted.status(), 204);
    let offer = house.client.post(house.server.url("/whip/show"));
    let refused = offer
        .bearer_auth(key_text)
        .body("v=0\r\n")
        .header("content-type", "application/sdp");
    assert_eq!(refused.send().expect("answered").status(), 401);

    // So is what it leaves behind, whatever becomes of the room.
    let recording = wait_for("the recording is complete", SOON, || {
        let list: Value = house
            .get("/api/v1/recordings", Some(&viewer))
            .json()
            .expect("JSON");
        let first = list["items"].get(0)?;
        (first["state"] == "complete").then(|| first.clone())
    });
    assert_eq!(recording["private"], true);
    let delete = house.client.delete(house.server.url(room));
    let deleted = delete.bearer_auth(host).send().expect("answered");
    assert_eq!(deleted.status(), 204);
    let id = recording["id"].as_str().expect("an id");
    let playlist = format!("/vod/{id}/index.m3u8");
    let refused = house.get(&playlist, None);
    assert_eq!(refused.status(), 401);
    // A player on another site can say why.
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    assert_eq!(house.status(&playlist, Some(&stranger)), 403);
    assert_eq!(
        house.status(&format!("/with/{viewer}{playlist}"), None),
        200
    );
    assert_eq!(house.status(&format!("/api/v1/recordings/{id}"), None), 401);
    assert_eq!(
        house.status(&format!("/api/v1/recordings/{id}"), Some(&viewer)),
        200
    );
    assert_eq!(house.listed("/api/v1/recordings", None), 0);
}

/// What a token does not name reaches nobody: neither the program nor the others.
#[test]
fn a_token_says_what_may_be_published() {
    let house = House::open();
    let token = json!({"room": "show", "role": "speaker", "publish": ["microphone"]});
    let token = house.send(reqwest::Method::POST, "/api/v1/tokens", &token);
    let token = token["token"].as_str().expect("a token");
    let small = ["--size", "320x180", "--bitrate", "200", "--token", token];
    let publisher = Publisher::start(&house.server, "show", &small);
    // A picture that nobody may see is as none: the rendition has it black, the sound is there.
    let tracks = wait_for("it publishes", SOON, || {
        let list = house.get("/api/v1/rooms/show/participants", Some(&house.host));
        let list: Value = list.json().expect("JSON");
        let tracks = list["items"][0]["tracks"].as_array()?.clone();
        (tracks.len() == 2).then_some(tracks)
    });
    let withheld = |kind: &str| {
        let mut of_kind = tracks.iter().filter(|track| track["kind"] == kind);
        of_kind.next().map(|track| track["withheld"].clone())
    };
    assert_eq!(withheld("video"), Some(json!(true)));
    assert_eq!(withheld("audio"), Some(json!(false)));
    publisher.leave();
}

#[test]
fn a_broadcast_starts_when_it_was_set_to() {
    let mut house = House::open();
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(4);
    let settings = json!({"broadcast": "manual", "starts_at": at});
    let room = "/api/v1/rooms/show";
    let made = house.send(reqwest::Method::PUT, room, &settings);
    assert!(made["broadcast"].is_null() && !made["settings"]["starts_at"].is_null());
    // Over a restart, too.
    house.server.kill_and_restart();
    let view: Value = wait_for("it starts", SOON, || {
        let view: Value = house.get(room, None).json().expect("JSON");
        let is_over = view["settings"]["starts_at"].is_null();
        (!view["broadcast"].is_null() && is_over).then_some(view)
    });
    let started = view["broadcast"]["started_at"].as_str().expect("a time");
    let started: chrono::DateTime<chrono::Utc> = started.parse().expect("a time");
    assert!(started >= at, "{started} is before {at}");
}
