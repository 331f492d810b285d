//! What is in a recording, read by FFmpeg's programs.

use std::process::Command;
use std::time::Duration;

use amphi::pipeline::source::{COLUMNS, barcode};

/// The times of a stream's packets, in order.
pub fn packet_times(url: &str, stream: &str) -> Vec<Duration> {
    let entries = ["-show_entries", "packet=pts_time", "-of", "csv=p=0"];
    let probed = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream])
        .args(entries)
        .arg(url)
        .output()
        .expect("ffprobe");
    let seconds = String::from_utf8_lossy(&probed.stdout).into_owned();
    let mut times: Vec<_> = seconds
        .lines()
        .filter_map(|line| line.trim_matches(',').parse().ok())
        .map(Duration::from_secs_f64)
        .collect();
    times.sort();
    times
}

/// What ffmpeg writes to its standard output.
pub fn decoded(url: &str, arguments: &[&str]) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg
        .args(["-v", "error", "-i", url])
        .args(arguments)
        .arg("-");
    ffmpeg.output().expect("ffmpeg").stdout
}

/// When each readable picture is shown, and the time of day in it, both in seconds.
pub fn pictures(url: &str) -> Vec<(f64, f64)> {
    let filter = format!("crop=iw:ih*0.03:0:ih*0.03,scale={COLUMNS}:1:flags=area,format=gray");
    let arguments = [
        "-map",
        "0:v:0",
        "-vf",
        &filter,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
    ];
    let rows = decoded(url, &arguments);
    let times = packet_times(url, "v:0");
    let shown = rows.chunks_exact(COLUMNS).zip(times);
    shown
        .filter_map(|(row, at)| Some((at.as_secs_f64(), time_of_day(row)?)))
        .collect()
}

fn time_of_day(row: &[u8]) -> Option<f64> {
    let columns: Vec<bool> = row.iter().map(|luma| *luma > 125).collect();
    let bits = columns.iter().take(48);
    let epoch_ms = bits.fold(0u64, |sum, bit| sum << 1 | u64::from(*bit));
    (barcode(epoch_ms)[..] == columns[..]).then_some(epoch_ms as f64 / 1000.0)
}
