//! What the audience sees and hears, read from the recording: whole, and together.

mod support;

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use support::publisher::Publisher;
use support::recorded::{decoded, packet_times, pictures};
use support::{Server, json, the_recording};

const FRAME: Duration = Duration::from_nanos(33_333_333);
const AAC_FRAME: Duration = Duration::from_nanos(21_333_333);
/// Timestamps in the container are rounded.
const ROUNDING: Duration = Duration::from_millis(1);

/// Five encoders at once are enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Three join, and do what publishers in the field do.
#[test]
fn publishers_come_and_go_and_the_timeline_has_no_gap() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let small = ["--size", "320x180", "--bitrate", "300"];
    let publisher = |codec, rehearsal: &str, length: &str| {
        let more = ["--codec", codec, "--rehearse", rehearsal, "--for", length];
        Publisher::start(&server, "show", &[&small[..], &more].concat())
    };
    let turns = publisher("h264", "rotate@2s+4s", "9s");
    let stalls = publisher("vp8", "stall@3s+8s", "16s");
    let mutes = publisher("vp8", "mute@3s+3s,hide@8s+2s", "14s");
    for publisher in [turns, mutes, stalls] {
        publisher.wait();
    }
    let id = the_recording(&server);
    let url = server.url(&format!("/vod/{id}/index.m3u8"));
    for (stream, expected) in [("v:0", FRAME), ("a:0", AAC_FRAME)] {
        let times = packet_times(&url, stream);
        let whole = times.last().expect("packets").saturating_sub(times[0]);
        assert!(
            whole > Duration::from_secs(12),
            "{stream} is {whole:?} long"
        );
        for pair in times.windows(2) {
            let step = pair[1].saturating_sub(pair[0]);
            assert!(
                step.abs_diff(expected) <= ROUNDING,
                "{stream}: {step:?} after {:?}",
                pair[0]
            );
        }
    }
    assert_eq!(
        json(&server.url("/api/v1/rooms/show"))["participants"]
            .as_u64()
            .unwrap_or(0),
        0
    );
}

/// The test picture shows the time of day, and beeps at each full second of it.
#[test]
fn sound_and_picture_stay_together() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for codec in ["h264", "vp8"] {
        let server = Server::start();
        Publisher::start(&server, "show", &["--codec", codec, "--for", "9s"]).wait();
        let id = the_recording(&server);
        let url = server.url(&format!("/vod/{id}/index.m3u8"));
        let pictures = pictures(&url);
        let beeps = beeps(&url);
        assert!(
            pictures.len() > 100 && beeps.len() > 4,
            "{} {}",
            pictures.len(),
            beeps.len()
        );
        let skews: Vec<f64> = beeps
            .iter()
            .skip(BEFORE_REPORTS)
            .filter_map(|beep| skew_ms(*beep, &pictures))
            .collect();
        println!("{codec}: sound is later than its picture by {skews:.0?} ms");
        let worst = skews
            .iter()
            .fold(0.0, |worst: f64, skew| worst.max(skew.abs()));
        assert!(worst < MAX_SKEW_MS, "{codec}: {skews:.0?} ms");
    }
}

/// As a voice rises and falls, and far from the microphone.
const MURMUR: &str =
    "0.02*(0.5+0.5*sin(6*PI*t))*(sin(360*PI*t)+0.7*sin(720*PI*t)+0.5*sin(1440*PI*t))";

#[test]
fn a_quiet_voice_is_louder_where_that_is_asked_and_else_as_it_came() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    let film = folder.path().join("murmur.mp4");
    let sound = format!("aevalsrc='{MURMUR}':s=48000:d=10");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &sound])
        .args(["-f", "lavfi", "-i", "testsrc=size=320x180:rate=30"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "30"])
        .args(["-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"])
        .arg(&film)
        .status();
    assert!(made.expect("ffmpeg").success());
    let came = level_db(&film.to_string_lossy());
    let settings = [("false", -1.5..1.5), ("true", 4.0..15.0)];
    let runs = settings.map(|(gain, expected)| {
        let server = Server::start_with(&[], &[("AMPHI_PROGRAM_AUTO_GAIN", gain)]);
        let publisher = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .arg("publish")
            .arg(&film)
            .args(["--once", "--whip", &server.url("/whip/show")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        (server, publisher.expect("the publisher"), gain, expected)
    });
    for (server, mut publisher, gain, expected) in runs {
        assert!(publisher.wait().expect("left").success());
        let id = the_recording(&server);
        let went = level_db(&server.url(&format!("/vod/{id}/index.m3u8"))) - came;
        println!("with auto_gain {gain} the voice is louder by {went:.1} dB");
        assert!(expected.contains(&went), "auto_gain {gain}: {went:.1} dB");
    }
}

/// Of all that is heard, against full scale.
fn level_db(url: &str) -> f64 {
    let arguments = ["-map", "0:a:0", "-ac", "1", "-f", "s16le"];
    let samples = decoded(url, &arguments);
    let (mut squares, mut count) = (0.0, 0.0);
    for bytes in samples.chunks_exact(2) {
        let sample = f64::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32768.0;
        squares += sample * sample;
        count += 1.0;
    }
    10.0 * f64::log10(squares / count)
}

/// Sound and picture are tied by sender reports; those come a moment after the start, on a busy
/// machine a little later.
const BEFORE_REPORTS: usize = 3;
/// Viewers begin to see it there (ITU-R BT.1359: 125 ms late); a busy machine is no reason for more.
const MAX_SKEW_MS: f64 = 100.0;

/// When each beep begins, in seconds.
fn beeps(url: &str) -> Vec<f64> {
    const RATE: usize = 48_000;
    const LOUD: u16 = 800;
    const QUIET_BEFORE: usize = RATE * 3 / 10;
    let samples = decoded(
        url,
        &["-map", "0:a:0", "-ac", "1", "-ar", "48000", "-f", "s16le"],
    );
    let begins = packet_times(url, "a:0")
        .first()
        .expect("sound")
        .as_secs_f64();
    let loud = samples
        .chunks_exact(2)
        .enumerate()
        .filter_map(|(index, bytes)| {
            let level = i16::from_le_bytes([bytes[0], bytes[1]]).unsigned_abs();
            (level > LOUD).then_some(index)
        });
    let mut last = None;
    let onsets = loud.filter(|index| {
        last.replace(*index)
            .is_none_or(|last| index - last > QUIET_BEFORE)
    });
    onsets
        .map(|index| begins + index as f64 / RATE as f64)
        .collect()
}

/// By how much a beep is later than the full second in the pictures around it.
fn skew_ms(beep: f64, pictures: &[(f64, f64)]) -> Option<f64> {
    let near = pictures.iter().filter(|(at, _)| (at - beep).abs() < 0.5);
    let offsets: Vec<f64> = near.map(|(at, time)| time - at).collect();
    let offset = offsets.iter().sum::<f64>() / offsets.len().max(1) as f64;
    let time = beep + offset;
    (offsets.len() > 5).then_some((time - time.round()) * 1000.0)
}
