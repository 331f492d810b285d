//! A WHIP PATCH's body.
#![no_main]

use amphi::rtc::core::sdp::Fragment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(fragment) = Fragment::parse(text) {
        let says = fragment.ice.is_some() || fragment.candidates > 0 || fragment.end_of_candidates;
        assert!(says, "an empty fragment is refused");
    }
});
