//! How a browser plays sound, for the tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Of one packet of sound.
const PTIME: Duration = Duration::from_millis(20);

/// While it is missing, it is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(40);

/// As a browser plays sound: late packets are concealed, and then waited for; the wait shrinks
/// again when it was not needed.
#[derive(Default)]
pub struct Playout {
    begin: Option<(Instant, u64)>,
    wait: Duration,
    got: BTreeSet<u64>,
    known: BTreeSet<u64>,
    highest: Option<u64>,
    /// The next to play, and how much earlier than it must the packets of late have come.
    next: u64,
    spare: VecDeque<Duration>,
    asked: BTreeMap<u64, Instant>,
    pub played: u64,
    pub concealed: u64,
}

impl Playout {
    /// The longest that a browser waits for sound, with its NACKs.
    const MAX_WAIT: Duration = Duration::from_millis(500);
    const SHRINKS_AFTER: usize = 100;

    pub fn arrives(&mut self, sequence: u64, at: Instant) {
        if self.begin.is_none() {
            self.begin = Some((at, sequence));
            self.wait = Duration::from_millis(40);
            self.next = sequence;
        }
        self.highest = self.highest.max(Some(sequence));
        if sequence >= self.next {
            self.got.insert(sequence);
        }
        self.known.insert(sequence);
        self.asked.remove(&sequence);
        let due = self.due(sequence);
        if at > due {
            // It will be waited for this long, should it happen again.
            self.wait = (self.wait + (at - due)).min(Self::MAX_WAIT);
            self.spare.clear();
        }
        self.spare.push_back(due.saturating_duration_since(at));
        if self.spare.len() > Self::SHRINKS_AFTER {
            self.spare.pop_front();
            let spare = self.spare.iter().min().copied().unwrap_or_default();
            if spare > PTIME {
                self.wait = self.wait.saturating_sub(Duration::from_millis(5));
                self.spare.clear();
            }
        }
    }

    fn due(&self, sequence: u64) -> Instant {
        let (at, first) = self.begin.expect("it began");
        at + PTIME * (sequence.saturating_sub(first)) as u32 + self.wait
    }

    /// What a browser asks for: missing, and not asked for a moment ago.
    pub fn asks(&mut self, now: Instant) -> Vec<u64> {
        let (Some(highest), Some((_, first))) = (self.highest, self.begin) else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        for number in highest.saturating_sub(20).max(first)..highest {
            let is_due = self
                .asked
                .get(&number)
                .is_none_or(|at| now - *at > ASK_AGAIN);
            if !self.known.contains(&number) && is_due {
                self.asked.insert(number, now);
                lost.push(number);
            }
        }
        lost
    }

    pub fn play(&mut self, now: Instant) {
        while self.begin.is_some() && self.due(self.next) <= now {
            self.played += 1;
            if !self.got.contains(&self.next) {
                self.concealed += 1;
            }
            self.got.remove(&self.next);
            self.next += 1;
        }
    }
}
