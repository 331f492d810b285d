//! Every route with every kind of token: allowed exactly where the table says.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use support::Server;

const SECRET: &str = "a secret of at least 32 characters";
const SOMEONE: &str = "7924063d-d2f5-4605-a51e-1390257eaba9";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Everybody,
    /// Who holds a good token for the room.
    Holders,
    /// Hosts and speakers of the room.
    Publishers,
    /// Hosts and producers of the room.
    Directors,
    /// Hosts and producers of any room: what room it is about is found out after.
    DirectorsAnywhere,
    /// Hosts and producers of all rooms.
    DirectorsEverywhere,
}
use Who::*;

const TABLE: &[(&str, &str, Who)] = &[
    ("GET", "/api/v1/rooms", Everybody),
    ("GET", "/api/v1/rooms/{room}", Everybody),
    ("PUT", "/api/v1/rooms/{room}", Directors),
    ("PATCH", "/api/v1/rooms/{room}", Directors),
    ("DELETE", "/api/v1/rooms/{room}", Directors),
    ("GET", "/api/v1/rooms/{room}/participants", Directors),
    ("GET", "/api/v1/rooms/{room}/participants/{id}", Directors),
    ("PATCH", "/api/v1/rooms/{room}/participants/{id}", Directors),
    (
        "DELETE",
        "/api/v1/rooms/{room}/participants/{id}",
        Directors,
    ),
    ("GET", "/api/v1/rooms/{room}/bans", Directors),
    ("DELETE", "/api/v1/rooms/{room}/bans/{identity}", Directors),
    ("POST", "/api/v1/rooms/{room}/broadcast", Directors),
    ("PATCH", "/api/v1/rooms/{room}/broadcast", Directors),
    ("DELETE", "/api/v1/rooms/{room}/broadcast", Directors),
    ("GET", "/api/v1/rooms/{room}/broadcast/preview", Directors),
    ("PUT", "/api/v1/rooms/{room}/broadcast/preview", Directors),
    (
        "DELETE",
        "/api/v1/rooms/{room}/broadcast/preview",
        Directors,
    ),
    (
        "POST",
        "/api/v1/rooms/{room}/broadcast/preview/take",
        Directors,
    ),
    ("GET", "/api/v1/rooms/{room}/stats", Directors),
    ("GET", "/api/v1/layouts", Everybody),
    ("GET", "/api/v1/ladders", Everybody),
    ("GET", "/api/v1/recordings", Everybody),
    ("GET", "/api/v1/recordings/{id}", Everybody),
    ("DELETE", "/api/v1/recordings/{id}", DirectorsAnywhere),
    ("GET", "/api/v1/events", DirectorsEverywhere),
    ("GET", "/api/v1/events?room={room}", Directors),
    // For which room is in the body.
    ("POST", "/api/v1/tokens", DirectorsAnywhere),
    ("DELETE", "/api/v1/tokens/{id}", DirectorsEverywhere),
    ("GET", "/api/v1/keys", DirectorsEverywhere),
    ("POST", "/api/v1/keys", DirectorsEverywhere),
    ("DELETE", "/api/v1/keys/{id}", DirectorsEverywhere),
    ("DELETE", "/api/v1/people/{identity}", DirectorsEverywhere),
    ("GET", "/api/v1/audit", DirectorsEverywhere),
    ("GET", "/api/v1/audit?room={room}", Directors),
    ("GET", "/api/v1/audit/export", DirectorsEverywhere),
    ("GET", "/api/v1/audit/export?room={room}", Directors),
    ("GET", "/api/v1/webhooks", DirectorsEverywhere),
    ("GET", "/api/v1/webhooks?room={room}", Directors),
    // Whose it is to be is in the body.
    ("POST", "/api/v1/webhooks", DirectorsAnywhere),
    ("GET", "/api/v1/webhooks/{id}", DirectorsAnywhere),
    ("PATCH", "/api/v1/webhooks/{id}", DirectorsAnywhere),
    ("DELETE", "/api/v1/webhooks/{id}", DirectorsAnywhere),
    ("GET", "/api/v1/webhooks/{id}/deliveries", DirectorsAnywhere),
    ("POST", "/api/v1/webhooks/{id}/replay", DirectorsAnywhere),
    ("POST", "/whip/{room}", Publishers),
    ("POST", "/whep/{room}", Holders),
    ("POST", "/whep/{room}/{id}", Holders),
    ("POST", "/whep/{room}/preview", Directors),
];

/// A token: what it is called, itself, and what it says where it is good.
struct Token {
    name: String,
    text: Option<String>,
    good: Option<(&'static str, &'static str)>,
}

fn tokens() -> Vec<Token> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let hour = Duration::from_secs(3600).as_secs();
    let claims = |room: &str, role: &str, exp: u64| json!({"room": room, "role": role, "exp": exp});
    let signed = |claims: &Value, secret: &str| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
    };
    let mut all = Vec::new();
    for room in ["demo", "attic", "*"] {
        for role in ["host", "producer", "speaker", "viewer"] {
            all.push(Token {
                name: format!("{role} of {room}"),
                text: Some(signed(&claims(room, role, now + hour), SECRET)),
                good: Some((room, role)),
            });
        }
    }
    let host = claims("*", "host", now + hour);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!(
        "{}.{}.",
        part(&json!({"alg": "none", "typ": "JWT"})),
        part(&host)
    );
    let bad = [
        ("none", None),
        ("nonsense", Some("nonsense".to_owned())),
        (
            "expired",
            Some(signed(&claims("*", "host", now - hour), SECRET)),
        ),
        (
            "of another secret",
            Some(signed(&host, "another secret of 32 characters!")),
        ),
        ("alg:none", Some(unsigned)),
        ("revoked", Some(signed(&revoked(now + hour), SECRET))),
    ];
    let bad = bad.into_iter().map(|(name, text)| Token {
        name: name.to_owned(),
        text,
        good: None,
    });
    all.extend(bad);
    all
}

const REVOKED: &str = "019a0000-0000-7000-8000-000000000001";

fn revoked(exp: u64) -> Value {
    json!({"jti": REVOKED, "room": "*", "role": "host", "exp": exp})
}

/// What is not allowed is refused with this.
fn refusal(who: Who, token: &Token) -> Option<StatusCode> {
    if who == Everybody {
        return None;
    }
    let Some((room, role)) = token.good else {
        return Some(StatusCode::UNAUTHORIZED);
    };
    let covers = match who {
        DirectorsAnywhere => true,
        DirectorsEverywhere => room == "*",
        _ => room != "attic",
    };
    let may = match who {
        Everybody | Holders => true,
        Publishers => matches!(role, "host" | "speaker"),
        Directors | DirectorsAnywhere | DirectorsEverywhere => matches!(role, "host" | "producer"),
    };
    (!covers || !may).then_some(StatusCode::FORBIDDEN)
}

#[tokio::test]
async fn every_route_is_allowed_exactly_where_the_table_says() {
    let server = Server::start_with_secret(SECRET);
    let client = Client::new();
    let host = tokens().into_iter().find(|token| token.name == "host of *");
    let host = host.and_then(|token| token.text).expect("one");
    let revoke = client.delete(server.url(&format!("/api/v1/tokens/{REVOKED}")));
    let revoked = revoke.bearer_auth(&host).send().await.expect("answered");
    assert_eq!(revoked.status(), StatusCode::NO_CONTENT);
    let mut wrong = Vec::new();
    for (method, path, who) in TABLE {
        for token in tokens() {
            let path = path.replace("{room}", "demo").replace("{id}", SOMEONE);
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let mut request = client.request(method.clone(), server.url(&path));
            if let Some(text) = &token.text {
                request = request.bearer_auth(text);
            }
            if path.starts_with("/api") && matches!(method, Method::PATCH | Method::PUT) {
                request = request.json(&json!({}));
            }
            let status = request.send().await.expect("answered").status();
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
            if refused.then_some(status) != refusal(*who, &token) {
                wrong.push(format!("{method} {path}, token {}: {status}", token.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Who guesses tokens is slowed, and nobody else's requests are.
#[tokio::test]
async fn who_asks_too_often_is_to_wait() {
    let settings = [
        ("AMPHI_AUTH_SECRET", SECRET),
        ("AMPHI_HTTP_API_PER_MINUTE", "30"),
    ];
    let trusted = ("AMPHI_HTTP_TRUSTED_PROXIES", "[\"127.0.0.1\"]");
    let server = Server::start_as_operator(&[settings[0], settings[1], trusted]);
    let client = Client::new();
    let guess = async |from: &str| {
        let request = client
            .get(server.url("/api/v1/audit"))
            .bearer_auth("a guess");
        let answer = request.header("x-forwarded-for", from).send().await;
        let answer = answer.expect("answered");
        (
            answer.status().as_u16(),
            answer.headers().contains_key("retry-after"),
        )
    };
    for _ in 0..3 {
        assert_eq!(guess("5.6.7.8").await, (401, false));
    }
    assert_eq!(guess("5.6.7.8").await, (429, true));
    assert_eq!(guess("5.6.7.9").await, (401, false));
    // Its audience is not.
    let health = client
        .get(server.url("/healthz"))
        .header("x-forwarded-for", "5.6.7.8");
    assert_eq!(health.send().await.expect("answered").status(), 200);
}

/// So that no route comes to be that nobody thought of.
#[tokio::test]
async fn the_table_has_every_route_of_the_description() {
    let server = Server::start();
    let description = reqwest::get(server.url("/api/openapi.json"))
        .await
        .expect("answered");
    let description: Value = description.json().await.expect("JSON");
    let paths = description["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            let has = TABLE
                .iter()
                .any(|(known, at, _)| known.eq_ignore_ascii_case(method) && at == path);
            assert!(has, "{method} {path} is not in the table");
        }
    }
}
