//! When a picture that became too much may get better again.

use std::time::{Duration, Instant};

/// How long a picture that became too much stays small, or away: a key frame for each try at the
/// border of what the path carries would cost more than it is worth.
#[derive(Debug, Default)]
pub struct Patience {
    wait: Duration,
    fell: Option<Instant>,
    rose: Option<Instant>,
}

impl Patience {
    const FIRST: Duration = Duration::from_secs(4);
    const MOST: Duration = Duration::from_secs(16);

    pub fn on_rise(&mut self, now: Instant) {
        self.rose = Some(now);
    }

    pub fn on_fall(&mut self, now: Instant) {
        // What was good for so long was no mistake.
        let held_out = self
            .rose
            .is_none_or(|at| now.saturating_duration_since(at) > 2 * self.wait);
        self.wait = match held_out {
            true => Self::FIRST,
            false => (self.wait * 2).min(Self::MOST),
        };
        self.fell = Some(now);
    }

    pub fn is_held(&self, now: Instant) -> bool {
        self.fell
            .is_some_and(|at| now.saturating_duration_since(at) < self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_falls_again_and_again_waits_longer_and_longer_up_to_a_bound() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        assert!(!patience.is_held(now));
        let mut waits = Vec::new();
        for _ in 0..5 {
            patience.on_fall(now);
            let since = now;
            while patience.is_held(now) {
                now += Duration::from_secs(1);
            }
            waits.push((now - since).as_secs());
            patience.on_rise(now);
            now += Duration::from_secs(1);
        }
        assert_eq!(waits, [4, 8, 16, 16, 16]);
        now += Duration::from_secs(100);
        patience.on_fall(now);
        assert!(!patience.is_held(now + Patience::FIRST), "it held out");
    }
}
