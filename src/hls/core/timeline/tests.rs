//! What goes in as parts comes out as segments on one grid.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use proptest::prelude::*;

use super::*;

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn timeline() -> Timeline {
    let grid = Grid {
        segment: ms(2000),
        part: ms(200),
        window: ms(8000),
    };
    let renditions = vec![
        Rendition::video("720p", 1280, 720, 30.0, 2_500_000),
        Rendition::audio("audio", 128_000),
    ];
    let mut timeline = Timeline::new(grid, DateTime::UNIX_EPOCH, renditions);
    for name in ["720p", "audio"] {
        timeline.push_init(init(name, 0)).unwrap();
    }
    timeline
}

fn init(name: &str, version: u8) -> Init {
    Init {
        rendition: name.into(),
        bytes: Bytes::from(vec![version; 4]),
    }
}

/// As the pipeline cuts it: a segment each two seconds, or where sound has a border near that.
pub fn part(name: &str, at_ms: u64, duration_ms: u64, independent: bool) -> Part {
    let segment = |at_ms| (at_ms + 12) / 2000;
    Part {
        rendition: name.into(),
        decode_time: ms(at_ms),
        duration: ms(duration_ms),
        independent: independent || name == "audio",
        segment: segment(at_ms),
        ends_segment: segment(at_ms + duration_ms) > segment(at_ms),
        discontinuity: false,
        bytes: Bytes::from(format!("{name}@{at_ms}")),
    }
}

/// Pushes parts of 200 ms on the grid; the closed segments' numbers and durations.
fn run(timeline: &mut Timeline, name: &str, from_ms: u64, to_ms: u64) -> Vec<(u64, Duration)> {
    (from_ms..to_ms)
        .step_by(200)
        .flat_map(|at| {
            let start = at == from_ms || at % 2000 == 0;
            timeline.push_part(part(name, at, 200, start)).unwrap()
        })
        .map(|closed| (closed.msn, closed.duration))
        .collect()
}

/// A rendition's playlist in short: number, duration in ms, `!` for a discontinuity, `-` for
/// a gap.
fn listing(timeline: &Timeline, name: &str) -> String {
    let track = &timeline.tracks()[timeline.index_of(name).unwrap()];
    let segments = track.listed().map(|listed| &listed.segment);
    let texts: Vec<String> = segments
        .chain(track.open())
        .map(|s| {
            let discontinuity = if s.discontinuity { "!" } else { "" };
            let gap = if s.is_gap() { "-" } else { "" };
            format!("{discontinuity}{gap}{}:{}", s.msn, s.duration.as_millis())
        })
        .collect();
    texts.join(" ")
}

fn check(timeline: &Timeline, video: &str, audio: &str) {
    assert_eq!(listing(timeline, "720p"), video, "video");
    assert_eq!(listing(timeline, "audio"), audio, "audio");
}

#[test]
fn a_segment_closes_with_its_last_part() {
    let mut timeline = timeline();
    assert_eq!(run(&mut timeline, "720p", 0, 2000), [(0, ms(2000))]);
    assert_eq!(run(&mut timeline, "720p", 2000, 4200), [(1, ms(2000))]);
    check(&timeline, "0:2000 1:2000 2:200", "");
}

#[test]
fn audio_is_cut_beside_the_grid_and_keeps_its_numbers() {
    let mut timeline = timeline();
    for at in [0, 192, 405, 597, 810, 1002, 1194, 1408, 1600, 1792] {
        let last = at == 1792;
        let closed = timeline.push_part(part("audio", at, if last { 213 } else { 200 }, at == 0));
        assert_eq!(closed.unwrap().len(), usize::from(last));
    }
    // Begins 8 ms before the boundary and ends its slot's segment with the same number.
    let mut early = part("audio", 1992, 200, true);
    early.decode_time = ms(2005);
    timeline.push_part(early).unwrap();
    assert_eq!(timeline.tracks()[1].edge().msn, 1);
}

#[test]
fn a_segment_that_is_not_cut_is_cut_before_it_is_too_long() {
    let mut timeline = timeline();
    for at in (0..3000).step_by(200) {
        let mut part = part("720p", at, 200, at == 0);
        (part.segment, part.ends_segment) = (0, false);
        timeline.push_part(part).unwrap();
    }
    check(&timeline, "0:2400 1:600", "");
}

/// Pushes a part of segment `segment`.
fn push_in(timeline: &mut Timeline, name: &str, at_ms: u64, segment: u64, discontinuity: bool) {
    let mut part = part(name, at_ms, 200, true);
    (part.segment, part.discontinuity) = (segment, discontinuity);
    timeline.push_part(part).unwrap();
}

#[test]
fn a_splice_is_one_discontinuity_at_one_number_wherever_it_is() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 2000);
    run(&mut timeline, "audio", 0, 2000);
    // The picture is copied from 2.4 s on.
    for at in [2000, 2200] {
        push_in(&mut timeline, "720p", at, 1, false);
        push_in(&mut timeline, "audio", at, 1, false);
    }
    push_in(&mut timeline, "audio", 2400, 2, true);
    let taken = timeline.push_init(init("720p", 9)).unwrap();
    assert!(taken.new);
    push_in(&mut timeline, "720p", 2400, 2, true);
    push_in(&mut timeline, "720p", 2600, 2, true);
    let before = "0:2000 1:400 !2";
    check(
        &timeline,
        &format!("{before}:400"),
        &format!("{before}:200"),
    );
    let closed = timeline.end();
    assert_eq!(closed.iter().map(|c| c.init).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_rendition_without_a_part_after_a_splice_counts_it_all_the_same() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 2000);
    run(&mut timeline, "audio", 0, 2000);
    push_in(&mut timeline, "audio", 2000, 1, true);
    push_in(&mut timeline, "audio", 4000, 2, false);
    push_in(&mut timeline, "720p", 4000, 2, false);
    check(&timeline, "0:2000 !-1:2000 2:200", "0:2000 !1:200 2:200");
}

#[test]
fn a_restart_is_one_discontinuity_at_one_number() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 5000);
    run(&mut timeline, "audio", 0, 4000); // audio is late: it has nothing of segment 2
    assert_eq!(timeline.discontinuity().len(), 1);
    assert_eq!(timeline.discontinuity().len(), 0, "twice is once");
    assert!(!timeline.push_init(init("720p", 0)).unwrap().new);
    assert_eq!(timeline.push_init(init("audio", 1)).unwrap().number, 1);
    // Sound is cut between its own frames: it may begin in what is the slot before.
    run(&mut timeline, "audio", 15_990, 16_590);
    run(&mut timeline, "720p", 16_000, 16_400);
    check(
        &timeline,
        "0:2000 1:2000 2:1000 !3:400",
        "0:2000 1:2000 -2:2000 !3:600",
    );
    let closed = timeline.end();
    assert_eq!(closed.iter().map(|c| c.init).collect::<Vec<_>>(), [0, 1]);
    assert!(closed.iter().all(|c| c.discontinuity && c.msn == 3));
}

#[test]
fn a_rendition_that_comes_late_after_a_restart_has_a_gap() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 2000);
    run(&mut timeline, "audio", 0, 2000);
    timeline.discontinuity();
    run(&mut timeline, "audio", 7000, 10_000);
    run(&mut timeline, "720p", 8000, 10_000);
    check(&timeline, "0:2000 !-1:2000 2:2000", "0:2000 !1:1000 2:2000");
}

#[test]
fn a_new_init_in_the_middle_is_a_discontinuity_for_all() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 3000);
    run(&mut timeline, "audio", 0, 3000);
    let taken = timeline.push_init(init("720p", 9)).unwrap();
    assert_eq!((taken.number, taken.new), (1, true));
    assert_eq!(
        timeline.push_part(part("720p", 3000, 200, false)),
        Err(Refused::NotIndependent)
    );
    let closed = timeline.push_part(part("720p", 3000, 200, true)).unwrap();
    assert_eq!(closed.len(), 2);
    run(&mut timeline, "720p", 3200, 4200);
    run(&mut timeline, "audio", 3000, 4200);
    let same = "0:2000 1:1000 !2:1000 3:200";
    check(&timeline, same, same);
}

#[test]
fn a_lost_stretch_is_a_gap_and_a_long_one_a_jump() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 2000);
    run(&mut timeline, "720p", 6000, 8000);
    check(&timeline, "0:2000 -1:2000 -2:2000 3:2000", "");
    run(&mut timeline, "720p", 3_600_000, 3_600_200);
    check(&timeline, "1800:200", "");
}

#[test]
fn what_leaves_the_playlist_stays_for_a_while() {
    let mut timeline = timeline();
    run(&mut timeline, "720p", 0, 60_000);
    let track = &timeline.tracks()[0];
    assert_eq!(track.media_sequence(), 26);
    assert!(track.segment(21).is_some() && track.segment(20).is_none());
    assert_eq!(track.last_part(), Some((29, 9)));
}

#[test]
fn what_cannot_be_placed_is_refused() {
    let mut timeline = timeline();
    let mut check = |part: Part, expect| assert_eq!(timeline.push_part(part), Err(expect));
    check(part("4k", 0, 200, true), Refused::UnknownRendition);
    check(part("720p", 0, 0, true), Refused::Duration);
    check(part("720p", 0, 2500, true), Refused::Duration);
    check(part("720p", 0, 200, false), Refused::NotIndependent);
    let mut empty = part("720p", 0, 200, true);
    empty.bytes = Bytes::new();
    check(empty, Refused::Size);
    run(&mut timeline, "720p", 4000, 5000);
    let past = part("720p", 0, 200, true);
    assert_eq!(timeline.push_part(past), Err(Refused::Backwards));
    timeline.end();
    assert_eq!(
        timeline.push_part(part("720p", 5000, 200, false)),
        Err(Refused::Over)
    );
}

/// What may come from the pipeline, in any order.
#[derive(Debug, Clone)]
pub enum Step {
    Part {
        audio: bool,
        skip_ms: u64,
        duration_ms: u64,
        independent: bool,
    },
    Init {
        audio: bool,
        version: u8,
    },
    Discontinuity,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let part = (
        any::<bool>(),
        prop_oneof![6 => Just(0_u64), 1 => 0_u64..30, 1 => 0_u64..7000],
        prop_oneof![6 => Just(200_u64), 1 => 0_u64..2600],
        prop::bool::weighted(0.4),
    )
        .prop_map(|(audio, skip_ms, duration_ms, independent)| Step::Part {
            audio,
            skip_ms,
            duration_ms,
            independent,
        });
    let init = (any::<bool>(), 0_u8..3).prop_map(|(audio, version)| Step::Init { audio, version });
    prop::collection::vec(
        prop_oneof![40 => part, 1 => init, 1 => Just(Step::Discontinuity)],
        0..200,
    )
}

/// Runs the steps; what was closed, and how many bytes were taken.
pub fn play(timeline: &mut Timeline, steps: Vec<Step>) -> (Vec<ClosedSegment>, usize) {
    let (mut closed, mut taken) = (Vec::new(), 0);
    let mut clocks = [0_u64; 2];
    for step in steps {
        match step {
            Step::Part {
                audio,
                skip_ms,
                duration_ms,
                independent,
            } => {
                let clock = &mut clocks[usize::from(audio)];
                let name = if audio { "audio" } else { "720p" };
                let mut part = part(name, *clock + skip_ms, duration_ms, independent);
                part.independent = independent;
                part.discontinuity = part.segment % 5 == 3;
                let size = part.bytes.len();
                if let Ok(more) = timeline.push_part(part) {
                    *clock += skip_ms + duration_ms;
                    taken += size;
                    closed.extend(more);
                }
            }
            Step::Init { audio, version } => {
                let name = if audio { "audio" } else { "720p" };
                timeline.push_init(init(name, version)).unwrap();
            }
            Step::Discontinuity => closed.extend(timeline.discontinuity()),
        }
    }
    (closed, taken)
}

proptest! {
    #[test]
    fn numbers_and_durations_hold(steps in steps()) {
        let mut timeline = timeline();
        let (mut closed, taken) = play(&mut timeline, steps);
        closed.extend(timeline.end());
        let out: usize = closed.iter().flat_map(|c| &c.parts).map(Bytes::len).sum();
        prop_assert_eq!(out, taken, "every byte taken is in one segment");
        let target = timeline.target_duration().as_secs_f64();
        for name in ["720p", "audio"] {
            let of_this: Vec<&ClosedSegment> = closed.iter().filter(|c| &*c.rendition == name).collect();
            prop_assert!(of_this.is_sorted_by(|a, b| a.msn < b.msn));
            prop_assert!(of_this.iter().all(|c| c.duration.as_secs_f64().round() <= target));
        }
        // A discontinuity has the same number everywhere.
        let starts = |name: &str| -> Vec<u64> {
            let of_this = closed.iter().filter(|c| &*c.rendition == name && c.discontinuity);
            of_this.map(|c| c.msn).collect()
        };
        for msn in starts("720p") {
            let other = closed.iter().find(|c| &*c.rendition == "audio" && c.msn == msn);
            prop_assert!(other.is_none_or(|c| c.discontinuity));
        }
        for track in timeline.tracks() {
            let numbers: Vec<u64> = track.listed().map(|l| l.segment.msn).collect();
            prop_assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        }
    }
}
