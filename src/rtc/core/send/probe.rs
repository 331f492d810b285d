//! Sends more than the estimate allows for a moment, to find out whether a better picture fits:
//! what is not sent is not known to arrive.

use std::time::{Duration, Instant};

use super::bandwidth::Bandwidth;

/// A probe for a better picture: so short that the queue it may fill harms no sound, in steps, and
/// how long to wait after one.
const FOR: Duration = Duration::from_millis(150);
const STEP: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_secs(3);
const LONGEST_PAUSE: Duration = Duration::from_secs(12);
/// After one that found all it looked for, since there may be more.
const AGAIN: Duration = Duration::from_secs(1);
/// Of what is needed: a picture begins with a key frame, by which the estimate falls to a share of
/// what the path was last seen to carry. That must still be enough.
const TARGET_PERCENT: u64 = 160;
/// A probe that offers more than this times the estimate says little more and costs much.
const REACH: u64 = 2;

struct Probe {
    until: Instant,
    next: Instant,
    bps: u64,
    /// Due; less than none after a packet that was larger.
    due_bytes: i64,
    has_begun: bool,
}

/// Decides when to probe, and how much to send then.
#[derive(Default)]
pub struct Prober {
    running: Option<Probe>,
    last: Option<Last>,
}

#[derive(Clone, Copy)]
struct Last {
    at: Instant,
    /// Until the next.
    pause: Duration,
    target_bps: u64,
}

impl Prober {
    /// Somebody could have a better picture, if only it were known that `needed_bps` arrive.
    pub fn consider(&mut self, needed_bps: u64, bandwidth: &mut Bandwidth, now: Instant) {
        let is_due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last.at) >= last.pause);
        let is_calm = !bandwidth.decreased_within(PAUSE, now);
        let heard = bandwidth.acknowledged_bps();
        let (true, true, None, Some(carried)) = (is_due, is_calm, &self.running, heard) else {
            return;
        };
        let reach = bandwidth.estimate_bps().max(100_000) * REACH;
        let target = (needed_bps * TARGET_PERCENT / 100).min(reach);
        self.last = Some(Last {
            at: now,
            pause: next_pause(self.last, bandwidth.estimate_bps()),
            target_bps: target,
        });
        bandwidth.begin_probe();
        self.running = Some(Probe {
            until: now + FOR,
            next: now,
            bps: target.saturating_sub(carried),
            due_bytes: 0,
            has_begun: false,
        });
    }

    /// Goes on with what time brought.
    pub fn fill(&mut self, bandwidth: &mut Bandwidth, now: Instant) {
        let Some(probe) = &mut self.running else {
            return;
        };
        if probe.next > now {
            return;
        }
        if probe.until <= now || bandwidth.is_overused() {
            self.running = None;
            bandwidth.end_probe();
            return;
        }
        // What time brought, though a late timer must make no burst of it.
        let elapsed = now.saturating_duration_since(probe.next) + STEP;
        let elapsed = elapsed.min(STEP * 4);
        probe.next = now + STEP;
        probe.due_bytes += (probe.bps * elapsed.as_millis() as u64 / 8000) as i64;
    }

    /// Whether a packet should go now besides the media.
    pub fn is_due(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|probe| probe.due_bytes > 0)
    }

    pub fn pay(&mut self, len: usize) {
        // The first packet only starts the clock by which the others are measured.
        if let Some(probe) = &mut self.running
            && std::mem::replace(&mut probe.has_begun, true)
        {
            // What could not be sent must not be tried for ever.
            probe.due_bytes -= len.max(100) as i64;
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        Some(self.running.as_ref()?.next)
    }
}

/// A path that did not carry what was tried last, or nearly, will hardly carry it now.
fn next_pause(last: Option<Last>, estimate_bps: u64) -> Duration {
    match last {
        Some(last) if estimate_bps < last.target_bps * 4 / 5 => {
            (last.pause * 2).clamp(PAUSE, LONGEST_PAUSE)
        }
        Some(_) => AGAIN,
        None => PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_found_nearly_all_is_no_failure() {
        let mut last = None;
        let mut after = |estimate_bps| {
            let pause = next_pause(last, estimate_bps);
            last = Some(Last {
                at: Instant::now(),
                pause,
                target_bps: 300_000,
            });
            pause.as_secs()
        };
        // What a probe shows is taken with a little less than it saw.
        let pauses: Vec<_> = [285_000, 285_000, 150_000, 150_000, 150_000, 285_000]
            .map(&mut after)
            .into();
        assert_eq!(pauses, [3, 1, 3, 6, 12, 1]);
    }
}
