//! The main job against a real server: published by `amphi publish`, watched as LL-HLS, recorded,
//! and what a kill of either process costs.

mod support;

use std::process::Command;
use std::time::Duration;

use support::publisher::Publisher;
use support::{SOON, Server, get, json, signal, the_recording, wait_for};

/// The URL of the live 720p playlist, once there is one.
fn live_playlist(server: &Server, room: &str) -> String {
    wait_for("the stream is live", SOON, || {
        let text = get(&server.url(&format!("/live/{room}/index.m3u8")))?;
        let name = text
            .lines()
            .find(|line| line.ends_with("720p/index.m3u8"))?
            .to_owned();
        Some(server.url(&format!("/live/{room}/{name}")))
    })
}

fn media_sequence_end(playlist: &str) -> u64 {
    let segments = playlist
        .lines()
        .filter(|line| line.starts_with("#EXTINF"))
        .count() as u64;
    let first = playlist
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    first.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) + segments
}

/// Waits until the live playlist has this many whole segments behind it.
fn wait_for_segments(url: &str, count: u64) -> String {
    wait_for("segments come", SOON, || {
        get(url).filter(|playlist| media_sequence_end(playlist) >= count)
    })
}

#[test]
fn what_is_published_is_watched_and_recorded() {
    let server = Server::start();
    let publisher = Publisher::start(&server, "show", &["--codec", "h264"]);
    let live = live_playlist(&server, "show");
    let playlist = wait_for_segments(&live, 2);
    for line in [
        "#EXT-X-PART-INF",
        "CAN-BLOCK-RELOAD=YES",
        "#EXT-X-PRELOAD-HINT",
        "#EXT-X-MAP",
    ] {
        assert!(playlist.contains(line), "{line} is not in\n{playlist}");
    }
    assert!(!playlist.contains("#EXT-X-DISCONTINUITY\n"), "{playlist}");
    assert_eq!(json(&server.url("/api/v1/rooms/show"))["live"], true);
    let metrics = get(&server.url("/metrics")).expect("metrics");
    for stage in ["decoded", "mixed", "encoded"] {
        let measured = format!("amphi_program_stage_delay_seconds_count{{stage=\"{stage}\"}}");
        assert!(
            metrics.contains(&measured),
            "{measured} is not in\n{metrics}"
        );
    }

    publisher.leave();
    let id = the_recording(&server);
    let vod = get(&server.url(&format!("/vod/{id}/720p/index.m3u8"))).expect("a VOD playlist");
    assert!(
        vod.contains("#EXT-X-ENDLIST") && media_sequence_end(&vod) >= 2,
        "{vod}"
    );
    let ended = get(&live).expect("still served for a while");
    assert!(ended.contains("#EXT-X-ENDLIST"), "{ended}");

    let probed = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
        ])
        .arg(server.url(&format!("/vod/{id}/index.m3u8")))
        .output()
        .expect("ffprobe");
    let streams = String::from_utf8_lossy(&probed.stdout).into_owned();
    assert!(
        streams.contains("h264") && streams.contains("aac"),
        "{streams} {probed:?}"
    );
    assert!(server.terminate().success());
}

#[test]
fn a_killed_child_costs_one_discontinuity() {
    let server = Server::start();
    let _publisher = Publisher::start(&server, "show", &["--codec", "vp8"]);
    let live = live_playlist(&server, "show");
    wait_for_segments(&live, 1);
    let child = wait_for("the child", SOON, || support::child_of(server.pid()));
    signal(child, nix::sys::signal::Signal::SIGKILL);
    let playlist = wait_for("the stream goes on after it", SOON, || {
        let playlist = get(&live)?;
        let after = playlist.split_once("#EXT-X-DISCONTINUITY\n")?.1;
        (after.matches("#EXTINF").count() >= 2).then_some(playlist.clone())
    });
    assert_eq!(
        playlist.matches("#EXT-X-DISCONTINUITY\n").count(),
        1,
        "{playlist}"
    );
}

#[test]
fn a_killed_server_leaves_a_recording_that_plays() {
    let mut server = Server::start();
    let publisher = Publisher::start(&server, "show", &["--codec", "h264"]);
    let live = live_playlist(&server, "show");
    let listed = media_sequence_end(&wait_for_segments(&live, 3));
    // What was closed this very moment is on its way to the disk.
    std::thread::sleep(Duration::from_millis(200));
    server.kill_and_restart();
    drop(publisher);
    let id = the_recording(&server);
    let vod = get(&server.url(&format!("/vod/{id}/720p/index.m3u8"))).expect("a VOD playlist");
    let kept = media_sequence_end(&vod);
    assert!(
        kept >= listed,
        "{listed} segments were whole, {kept} are kept: {vod}"
    );
}
