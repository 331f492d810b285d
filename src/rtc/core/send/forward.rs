//! The heart of forwarding: one subscriber's continuous stream out of a track's layers.
//!
//! A track may come in several layers, each a source of its own with its own sequence numbers,
//! timestamps and picture ids (simulcast), or all of one source, each on top of the one below
//! (SVC). Each may have temporal layers, without the upper ones of which there are fewer pictures.
//! A subscriber sees one source that never breaks: layers change at key frames (upper ones are left
//! out from any picture on, and temporal ones come back where the encoder lets them begin), what is
//! left out leaves no gap, and what was lost stays a gap, so that the subscriber asks for it.

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

/// So many pictures of a wanted temporal layer are left out before a key frame is asked for:
/// encoders that let it begin without one do so several times a second.
const MAX_LACKED: u32 = 60;

/// Of temporal layers.
const ALL: u8 = u8::MAX;

/// What is sent of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Of simulcast, the index of its rid; of SVC, the highest spatial layer.
    pub layer: u8,
    /// The highest temporal layer.
    pub temporal: u8,
}

impl Target {
    /// With all of its pictures.
    pub fn whole(layer: u8) -> Self {
        Self {
            layer,
            temporal: ALL,
        }
    }

    /// The highest temporal layer, where not all are sent.
    pub fn limit(self) -> Option<u8> {
        (self.temporal != ALL).then_some(self.temporal)
    }
}

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
    wanted: Option<Target>,
    source: Option<Source>,
    /// The number after the highest given out.
    next_sequence: u64,
    last: Option<Last>,
    switches: u64,
}

/// The layer that runs, and how its numbers become ours.
#[derive(Debug)]
struct Source {
    target: Target,
    /// Within one source, a picture of this timestamp was the first of which `target` was sent.
    since: Since,
    target_before: Target,
    is_scalable: bool,
    first: u64,
    highest: u64,
    /// Of the highest.
    timestamp: u32,
    /// Added to the source's numbers, modulo 2^64; `skips` are subtracted.
    sequence_offset: u64,
    skips: VecDeque<Skip>,
    /// Of the skips that are forgotten.
    pictures_skipped: u16,
    /// The picture that was last left out, by its timestamp.
    skipped: Option<u32>,
    /// Pictures of a wanted temporal layer that were left out, for it cannot begin yet.
    lacked: u32,
    timestamp_offset: u32,
    picture_id_offset: u16,
    tl0_offset: u8,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    sequence: u64,
    timestamp: u32,
}

/// A packet that was left out.
#[derive(Debug, Clone, Copy)]
struct Skip {
    sequence: u64,
    /// The pictures that were left out until here, whose ids the others take, modulo 2^16.
    pictures: u16,
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

    /// What to send; `None` pauses. Another layer takes effect with its next key frame, and until
    /// then the current one goes on.
    pub fn want(&mut self, target: Option<Target>) {
        match (target, self.source.as_mut()) {
            (None, _) => self.source = None,
            // Who wants no more than there is lacks nothing.
            (Some(wanted), Some(source)) if wanted.temporal <= source.target.temporal => {
                source.lacked = 0;
            }
            _ => {}
        }
        self.wanted = target;
    }

    pub fn wanted(&self) -> Option<Target> {
        self.wanted
    }

    /// The track comes from another publisher, or anew: what follows is a new source.
    pub fn restart(&mut self) {
        self.source = None;
    }

    /// What is being sent.
    pub fn current(&self) -> Option<Target> {
        self.source.as_ref().map(|source| source.target)
    }

    /// Whether what is being sent comes from this source of the track.
    pub fn is_of(&self, source: u8) -> bool {
        let is_it = |running: &Source| running.is_scalable || running.target.layer == source;
        self.source.as_ref().is_some_and(is_it)
    }

    /// The layer whose key frame is waited for.
    pub fn awaits_key_frame(&self) -> Option<u8> {
        let lacks = |wanted: Target, source: &Source| {
            source.target.layer != wanted.layer || source.lacked >= MAX_LACKED
        };
        let wanted = self.wanted?;
        let source = self.source.as_ref();
        source
            .is_none_or(|source| lacks(wanted, source))
            .then_some(wanted.layer)
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
        let limit = source.target_at(packet);
        let temporal = packet.content.temporal.map_or(0, |temporal| temporal.id);
        let is_too_often = temporal > limit.temporal;
        if packet.is_empty() || (packet.is_scalable() && packet.layer > limit.layer) || is_too_often
        {
            // In order it leaves no gap. Late, its number is given out already, as a gap.
            if packet.sequence > source.highest {
                let wanted = self
                    .wanted
                    .is_some_and(|wanted| temporal <= wanted.temporal);
                source.skip(packet, is_too_often, wanted);
            }
            return None;
        }
        if packet.sequence >= source.highest {
            (source.highest, source.timestamp) = (packet.sequence, packet.timestamp);
        }
        let (packets_skipped, pictures_skipped) = source.skipped_before(packet.sequence);
        let sequence = packet
            .sequence
            .wrapping_add(source.sequence_offset)
            .wrapping_sub(packets_skipped);
        let ends = |spatial: Spatial| spatial.id == limit.layer && spatial.ends_frame;
        let rewritten = Rewritten {
            sequence,
            timestamp: packet.timestamp.wrapping_add(source.timestamp_offset),
            marker: packet.marker || packet.content.spatial.is_some_and(ends),
            picture_id_offset: source.picture_id_offset.wrapping_sub(pictures_skipped),
            tl0_offset: source.tl0_offset,
        };
        if sequence >= self.next_sequence {
            self.next_sequence = sequence + 1;
            let numbers = Numbers::read(packet);
            self.last = Some(Last {
                arrival: packet.arrival,
                timestamp: rewritten.timestamp,
                picture_id: numbers.picture_id.wrapping_add(rewritten.picture_id_offset),
                tl0: numbers.tl0.wrapping_add(source.tl0_offset),
            });
        }
        Some(rewritten)
    }

    /// Changes what is sent, where this packet allows it.
    fn choose(&mut self, packet: &ReceivedRtp) {
        if let Some(source) = self.source.as_mut() {
            source.is_scalable |= packet.is_scalable();
        }
        let Some(wanted) = self.wanted.filter(|_| !packet.is_empty()) else {
            return;
        };
        let is_of_wanted = packet.is_scalable() || packet.layer == wanted.layer;
        match self.source.as_mut() {
            Some(source) if source.has(packet) && packet.sequence > source.highest => {
                let layer_before = source.target.layer;
                source.go_on(packet, wanted);
                self.switches += u64::from(source.target.layer != layer_before);
            }
            Some(source) if source.target.layer == wanted.layer => {}
            _ if packet.content.starts_key_frame && is_of_wanted => self.switch(packet, wanted),
            _ => {}
        }
    }

    /// The first packet of the wanted layer's key frame: from here it is the source.
    fn switch(&mut self, packet: &ReceivedRtp, target: Target) {
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
            target,
            since: Since {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
            },
            target_before: target,
            is_scalable: packet.is_scalable(),
            first: packet.sequence,
            highest: packet.sequence,
            timestamp: packet.timestamp,
            sequence_offset: self.next_sequence.wrapping_sub(packet.sequence),
            skips: VecDeque::new(),
            pictures_skipped: 0,
            skipped: None,
            lacked: 0,
            timestamp_offset: timestamp.wrapping_sub(packet.timestamp),
            picture_id_offset: picture_id.wrapping_sub(numbers.picture_id),
            tl0_offset: tl0.wrapping_sub(numbers.tl0),
        });
    }
}

impl Source {
    fn has(&self, packet: &ReceivedRtp) -> bool {
        self.is_scalable || packet.layer == self.target.layer
    }

    /// Takes another part of the layers, where its newest packet allows it.
    fn go_on(&mut self, packet: &ReceivedRtp, wanted: Target) {
        let content = &packet.content;
        let layer = match content.spatial {
            Some(_) if content.starts_key_frame => wanted.layer,
            Some(spatial) if spatial.starts_picture => wanted.layer.min(self.target.layer),
            _ => self.target.layer,
        };
        let temporal = match content.temporal {
            _ if content.starts_key_frame => wanted.temporal,
            // A picture is sent whole, or not at all.
            _ if packet.timestamp == self.timestamp => self.target.temporal,
            Some(of) if wanted.temporal > self.target.temporal => {
                of.raised(self.target.temporal, wanted.temporal)
            }
            _ => wanted.temporal,
        };
        let target = Target { layer, temporal };
        if target != self.target {
            self.target_before = std::mem::replace(&mut self.target, target);
            self.since = Since {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
            };
            self.lacked = 0;
        }
    }

    /// What was sent when the packet's picture was new.
    fn target_at(&self, packet: &ReceivedRtp) -> Target {
        let Since {
            sequence,
            timestamp,
        } = self.since;
        match packet.sequence < sequence && packet.timestamp != timestamp {
            true => self.target_before,
            false => self.target,
        }
    }

    /// Leaves out the newest packet: padding, or a layer too many; or, with its whole picture, one
    /// that `is_too_often`, though perhaps `is_wanted`.
    fn skip(&mut self, packet: &ReceivedRtp, is_too_often: bool, is_wanted: bool) {
        self.highest = packet.sequence;
        if self.skips.len() == MAX_SKIPS
            && let Some(oldest) = self.skips.pop_front()
        {
            // All that is older has its place before the skip, so it comes too late.
            self.first = oldest.sequence + 1;
            self.sequence_offset = self.sequence_offset.wrapping_sub(1);
            self.pictures_skipped = oldest.pictures;
        }
        let newest = self.skips.back();
        let mut pictures = newest.map_or(self.pictures_skipped, |skip| skip.pictures);
        if !packet.is_empty() {
            self.timestamp = packet.timestamp;
        }
        if is_too_often && self.skipped.replace(packet.timestamp) != Some(packet.timestamp) {
            let has_to_close = packet.content.numbers.picture_ids_are_gapless;
            pictures = pictures.wrapping_add(u16::from(has_to_close));
            self.lacked += u32::from(is_wanted);
        }
        self.skips.push_back(Skip {
            sequence: packet.sequence,
            pictures,
        });
    }

    /// How many packets, and pictures, were left out before this number.
    fn skipped_before(&self, sequence: u64) -> (u64, u16) {
        let count = self.skips.partition_point(|skip| skip.sequence < sequence);
        let last = count.checked_sub(1).and_then(|last| self.skips.get(last));
        let pictures = last.map_or(self.pictures_skipped, |skip| skip.pictures);
        (count as u64, pictures)
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
