//! Where a picture's time goes between camera and viewer. `cargo bench --bench stages`.
//!
//! - captured → its time in the program: the publisher's encoder, the network, the frame grid
//! - end of a part's time → part out: jitter buffer, decoding, mixing, encoding, cutting
//! - part out → served: to a viewer who waits for it by blocking reload, over HTTP
//!
//! A viewer is a part's length and its own buffer later.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[path = "../tests/support/mod.rs"]
mod support;

use chrono::DateTime;
use support::publisher::Publisher;
use support::recorded::pictures;
use support::{SOON, Server, get, the_recording, wait_for};

const MEASURED: Duration = Duration::from_secs(30);

fn main() {
    let server = Server::start();
    let publisher = Publisher::start(&server, "show", &["--codec", "h264", "--size", "1280x720"]);
    let live = server.url("/live/show/index.m3u8");
    let multivariant = wait_for("the stream is live", SOON, || get(&live));
    println!("| stage | p50 ms | p99 ms | of |");
    println!("|---|---|---|---|");
    for rendition in ["720p", "360p", "audio"] {
        let name = multivariant
            .split(['\n', '"'])
            .find(|word| word.ends_with(&format!("{rendition}/index.m3u8")))
            .expect("a rendition");
        let served = follow(&server.url(&format!("/live/show/{name}")), MEASURED / 3);
        row(&format!("end of part → served, {rendition}"), served);
    }
    let metrics = get(&server.url("/metrics")).expect("metrics");
    for rendition in ["720p", "360p", "audio"] {
        let figure = |what: &str| {
            let name = format!("amphi_part_delay_seconds_{what}{{rendition=\"{rendition}\"}} ");
            let line = metrics
                .lines()
                .find_map(|line| line.strip_prefix(&name))
                .expect("a metric");
            line.parse::<f64>().expect("a number")
        };
        let (sum, count) = (figure("sum"), figure("count"));
        println!(
            "| end of part → part out, {rendition} | mean {:.0} | | {count} parts |",
            sum / count * 1000.0
        );
    }
    publisher.leave();
    let id = the_recording(&server);
    let playlist = get(&server.url(&format!("/vod/{id}/720p/index.m3u8"))).expect("a playlist");
    let begin = date_time(&playlist).expect("a date");
    let shown = pictures(&server.url(&format!("/vod/{id}/index.m3u8")));
    let first = shown.first().expect("pictures").0;
    let ages = shown
        .iter()
        .map(|(at, captured)| (begin + at - first - captured) * 1000.0);
    row("captured → its time in the program", ages.collect());
}

fn row(stage: &str, mut ms: Vec<f64>) {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share) as usize];
    println!(
        "| {stage} | {:.0} | {:.0} | {} |",
        at(0.5),
        at(0.99),
        ms.len()
    );
}

/// For each part, how long after the end of its time a waiting viewer has it.
fn follow(playlist: &str, length: Duration) -> Vec<f64> {
    let client = reqwest::blocking::Client::new();
    let fetch = |url: &str| {
        client
            .get(url)
            .send()
            .and_then(|answer| answer.bytes())
            .expect("served")
    };
    let mut delays = Vec::new();
    let until = Instant::now() + length;
    let mut text = get(playlist).expect("a playlist");
    while Instant::now() < until {
        let hint = text
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\""));
        let hint = hint
            .and_then(|rest| rest.strip_suffix(".m4s\""))
            .expect("a hint");
        let (msn, part) = hint.split_once('.').expect("two numbers");
        let url = format!("{playlist}?_HLS_msn={msn}&_HLS_part={part}");
        let uri = format!("{msn}.{part}.m4s");
        text = String::from_utf8(fetch(&url).to_vec()).expect("text");
        fetch(&playlist.replace("index.m3u8", &uri));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time")
            .as_secs_f64();
        if let Some(end) = end_of_part(&text, &format!("\"{uri}\"")) {
            delays.push((now - end) * 1000.0);
        }
    }
    delays
}

/// On the wall's clock, in seconds.
fn end_of_part(playlist: &str, uri: &str) -> Option<f64> {
    let upto = &playlist[..playlist.find(uri)?];
    let segment = &upto[upto.rfind("#EXT-X-PROGRAM-DATE-TIME:")?..];
    let durations = segment
        .match_indices("DURATION=")
        .filter_map(|(at, found)| {
            segment[at + found.len()..]
                .split(',')
                .next()?
                .parse::<f64>()
                .ok()
        });
    Some(date_time(segment)? + durations.sum::<f64>())
}

/// Of the first segment.
fn date_time(playlist: &str) -> Option<f64> {
    let text = playlist
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"))?;
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    Some(at.timestamp_micros() as f64 / 1e6)
}
