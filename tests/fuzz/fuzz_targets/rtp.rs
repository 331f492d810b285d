//! An RTP packet's header, all its extensions and its padding.
#![no_main]

use amphi::rtc::core::receive::rtp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let Some(header) = rtp::parse(packet) else {
        return;
    };
    assert!(header.header_len <= packet.len());
    for id in 0..=u8::MAX {
        let extension = header.extension(packet, id);
        assert!(extension.is_none_or(|value| value.len() <= header.header_len));
    }
    if let Some(len) = header.unpadded_len(packet) {
        assert!((header.header_len..=packet.len()).contains(&len));
    }
});
