//! A playlist URL's query, decided at some live edges; who waits is served at what it waited for.
#![no_main]

use amphi::hls::core::reload::{Decision, Edge, decide, parse_query};
use libfuzzer_sys::fuzz_target;

/// Nothing yet, in the midst of things, and as late as can be.
const EDGES: [(u64, u64); 5] = [(0, 0), (0, 3), (10, 0), (10, 3), (u64::MAX, u64::MAX)];
const PART_LIMIT: u64 = 15;

fuzz_target!(|query: &str| {
    let Ok(directives) = parse_query(query) else {
        return;
    };
    for (msn, parts) in EDGES {
        let edge = Edge { msn, parts };
        if let Ok(Decision::WaitFor(later)) = decide(directives.wanted, edge, false, PART_LIMIT) {
            assert!(later > edge);
            let then = decide(directives.wanted, later, false, PART_LIMIT);
            assert_eq!(then, Ok(Decision::Ready));
        }
    }
});
