//! Spreads pictures out in time: a key frame sent at once would fill the queue before a bottleneck,
//! and the sound behind it would come late, or be dropped.
//!
//! A bucket is refilled at the pace. What finds it filled goes at once, as nearly all does on a
//! wide path; the rest of the burst waits. Sound and what is sent again never wait, but are paid
//! for from the same bucket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forward::Rewritten;
use crate::rtc::core::sink::ReceivedRtp;

/// What goes at once after a pause, as time at the pace.
const BURST: Duration = Duration::from_millis(40);

/// Timers are no finer.
const LEAST_WAIT: Duration = Duration::from_millis(2);

/// The pace rises so that nothing waits longer: what is late is no better than what is lost.
const MAX_WAIT: Duration = Duration::from_millis(400);

/// A packet that waits for its time.
#[derive(Debug)]
pub struct Paced {
    /// The index of its track.
    pub track: usize,
    pub packet: Arc<ReceivedRtp>,
    pub rewritten: Rewritten,
}

/// Bits that may be sent, earned with time.
#[derive(Debug, Default)]
pub struct Bucket {
    /// Below 0: that were sent too early.
    credit: i64,
    filled: Option<Instant>,
}

impl Bucket {
    /// Brings time up to date, at `bps`; never holds more than what `burst` earns.
    pub fn fill(&mut self, bps: u64, burst: Duration, now: Instant) {
        let elapsed = self
            .filled
            .replace(now)
            .map_or(burst, |at| now.saturating_duration_since(at));
        let earned = self.credit.saturating_add(bits(bps, elapsed));
        self.credit = earned.min(bits(bps, burst));
    }

    /// This was sent.
    pub fn pay(&mut self, bytes: usize) {
        self.credit -= bytes as i64 * 8;
    }

    pub fn has_credit(&self) -> bool {
        self.credit > 0
    }
}

#[derive(Debug, Default)]
pub struct Pacer {
    bucket: Bucket,
    bps: u64,
    waiting: VecDeque<Paced>,
    waiting_bits: u64,
}

impl Pacer {
    /// Brings time up to date: from now on `pace_bps` is the pace.
    pub fn fill(&mut self, pace_bps: u64, now: Instant) {
        let to_be_in_time = self.waiting_bits * 1000 / MAX_WAIT.as_millis() as u64;
        self.bps = pace_bps.max(to_be_in_time).max(1);
        self.bucket.fill(self.bps, BURST, now);
    }

    /// This was sent.
    pub fn pay(&mut self, bytes: usize) {
        self.bucket.pay(bytes);
    }

    /// Whether a packet of a picture may go at once: those before it must be gone.
    pub fn is_free(&self) -> bool {
        self.bucket.has_credit() && self.waiting.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn wait(&mut self, paced: Paced) {
        self.waiting_bits += paced.packet.packet.len() as u64 * 8;
        self.waiting.push_back(paced);
    }

    /// The next packet whose time has come.
    pub fn pop_due(&mut self) -> Option<Paced> {
        let paced = match self.bucket.has_credit() {
            true => self.waiting.pop_front()?,
            false => return None,
        };
        self.waiting_bits -= paced.packet.packet.len() as u64 * 8;
        Some(paced)
    }

    /// Forgets what waits of a track.
    pub fn forget(&mut self, track: usize) {
        self.waiting.retain(|paced| paced.track != track);
        let bytes = self.waiting.iter().map(|paced| paced.packet.packet.len());
        self.waiting_bits = 8 * bytes.sum::<usize>() as u64;
    }

    /// When the next packet may go.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front()?;
        let debt = u64::try_from(1 - self.bucket.credit).unwrap_or(0);
        let wait = Duration::from_micros(debt * 1_000_000 / self.bps.max(1));
        Some(self.bucket.filled? + wait.max(LEAST_WAIT))
    }
}

fn bits(bps: u64, time: Duration) -> i64 {
    (bps as i64).saturating_mul(time.as_micros() as i64) / 1_000_000
}
