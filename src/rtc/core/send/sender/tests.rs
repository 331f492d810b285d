//! A subscriber by script: what it gets is opened by the crate's own SRTP, as a browser would.

use std::collections::BTreeMap;

use bytes::Bytes;
use rtc_srtp::protection_profile::ProtectionProfile;

mod network;
mod playout;

use super::*;
use crate::room::Codec;
use crate::rtc::core::dtls::Identity;
use crate::rtc::core::ice::Path;
use crate::rtc::core::outbox::Outbox;
use crate::rtc::core::receive::payload::{Content, Spatial};
use crate::rtc::core::receive::rtp;
use crate::rtc::core::receive::temporal::Temporal;
use crate::rtc::core::rtcp::TransportFeedback;
use crate::rtc::core::sdp::agreement::Rtx;
use crate::rtc::core::srtp::{self, Srtp};

const SSRC: u32 = 0x1111;
const RTX: u32 = 0x2222;
const VIDEO: Slot = Slot(0);
const AUDIO: Slot = Slot(1);

fn media(kind: MediaKind) -> SendMedia {
    let is_video = kind == MediaKind::Video;
    SendMedia {
        mid: "0".into(),
        kind,
        codec: if is_video { Codec::Vp8 } else { Codec::Opus },
        payload_type: if is_video { 96 } else { 111 },
        clock_rate: if is_video { 90_000 } else { 48_000 },
        nack: true,
        rtx: is_video.then_some(Rtx {
            payload_type: 97,
            ssrc: RTX,
        }),
        ssrc: if is_video { SSRC } else { 0x3333 },
        transport_cc: Some(2),
        audio_level: (!is_video).then_some(3),
        color_space: None,
        dependency_descriptor: None,
    }
}

struct World {
    sender: Sender,
    ours: Srtp,
    theirs: Srtp,
    outbox: Outbox,
    now: Instant,
    start: Instant,
    layers: Vec<LayerInfo>,
    next: BTreeMap<u8, u64>,
}

impl World {
    fn new(profile: ProtectionProfile) -> Self {
        let identity = Identity::generate().expect("a certificate");
        let crypto = identity.provider.crypto();
        let keys: Vec<u8> = (0..srtp::keying_material_len(profile) as u8).collect();
        let srtp = |is_client| Srtp::new(profile, &keys, is_client, crypto).expect("keys");
        let now = Instant::now();
        let mut sender = Sender::new("amphi".into());
        sender.agree(vec![media(MediaKind::Video), media(MediaKind::Audio)], || 5);
        let layer = |height_px, kbps: u64| LayerInfo {
            height_px,
            bitrate_bps: kbps * 1000,
            thinner_bps: Default::default(),
            running: true,
        };
        let layers = vec![layer(180, 150), layer(720, 1500)];
        sender.on_connected(now);
        sender.set_source(VIDEO, Some(layers.clone()), now);
        sender.set_source(AUDIO, Some(Vec::new()), now);
        Self {
            sender,
            ours: srtp(false),
            theirs: srtp(true),
            outbox: Outbox::default(),
            now,
            start: now,
            layers,
            next: BTreeMap::new(),
        }
    }

    fn packet(&mut self, layer: u8, key: bool, len: usize) -> Arc<ReceivedRtp> {
        let next = self.next.entry(layer).or_insert(70_000);
        *next += 1;
        let mut bytes = vec![0; 12];
        bytes.extend(vec![*next as u8; len]);
        Arc::new(ReceivedRtp {
            arrival: self.now,
            packet: Bytes::from(bytes),
            header_len: 12,
            sequence: *next,
            timestamp: self.now.duration_since(self.start).as_millis() as u32 * 90,
            marker: true,
            completes: true,
            layer,
            content: Content {
                starts_key_frame: key,
                ..Content::default()
            },
            audio_level: Some(0x80 | 30),
            color_space: None,
            dependency_descriptor: None,
        })
    }

    /// Forwards, and gives back what the subscriber decrypts: SSRC, number, payload.
    fn forward(&mut self, slot: Slot, packets: &[Arc<ReceivedRtp>]) -> Vec<(u32, u16, Vec<u8>)> {
        let Self {
            sender,
            ours,
            outbox,
            now,
            ..
        } = self;
        let path = Path::udp(([192, 0, 2, 1], 9).into(), None);
        let mut wire = Wire {
            srtp: ours,
            path,
            outbox,
        };
        sender.forward(slot, packets.iter(), &mut wire, *now);
        sender.flush(&mut wire, *now);
        self.got()
    }

    fn got(&mut self) -> Vec<(u32, u16, Vec<u8>)> {
        let provider = Identity::generate().expect("a certificate").provider;
        let mut got = Vec::new();
        for (_, datagram) in self.outbox.iter() {
            let header = rtp::parse(datagram).expect("RTP");
            let packet = self.theirs.open_rtp(datagram, &header, provider.crypto());
            let packet = packet.expect("authentic, and not replayed");
            let payload = packet[header.header_len..].to_vec();
            got.push((header.ssrc, header.sequence, payload));
        }
        self.outbox.clear();
        got
    }

    fn events(&mut self) -> Vec<SendEvent> {
        std::iter::from_fn(|| self.sender.poll_event()).collect()
    }

    /// Lets time pass with a good path: feedback says that all arrived.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now += Duration::from_millis(10);
            self.sender.handle_timeout(self.now);
        }
    }
}

#[test]
fn what_is_sent_is_what_came_in_either_cipher() {
    for profile in [
        ProtectionProfile::AeadAes128Gcm,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ] {
        let mut world = World::new(profile);
        let burst = [
            world.packet(0, true, 1000),
            world.packet(0, false, 1000),
            world.packet(0, false, 400),
        ];
        let got = world.forward(VIDEO, &burst);
        assert_eq!(got.len(), 3);
        for ((ssrc, sequence, payload), packet) in got.iter().zip(&burst) {
            assert_eq!((*ssrc, &payload[..]), (SSRC, packet.payload()));
            let gap = packet.sequence - burst[0].sequence;
            assert_eq!(u64::from(sequence - got[0].1), gap);
        }
        let sound = world.packet(0, true, 80);
        assert_eq!(world.forward(AUDIO, &[sound]).len(), 1);
    }
}

#[test]
fn a_key_frame_is_wished_for_until_it_comes() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let wanted = SendEvent::KeyFrameWanted(VIDEO, 0);
    assert!(world.events().contains(&wanted));
    let packet = world.packet(0, false, 100);
    assert_eq!(world.forward(VIDEO, &[packet]), []);
    world.pass(2500);
    let better = SendEvent::KeyFrameWanted(VIDEO, 1);
    let wished = world.events().into_iter().filter(|event| *event == better);
    assert_eq!(wished.count(), 3, "at once, and each second");
}

#[test]
fn lost_packets_are_sent_again_once_a_round_trip() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let burst = [world.packet(0, true, 500), world.packet(0, false, 500)];
    let got = world.forward(VIDEO, &burst);
    world.now += Duration::from_millis(100);
    let nack = Incoming::Nack {
        ssrc: SSRC,
        numbers: vec![got[1].1, 9],
    };
    world.sender.handle_rtcp(&nack, world.now);
    world.sender.handle_rtcp(&nack, world.now);
    let again = world.forward(VIDEO, &[]);
    let [(ssrc, _, payload)] = &again[..] else {
        panic!("one packet: {again:?}");
    };
    assert_eq!(*ssrc, RTX);
    assert_eq!(payload[..2], got[1].1.to_be_bytes());
    assert_eq!(&payload[2..], burst[1].payload());
    let stats = world.sender.stats().remove(0);
    assert_eq!((stats.packets, stats.nacks, stats.resent), (2, 4, 1));
}

#[test]
fn a_better_layer_is_taken_while_the_path_carries_it_and_left_when_it_does_not() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    world.pass(20);
    assert!(world.events().contains(&SendEvent::Layer(VIDEO, Some(1))));
    let burst = [world.packet(1, true, 500)];
    assert_eq!(world.forward(VIDEO, &burst).len(), 1);
    world
        .sender
        .handle_rtcp(&Incoming::Remb { bps: 300_000 }, world.now);
    world.pass(300);
    assert!(world.events().contains(&SendEvent::Layer(VIDEO, Some(0))));
    world
        .sender
        .handle_rtcp(&Incoming::Remb { bps: 100_000 }, world.now);
    world.pass(300);
    assert!(world.events().contains(&SendEvent::Layer(VIDEO, None)));
    assert!(world.sender.stats()[0].is_paused);
    let burst = [world.packet(0, true, 500), world.packet(1, true, 500)];
    assert_eq!(world.forward(VIDEO, &burst), []);
    // Sound goes on.
    let sound = world.packet(0, true, 80);
    assert_eq!(world.forward(AUDIO, &[sound]).len(), 1);
}

#[test]
fn who_has_a_source_already_gets_none_of_its_packets_twice() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let spatial = |id| Spatial {
        id,
        starts_picture: id == 0,
        ends_frame: true,
    };
    // Simulcast: what came since the key frame is of use.
    assert_eq!(world.sender.awaits_key_frame(VIDEO), Some(0));
    let layers = [0, 1].map(|id| {
        let mut packet = Arc::unwrap_or_clone(world.packet(0, true, 100));
        (packet.layer, packet.content.spatial) = (id, Some(spatial(id)));
        Arc::new(packet)
    });
    assert_eq!(world.forward(VIDEO, &layers).len(), 1);
    world.pass(20);
    assert!(world.events().contains(&SendEvent::Layer(VIDEO, Some(1))));
    assert_eq!(world.sender.awaits_key_frame(VIDEO), None, "all is sent");
}

#[test]
fn a_path_too_narrow_for_all_frames_gets_some() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    world.layers[0].thinner_bps = [60_000, 90_000, 0];
    let layers = world.layers.clone();
    world.sender.set_layers(VIDEO, &layers, world.now);
    let key = world.packet(0, true, 500);
    assert_eq!(world.forward(VIDEO, &[key]).len(), 1);
    world
        .sender
        .handle_rtcp(&Incoming::Remb { bps: 190_000 }, world.now);
    world.pass(300);
    let stats = world.sender.stats().remove(0);
    assert_eq!((stats.is_paused, stats.temporal_layer), (false, Some(1)));
    let pictures = [0, 2, 1, 2].map(|id| {
        let mut packet = Arc::unwrap_or_clone(world.packet(0, false, 500));
        packet.timestamp += u32::from(id);
        packet.content.temporal = Some(Temporal { id, opens: None });
        Arc::new(packet)
    });
    assert_eq!(world.forward(VIDEO, &pictures).len(), 2);
}

#[test]
fn a_small_picture_takes_a_small_layer() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let view = View {
        shown_px: 180,
        is_speaking: false,
    };
    world.sender.set_view(VIDEO, view, world.now);
    world.pass(300);
    assert!(!world.events().contains(&SendEvent::Layer(VIDEO, Some(1))));
    let layers = world.layers.clone();
    world.sender.set_layers(VIDEO, &layers, world.now);
    world.sender.set_view(VIDEO, View::default(), world.now);
    world.pass(300);
    assert!(world.events().contains(&SendEvent::Layer(VIDEO, Some(1))));
}

#[test]
fn reports_tell_the_publishers_clock_and_measure_the_round_trip() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let key = world.packet(0, true, 100);
    let sent_timestamp = key.timestamp;
    world.forward(VIDEO, &[key]);
    let report = SenderReport {
        layer: 0,
        arrival: world.now,
        ntp: 77 << 32,
        rtp: sent_timestamp,
    };
    world.sender.on_source_report(VIDEO, report);
    world.pass(1010);
    let message = world.sender.poll_transmit().expect("a report");
    let [Incoming::SenderReport { ssrc, ntp, rtp }, ..] = rtcp::parse(&message)[..] else {
        panic!("a sender report");
    };
    assert_eq!(ssrc, SSRC);
    let millis = ((ntp - (77 << 32)) * 1000) >> 32;
    assert!((990..=1010).contains(&millis), "{millis}");
    let ticks = u64::from(rtp.wrapping_sub(sent_timestamp));
    assert!((ticks / 90).abs_diff(millis) <= 1, "{ticks}");

    let block = ReportBlock {
        ssrc: SSRC,
        fraction_lost: 12,
        total_lost: 3,
        highest_sequence: 0,
        jitter: 90,
        last_sender_report: (ntp >> 16) as u32,
        delay: 65_536 / 10,
    };
    let later = world.now + Duration::from_millis(140);
    world.sender.handle_rtcp(&Incoming::Reception(block), later);
    let round_trip = world.sender.round_trip().expect("measured").as_millis();
    assert!((38..=52).contains(&round_trip), "{round_trip}");
    assert_eq!(world.sender.stats()[0].lost, 3);
}

#[test]
fn numbers_go_on_when_a_slot_changes_hands() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let first = world.packet(0, true, 100);
    let before = world.forward(VIDEO, &[first]);
    world.sender.set_source(VIDEO, None, world.now);
    let ignored = world.packet(0, true, 100);
    assert_eq!(world.forward(VIDEO, &[ignored]), []);
    world.sender.set_source(VIDEO, Some(Vec::new()), world.now);
    world.next.insert(0, 66_000);
    let other = world.packet(0, true, 100);
    let after = world.forward(VIDEO, &[other]);
    assert_eq!(after[0].1, before[0].1 + 1);
}

#[test]
fn a_probe_finds_that_the_path_became_wider() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let (mut free_us, mut probes, mut layers) = (0i64, 0, Vec::new());
    for step in 0..1500u32 {
        world.now += Duration::from_millis(20);
        world.sender.handle_timeout(world.now);
        let link_bps = if step < 300 { 400_000 } else { 5_000_000 };
        let first = world.sender.bandwidth.next_number();
        let current = world.sender.stats()[0].layer;
        layers.push(current);
        // Both layers come, the large one in four packets.
        let mut burst = vec![world.packet(0, step % 25 == 0, 370)];
        burst.extend(
            (0..4)
                .map(|nth| (nth == 0, step % 25 == 0))
                .map(|(first, key)| world.packet(1, first && key, 940)),
        );
        let sent = world.forward(VIDEO, &burst);
        let sound = world.packet(0, true, 80);
        let sound = world.forward(AUDIO, &[sound]);
        probes += sent.iter().filter(|(ssrc, ..)| *ssrc == RTX).count();
        let sent_us = i64::from(step) * 20_000;
        let arrivals = sent
            .iter()
            .chain(&sound)
            .enumerate()
            .map(|(nth, (_, _, payload))| {
                let bits = (payload.len() as i64 + 60) * 8;
                free_us = free_us.max(sent_us) + bits * 1_000_000 / link_bps;
                // A queue of half a second; what comes above it is lost.
                let lost = free_us - sent_us > 500_000;
                if lost {
                    free_us -= bits * 1_000_000 / link_bps;
                }
                (
                    first.wrapping_add(nth as u16),
                    (!lost).then_some(free_us + 10_000),
                )
            });
        let feedback = TransportFeedback::new(arrivals.collect());
        let message = Incoming::TransportFeedback(feedback);
        world.sender.handle_rtcp(&message, world.now);
    }
    assert_eq!(
        layers[200..300]
            .iter()
            .filter(|layer| **layer == Some(1))
            .count(),
        0
    );
    assert!(probes > 0, "probes were sent");
    assert_eq!(
        layers.last(),
        Some(&Some(1)),
        "the better picture came back"
    );
}

#[test]
fn lost_sound_is_sent_again_to_the_last_bit_the_same() {
    // Its nonce is the same: another byte under it would give the key away.
    for profile in [
        ProtectionProfile::AeadAes128Gcm,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ] {
        let mut world = World::new(profile);
        let mut sent = Vec::new();
        for _ in 0..10 {
            let packet = world.packet(0, true, 80);
            let path = Path::udp(([192, 0, 2, 1], 9).into(), None);
            let mut wire = Wire {
                srtp: &mut world.ours,
                path,
                outbox: &mut world.outbox,
            };
            world
                .sender
                .forward(AUDIO, [&packet].into_iter(), &mut wire, world.now);
            sent.extend(world.outbox.iter().map(|(_, datagram)| datagram.to_vec()));
            world.outbox.clear();
            world.now += Duration::from_millis(20);
        }
        let header = rtp::parse(&sent[4]).expect("RTP");
        let nack = Incoming::Nack {
            ssrc: header.ssrc,
            numbers: vec![header.sequence, header.sequence.wrapping_sub(500)],
        };
        world.sender.handle_rtcp(&nack, world.now);
        let path = Path::udp(([192, 0, 2, 1], 9).into(), None);
        let mut wire = Wire {
            srtp: &mut world.ours,
            path,
            outbox: &mut world.outbox,
        };
        world.sender.flush(&mut wire, world.now);
        let again: Vec<_> = world
            .outbox
            .iter()
            .map(|(_, datagram)| datagram.to_vec())
            .collect();
        assert_eq!(again, [sent[4].clone()]);
        assert_eq!(world.sender.stats()[1].resent, 1);
    }
}

#[test]
fn what_waits_does_not_outlive_its_source() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let remb = Incoming::Remb { bps: 160_000 };
    world.sender.handle_rtcp(&remb, world.now);
    let frame: Vec<_> = (0..10).map(|_| world.packet(0, true, 1000)).collect();
    assert!(world.forward(VIDEO, &frame).len() < 10, "some wait");
    let layers = world.layers.clone();
    world.sender.set_source(VIDEO, Some(layers), world.now);
    world.now += Duration::from_secs(2);
    assert_eq!(world.forward(VIDEO, &[]), []);
}

#[test]
fn on_a_narrow_path_pictures_are_spread_out_and_sound_goes_between() {
    let mut world = World::new(ProtectionProfile::AeadAes128Gcm);
    let remb = Incoming::Remb { bps: 160_000 };
    world.sender.handle_rtcp(&remb, world.now);
    let frame: Vec<_> = (0..10).map(|_| world.packet(0, true, 1000)).collect();
    let mut got = world.forward(VIDEO, &frame);
    assert!((1..5).contains(&got.len()), "{}", got.len());
    let sound = world.packet(0, true, 80);
    assert_eq!(world.forward(AUDIO, &[sound]).len(), 1, "at once");
    let begin = world.now;
    while got.len() < 10 {
        let due = world.sender.poll_timeout().expect("more to send");
        world.now = due.0.max(world.now);
        world.sender.handle_timeout(world.now);
        got.extend(world.forward(VIDEO, &[]));
    }
    let took = world.now.duration_since(begin);
    // 80 kbit at 400 kbit/s, but for the first 16.
    let expect = Duration::from_millis(130)..Duration::from_millis(220);
    assert!(expect.contains(&took), "{took:?}");
    let numbers: Vec<_> = got.iter().map(|(_, number, _)| *number).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
}
