//! A real Postgres for a test: a cluster in a folder of its own, on a free port, ended with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(30);

pub struct Postgres {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Postgres {
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = folder.path().join("cluster");
        let cluster_name = cluster.to_str().expect("a path");
        if nix::unistd::geteuid().is_root() {
            let given = Command::new("chown")
                .arg("postgres")
                .arg(folder.path())
                .status();
            assert!(given.expect("chown").success());
        }
        let made = unprivileged(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--username=amphi",
                "--no-sync",
                "-D",
                cluster_name,
            ])
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb").success());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let process = unprivileged(&programs.join("postgres"))
            .args(["-D", cluster_name, "-p", &port.to_string()])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
            ])
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres");
        let postgres = Self {
            process,
            port,
            _folder: folder,
        };
        super::wait_for("Postgres is ready", READY_WITHIN, || {
            let ready = Command::new(programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status();
            ready.is_ok_and(|status| status.success()).then_some(())
        });
        postgres
    }

    pub fn url(&self) -> String {
        format!("postgres://amphi@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        super::signal(self.process.id(), nix::sys::signal::Signal::SIGINT);
        let _ = self.process.wait();
    }
}

/// Those of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed");
    let newest = versions.flatten().map(|version| version.path()).max();
    newest.expect("a version").join("bin")
}

/// Postgres does not run as root.
fn unprivileged(program: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
        .arg(program);
    command.current_dir("/");
    command
}
