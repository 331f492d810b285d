//! The first flight of a DTLS client, in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::rtc::core::dtls::hello::HelloBuffer;

fuzz_target!(|datagrams: Vec<Vec<u8>>| {
    let mut hello = HelloBuffer::default();
    for datagram in &datagrams {
        let _ = hello.push(datagram);
    }
});
