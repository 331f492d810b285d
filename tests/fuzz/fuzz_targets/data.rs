//! SCTP packets, each with its length before it. Their checksums are made right: a stranger's are.
#![no_main]

use std::time::{Duration, Instant};

use amphi::rtc::core::data::{DataEvent, Data, MAX_MESSAGE};
use libfuzzer_sys::fuzz_target;

/// RFC 9260 §3.1: where the checksum stands in the common header.
const CHECKSUM: std::ops::Range<usize> = 8..12;

fuzz_target!(|packets: &[u8]| {
    let (mut data, mut now) = (Data::default(), Instant::now());
    let mut rest = packets;
    while let [high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (packet, after) = tail.split_at(len);
        let mut packet = packet.to_vec();
        if packet.len() >= CHECKSUM.end {
            packet[CHECKSUM].fill(0);
            let sum = crc32c::crc32c(&packet).to_le_bytes();
            packet[CHECKSUM].copy_from_slice(&sum);
        }
        data.handle(packet.into(), now);
        now += Duration::from_millis(100);
        data.handle_timeout(now);
        while data.poll_transmit().is_some() {}
        while let Some(event) = data.poll_event() {
            if let DataEvent::Message(text) = event {
                assert!(text.len() <= MAX_MESSAGE as usize);
            }
        }
        rest = after;
    }
});
