//! The playlist's text: the draft's rules, and other parsers' opinion.

use proptest::prelude::*;

use super::super::timeline::tests::{ms, part, play, steps, timeline};
use super::super::timeline::{AUDIO_FRAME, Timeline};
use super::*;

fn header(timeline: &Timeline) -> Header {
    Header {
        target_duration: timeline.target_duration(),
        part_target: ms(200),
        part_hold_back: ms(600),
    }
}

fn text(timeline: &Timeline, skip: bool) -> String {
    let reports = [Report {
        rendition: "audio",
        last_msn: 7,
        last_part: 1,
    }];
    let over = timeline.is_over();
    write(
        &timeline.tracks()[0],
        header(timeline),
        &reports,
        over,
        skip,
    )
}

fn fed(until_ms: u64) -> Timeline {
    let mut timeline = timeline();
    for at in (0..until_ms).step_by(200) {
        let part = part("720p", at, 200, at % 2000 == 0);
        timeline.push_part(part).unwrap();
    }
    timeline
}

#[test]
fn a_live_playlist_reads_as_the_draft_has_it() {
    let timeline = fed(2400);
    let mut parts = String::new();
    for index in 0..10 {
        let independent = if index == 0 { ",INDEPENDENT=YES" } else { "" };
        parts += &format!("#EXT-X-PART:DURATION=0.2,URI=\"0.{index}.m4s\"{independent}\n");
    }
    let expect = format!(
        "#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12.0,HOLD-BACK=6.0,PART-HOLD-BACK=0.6
#EXT-X-PART-INF:PART-TARGET=0.2
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI=\"init-0.mp4\"
#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z
{parts}#EXTINF:2.0,
0.m4s
#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:02.000Z
#EXT-X-PART:DURATION=0.2,URI=\"1.0.m4s\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.2,URI=\"1.1.m4s\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"1.2.m4s\"
#EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=7,LAST-PART=1
"
    );
    assert_eq!(text(&timeline, false), expect);
    assert_eq!(text(&timeline, true), expect, "nothing to skip yet");
}

#[test]
fn the_end_is_said_and_nothing_is_hinted() {
    let mut timeline = fed(2400);
    timeline.end();
    let text = text(&timeline, false);
    assert!(
        text.ends_with("#EXTINF:0.4,\n1.m4s\n#EXT-X-ENDLIST\n"),
        "{text}"
    );
    assert!(!text.contains("PRELOAD-HINT"));
}

#[test]
fn durations_are_exact() {
    let check = |nanos, expect: &str| {
        assert_eq!(Seconds(Duration::from_nanos(nanos)).to_string(), expect);
    };
    check(0, "0.0");
    check(2_000_000_000, "2.0");
    check(333_333_333, "0.333333");
    check(21_333_999, "0.021334");
    check(1_999_999_999, "2.0");
    check(4_000_080_000, "4.00008");
    check(1_050_000_000, "1.05");
}

#[test]
fn a_delta_update_skips_what_lies_before_the_boundary() {
    let mut timeline = timeline();
    let window = Duration::from_secs(60);
    let grid = super::super::timeline::Grid {
        window,
        ..timeline.grid()
    };
    timeline = Timeline::new(
        grid,
        chrono::DateTime::UNIX_EPOCH,
        timeline
            .tracks()
            .iter()
            .map(|t| t.rendition.clone())
            .collect(),
    );
    let init = super::super::segment::Init {
        rendition: "720p".into(),
        bytes: bytes::Bytes::from_static(b"init"),
    };
    timeline.push_init(init).unwrap();
    for at in (0..40_400).step_by(200) {
        let part = part("720p", at, 200, at % 2000 == 0);
        timeline.push_part(part).unwrap();
    }
    let delta = text(&timeline, true);
    // 20 segments and 400 ms; the last six end less than 12 s before the end.
    assert!(
        delta.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=14\n"),
        "{delta}"
    );
    assert!(!delta.contains("EXT-X-MAP"));
    assert!(!delta.contains("\n13.m4s") && delta.contains("\n14.m4s"));
    let full = text(&timeline, false);
    assert!(delta.len() < full.len());
    assert_eq!(merge(&full, &delta), media(&full));
}

/// The lines that are about segments.
fn media(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .skip_while(|l| !l.starts_with("#EXT-X-DISCONTINUITY-SEQUENCE"));
    lines.skip(1).map(str::to_owned).collect()
}

/// What a viewer makes of a delta update of the full playlist it has; both at one time.
fn merge(full: &str, delta: &str) -> Vec<String> {
    let Some(skip) = delta
        .lines()
        .find_map(|l| l.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="))
    else {
        return media(delta);
    };
    let mut left: usize = skip.parse().unwrap();
    let mut merged: Vec<String> = media(full)
        .into_iter()
        .take_while(|line| {
            let taken = left > 0;
            left -= usize::from(taken && !line.starts_with('#'));
            taken
        })
        .collect();
    merged.extend(
        media(delta)
            .into_iter()
            .filter(|l| !l.starts_with("#EXT-X-SKIP")),
    );
    merged
}

proptest! {
    #[test]
    fn any_timeline_is_a_playlist(steps in steps(), end: bool) {
        let mut timeline = timeline();
        play(&mut timeline, steps);
        if end {
            timeline.end();
        }
        for track in timeline.tracks() {
            let header = Header { part_target: longest_part(track).max(AUDIO_FRAME), ..header(&timeline) };
            let full = write(track, header, &[], end, false);
            let parts = full.lines().filter_map(|line| line.strip_prefix("#EXT-X-PART:DURATION="));
            for part in parts {
                let duration: f64 = part.split(',').next().unwrap().parse().unwrap();
                prop_assert!(duration <= header.part_target.as_secs_f64() + 1e-6, "{}", full);
            }
            let delta = write(track, header, &[], end, true);
            prop_assert_eq!(merge(&full, &delta), media(&full));
            if track.listed().len() == 0 {
                continue;
            }
            let parsed = m3u8_rs::parse_media_playlist_res(full.as_bytes());
            prop_assert!(parsed.is_ok(), "{}", full);
            let parsed = parsed.unwrap();
            prop_assert_eq!(parsed.media_sequence, track.media_sequence());
            prop_assert_eq!(parsed.discontinuity_sequence, track.discontinuity_sequence());
            prop_assert_eq!(parsed.end_list, end);
            let closed: Vec<&Segment> = track.listed().map(|l| &l.segment).collect();
            prop_assert!(parsed.segments.len() >= closed.len());
            for (read, written) in parsed.segments.iter().zip(&closed) {
                prop_assert_eq!(&read.uri, &format!("{}.m4s", written.msn));
                prop_assert!((f64::from(read.duration) - written.duration.as_secs_f64()).abs() < 1e-4);
                prop_assert_eq!(read.discontinuity, written.discontinuity);
                prop_assert!(read.duration.round() as u64 <= parsed.target_duration);
            }
        }
    }
}
