//! The body of a WHIP PATCH (RFC 8840).
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::rtc::core::sdp::Fragment;

fuzz_target!(|text: &str| {
    let _ = Fragment::parse(text);
});
