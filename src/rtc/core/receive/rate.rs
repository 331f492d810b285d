//! A bitrate, by whole seconds, and whether there is any.

use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);
/// Periods after which little of an old rate is left in the steady one.
const STEADINESS: u64 = 4;

/// A layer without packets for this long does not run. Longer than a slow screen share pauses.
const STOPS_AFTER: Duration = Duration::from_millis(1500);

#[derive(Debug, Default, Clone)]
pub struct Rate {
    since: Option<Instant>,
    last: Option<Instant>,
    bytes: u64,
    bits_per_second: u64,
    steady_bps: u64,
}

impl Rate {
    pub fn on_bytes(&mut self, bytes: usize, now: Instant) {
        self.roll(now);
        self.bytes += bytes as u64;
        self.last = Some(now);
    }

    /// When bytes last came.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Whether bytes came not long before `now`.
    pub fn runs(&self, now: Instant) -> bool {
        self.last
            .is_some_and(|last| now.saturating_duration_since(last) < STOPS_AFTER)
    }

    /// Of the last whole period; 0 after a period without bytes.
    pub fn bits_per_second(&mut self, now: Instant) -> u64 {
        self.roll(now);
        self.bits_per_second
    }

    /// Of the last few seconds, for a second with a key frame is no measure; 0 as above.
    pub fn steady_bps(&mut self, now: Instant) -> u64 {
        self.roll(now);
        self.steady_bps
    }

    fn roll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed < PERIOD {
            return;
        }
        self.bits_per_second = if elapsed < 2 * PERIOD {
            (self.bytes * 8 * 1_000_000) / (elapsed.as_micros() as u64)
        } else {
            0
        };
        self.steady_bps = match (self.steady_bps, self.bits_per_second) {
            (0, first) => first,
            (_, 0) => 0,
            (steady, last) => (steady * (STEADINESS - 1) + last) / STEADINESS,
        };
        self.bytes = 0;
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_forgets() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for i in 0..10 {
            rate.on_bytes(1000, start + i * PERIOD / 10);
        }
        assert_eq!(rate.bits_per_second(start + PERIOD), 80_000);
        assert_eq!(rate.steady_bps(start + PERIOD), 80_000);
        rate.on_bytes(50_000, start + PERIOD);
        assert_eq!(rate.steady_bps(start + 2 * PERIOD), 160_000);
        assert_eq!(rate.bits_per_second(start + 2 * PERIOD), 400_000);
        assert_eq!(rate.bits_per_second(start + 6 * PERIOD), 0);
        assert_eq!(rate.steady_bps(start + 6 * PERIOD), 0);
        assert_eq!(rate.last(), Some(start + PERIOD));
        assert!(rate.runs(start + 2 * PERIOD) && !rate.runs(start + 3 * PERIOD));
    }
}
