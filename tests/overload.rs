//! A machine that has too much to do: what is shed, and what is refused.

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use support::publisher::Publisher;
use support::{SOON, Server, get, json, wait_for};

/// Encoders of several servers at once are too much for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The encoder falls behind for 5 s first, on a machine where everything takes its time.
const SHED_WITHIN: Duration = Duration::from_secs(60);
const SMALL: [&str; 4] = ["--size", "320x180", "--bitrate", "300"];

/// What no machine encodes in real time, in one thread.
const LADDER: &str = "fps = 60
[[video]]
name = 'large'
width_px = 1920
height_px = 1080
bitrate_bps = 4_000_000
[[video]]
name = 'small'
width_px = 160
height_px = 90
bitrate_bps = 100_000
[audio]
name = 'audio'
bitrate_bps = 64_000
";
const ENCODER: &str = "element = 'x264enc tune=zerolatency speed-preset=veryslow bframes=0 key-int-max=600 \
    option-string=scenecut=0 threads=1 bitrate={bitrate_kbps}'\ncaps = 'video/x-h264,profile=high'";

#[test]
fn a_rendition_that_cannot_be_encoded_in_time_shows_the_next_smaller_one() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    for (kind, name, text) in [
        ("ladders", "tall.toml", LADDER),
        ("encoders", "slow.toml", ENCODER),
    ] {
        let kind = folder.path().join(kind);
        std::fs::create_dir_all(&kind).expect("a folder");
        std::fs::write(kind.join(name), text).expect("a file");
    }
    let pipelines = folder.path().to_str().expect("a path");
    let server = Server::start_with(
        &[],
        &[
            ("AMPHI_PROGRAM_PIPELINES", pipelines),
            ("AMPHI_PROGRAM_LADDER", "tall"),
            ("AMPHI_PROGRAM_ENCODER", "slow"),
        ],
    );
    let publisher = Publisher::start(&server, "show", &SMALL);
    let room = server.url("/api/v1/rooms/show");
    wait_for("the room", SOON, || get(&room));
    wait_for("the large rendition is shed", SHED_WITHIN, || {
        (json(&room)["broadcast"]["shed"] == true).then_some(())
    });
    let multivariant = wait_for("the stream is live", SOON, || {
        get(&server.url("/live/show/index.m3u8"))
    });
    let of = |name: &str| {
        let ending = format!("{name}/index.m3u8");
        let mut lines = multivariant.lines();
        let media = lines.find(|line| line.ends_with(&ending));
        server.url(&format!("/live/show/{}", media.expect("a rendition")))
    };
    let (large, small) = (of("large"), of("small"));
    let bytes = |url: &str| reqwest::blocking::get(url).and_then(|answer| answer.bytes());
    let coded = |url: &str| {
        let header = bytes(url).ok()?;
        let at = header.windows(4).position(|window| window == b"avcC")?;
        Some(header[at..at + 20].to_vec())
    };
    let smaller = coded(&small.replace("index.m3u8", "init-0.mp4")).expect("a header");
    // Behind the last discontinuity, if it was shed after its first part at all.
    // What the encoder was given before is encoded first, and each frame takes it long.
    wait_for(
        "it goes on with the smaller one's header",
        SHED_WITHIN,
        || {
            let text = get(&large)?;
            let after = text.rsplit("#EXT-X-DISCONTINUITY\n").next()?;
            let header = after.split_once("#EXT-X-MAP:URI=\"")?.1.split_once('"')?.0;
            let is_it = coded(&large.replace("index.m3u8", header))? == smaller;
            (is_it && after.contains("#EXT-X-PART:")).then_some(())
        },
    );
    publisher.leave();
}

#[test]
fn a_broadcast_that_does_not_fit_waits_and_the_room_says_why() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(&[], &[("AMPHI_PROGRAM_MAX_CPU_PERCENT", "10")]);
    let first = Publisher::start(&server, "one", &SMALL);
    let one = server.url("/api/v1/rooms/one");
    wait_for("the first is live", SOON, || {
        (json(&one)["live"] == true).then_some(())
    });
    wait_for("its cost is known", SOON, || {
        let metrics = get(&server.url("/metrics"))?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with("amphi_program_cores "))?;
        let cores: f64 = line.split_once(' ')?.1.parse().ok()?;
        (cores > 0.0).then_some(())
    });
    let second = Publisher::start(&server, "two", &SMALL);
    let two = server.url("/api/v1/rooms/two");
    wait_for("the second is refused", SOON, || {
        get(&two)?;
        let reason = json(&two)["refused"].as_str()?.to_owned();
        reason.contains("program.max_cpu_percent").then_some(())
    });
    assert_eq!(json(&two)["broadcast"], serde_json::Value::Null);
    let client = reqwest::blocking::Client::new();
    let asked = client
        .post(format!("{two}/broadcast"))
        .send()
        .expect("an answer");
    assert_eq!(asked.status(), 503);
    let live_already = client
        .post(format!("{one}/broadcast"))
        .send()
        .expect("an answer");
    assert_eq!(live_already.status(), 409);
    // There is room once the first is over, and nobody needs to ask again.
    first.leave();
    let ended = client
        .delete(format!("{one}/broadcast"))
        .send()
        .expect("an answer");
    assert!(ended.status().is_success() || ended.status() == 409);
    wait_for("the second is live", SOON, || {
        (json(&two)["live"] == true).then_some(())
    });
    assert_eq!(json(&two)["refused"], serde_json::Value::Null);
    second.leave();
}
