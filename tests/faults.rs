//! Strangers do their worst while a broadcast runs, and the broadcast does not notice.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use support::publisher::Publisher;
use support::{SOON, Server, get, json, signal, wait_for};

const OFFER: &str = include_str!("vectors/offers/chromium-h264.sdp");
const TEN_MEGABYTES: usize = 10 << 20;

#[test]
fn a_broadcast_goes_on_whatever_strangers_send() {
    let server = Server::start();
    let _publisher = Publisher::start(&server, "show", &["--codec", "vp8"]);
    wait_for("the WHIP POST is answered", SOON, || {
        get(&server.url("/api/v1/rooms/show"))
    });
    let asked = Instant::now();
    let multivariant = wait_for("the stream is live", SOON, || {
        get(&server.url("/live/show/index.m3u8"))
    });
    println!(
        "WHIP POST to the first part of every rendition: {:?}",
        asked.elapsed()
    );
    let media = multivariant
        .lines()
        .find(|line| line.ends_with("720p/index.m3u8"));
    let playlist = server.url(&format!("/live/show/{}", media.expect("720p")));
    let before = newest(&get(&playlist).expect("a playlist"));

    offers_that_make_no_sense(&server);
    names_that_are_none(&server);
    questions_far_off(&playlist);
    datagrams(&server);
    let slow = slow_clients(&server);

    let text = wait_for("the stream goes on", SOON, || {
        get(&playlist).filter(|text| newest(text) >= before + 3)
    });
    drop(slow);
    assert!(
        !text.contains("#EXT-X-DISCONTINUITY\n") && !text.contains("#EXT-X-GAP"),
        "{text}"
    );
    let room = json(&server.url("/api/v1/rooms/show"));
    assert_eq!(
        (&room["live"], &room["participants"]),
        (&true.into(), &1.into()),
        "{room}"
    );
    assert!(server.terminate().success());
}

/// The media sequence number of the newest whole segment.
fn newest(playlist: &str) -> u64 {
    let whole = playlist
        .lines()
        .rev()
        .find_map(|line| line.strip_suffix(".m4s"));
    whole.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn post(server: &Server, path: &str, body: impl Into<reqwest::blocking::Body>) -> (u16, String) {
    let client = Client::builder().timeout(SOON).build().expect("a client");
    let request = client
        .post(server.url(path))
        .header("content-type", "application/sdp")
        .body(body);
    let answer = request.send().expect("answered");
    let status = answer.status().as_u16();
    let location = answer
        .headers()
        .get("location")
        .and_then(|value| value.to_str().ok());
    let location = location.map(str::to_owned);
    let text = answer.text().unwrap_or_default();
    if status >= 400 {
        let problem: serde_json::Value = serde_json::from_str(&text).expect("problem+json");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| detail.len() > 10),
            "{problem}"
        );
    }
    (
        status,
        location.map_or(text.clone(), |location| format!("{location}\n{text}")),
    )
}

fn offers_that_make_no_sense(server: &Server) {
    let unknown = OFFER
        .replace("H264", "H999")
        .replace("VP8", "VP0")
        .replace("VP9", "VP0")
        .replace("AV1", "AV0");
    let half = &OFFER[..OFFER.len() / 2];
    for (offer, expected) in [
        ("no SDP at all".to_owned(), 400),
        (String::new(), 400),
        (half.replace("a=fingerprint", "a=fingerprin"), 400),
        (OFFER.replace("a=ice-ufrag", "a=ice-u"), 400),
        (OFFER.replace("a=mid:0", "a=mid:0\rx"), 400),
        (unknown, 400),
        ("v=0\r\n".repeat(TEN_MEGABYTES / 5), 413),
    ] {
        let (status, text) = post(server, "/whip/show", offer.clone());
        assert_eq!(status, expected, "{offer:.60}: {text}");
    }
}

fn names_that_are_none(server: &Server) {
    let long = "x".repeat(10_000);
    let names = [
        "a/b",
        "..%2f..%2fetc",
        "%00",
        "%ff%fe",
        "a%20b",
        "%F0%9F%8E%AD",
        "",
        "%2e%2e",
        &long,
    ];
    let client = Client::builder().timeout(SOON).build().expect("a client");
    for name in names {
        for (method, path) in [
            ("POST", format!("/whip/{name}")),
            ("PATCH", format!("/whip/show/{name}")),
            ("DELETE", format!("/whip/show/{name}")),
            ("GET", format!("/live/{name}/index.m3u8")),
            ("GET", format!("/live/show/{name}/720p/index.m3u8")),
            ("GET", format!("/vod/{name}/index.m3u8")),
            ("GET", format!("/api/v1/rooms/{name}/participants")),
            ("GET", format!("/api/v1/recordings/{name}/nothing")),
        ] {
            let method = method.parse().expect("a method");
            let request = client.request(method, server.url(&path)).body(OFFER);
            let answer = request
                .header("content-type", "application/sdp")
                .send()
                .expect("answered");
            is_clear(answer, &path);
        }
    }
}

/// The client's fault, in a document that says what to do.
fn is_clear(answer: reqwest::blocking::Response, asked: &str) {
    let status = answer.status();
    assert!(status.is_client_error(), "{status} for {asked:.80}");
    let kind = answer.headers().get("content-type").cloned();
    let text = answer.text().unwrap_or_default();
    assert!(
        kind.is_some_and(|kind| kind == "application/problem+json"),
        "{status} for {asked:.80} is no problem document: {text}"
    );
    let problem: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.len() > 10, "{problem} for {asked:.80}");
    assert!(
        detail.len() < 1000,
        "{asked:.80} is given back: {detail:.80}"
    );
}

fn questions_far_off(playlist: &str) {
    for query in [
        "_HLS_msn=-1",
        "_HLS_msn=x",
        "_HLS_msn=99999999",
        "_HLS_part=3",
        "_HLS_msn=1&_HLS_part=-1",
        "_HLS_msn=18446744073709551616",
        "_HLS_skip=MAYBE",
        "_HLS_msn=1&_HLS_msn=2",
        "_HLS_msn=%31",
        &format!("_HLS_msn={}", "9".repeat(5000)),
    ] {
        let answer = reqwest::blocking::get(format!("{playlist}?{query}")).expect("answered");
        assert_eq!(answer.status(), 400, "{query}");
        is_clear(answer, query);
    }
}

/// What looks like STUN, DTLS, RTP and RTCP, whole and cut off, and noise: nothing is answered.
fn datagrams(server: &Server) {
    let (_, answer) = post(server, "/whip/other", OFFER);
    let candidate = answer
        .lines()
        .find(|line| line.starts_with("a=candidate:"))
        .expect("a candidate");
    let words: Vec<&str> = candidate.split(' ').collect();
    let address: SocketAddr = format!("{}:{}", words[4], words[5])
        .parse()
        .expect("an address");
    let session = answer.lines().next().expect("a location");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    let mut noise = Noise(7);
    // A check that knows the session's name and not its password.
    let ufrag = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    let username = format!("{}:them", ufrag.expect("a name"));
    let padded = username.len().next_multiple_of(4);
    let mut check = [
        &[0, 1, 0, 4 + padded as u8, 0x21, 0x12, 0xA4, 0x42][..],
        &[9; 12],
    ]
    .concat();
    check.extend_from_slice(&[0, 6, 0, username.len() as u8]);
    check.extend_from_slice(username.as_bytes());
    check.resize(24 + padded, 0);
    socket.send_to(&check, address).expect("sent");
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[9; 12]].concat();
    let hello = [
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1][..],
        &[0; 199],
    ]
    .concat();
    let rtp = [&[0x80, 96, 0, 1][..], &[5; 400]].concat();
    let rtcp = [&[0x81, 206, 0, 2][..], &[5; 8]].concat();
    for round in 0..500 {
        for template in [&check, &binding, &hello, &rtp, &rtcp] {
            let mut datagram = template.clone();
            datagram.truncate(1 + noise.below(datagram.len()));
            for _ in 0..round % 4 {
                let at = noise.below(datagram.len());
                datagram[at] = noise.next() as u8;
            }
            socket.send_to(&datagram, address).expect("sent");
        }
    }
    // Whoever asks a STUN server for their address or a TURN server for a relay is answered,
    // shortly; nobody else is.
    let mut answer = [0; 1500];
    while let Ok((len, _)) = socket.recv_from(&mut answer) {
        let is_answer = answer[0] == 1 && answer[4..8] == [0x21, 0x12, 0xA4, 0x42];
        assert!(is_answer && len <= 120, "{:?}", &answer[..len]);
    }
    let client = Client::new();
    let left = client.delete(server.url(session)).send().expect("answered");
    assert_eq!(left.status(), 200);
}

/// Connections that send a request a byte at a time, and some that never do.
fn slow_clients(server: &Server) -> Vec<TcpStream> {
    let address = server.base.trim_start_matches("http://");
    let mut slow: Vec<TcpStream> = (0..50)
        .map(|_| TcpStream::connect(address).expect("connected"))
        .collect();
    for stream in &mut slow {
        stream
            .write_all(b"GET /live/show/index.m3u8 HT")
            .expect("sent");
    }
    let mut patient = TcpStream::connect(address).expect("connected");
    for byte in b"GET /healthz HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n" {
        patient.write_all(&[*byte]).expect("sent");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut answer = String::new();
    patient.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    slow
}

/// The same noise in each run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

#[test]
fn parts_come_again_soon_after_a_kill() {
    let server = Server::start();
    let _publisher = Publisher::start(&server, "show", &["--codec", "h264"]);
    let multivariant = wait_for("the stream is live", SOON, || {
        get(&server.url("/live/show/index.m3u8"))
    });
    let media = multivariant
        .lines()
        .find(|line| line.ends_with("720p/index.m3u8"));
    let playlist = server.url(&format!("/live/show/{}", media.expect("720p")));
    wait_for("a segment", SOON, || {
        get(&playlist).filter(|text| newest(text) >= 1)
    });
    let child = support::child_of(server.pid()).expect("the child");
    signal(child, nix::sys::signal::Signal::SIGKILL);
    let killed = Instant::now();
    wait_for("parts again", SOON, || {
        let text = get(&playlist)?;
        let after = text.split_once("#EXT-X-DISCONTINUITY\n")?.1;
        after.contains("#EXT-X-PART:").then_some(())
    });
    println!(
        "kill -9 of the child to the next part: {:?}",
        killed.elapsed()
    );
}
