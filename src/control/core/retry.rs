//! When a webhook that was not taken is tried again, and when no more.

use std::time::Duration;

/// An event that was refused for so long is given up (Standard Webhooks asks for a day at least).
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);

const FIRST_WAIT: Duration = Duration::from_secs(1);
/// A receiver that comes back after hours hears soon of what it missed.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// The wait after so many attempts, the first being 1. `jitter` is from 0 to 1: all that failed at once
/// is not to come back at once.
pub fn wait_after(attempts: u32, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let wait = (FIRST_WAIT * (1 << doublings)).min(LONGEST_WAIT);
    wait.mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_to_a_bound(attempts in 1u32..10_000, jitter in 0.0..1.0) {
            let wait = wait_after(attempts, jitter);
            prop_assert!(wait >= FIRST_WAIT.mul_f64(0.75));
            prop_assert!(wait <= LONGEST_WAIT.mul_f64(1.25));
            prop_assert!(wait_after(attempts + 1, jitter) >= wait);
        }
    }

    #[test]
    fn the_first_wait_is_short_and_the_tenth_minutes() {
        assert_eq!(wait_after(1, 0.5), Duration::from_secs(1));
        assert_eq!(wait_after(2, 0.5), Duration::from_secs(2));
        assert_eq!(wait_after(10, 0.5), Duration::from_secs(300));
    }
}
