//! CMAF as the pipeline makes it, but by the ffmpeg CLI; and what ffprobe says of the outcome.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

pub const SEGMENT: Duration = Duration::from_secs(2);
const SEGMENTS: usize = 4;

pub struct Track {
    pub init: Bytes,
    pub segments: Vec<Bytes>,
}

pub struct Tracks {
    pub video: Track,
    pub audio: Track,
}

/// Eight seconds, of which the first is black, with a tone.
pub fn make() -> Tracks {
    Tracks {
        video: track(&[
            "-f",
            "lavfi",
            "-i",
            "color=black:s=640x360:r=30:d=1[a];testsrc2=s=640x360:r=30:d=7[b];[a][b]concat",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-bf",
            "0",
            "-g",
            "60",
            "-pix_fmt",
            "yuv420p",
        ]),
        audio: track(&["-f", "lavfi", "-i", "sine=r=48000:d=8", "-c:a", "aac"]),
    }
}

fn track(input: &[&str]) -> Track {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let done = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(input)
        .args(["-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "2"])
        .args(["-hls_list_size", "0", "-hls_segment_filename", "%d.m4s"])
        .args(["-hls_fmp4_init_filename", "init.mp4", "index.m3u8"])
        .current_dir(folder.path())
        .status()
        .expect("the ffmpeg CLI");
    assert!(done.success());
    let read = |name: &str| Bytes::from(std::fs::read(folder.path().join(name)).expect("a file"));
    Track {
        init: read("init.mp4"),
        segments: (0..SEGMENTS).map(|n| read(&format!("{n}.m4s"))).collect(),
    }
}

/// Eight seconds of picture and sound.
pub async fn check_probe(url: &str) {
    let output = tokio::process::Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(["-show_entries", "stream=codec_name:format=duration"])
        .arg(url)
        .output()
        .await
        .expect("the ffprobe CLI");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("h264") && text.contains("aac"), "{output:?}");
    let duration: f64 = text
        .lines()
        .find_map(|line| line.trim().parse().ok())
        .unwrap_or_else(|| panic!("{url} has no duration: {output:?}"));
    assert!((7.9..8.1).contains(&duration), "{url} lasts {duration} s");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "", "{url}");
}

pub fn size_of_picture(jpeg: &[u8]) -> (usize, usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("poster.jpg");
    std::fs::write(&file, jpeg).expect("written");
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(["-show_entries", "stream=width,height"])
        .arg::<&Path>(&file)
        .output()
        .expect("the ffprobe CLI");
    let text = String::from_utf8_lossy(&output.stdout);
    let (width, height) = text.trim().split_once(',').expect("a picture");
    (
        width.parse().expect("width"),
        height.parse().expect("height"),
    )
}

/// The mean of its grey, of 255.
pub fn light(jpeg: &[u8]) -> f64 {
    let mut process = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "mjpeg", "-i", "-"])
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the ffmpeg CLI");
    let mut input = process.stdin.take().expect("piped");
    let jpeg = jpeg.to_vec();
    let fed = std::thread::spawn(move || input.write_all(&jpeg));
    let output = process.wait_with_output().expect("a picture");
    fed.join().expect("joined").expect("fed");
    let sum: f64 = output.stdout.iter().map(|grey| f64::from(*grey)).sum();
    sum / output.stdout.len().max(1) as f64
}
