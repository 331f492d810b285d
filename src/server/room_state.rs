//! What an open room holds, and what follows of it: what leads where, and who is told what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::broadcast::Broadcast;
use super::composition::{Composition, Member, Staged, TrackKey};
use super::preview::Preview;
use crate::hls::Live;
use crate::program::{Feed, InputId};
use crate::room::{
    BroadcastId, MediaKind, Participant, Presence, Room, Session, Stage, TrackNumber, TrackSource,
};
use crate::rtc::ConnectionId;
use crate::rtc::core::{Demand, TrackInfo};
use crate::rtc::roster::{self, Entry, Roster, RosterTrack};

/// Where each track of one connection goes; empty while nothing is live.
pub type Routes = Arc<BTreeMap<TrackNumber, Vec<Route>>>;

/// What is composed of the room: what the audience sees, or what a producer looks at before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    Program,
    Preview,
}

/// One input of a running program.
#[derive(Clone)]
pub struct Route {
    pub feed: Feed,
    pub input: InputId,
    /// The height of its picture there, in pixels of the canvas; 0 of sound.
    pub shown_px: u32,
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        // Another broadcast's inputs count from 0 again.
        self.input == other.input
            && self.shown_px == other.shown_px
            && self.feed.is_same(&other.feed)
    }
}

/// A picture shown lower than this has no use of a camera's full height.
const SMALL_PX: u32 = 480;

/// Under the room's lock.
pub struct State {
    pub room: Room,
    pub connections: BTreeMap<Session, Connection>,
    /// By which those who attend see and hear the others.
    pub attending: BTreeMap<Session, ConnectionId>,
    pub broadcast: Option<Broadcast>,
    pub preview: Option<Preview>,
    /// The playlist that is served: of the broadcast, or of the last one for a while.
    pub live: Option<Arc<Live>>,
    pub ended_at: Option<Instant>,
    pub last_recording: Option<BroadcastId>,
    /// Why there is no broadcast, though one is due.
    pub refused: Option<String>,
}

/// By which someone publishes.
pub struct Connection {
    pub id: Option<ConnectionId>,
    pub tracks: BTreeMap<TrackNumber, TrackInfo>,
    /// Who plays each track in real time.
    pub demands: BTreeMap<TrackNumber, Demand>,
    pub routes: watch::Sender<Routes>,
}

impl State {
    /// What subscribers need to know.
    pub fn roster(&self) -> Roster {
        let entry = |participant: &Participant| {
            let session = participant.presence.session();
            let connection = session.and_then(|session| self.connections.get(&session));
            let tracks = connection.and_then(|c| Some((c.id?, c)));
            let tracks = participant.tracks.iter().filter_map(|(number, track)| {
                let (id, connection) = tracks?;
                let info = connection.tracks.get(number)?;
                let played = connection.demands.get(number).copied().unwrap_or_default();
                let composed_px = self.composed_px((session?, *number));
                let is_small = composed_px.is_some_and(|px| px < SMALL_PX);
                let shown_px = match info.kind {
                    MediaKind::Video => played.shown_px.max(composed_px.unwrap_or(0)),
                    MediaKind::Audio => 0,
                };
                Some(RosterTrack {
                    number: *number,
                    source: track.source,
                    info: info.clone(),
                    muted: participant.is_muted(track),
                    is_withheld: participant.is_withheld(track.source),
                    connection: id,
                    players: played.subscribers + usize::from(is_small),
                    shown_px: roster::rounded_px(shown_px),
                })
            });
            Entry {
                id: participant.id,
                name: participant.name.clone(),
                role: participant.role,
                is_publishing: session.is_some(),
                is_away: matches!(participant.presence, Presence::Away { .. }),
                is_on_stage: self.room.stage().is_on(participant.id),
                muted: TrackSource::ALL
                    .into_iter()
                    .filter(|source| participant.is_withheld(*source))
                    .collect(),
                tracks: tracks.collect(),
            }
        };
        Roster {
            participants: self.room.participants().into_iter().map(entry).collect(),
            speaking: self.room.speaking(),
            program: self.broadcast.as_ref().map(Broadcast::program),
            preview: self.preview.as_ref().map(Preview::tracks),
            layout: self.room.stage().layout().to_owned(),
        }
    }

    /// The height of a track's picture where it is composed, or is ready to be (then 1).
    fn composed_px(&self, key: TrackKey) -> Option<u32> {
        let on = self.compositions().filter(|of| of.input(key).is_some());
        on.map(|of| of.shown_px(key).max(1)).max()
    }

    pub fn composition(&self, bus: Bus) -> Option<&Composition> {
        match bus {
            Bus::Program => self.broadcast.as_ref().map(Broadcast::composition),
            Bus::Preview => self.preview.as_ref().map(Preview::composition),
        }
    }

    pub fn compositions(&self) -> impl Iterator<Item = &Composition> {
        let buses = [Bus::Program, Bus::Preview].into_iter();
        buses.filter_map(|bus| self.composition(bus))
    }

    pub fn compositions_mut(&mut self) -> impl Iterator<Item = &mut Composition> {
        let program = self.broadcast.as_mut().map(Broadcast::composition_mut);
        let preview = self.preview.as_mut().map(Preview::composition_mut);
        program.into_iter().chain(preview)
    }

    /// Makes the program's inputs agree with the room, and tells each connection where its
    /// packets go.
    pub fn route(&mut self) {
        if let Some(broadcast) = &mut self.broadcast {
            let stage = self.room.stage();
            let cast = cast(&self.room, stage, &self.connections);
            broadcast.composition_mut().put_on_stage(&cast, stage);
        }
        if let Some((preview, stage)) = self.preview.as_mut().zip(self.room.preview()) {
            let cast = cast(&self.room, &stage, &self.connections);
            preview.composition_mut().put_on_stage(&cast, &stage);
        }
        for (session, connection) in &self.connections {
            let routes = connection.tracks.keys().map(|number| {
                let key = (*session, *number);
                let routes = self.compositions().filter_map(|composition| {
                    Some(Route {
                        feed: composition.feed().clone(),
                        input: composition.input(key)?,
                        shown_px: composition.shown_px(key),
                    })
                });
                (*number, routes.collect())
            });
            connection.send(Arc::new(routes.collect()));
        }
    }
}

/// Who is on a stage, in its order.
fn cast(room: &Room, stage: &Stage, connections: &BTreeMap<Session, Connection>) -> Vec<Member> {
    let participants = room.participants().into_iter();
    let on = participants.filter(|participant| stage.is_on(participant.id));
    let members = on.filter_map(|participant| member(participant, connections));
    let cast = members.map(|member| Member {
        is_featured: stage.featured() == Some(member.participant),
        ..member
    });
    cast.collect()
}

impl Connection {
    fn send(&self, routes: Routes) {
        self.routes.send_if_modified(|now| {
            let changed = *now != routes;
            if changed {
                *now = routes;
            }
            changed
        });
    }
}

/// What a participant brings to the program; `None` of who publishes nothing.
fn member(
    participant: &Participant,
    connections: &BTreeMap<Session, Connection>,
) -> Option<Member> {
    let session = participant.presence.session()?;
    let connection = connections.get(&session)?;
    let of_camera = |track: &crate::room::Track| {
        matches!(track.source, TrackSource::Camera | TrackSource::Microphone)
    };
    let takes = |track: &crate::room::Track| !participant.is_muted(track) && !track.kept_out;
    let tracks = participant.tracks.iter();
    let tracks = tracks.filter(|(_, track)| takes(track));
    let tracks = tracks.filter_map(|(number, _)| {
        let staged = Staged {
            participant: participant.id,
            session,
            info: connection.tracks.get(number)?.clone(),
        };
        Some(((session, *number), staged))
    });
    Some(Member {
        participant: participant.id,
        name: participant.name.clone(),
        is_featured: false,
        is_seen: participant.tracks.values().any(of_camera),
        tracks: tracks.collect(),
    })
}
