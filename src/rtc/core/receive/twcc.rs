//! Transport-wide congestion feedback: when each packet came, so that the sender's estimate
//! rises (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::sequence::Sequence;

/// libwebrtc's default; its estimator is tuned to it. Draft §2 asks for once a frame or so.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// Statuses in one feedback: with two bytes a delta it stays well below 1200 bytes.
const MAX_STATUSES: u64 = 400;

/// Arrivals kept for the next feedback: more than 10 Mbit/s bring in one interval; also bounds
/// the feedback packets of one interval.
const MAX_PENDING: usize = 2000;

/// Ticks of the deltas, and of the reference time (draft §3.1).
const TICK_US: u128 = 250;
const REFERENCE_TICKS: i64 = 256;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// A run of fewer equal statuses is no longer than a vector of seven.
const MIN_RUN: usize = 7;
const VECTOR_LEN: usize = 7;

/// Collects arrivals of all of a connection's packets.
#[derive(Debug)]
pub struct Twcc {
    epoch: Instant,
    sequence: Sequence,
    pending: BTreeMap<u64, Instant>,
    /// The number after the last one reported.
    next: Option<u64>,
    feedback_count: u8,
    due: Option<Instant>,
}

impl Twcc {
    /// `epoch` is the zero of the arrival times sent; any instant before the first packet.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            sequence: Sequence::default(),
            pending: BTreeMap::new(),
            next: None,
            feedback_count: 0,
            due: None,
        }
    }

    /// A packet with the transport-wide sequence number `number` came.
    pub fn on_packet(&mut self, number: u16, now: Instant) {
        let number = self.sequence.unwrap(number);
        self.sequence.insert(number);
        if self.pending.len() < MAX_PENDING {
            self.pending.entry(number).or_insert(now);
        }
        self.due.get_or_insert(now + INTERVAL);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The feedback messages (RTCP, each a whole packet) that are due.
    pub fn feedback(&mut self, sender_ssrc: u32, media_ssrc: u32, now: Instant) -> Vec<Vec<u8>> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let mut messages = Vec::new();
        while let Some(message) = self.next_message(sender_ssrc, media_ssrc) {
            messages.push(message);
        }
        messages
    }

    fn next_message(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Option<Vec<u8>> {
        let (&first, &first_at) = self.pending.first_key_value()?;
        // Numbers between the last report and the first arrival are reported as lost, unless
        // so many that the sender must have jumped.
        let base = match self.next {
            Some(next) if next < first && first - next < MAX_STATUSES / 2 => next,
            _ => first,
        };
        let reference = self.ticks(first_at) / REFERENCE_TICKS;
        let mut at = reference * REFERENCE_TICKS;
        let mut statuses = Vec::new();
        let mut deltas = Vec::new();
        while let Some((&number, &arrival)) = self.pending.first_key_value() {
            let delta = self.ticks(arrival) - at;
            let Ok(large) = i16::try_from(delta) else {
                break;
            };
            if number - base >= MAX_STATUSES {
                break;
            }
            statuses.resize((number - base) as usize, NOT_RECEIVED);
            match u8::try_from(delta) {
                Ok(small) => {
                    statuses.push(SMALL_DELTA);
                    deltas.push(small);
                }
                Err(_) => {
                    statuses.push(LARGE_DELTA);
                    deltas.extend_from_slice(&large.to_be_bytes());
                }
            }
            at += delta;
            self.pending.pop_first();
        }
        let end = base + statuses.len() as u64;
        self.next = Some(self.next.map_or(end, |next| next.max(end)));
        let count = self.feedback_count;
        self.feedback_count = count.wrapping_add(1);

        let mut message = vec![0x80 | 15, 205, 0, 0];
        message.extend_from_slice(&sender_ssrc.to_be_bytes());
        message.extend_from_slice(&media_ssrc.to_be_bytes());
        message.extend_from_slice(&(base as u16).to_be_bytes());
        message.extend_from_slice(&(statuses.len() as u16).to_be_bytes());
        message.extend_from_slice(&(reference as u32).to_be_bytes()[1..]);
        message.push(count);
        write_chunks(&statuses, &mut message);
        message.extend_from_slice(&deltas);
        pad(&mut message);
        Some(message)
    }

    fn ticks(&self, at: Instant) -> i64 {
        (at.saturating_duration_since(self.epoch).as_micros() / TICK_US) as i64
    }
}

/// Draft §3.1.2 to §3.1.4: runs of one status, or vectors of seven two-bit ones.
fn write_chunks(mut statuses: &[u8], message: &mut Vec<u8>) {
    while let Some(&first) = statuses.first() {
        // At most MAX_STATUSES, so it fits the chunk's 13 bits.
        let run = statuses
            .iter()
            .take_while(|status| **status == first)
            .count();
        let (chunk, taken) = if run >= MIN_RUN {
            (u16::from(first) << 13 | run as u16, run)
        } else {
            let taken = statuses.len().min(VECTOR_LEN);
            let symbols = (0..VECTOR_LEN).fold(0u16, |bits, i| {
                bits << 2 | u16::from(statuses.get(i).copied().unwrap_or(NOT_RECEIVED))
            });
            (0xC000 | symbols, taken)
        };
        message.extend_from_slice(&chunk.to_be_bytes());
        statuses = &statuses[taken..];
    }
}

/// RFC 3550 §6.4.1: padding to whole words, its length in the last byte, then the length field.
fn pad(message: &mut Vec<u8>) {
    let padding = (4 - message.len() % 4) % 4;
    if padding > 0 {
        message[0] |= 0x20;
        message.resize(message.len() + padding - 1, 0);
        message.push(padding as u8);
    }
    let words = (message.len() / 4 - 1) as u16;
    message[2..4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests;
