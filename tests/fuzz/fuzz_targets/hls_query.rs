//! The query of a playlist request.
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::hls::core::reload::parse_query;

fuzz_target!(|query: &str| {
    let _ = parse_query(query);
});
