//! What a broadcast's pipeline costs, against the ffmpeg program doing the same in the same run:
//! decoding the same speakers, composing them in the same grid, encoding the same ladder. CPU
//! seconds for one second of program. `cargo bench --bench ladder`.
//!
//! Budget: at most ffmpeg; and nine speakers at most 0.15 above the ladder alone. It reads at the
//! pace of the clock, as ours must: between frames caches grow cold. Ours also takes RTP apart, mixes
//! with regard to time, limits, writes names, and cuts parts.

use std::collections::BTreeMap;
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

/// What speakers send, of the layers that a browser has, is the nearest to their tiles.
struct Case {
    codec: &'static str,
    speakers: usize,
    size: (u32, u32),
    kbps: u32,
}

const CASES: [Case; 4] = [
    Case {
        codec: "h264",
        speakers: 1,
        size: (1280, 720),
        kbps: 2500,
    },
    Case {
        codec: "vp8",
        speakers: 1,
        size: (1280, 720),
        kbps: 2500,
    },
    Case {
        codec: "h264",
        speakers: 4,
        size: (640, 360),
        kbps: 500,
    },
    Case {
        codec: "h264",
        speakers: 9,
        size: (320, 180),
        kbps: 200,
    },
];

/// Threads that compose.
const CANVAS: [&str; 4] = ["canvas", "pool", "out:", "imagefreeze"];

/// CPU seconds a second, by what they are for.
#[derive(Default)]
struct Cost {
    inputs: f64,
    canvas: f64,
    ladder: f64,
}

fn main() {
    println!(
        "| speakers | ours, CPU s/s | of it inputs | composition | ladder and sound | ffmpeg, CPU s/s | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for case in CASES {
        let (ours, recording, server) = ours(&case);
        let total = ours.inputs + ours.canvas + ours.ladder;
        let theirs = ffmpeg(&server.url(&recording), &case);
        println!(
            "| {} x {} {}p | {total:.3} | {:.3} | {:.3} | {:.3} | {theirs:.3} | {:.2} |",
            case.speakers,
            case.codec,
            case.size.1,
            ours.inputs,
            ours.canvas,
            ours.ladder,
            total / theirs
        );
    }
}

/// And the recording it made.
fn ours(case: &Case) -> (Cost, String, Server) {
    let server = Server::start();
    let (size, kbps) = (
        format!("{}x{}", case.size.0, case.size.1),
        case.kbps.to_string(),
    );
    let publishers: Vec<_> = (0..case.speakers)
        .map(|nth| {
            let name = format!("speaker {nth}");
            let arguments = [
                "--codec",
                case.codec,
                "--size",
                &size,
                "--bitrate",
                &kbps,
                "--name",
                &name,
            ];
            Publisher::start(&server, "show", &arguments)
        })
        .collect();
    wait_for("the stream is live", SOON, || {
        get(&server.url("/live/show/index.m3u8"))
    });
    let child = wait_for("the child", SOON, || child_of(server.pid()));
    std::thread::sleep(WARM_UP);
    let (began, before) = (Instant::now(), by_thread(child));
    std::thread::sleep(MEASURED);
    let (seconds, after) = (began.elapsed().as_secs_f64(), by_thread(child));
    for publisher in publishers {
        publisher.leave();
    }
    let mut cost = Cost::default();
    for (thread, (name, ticks)) in after {
        let earlier = before.get(&thread).map_or(0.0, |(_, ticks)| *ticks);
        let share = (ticks - earlier) / 100.0 / seconds;
        match name {
            name if name.starts_with("in-") => cost.inputs += share,
            // The mixer scales in a pool, and names come by threads of their own.
            name if CANVAS.iter().any(|of| name.starts_with(of)) => cost.canvas += share,
            _ => cost.ladder += share,
        }
    }
    let id = the_recording(&server);
    (cost, format!("/vod/{id}/index.m3u8"), server)
}

/// Threads are named after what they are for: their names, and ticks of CPU.
fn by_thread(pid: u32) -> BTreeMap<String, (String, f64)> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the child lives");
    let threads = threads.flatten().filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        let (name, numbers) = (stat.split_once('(')?.1, stat.rsplit(')').next()?);
        let name = name.split(')').next()?.to_owned();
        let ticks = numbers.split_whitespace().skip(11).take(2);
        let ticks = ticks.flat_map(|t| t.parse::<f64>()).sum();
        Some((
            thread.file_name().to_string_lossy().into_owned(),
            (name, ticks),
        ))
    });
    threads.collect()
}

/// The recording, encoded as the speakers did, as often as there are speakers, through ffmpeg's own
/// grid and ladder.
fn ffmpeg(recording: &str, case: &Case) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("speaker.mkv");
    let encoder: &[&str] = match case.codec {
        "vp8" => &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"],
        _ => &[
            "-c:v",
            "libx264",
            "-preset",
            "superfast",
            "-tune",
            "zerolatency",
        ],
    };
    let mut made = Command::new("ffmpeg");
    made.args([
        "-v", "error", "-i", recording, "-map", "0:v:0", "-map", "0:a:0",
    ]);
    let (kbps, scale) = (
        format!("{}k", case.kbps),
        format!("scale={}:{}", case.size.0, case.size.1),
    );
    run(made
        .args(encoder)
        .args(["-b:v", &kbps, "-vf", &scale])
        .args(["-c:a", "libopus", "-b:a", "64k"])
        .arg(&input));

    let x264 = "-c:v libx264 -preset superfast -tune zerolatency -profile:v main -bf 0 -g 60 -sc_threshold 0 -threads 1";
    let graph = format!(
        "{};[program]split[top][low];[low]scale=640:360:flags=bilinear[small]",
        grid(case.speakers)
    );
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-filter_complex_threads", "1"]);
    for _ in 0..case.speakers {
        ffmpeg.args(["-re", "-threads", "1", "-i"]).arg(&input);
    }
    ffmpeg.args(["-filter_complex", &graph]);
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
    ffmpeg.args([
        "-map", "[sound]", "-c:a", "aac", "-b:a", "128k", "-f", "mp4",
    ]);
    ffmpeg.args(["-movflags", "frag_keyframe+empty_moov", "-y", "/dev/null"]);
    let before = children_cpu_seconds();
    run(&mut ffmpeg);
    (children_cpu_seconds() - before) / duration_s(&input)
}

/// All inputs in a grid of 1280x720, and their sound, as filters.
fn grid(speakers: usize) -> String {
    if speakers == 1 {
        return "[0:v]null[program];[0:a]anull[sound]".to_owned();
    }
    let columns = speakers.isqrt();
    let (width, height) = (1280 / columns / 2 * 2, 720 / columns / 2 * 2);
    let scaled: String = (0..speakers)
        .map(|nth| format!("[{nth}:v]scale={width}:{height}:flags=bilinear[v{nth}];"))
        .collect();
    let all =
        |kind: &str| -> String { (0..speakers).map(|nth| format!("[{kind}{nth}]")).collect() };
    let sounds: String = (0..speakers).map(|nth| format!("[{nth}:a]")).collect();
    let places: Vec<String> = (0..speakers)
        .map(|nth| format!("{}_{}", nth % columns * width, nth / columns * height))
        .collect();
    format!(
        "{scaled}{}xstack=inputs={speakers}:layout={}:fill=black,pad=1280:720[program];{sounds}amix=inputs={speakers}[sound]",
        all("v"),
        places.join("|"),
    )
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

/// Of children that have ended.
fn children_cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("usage");
    [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .iter()
        .sum()
}
