//! What a broadcast's pipeline costs, against the ffmpeg program encoding the same ladder from the
//! same picture in the same run: CPU seconds for one second of program. `cargo bench --bench ladder`.
//!
//! Budget: at most ffmpeg. It reads at the pace of the clock, as ours must: between frames caches
//! grow cold. Ours also takes RTP apart, composes, mixes, and cuts parts.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

#[path = "../tests/support/mod.rs"]
mod support;

use support::publisher::Publisher;
use support::{SOON, Server, child_of, get, the_recording, wait_for};

/// Until encoders and caches are warm.
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(30);

fn main() {
    println!("| speaker sends | ours, CPU s/s | ffmpeg, CPU s/s | ratio |");
    println!("|---|---|---|---|");
    for codec in ["h264", "vp8"] {
        let server = Server::start();
        let publisher =
            Publisher::start(&server, "show", &["--codec", codec, "--size", "1280x720"]);
        wait_for("the stream is live", SOON, || {
            get(&server.url("/live/show/index.m3u8"))
        });
        let child = wait_for("the child", SOON, || child_of(server.pid()));
        std::thread::sleep(WARM_UP);
        let (began, before) = (Instant::now(), cpu_seconds(child));
        std::thread::sleep(MEASURED);
        let ours = (cpu_seconds(child) - before) / began.elapsed().as_secs_f64();

        publisher.leave();
        let id = the_recording(&server);
        let theirs = ffmpeg(&server.url(&format!("/vod/{id}/index.m3u8")), codec);
        println!(
            "| {codec} | {ours:.3} | {theirs:.3} | {:.2} |",
            ours / theirs
        );
    }
}

/// The picture of the recording, encoded as the speaker did, through ffmpeg's own ladder.
fn ffmpeg(recording: &str, codec: &str) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("speaker.mkv");
    let encoder: &[&str] = match codec {
        "vp8" => &[
            "-c:v",
            "libvpx",
            "-b:v",
            "2500k",
            "-deadline",
            "realtime",
            "-cpu-used",
            "8",
        ],
        _ => &[
            "-c:v",
            "libx264",
            "-preset",
            "superfast",
            "-tune",
            "zerolatency",
            "-b:v",
            "2500k",
        ],
    };
    let mut made = Command::new("ffmpeg");
    made.args([
        "-v", "error", "-i", recording, "-map", "0:v:0", "-map", "0:a:0",
    ]);
    run(made
        .args(encoder)
        .args(["-c:a", "libopus", "-b:a", "64k"])
        .arg(&input));

    let x264 = "-c:v libx264 -preset superfast -tune zerolatency -profile:v main -bf 0 -g 60 -sc_threshold 0 -threads 1";
    let ladder = "[0:v]split[top][low];[low]scale=640:360:flags=bilinear[small]";
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-v", "error", "-re", "-threads", "1", "-i"])
        .arg(&input);
    ffmpeg.args(["-filter_complex", ladder]);
    // As our encoder: what a rendition may have at most in 600 ms.
    for (picture, rate, buffer) in [("[top]", "2500k", "1500k"), ("[small]", "700k", "420k")] {
        ffmpeg.args(["-map", picture]).args(x264.split(' '));
        ffmpeg.args(["-b:v", rate, "-maxrate", rate, "-bufsize", buffer]);
        ffmpeg.args([
            "-f",
            "mp4",
            "-movflags",
            "frag_keyframe+empty_moov",
            "-y",
            "/dev/null",
        ]);
    }
    ffmpeg.args(["-map", "0:a", "-c:a", "aac", "-b:a", "128k", "-f", "mp4"]);
    ffmpeg.args(["-movflags", "frag_keyframe+empty_moov", "-y", "/dev/null"]);
    let before = children_cpu_seconds();
    run(&mut ffmpeg);
    (children_cpu_seconds() - before) / duration_s(&input)
}

fn run(command: &mut Command) {
    let status = command.status().expect("ffmpeg");
    assert!(status.success(), "{command:?}");
}

fn duration_s(file: &std::path::Path) -> f64 {
    let arguments = [
        "-v",
        "error",
        "-show_entries",
        "format=duration",
        "-of",
        "csv=p=0",
    ];
    let probed = Command::new("ffprobe")
        .args(arguments)
        .arg(file)
        .output()
        .expect("ffprobe");
    String::from_utf8_lossy(&probed.stdout)
        .trim()
        .parse()
        .expect("seconds")
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default().to_owned();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.flat_map(|t| t.parse::<f64>()).sum::<f64>() / 100.0
}

/// Of children that have ended.
fn children_cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .iter()
        .sum()
}
