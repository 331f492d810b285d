//! What a subscriber sees of a track whose packets are lost, late, left out and of many layers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::rtc::core::receive::payload::RunningNumbers;
use crate::rtc::core::receive::temporal::{Opening, Temporal};

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
            numbers: RunningNumbers {
                picture_id_at: 2,
                picture_id_is_long: true,
                tl0_at: 4,
                picture_ids_are_gapless: true,
            },
            spatial: None,
            temporal: None,
        },
        audio_level: None,
        color_space: None,
        dependency_descriptor: None,
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
    forward.want(Some(Target::whole(layer)));
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
    forward.want(Some(Target::whole(1)));
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
    forward.want(Some(Target::whole(0)));
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

#[test]
fn the_frames_of_av1_are_numbered_on() {
    let of_av1 = |start, layer, sequence: u64, key| {
        let mut packet = packet(start, layer, sequence, key);
        let [high, low] = (sequence as u16).wrapping_mul(3).to_be_bytes();
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&[0xC0, high, low, 1]);
        packet.packet = Bytes::from(bytes);
        packet.content.numbers = RunningNumbers::default();
        packet.dependency_descriptor = Some(12..15);
        packet
    };
    let (mut forward, start) = running(0);
    let first = forward.take(&of_av1(start, 0, 100, true)).expect("starts");
    assert_eq!(first.picture_id_offset, 0);
    forward.want(Some(Target::whole(1)));
    let switched = forward
        .take(&of_av1(start, 1, 5103, true))
        .expect("switches");
    let number = (5103u16 * 3).wrapping_add(switched.picture_id_offset);
    assert_eq!(number, 301, "after 300");
}

/// A packet of SVC, one a layer of each picture; the highest layer has the marker.
fn scalable(start: Instant, layer: u8, sequence: u64, key: bool, layers: u8) -> ReceivedRtp {
    let mut packet = packet(start, layer, sequence, key);
    packet.timestamp = (sequence / u64::from(layers)) as u32 * 2970;
    packet.marker = layer + 1 == layers;
    packet.content = Content {
        starts_key_frame: key && layer == 0,
        spatial: Some(Spatial {
            id: layer,
            starts_picture: layer == 0,
            ends_frame: true,
        }),
        ..Content::default()
    };
    packet
}

/// Of a picture of three layers, number, layer and marker of what is sent.
fn picture(forward: &mut Forward, start: Instant, number: u64, key: bool) -> Vec<(u64, u8, bool)> {
    let packets = (0..3).map(|layer| scalable(start, layer, number * 3 + u64::from(layer), key, 3));
    let sent = packets.filter_map(|packet| Some((forward.take(&packet)?, packet.layer)));
    sent.map(|(sent, layer)| (sent.sequence, layer, sent.marker))
        .collect()
}

#[test]
fn upper_layers_are_left_out_at_once_and_come_back_with_a_key_frame() {
    let (mut forward, start) = running(2);
    let all = picture(&mut forward, start, 100, true);
    let first = all[0].0;
    let expect = [
        (first, 0, false),
        (first + 1, 1, false),
        (first + 2, 2, true),
    ];
    assert_eq!(all, expect);
    forward.want(Some(Target::whole(0)));
    let lowest = picture(&mut forward, start, 101, false);
    assert_eq!(lowest, [(first + 3, 0, true)], "without a key frame");
    assert_eq!(forward.awaits_key_frame(), None);
    // A probe, and another picture.
    let probe = empty(start, 0, 102 * 3);
    assert_eq!(forward.take(&probe), None);
    let after = scalable(start, 0, 102 * 3 + 1, false, 3);
    let after = forward.take(&after).expect("sent");
    assert_eq!(after.sequence, first + 4, "what is left out leaves no gap");
    forward.want(Some(Target::whole(1)));
    assert_eq!(forward.awaits_key_frame(), Some(1));
    let still = picture(&mut forward, start, 104, false);
    assert_eq!(still.len(), 1);
    let both = picture(&mut forward, start, 105, true);
    let sent: Vec<(u8, bool)> = both.iter().map(|sent| (sent.1, sent.2)).collect();
    assert_eq!(sent, [(0, false), (1, true)]);
    assert_eq!(forward.switches(), 2);
    assert!(forward.is_of(0), "all layers are of one source");
}

#[test]
fn what_was_lost_of_an_upper_layer_belongs_to_the_picture_it_was_of() {
    let (mut forward, start) = running(2);
    picture(&mut forward, start, 100, true);
    let late = scalable(start, 2, 101 * 3 + 2, false, 3);
    for layer in 0..2 {
        let packet = scalable(start, layer, 101 * 3 + u64::from(layer), false, 3);
        assert!(forward.take(&packet).is_some());
    }
    forward.want(Some(Target::whole(0)));
    let lowest = picture(&mut forward, start, 102, false);
    assert_eq!(lowest.len(), 1);
    let filled = forward.take(&late).expect("it was still to be sent");
    assert_eq!(filled.sequence + 1, lowest[0].0);
}

/// The temporal layers of eight pictures, and whether each needs nothing but the lowest, as libvpx
/// has them.
const PATTERN: [(u8, bool); 8] = [
    (0, true),
    (2, true),
    (1, true),
    (2, false),
    (0, true),
    (2, false),
    (1, false),
    (2, false),
];

/// One of the two packets of a picture in three temporal layers.
fn of_picture(start: Instant, picture: u64, second: bool, key: bool) -> ReceivedRtp {
    let mut packet = packet(
        start,
        0,
        FIRST + 2 * picture + u64::from(second),
        key && !second,
    );
    let mut bytes = packet.packet.to_vec();
    let [high, low] = (0x8000 | (picture as u16 + 0x7FF0)).to_be_bytes();
    (bytes[14], bytes[15]) = (high, low);
    packet.packet = Bytes::from(bytes);
    packet.timestamp = picture as u32 * 3000;
    packet.marker = second;
    let (id, needs_lowest_alone) = match key {
        true => (0, true),
        false => PATTERN[picture as usize % 8],
    };
    let opens = needs_lowest_alone.then(|| Opening {
        from: id.saturating_sub(1),
        to: id,
    });
    packet.content.temporal = Some(Temporal { id, opens });
    packet
}

fn picture_id(packet: &ReceivedRtp, rewritten: &Rewritten) -> u16 {
    let mut payload = packet.payload().to_vec();
    rewrite_payload(&mut payload, &packet.content, rewritten);
    u16::from_be_bytes([payload[2], payload[3]]) & 0x7FFF
}

fn thin(temporal: u8) -> Option<Target> {
    Some(Target { layer: 0, temporal })
}

#[test]
fn frames_are_left_out_at_once_and_come_back_where_their_layer_can_begin() {
    let (mut forward, start) = running(0);
    let mut sent = Vec::new();
    let mut take = |forward: &mut Forward, pictures: std::ops::Range<u64>| -> Vec<u64> {
        let before = sent.len();
        for picture in pictures {
            for second in [false, true] {
                let packet = of_picture(start, picture, second, picture == 0);
                if let Some(rewritten) = forward.take(&packet) {
                    let id = picture_id(&packet, &rewritten);
                    sent.push((picture, rewritten.sequence, id));
                }
            }
        }
        let (first, first_id) = (sent[0].1, sent[0].2);
        for (at, (_, sequence, id)) in (0..).zip(&sent) {
            assert_eq!(*sequence, first + at, "no gap");
            assert_eq!(
                *id,
                (first_id + at as u16 / 2) & 0x7FFF,
                "nor in the pictures' ids"
            );
        }
        sent[before..]
            .iter()
            .step_by(2)
            .map(|(picture, ..)| *picture)
            .collect()
    };
    assert_eq!(take(&mut forward, 0..5), [0, 1, 2, 3, 4]);
    forward.want(thin(1));
    assert_eq!(take(&mut forward, 5..9), [6, 8]);
    forward.want(thin(0));
    assert_eq!(take(&mut forward, 9..22), [12, 16, 20]);
    assert_eq!(forward.awaits_key_frame(), None);
    forward.want(Some(Target::whole(0)));
    // The second layer begins with 26, the third not before the one that needs nothing of it.
    assert_eq!(take(&mut forward, 22..34), [24, 26, 28, 30, 32, 33]);
    assert_eq!(take(&mut forward, 34..37), [34, 35, 36]);
    assert_eq!(forward.current(), thin(2));
    assert_eq!(forward.switches(), 0);
}

#[test]
fn a_layer_that_never_begins_waits_for_a_key_frame() {
    let (mut forward, start) = running(0);
    forward.want(thin(0));
    let shut = |picture: u64, key| {
        let mut packet = of_picture(start, picture, false, key);
        packet.content.temporal = Some(Temporal {
            id: u8::from(picture % 2 == 1),
            opens: None,
        });
        packet
    };
    forward.take(&shut(0, true)).expect("starts");
    for picture in 1..200 {
        let sent = forward.take(&shut(picture, false)).is_some();
        assert_eq!(sent, picture % 2 == 0);
    }
    assert_eq!(forward.awaits_key_frame(), None, "nobody wants more");
    forward.want(Some(Target::whole(0)));
    let waited = (200..).find(|picture| {
        forward.take(&shut(*picture, false));
        forward.awaits_key_frame() == Some(0)
    });
    assert_eq!(waited, Some(200 + 2 * u64::from(MAX_LACKED) - 1));
    forward.want(thin(0));
    assert_eq!(forward.awaits_key_frame(), None);
    forward.want(Some(Target::whole(0)));
    for picture in 320..400 {
        forward.take(&shut(picture, false));
    }
    assert_eq!(
        forward.awaits_key_frame(),
        None,
        "it has just begun to wait"
    );
    assert!(forward.take(&shut(400, true)).is_some());
    assert!(forward.take(&shut(401, false)).is_some());
    assert_eq!(forward.awaits_key_frame(), None);
}

/// Of a picture's lowest layer, shortly before the numbers' 16 bits are over.
const FIRST: u64 = 0x1_FFEF;

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

/// All comes, and in order.
fn calm(steps: &mut [Step]) {
    for step in steps {
        (step.lost, step.late) = (false, 0);
    }
}

proptest! {
    /// Through any loss, reorder, probe and layer switch: no number twice (a nonce!), none
    /// before the first, no packet between two numbers but those that were lost or late, and
    /// the newest only by small steps.
    #[test]
    fn numbers_are_continuous(steps in proptest::collection::vec(step(), 1..600), random: u16) {
        let start = Instant::now();
        let mut forward = Forward::new(90_000, random);
        forward.want(Some(Target::whole(0)));
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
                forward.want(want.map(Target::whole));
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
    /// The same of SVC, whose layers share their numbers: and of each picture that came whole,
    /// what is sent ends with a marker, and is what stands alone.
    #[test]
    fn numbers_are_continuous_through_svc(mut steps in proptest::collection::vec(step(), 1..200), is_calm: bool, random: u16) {
        if is_calm {
            calm(&mut steps);
        }
        let start = Instant::now();
        let mut forward = Forward::new(90_000, random);
        forward.want(Some(Target::whole(2)));
        let mut line = Vec::new();
        let mut lost = 0u64;
        for (at, step) in steps.iter().enumerate() {
            for layer in 0..3u8 {
                let sequence = FIRST + at as u64 * 3 + u64::from(layer);
                if step.lost && layer == step.layer {
                    lost += 1;
                    continue;
                }
                let packet = scalable(start, layer, sequence, step.key, 3);
                line.push((at * 3 + usize::from(layer) + step.late, packet, step.want));
            }
        }
        line.sort_by_key(|(at, ..)| *at);
        let is_ordered = steps.iter().all(|step| step.late == 0);
        let mut seen = BTreeSet::new();
        let mut pictures: BTreeMap<u32, Vec<(u8, bool)>> = BTreeMap::new();
        for (_, packet, want) in &line {
            if let (Some(want), true) = (want, packet.layer == 0) {
                forward.want(Some(Target::whole(*want)));
            }
            if let Some(rewritten) = forward.take(packet) {
                prop_assert!(seen.insert(rewritten.sequence), "{} twice", rewritten.sequence);
                let of = pictures.entry(packet.timestamp).or_default();
                of.push((packet.layer, rewritten.marker));
            }
        }
        if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
            let holes = last - first + 1 - seen.len() as u64;
            let late = steps.iter().filter(|step| step.late > 0).count() as u64;
            prop_assert!(holes <= lost + 3 * late, "{holes} holes");
        }
        if lost == 0 && is_ordered {
            for layers in pictures.values() {
                let each = layers.iter().enumerate();
                for (at, (layer, marker)) in each {
                    prop_assert_eq!(usize::from(*layer), at);
                    prop_assert_eq!(*marker, at + 1 == layers.len());
                }
            }
        }
    }

    /// Of temporal layers too: no number twice, and as many holes as losses; each picture has an id
    /// of its own, in their order; and where all came in order, all that is sent can be decoded.
    #[test]
    fn numbers_are_continuous_through_temporal_layers(mut steps in proptest::collection::vec(step(), 1..300), is_calm: bool, random: u16) {
        if is_calm {
            calm(&mut steps);
        }
        let start = Instant::now();
        let mut forward = Forward::new(90_000, random);
        forward.want(Some(Target::whole(0)));
        let mut line = Vec::new();
        let mut lost = 0u64;
        for (at, step) in steps.iter().enumerate() {
            for second in [false, true] {
                if step.lost && second == (step.layer == 1) {
                    lost += 1;
                    continue;
                }
                let packet = of_picture(start, at as u64, second, at == 0 || step.key);
                line.push((2 * at + usize::from(second) + step.late, packet, step.want));
            }
        }
        line.sort_by_key(|(at, ..)| *at);
        let is_ordered = steps.iter().all(|step| step.late == 0);
        let mut seen = BTreeSet::new();
        let mut ids: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
        let mut decodable: [Option<u32>; 3] = [None; 3];
        for (_, packet, want) in &line {
            if let Some(want) = want {
                forward.want(thin(*want));
            }
            let Some(rewritten) = forward.take(packet) else {
                continue;
            };
            prop_assert!(seen.insert(rewritten.sequence), "{} twice", rewritten.sequence);
            let of = ids.entry(packet.timestamp / 3000).or_default();
            of.insert(picture_id(packet, &rewritten));
            if lost > 0 || !is_ordered || packet.marker {
                continue;
            }
            let picture = packet.timestamp / 3000;
            let id = packet.content.temporal.map_or(0, |temporal| temporal.id);
            let (_, needs_lowest_alone) = PATTERN[picture as usize % 8];
            // Of each layer that it is made of, the last picture before it must be there.
            let of = match (packet.content.starts_key_frame, needs_lowest_alone) {
                (true, _) => 0..0,
                (_, true) => 0..1,
                (_, false) => 0..id + 1,
            };
            for needed in of {
                let last = (0..picture).rev().find(|at| PATTERN[*at as usize % 8].0 == needed);
                prop_assert!(
                    decodable[usize::from(needed)] >= last,
                    "{picture} needs {last:?}, there is {decodable:?}"
                );
            }
            if packet.content.starts_key_frame {
                decodable = [Some(picture); 3];
            }
            decodable[usize::from(id)] = Some(picture);
        }
        if let (Some(first), Some(last)) = (seen.first(), seen.last()) {
            let holes = last - first + 1 - seen.len() as u64;
            let late = steps.iter().filter(|step| step.late > 0).count() as u64;
            prop_assert!(holes <= lost + 2 * late, "{holes} holes");
        }
        let mut before: Option<u16> = None;
        for (picture, of) in &ids {
            prop_assert_eq!(of.len(), 1, "of picture {}", picture);
            let id = *of.first().expect("one");
            if let Some(before) = before {
                let ahead = id.wrapping_sub(before) & 0x7FFF;
                prop_assert!((1..0x400).contains(&ahead), "{before}, then {id}");
                prop_assert!(ahead == 1 || lost > 0 || !is_ordered, "{before}, then {id}");
            }
            before = Some(id);
        }
    }
}
