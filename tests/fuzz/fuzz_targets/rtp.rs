//! An RTP packet, decrypted.
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::rtc::core::receive::rtp;

fuzz_target!(|packet: &[u8]| {
    let _ = rtp::parse(packet);
});
