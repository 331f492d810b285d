//! `amphi publish test` as a process of its own.

use std::process::{Child, Command, Stdio};

use super::{Server, signal};

/// A publisher of its own process; ends with the test.
pub struct Publisher(Child);

impl Publisher {
    /// With 640x360 of picture, if `arguments` do not say else.
    pub fn start(server: &Server, room: &str, arguments: &[&str]) -> Self {
        let url = server.url(&format!("/whip/{room}"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_amphi"));
        process.args(["publish", "test", "--whip", &url]);
        if !arguments.contains(&"--size") {
            process.args(["--size", "640x360"]);
        }
        let process = process
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the publisher");
        Self(process)
    }

    /// Until its time is over.
    pub fn wait(mut self) {
        let left = self.0.wait().expect("left");
        assert!(left.success(), "the publisher failed: {left}");
    }

    /// SIGINT: it says goodbye.
    pub fn leave(mut self) {
        signal(self.0.id(), nix::sys::signal::Signal::SIGINT);
        self.0.wait().expect("left");
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
