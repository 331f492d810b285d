//! A compound of RTCP packets.
#![no_main]

use amphi::rtc::core::rtcp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let messages = rtcp::parse(datagram);
    assert!(4 * messages.len() <= datagram.len());
});
