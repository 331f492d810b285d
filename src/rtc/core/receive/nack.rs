//! Which lost packets to ask for again, and when to give up (RFC 4585 §6.2.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A packet that is only reordered needs no request: Wi-Fi reorders within a few ms.
const REORDER_GRACE: Duration = Duration::from_millis(10);

/// The least time between two requests for one packet, where the round trip is short.
const MIN_RETRY: Duration = Duration::from_millis(40);

/// Later than this no decoder waits for the packet any more.
const GIVE_UP_AFTER: Duration = Duration::from_millis(600);

/// Requests for one packet: at 30 % loss both ways, one in a thousand is still missing.
const MAX_TRIES: u8 = 10;

/// A larger hole is an outage, not loss: a key frame is cheaper than filling it.
const MAX_GAP: u64 = 500;

/// Missing packets remembered at once, against a sender that skips on purpose.
const MAX_MISSING: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Instant,
    due: Instant,
    asked: Option<Instant>,
    tries: u8,
}

/// What filled a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Whether it was asked for: then it is a retransmission, whatever SSRC it came by.
    pub asked: bool,
    /// From the latest request to the arrival, if it was asked for exactly once: then it is the
    /// answer to that request, so this is a round trip.
    pub round_trip: Option<Duration>,
}

/// Keeps the list of one source's missing packets. Fed by media and by what RTX brought back.
#[derive(Debug, Default)]
pub struct Nack {
    missing: BTreeMap<u64, Missing>,
    abandoned: u64,
    gave_up: bool,
}

impl Nack {
    /// `newest` came, and the `gap` numbers before it did not.
    pub fn on_new(&mut self, newest: u64, gap: u64, now: Instant) {
        if gap > MAX_GAP || self.missing.len() + gap as usize > MAX_MISSING {
            self.abandoned += gap + self.missing.len() as u64;
            self.missing.clear();
            self.gave_up = true;
            return;
        }
        let missing = Missing {
            since: now,
            due: now + REORDER_GRACE,
            asked: None,
            tries: 0,
        };
        for number in newest - gap..newest {
            self.missing.insert(number, missing);
        }
    }

    /// A packet below the newest came: late, or by retransmission.
    pub fn on_late(&mut self, number: u64, now: Instant) -> Option<Filled> {
        let missing = self.missing.remove(&number)?;
        let round_trip = match missing.asked {
            Some(asked) if missing.tries == 1 => Some(now.saturating_duration_since(asked)),
            _ => None,
        };
        let asked = missing.asked.is_some();
        Some(Filled { asked, round_trip })
    }

    /// The numbers to ask for now; abandons those that took too long.
    pub fn due(&mut self, now: Instant, round_trip: Duration) -> Vec<u64> {
        let retry = MIN_RETRY.max(round_trip + round_trip / 2);
        let mut ask = Vec::new();
        let before = self.missing.len();
        self.missing.retain(|number, missing| {
            if now.saturating_duration_since(missing.since) >= GIVE_UP_AFTER {
                return false;
            }
            if missing.due > now {
                return true;
            }
            if missing.tries == MAX_TRIES {
                return false;
            }
            missing.tries += 1;
            missing.asked = Some(now);
            missing.due = (now + retry).min(missing.since + GIVE_UP_AFTER);
            ask.push(*number);
            true
        });
        let abandoned = before - self.missing.len();
        self.abandoned += abandoned as u64;
        self.gave_up |= abandoned > 0;
        ask
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.due).min()
    }

    /// Whether packets were given up since the last call: the decoder needs a key frame.
    pub fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }

    /// Packets that never came.
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Forgets what is missing, for a source that starts anew.
    pub fn restart(&mut self) {
        self.missing.clear();
    }
}

#[cfg(test)]
#[path = "nack/tests.rs"]
mod tests;
