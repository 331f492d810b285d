//! WHIP's methods, statuses and headers (RFC 9725), asked of the real server from outside.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use support::Server;

const OFFER: &str = include_str!("vectors/offers/chromium-h264.sdp");
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const SECRET: &str = "a secret of more than thirty-two characters";
/// The server cuts slow bodies off after 10 s.
const SLOW_IS_CUT_WITHIN: Duration = Duration::from_secs(20);

fn post(server: &Server, path: &str, offer: &str) -> RequestBuilder {
    Client::new()
        .post(server.url(path))
        .header("content-type", SDP)
        .body(offer.to_owned())
}

fn ask(server: &Server, method: &str, path: &str) -> RequestBuilder {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    Client::new().request(method, server.url(path))
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("text"))
}

/// A session at this server: its URL's path and its ETag.
async fn publish(server: &Server) -> (String, String) {
    let response = post(server, "/whip/lobby", OFFER)
        .send()
        .await
        .expect("answered");
    assert_eq!(response.status(), StatusCode::CREATED);
    let path = header(&response, "location").to_owned();
    (path, header(&response, "etag").to_owned())
}

/// Checks that this is refused so, in a document that says what to do; gives the response's headers.
async fn check(request: RequestBuilder, status: u16, detail: &str) -> reqwest::header::HeaderMap {
    let response = request.send().await.expect("answered");
    assert_eq!(response.status().as_u16(), status, "{detail}");
    assert_eq!(
        header(&response, "content-type"),
        "application/problem+json"
    );
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let headers = response.headers().clone();
    let problem: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(problem["status"], status);
    let text = problem["detail"].as_str().unwrap_or_default();
    assert!(text.contains(detail), "{text:?} does not say {detail:?}");
    headers
}

#[tokio::test]
async fn a_session_from_post_to_delete() {
    let server = Server::start();
    let response = post(&server, "/whip/lobby?name=Ann&identity=1", OFFER)
        .send()
        .await
        .expect("answered");
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(header(&response, "content-type"), SDP);
    for (name, exposed) in [("location", true), ("etag", true), ("link", true)] {
        let list = header(&response, "access-control-expose-headers");
        assert_eq!(list.split(", ").any(|n| n == name), exposed, "{name}");
    }
    let etag = header(&response, "etag").to_owned();
    assert!(
        etag.starts_with('"') && etag.ends_with('"'),
        "{etag} is not strong"
    );
    let location = header(&response, "location").to_owned();
    let key = location
        .strip_prefix("/whip/lobby/")
        .expect("below the endpoint");
    assert!(key.len() >= 32, "guessable");
    let answer = response.text().await.expect("an answer");
    for line in [
        "a=ice-lite",
        "a=setup:passive",
        "a=recvonly",
        "a=end-of-candidates",
    ] {
        assert!(
            answer.lines().any(|l| l == line),
            "{line} is not in\n{answer}"
        );
    }

    let session = |method: &str| ask(&server, method, &location);
    // RFC 9725 §4.2: a DELETE's If-Match is ignored.
    let gone = session("DELETE")
        .header("if-match", "\"other\"")
        .send()
        .await;
    assert_eq!(gone.expect("answered").status(), StatusCode::OK);
    check(session("DELETE"), 404, "POST a new offer").await;
    let patch = session("PATCH").header("content-type", FRAGMENT);
    check(patch.header("if-match", etag), 404, "POST a new offer").await;
}

#[tokio::test]
async fn ice_goes_on_by_patch() {
    const CANDIDATE: &str = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n";
    const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
    let server = Server::start();
    let (path, etag) = publish(&server).await;
    let patch = |condition: &str, body: &str| {
        let request = ask(&server, "PATCH", &path).header("content-type", FRAGMENT);
        let request = match condition {
            "" => request,
            condition => request.header("if-match", condition),
        };
        request.body(body.to_owned())
    };
    let trickled = patch(&etag, CANDIDATE).send().await.expect("answered");
    assert_eq!(trickled.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&trickled, "etag"), "", "RFC 9725 §4.3.1");
    check(patch("", CANDIDATE), 428, "If-Match").await;
    check(patch("\"other\"", CANDIDATE), 412, "new ETag").await;
    check(patch(&format!("W/{etag}"), CANDIDATE), 412, "new ETag").await;
    check(patch(&etag, "hello"), 400, "type=value").await;
    check(patch(&etag, "a=ice-ufrag:ysXw\r\n"), 400, "come together").await;
    check(patch(&etag, &"a=x\r\n".repeat(10_000)), 413, "longer").await;
    let sdp = ask(&server, "PATCH", &path)
        .header("content-type", SDP)
        .header("if-match", &etag);
    let headers = check(sdp.body(CANDIDATE), 415, FRAGMENT).await;
    assert_eq!(headers["accept-patch"], FRAGMENT);

    let restarted = patch("*", RESTART).send().await.expect("answered");
    assert_eq!(restarted.status(), StatusCode::OK);
    assert_eq!(header(&restarted, "content-type"), FRAGMENT);
    let renewed = header(&restarted, "etag").to_owned();
    assert!(!renewed.is_empty() && renewed != etag);
    let ours = restarted.text().await.expect("a fragment");
    for line in [
        "a=ice-lite",
        "a=ice-ufrag:",
        "a=ice-pwd:",
        "a=candidate:",
        "a=mid:0",
    ] {
        assert!(ours.contains(line), "{line} is not in\n{ours}");
    }
    check(patch(&etag, CANDIDATE), 412, "new ETag").await;
    // As the RFC's example has it.
    let again = patch("\"*\"", &RESTART.replace("ysXw", "zzzz"))
        .send()
        .await;
    let again = again.expect("answered");
    assert_eq!(again.status(), StatusCode::OK);
    assert_ne!(header(&again, "etag"), renewed);
}

#[tokio::test]
async fn methods_that_are_not_here_and_preflight() {
    let server = Server::start();
    let (path, _) = publish(&server).await;
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let headers = check(ask(&server, method, "/whip/lobby"), 405, "POST").await;
        assert_eq!(headers["allow"], "POST, OPTIONS");
    }
    for method in ["GET", "PUT", "POST"] {
        let headers = check(ask(&server, method, &path), 405, "PATCH").await;
        assert_eq!(headers["allow"], "PATCH, DELETE, OPTIONS");
    }
    for path in ["/whip/lobby", &path] {
        let preflight = ask(&server, "OPTIONS", path)
            .header("origin", "https://example.net")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        let response = preflight.send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "accept-post"), SDP);
        let allowed = header(&response, "access-control-allow-headers");
        for name in ["authorization", "content-type", "if-match"] {
            assert!(allowed.contains(name), "{name}");
        }
        assert!(header(&response, "access-control-allow-methods").contains("POST"));
    }
}

#[tokio::test]
async fn bad_input_is_refused_and_disturbs_nobody() {
    let server = Server::start();
    let (path, etag) = publish(&server).await;
    let lobby = "/whip/lobby";
    let text = Client::new().post(server.url(lobby)).body(OFFER);
    let headers = check(text, 415, SDP).await;
    assert_eq!(headers["accept-post"], SDP);
    check(post(&server, lobby, ""), 400, "not SDP").await;
    check(post(&server, lobby, "v=0\r\nhello"), 400, "not SDP").await;
    let (session_only, _) = OFFER.split_once("m=").expect("sections");
    check(post(&server, lobby, session_only), 400, "no media section").await;
    let unknown = OFFER.replace("H264/90000", "H263/90000");
    check(post(&server, lobby, &unknown), 400, "Amphi takes H264").await;
    let receiving = OFFER.replace("a=sendonly", "a=recvonly");
    check(post(&server, lobby, &receiving), 400, "sends nothing").await;
    let binary = post(&server, lobby, "").body(vec![0xff; 100]);
    check(binary, 400, "not UTF-8").await;
    check(post(&server, lobby, &"a".repeat(10_000_000)), 413, "longer").await;
    check(
        post(&server, "/whip/lobby?name=a&name=b", OFFER),
        400,
        "name",
    )
    .await;

    for room in ["a%2Fb", "..%2F..", "caf%C3%A9", "a%00b"] {
        let request = post(&server, &format!("/whip/{room}"), OFFER);
        check(request, 404, "a room name is made of").await;
    }
    let request = post(&server, &format!("/whip/{}", "a".repeat(10_000)), OFFER);
    check(request, 404, "1 to 64 characters").await;
    check(post(&server, "/whip/%FF", OFFER), 404, "UTF-8").await;
    for path in ["/whip/", "/whip", "/whip/a/b/c", "/whip///"] {
        let status = post(&server, path, OFFER)
            .send()
            .await
            .expect("answered")
            .status();
        assert!(matches!(status.as_u16(), 404 | 405), "{path} {status}");
    }
    check(
        ask(&server, "DELETE", "/whip/lobby/guess"),
        404,
        "POST a new offer",
    )
    .await;
    check(
        ask(&server, "DELETE", &path.replace("lobby", "attic")),
        404,
        "POST",
    )
    .await;

    let alive = ask(&server, "PATCH", &path)
        .header("content-type", FRAGMENT)
        .header("if-match", etag)
        .body("a=end-of-candidates\r\n");
    assert_eq!(
        alive.send().await.expect("answered").status(),
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let server = Server::start();
    let address = server.base.trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(address).expect("connected");
    let head = "POST /whip/lobby HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 1000\r\n\r\nv=0";
    slow.write_all(head.as_bytes()).expect("sent");
    slow.set_read_timeout(Some(SLOW_IS_CUT_WITHIN))
        .expect("set");
    // Others do not wait meanwhile.
    let began = Instant::now();
    publish(&server).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).expect("an answer in time");
    assert_eq!(&answer, b"HTTP/1.1 408");
}

fn token(room: &str, role: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_amphi"))
        .args(["token", "--room", room, "--role", role])
        .env("AMPHI_AUTH_SECRET", SECRET)
        .output()
        .expect("a token");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[tokio::test]
async fn a_token_opens_its_room_to_its_role() {
    let server = Server::start_with_secret(SECRET);
    let with = |token: &str| post(&server, "/whip/lobby", OFFER).bearer_auth(token);
    let headers = check(post(&server, "/whip/lobby", OFFER), 401, "amphi token").await;
    assert_eq!(headers["www-authenticate"], "Bearer");
    check(with("nonsense"), 401, "not valid").await;
    check(with(&token("attic", "speaker")), 403, "another room").await;
    check(with(&token("lobby", "viewer")), 403, "may not").await;
    // Nobody's offer is read before their token.
    check(post(&server, "/whip/lobby", "hello"), 401, "token").await;
    let taken = with(&token("*", "host")).send().await.expect("answered");
    assert_eq!(taken.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_full_server_says_when_to_come_again() {
    let settings = [
        ("AMPHI_RTC_MAX_CONNECTIONS", "1"),
        (
            "AMPHI_RTC_ICE_SERVERS",
            r#"["stun:s.example.net", "turn:u:p@t.example.net?transport=udp"]"#,
        ),
    ];
    let server = Server::start_with(&[], &settings);
    let first = post(&server, "/whip/lobby", OFFER)
        .send()
        .await
        .expect("answered");
    let links: Vec<_> = first.headers().get_all("link").iter().collect();
    assert_eq!(
        links.len(),
        4,
        "the server's own relay, by UDP and TCP, comes last"
    );
    assert_eq!(links[0], r#"<stun:s.example.net>; rel="ice-server""#);
    assert_eq!(
        links[1],
        r#"<turn:t.example.net?transport=udp>; rel="ice-server"; username="u"; credential="p"; credential-type="password""#
    );
    let headers = check(post(&server, "/whip/lobby", OFFER), 503, "taken").await;
    assert!(headers.contains_key("retry-after"));
    let path = header(&first, "location");
    let left = ask(&server, "DELETE", path).send().await.expect("answered");
    assert_eq!(left.status(), StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(300)).await;
    publish(&server).await;
}

#[tokio::test]
async fn a_publisher_who_never_came_is_explained() {
    let server = Server::start();
    let made = post(&server, "/whip/lobby?name=Ann", OFFER).send().await;
    let made = made.expect("answered");
    assert_eq!(made.status(), StatusCode::CREATED);
    let path = server.url("/api/v1/rooms/lobby/participants");
    let get = async |url: String| -> serde_json::Value {
        let response = reqwest::get(url).await.expect("answered");
        response.json().await.expect("JSON")
    };
    let list = get(path.clone()).await;
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    let url = format!("{path}/{id}");
    let before = get(url.clone()).await;
    assert_eq!(before["presence"], "joining");
    assert_eq!(
        before["connections"][0]["transport"],
        serde_json::Value::Null
    );
    assert_eq!(before["last_failure"], serde_json::Value::Null);
    let patch = ask(&server, "PATCH", header(&made, "location"))
        .header("content-type", "application/trickle-ice-sdpfrag")
        .header("if-match", header(&made, "etag"))
        .body("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 8.8.8.8 4000 typ srflx\r\n");
    assert_eq!(patch.send().await.expect("answered").status(), 204);

    // It is given twenty seconds to connect.
    let since = std::time::Instant::now();
    let failed = loop {
        let now = get(url.clone()).await;
        if now["last_failure"].is_object() {
            break now;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{now}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(failed["name"], "Ann");
    let failure = &failed["last_failure"];
    // The server under test is told by a loopback address alone.
    assert_eq!(failure["failure"], "private-addresses");
    assert!(
        failure["remedy"]
            .as_str()
            .is_some_and(|text| text.contains("rtc.public_addresses"))
    );
    assert_eq!(
        failure["remote_candidates"][0],
        "candidate:1 1 udp 1 8.8.8.8 4000 typ srflx"
    );
    assert_eq!(failure["checks_received"], 0);
    let nobody = reqwest::get(format!("{path}/nobody")).await;
    assert_eq!(nobody.expect("answered").status(), 404);
}
