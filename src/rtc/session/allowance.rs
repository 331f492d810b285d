//! How much one may say: a few messages at once, then some a second.

use std::time::Instant;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    burst: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn new(burst: f64, per_second: f64, now: Instant) -> Self {
        Self {
            burst,
            per_second,
            left: burst,
            at: now,
        }
    }

    /// Whether one more is allowed now.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + elapsed * self.per_second).min(self.burst);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_then_a_rate() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(3.0, 2.0, now);
        let taken =
            |allowance: &mut Allowance, now| (0..10).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, now), 3);
        now += Duration::from_secs(1);
        assert_eq!(taken(&mut allowance, now), 2);
        now += Duration::from_secs(60);
        assert_eq!(taken(&mut allowance, now), 3);
    }
}
