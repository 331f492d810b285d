//! A publisher that is connected, and sends what it likes: RTP and RTCP, decrypted, over time.
//! The script: for each packet the milliseconds before it, its length, and itself.
#![no_main]

use std::time::{Duration, Instant};

use amphi::room::Codec;
use amphi::rtc::core::receive::receiver::{Receiver, handle_clear};
use amphi::rtc::core::sdp::agreement::{CodecParameters, DeclaredSsrc, Extensions, Media};
use libfuzzer_sys::fuzz_target;

/// What one packet and one timer may make us send: feedback for a burst, and reports.
const MAX_SENT: usize = 1000;

fuzz_target!(|script: &[u8]| {
    let mut now = Instant::now();
    let media = vec![
        media(0, Codec::Opus, 111, None, &[]),
        media(1, Codec::Vp8, 96, Some(97), &["h", "l"]),
        media(2, Codec::H264, 102, Some(103), &[]),
    ];
    let mut receiver = Receiver::new(media, 1, "fuzz".to_owned(), now);
    let mut rest = script;
    while let [wait_ms, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (packet, after) = tail.split_at(len);
        now += Duration::from_millis((*wait_ms).into());
        handle_clear(&mut receiver, packet, now);
        receiver.handle_timeout(now);
        let mut sent = 0;
        while receiver.poll_transmit().is_some() {
            sent += 1;
            assert!(sent < MAX_SENT, "a packet makes us send without end");
        }
        while receiver.poll_event().is_some() {}
        rest = after;
    }
    let _ = receiver.stats(now);
});

fn media(index: u8, codec: Codec, payload_type: u8, rtx: Option<u8>, rids: &[&str]) -> Media {
    Media {
        index,
        mid: index.to_string(),
        kind: codec.kind(),
        is_screen: false,
        codecs: vec![CodecParameters {
            codec,
            payload_type,
            clock_rate: if rtx.is_some() { 90_000 } else { 48_000 },
            fmtp: String::new(),
            rtx_payload_type: rtx,
            nack: true,
            pli: true,
            transport_cc: true,
        }],
        rids: rids.iter().map(|rid| (*rid).to_owned()).collect(),
        // Only the last is known before its first packet.
        ssrcs: (index == 2)
            .then_some(DeclaredSsrc {
                media: 5,
                rtx: Some(6),
            })
            .into_iter()
            .collect(),
        extensions: Extensions {
            mid: Some(1),
            transport_cc: Some(2),
            rid: Some(3),
            repaired_rid: Some(4),
            abs_send_time: Some(5),
            audio_level: Some(6),
            color_space: Some(7),
            dependency_descriptor: Some(8),
        },
    }
}
