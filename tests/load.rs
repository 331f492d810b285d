//! `amphi load` against a real server: what it prints is what was there.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

mod support;

use support::Server;
use support::publisher::Publisher;

fn load(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_amphi"))
        .arg("load")
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("amphi load")
}

/// What it printed, once it ended well.
fn printed(load: Child) -> String {
    let output = load.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{text}");
    text
}

/// The first number of a line.
fn number(text: &str, line: &str) -> f64 {
    let line = text.lines().find(|l| l.starts_with(line));
    let line = line.unwrap_or_else(|| panic!("no {line:?} in {text}"));
    let mut numbers = line.split_whitespace().map(|word| word.trim_matches(','));
    numbers
        .find_map(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no number in {line:?}"))
}

#[test]
fn attendees_of_a_room_get_all_that_is_published() {
    let server = Server::start();
    let sessions = server.url("/rtc/show").replace("http://", "ws://");
    let publish = server.url("/whip/show?name=load");
    let arguments = ["--count", "4", "--for", "5s", "--publish", &publish];
    let text = printed(load(&[&["session", &sessions][..], &arguments].concat()));
    assert!(text.contains("connected           4 of 4"));
    assert!(number(&text, "time to first frame") > 0.0);
    assert!(number(&text, "latency") > 0.0);
    assert_eq!(number(&text, "lost"), 0.0);
    // 180 a second to each of four, for most of five seconds.
    assert!(number(&text, "received") > 300.0);
}

#[test]
fn who_attends_before_anybody_publishes_gets_what_comes_later() {
    let server = Server::start();
    let page = server.url("/rtc/show");
    let attendees = load(&["session", &page, "--count", "2", "--for", "8s"]);
    std::thread::sleep(Duration::from_secs(2));
    let publisher = Publisher::start(&server, "show", &["--for", "10s"]);
    let text = printed(attendees);
    drop(publisher);
    assert!(text.contains("connected           2 of 2"));
    assert!(number(&text, "time to first frame") > 1000.0);
    assert!(number(&text, "received") > 20.0);
}

#[test]
fn players_and_publishers_are_counted_too() {
    let server = Server::start();
    let (whip, whep) = (
        server.url("/whip/show?name=load"),
        server.url("/whep/show/load"),
    );
    let players = ["--count", "3", "--for", "4s", "--publish", &whip];
    let text = printed(load(&[&["whep", &whep][..], &players].concat()));
    assert!(text.contains("connected           3 of 3"));
    assert_eq!(number(&text, "lost"), 0.0);
    let whip = server.url("/whip/other");
    let text = printed(load(&["whip", &whip, "--count", "2", "--for", "2s"]));
    assert!(text.contains("connected           2 of 2"));
}
