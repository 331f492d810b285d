//! What a subscriber sees of a track whose packets are lost, late, left out and of many layers.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::rtc::core::receive::payload::Vp8Numbers;

const FRAME: Duration = Duration::from_millis(33);

/// A VP8 packet with a long picture id and a TL0PICIDX.
fn packet(start: Instant, layer: u8, sequence: u64, key: bool) -> ReceivedRtp {
    let frame = sequence as u32;
    let pid = 0x8000 | (sequence as u16).wrapping_mul(3);
    let [high, low] = pid.to_be_bytes();
    let mut bytes = vec![0; 12];
    bytes.extend_from_slice(&[0x90, 0xC0, high, low, sequence as u8, u8::from(!key), 0, 0]);
    ReceivedRtp {
        arrival: start + FRAME * frame,
        packet: Bytes::from(bytes),
        header_len: 12,
        sequence,
        timestamp: frame * 2970 + u32::from(layer) * 1_000_000,
        marker: true,
        completes: true,
        layer,
        content: Content {
            starts_key_frame: key,
            height_px: None,
            vp8: Vp8Numbers {
                picture_id_at: 2,
                picture_id_is_long: true,
                tl0_at: 4,
            },
        },
        audio_level: None,
    }
}

fn empty(start: Instant, layer: u8, sequence: u64) -> ReceivedRtp {
    let mut packet = packet(start, layer, sequence, false);
    packet.packet = packet.packet.slice(..12);
    packet.content = Content::default();
    packet
}

fn running(layer: u8) -> (Forward, Instant) {
    let mut forward = Forward::new(90_000, 7);
    forward.want(Some(layer));
    (forward, Instant::now())
}

#[test]
fn nothing_comes_before_a_key_frame() {
    let (mut forward, start) = running(0);
    assert_eq!(forward.take(&packet(start, 0, 100, false)), None);
    assert_eq!(forward.awaits_key_frame(), Some(0));
    assert!(forward.take(&packet(start, 0, 101, true)).is_some());
    assert_eq!(forward.awaits_key_frame(), None);
    assert!(forward.take(&packet(start, 0, 102, false)).is_some());
    // Late, of before the key frame.
    assert_eq!(forward.take(&packet(start, 0, 99, false)), None);
}

#[test]
fn a_layer_changes_at_its_key_frame_without_a_seam() {
    let (mut forward, start) = running(0);
    let first = forward.take(&packet(start, 0, 100, true)).expect("starts");
    forward.want(Some(1));
    let second = forward
        .take(&packet(start, 0, 101, false))
        .expect("goes on");
    assert_eq!(forward.take(&packet(start, 1, 5102, false)), None);
    let key = packet(start, 1, 5103, true);
    let third = forward.take(&key).expect("switches");
    assert_eq!(forward.take(&packet(start, 0, 102, false)), None);
    assert_eq!(
        [second.sequence, third.sequence],
        [first.sequence + 1, first.sequence + 2]
    );
    // 33 ms for each packet of the test, of which 5002 went by.
    let ticks = third.timestamp.wrapping_sub(second.timestamp);
    assert_eq!(ticks, 5002 * 2970);
    // Picture ids go on by one.
    let mut payload = key.payload().to_vec();
    rewrite_payload(&mut payload, &key.content, &third);
    assert_eq!(payload[2..5], [0x81, 0x30, 102], "303 + 1, and 101 + 1");
    assert_eq!(forward.switches(), 1);
}

#[test]
fn a_pause_ends_with_a_key_frame() {
    let (mut forward, start) = running(0);
    let before = forward.take(&packet(start, 0, 100, true)).expect("starts");
    forward.want(None);
    assert_eq!(forward.take(&packet(start, 0, 101, true)), None);
    forward.want(Some(0));
    assert_eq!(forward.take(&packet(start, 0, 150, false)), None);
    let after = forward.take(&packet(start, 0, 151, true)).expect("resumes");
    assert_eq!(after.sequence, before.sequence + 1);
}

#[test]
fn another_source_in_the_same_layer_needs_a_key_frame_and_leaves_no_jump() {
    let (mut forward, start) = running(0);
    let before = forward.take(&packet(start, 0, 100, true)).expect("starts");
    let far = 100 + 3 * 0x1_0000;
    assert_eq!(forward.take(&packet(start, 0, far, false)), None);
    let after = forward
        .take(&packet(start, 0, far + 1, true))
        .expect("goes on");
    assert_eq!(after.sequence, before.sequence + 1);
}

/// One step of a track: which layer, whether key, empty, lost, and by how much it is late.
#[derive(Debug, Clone)]
struct Step {
    layer: u8,
    key: bool,
    empty: bool,
    lost: bool,
    late: usize,
    want: Option<u8>,
}

fn step() -> impl Strategy<Value = Step> {
    let chance = |percent: u32| (0..100u32).prop_map(move |dice| dice < percent);
    let want = prop_oneof![20 => Just(None), 1 => (0..3u8).prop_map(Some)];
    (
        0..3u8,
        chance(10),
        chance(8),
        chance(10),
        prop_oneof![4 => Just(0usize), 1 => 1..6usize],
        want,
    )
        .prop_map(|(layer, key, empty, lost, late, want)| Step {
            layer,
            key,
            empty,
            lost,
            late,
            want,
        })
}

proptest! {
    /// Through any loss, reorder, probe and layer switch: no number twice (a nonce!), none
    /// before the first, no packet between two numbers but those that were lost or late, and
    /// the newest only by small steps.
    #[test]
    fn numbers_are_continuous(steps in proptest::collection::vec(step(), 1..600), random: u16) {
        let start = Instant::now();
        let mut forward = Forward::new(90_000, random);
        forward.want(Some(0));
        let mut next = [0x1_FFF0u64, 0x2_8000, 0x3_0005];
        let mut line: Vec<(usize, ReceivedRtp, Option<u8>)> = Vec::new();
        let (mut lost, mut wants) = (0u64, 0u64);
        for (at, step) in steps.iter().enumerate() {
            let layer = usize::from(step.layer);
            let sequence = next[layer];
            next[layer] += 1;
            if step.lost {
                lost += 1;
                continue;
            }
            let packet = match step.empty {
                true => empty(start, step.layer, sequence),
                false => packet(start, step.layer, sequence, step.key),
            };
            wants += u64::from(step.want.is_some());
            line.push((at + step.late, packet, step.want));
        }
        line.sort_by_key(|(at, ..)| *at);
        let mut seen = BTreeSet::new();
        for (_, packet, want) in &line {
            if want.is_some() {
                forward.want(*want);
            }
            let before = seen.last().copied();
            if let Some(rewritten) = forward.take(packet) {
                prop_assert!(!packet.is_empty());
                prop_assert!(rewritten.sequence >= FIRST_SEQUENCE);
                prop_assert!(seen.insert(rewritten.sequence), "{} twice", rewritten.sequence);
                if let Some(before) = before {
                    prop_assert!(rewritten.sequence < before + 2 + lost + 6);
                }
            }
        }
        if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
            let holes = last - first + 1 - seen.len() as u64;
            // A packet still under way at a switch is a hole; so is a probe that came late.
            let probes = steps.iter().filter(|step| step.empty && step.late > 0).count() as u64;
            prop_assert!(holes <= lost + probes + 6 * (wants + forward.switches() + 1), "{holes} holes");
        }
    }
}
