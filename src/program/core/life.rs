//! The child's life: when it is started, when it is taken for dead, when it is given up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A child that has made no part by then hangs: loading plugins takes a second at the worst.
pub const START_WITHIN: Duration = Duration::from_secs(8);
/// A child that makes none of a rendition's parts for so many part durations, and does nothing,
/// hangs.
const PARTS_MISSED: u32 = 3;
/// One that works, but makes no part for this long, spins.
pub const PART_WITHIN: Duration = Duration::from_millis(1500);
/// How often [`Life::handle_usage`] wants to know.
pub const USAGE_EVERY: Duration = Duration::from_millis(200);
/// So often in a row: a machine that stood still for a moment has let nobody do anything.
const IDLE_TIMES: u32 = 2;
/// Of CPU in that time: who uses less does nothing. A graph that works uses some ten times as much.
const IDLE: Duration = Duration::from_millis(10);
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
    Live { since: Instant },
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

/// What a child has used of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Since its start.
    pub cpu: Duration,
    pub memory_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub part: Duration,
    /// How many renditions make parts.
    pub renditions: usize,
    pub memory_bytes: u64,
}

#[derive(Debug)]
pub struct Life {
    limits: Limits,
    state: State,
    failures: u32,
    /// By rendition, of the child that runs.
    last_parts: BTreeMap<String, Instant>,
    cpu: Duration,
    /// How often in a row it did nothing and made no parts.
    idle_times: u32,
}

impl Life {
    /// A first child is due now.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            last_parts: BTreeMap::new(),
            cpu: Duration::ZERO,
            idle_times: 0,
            state: State::Waiting { until: now },
            failures: 0,
        }
    }

    pub fn handle_spawned(&mut self, now: Instant) {
        self.state = State::Starting { since: now };
        self.last_parts.clear();
        self.cpu = Duration::ZERO;
        self.idle_times = 0;
    }

    pub fn handle_part(&mut self, rendition: &str, now: Instant) {
        match self.last_parts.get_mut(rendition) {
            Some(last) => *last = now,
            None => {
                self.last_parts.insert(rendition.to_owned(), now);
            }
        }
        match self.state {
            State::Starting { .. } if self.last_parts.len() >= self.limits.renditions => {
                self.state = State::Live { since: now };
            }
            State::Live { since } if now.saturating_duration_since(since) >= HEALTHY_AFTER => {
                self.failures = 0;
            }
            _ => {}
        }
    }

    /// What the child has used until now; wanted each [`USAGE_EVERY`].
    pub fn handle_usage(&mut self, usage: Usage, now: Instant) -> Option<Action> {
        let used = usage.cpu.saturating_sub(self.cpu);
        self.cpu = usage.cpu;
        if usage.memory_bytes > self.limits.memory_bytes {
            return Some(Action::Kill(
                "the child needs more memory than program.max_memory_mb",
            ));
        }
        let is_live = matches!(self.state, State::Live { .. });
        let silent = now.saturating_duration_since(self.oldest_part()?);
        let is_idle = is_live && silent >= self.limits.part * PARTS_MISSED && used < IDLE;
        self.idle_times = if is_idle { self.idle_times + 1 } else { 0 };
        (self.idle_times >= IDLE_TIMES).then_some(Action::Kill("the child hangs"))
    }

    /// Of the rendition that is waited for longest.
    fn oldest_part(&self) -> Option<Instant> {
        self.last_parts.values().min().copied()
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
            State::Live { since } => {
                let last = self.oldest_part().unwrap_or(since);
                Some((last + PART_WITHIN, "the child makes no parts"))
            }
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

    fn new(now: Instant) -> Life {
        let limits = Limits {
            part: ms(200),
            renditions: 2,
            memory_bytes: 1000,
        };
        Life::new(limits, now)
    }

    fn parts(life: &mut Life, now: Instant) {
        life.handle_part("720p", now);
        life.handle_part("audio", now);
    }

    fn live(now: Instant) -> Life {
        let mut life = new(now);
        assert_eq!(life.handle_timeout(now), Some(Action::Spawn));
        life.handle_spawned(now);
        parts(&mut life, now);
        life
    }

    fn usage(cpu_ms: u64, memory_bytes: u64) -> Usage {
        Usage {
            cpu: ms(cpu_ms),
            memory_bytes,
        }
    }

    #[test]
    fn who_does_nothing_is_found_out_sooner_than_who_is_slow() {
        let now = Instant::now();
        let mut life = live(now);
        assert_eq!(life.handle_usage(usage(100, 1), now + ms(400)), None);
        assert_eq!(life.handle_usage(usage(150, 1), now + ms(600)), None);
        // As after a moment in which the whole machine stood still.
        assert_eq!(life.handle_usage(usage(155, 1), now + ms(800)), None);
        assert_eq!(life.handle_usage(usage(200, 1), now + ms(1000)), None);
        assert_eq!(life.handle_usage(usage(205, 1), now + ms(1200)), None);
        let killed = life.handle_usage(usage(206, 1), now + ms(1400));
        assert_eq!(killed, Some(Action::Kill("the child hangs")));
    }

    #[test]
    fn a_rendition_that_stops_is_noticed_though_others_go_on() {
        let now = Instant::now();
        let mut life = live(now);
        life.handle_part("audio", now + ms(1400));
        let killed = life.handle_timeout(now + PART_WITHIN);
        assert!(matches!(killed, Some(Action::Kill(_))));
    }

    #[test]
    fn who_leaks_is_replaced_also_while_it_starts() {
        let now = Instant::now();
        let mut life = new(now);
        life.handle_spawned(now);
        life.handle_part("audio", now);
        assert_eq!(life.handle_usage(usage(100, 1000), now), None);
        let killed = life.handle_usage(usage(200, 1001), now);
        assert!(matches!(killed, Some(Action::Kill(_))));
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
        parts(&mut life, now);
        parts(&mut life, now + HEALTHY_AFTER);
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
        parts(&mut life, now + ms(100));
        assert!(matches!(
            life.handle_timeout(now + STOP_WITHIN),
            Some(Action::Kill(_))
        ));
        life.handle_exit(now + ms(200));
        assert!(life.is_over());
    }
}
