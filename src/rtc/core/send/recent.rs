//! A layer's packets since its last key frame, for a moment: who comes right after one need not
//! wait for the next, of which a publisher makes no two at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rtc::core::sink::ReceivedRtp;

/// As long as a publisher is not asked for another key frame.
const KEPT_FOR: Duration = Duration::from_millis(1000);

/// More than a second of the best picture; then it is quicker to ask.
const MAX_PACKETS: usize = 1000;

#[derive(Debug, Default)]
pub struct Recent {
    begun: Option<Instant>,
    packets: Vec<Arc<ReceivedRtp>>,
}

impl Recent {
    /// The layer's next packet, as it was forwarded.
    pub fn push(&mut self, packet: &Arc<ReceivedRtp>, now: Instant) {
        let starts = packet.content.starts_key_frame && !packet.is_empty();
        // Parameter sets may come in a packet of their own, before the picture.
        let first = self.packets.first();
        let goes_on = first.is_some_and(|first| first.timestamp == packet.timestamp);
        if starts && !goes_on {
            self.packets.clear();
            self.begun = Some(now);
        } else if !self.is_fresh(now) || self.packets.len() >= MAX_PACKETS {
            self.packets.clear();
            self.begun = None;
        }
        if self.begun.is_some() {
            self.packets.push(packet.clone());
        }
    }

    /// From the key frame on; empty when it was too long ago.
    pub fn packets(&self, now: Instant) -> &[Arc<ReceivedRtp>] {
        match self.is_fresh(now) {
            true => &self.packets,
            false => &[],
        }
    }

    /// The layers of the source share its numbers: here are all of them.
    pub fn is_scalable(&self) -> bool {
        let first = self.packets.first();
        first.is_some_and(|first| first.is_scalable())
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.begun
            .is_some_and(|at| now.saturating_duration_since(at) <= KEPT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::rtc::core::receive::payload::Content;

    fn packet(sequence: u64, starts_key_frame: bool) -> Arc<ReceivedRtp> {
        Arc::new(ReceivedRtp {
            arrival: Instant::now(),
            packet: Bytes::from_static(&[7; 100]),
            header_len: 12,
            sequence,
            timestamp: sequence as u32 / 10,
            marker: true,
            completes: true,
            layer: 0,
            content: Content {
                starts_key_frame,
                ..Content::default()
            },
            audio_level: None,
            color_space: None,
            dependency_descriptor: None,
        })
    }

    fn numbers(recent: &Recent, now: Instant) -> Vec<u64> {
        recent.packets(now).iter().map(|p| p.sequence).collect()
    }

    #[test]
    fn it_begins_with_the_last_key_frame_and_ends_soon() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        recent.push(&packet(10, false), start);
        assert!(numbers(&recent, start).is_empty());
        recent.push(&packet(20, true), start);
        recent.push(&packet(30, false), start);
        assert_eq!(numbers(&recent, start + KEPT_FOR), [20, 30]);
        assert!(numbers(&recent, start + KEPT_FOR * 2).is_empty());
        recent.push(&packet(40, false), start + KEPT_FOR * 2);
        recent.push(&packet(50, true), start + KEPT_FOR * 2);
        assert_eq!(numbers(&recent, start + KEPT_FOR * 2), [50]);
    }

    #[test]
    fn parameter_sets_in_a_packet_of_their_own_stay() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        for sequence in [10, 20, 21] {
            recent.push(&packet(sequence, true), now);
        }
        assert_eq!(numbers(&recent, now), [20, 21]);
    }

    #[test]
    fn it_does_not_grow() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        recent.push(&packet(0, true), now);
        for sequence in 1..10_000 {
            recent.push(&packet(sequence, false), now);
        }
        assert!(recent.packets.len() <= MAX_PACKETS);
        assert!(
            numbers(&recent, now).is_empty(),
            "a part of it is of no use"
        );
    }
}
