//! Who gets which track, and a moment of each track for who comes next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::core::send::recent::Recent;
use super::core::send::track::{Slot, View};
use super::core::{Demand, ReceivedRtp};
use super::crew::Source;
use super::demux::ConnectionId;

/// A worker's plugs: each slot has at most one source, each source any number of slots.
#[derive(Default)]
pub struct Switchboard {
    subscribers: BTreeMap<Source, Vec<Subscriber>>,
    sources: BTreeMap<(ConnectionId, Slot), Source>,
    /// What the publishers of those that have subscribers know of them.
    told: BTreeMap<Source, Demand>,
    /// By source and layer; all layers of SVC are under its lowest.
    recent: BTreeMap<(Source, u8), Recent>,
}

/// One slot in which a source comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriber {
    pub id: ConnectionId,
    pub slot: Slot,
    /// As [`View::shown_px`].
    shown_px: u32,
}

impl Subscriber {
    fn is(&self, id: ConnectionId, slot: Slot) -> bool {
        (self.id, self.slot) == (id, slot)
    }
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
            self.subscribers
                .entry(source)
                .or_default()
                .push(Subscriber {
                    id,
                    slot,
                    shown_px: View::default().shown_px,
                });
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
            subscribers.retain(|subscriber| !subscriber.is(id, slot));
            if subscribers.is_empty() {
                self.subscribers.remove(&source);
                self.recent.retain(|(of, _), _| *of != source);
            }
        }
    }

    pub fn source(&self, id: ConnectionId, slot: Slot) -> Option<Source> {
        self.sources.get(&(id, slot)).copied()
    }

    pub fn subscribers(&self, source: Source) -> &[Subscriber] {
        self.subscribers.get(&source).map_or(&[], Vec::as_slice)
    }

    /// How large the slot's source is shown from now on; the source, where its publisher was told of
    /// nothing so large. That it is less is told later: who goes to and fro is no news to all.
    pub fn set_view(&mut self, id: ConnectionId, slot: Slot, view: View) -> Option<Source> {
        let source = self.source(id, slot)?;
        let subscribers = self.subscribers.get_mut(&source)?;
        let subscriber = subscribers.iter_mut().find(|one| one.is(id, slot))?;
        subscriber.shown_px = view.shown_px;
        let told_px = self.told.get(&source).map_or(0, |told| told.shown_px);
        (view.shown_px > told_px).then_some(source)
    }

    /// What a publisher is to be told of a track's subscribers; `None` when it knows.
    pub fn news(&mut self, source: Source) -> Option<Demand> {
        let subscribers = self.subscribers(source);
        let shown_px = subscribers.iter().map(|one| one.shown_px).max();
        let demand = Demand {
            subscribers: subscribers.len(),
            shown_px: shown_px.unwrap_or(0),
        };
        let before = match demand.subscribers {
            0 => self.told.remove(&source),
            _ => self.told.insert(source, demand),
        };
        (before.unwrap_or_default() != demand).then_some(demand)
    }

    pub fn has_subscribers(&self, source: Source) -> bool {
        self.subscribers.contains_key(&source)
    }

    pub fn remove(&mut self, id: ConnectionId) -> Left {
        let of = |(source, _): &(&Source, _)| source.0 == id;
        let slots = self.subscribers.iter().filter(of);
        let slots = slots.flat_map(|(_, slots)| slots.iter().map(|one| (one.id, one.slot)));
        let slots: Vec<_> = slots.collect();
        for (subscriber, slot) in &slots {
            self.disconnect(*subscriber, *slot);
        }
        self.told.retain(|source, _| source.0 != id);
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
        assert_eq!(board.subscribers(source(1)).len(), 1);
        assert!(board.subscribers(source(1))[0].is(VIEWER, Slot(0)));
        assert_eq!(board.connect(VIEWER, Slot(0), source(2)), Some(source(1)));
        assert!(!board.has_subscribers(source(1)));
        assert_eq!(board.source(VIEWER, Slot(0)), Some(source(2)));
        assert_eq!(board.disconnect(VIEWER, Slot(0)), Some(source(2)));
        assert!(!board.has_subscribers(source(2)));
    }

    #[test]
    fn a_publisher_is_told_how_large_it_is_shown() {
        let mut board = Switchboard::default();
        let other = ConnectionId(8);
        let view = |shown_px| View {
            shown_px,
            ..View::default()
        };
        let demand = |subscribers, shown_px| {
            Some(Demand {
                subscribers,
                shown_px,
            })
        };
        assert_eq!(board.set_view(VIEWER, Slot(0), view(90)), None);
        assert_eq!(board.news(source(1)), None);
        board.connect(VIEWER, Slot(0), source(1));
        board.connect(other, Slot(3), source(1));
        assert_eq!(board.news(source(1)), demand(2, 720));
        assert_eq!(board.set_view(VIEWER, Slot(0), view(90)), None);
        assert_eq!(board.news(source(1)), None, "the other's is larger");
        assert_eq!(board.set_view(other, Slot(3), view(360)), None, "later");
        assert_eq!(board.news(source(1)), demand(2, 360));
        let larger = board.set_view(VIEWER, Slot(0), view(361));
        assert_eq!(larger, Some(source(1)), "at once");
        assert_eq!(board.news(source(1)), demand(2, 361));
        board.disconnect(VIEWER, Slot(0));
        assert_eq!(board.news(source(1)), demand(1, 360));
        board.disconnect(other, Slot(3));
        assert_eq!(board.news(source(1)), demand(0, 0));
        assert_eq!(board.news(source(1)), None);
        assert!(board.told.is_empty());
    }

    #[test]
    fn who_is_gone_leaves_nothing() {
        let mut board = Switchboard::default();
        board.connect(VIEWER, Slot(0), source(1));
        board.connect(ConnectionId(1), Slot(3), source(2));
        assert!(board.news(source(1)).is_some());
        let left = board.remove(ConnectionId(1));
        assert_eq!(left.slots, [(VIEWER, Slot(0))]);
        assert_eq!(left.sources, [source(2)]);
        assert!(board.sources.is_empty() && board.subscribers.is_empty());
        assert!(board.told.is_empty());
    }
}
