//! The receiver by script: a publisher with loss, mute, codec changes and strange packets.

use super::*;
use crate::room::{Codec, MediaKind};
use crate::rtc::core::sdp::agreement::{CodecParameters, DeclaredSsrc, Extensions};

const MEDIA: u32 = 0x1111;
const RTX: u32 = 0x2222;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
const H264: u8 = 102;
const VP9: u8 = 98;
const AV1: u8 = 45;
const VIDEO: TrackId = TrackId(1);

fn codec(codec: Codec, payload_type: u8, rtx: Option<u8>) -> CodecParameters {
    CodecParameters {
        codec,
        payload_type,
        clock_rate: codec.clock_rate(),
        fmtp: String::new(),
        rtx_payload_type: rtx,
        nack: rtx.is_some(),
        pli: true,
        transport_cc: true,
    }
}

fn video() -> Media {
    Media {
        index: 1,
        mid: "1".into(),
        kind: MediaKind::Video,
        is_screen: false,
        codecs: vec![
            codec(Codec::Vp8, VP8, Some(VP8_RTX)),
            codec(Codec::H264, H264, None),
            codec(Codec::Vp9, VP9, None),
            codec(Codec::Av1, AV1, None),
        ],
        rids: Vec::new(),
        ssrcs: Vec::new(),
        extensions: Extensions {
            mid: Some(1),
            rid: Some(2),
            repaired_rid: Some(3),
            transport_cc: Some(4),
            dependency_descriptor: Some(5),
            ..Extensions::default()
        },
    }
}

fn audio() -> Media {
    Media {
        index: 0,
        mid: "0".into(),
        kind: MediaKind::Audio,
        is_screen: false,
        codecs: vec![codec(Codec::Opus, 111, None)],
        ssrcs: Vec::new(),
        rids: Vec::new(),
        extensions: Extensions {
            mid: Some(1),
            ..Extensions::default()
        },
    }
}

fn packet(ssrc: u32, payload_type: u8, sequence: u16, extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 3000).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    if !extensions.is_empty() {
        let mut block = Vec::new();
        for (id, value) in extensions {
            block.push(id << 4 | (value.len() as u8 - 1));
            block.extend_from_slice(value);
        }
        block.resize(block.len().next_multiple_of(4), 0);
        packet[0] |= 0x10;
        packet.extend_from_slice(&[0xBE, 0xDE, 0, (block.len() / 4) as u8]);
        packet.extend(block);
    }
    packet
}

fn media(sequence: u16) -> Vec<u8> {
    let mut packet = packet(MEDIA, VP8, sequence, &[(1, b"1")]);
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet
}

fn retransmission(of: u16, sequence: u16) -> Vec<u8> {
    let mut packet = packet(RTX, VP8_RTX, sequence, &[(1, b"1")]);
    packet.extend_from_slice(&of.to_be_bytes());
    packet.extend_from_slice(&of.to_be_bytes());
    packet
}

struct Run {
    receiver: Receiver,
    start: Instant,
    now: Instant,
}

impl Run {
    fn new(media: Vec<Media>) -> Self {
        let start = Instant::now();
        Self {
            receiver: Receiver::new(media, 1, "test".into(), start),
            start,
            now: start,
        }
    }

    fn take(&mut self, datagram: &[u8]) {
        handle_clear(&mut self.receiver, datagram, self.now);
    }

    /// Lets time pass, from deadline to deadline.
    fn wait(&mut self, millis: u64) -> Vec<Vec<u8>> {
        let (mut sent, end) = (Vec::new(), self.now + Duration::from_millis(millis));
        for _ in 0..10_000 {
            match self.receiver.poll_timeout() {
                Some((at, _)) if at <= end => {
                    self.now = self.now.max(at);
                    self.receiver.handle_timeout(self.now);
                    sent.extend(std::iter::from_fn(|| self.receiver.poll_transmit()));
                }
                _ => break,
            }
        }
        self.now = end;
        sent.extend(std::iter::from_fn(|| self.receiver.poll_transmit()));
        sent
    }

    /// Events by name, packets by their numbers.
    fn told(&mut self) -> Vec<String> {
        let outputs = std::iter::from_fn(|| self.receiver.poll_event());
        let is_news = |output: &Output| !matches!(output, Output::Event(Event::Layers(..)));
        let tell = |output| match output {
            Output::Event(Event::TrackStarted(info)) => format!("started {:?}", info.codec),
            Output::Event(event) => format!("{event:?}"),
            Output::Rtp(_, rtp) if rtp.is_empty() => format!("probe {}", rtp.sequence & 0xFFFF),
            Output::Rtp(_, rtp) if rtp.layer > 0 => {
                format!("{} of {}", rtp.sequence & 0xFFFF, rtp.layer)
            }
            Output::Rtp(_, rtp) => format!("{}", rtp.sequence & 0xFFFF),
            Output::SenderReport(track, report) => format!("report {} {}", track.0, report.rtp),
        };
        outputs.filter(is_news).map(tell).collect()
    }
}

fn is(kind: u8, format: u8) -> impl Fn(&&Vec<u8>) -> bool {
    move |packet| packet[1] == kind && packet[0] & 0x1F == format
}

#[test]
fn lost_asked_for_and_brought_back_once() {
    let mut run = Run::new(vec![video()]);
    for sequence in [10, 12] {
        run.take(&media(sequence));
    }
    let sent = run.wait(30);
    let nacks: Vec<&Vec<u8>> = sent.iter().filter(is(205, 1)).collect();
    assert_eq!(nacks.len(), 1);
    assert_eq!(nacks[0][8..], [0, 0, 0x11, 0x11, 0, 11, 0, 0]);
    run.take(&retransmission(11, 500));
    run.take(&retransmission(11, 501));
    assert_eq!(run.told(), ["started Vp8", "10", "12", "11"]);
    assert!(!run.wait(900).iter().any(|p| is(205, 1)(&p)));
    let stats = &run.receiver.stats(run.now)[0];
    let counts = (stats.packets, stats.lost, stats.recovered, stats.duplicates);
    assert_eq!(counts, (3, 1, 1, 1));
    // The grace was 10 ms, the answer came at 30.
    assert_eq!(run.receiver.round_trip(), Some(Duration::from_millis(20)));
}

#[test]
fn an_rtx_packet_is_the_original() {
    let mut run = Run::new(vec![video()]);
    run.take(&media(10));
    run.take(&media(12));
    run.take(&retransmission(11, 500));
    let packets = std::iter::from_fn(|| run.receiver.poll_event());
    let last = packets.last();
    let Some(Output::Rtp(VIDEO, rtp)) = last else {
        panic!("{last:?}");
    };
    let mut expected = media(11);
    // The timestamp is the retransmission's own field, which copies the original's.
    expected[4..8].copy_from_slice(&(500u32 * 3000).to_be_bytes());
    assert_eq!(rtp.packet, expected);
}

#[test]
fn given_up_loss_asks_for_a_key_frame_and_throttles() {
    let mut run = Run::new(vec![video()]);
    run.take(&media(10));
    run.take(&media(12));
    let plis = |sent: &[Vec<u8>]| sent.iter().filter(is(206, 1)).count();
    assert_eq!(plis(&run.wait(700)), 1);
    for _ in 0..5 {
        run.receiver.request_key_frame(VIDEO, None, run.now);
    }
    assert_eq!(plis(&run.wait(399)), 0);
    assert_eq!(plis(&run.wait(200)), 1);
    assert_eq!(plis(&run.wait(2000)), 0);
}

#[test]
fn probes_are_told_as_such_and_duplicates_not() {
    let mut run = Run::new(vec![video()]);
    run.take(&media(10));
    run.take(&media(10));
    let mut padding = packet(MEDIA, VP8, 11, &[]);
    padding[0] |= 0x20;
    padding.extend_from_slice(&[0, 0, 0, 4]);
    run.take(&padding);
    let mut rtx_padding = packet(RTX, VP8_RTX, 500, &[(1, b"1")]);
    rtx_padding[0] |= 0x20;
    rtx_padding.extend_from_slice(&[0, 0, 0, 4]);
    run.take(&rtx_padding);
    run.take(&media(12));
    assert_eq!(run.told(), ["started Vp8", "10", "probe 11", "12"]);
}

#[test]
fn stalls_resumes_and_changes_codec() {
    let mut run = Run::new(vec![video()]);
    run.take(&media(10));
    run.wait(2000);
    assert_eq!(
        run.told(),
        ["started Vp8", "10", "TrackStalled(TrackId(1))"]
    );
    run.wait(5000);
    run.take(&media(11));
    let mut other = packet(MEDIA, H264, 12, &[]);
    other.push(1);
    run.take(&other);
    assert_eq!(
        run.told(),
        ["TrackResumed(TrackId(1))", "11", "started H264", "12"]
    );
}

#[test]
fn found_by_declared_ssrc_by_mid_and_by_payload_type() {
    let declared = Media {
        ssrcs: vec![DeclaredSsrc {
            media: 7,
            rtx: Some(8),
        }],
        ..video()
    };
    let with_payload = |mut packet: Vec<u8>| {
        packet.push(1);
        packet
    };
    for (media, datagram) in [
        (declared, packet(7, VP8, 1, &[])),
        (video(), packet(9, VP8, 1, &[(1, b"1")])),
        (video(), packet(9, VP8, 1, &[])),
    ] {
        let mut run = Run::new(vec![audio(), media]);
        run.take(&with_payload(datagram));
        assert_eq!(run.told(), ["started Vp8", "1"]);
    }
    let mut run = Run::new(vec![audio(), video()]);
    run.take(&with_payload(packet(9, 77, 1, &[(1, b"7")])));
    assert!(run.told().is_empty());
    assert_eq!(run.receiver.strangers(), 1);
}

#[test]
fn one_payload_type_in_two_sections_needs_the_mid() {
    let other = Media {
        index: 2,
        mid: "2".into(),
        ..video()
    };
    let mut run = Run::new(vec![video(), other]);
    let mut bare = packet(9, VP8, 1, &[]);
    bare.push(1);
    run.take(&bare);
    assert!(run.told().is_empty());
}

#[test]
fn layers_are_told_apart_and_their_rtx_found_by_repaired_rid() {
    let rids = vec!["f".to_owned(), "q".to_owned()];
    let mut run = Run::new(vec![Media { rids, ..video() }]);
    for (ssrc, rid, sequence) in [(1, b"f", 10), (2, b"q", 90), (1, b"f", 12)] {
        let mut datagram = packet(ssrc, VP8, sequence, &[(1, b"1"), (2, rid)]);
        datagram.push(1);
        run.take(&datagram);
    }
    let mut rtx = packet(3, VP8_RTX, 500, &[(1, b"1"), (3, b"f")]);
    rtx.extend_from_slice(&[0, 11, 1]);
    run.take(&rtx);
    assert_eq!(run.told(), ["started Vp8", "10", "90 of 1", "12", "11"]);
    let layers = run.receiver.layers(VIDEO, run.now);
    assert_eq!(layers.iter().filter(|layer| layer.running).count(), 2);
    run.wait(1400);
    let mut datagram = packet(1, VP8, 13, &[(1, b"1"), (2, b"f")]);
    datagram.push(1);
    run.take(&datagram);
    run.wait(200);
    let running = run.receiver.layers(VIDEO, run.now);
    assert_eq!(
        running
            .iter()
            .map(|layer| layer.running)
            .collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn a_key_frame_is_asked_of_the_layer_that_needs_it() {
    let rids = vec!["f".to_owned(), "q".to_owned()];
    let mut run = Run::new(vec![Media { rids, ..video() }]);
    for (ssrc, rid) in [(1, b"f"), (2, b"q")] {
        let mut datagram = packet(ssrc, VP8, 10, &[(1, b"1"), (2, rid)]);
        datagram.push(1);
        run.take(&datagram);
    }
    let asked = |sent: Vec<Vec<u8>>| -> Vec<u8> {
        let plis = sent.iter().filter(is(206, 1));
        plis.map(|message| message[11]).collect()
    };
    run.receiver.request_key_frame(VIDEO, Some(1), run.now);
    assert_eq!(asked(run.wait(100)), [2]);
    run.receiver.request_key_frame(VIDEO, None, run.now);
    assert_eq!(asked(run.wait(100)), [1]);
    assert_eq!(asked(run.wait(500)), [2]);
}

#[test]
fn spatial_layers_of_one_source_are_told_apart_and_share_its_key_frames() {
    let mut run = Run::new(vec![video()]);
    // A picture of two layers: I, L, B, E (and V with two sizes, once), then the id and the layer.
    let layers: [&[u8]; 2] = [
        &[0xAE, 1, 0x00, 7, 0x30, 2, 128, 1, 104, 5, 0, 2, 208, 1],
        &[0xEC, 1, 0x03, 7, 1],
    ];
    for (sequence, payload) in (10..).zip(layers) {
        let mut datagram = packet(1, VP9, sequence, &[(1, b"1")]);
        datagram.extend_from_slice(payload);
        run.take(&datagram);
    }
    assert_eq!(run.told(), ["started Vp9", "10", "11 of 1"]);
    let layers = run.receiver.layers(VIDEO, run.now);
    let seen: Vec<(u16, bool)> = layers.iter().map(|l| (l.height_px, l.running)).collect();
    assert_eq!(seen, [(360, true), (720, true)]);
    run.receiver.request_key_frame(VIDEO, Some(1), run.now);
    let sent = run.wait(100);
    assert_eq!(sent.iter().filter(is(206, 1)).count(), 1);
}

#[test]
fn the_layers_of_av1_are_told_apart_by_what_stands_before_the_payload() {
    let mut run = Run::new(vec![video()]);
    // Two templates from 3 on, each a spatial layer of one target, without chains; two sizes.
    let key: [u8; 16] = [
        0xC3, 0, 7, 0x80, 0x60, 0xBA, 0x40, 0x81, 0x3F, 0x80, 0xB3, 0x82, 0x7F, 0x81, 0x67, 0x80,
    ];
    let upper = [0xC4, 0, 8];
    let starts_sequence = 0x18;
    for (sequence, descriptor) in (10..).zip([&key[..], &upper]) {
        let mut datagram = packet(1, AV1, sequence, &[(1, b"1"), (5, descriptor)]);
        datagram.extend_from_slice(&[
            if sequence == 10 {
                starts_sequence
            } else {
                0x10
            },
            1,
        ]);
        run.take(&datagram);
    }
    assert_eq!(run.told(), ["started Av1", "10", "11 of 1"]);
    let layers = run.receiver.layers(VIDEO, run.now);
    let seen: Vec<(u16, bool)> = layers.iter().map(|l| (l.height_px, l.running)).collect();
    assert_eq!(seen, [(360, true), (720, true)]);
}

#[test]
fn a_new_ssrc_of_the_same_track_goes_on_above() {
    let mut run = Run::new(vec![video()]);
    run.take(&media(60_000));
    let mut next = packet(99, VP8, 5, &[(1, b"1")]);
    next.push(1);
    run.take(&next);
    let numbers: Vec<u64> = std::iter::from_fn(|| run.receiver.poll_event())
        .filter_map(|output| match output {
            Output::Rtp(_, rtp) => Some(rtp.sequence),
            _ => None,
        })
        .collect();
    assert!(numbers[1] > numbers[0], "{numbers:?}");
    assert!(
        !run.wait(100).iter().any(|p| is(205, 1)(&p)),
        "nothing is lost"
    );
}

#[test]
fn one_compound_reports_and_ends_two_tracks() {
    let mut run = Run::new(vec![audio(), video()]);
    let mut sound = packet(5, 111, 1, &[(1, b"0")]);
    sound.push(1);
    run.take(&sound);
    run.take(&media(1));
    run.told();
    let mut compound = Vec::new();
    for (ssrc, rtp) in [(5u32, 50u32), (MEDIA, 60)] {
        compound.extend_from_slice(&[0x80, 200, 0, 6]);
        for word in [ssrc, 1, 2, rtp, 0, 0] {
            compound.extend_from_slice(&word.to_be_bytes());
        }
    }
    run.take(&compound);
    assert_eq!(run.told(), ["report 0 50", "report 1 60"]);
    assert!(!run.receiver.all_said_goodbye());
    let mut goodbye = vec![0x82, 203, 0, 2];
    goodbye.extend_from_slice(&5u32.to_be_bytes());
    goodbye.extend_from_slice(&MEDIA.to_be_bytes());
    run.take(&goodbye);
    assert!(run.receiver.all_said_goodbye());
    run.take(&media(2));
    assert!(!run.receiver.all_said_goodbye());
}

#[test]
fn strangers_fill_no_memory() {
    let mut run = Run::new(vec![video()]);
    for ssrc in 0..10_000 {
        let mut datagram = packet(ssrc, VP8, 1, &[]);
        datagram.push(1);
        run.take(&datagram);
    }
    let told = run.told().len();
    assert!(told <= 65, "{told}");
    assert!(run.start <= run.now);
}
