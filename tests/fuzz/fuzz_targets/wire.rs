//! A frame from the pipeline's child, which a plugin's bug may have garbled, and one to it; what
//! is read can be written again.
#![no_main]

use amphi::program::core::wire::{FromChild, LENGTH, ToChild, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(message) = read::<FromChild>(body) {
        let mut out = Vec::new();
        write(&message, &mut out).expect("written");
        assert_eq!(read::<FromChild>(&out[LENGTH..]).expect("read"), message);
    }
    if let Ok(message) = read::<ToChild>(body) {
        let mut out = Vec::new();
        write(&message, &mut out).expect("written");
        assert_eq!(read::<ToChild>(&out[LENGTH..]).expect("read"), message);
    }
});
