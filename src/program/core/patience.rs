//! How much longer than usual a participant's late packets are waited for: where a network loses
//! packets and the publisher sends them again, these are of use only to who still waits. Only that
//! participant is shown later for it; the program's own delay stays.

use std::time::{Duration, Instant};

/// Each time that packets came too late.
const STEP: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_millis(400);
/// After so long without, a step less; each change is a small jump.
const CALM: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Patience {
    extra: Duration,
    late: u64,
    changed: Option<Instant>,
}

impl Patience {
    pub fn extra(&self) -> Duration {
        self.extra
    }

    /// So many packets came too late until now, of all the participant's inputs. Whether the
    /// patience changes.
    pub fn handle_late(&mut self, late: u64, now: Instant) -> bool {
        let is_late = late > self.late;
        // Inputs that are gone took their counts with them.
        self.late = late;
        let last = *self.changed.get_or_insert(now);
        let before = self.extra;
        if is_late {
            self.extra = (self.extra + STEP).min(MOST);
            self.changed = Some(now);
        } else if now.saturating_duration_since(last) >= CALM {
            self.extra = self.extra.saturating_sub(STEP);
            self.changed = Some(now);
        }
        self.extra != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_packets_come_too_late_and_shrinks_when_they_do_not() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert!(!patience.handle_late(0, now));
        for step in 1..=4 {
            assert!(patience.handle_late(step, now));
            assert_eq!(patience.extra(), STEP * step as u32);
        }
        assert!(!patience.handle_late(5, now), "it has an end");
        assert!(!patience.handle_late(5, now + CALM / 2));
        assert!(patience.handle_late(5, now + CALM));
        assert_eq!(patience.extra(), MOST - STEP);
        assert!(!patience.handle_late(5, now + CALM + CALM / 2));
        // Fewer than before: an input is gone.
        assert!(patience.handle_late(0, now + CALM * 2));
        assert_eq!(patience.extra(), MOST - STEP * 2);
    }
}
