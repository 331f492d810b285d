//! `config/edge/nginx.conf` in a real nginx: one copy for all viewers of a private room, and none for others.

mod support;

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};
use support::publisher::Publisher;
use support::{SOON, Server, wait_for};

const SECRET: &str = "a secret of at least 32 characters";

struct Edge {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Its workers leave with it.
        support::signal(self.process.id(), nix::sys::signal::Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

/// The file as it ships, but for addresses and folders.
fn edge(server: &Server) -> Edge {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().display();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let shipped = std::fs::read_to_string("config/edge/nginx.conf").expect("the file");
    let upstream = server.base.trim_start_matches("http://");
    let changed = shipped
        .replace("127.0.0.1:8080", upstream)
        .replace("listen 8081", &format!("listen 127.0.0.1:{port}"))
        .replace("/var/cache/nginx", &format!("{dir}/cache"));
    std::fs::create_dir(folder.path().join("cache")).expect("a folder");
    let user = match nix::unistd::geteuid().is_root() {
        true => "user root;",
        false => "",
    };
    let whole = format!(
        "daemon off; {user} pid {dir}/pid; error_log {dir}/error.log; events {{}}
         http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b;
         fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
         {changed} }}"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, whole).expect("written");
    let process = Command::new("nginx")
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed: `make test` does that");
    let url = format!("http://127.0.0.1:{port}");
    let health = format!("{url}/healthz");
    wait_for("nginx answers", SOON, || support::get(&health));
    Edge {
        process,
        url,
        _folder: folder,
    }
}

fn token(room: &str, role: &str, identity: &str) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_amphi"))
        .args(["token", "--room", room, "--role", role])
        .args(["--identity", identity])
        .env("AMPHI_AUTH_SECRET", SECRET)
        .output()
        .expect("a token");
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

#[test]
fn a_cache_keeps_one_copy_for_all_who_may_and_none_for_others() {
    let server = Server::start_with_secret(SECRET);
    let client = Client::new();
    let host = token("*", "host", "host");
    let made = client
        .put(server.url("/api/v1/rooms/show"))
        .bearer_auth(&host)
        .json(&json!({"private": true}));
    assert_eq!(made.send().expect("answered").status(), 201);
    let small = ["--size", "320x180", "--bitrate", "200", "--token", &host];
    let secret_room = Publisher::start(&server, "show", &small);
    let open_room = Publisher::start(&server, "open", &small);
    for room in ["show", "open"] {
        wait_for("the room is live", SOON, || {
            let room = client.get(server.url(&format!("/api/v1/rooms/{room}")));
            let view = room.bearer_auth(&host).send().ok()?.json::<Value>().ok()?;
            (view["live"] == true).then_some(())
        });
    }
    let edge = edge(&server);
    let get = |path: &str| -> Response {
        let answer = client.get(format!("{}{path}", edge.url)).send();
        answer.expect("answered")
    };
    let cached = |answer: &Response| {
        let told = answer.headers().get("x-cache");
        told.map(|told| told.to_str().expect("text").to_owned())
    };
    let media = |room: &str, token: &str| -> String {
        let text = get(&format!("{token}/live/{room}/index.m3u8"))
            .text()
            .expect("read");
        let mut lines = text.lines();
        let media = lines.find(|line| line.ends_with("index.m3u8") && !line.starts_with('#'));
        media
            .expect("a playlist")
            .replace("index.m3u8", "init-0.mp4")
    };
    let (ada, bob) = (
        token("show", "viewer", "ada"),
        token("show", "viewer", "bob"),
    );
    let other = token("attic", "host", "eve");
    let with = |token: &str| format!("/with/{token}");
    let init = format!("/live/show/{}", media("show", &with(&ada)));
    let first = get(&format!("{}{init}", with(&ada)));
    assert_eq!(
        (first.status().as_u16(), cached(&first).as_deref()),
        (200, Some("MISS"))
    );
    let second = get(&format!("{}{init}", with(&bob)));
    assert_eq!(
        (second.status().as_u16(), cached(&second).as_deref()),
        (200, Some("HIT"))
    );
    assert_eq!(first.bytes().expect("read"), second.bytes().expect("read"));
    for (token, status) in [(other.as_str(), 403), ("nonsense", 401)] {
        for path in [init.as_str(), "/live/show/index.m3u8"] {
            assert_eq!(
                get(&format!("{}{path}", with(token))).status(),
                status,
                "{path}"
            );
        }
    }
    assert_eq!(
        get(&init).status(),
        401,
        "what others may see is not there for all"
    );
    // Nor does a header's answer become everybody's.
    let own = client
        .get(format!("{}{init}", edge.url))
        .bearer_auth(&ada)
        .send();
    assert_eq!(own.expect("answered").status(), 200);
    assert_eq!(get(&init).status(), 401);

    let open = format!("/live/open/{}", media("open", ""));
    assert_eq!(cached(&get(&open)).as_deref(), Some("MISS"));
    assert_eq!(cached(&get(&open)).as_deref(), Some("HIT"));
    // A part that is to come is waited for, once for all who ask.
    let playlist = open.replace("init-0.mp4", "index.m3u8");
    let text = get(&playlist).text().expect("read");
    let hint = text.lines().find_map(|line| {
        let name = line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")?;
        let (msn, part) = name.split_once(".m4s")?.0.split_once('.')?;
        Some(format!("{playlist}?_HLS_msn={msn}&_HLS_part={part}"))
    });
    let hint = hint.expect("a hint");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..5).map(|_| scope.spawn(|| get(&hint))).collect();
        asked
            .into_iter()
            .map(|one| one.join().expect("asked"))
            .collect()
    });
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let misses = answers
        .iter()
        .filter(|one| cached(one).as_deref() == Some("MISS"));
    assert_eq!(misses.count(), 1);
    secret_room.leave();
    open_room.leave();
}
