//! A compound RTCP packet, decrypted.
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::rtc::core::rtcp;

fuzz_target!(|datagram: &[u8]| {
    let _ = rtcp::parse(datagram);
});
