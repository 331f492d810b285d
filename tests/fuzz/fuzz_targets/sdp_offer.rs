//! The body of a WHIP POST, and what is answered.
#![no_main]

use amphi::room::Codec;
use amphi::rtc::core::sdp::agreement::{Fingerprint, IceCredentials};
use amphi::rtc::core::ice::Transport;
use amphi::rtc::core::sdp::{AnswerSettings, Candidate, Offer, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(offer) = Offer::parse(text) else {
        return;
    };
    let local = IceCredentials {
        ufrag: "abcd".to_owned(),
        pwd: "0123456789012345678901".to_owned(),
    };
    let settings = AnswerSettings {
        codecs: vec![Codec::H264, Codec::Vp8, Codec::Opus],
        start_bitrate_kbps: 2500,
        candidates: vec![Candidate {
            transport: Transport::Udp,
            address: ([192, 0, 2, 1], 8189).into(),
        }],
        fingerprint: Fingerprint([7; 32]),
    };
    if let Ok((text, agreement)) = answer(&offer, local, &settings) {
        assert!(!agreement.media.is_empty());
        assert!(
            Offer::parse(&text).is_ok(),
            "our own answer does not read:\n{text}"
        );
        // RFC 3264 §6: a section of the answer for each of the offer.
        let sections = text.lines().filter(|line| line.starts_with("m=")).count();
        assert_eq!(sections, offer.sections.len(), "{text}");
        for line in text.split_terminator("\r\n") {
            assert!(!line.contains(['\r', '\n']), "{line:?}");
        }
    }
});
