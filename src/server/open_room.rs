//! One room at work: its state under a lock, its connections, its broadcast.
//!
//! Commands come from any thread (HTTP, the transport's workers, timers) and are carried out at
//! once: nothing here waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::Utc;
use tokio::sync::{broadcast, watch};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::broadcast::Broadcast;
use super::composition::Composition;
use super::costs::Costly;
use super::failures::Failed;
use super::preview::Preview;
use super::room_state::{Bus, Connection, Routes, State};
use super::tools::Tools;
use crate::control::events::Happened;
use crate::control::views::RoomStats;
use crate::hls::Live;
use crate::program::InputId;
use crate::room::{
    self, BroadcastId, Command, Direction, Event, Participant, ParticipantId, Presence, Refused,
    Room, RoomId, Session, TrackNumber, TrackSource, Visitor,
};
use crate::rtc::ConnectionId;
use crate::rtc::core::verdict::Verdict;
use crate::rtc::core::{Demand, TrackId, TrackInfo};
use crate::rtc::roster::Roster;
use crate::rtc::session::Said;

/// Messages of the room that a slow session has not read yet.
const MAX_SAID: usize = 64;

pub struct OpenRoom {
    id: RoomId,
    tools: Arc<Tools>,
    state: Mutex<State>,
    roster: watch::Sender<Arc<Roster>>,
    said: broadcast::Sender<Arc<Said>>,
}

/// Someone who is here, and their connections.
pub struct Present {
    pub participant: Participant,
    pub on_stage: bool,
    pub publishes_by: Option<ConnectionId>,
    pub attends_by: Option<ConnectionId>,
}

impl OpenRoom {
    pub fn new(id: RoomId, settings: room::Settings, tools: Arc<Tools>) -> Arc<Self> {
        let state = State {
            room: Room::new(id.clone(), settings),
            connections: BTreeMap::new(),
            attending: BTreeMap::new(),
            broadcast: None,
            preview: None,
            live: None,
            ended_at: None,
            last_recording: None,
            refused: None,
        };
        Arc::new(Self {
            id,
            tools,
            state: Mutex::new(state),
            roster: watch::Sender::default(),
            said: broadcast::Sender::new(MAX_SAID),
        })
    }

    pub fn id(&self) -> &RoomId {
        &self.id
    }

    /// Lets someone in. The receiver says where their tracks go, from now to the end.
    pub fn join(self: &Arc<Self>, visitor: Visitor) -> Result<watch::Receiver<Routes>, Refused> {
        let session = visitor.session;
        let mut state = self.lock();
        let (routes, receiver) = watch::channel(Routes::default());
        let connection = Connection {
            id: None,
            tracks: BTreeMap::new(),
            demands: BTreeMap::new(),
            routes,
        };
        state.connections.insert(session, connection);
        let fresh = ParticipantId(Uuid::new_v4());
        let command = Command::Join { fresh, visitor };
        let joined = self.carry_out(&mut state, command);
        if joined.is_err() {
            state.connections.remove(&session);
        }
        joined.map(|()| receiver)
    }

    /// Lets someone see and hear the others, until [`Command::Unattend`].
    pub fn attend(self: &Arc<Self>, visitor: Visitor) -> Result<ParticipantId, Refused> {
        let session = visitor.session;
        let command = Command::Attend {
            fresh: ParticipantId(Uuid::new_v4()),
            visitor,
        };
        let mut state = self.lock();
        self.carry_out(&mut state, command)?;
        let mut participants = state.room.participants().into_iter();
        let attends = participants.find(|p| p.attending == Some(session));
        attends.map(|p| p.id).ok_or(Refused::StaleSession)
    }

    pub fn is_attended_by(&self, session: Session) -> bool {
        let state = self.lock();
        let mut participants = state.room.participants().into_iter();
        participants.any(|p| p.attending == Some(session))
    }

    /// The room as it is and will be.
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.subscribe()
    }

    /// What is said in the room from now on.
    pub fn said(&self) -> broadcast::Receiver<Arc<Said>> {
        self.said.subscribe()
    }

    pub fn say(&self, said: Said) {
        // Nobody may be there to hear it.
        let _ = self.said.send(Arc::new(said));
    }

    /// The transport's name for a session's connection, once it has one.
    pub fn connection_opened(self: &Arc<Self>, session: Session, id: ConnectionId) {
        let mut state = self.lock();
        match state.connections.get_mut(&session) {
            Some(connection) => {
                connection.id = Some(id);
                self.tell_roster(&state);
            }
            // Replaced in the meantime: nobody wants this connection any more.
            None => self.tools.rtc.close(id),
        }
    }

    pub fn track_started(self: &Arc<Self>, session: Session, info: TrackInfo) {
        let mut state = self.lock();
        let number = TrackNumber(info.id.0);
        let track = crate::room::Track {
            kind: info.kind,
            source: TrackSource::of(info.kind, info.is_screen),
            codec: info.codec,
            muted: false,
            kept_out: false,
        };
        if let Some(connection) = state.connections.get_mut(&session) {
            connection.tracks.insert(number, info);
        }
        let _ = self.carry_out(
            &mut state,
            Command::TrackStarted {
                session,
                number,
                track,
            },
        );
    }

    /// The connection by which an attending session sees and hears the others.
    pub fn attends_by(&self, session: Session, id: ConnectionId) {
        self.lock().attending.insert(session, id);
    }

    /// Remembers why a connection of a participant failed.
    pub fn connection_failed(&self, session: Session, verdict: Verdict) {
        let state = self.lock();
        let mut participants = state.room.participants().into_iter();
        let whose = participants
            .find(|p| p.presence.session() == Some(session) || p.attending == Some(session));
        let Some((participant, name, role)) = whose.map(|p| (p.id, p.name.clone(), p.role)) else {
            return;
        };
        let failure = verdict.failure.name();
        warn!(room = %self.id, %participant, name, failure, "a participant's connection failed");
        metrics::counter!(crate::metrics::RTC_FAILURES, "kind" => failure).increment(1);
        self.tools.failures.remember(Failed {
            room: self.id.clone(),
            participant,
            name,
            role,
            at: Utc::now(),
            verdict,
        });
    }

    pub fn participant(&self, id: ParticipantId) -> Option<Present> {
        let state = self.lock();
        let mut participants = state.room.participants().into_iter();
        let participant = participants.find(|p| p.id == id)?.clone();
        let session = participant.presence.session();
        let attending = participant.attending;
        Some(Present {
            publishes_by: session.and_then(|session| state.connections.get(&session)?.id),
            attends_by: attending.and_then(|session| state.attending.get(&session).copied()),
            on_stage: state.room.stage().is_on(id),
            participant,
        })
    }

    /// Who plays a track in real time now.
    pub fn demanded(&self, session: Session, number: TrackNumber, demand: Demand) {
        let mut state = self.lock();
        if let Some(connection) = state.connections.get_mut(&session) {
            connection.demands.insert(number, demand);
            self.tell_roster(&state);
        }
    }

    /// What happened to a connection. News of a connection that was replaced is no news.
    pub fn tell(self: &Arc<Self>, command: Command) {
        let mut state = self.lock();
        let gone = match command {
            Command::Left(session) | Command::Lost(session) => Some(session),
            Command::Unattend(session) => {
                state.attending.remove(&session);
                None
            }
            _ => None,
        };
        let _ = self.carry_out(&mut state, command);
        if let Some(session) = gone {
            state.connections.remove(&session);
        }
    }

    pub fn start_broadcast(self: &Arc<Self>) -> Result<BroadcastId, Refused> {
        let mut state = self.lock();
        if state.room.broadcast().is_none() {
            let admitted = self.tools.costs.admit();
            admitted.map_err(|refused| Refused::TooCostly(refused.to_string()))?;
        }
        let id = BroadcastId(Uuid::now_v7());
        self.carry_out(&mut state, Command::StartBroadcast(id))
            .map(|()| id)
    }

    /// Shows what the program would be with these.
    pub fn preview(self: &Arc<Self>, directions: Vec<Direction>) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.room.broadcast().is_some() && state.preview.is_none() {
            let admitted = self.tools.costs.admit();
            admitted.map_err(|refused| Refused::TooCostly(refused.to_string()))?;
        }
        self.carry_out(&mut state, Command::Preview(directions))
    }

    pub fn stop_broadcast(self: &Arc<Self>) -> Result<(), Refused> {
        self.carry_out(&mut self.lock(), Command::StopBroadcast)
    }

    /// Carries out what a producer asks of the stage, as one change; up to the first that is refused.
    pub fn direct(self: &Arc<Self>, commands: Vec<Command>) -> Result<(), Refused> {
        let (mut state, now) = (self.lock(), Instant::now());
        let mut commands = commands.into_iter();
        let done = commands.try_for_each(|command| state.room.handle(command, now));
        self.carry_events(&mut state);
        done
    }

    pub fn handle_timeout(self: &Arc<Self>, now: Instant) {
        let mut state = self.lock();
        state.room.handle_timeout(now);
        self.carry_events(&mut state);
        if state.refused.is_some() {
            self.try_again(&mut state, now);
        }
        let has_stayed = |composition: &Composition| composition.has_stayed(now);
        if state.compositions().any(has_stayed) {
            state.route();
        }
        let preview = state.preview.as_mut();
        if preview.is_some_and(|preview| preview.is_forgotten(now)) {
            let _ = self.carry_out(&mut state, Command::EndPreview);
        }
    }

    pub fn refused(&self) -> Option<String> {
        self.lock().refused.clone()
    }

    /// The broadcast that did not fit before, if somebody is still here who publishes.
    fn try_again(self: &Arc<Self>, state: &mut State, now: Instant) {
        let publishes =
            |participant: &&Participant| matches!(participant.presence, Presence::Connected(_));
        let is_due =
            state.room.broadcast().is_none() && state.room.participants().iter().any(publishes);
        if is_due && self.tools.costs.admit().is_err() {
            return;
        }
        state.refused = None;
        if is_due {
            let command = Command::StartBroadcast(BroadcastId(Uuid::now_v7()));
            // Due only while none runs, so it cannot be refused.
            let _ = state.room.handle(command, now);
            self.carry_events(state);
        }
    }

    /// Ends the broadcast; its task goes on until the recording is complete.
    pub fn close(self: &Arc<Self>) {
        let _ = self.carry_out(&mut self.lock(), Command::StopBroadcast);
    }

    /// Called by the broadcast itself: its recording, if it has one, can be played.
    pub fn broadcast_ended(&self, recording: Option<BroadcastId>) {
        let mut state = self.lock();
        state.ended_at = Some(Instant::now());
        if let Some(recording) = recording {
            state.last_recording = Some(recording);
            let completed = Happened::RecordingCompleted { recording };
            self.tools.news.tell(&self.id, completed);
        }
    }

    pub fn stats(&self) -> RoomStats {
        let state = self.lock();
        let participants = state.room.participants();
        let publishing = participants
            .iter()
            .filter(|one| one.presence.is_publishing());
        RoomStats {
            participants: participants.len(),
            publishers: publishing.count(),
            broadcast: state
                .broadcast
                .as_ref()
                .map(|broadcast| broadcast.stats(&self.tools)),
        }
    }

    /// Who publishes, and by which connection.
    pub fn publishers(&self) -> Vec<(ParticipantId, ConnectionId)> {
        let state = self.lock();
        let participants = state.room.participants().into_iter();
        let by = |one: &Participant| {
            let connection = state.connections.get(&one.presence.session()?)?;
            Some((one.id, connection.id?))
        };
        participants.filter_map(by).collect()
    }

    pub fn request_key_frame(&self, bus: Bus, input: InputId) {
        let state = self.lock();
        let composition = state.composition(bus);
        let Some((session, number)) = composition.and_then(|of| of.track(input)) else {
            return;
        };
        if let Some(id) = state.connections.get(&session).and_then(|c| c.id) {
            self.tools.rtc.request_key_frame(id, TrackId(number.0));
        }
    }

    /// The program crashes for an input, and goes on without it.
    pub fn keep_out(self: &Arc<Self>, input: InputId) {
        let mut state = self.lock();
        let composition = state.composition(Bus::Program);
        if let Some((session, number)) = composition.and_then(|of| of.track(input)) {
            let keep_out = Command::KeepOut { session, number };
            let _ = self.carry_out(&mut state, keep_out);
        }
    }

    /// As [`Self::request_key_frame`], by the publisher's own connection.
    pub fn request_key_frame_of(&self, session: Session, number: TrackNumber) {
        let id = self.lock().connections.get(&session).and_then(|c| c.id);
        if let Some(id) = id {
            self.tools.rtc.request_key_frame(id, TrackId(number.0));
        }
    }

    pub fn live(&self) -> Option<Arc<Live>> {
        self.lock().live.clone()
    }

    pub fn is_live(&self) -> bool {
        self.lock().room.broadcast().is_some()
    }

    pub fn participant_count(&self) -> usize {
        self.lock().room.participants().len()
    }

    pub fn may_be_forgotten(&self, now: Instant) -> bool {
        let state = self.lock();
        let linger = self.tools.ended_for;
        state.room.is_idle()
            && state.broadcast.is_none()
            && state
                .ended_at
                .is_none_or(|at| now.saturating_duration_since(at) > linger)
    }

    /// What the API shows of the room.
    pub fn show<T>(
        &self,
        f: impl FnOnce(&Room, Option<&Broadcast>, Option<BroadcastId>) -> T,
    ) -> T {
        let state = self.lock();
        f(&state.room, state.broadcast.as_ref(), state.last_recording)
    }

    fn carry_out(self: &Arc<Self>, state: &mut State, command: Command) -> Result<(), Refused> {
        state.room.handle(command, Instant::now())?;
        self.carry_events(state);
        Ok(())
    }

    fn carry_events(self: &Arc<Self>, state: &mut State) {
        let mut changed = false;
        while let Some(event) = state.room.poll_event() {
            changed = true;
            match &event {
                // Chatter, several times a minute.
                Event::SpeakerChanged(_) => debug!(room = %self.id, ?event, "room"),
                event => info!(room = %self.id, ?event, "room"),
            }
            if let Some(happened) = Happened::of(&event, &state.room) {
                self.tools.news.tell(&self.id, happened);
            }
            match event {
                Event::ParticipantReturned {
                    replaced: Some(old),
                    ..
                } => {
                    let id = state.connections.remove(&old).and_then(|c| c.id);
                    if let Some(id) = id {
                        self.tools.rtc.close(id);
                    }
                }
                Event::BroadcastDue => {
                    if let Err(refused) = self.tools.costs.admit() {
                        warn!(room = %self.id, %refused, "the room is not live");
                        state.refused = Some(refused.to_string());
                        continue;
                    }
                    let id = BroadcastId(Uuid::now_v7());
                    // Due only while none runs, so it cannot be refused.
                    let _ = state
                        .room
                        .handle(Command::StartBroadcast(id), Instant::now());
                }
                Event::BroadcastStarted(id) => {
                    self.tools.costs.begin(Costly::Broadcast(id));
                    state.refused = None;
                    let settings = state.room.settings();
                    let broadcast = Broadcast::start(id, settings, self.clone(), &self.tools);
                    state.live = Some(broadcast.live());
                    state.ended_at = None;
                    state.broadcast = Some(broadcast);
                }
                Event::BroadcastStopped(_) => {
                    if let Some(broadcast) = state.broadcast.take() {
                        // Its playlist is still served while it ends, and for a while after.
                        state.ended_at = Some(Instant::now());
                        broadcast.stop();
                    }
                }
                Event::ParticipantRemoved { publishing, .. } => {
                    let connection = publishing.and_then(|s| state.connections.remove(&s));
                    if let Some(id) = connection.and_then(|c| c.id) {
                        self.tools.rtc.close(id);
                    }
                }
                Event::ParticipantJoined { .. }
                | Event::ParticipantMuted { .. }
                | Event::ParticipantRenamed { .. }
                | Event::RoleChanged { .. }
                | Event::ParticipantAttends { .. }
                | Event::PublishingEnded { .. }
                | Event::SpeakerChanged(_)
                | Event::ParticipantReturned { .. }
                | Event::ParticipantAway { .. }
                | Event::ParticipantLeft { .. }
                | Event::TrackStarted { .. }
                | Event::TrackMuted { .. }
                | Event::TrackKeptOut { .. }
                | Event::TrackEnded { .. }
                | Event::LayoutChanged(_)
                | Event::PassthroughChanged(_)
                | Event::SlateChanged(_)
                | Event::Pinned(_)
                | Event::StageChanged { .. } => {}
                Event::OrderChanged => {
                    let compositions = state.compositions_mut();
                    compositions.for_each(Composition::arrange_anew);
                }
                Event::PreviewChanged { on: false } => state.preview = None,
                Event::PreviewChanged { on: true } => {
                    if let (None, Some(broadcast)) = (&state.preview, &state.broadcast) {
                        let of = (broadcast.id, broadcast.ladder());
                        state.preview = Some(Preview::start(of, self.clone(), &self.tools));
                    }
                }
            }
        }
        if changed {
            state.route();
            self.tell_roster(state);
        }
    }

    fn tell_roster(&self, state: &State) {
        let roster = state.roster();
        self.roster.send_if_modified(|now| {
            let changed = **now != roster;
            if changed {
                *now = Arc::new(roster);
            }
            changed
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
