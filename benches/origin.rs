//! Our LL-HLS origin against nginx serving the same bytes as files: same cores, same load
//! generator (`wrk`), same run, in turns. `cargo bench --bench origin [-- axum]`; with
//! `axum` the routes are served by axum's own server instead of by [`Front`].
//!
//! Budget: at least nginx. Requests a second are as steady as the machine is idle; the CPU
//! time that the server spends on one request is steadier.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use amphi::hls::{Directory, Front, Init, Live, Origin, Part, Rendition, Settings};
use amphi::room::{BroadcastId, RoomId};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;

/// Short turns, so that whatever else the machine does hits both alike.
const ROUNDS: usize = 7;
const SECONDS: &str = "1";
const CONNECTIONS: &str = "64";

/// What a viewer fetches: name, path below the broadcast, whether gzip is accepted.
const CASES: [(&str, &str, bool); 6] = [
    ("video part, 62.5 kB", "720p/30.3.m4s", false),
    ("audio part, 3.2 kB", "audio/30.3.m4s", false),
    ("video segment, 625 kB", "720p/30.m4s", false),
    ("playlist, gzip", "720p/index.m3u8", true),
    ("delta update, gzip", "720p/index.m3u8?_HLS_skip=YES", true),
    ("playlist, plain", "720p/index.m3u8", false),
];

const BASE: &str = "/live/demo/00000000-0000-0000-0000-000000000000";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--serve") {
        return serve(args[at + 1].parse().unwrap(), &args[at + 2]);
    }
    let axum = args.iter().any(|arg| arg == "axum");
    compare(if axum { "axum" } else { "front" });
}

/// One half of the cores serves, the other asks.
fn cores() -> (String, String, usize) {
    let total = std::thread::available_parallelism().map_or(1, |n| n.get());
    let half = (total / 2).max(1);
    let servers = format!("0-{}", half - 1);
    let askers = format!("{}-{}", total - half, total - 1);
    (servers, askers, half)
}

fn compare(kind: &str) {
    let (servers, askers, workers) = cores();
    let ours_port = free_port();
    let mut ours = Command::new("taskset")
        .args(["-c", &servers])
        .arg(std::env::current_exe().unwrap())
        .args(["--serve", &ours_port.to_string(), kind])
        .spawn()
        .unwrap();
    let ours_url = format!("http://127.0.0.1:{ours_port}");
    wait_for(ours_port);

    let dir = tempfile::tempdir().unwrap();
    for (index, (_, path, _)) in CASES.iter().enumerate() {
        let url = format!("{ours_url}{BASE}/{path}");
        let file = dir.path().join("www").join(format!("{index}.m4s"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (name, gzip) in [("", false), (".gz", true)] {
            let bytes = fetch(&url, gzip);
            fs::write(format!("{}{name}", file.display()), bytes).unwrap();
        }
    }
    let nginx_port = free_port();
    let mut nginx = start_nginx(dir.path(), nginx_port, workers, &servers);
    wait_for(nginx_port);
    let nginx_url = format!("http://127.0.0.1:{nginx_port}");

    println!("{workers} core(s) serve, the others ask; {CONNECTIONS} connections; {kind}");
    println!("| what | ours/s | nginx/s | ratio | ours µs CPU | nginx µs CPU | CPU ratio |");
    println!("|---|---|---|---|---|---|---|");
    for (index, (name, path, gzip)) in CASES.iter().enumerate() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let url = format!("{ours_url}{BASE}/{path}");
            a.push(load(&askers, &url, *gzip, &[ours.id()]));
            let url = format!("{nginx_url}/{index}.m4s");
            b.push(load(&askers, &url, *gzip, &children_of(nginx.id())));
        }
        let ratio = median(
            a.iter()
                .zip(&b)
                .map(|(a, b)| (a.0 / b.0, b.1 / a.1))
                .collect(),
        );
        let (a, b) = (median(a), median(b));
        println!(
            "| {name} | {:.0} | {:.0} | {:.2} | {:.1} | {:.1} | {:.2} |",
            a.0, b.0, ratio.0, a.1, b.1, ratio.1
        );
    }
    for child in [&mut ours, &mut nginx] {
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        let _ = child.wait();
    }
}

/// Requests a second, and the server's CPU time for each in microseconds.
fn load(askers: &str, url: &str, gzip: bool, servers: &[u32]) -> (f64, f64) {
    let before: f64 = servers.iter().map(|pid| cpu_seconds(*pid)).sum();
    let mut wrk = Command::new("taskset");
    wrk.args([
        "-c",
        askers,
        "wrk",
        "-t",
        "1",
        "-c",
        CONNECTIONS,
        "-d",
        SECONDS,
    ]);
    if gzip {
        wrk.args(["-H", "accept-encoding: gzip"]);
    }
    let out = wrk.arg(url).output().expect("wrk is installed");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let after: f64 = servers.iter().map(|pid| cpu_seconds(*pid)).sum();
    let field = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_default();
        let words = line.split_whitespace();
        words.flat_map(|w| w.parse()).next().unwrap_or(0.0)
    };
    let requests = field("requests in");
    (
        field("Requests/sec"),
        (after - before) * 1e6 / requests.max(1.0),
    )
}

/// Of each of the two figures by itself.
fn median(runs: Vec<(f64, f64)>) -> (f64, f64) {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let firsts = runs.iter().map(|run| run.0).collect();
    (
        middle(firsts),
        middle(runs.iter().map(|run| run.1).collect()),
    )
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default().to_owned();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.flat_map(|t| t.parse::<f64>()).sum::<f64>() / 100.0
}

fn children_of(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().flat_map(|p| p.parse()).collect()
}

fn start_nginx(dir: &Path, port: u16, workers: usize, cores: &str) -> Child {
    let dir = dir.display();
    let conf = format!(
        "daemon off; worker_processes {workers}; pid {dir}/pid; error_log {dir}/error.log;
user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; server_tokens off;
  keepalive_requests 1000000000; open_file_cache max=1000; gzip_static on; gzip_vary on;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
  uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
  types {{ video/mp4 m4s; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    root {dir}/www;
    add_header cache-control \"public, max-age=31536000, immutable\";
    add_header access-control-allow-origin *;
  }}
}}"
    );
    fs::write(format!("{dir}/nginx.conf"), conf).unwrap();
    Command::new("taskset")
        .args(["-c", cores, "nginx", "-p"])
        .arg(dir.to_string())
        .args(["-c", &format!("{dir}/nginx.conf")])
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed")
}

fn fetch(url: &str, gzip: bool) -> Vec<u8> {
    let encoding = if gzip {
        "accept-encoding: gzip"
    } else {
        "accept-encoding: identity"
    };
    let out = Command::new("curl")
        .args(["-sf", "-H", encoding, url])
        .output()
        .unwrap();
    assert!(out.status.success(), "{url}");
    out.stdout
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn wait_for(port: u16) {
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing listens on port {port}");
}

struct One(Arc<Live>);

impl Directory for One {
    fn live(&self, _: &RoomId) -> Option<Arc<Live>> {
        Some(self.0.clone())
    }
}

/// A broadcast a minute old: 2.5 Mbit/s of video, 128 kbit/s of audio.
fn broadcast() -> Arc<Live> {
    let renditions = vec![
        Rendition::video("720p", 1280, 720, 30.0, 2_500_000),
        Rendition::video("360p", 640, 360, 30.0, 600_000),
        Rendition::audio("audio", 128_000),
    ];
    let id: BroadcastId = "00000000-0000-0000-0000-000000000000".parse().unwrap();
    let live = Live::new(Settings::default(), id, chrono::Utc::now(), renditions);
    let sizes = [("720p", 62_500), ("360p", 15_000), ("audio", 3_200)];
    for (name, _) in sizes {
        let init = Init {
            rendition: name.into(),
            bytes: Bytes::from_static(b"init"),
        };
        live.push_init(init).unwrap();
    }
    for number in 0..613_u64 {
        for (name, size) in sizes {
            let part = Part {
                rendition: name.into(),
                decode_time: Duration::from_millis(200 * number),
                duration: Duration::from_millis(200),
                independent: number.is_multiple_of(10),
                segment: number / 10,
                ends_segment: number % 10 == 9,
                discontinuity: false,
                bytes: Bytes::from(vec![number as u8; size]),
            };
            live.push_part(part).unwrap();
        }
    }
    Arc::new(live)
}

fn serve(port: u16, kind: &str) {
    let origin = Origin::new(Arc::new(One(broadcast())), 1000);
    let (_, _, workers) = cores();
    if kind == "axum" {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
                .await
                .unwrap();
            use axum::serve::ListenerExt;
            let listener = listener.tap_io(|io| drop(io.set_nodelay(true)));
            axum::serve(listener, origin.router()).await.unwrap();
        });
    }
    let front = Front::new(origin, axum::Router::new());
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let front = front.clone();
            std::thread::spawn(move || accept(port, front))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn accept(port: u16, front: Front) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(socket.into()).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(front.clone());
            tokio::task::spawn_local(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}
