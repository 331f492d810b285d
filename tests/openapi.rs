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

/// As `/api` shows them, to be pasted into a shell.
#[test]
fn every_example_of_the_description_works() {
    let server = Server::start();
    let small = ["--size", "320x180", "--bitrate", "200"];
    let publisher = Publisher::start(&server, "demo", &small);
    let client = reqwest::blocking::Client::new();
    let participants = wait_for("the room is live", SOON, || {
        let room = json(&server.url("/api/v1/rooms/demo"));
        (room["live"] == true).then(|| json(&server.url("/api/v1/rooms/demo/participants")))
    });
    let participant = participants["items"][0]["id"].as_str().expect("an id");
    let made = client.put(server.url("/api/v1/rooms/demo"));
    let made = made.json(&serde_json::json!({})).send();
    assert!(made.expect("answered").status().is_success());
    let hook = serde_json::json!({"url": "http://127.0.0.1:9/hook"});
    let hook = client
        .post(server.url("/api/v1/webhooks"))
        .json(&hook)
        .send();
    let hook: serde_json::Value = hook.expect("answered").json().expect("JSON");
    let webhook = hook["id"].as_str().expect("an id");
    let description = json(&server.url("/api/openapi.json"));
    let mut tried = Vec::new();
    for (path, operations) in description["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(name) = body["$ref"]
                .as_str()
                .and_then(|name| name.rsplit('/').next())
            else {
                continue;
            };
            let example = &description["components"]["schemas"][name]["example"];
            assert!(example.is_object(), "{method} {path} has no example");
            let id = if path.contains("webhooks") {
                webhook
            } else {
                participant
            };
            let url = path.replace("{room}", "demo").replace("{id}", id);
            let method = method.to_uppercase().parse().expect("a method");
            let answer = client
                .request(method, server.url(&url))
                .json(example)
                .send();
            let answer = answer.expect("answered");
            // In --dev nobody is asked for a token, and none is made.
            let is_token = ["/api/v1/tokens", "/api/v1/keys"].contains(&path.as_str());
            let is_good = answer.status().is_success() || (is_token && answer.status() == 409);
            assert!(is_good, "{path}: {}", answer.text().unwrap_or_default());
            tried.push(path.clone());
        }
    }
    assert!(tried.len() >= 10, "{tried:?}");
    publisher.leave();
}
