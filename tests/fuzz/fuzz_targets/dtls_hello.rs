//! The datagrams of a DTLS client's first flight, each with its length before it.
#![no_main]

use amphi::rtc::core::dtls::hello::HelloBuffer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|flight: &[u8]| {
    let mut buffer = HelloBuffer::default();
    let (mut pushed, mut known, mut rest) = (0, false, flight);
    while let [high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (datagram, after) = tail.split_at(len);
        known |= buffer.push(datagram).is_some();
        pushed += 1;
        rest = after;
    }
    let held = buffer.into_datagrams();
    assert!(held.len() <= pushed);
    assert!(!known || !held.is_empty());
});
