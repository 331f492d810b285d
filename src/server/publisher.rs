//! One publisher's media on its way into the program, and its news on the way into the room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::open_room::OpenRoom;
use super::room_state::{Route, Routes};
use crate::room::{Codec, Command, Session, TrackNumber};
use crate::rtc::core::send::forward::{Forward, Rewritten, Target, rewrite_payload};
use crate::rtc::core::{
    CloseReason, Event, LayerInfo, ReceivedRtp, SenderReport, Sink, TrackId, TrackInfo,
};

/// The source that the program sees of a track whose layers have one each.
const PROGRAM_SSRC: u32 = 1;

pub struct Publisher {
    room: Arc<OpenRoom>,
    session: Session,
    routes: watch::Receiver<Routes>,
    current: Routes,
    /// Tracks that may have several layers, made one; all others go as they are.
    layered: BTreeMap<TrackId, Forward>,
    /// The sound of a shared screen is nobody's voice.
    screens: BTreeSet<TrackId>,
}

impl Publisher {
    pub fn new(room: Arc<OpenRoom>, session: Session, routes: watch::Receiver<Routes>) -> Self {
        Self {
            room,
            session,
            routes,
            current: Routes::default(),
            layered: BTreeMap::new(),
            screens: BTreeSet::new(),
        }
    }

    fn routes(&mut self, track: TrackId) -> &[Route] {
        if self.routes.has_changed().unwrap_or(false) {
            self.current = self.routes.borrow_and_update().clone();
        }
        let routes = self.current.get(&TrackNumber(track.0));
        routes.map_or(&[], Vec::as_slice)
    }

    fn started(&mut self, info: TrackInfo) {
        if info.layers > 1 || matches!(info.codec, Codec::Vp9 | Codec::Av1) {
            let forward = Forward::new(info.clock_rate, 0);
            self.layered
                .entry(info.id)
                .or_insert(forward)
                .want(Some(Target::whole(0)));
        }
        if info.is_screen {
            self.screens.insert(info.id);
        }
        self.room.track_started(self.session, info);
    }

    /// The program gets the layer that is nearest to the size at which it shows the picture.
    fn choose(&mut self, track: TrackId, layers: &[LayerInfo]) {
        let shown_px = self.routes(track).iter().map(|route| route.shown_px).max();
        let Some(forward) = self.layered.get_mut(&track) else {
            return;
        };
        let Some(layer) = nearest(layers, shown_px.unwrap_or(0)) else {
            return;
        };
        forward.want(Some(Target::whole(layer)));
        if forward.awaits_key_frame().is_some() {
            self.room
                .request_key_frame_of(self.session, TrackNumber(track.0));
        }
    }

    fn muted(&self, track: TrackId, muted: bool) -> Command {
        Command::TrackMuted {
            session: self.session,
            number: TrackNumber(track.0),
            muted,
        }
    }
}

impl Sink for Publisher {
    fn event(&mut self, event: Event) {
        let session = self.session;
        match event {
            Event::Connected => self.room.tell(Command::Connected(session)),
            Event::TrackStarted(info) => self.started(info),
            Event::TrackStalled(track) => self.room.tell(self.muted(track, true)),
            Event::TrackResumed(track) => self.room.tell(self.muted(track, false)),
            Event::Layers(track, layers) => self.choose(track, &layers),
            Event::AudioLevel(track, _) if self.screens.contains(&track) => {}
            Event::AudioLevel(_, level) => self.room.tell(Command::Level { session, level }),
            Event::Demand(track, demand) => {
                self.room.demanded(session, TrackNumber(track.0), demand);
            }
            Event::LayerChosen(..) | Event::DataOpen(_) | Event::Data(_) | Event::DataUnsent(_) => {
            }
            Event::Failed(verdict) => self.room.connection_failed(session, *verdict),
            Event::Closed(CloseReason::Asked | CloseReason::PeerLeft) => {
                self.room.tell(Command::Left(session))
            }
            Event::Closed(
                CloseReason::ConsentLost | CloseReason::NeverConnected | CloseReason::Refused,
            ) => self.room.tell(Command::Lost(session)),
        }
    }

    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp) {
        let rewritten = match self.layered.get_mut(&track) {
            None if packet.is_empty() => return,
            None => packet.packet.clone(),
            Some(forward) => match forward.take(&packet) {
                None => return,
                Some(rewritten) => rewrite(&packet, &rewritten),
            },
        };
        for Route { feed, input, .. } in self.routes(track) {
            feed.rtp(*input, packet.arrival, rewritten.clone());
        }
    }

    fn sender_report(&mut self, track: TrackId, report: SenderReport) {
        let rtp = match self.layered.get(&track) {
            None => Some(report.rtp),
            Some(forward) if !forward.is_of(report.layer) => None,
            Some(forward) => forward.timestamp(report.rtp),
        };
        let Some(rtp) = rtp else { return };
        for Route { feed, input, .. } in self.routes(track) {
            feed.sender_report(*input, report.ntp, rtp);
        }
    }
}

/// The running layer that has to be scaled least at this height, or the lowest where it is not shown.
fn nearest(layers: &[LayerInfo], shown_px: u32) -> Option<u8> {
    let running = layers.iter().enumerate().filter(|(_, layer)| layer.running);
    let scale = |layer: &LayerInfo| {
        let (height, shown) = (u32::from(layer.height_px).max(1), shown_px.max(1));
        // In thousandths, up or down.
        height.max(shown) * 1000 / height.min(shown)
    };
    let nearest = running.min_by_key(|(_, layer)| (scale(layer), layer.bitrate_bps));
    u8::try_from(nearest?.0).ok()
}

/// The packet as one of a single source.
fn rewrite(packet: &ReceivedRtp, rewritten: &Rewritten) -> Bytes {
    let mut bytes = BytesMut::from(&packet.packet[..]);
    bytes[1] = bytes[1] & 0x7F | u8::from(rewritten.marker) << 7;
    bytes[2..4].copy_from_slice(&(rewritten.sequence as u16).to_be_bytes());
    bytes[4..8].copy_from_slice(&rewritten.timestamp.to_be_bytes());
    bytes[8..12].copy_from_slice(&PROGRAM_SSRC.to_be_bytes());
    let payload = usize::from(packet.header_len);
    rewrite_payload(&mut bytes[payload..], &packet.content, rewritten);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_takes_the_layer_nearest_to_its_tile() {
        let layer = |height_px, running| LayerInfo {
            height_px,
            bitrate_bps: 1,
            thinner_bps: Default::default(),
            running,
        };
        let layers = [layer(720, true), layer(180, true), layer(360, true)];
        for (shown_px, index) in [
            (100, 1),
            (200, 1),
            (240, 1),
            (360, 2),
            (480, 2),
            (561, 0),
            (1080, 0),
            (0, 1),
        ] {
            assert_eq!(nearest(&layers, shown_px), Some(index), "{shown_px}");
        }
        assert_eq!(
            nearest(&[layer(720, true), layer(180, false)], 100),
            Some(0)
        );
        assert_eq!(nearest(&[], 100), None);
    }
}
