//! A connectivity check: as a stranger sends it, and its attributes as the peer itself signs them.
#![no_main]

use std::net::SocketAddr;

use amphi::rtc::core::ice::check::{Check, peek_ufrag, sign, write_attribute};
use amphi::rtc::core::sdp::agreement::IceCredentials;
use libfuzzer_sys::fuzz_target;

const USERNAME: u16 = 0x0006;
/// With more, the message's length field would not hold it.
const MAX_ATTRIBUTES_LEN: usize = 32 * 1024;

fuzz_target!(|datagram: &[u8]| {
    if let Some(ufrag) = peek_ufrag(datagram) {
        assert!(ufrag.len() < datagram.len());
    }
    let credentials = |ufrag: &str| IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: "twenty-two-characters-".to_owned(),
    };
    let (local, remote) = (credentials("ours"), credentials("theirs"));
    let provider = rtc_crypto::default_provider().expect("built in");
    let crypto = provider.crypto();
    assert_eq!(Check::read(datagram, &local, &remote, crypto), None);

    let mut signed = b"\x00\x01\x00\x00\x21\x12\xA4\x42transaction!".to_vec();
    write_attribute(USERNAME, b"ours:theirs", &mut signed);
    let attributes = datagram.get(20..).unwrap_or(datagram);
    let len = attributes.len().min(MAX_ATTRIBUTES_LEN);
    signed.extend_from_slice(&attributes[..len - len % 4]);
    sign(&mut signed, &local.pwd, crypto).expect("signed");
    assert_eq!(peek_ufrag(&signed), Some("ours"));
    if let Some(check) = Check::read(&signed, &local, &remote, crypto) {
        let peer = SocketAddr::from(([192, 0, 2, 1], 9));
        assert!(check.answer(peer, &local, crypto).is_some());
    }
});
