//! A frame between the server and a pipeline child.
#![no_main]

use libfuzzer_sys::fuzz_target;

use amphi::program::core::wire::{FromChild, ToChild, read};

fuzz_target!(|body: &[u8]| {
    let _ = read::<FromChild>(body);
    let _ = read::<ToChild>(body);
});
