//! The API answers as its description says: schemathesis asks what that allows, and what it does not.

mod support;

use std::path::Path;
use std::process::Command;

use support::publisher::Publisher;
use support::{SOON, Server, json, wait_for};

const SECRET: &str = "a secret of at least 32 characters";
/// Of each operation. The same at each run.
const EXAMPLES: &str = "40";

#[test]
fn every_answer_is_one_that_the_description_names() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/schemathesis");
    assert!(
        program.exists(),
        "schemathesis is not installed: `make test` does that"
    );
    let limit = ("AMPHI_HTTP_API_PER_MINUTE", "1000000");
    // Rooms that it made go live, too.
    let cpu = ("AMPHI_PROGRAM_MAX_CPU_PERCENT", "100000");
    let server = Server::start_as_operator(&[("AMPHI_AUTH_SECRET", SECRET), limit, cpu]);
    let made = Command::new(env!("CARGO_BIN_EXE_amphi"))
        .args(["token", "--room", "*", "--role", "host"])
        .env("AMPHI_AUTH_SECRET", SECRET)
        .output()
        .expect("a token");
    let token = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let small = ["--size", "320x180", "--bitrate", "200", "--token", &token];
    let publisher = Publisher::start(&server, "demo", &small);
    wait_for("the room is live", SOON, || {
        let room = json(&server.url("/api/v1/rooms/demo"));
        (room["live"] == true).then_some(())
    });
    let description = server.url("/api/openapi.json");
    assert_eq!(json(&description)["openapi"], "3.1.0");
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis.toml");
    let asked = Command::new(program)
        .arg("--config-file")
        .arg(settings)
        .args(["run", &description, "--checks", "all"])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--max-examples", EXAMPLES, "--generation-deterministic"])
        // It has no end.
        .args(["--exclude-path", "/api/v1/events", "--no-color"])
        // Where it keeps what it found.
        .current_dir(&folder)
        .output()
        .expect("schemathesis");
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{said}");
    println!(
        "{}",
        said.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    );
    publisher.leave();
}
