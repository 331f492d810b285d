//! The child's life: when it is started, when it is taken for dead, when it is given up.

use std::time::{Duration, Instant};

/// A child that has made no part by then hangs: loading plugins takes a second at the worst.
pub const START_WITHIN: Duration = Duration::from_secs(8);
/// A running child that makes no part for this long hangs.
pub const PART_WITHIN: Duration = Duration::from_millis(1500);
/// A child that was told to stop has this long to finish its last segment.
pub const STOP_WITHIN: Duration = Duration::from_secs(4);
/// The wait before the second of two quick restarts, doubled each time; the first comes at once.
const BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A child that ran this long was healthy: the count of failures begins anew.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// Failures in a row, after which the broadcast is given up.
pub const MAX_FAILURES: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting { until: Instant },
    Starting { since: Instant },
    Live { since: Instant, last_part: Instant },
    Stopping { since: Instant },
    Stopped,
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Spawn,
    /// End the child at once; its exit is reported like any other.
    Kill(&'static str),
    GiveUp,
}

#[derive(Debug)]
pub struct Life {
    state: State,
    failures: u32,
}

impl Life {
    /// A first child is due now.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Waiting { until: now },
            failures: 0,
        }
    }

    pub fn handle_spawned(&mut self, now: Instant) {
        self.state = State::Starting { since: now };
    }

    pub fn handle_part(&mut self, now: Instant) {
        self.state = match self.state {
            State::Starting { .. } => State::Live {
                since: now,
                last_part: now,
            },
            State::Live { since, .. } => {
                if now.saturating_duration_since(since) >= HEALTHY_AFTER {
                    self.failures = 0;
                }
                State::Live {
                    since,
                    last_part: now,
                }
            }
            other => other,
        };
    }

    /// The child is gone, whatever the reason; or it could not be started.
    pub fn handle_exit(&mut self, now: Instant) {
        self.state = match self.state {
            State::Stopping { .. } | State::Stopped => State::Stopped,
            State::Waiting { .. } | State::Starting { .. } | State::Live { .. } => {
                self.failures += 1;
                if self.failures > MAX_FAILURES {
                    State::Stopped
                } else {
                    State::Waiting {
                        until: now + backoff(self.failures),
                    }
                }
            }
        };
    }

    /// The broadcast ends.
    pub fn handle_stop(&mut self, now: Instant) {
        self.state = match self.state {
            State::Waiting { .. } | State::Stopped => State::Stopped,
            State::Stopping { since } => State::Stopping { since },
            State::Starting { .. } | State::Live { .. } => State::Stopping { since: now },
        };
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Stopped
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        match self.state {
            State::Waiting { until } => Some((until, "the next child is due")),
            State::Starting { since } => Some((since + START_WITHIN, "the child does not start")),
            State::Live { last_part, .. } => Some((last_part + PART_WITHIN, "the child hangs")),
            State::Stopping { since } => Some((since + STOP_WITHIN, "the child does not stop")),
            State::Stopped => None,
        }
    }

    pub fn handle_timeout(&self, now: Instant) -> Option<Action> {
        let (_, reason) = self.poll_timeout().filter(|(at, _)| *at <= now)?;
        Some(match self.state {
            State::Waiting { .. } => Action::Spawn,
            State::Stopped => Action::GiveUp,
            _ => Action::Kill(reason),
        })
    }
}

fn backoff(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => (BACKOFF * 2u32.pow((more - 2).min(10))).min(MAX_BACKOFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn live(now: Instant) -> Life {
        let mut life = Life::new(now);
        assert_eq!(life.handle_timeout(now), Some(Action::Spawn));
        life.handle_spawned(now);
        life.handle_part(now);
        life
    }

    #[test]
    fn a_child_that_hangs_is_killed_and_replaced_at_once() {
        let now = Instant::now();
        let mut life = live(now);
        assert_eq!(life.handle_timeout(now + ms(1499)), None);
        assert!(matches!(
            life.handle_timeout(now + PART_WITHIN),
            Some(Action::Kill(_))
        ));
        life.handle_exit(now + PART_WITHIN);
        assert_eq!(life.handle_timeout(now + PART_WITHIN), Some(Action::Spawn));
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_are_given_up() {
        let mut now = Instant::now();
        let mut life = live(now);
        for failure in 1..=MAX_FAILURES {
            life.handle_exit(now);
            assert!(!life.is_over(), "{failure}");
            let (due, _) = life.poll_timeout().expect("due");
            assert_eq!(due - now, backoff(failure));
            now = due;
            life.handle_spawned(now);
        }
        life.handle_exit(now);
        assert!(life.is_over());
    }

    #[test]
    fn a_healthy_child_clears_the_count() {
        let now = Instant::now();
        let mut life = live(now);
        life.handle_exit(now);
        life.handle_spawned(now);
        life.handle_part(now);
        life.handle_part(now + HEALTHY_AFTER);
        life.handle_exit(now + HEALTHY_AFTER);
        assert_eq!(
            life.handle_timeout(now + HEALTHY_AFTER),
            Some(Action::Spawn)
        );
    }

    #[test]
    fn a_stop_waits_for_the_last_segment_but_not_for_ever() {
        let now = Instant::now();
        let mut life = live(now);
        life.handle_stop(now);
        life.handle_part(now + ms(100));
        assert!(matches!(
            life.handle_timeout(now + STOP_WITHIN),
            Some(Action::Kill(_))
        ));
        life.handle_exit(now + ms(200));
        assert!(life.is_over());
    }
}
