//! Asks the processor for memory before it is needed. Between two frames what is known of a
//! subscriber leaves the caches; to wait for it line after line, as a packet comes to need it, is a
//! part of what forwarding costs.

/// Bytes that are fetched at once.
const LINE: usize = 64;

/// How many pointers there are on the way to what is asked for: those before must be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The connection itself.
    Own,
    /// What it points to.
    Pointed,
    /// What that points to.
    Far,
}

impl Depth {
    pub const ALL: [Self; 3] = [Self::Own, Self::Pointed, Self::Far];
}

/// All of `what`, but nothing that it points to.
pub fn prefetch<T: ?Sized>(what: &T) {
    let first = std::ptr::from_ref(what).cast::<u8>();
    let before = first.addr() % LINE;
    for at in (0..before + size_of_val(what)).step_by(LINE) {
        prefetch_line(first.wrapping_sub(before).wrapping_add(at));
    }
}

#[cfg(target_arch = "x86_64")]
fn prefetch_line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint, which changes nothing but what is cached, and fails at no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Stable Rust has no such hint for others.
#[cfg(not(target_arch = "x86_64"))]
fn prefetch_line(_: *const u8) {}
