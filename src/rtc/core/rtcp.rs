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
const FORMAT_PLI: u8 = 1;

/// Blocks one report has room for: its count is five bits.
const MAX_BLOCKS: usize = 31;

/// Messages read from one datagram; more is not a report but an attack on our time.
const MAX_MESSAGES: usize = 64;

/// What a publisher's RTCP tells its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    SenderReport { ssrc: u32, ntp: u64, rtp: u32 },
    Goodbye { ssrcs: Vec<u32> },
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
        match kind {
            SENDER_REPORT => messages.extend(read_sender_report(message)),
            GOODBYE => messages.push(Incoming::Goodbye {
                ssrcs: read_ssrcs(&message[4..], usize::from(first & 0x1F)),
            }),
            _ => {}
        }
        datagram = rest;
    }
    messages
}

fn read_sender_report(message: &[u8]) -> Option<Incoming> {
    let word = |at: usize| {
        Some(u32::from_be_bytes(
            message.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    Some(Incoming::SenderReport {
        ssrc: word(4)?,
        ntp: u64::from(word(8)?) << 32 | u64::from(word(12)?),
        rtp: word(16)?,
    })
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

    proptest! {
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
