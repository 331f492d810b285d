//! A real server for tests: the binary, in its own folder, on free ports, ended with the test.
#![allow(dead_code)] // each test binary uses its own part

pub mod postgres;
pub mod publisher;
#[cfg(feature = "pipeline")]
pub mod recorded;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server binary is given this long to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// What is due at once is waited for this long: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Server {
    /// `http://127.0.0.1:port`
    pub base: String,
    process: Child,
    data: Option<TempDir>,
    /// What it is started with again.
    environment: Vec<(String, String)>,
}

impl Server {
    /// `amphi serve --dev` on free ports with a new data folder.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    pub fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (process, base) = spawn(data.path(), &["--dev"], arguments, environment);
        Self {
            base,
            process,
            data: Some(data),
            environment: owned(environment),
        }
    }

    /// As an operator runs it: with a secret, tokens asked.
    pub fn start_with_secret(secret: &str) -> Self {
        Self::start_as_operator(&[("AMPHI_AUTH_SECRET", secret)])
    }

    /// Without `--dev`, with these settings.
    pub fn start_as_operator(environment: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (process, base) = spawn(data.path(), &[], &[], environment);
        Self {
            base,
            process,
            data: Some(data),
            environment: owned(environment),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn data(&self) -> &Path {
        self.data.as_ref().expect("a data folder").path()
    }

    /// SIGKILL, then a new server on the same data folder.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
        let environment = self.environment.iter();
        let environment: Vec<_> = environment.map(|(k, v)| (&**k, &**v)).collect();
        let has_secret = environment
            .iter()
            .any(|(key, _)| *key == "AMPHI_AUTH_SECRET");
        let mode: &[&str] = if has_secret { &[] } else { &["--dev"] };
        let (process, base) = spawn(self.data(), mode, &[], &environment);
        self.process = process;
        self.base = base;
    }

    /// SIGTERM, and how it left.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        wait_for("the server leaves", Duration::from_secs(60), || {
            self.process.try_wait().expect("waited")
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn owned(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let all = environment.iter();
    all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn spawn(
    data: &Path,
    mode: &[&str],
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Child, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_amphi"))
        .arg("serve")
        .args(mode)
        .args(["--http", "127.0.0.1:0", "--rtc", "127.0.0.1:0"])
        .arg("--data")
        .arg(data)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server binary");
    let (tell, told) = std::sync::mpsc::channel();
    let output = BufReader::new(process.stdout.take().expect("piped"));
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(base) = line.strip_prefix("Amphi is ready at ") {
                let _ = tell.send(base.trim_end_matches('/').to_owned());
            }
        }
    });
    let base = told
        .recv_timeout(READY_WITHIN)
        .expect("the server says that it is ready");
    (process, base)
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a pid"));
    nix::sys::signal::kill(pid, signal).expect("the process is ours");
}

/// Polls until `f` gives something; panics with `what` after `within`.
pub fn wait_for<T>(what: &str, within: Duration, mut f: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn get(url: &str) -> Option<String> {
    let url = url.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let answer = reqwest::get(url).await.ok()?;
        answer
            .status()
            .is_success()
            .then_some(answer)?
            .text()
            .await
            .ok()
    })
}

pub fn json(url: &str) -> serde_json::Value {
    serde_json::from_str(&get(url).unwrap_or_default()).unwrap_or_default()
}

/// The id of the only recording, once it is complete.
pub fn the_recording(server: &Server) -> String {
    wait_for("the recording is complete", SOON, || {
        let list = json(&server.url("/api/v1/recordings"));
        let recording = list["items"].get(0)?;
        (recording["state"] == "complete").then(|| recording["id"].as_str().map(str::to_owned))?
    })
}

/// The pipeline child of a server.
pub fn child_of(server: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).ok();
    let threads = std::fs::read_dir(format!("/proc/{server}/task")).ok()?;
    let of_threads = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    children
        .into_iter()
        .chain(of_threads)
        .flat_map(|text| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .find_map(|pid| pid.parse().ok())
}
