//! The settings, read from every source.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::*;

fn file(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    config
        .apply_file(Path::new("amphi.toml"), text)
        .map_err(|e| e.to_string())?;
    Ok(config)
}

fn environment(name: &str, value: &str) -> Result<Config, String> {
    Config::load(None, [(name.to_owned(), value.to_owned())]).map_err(|e| e.to_string())
}

#[test]
fn the_file_that_ships_is_the_table() {
    let shipped = include_str!("../../config/amphi.toml");
    assert_eq!(
        shipped,
        default_file(),
        "run: cargo run -- config > config/amphi.toml"
    );
}

#[test]
fn the_file_that_ships_says_the_defaults() {
    assert_eq!(file(&default_file()), Ok(Config::default()));
}

#[test]
fn a_file_changes_what_it_names() {
    let config = file("[http]\nlisten = \"127.0.0.1:9\"\n[program]\npart = \"100ms\"\n");
    let config = config.expect("a good file");
    assert_eq!(config.http.listen, SocketAddr::from(([127, 0, 0, 1], 9)));
    assert_eq!(config.program.part, Duration::from_millis(100));
}

#[test]
fn errors_name_file_key_and_what_is_allowed() {
    let error = |text| file(text).expect_err("a bad file");
    assert_eq!(
        error("[http]\nport = 8080"),
        "amphi.toml: there is no setting `http.port`; [http] has listen, trusted_proxies, \
         api_per_minute, joins_per_minute, room_joins_per_minute"
    );
    assert_eq!(
        error("[program]\npart = \"5s\""),
        "amphi.toml: `program.part` cannot be \"5s\"; it takes a time span, as \"200ms\", \"2s\" \
         or \"5m\", 100ms to 1s"
    );
    assert_eq!(
        error("[data]\ndir = 7"),
        "amphi.toml: `data.dir` cannot be 7; it takes a path"
    );
    assert!(error("[speakers]").contains("sections are http, rtc,"));
    assert!(error("http = 1").contains("there is no setting `http`"));
    assert!(error("[http\n").contains("is not TOML"));
}

#[test]
fn the_environment_wins_over_the_file_and_is_checked_too() {
    let config = environment("AMPHI_HTTP_LISTEN", "127.0.0.1:1").expect("good");
    assert_eq!(config.http.listen.port(), 1);
    let config = environment("AMPHI_ROOM_MAX_PARTICIPANTS", "7").expect("good");
    assert_eq!(config.room.max_participants, 7);
    let digits = "1".repeat(40);
    let config = environment("AMPHI_AUTH_SECRET", &digits).expect("digits are a text too");
    assert_eq!(config.auth.secret, digits);
    assert_eq!(environment("PATH", "/bin").as_ref(), Ok(&Config::default()));

    let error = environment("AMPHI_HTTP_PORT", "1").expect_err("unknown");
    assert!(
        error.contains("AMPHI_HTTP_PORT") && error.contains("AMPHI_HTTP_LISTEN"),
        "{error}"
    );
    let error = environment("AMPHI_HTTP_LISTEN", "everywhere").expect_err("bad");
    assert!(
        error.contains("AMPHI_HTTP_LISTEN") && error.contains("http.listen"),
        "{error}"
    );
}
