//! A publisher that is connected, and sends what it likes: RTP and RTCP, decrypted, over time.
#![no_main]

use std::time::{Duration, Instant};

use amphi::room::{Codec, MediaKind};
use amphi::rtc::core::receive::receiver::{Receiver, handle_clear};
use amphi::rtc::core::sdp::agreement::{CodecParameters, Extensions, Media};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: Vec<(u16, Vec<u8>)>| {
    let mut now = Instant::now();
    let mut receiver = Receiver::new(vec![video()], 1, "fuzz".to_owned(), now);
    for (wait_ms, packet) in script {
        now += Duration::from_millis(wait_ms.into());
        handle_clear(&mut receiver, &packet, now);
        receiver.handle_timeout(now);
        while receiver.poll_transmit().is_some() {}
        while receiver.poll_event().is_some() {}
    }
    let _ = receiver.stats(now);
});

fn video() -> Media {
    Media {
        index: 0,
        mid: "0".to_owned(),
        kind: MediaKind::Video,
        codecs: vec![CodecParameters {
            codec: Codec::Vp8,
            payload_type: 96,
            clock_rate: 90_000,
            fmtp: String::new(),
            rtx_payload_type: Some(97),
            nack: true,
            pli: true,
            transport_cc: true,
        }],
        rids: Vec::new(),
        ssrcs: Vec::new(),
        extensions: Extensions {
            mid: Some(1),
            transport_cc: Some(2),
            ..Extensions::default()
        },
    }
}
