//! The heart of forwarding: one subscriber's continuous stream out of a track's layers.
//!
//! A track may come in several layers, each a source of its own with its own sequence numbers,
//! timestamps and picture ids (simulcast), or all of one source, each on top of the one below
//! (SVC). A subscriber sees one source that never breaks: layers change at key frames (of SVC the
//! upper ones are left out from any picture on), what is left out leaves no gap, and what was
//! lost stays a gap, so that the subscriber asks for it.

use std::collections::VecDeque;
use std::time::Instant;

use crate::rtc::core::receive::dependency::FRAME_NUMBER;
use crate::rtc::core::receive::payload::{Content, Spatial};
use crate::rtc::core::sink::ReceivedRtp;

/// Left-out packets remembered, so that packets that come late get the number that waits for
/// them. Chromium's probes are bursts of some dozens; of SVC it is all of the upper layers, some
/// hundreds in a second.
const MAX_SKIPS: usize = 512;

/// A jump ahead beyond this is no loss but another source, of which nothing fits to the one
/// before; and the subscriber's rollover counter could not follow.
const MAX_JUMP: u64 = 8192;

/// The lowest number a stream starts with: far from 0, so that no late packet can come before
/// the first one's rollover counter.
const FIRST_SEQUENCE: u64 = 0x1000;

/// What the subscriber's packet carries instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended: the upper bits are the rollover counter.
    pub sequence: u64,
    pub timestamp: u32,
    /// The last packet of its picture, as far as it is sent.
    pub marker: bool,
    /// Added to the picture id (of AV1, the frame's number) and to TL0PICIDX, modulo their sizes.
    pub picture_id_offset: u16,
    pub tl0_offset: u8,
}

/// One track on its way to one subscriber.
#[derive(Debug)]
pub struct Forward {
    clock_rate: u32,
    wanted: Option<u8>,
    source: Option<Source>,
    /// The number after the highest given out.
    next_sequence: u64,
    last: Option<Last>,
    switches: u64,
}

/// The layer that runs, and how its numbers become ours.
#[derive(Debug)]
struct Source {
    layer: u8,
    /// Of SVC: the packets before this number are of a time when `layer_before` ran.
    since: u64,
    layer_before: u8,
    is_scalable: bool,
    first: u64,
    highest: u64,
    /// Added to the source's numbers, modulo 2^64; `skips` are subtracted.
    sequence_offset: u64,
    skips: VecDeque<u64>,
    timestamp_offset: u32,
    picture_id_offset: u16,
    tl0_offset: u8,
}

/// The newest packet given out.
#[derive(Debug, Clone, Copy)]
struct Last {
    arrival: Instant,
    timestamp: u32,
    picture_id: u16,
    tl0: u8,
}

impl Forward {
    /// `random` decides where the numbers start.
    pub fn new(clock_rate: u32, random: u16) -> Self {
        Self {
            clock_rate,
            wanted: None,
            source: None,
            next_sequence: FIRST_SEQUENCE + u64::from(random & 0x3FFF),
            last: None,
            switches: 0,
        }
    }

    /// The layer to send; `None` pauses. It takes effect with the layer's next key frame, and
    /// until then the current one goes on.
    pub fn want(&mut self, layer: Option<u8>) {
        if layer.is_none() {
            self.source = None;
        }
        self.wanted = layer;
    }

    pub fn wanted(&self) -> Option<u8> {
        self.wanted
    }

    /// The track comes from another publisher, or anew: what follows is a new source.
    pub fn restart(&mut self) {
        self.source = None;
    }

    /// The layer that is being sent.
    pub fn current(&self) -> Option<u8> {
        self.source.as_ref().map(|source| source.layer)
    }

    /// Whether what is being sent comes from this source of the track.
    pub fn is_of(&self, source: u8) -> bool {
        let is_it = |running: &Source| running.is_scalable || running.layer == source;
        self.source.as_ref().is_some_and(is_it)
    }

    /// The layer whose key frame is waited for.
    pub fn awaits_key_frame(&self) -> Option<u8> {
        self.wanted.filter(|wanted| self.current() != Some(*wanted))
    }

    /// How often the layer changed, the first one not counted.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// The timestamp that stands for the source's `timestamp` in what is sent.
    pub fn timestamp(&self, timestamp: u32) -> Option<u32> {
        let source = self.source.as_ref()?;
        Some(timestamp.wrapping_add(source.timestamp_offset))
    }

    /// Takes the track's next packet, of any layer. `None`: it is not for this subscriber.
    pub fn take(&mut self, packet: &ReceivedRtp) -> Option<Rewritten> {
        self.choose(packet);
        let jumped =
            |source: &Source| source.has(packet) && packet.sequence > source.highest + MAX_JUMP;
        if self.source.as_ref().is_some_and(jumped) {
            self.restart();
            return self.take(packet);
        }
        let source = self.source.as_mut()?;
        if !source.has(packet) || packet.sequence < source.first {
            return None;
        }
        let limit = source.layer_at(packet.sequence);
        if packet.is_empty() || (packet.is_scalable() && packet.layer > limit) {
            // In order it leaves no gap. Late, its number is given out already, as a gap.
            if packet.sequence > source.highest {
                source.highest = packet.sequence;
                source.skip(packet.sequence);
            }
            return None;
        }
        source.highest = source.highest.max(packet.sequence);
        let skipped_before = source.skips.partition_point(|skip| *skip < packet.sequence);
        let sequence = packet
            .sequence
            .wrapping_add(source.sequence_offset)
            .wrapping_sub(skipped_before as u64);
        let ends = |spatial: Spatial| spatial.id == limit && spatial.ends_frame;
        let rewritten = Rewritten {
            sequence,
            timestamp: packet.timestamp.wrapping_add(source.timestamp_offset),
            marker: packet.marker || packet.content.spatial.is_some_and(ends),
            picture_id_offset: source.picture_id_offset,
            tl0_offset: source.tl0_offset,
        };
        if sequence >= self.next_sequence {
            self.next_sequence = sequence + 1;
            let numbers = Numbers::read(packet);
            self.last = Some(Last {
                arrival: packet.arrival,
                timestamp: rewritten.timestamp,
                picture_id: numbers.picture_id.wrapping_add(source.picture_id_offset),
                tl0: numbers.tl0.wrapping_add(source.tl0_offset),
            });
        }
        Some(rewritten)
    }

    /// Changes the layer, where this packet allows it.
    fn choose(&mut self, packet: &ReceivedRtp) {
        if let Some(source) = self.source.as_mut() {
            source.is_scalable |= packet.is_scalable();
        }
        let Some(wanted) = self.awaits_key_frame().filter(|_| !packet.is_empty()) else {
            return;
        };
        let starts_key_frame = packet.content.starts_key_frame;
        let spatial = packet.content.spatial;
        // All of it goes on, with another part of its layers.
        if let (Some(spatial), Some(source)) = (spatial, self.source.as_mut())
            && packet.sequence > source.highest
        {
            if starts_key_frame || (spatial.starts_picture && wanted < source.layer) {
                source.layer_before = source.layer;
                source.since = packet.sequence;
                source.layer = wanted;
                self.switches += 1;
            }
        } else if starts_key_frame && (spatial.is_some() || packet.layer == wanted) {
            self.switch(packet, wanted);
        }
    }

    /// The first packet of the wanted layer's key frame: from here it is the source.
    fn switch(&mut self, packet: &ReceivedRtp, layer: u8) {
        let numbers = Numbers::read(packet);
        let (timestamp, picture_id, tl0) = match self.last {
            None => (packet.timestamp, numbers.picture_id, numbers.tl0),
            Some(last) => {
                let elapsed = packet.arrival.saturating_duration_since(last.arrival);
                let ticks = elapsed.as_micros() * u128::from(self.clock_rate) / 1_000_000;
                // Never the same: two frames of one timestamp would be one.
                let timestamp = last.timestamp.wrapping_add((ticks as u32).max(1));
                let (picture_id, tl0) = (last.picture_id, last.tl0);
                (timestamp, picture_id.wrapping_add(1), tl0.wrapping_add(1))
            }
        };
        self.switches += u64::from(self.last.is_some());
        self.source = Some(Source {
            layer,
            since: packet.sequence,
            layer_before: layer,
            is_scalable: packet.is_scalable(),
            first: packet.sequence,
            highest: packet.sequence,
            sequence_offset: self.next_sequence.wrapping_sub(packet.sequence),
            skips: VecDeque::new(),
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
            picture_id_offset: picture_id.wrapping_sub(numbers.picture_id),
            tl0_offset: tl0.wrapping_sub(numbers.tl0),
        });
    }
}

impl Source {
    fn has(&self, packet: &ReceivedRtp) -> bool {
        self.is_scalable || packet.layer == self.layer
    }

    /// The layer that was sent when the packet of this number was new.
    fn layer_at(&self, sequence: u64) -> u8 {
        match sequence < self.since {
            true => self.layer_before,
            false => self.layer,
        }
    }

    fn skip(&mut self, sequence: u64) {
        if self.skips.len() == MAX_SKIPS
            && let Some(oldest) = self.skips.pop_front()
        {
            // All that is older has its place before the skip, so it comes too late.
            self.first = oldest + 1;
            self.sequence_offset = self.sequence_offset.wrapping_sub(1);
        }
        self.skips.push_back(sequence);
    }
}

/// The running numbers of one packet; zeros where there are none.
struct Numbers {
    picture_id: u16,
    tl0: u8,
}

impl Numbers {
    fn read(packet: &ReceivedRtp) -> Self {
        let (payload, at) = (packet.payload(), packet.content.numbers);
        let byte = |at: u8| payload.get(usize::from(at)).copied().unwrap_or(0);
        let frame_number = || {
            packet
                .dependency_descriptor()?
                .get(FRAME_NUMBER)?
                .try_into()
                .ok()
        };
        let picture_id = match (at.picture_id_at, at.picture_id_is_long) {
            (0, _) => frame_number().map_or(0, u16::from_be_bytes),
            (at, true) => u16::from_be_bytes([byte(at), byte(at + 1)]),
            (at, false) => u16::from(byte(at)),
        };
        let tl0 = if at.tl0_at == 0 { 0 } else { byte(at.tl0_at) };
        Self { picture_id, tl0 }
    }
}

/// Writes the running numbers anew into a copy of the payload.
pub fn rewrite_payload(payload: &mut [u8], content: &Content, rewritten: &Rewritten) {
    let at = content.numbers;
    let (pid, tl0) = (usize::from(at.picture_id_at), usize::from(at.tl0_at));
    if pid != 0 && rewritten.picture_id_offset != 0 {
        if at.picture_id_is_long {
            if let Some([high, low]) = payload.get_mut(pid..pid + 2) {
                let old = u16::from_be_bytes([*high, *low]);
                let new = old.wrapping_add(rewritten.picture_id_offset) | 0x8000;
                [*high, *low] = new.to_be_bytes();
            }
        } else if let Some(byte) = payload.get_mut(pid) {
            *byte = byte.wrapping_add(rewritten.picture_id_offset as u8) & 0x7F;
        }
    }
    if tl0 != 0
        && let Some(byte) = payload.get_mut(tl0)
    {
        *byte = byte.wrapping_add(rewritten.tl0_offset);
    }
}

#[cfg(test)]
#[path = "forward/tests.rs"]
mod tests;
