//! A datagram of a stranger on the UDP port.
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::rtc::core::ice::check;

fuzz_target!(|datagram: &[u8]| {
    let _ = check::peek_ufrag(datagram);
});
