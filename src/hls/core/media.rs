//! The text of a live media playlist (8216bis §4.4).

use std::fmt::{self, Write};
use std::time::Duration;

use super::segment::Segment;
use super::track::Track;

/// Parts are listed of the open segment and of so many before it: not further than three
/// target durations from the end (8216bis §4.4.4.9), which strict parsers count in segments.
const CLOSED_WITH_PARTS: usize = 2;

/// CAN-SKIP-UNTIL in target durations; six is the least allowed (8216bis §4.4.3.8).
const SKIP_UNTIL_TARGETS: u32 = 6;

/// HOLD-BACK in target durations; three is the least allowed (8216bis §4.4.3.8).
const HOLD_BACK_TARGETS: u32 = 3;

/// What a playlist says beside its segments.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub target_duration: Duration,
    pub part_target: Duration,
    pub part_hold_back: Duration,
}

/// How far another rendition has come (EXT-X-RENDITION-REPORT).
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    pub rendition: &'a str,
    pub last_msn: u64,
    pub last_part: u64,
}

/// The rendition's playlist, or, with `skip`, the update of one that the viewer has
/// (8216bis §6.2.5.1); the full one if there is nothing to skip.
pub fn write(track: &Track, header: Header, reports: &[Report], over: bool, skip: bool) -> String {
    let mut out = String::with_capacity(4096);
    let target = header.target_duration;
    // 9: EXT-X-SKIP (8216bis §7).
    let _ = write!(
        out,
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{}\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={},HOLD-BACK={},PART-HOLD-BACK={}\n\
         #EXT-X-PART-INF:PART-TARGET={}\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
        target.as_secs(),
        Seconds(target * SKIP_UNTIL_TARGETS),
        Seconds(target * HOLD_BACK_TARGETS),
        Seconds(header.part_hold_back),
        Seconds(header.part_target),
        track.media_sequence(),
        track.discontinuity_sequence(),
    );
    let skipped = if skip { skippable(track, target) } else { 0 };
    if skipped > 0 {
        let _ = writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    let with_parts = track.listed().len().saturating_sub(CLOSED_WITH_PARTS);
    let mut init = None;
    for (index, listed) in track.listed().enumerate() {
        let segment = &listed.segment;
        if index >= skipped {
            write_opening(&mut out, segment, init);
            out.push_str(&listed.date);
            if index >= with_parts {
                write_parts(&mut out, segment);
            }
            out.push_str(&listed.media);
        }
        init = Some(segment.init);
    }
    if let Some(open) = track.open() {
        write_opening(&mut out, open, init);
        out.push_str(&date_line(open));
        write_parts(&mut out, open);
    }
    if over {
        out.push_str("#EXT-X-ENDLIST\n");
        return out;
    }
    let edge = track.edge();
    let _ = writeln!(
        out,
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{}.{}.m4s\"",
        edge.msn, edge.parts
    );
    for report in reports {
        let _ = writeln!(
            out,
            "#EXT-X-RENDITION-REPORT:URI=\"../{}/index.m3u8\",LAST-MSN={},LAST-PART={}",
            report.rendition, report.last_msn, report.last_part
        );
    }
    out
}

/// The longest part that the rendition's playlist lists.
pub fn longest_part(track: &Track) -> Duration {
    let closed = track.listed().rev().take(CLOSED_WITH_PARTS);
    let segments = closed.map(|listed| &listed.segment).chain(track.open());
    let parts = segments.flat_map(|segment| &segment.parts);
    parts.map(|part| part.duration).max().unwrap_or_default()
}

/// The line that dates a segment.
pub(super) fn date_line(segment: &Segment) -> String {
    let date = segment.program_date_time.format("%Y-%m-%dT%H:%M:%S%.3fZ");
    format!("#EXT-X-PROGRAM-DATE-TIME:{date}\n")
}

/// The lines that end a closed segment.
pub(super) fn media_lines(segment: &Segment) -> String {
    let gap = if segment.is_gap() { "#EXT-X-GAP\n" } else { "" };
    format!(
        "#EXTINF:{},\n{gap}{}.m4s\n",
        Seconds(segment.duration),
        segment.msn
    )
}

/// What changes with this segment: `init` is the one before it had.
fn write_opening(out: &mut String, segment: &Segment, init: Option<u32>) {
    if segment.discontinuity {
        out.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if init != Some(segment.init) {
        let _ = writeln!(out, "#EXT-X-MAP:URI=\"init-{}.mp4\"", segment.init);
    }
}

fn write_parts(out: &mut String, segment: &Segment) {
    for (index, part) in segment.parts.iter().enumerate() {
        let independent = if part.independent {
            ",INDEPENDENT=YES"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "#EXT-X-PART:DURATION={},URI=\"{}.{index}.m4s\"{independent}",
            Seconds(part.duration),
            segment.msn
        );
    }
}

/// How many of the listed segments lie before the Skip Boundary (8216bis §4.4.3.8).
fn skippable(track: &Track, target: Duration) -> usize {
    let boundary = target * SKIP_UNTIL_TARGETS;
    let mut from_end = track.open().map_or(Duration::ZERO, |open| open.duration);
    let near = track.listed().rev().take_while(|listed| {
        let near = from_end < boundary;
        from_end += listed.segment.duration;
        near
    });
    track.listed().len() - near.count()
}

/// Whether a delta update differs from the full playlist.
pub fn can_skip(track: &Track, target: Duration) -> bool {
    skippable(track, target) > 0
}

/// A duration as a decimal-floating-point, exact to the microsecond.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_nanos().saturating_add(500) / 1000;
        let (whole, mut fraction, mut digits) = (micros / 1_000_000, micros % 1_000_000, 6);
        while digits > 1 && fraction % 10 == 0 {
            fraction /= 10;
            digits -= 1;
        }
        write!(f, "{whole}.{fraction:0digits$}")
    }
}

#[cfg(test)]
mod tests;
