//! Publishers' packets to their subscribers, and what these wish back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use super::peer::Peer;
use crate::rtc::core::prefetch::Depth;
use crate::rtc::core::send::sender::SendEvent;
use crate::rtc::core::send::track::Slot;
use crate::rtc::core::{Event, LayerInfo, ReceivedRtp, SenderReport};
use crate::rtc::crew::Source;
use crate::rtc::demux::ConnectionId;
use crate::rtc::switchboard::Subscriber;

/// The packets of a frame are held for its last one, so that a subscriber gets them in one call;
/// nobody can show a part of a frame. Longer than this none is held.
const HOLD: Duration = Duration::from_millis(1);

/// Bytes that are sealed before they are sent: more than a GSO call takes, less than a core's cache.
const SEND_AT: usize = 64 * 1024;

/// Subscribers whose memory is asked for at once.
const TOGETHER: usize = 8;

/// What one round of the loop carries from publishers to subscribers, and back. Kept for its
/// memory: a packet is one allocation, for all who get it.
#[derive(Default)]
pub(super) struct Round {
    /// Those of frames that are not complete may stay for the next round.
    pub(super) packets: Vec<(Source, Arc<ReceivedRtp>)>,
    pub(super) reports: Vec<(Source, SenderReport)>,
    pub(super) layers: Vec<(Source, Vec<LayerInfo>)>,
    pub(super) key_frames: Vec<(Source, u8)>,
}

impl Worker {
    /// From publishers to their subscribers, and the wishes of these back.
    pub(super) fn forward(&mut self, touched: &mut BTreeSet<ConnectionId>, now: Instant) {
        let mut round = std::mem::take(&mut self.round);
        for (source, layers) in round.layers.drain(..) {
            self.each_subscriber(source, |peer, slot| {
                peer.connection.set_layers(slot, &layers, now);
            });
            self.tell_demand(source);
        }
        for (source, report) in round.reports.drain(..) {
            self.each_subscriber(source, |peer, slot| {
                peer.connection.on_source_report(slot, report);
            });
        }
        // By track, so that what a subscriber gets of one is one run of datagrams; each track's
        // packets stay in their order.
        round.packets.sort_by_key(|(source, _)| *source);
        let mut held = std::mem::take(&mut self.held);
        for packets in round.packets.chunk_by(|(a, _), (b, _)| a == b) {
            let (Some((source, first)), Some((_, last))) = (packets.first(), packets.last()) else {
                continue;
            };
            if !last.completes && now.saturating_duration_since(first.arrival) < HOLD {
                held.extend_from_slice(packets);
                continue;
            }
            let remembered = packets.iter().map(|(_, packet)| packet);
            self.switchboard.remember(*source, remembered, now);
            self.forward_to_subscribers(*source, packets, now);
        }
        round.packets.clear();
        // Before what comes next.
        std::mem::swap(&mut round.packets, &mut held);
        self.held = held;
        touched.append(&mut self.touched);
        for &id in touched.iter() {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            while let Some(event) = peer.connection.poll_send_event() {
                match event {
                    SendEvent::KeyFrameWanted(slot, layer) => {
                        let Some(source) = self.switchboard.source(id, slot) else {
                            continue;
                        };
                        let recent = self.switchboard.recent(source, layer, now);
                        let awaits = peer.connection.awaits_key_frame(slot) == Some(layer);
                        if awaits && !recent.is_empty() {
                            let (connection, recent) = (&mut peer.connection, recent.iter());
                            connection.forward(slot, recent, &mut self.outbox, now);
                        } else {
                            round.key_frames.push((source, layer));
                        }
                    }
                    SendEvent::Layer(slot, layer) => {
                        peer.sink.event(Event::LayerChosen(slot, layer));
                    }
                }
            }
        }
        for ((id, track), layer) in round.key_frames.drain(..) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.request_key_frame(track, Some(layer), now);
                touched.insert(id);
            } else if let Some(local) = self.locals.get_mut(&id) {
                local.origin.key_frame_wanted(track, layer);
            }
        }
        self.round = round;
    }

    /// When the oldest packet that is held must go.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let arrivals = self.round.packets.iter().map(|(_, packet)| packet.arrival);
        Some(arrivals.min()? + HOLD)
    }

    /// What is sealed goes to the kernel while it is still in the cache.
    fn forward_to_subscribers(
        &mut self,
        source: Source,
        packets: &[(Source, Arc<ReceivedRtp>)],
        now: Instant,
    ) {
        let mut nth = 0;
        while let Some(&Subscriber { id, slot, .. }) = self.switchboard.subscribers(source).get(nth)
        {
            if nth.is_multiple_of(TOGETHER) {
                self.prefetch(source, nth);
            }
            nth += 1;
            let (peers, outbox) = (&mut self.peers, &mut self.outbox);
            if let Some(peer) = peers.get_mut(&id) {
                let mut has_more = false;
                peer.guard(id, |peer| {
                    let packets = packets.iter().map(|(_, packet)| packet);
                    has_more = peer.connection.forward(slot, packets, outbox, now);
                });
                if has_more || peer.is_faulty {
                    self.touched.insert(id);
                }
            }
            if self.outbox.bytes() >= SEND_AT {
                self.send(now);
            }
        }
    }

    /// Asks for the memory of the next subscribers, so that not each waits for its own.
    fn prefetch(&self, source: Source, first: usize) {
        let subscribers = self.switchboard.subscribers(source);
        let next: [_; TOGETHER] = std::array::from_fn(|nth| {
            let subscriber = subscribers.get(first + nth)?;
            Some((self.peers.get(&subscriber.id)?, subscriber.slot))
        });
        for depth in Depth::ALL {
            for (peer, slot) in next.iter().flatten() {
                peer.connection.prefetch(*slot, depth);
            }
        }
    }

    fn each_subscriber(&mut self, source: Source, mut each: impl FnMut(&mut Peer, Slot)) {
        let Self {
            switchboard,
            peers,
            touched,
            ..
        } = self;
        for &Subscriber { id, slot, .. } in switchboard.subscribers(source) {
            if let Some(peer) = peers.get_mut(&id) {
                peer.guard(id, |peer| each(peer, slot));
                touched.insert(id);
            }
        }
    }
}
