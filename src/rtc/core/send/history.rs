//! What was sent, for as long as somebody may ask for it again (RFC 4588).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forward::Rewritten;
use crate::room::MediaKind;
use crate::rtc::core::prefetch::prefetch;
use crate::rtc::core::sink::ReceivedRtp;

/// Packets kept of a stream: two seconds of 2.5 Mbit/s, and of sound, one.
const VIDEO_LEN: usize = 512;
const AUDIO_LEN: usize = 50;

/// Of a frame.
const PREFETCHED: usize = 6;

/// One packet as it was sent; its payload is shared with all other subscribers.
#[derive(Debug, Clone)]
pub struct Sent {
    pub packet: Arc<ReceivedRtp>,
    pub rewritten: Rewritten,
    /// Its transport-wide number: whoever sends the very packet again must not change a byte.
    pub number: u16,
    pub last_sent: Instant,
}

/// The last packets of one stream, by their extended sequence numbers.
#[derive(Debug)]
pub struct History {
    len: usize,
    ring: Vec<Option<Sent>>,
    highest: u64,
}

impl History {
    pub fn new(kind: MediaKind) -> Self {
        Self {
            len: match kind {
                MediaKind::Audio => AUDIO_LEN,
                MediaKind::Video => VIDEO_LEN,
            },
            ring: Vec::new(),
            highest: 0,
        }
    }

    pub fn push(
        &mut self,
        packet: &Arc<ReceivedRtp>,
        rewritten: Rewritten,
        number: u16,
        now: Instant,
    ) {
        if self.ring.is_empty() {
            self.ring.resize(self.len, None);
        }
        self.highest = self.highest.max(rewritten.sequence);
        let slot = (rewritten.sequence % self.len as u64) as usize;
        if let Some(slot) = self.ring.get_mut(slot) {
            *slot = Some(Sent {
                packet: packet.clone(),
                rewritten,
                number,
                last_sent: now,
            });
        }
    }

    /// The packet of which the subscriber names the lower 16 bits, unless it was sent less than
    /// `pause` ago: then it is on its way.
    pub fn again(&mut self, number: u16, pause: Duration, now: Instant) -> Option<&Sent> {
        let back = u64::from((self.highest as u16).wrapping_sub(number));
        let sequence = self.highest.checked_sub(back)?;
        let slot = self.ring.get_mut((sequence % self.len as u64) as usize)?;
        let sent = slot.as_mut()?;
        if sent.rewritten.sequence != sequence
            || now.saturating_duration_since(sent.last_sent) < pause
        {
            return None;
        }
        sent.last_sent = now;
        Some(sent)
    }

    /// The newest packet, to probe with.
    pub fn newest(&self) -> Option<&Sent> {
        let slot = (self.highest % self.len as u64) as usize;
        self.ring.get(slot)?.as_ref()
    }

    /// Asks for the memory of the next packets.
    pub fn prefetch(&self) {
        let next = ((self.highest + 1) % self.len as u64) as usize;
        let of_frame = self.ring.iter().skip(next).take(PREFETCHED);
        of_frame.for_each(prefetch);
    }

    /// Lets go of all that is held.
    pub fn clear(&mut self) {
        self.ring.clear();
    }
}
