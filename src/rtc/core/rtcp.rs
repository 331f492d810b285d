//! RTCP: what we read of a peer's reports, and the packets we send it (RFC 3550 §6, RFC 4585).

use super::receive::reception::ReportBlock;

/// RFC 3550 §12.1, RFC 4585 §9.
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const FORMAT_NACK: u8 = 1;
const FORMAT_TRANSPORT_CC: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

/// Blocks one report has room for: its count is five bits.
const MAX_BLOCKS: usize = 31;

/// Messages read from one datagram; more is not a report but an attack on our time.
const MAX_MESSAGES: usize = 64;

/// Packets that one feedback message covers at most; more is no feedback of what we sent.
const MAX_FEEDBACK: usize = 2000;

/// What a peer's RTCP says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    SenderReport {
        ssrc: u32,
        ntp: u64,
        rtp: u32,
    },
    Goodbye {
        ssrcs: Vec<u32>,
    },
    /// One block of a report: how what we send arrives.
    Reception(ReportBlock),
    /// Packets that are missing, by the lower halves of their numbers.
    Nack {
        ssrc: u32,
        numbers: Vec<u16>,
    },
    /// PLI or FIR.
    KeyFrameWanted {
        ssrc: u32,
    },
    TransportFeedback(TransportFeedback),
    /// draft-alvestrand-rmcat-remb-03
    Remb {
        bps: u64,
    },
}

/// When the peer got what, by transport-wide sequence numbers
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportFeedback {
    packets: Vec<(u16, Option<i64>)>,
}

impl TransportFeedback {
    /// Each packet's number, and its arrival in microseconds on the peer's clock, if it came.
    pub fn new(packets: Vec<(u16, Option<i64>)>) -> Self {
        Self { packets }
    }

    pub fn packets(&self) -> impl Iterator<Item = (u16, Option<i64>)> {
        self.packets.iter().copied()
    }
}

/// Reads a compound packet (RFC 3550 §6.1). What we have no use for is left out, and what is
/// malformed ends it.
pub fn parse(mut datagram: &[u8]) -> Vec<Incoming> {
    let mut messages = Vec::new();
    for _ in 0..MAX_MESSAGES {
        let [first, kind, high, low, ..] = *datagram else {
            break;
        };
        let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        let Some((message, rest)) = datagram.split_at_checked(len) else {
            break;
        };
        if first >> 6 != 2 {
            break;
        }
        let count = first & 0x1F;
        match kind {
            SENDER_REPORT => {
                messages.extend(read_sender_report(message));
                messages.extend(read_blocks(message.get(28..), count));
            }
            RECEIVER_REPORT => messages.extend(read_blocks(message.get(8..), count)),
            TRANSPORT_FEEDBACK if count == FORMAT_NACK => messages.extend(read_nack(message)),
            TRANSPORT_FEEDBACK if count == FORMAT_TRANSPORT_CC => {
                messages.extend(read_transport_feedback(message));
            }
            PAYLOAD_FEEDBACK if count == FORMAT_PLI => {
                let ssrc = read_u32(message, 8);
                messages.extend(ssrc.map(|ssrc| Incoming::KeyFrameWanted { ssrc }));
            }
            PAYLOAD_FEEDBACK if count == FORMAT_FIR => {
                // RFC 5104 §4.3.1: the media sources are in the entries.
                let entries = message.get(12..).unwrap_or_default().as_chunks::<8>().0;
                messages.extend(entries.iter().take(MAX_BLOCKS).map(|entry| {
                    let ssrc = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
                    Incoming::KeyFrameWanted { ssrc }
                }));
            }
            PAYLOAD_FEEDBACK if count == FORMAT_APPLICATION => messages.extend(read_remb(message)),
            GOODBYE => messages.push(Incoming::Goodbye {
                ssrcs: read_ssrcs(&message[4..], usize::from(count)),
            }),
            _ => {}
        }
        datagram = rest;
    }
    messages
}

fn read_u32(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        message.get(at..at + 4)?.try_into().ok()?,
    ))
}

fn read_u16(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        message.get(at..at + 2)?.try_into().ok()?,
    ))
}

fn read_sender_report(message: &[u8]) -> Option<Incoming> {
    let word = |at: usize| read_u32(message, at);
    Some(Incoming::SenderReport {
        ssrc: word(4)?,
        ntp: u64::from(word(8)?) << 32 | u64::from(word(12)?),
        rtp: word(16)?,
    })
}

fn read_blocks(body: Option<&[u8]>, count: u8) -> impl Iterator<Item = Incoming> {
    let (blocks, _) = body.unwrap_or_default().as_chunks::<24>();
    blocks.iter().take(usize::from(count)).map(|block| {
        let word = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        Incoming::Reception(ReportBlock {
            ssrc: word(0),
            fraction_lost: block[4],
            total_lost: word(4) & 0xFF_FFFF,
            highest_sequence: word(8),
            jitter: word(12),
            last_sender_report: word(16),
            delay: word(20),
        })
    })
}

fn read_nack(message: &[u8]) -> Option<Incoming> {
    let ssrc = read_u32(message, 8)?;
    let (pairs, _) = message.get(12..)?.as_chunks::<4>();
    let mut numbers = Vec::new();
    for pair in pairs.iter().take(MAX_MESSAGES) {
        let first = u16::from_be_bytes([pair[0], pair[1]]);
        let bits = u16::from_be_bytes([pair[2], pair[3]]);
        numbers.push(first);
        let others = (0..16u16).filter(|bit| bits >> bit & 1 == 1);
        numbers.extend(others.map(|bit| first.wrapping_add(bit + 1)));
    }
    Some(Incoming::Nack { ssrc, numbers })
}

fn read_transport_feedback(message: &[u8]) -> Option<Incoming> {
    const TICK_US: i64 = 250;
    const REFERENCE_US: i64 = 64_000;
    let base = read_u16(message, 12)?;
    let count = usize::from(read_u16(message, 14)?);
    if count > MAX_FEEDBACK {
        return None;
    }
    // 24 bits, signed.
    let reference = (read_u32(message, 16)? as i32) >> 8;
    let mut at = 20;
    let mut statuses: Vec<u8> = Vec::with_capacity(count);
    while statuses.len() < count {
        let chunk = read_u16(message, at)?;
        at += 2;
        match chunk >> 14 {
            0b10 => statuses.extend((0..14).rev().map(|bit| (chunk >> bit & 1) as u8)),
            0b11 => statuses.extend((0..7).rev().map(|pair| (chunk >> (2 * pair) & 3) as u8)),
            _ => {
                let run = usize::from(chunk & 0x1FFF).min(count);
                statuses.extend(std::iter::repeat_n((chunk >> 13 & 3) as u8, run));
                if run == 0 {
                    return None;
                }
            }
        }
    }
    let mut time_us = i64::from(reference) * REFERENCE_US;
    let mut packets = Vec::with_capacity(count);
    for (nth, status) in statuses.into_iter().take(count).enumerate() {
        let number = base.wrapping_add(nth as u16);
        let ticks = match status {
            1 => {
                at += 1;
                i64::from(*message.get(at - 1)?)
            }
            2 => {
                at += 2;
                i64::from(read_u16(message, at - 2)? as i16)
            }
            _ => {
                packets.push((number, None));
                continue;
            }
        };
        time_us += ticks * TICK_US;
        packets.push((number, Some(time_us)));
    }
    Some(Incoming::TransportFeedback(TransportFeedback { packets }))
}

fn read_remb(message: &[u8]) -> Option<Incoming> {
    (message.get(12..16)? == b"REMB").then_some(())?;
    let word = read_u32(message, 16)?;
    let (exponent, mantissa) = (word >> 18 & 0x3F, u64::from(word & 0x3_FFFF));
    let bps = mantissa
        .checked_shl(exponent)
        .filter(|bps| bps >> exponent == mantissa)?;
    Some(Incoming::Remb { bps })
}

fn read_ssrcs(body: &[u8], count: usize) -> Vec<u32> {
    let (words, _) = body.as_chunks::<4>();
    words
        .iter()
        .take(count)
        .map(|word| u32::from_be_bytes(*word))
        .collect()
}

/// A compound packet of receiver reports and a source description (RFC 3550 §6.1).
pub fn receiver_report(sender: u32, cname: &str, blocks: &[ReportBlock]) -> Vec<u8> {
    let mut packet = Vec::new();
    let (first, rest) = blocks.split_at(blocks.len().min(MAX_BLOCKS));
    write_report(sender, first, &mut packet);
    for blocks in rest.chunks(MAX_BLOCKS) {
        write_report(sender, blocks, &mut packet);
    }
    write_cname(sender, cname, &mut packet);
    packet
}

/// A source's report: `ntp` and `rtp` are the same moment (RFC 3550 §6.4.1).
pub fn sender_report(
    source: u32,
    ntp: u64,
    rtp: u32,
    packets: u32,
    octets: u32,
    cname: &str,
) -> Vec<u8> {
    let mut packet = header(0, SENDER_REPORT, 6);
    packet.extend_from_slice(&source.to_be_bytes());
    packet.extend_from_slice(&ntp.to_be_bytes());
    for word in [rtp, packets, octets] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    write_cname(source, cname, &mut packet);
    packet
}

/// Asks for a key frame (RFC 4585 §6.3.1).
pub fn picture_loss(sender: u32, media: u32) -> Vec<u8> {
    let mut packet = header(FORMAT_PLI, PAYLOAD_FEEDBACK, 2);
    packet.extend_from_slice(&sender.to_be_bytes());
    packet.extend_from_slice(&media.to_be_bytes());
    packet
}

/// Asks for lost packets (RFC 4585 §6.2.1); `lost` ascending.
pub fn nack(sender: u32, media: u32, lost: &[u64]) -> Vec<u8> {
    let mut pairs: Vec<(u64, u16)> = Vec::new();
    for &number in lost {
        match pairs.last_mut() {
            Some((first, bits)) if number > *first && number - *first <= 16 => {
                *bits |= 1 << (number - *first - 1);
            }
            _ => pairs.push((number, 0)),
        }
    }
    let mut packet = header(FORMAT_NACK, TRANSPORT_FEEDBACK, 2 + pairs.len());
    packet.extend_from_slice(&sender.to_be_bytes());
    packet.extend_from_slice(&media.to_be_bytes());
    for (first, bits) in pairs {
        packet.extend_from_slice(&(first as u16).to_be_bytes());
        packet.extend_from_slice(&bits.to_be_bytes());
    }
    packet
}

/// `words` is the length field: the packet's 32-bit words after the first.
fn header(count: u8, kind: u8, words: usize) -> Vec<u8> {
    let words = (words as u16).to_be_bytes();
    vec![0x80 | count, kind, words[0], words[1]]
}

fn write_report(sender: u32, blocks: &[ReportBlock], packet: &mut Vec<u8>) {
    packet.extend(header(
        blocks.len() as u8,
        RECEIVER_REPORT,
        1 + 6 * blocks.len(),
    ));
    packet.extend_from_slice(&sender.to_be_bytes());
    for block in blocks {
        let lost = u32::from(block.fraction_lost) << 24 | block.total_lost & 0xFF_FFFF;
        for word in [
            block.ssrc,
            lost,
            block.highest_sequence,
            block.jitter,
            block.last_sender_report,
            block.delay,
        ] {
            packet.extend_from_slice(&word.to_be_bytes());
        }
    }
}

fn write_cname(sender: u32, cname: &str, packet: &mut Vec<u8>) {
    // One chunk: SSRC, item type 1, length, text, and one to four null bytes (§6.5).
    let text = &cname.as_bytes()[..cname.len().min(255)];
    let words = 1 + (2 + text.len()) / 4 + 1;
    let start = packet.len();
    packet.extend(header(1, SOURCE_DESCRIPTION, words));
    packet.extend_from_slice(&sender.to_be_bytes());
    packet.extend_from_slice(&[1, text.len() as u8]);
    packet.extend_from_slice(text);
    packet.resize(start + 4 * (words + 1), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtc_rtcp::packet::unmarshal;
    use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

    #[test]
    fn reads_sender_report_and_goodbye_of_a_compound() {
        let mut packet = vec![0x80, 200, 0, 6, 0, 0, 0, 5];
        packet.extend_from_slice(&0x0102_0304_0506_0708u64.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&[0x81, 203, 0, 1, 0, 0, 0, 5]);
        let report = Incoming::SenderReport {
            ssrc: 5,
            ntp: 0x0102_0304_0506_0708,
            rtp: 9,
        };
        let goodbye = Incoming::Goodbye { ssrcs: vec![5] };
        assert_eq!(parse(&packet), [report, goodbye]);
    }

    #[test]
    fn reports_are_read_by_another_parser() {
        let block = ReportBlock {
            ssrc: 5,
            fraction_lost: 7,
            total_lost: 8,
            highest_sequence: 9,
            jitter: 10,
            last_sender_report: 11,
            delay: 12,
        };
        for (count, cname) in [(0, "a"), (1, "ab"), (31, "abc"), (40, "amphi")] {
            let packet = receiver_report(1, cname, &vec![block; count]);
            let read = unmarshal(&mut &packet[..]).expect("well-formed");
            let blocks: usize = read.iter().map(|p| p.destination_ssrc().len()).sum();
            // The description names the sender.
            assert_eq!(blocks, count + 1);
        }
    }

    #[test]
    fn what_subscribers_say_is_read() {
        let block = ReportBlock {
            ssrc: 5,
            fraction_lost: 7,
            total_lost: 8,
            highest_sequence: 9,
            jitter: 10,
            last_sender_report: 11,
            delay: 12,
        };
        let report = receiver_report(1, "a", &[block]);
        assert_eq!(parse(&report), [Incoming::Reception(block)]);
        let wanted = parse(&picture_loss(1, 5));
        assert_eq!(wanted, [Incoming::KeyFrameWanted { ssrc: 5 }]);
        let mut remb = header(FORMAT_APPLICATION, PAYLOAD_FEEDBACK, 5);
        remb.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
        remb.extend_from_slice(b"REMB");
        remb.extend_from_slice(&[1, 0x0B, 0xFF, 0xFF, 0, 0, 0, 5]);
        assert_eq!(parse(&remb), [Incoming::Remb { bps: 0x3_FFFF << 2 }]);
        let ours = sender_report(5, 6 << 32, 7, 8, 9, "a");
        let expect = Incoming::SenderReport {
            ssrc: 5,
            ntp: 6 << 32,
            rtp: 7,
        };
        assert_eq!(parse(&ours), [expect]);
    }

    proptest! {
        /// What our own receiver writes, our own sender reads.
        #[test]
        fn transport_feedback_comes_back(
            steps in proptest::collection::vec((1u16..4, 0u64..70_000), 1..200), first: u16,
        ) {
            use super::super::receive::twcc::Twcc;
            use std::time::{Duration, Instant};
            let epoch = Instant::now();
            let (mut twcc, mut number, mut at) = (Twcc::new(epoch), first, 100_000);
            let mut expect = std::collections::BTreeMap::new();
            for (step, after_us) in steps {
                number = number.wrapping_add(step);
                at += after_us;
                twcc.on_packet(number, epoch + Duration::from_micros(at));
                expect.insert(number, (at / 250 * 250) as i64);
            }
            let later = epoch + Duration::from_secs(3600);
            for message in twcc.feedback(1, 2, later) {
                let parsed = parse(&message);
                let [Incoming::TransportFeedback(feedback)] = &parsed[..] else {
                    panic!("{parsed:?}");
                };
                for (number, arrival) in feedback.packets() {
                    if let Some(arrival) = arrival {
                        prop_assert_eq!(expect.remove(&number), Some(arrival));
                    }
                }
            }
            prop_assert!(expect.is_empty());
        }

        #[test]
        fn nacks_come_back(lost in proptest::collection::btree_set(65_000u64..66_000, 1..40)) {
            let list: Vec<u64> = lost.iter().copied().collect();
            let parsed = parse(&nack(1, 2, &list));
            let numbers = list.iter().map(|n| *n as u16).collect();
            prop_assert_eq!(parsed, [Incoming::Nack { ssrc: 2, numbers }]);
        }

        #[test]
        fn nacks_name_exactly_the_lost(
            mut lost in proptest::collection::btree_set(65_000u64..66_500, 1..200)
        ) {
            let list: Vec<u64> = lost.iter().copied().collect();
            let packet = nack(1, 2, &list);
            let read = unmarshal(&mut &packet[..]).unwrap();
            let read = read[0].as_any().downcast_ref::<TransportLayerNack>().unwrap();
            for number in read.nacks.iter().flat_map(|pair| pair.packet_list()) {
                let number = u64::from(number) + if number < 60_000 { 0x1_0000 } else { 0 };
                prop_assert!(lost.remove(&number));
            }
            prop_assert!(lost.is_empty());
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }
    }
}
