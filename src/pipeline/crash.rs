//! A crash says in which thread it happened: threads are named after the inputs they work for.

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::program::core::wire::CRASHED;

/// What a fault in a plugin, or an assertion of it, ends a process with.
const CRASHES: [Signal; 5] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
];

/// Of a thread's name, the end included (prctl(2), PR_SET_NAME).
const NAME_LEN: usize = 16;

/// From now on the last line on standard error names the thread that crashed.
pub fn name_the_thread() -> nix::Result<()> {
    let handler = SigHandler::Handler(tell);
    // After it the signal has its usual end.
    let action = SigAction::new(handler, SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in CRASHES {
        // SAFETY: `tell` calls nothing but prctl, write and raise, which are allowed in a handler
        // (signal-safety(7)), and touches only its own stack.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

extern "C" fn tell(signal: libc::c_int) {
    // A line of its own, whatever was being written.
    const NAME_AT: usize = 1 + CRASHED.len();
    let mut line = [b'\n'; NAME_AT + NAME_LEN + 1];
    line[1..NAME_AT].copy_from_slice(CRASHED.as_bytes());
    // SAFETY: the kernel writes at most NAME_LEN bytes where that many are; `line` is as long as
    // `write` is told.
    unsafe {
        libc::prctl(libc::PR_GET_NAME, line.as_mut_ptr().add(NAME_AT));
        for byte in &mut line[NAME_AT..NAME_AT + NAME_LEN] {
            if *byte == 0 {
                *byte = b' ';
            }
        }
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::raise(signal);
    }
}
