//! Who gets which track, and a moment of each track for who comes next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::core::ReceivedRtp;
use super::core::send::recent::Recent;
use super::core::send::track::Slot;
use super::crew::Source;
use super::demux::ConnectionId;

/// A worker's plugs: each slot has at most one source, each source any number of slots.
#[derive(Default)]
pub struct Switchboard {
    subscribers: BTreeMap<Source, Vec<(ConnectionId, Slot)>>,
    sources: BTreeMap<(ConnectionId, Slot), Source>,
    /// By source and layer; all layers of SVC are under its lowest.
    recent: BTreeMap<(Source, u8), Recent>,
}

/// What a connection that is gone leaves behind.
pub struct Left {
    /// What it got.
    pub sources: Vec<Source>,
    /// Who got something of it.
    pub slots: Vec<(ConnectionId, Slot)>,
}

impl Switchboard {
    /// What came in the slot before.
    pub fn connect(&mut self, id: ConnectionId, slot: Slot, source: Source) -> Option<Source> {
        let before = self.sources.insert((id, slot), source);
        if before != Some(source) {
            self.forget_subscriber(before, id, slot);
            self.subscribers.entry(source).or_default().push((id, slot));
        }
        before
    }

    /// What came in the slot before.
    pub fn disconnect(&mut self, id: ConnectionId, slot: Slot) -> Option<Source> {
        let before = self.sources.remove(&(id, slot));
        self.forget_subscriber(before, id, slot);
        before
    }

    fn forget_subscriber(&mut self, source: Option<Source>, id: ConnectionId, slot: Slot) {
        let Some(source) = source else {
            return;
        };
        if let Some(subscribers) = self.subscribers.get_mut(&source) {
            subscribers.retain(|subscriber| *subscriber != (id, slot));
            if subscribers.is_empty() {
                self.subscribers.remove(&source);
                self.recent.retain(|(of, _), _| *of != source);
            }
        }
    }

    pub fn source(&self, id: ConnectionId, slot: Slot) -> Option<Source> {
        self.sources.get(&(id, slot)).copied()
    }

    pub fn subscribers(&self, source: Source) -> &[(ConnectionId, Slot)] {
        self.subscribers.get(&source).map_or(&[], Vec::as_slice)
    }

    pub fn has_subscribers(&self, source: Source) -> bool {
        self.subscribers.contains_key(&source)
    }

    pub fn remove(&mut self, id: ConnectionId) -> Left {
        let of = |(source, _): &(&Source, _)| source.0 == id;
        let slots = self.subscribers.iter().filter(of);
        let slots: Vec<_> = slots.flat_map(|(_, slots)| slots.clone()).collect();
        for (subscriber, slot) in &slots {
            self.disconnect(*subscriber, *slot);
        }
        let own = (id, Slot(0))..=(id, Slot(u16::MAX));
        let own: Vec<_> = self.sources.range(own).map(|(key, _)| *key).collect();
        let sources = own.into_iter();
        let sources = sources.filter_map(|(id, slot)| self.disconnect(id, slot));
        Left {
            sources: sources.collect(),
            slots,
        }
    }

    /// For who comes right after a key frame.
    pub fn remember<'a>(
        &mut self,
        source: Source,
        packets: impl Iterator<Item = &'a Arc<ReceivedRtp>>,
        now: Instant,
    ) {
        if self.has_subscribers(source) {
            for packet in packets {
                let layer = match packet.is_scalable() {
                    true => 0,
                    false => packet.layer,
                };
                let recent = self.recent.entry((source, layer)).or_default();
                recent.push(packet, now);
            }
        }
    }

    /// Of a layer, from its last key frame on; empty when that was too long ago.
    pub fn recent(&self, source: Source, layer: u8, now: Instant) -> &[Arc<ReceivedRtp>] {
        let lowest = self.recent.get(&(source, 0));
        let scalable = lowest.filter(|recent| recent.is_scalable());
        let recent = scalable.or_else(|| self.recent.get(&(source, layer)));
        recent.map_or(&[], |recent| recent.packets(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::core::TrackId;

    const fn source(id: u64) -> Source {
        (ConnectionId(id), TrackId(0))
    }

    const VIEWER: ConnectionId = ConnectionId(9);

    #[test]
    fn a_slot_has_one_source() {
        let mut board = Switchboard::default();
        assert_eq!(board.connect(VIEWER, Slot(0), source(1)), None);
        assert_eq!(board.connect(VIEWER, Slot(0), source(1)), Some(source(1)));
        assert_eq!(board.subscribers(source(1)), [(VIEWER, Slot(0))]);
        assert_eq!(board.connect(VIEWER, Slot(0), source(2)), Some(source(1)));
        assert!(!board.has_subscribers(source(1)));
        assert_eq!(board.source(VIEWER, Slot(0)), Some(source(2)));
        assert_eq!(board.disconnect(VIEWER, Slot(0)), Some(source(2)));
        assert!(!board.has_subscribers(source(2)));
    }

    #[test]
    fn who_is_gone_leaves_nothing() {
        let mut board = Switchboard::default();
        board.connect(VIEWER, Slot(0), source(1));
        board.connect(ConnectionId(1), Slot(3), source(2));
        let left = board.remove(ConnectionId(1));
        assert_eq!(left.slots, [(VIEWER, Slot(0))]);
        assert_eq!(left.sources, [source(2)]);
        assert!(board.sources.is_empty() && board.subscribers.is_empty());
    }
}
