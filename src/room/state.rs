//! One room: who is in it, what they publish, and whether it is live.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::event::{Command, Event, Refused, Visitor};
use super::id::{BroadcastId, ParticipantId, RoomId};
use super::participant::{Participant, Presence, Session};
use super::speaker::Speakers;
use super::stage::{Direction, MAX_SLATE_CHARS, Stage, Transition};
use super::track::{MediaKind, TrackSource};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub max_participants: usize,
    /// How long the place of a participant who vanished is kept.
    pub away_for: Duration,
    /// The broadcast starts with the first publisher and stops with the last.
    pub auto_broadcast: bool,
    /// The names of the layouts that the program can be arranged by.
    pub layouts: Vec<String>,
    /// What programs begin with.
    pub layout: String,
    pub transition: Transition,
    pub passthrough: bool,
    /// The set of renditions of the next broadcast, if not that of all others.
    pub ladder: Option<String>,
    /// Whether broadcasts are recorded, where that is done at all.
    pub record: bool,
    /// Who watches them, or what they leave behind, has to be let in.
    pub private: bool,
    /// How long what they leave behind is kept, if not as long as all others.
    pub keep_for: Option<Duration>,
}

/// A room's state. Commands come in by [`Room::handle`], events go out by [`Room::poll_event`].
#[derive(Debug)]
pub struct Room {
    id: RoomId,
    settings: Settings,
    participants: BTreeMap<ParticipantId, Participant>,
    speakers: Speakers,
    stage: Stage,
    /// What a producer would like to see before it is taken.
    preview: Option<Vec<Direction>>,
    broadcast: Option<BroadcastId>,
    events: VecDeque<Event>,
    next_place: u64,
    /// What a producer muted of those who left, by identity: leaving is no way around it.
    muted_before: BTreeMap<String, BTreeSet<TrackSource>>,
    /// Settings came while it was live: the next program begins with them.
    begins_anew: bool,
    is_deleted: bool,
}

impl Room {
    pub fn new(id: RoomId, settings: Settings) -> Self {
        Self {
            id,
            stage: Stage::new(&settings),
            settings,
            preview: None,
            participants: BTreeMap::new(),
            speakers: Speakers::default(),
            broadcast: None,
            events: VecDeque::new(),
            next_place: 0,
            muted_before: BTreeMap::new(),
            begins_anew: false,
            is_deleted: false,
        }
    }

    pub fn id(&self) -> &RoomId {
        &self.id
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn broadcast(&self) -> Option<BroadcastId> {
        self.broadcast
    }

    pub fn speaking(&self) -> Option<ParticipantId> {
        self.speakers.speaking()
    }

    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The stage as it would be, while a producer looks at that.
    pub fn preview(&self) -> Option<Stage> {
        let directions = self.preview.as_ref()?;
        Some(self.stage.preview(directions))
    }

    /// In the order of the stage.
    pub fn participants(&self) -> Vec<&Participant> {
        let mut all: Vec<_> = self.participants.values().collect();
        all.sort_by_key(|participant| participant.place);
        all
    }

    /// Whether nobody is here and nothing runs, so that the room may be forgotten.
    pub fn is_idle(&self) -> bool {
        self.participants.is_empty() && self.broadcast.is_none()
    }

    pub fn handle(&mut self, command: Command, now: Instant) -> Result<(), Refused> {
        match command {
            Command::Join { .. } | Command::Attend { .. } | Command::StartBroadcast(_)
                if self.is_deleted =>
            {
                return Err(Refused::Deleted);
            }
            Command::Join { fresh, visitor } => {
                if !visitor.role.may_publish() {
                    return Err(Refused::MayNotPublish(visitor.role));
                }
                let presence = Presence::Joining(visitor.session);
                match self.of_identity(visitor.identity.as_deref()) {
                    Some(id) => self.take_place_again(id, visitor),
                    None => self.take_place(fresh, presence, None, visitor)?,
                }
            }
            Command::Attend { fresh, visitor } => {
                if !visitor.role.may_attend() {
                    return Err(Refused::MayNotAttend(visitor.role));
                }
                let known = self.of_identity(visitor.identity.as_deref());
                let Some(participant) = known.and_then(|id| self.participants.get_mut(&id)) else {
                    let attending = Some(visitor.session);
                    let presence = Presence::Attending;
                    return self.take_place(fresh, presence, attending, visitor);
                };
                participant.name = visitor.name;
                let replaced = participant.attending.replace(visitor.session);
                self.events.push_back(Event::ParticipantAttends {
                    participant: participant.id,
                    replaced,
                });
            }
            Command::Unattend(session) => {
                let mut all = self.participants.values_mut();
                let participant = all
                    .find(|participant| participant.attending == Some(session))
                    .ok_or(Refused::StaleSession)?;
                participant.attending = None;
                let (id, presence) = (participant.id, participant.presence);
                if presence == Presence::Attending {
                    self.remove(id);
                }
            }
            Command::Level { session, level } => {
                let participant = self.of_session(session)?;
                let id = participant.id;
                if participant.is_withheld(TrackSource::Microphone) {
                    return Ok(());
                }
                if self.speakers.hear(id, level, now) {
                    self.tell_speaker();
                }
            }
            Command::Connected(session) => {
                self.of_session(session)?.presence = Presence::Connected(session);
                if self.settings.auto_broadcast && self.broadcast.is_none() {
                    self.events.push_back(Event::BroadcastDue);
                }
            }
            Command::TrackStarted {
                session,
                number,
                track,
            } => {
                let participant = self.of_session(session)?;
                let (id, before) = (
                    participant.id,
                    participant.tracks.insert(number, track.clone()),
                );
                if before.is_some() {
                    self.events.push_back(Event::TrackEnded {
                        participant: id,
                        session,
                        number,
                    });
                }
                self.events.push_back(Event::TrackStarted {
                    participant: id,
                    session,
                    number,
                    track,
                });
            }
            Command::TrackMuted {
                session,
                number,
                muted,
            } => {
                let participant = self.of_session(session)?;
                let id = participant.id;
                if let Some(track) = participant.tracks.get_mut(&number)
                    && track.muted != muted
                {
                    track.muted = muted;
                    let is_voice = track.kind == MediaKind::Audio;
                    let event = Event::TrackMuted {
                        participant: id,
                        session,
                        number,
                        muted,
                    };
                    self.events.push_back(event);
                    if muted && is_voice && self.speakers.forget(id) {
                        self.tell_speaker();
                    }
                }
            }
            Command::KeepOut { session, number } => {
                let participant = self.of_session(session)?;
                let id = participant.id;
                if let Some(track) = participant.tracks.get_mut(&number)
                    && !std::mem::replace(&mut track.kept_out, true)
                {
                    self.events.push_back(Event::TrackKeptOut {
                        participant: id,
                        session,
                        number,
                    });
                }
            }
            Command::Left(session) => {
                let id = self.of_session(session)?.id;
                self.end_tracks(id, session);
                self.stop_publishing(id);
            }
            Command::Lost(session) => {
                let participant = self.of_session(session)?;
                let (id, was) = (participant.id, participant.presence);
                participant.presence = Presence::Away { since: now };
                self.end_tracks(id, session);
                match was {
                    Presence::Connected(_) => {
                        self.events
                            .push_back(Event::ParticipantAway { participant: id });
                    }
                    Presence::Joining(_) | Presence::Away { .. } | Presence::Attending => {
                        self.stop_publishing(id);
                    }
                }
            }
            Command::Mute {
                participant: id,
                sources,
            } => {
                let participant = self.participants.get_mut(&id);
                let participant = participant.ok_or(Refused::NoSuchParticipant)?;
                if participant.muted != sources {
                    participant.muted = sources.clone();
                    let is_silent = sources.contains(&TrackSource::Microphone);
                    self.events.push_back(Event::ParticipantMuted {
                        participant: id,
                        sources,
                    });
                    if is_silent && self.speakers.forget(id) {
                        self.tell_speaker();
                    }
                }
            }
            Command::Rename {
                participant: id,
                name,
            } => {
                let participant = self.participants.get_mut(&id);
                let participant = participant.ok_or(Refused::NoSuchParticipant)?;
                if participant.name != name {
                    participant.name = name;
                    let renamed = Event::ParticipantRenamed { participant: id };
                    self.events.push_back(renamed);
                }
            }
            Command::SetRole {
                participant: id,
                role,
            } => {
                let participant = self.participants.get_mut(&id);
                let participant = participant.ok_or(Refused::NoSuchParticipant)?;
                if !role.may_attend() {
                    return self.send_away(id);
                }
                if !role.may_publish() && participant.presence.is_publishing() {
                    return Err(Refused::StillPublishes(role));
                }
                if participant.role != role {
                    participant.role = role;
                    let changed = Event::RoleChanged {
                        participant: id,
                        role,
                    };
                    self.events.push_back(changed);
                }
            }
            Command::Configure(settings) => {
                self.settings = *settings;
                match self.broadcast {
                    Some(_) => self.begins_anew = true,
                    None => self.stage.begin_with(&self.settings),
                }
            }
            Command::Remove(id) => self.send_away(id)?,
            Command::Delete => {
                self.is_deleted = true;
                let all: Vec<_> = self.participants.keys().copied().collect();
                all.into_iter().try_for_each(|id| self.send_away(id))?;
                if let Some(broadcast) = self.broadcast {
                    self.stopped(broadcast);
                }
            }
            Command::SetTransition(transition) => self.stage.set_transition(transition),
            Command::SetPassthrough(passthrough) => {
                if self.stage.passthrough() != passthrough {
                    self.stage.set_passthrough(passthrough);
                    let event = Event::PassthroughChanged(passthrough);
                    self.events.push_back(event);
                }
            }
            Command::Direct(direction) => {
                self.check(&direction)?;
                self.direct(direction);
            }
            Command::Preview(directions) => {
                if self.broadcast.is_none() {
                    return Err(Refused::NotLive);
                }
                directions.iter().try_for_each(|d| self.check(d))?;
                if self.preview.as_ref() != Some(&directions) {
                    self.preview = Some(directions);
                    self.events.push_back(Event::PreviewChanged { on: true });
                }
            }
            Command::Take => {
                let preview = self.preview.as_mut().ok_or(Refused::NoPreview)?;
                let directions = std::mem::take(preview);
                directions.into_iter().for_each(|d| self.direct(d));
            }
            Command::EndPreview => {
                self.preview.take().ok_or(Refused::NoPreview)?;
                self.events.push_back(Event::PreviewChanged { on: false });
            }
            Command::Move { participant, place } => self.move_to(participant, place)?,
            Command::StartBroadcast(broadcast) => {
                if self.broadcast.is_some() {
                    return Err(Refused::AlreadyLive);
                }
                self.broadcast = Some(broadcast);
                self.events.push_back(Event::BroadcastStarted(broadcast));
            }
            Command::StopBroadcast => {
                let broadcast = self.broadcast.ok_or(Refused::NotLive)?;
                self.stopped(broadcast);
            }
            Command::BroadcastFailed(broadcast) => {
                if self.broadcast == Some(broadcast) {
                    self.stopped(broadcast);
                }
            }
        }
        Ok(())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let gone: Vec<_> = self
            .participants
            .values()
            .filter(|participant| self.leaves_at(participant).is_some_and(|at| at <= now))
            .map(|participant| participant.id)
            .collect();
        for id in gone {
            self.stop_publishing(id);
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.participants
            .values()
            .filter_map(|participant| self.leaves_at(participant))
            .min()
            .map(|at| (at, "a vanished participant's place is given up"))
    }

    fn of_identity(&self, identity: Option<&str>) -> Option<ParticipantId> {
        let identity = identity?;
        let mut all = self.participants.values();
        let found = all.find(|p| p.identity.as_deref() == Some(identity));
        found.map(|p| p.id)
    }

    /// The places of all between are those of the stage's order, dealt anew.
    fn move_to(&mut self, id: ParticipantId, place: usize) -> Result<(), Refused> {
        let mut order: Vec<ParticipantId> = self.participants().iter().map(|p| p.id).collect();
        let from = order.iter().position(|other| *other == id);
        let from = from.ok_or(Refused::NoSuchParticipant)?;
        let to = place.min(order.len() - 1);
        if from == to {
            return Ok(());
        }
        let moved = order.remove(from);
        order.insert(to, moved);
        let places: Vec<u64> = self.participants().iter().map(|p| p.place).collect();
        for (id, place) in order.into_iter().zip(places) {
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.place = place;
            }
        }
        self.events.push_back(Event::OrderChanged);
        Ok(())
    }

    fn tell_speaker(&mut self) {
        let speaking = self.speakers.speaking();
        self.stage.hear(speaking);
        self.events.push_back(Event::SpeakerChanged(speaking));
    }

    fn take_place(
        &mut self,
        id: ParticipantId,
        presence: Presence,
        attending: Option<Session>,
        visitor: Visitor,
    ) -> Result<(), Refused> {
        if self.participants.len() >= self.settings.max_participants {
            return Err(Refused::Full(self.settings.max_participants));
        }
        let place = self.next_place;
        self.next_place += 1;
        let tracks = BTreeMap::new();
        let before = visitor.identity.as_deref();
        let muted = before.and_then(|identity| self.muted_before.remove(identity));
        let muted = muted.unwrap_or_default();
        self.participants.insert(
            id,
            Participant {
                id,
                identity: visitor.identity,
                name: visitor.name,
                role: visitor.role,
                presence,
                attending,
                tracks,
                muted,
                publish: visitor.publish,
                place,
            },
        );
        self.events
            .push_back(Event::ParticipantJoined { participant: id });
        Ok(())
    }

    fn take_place_again(&mut self, id: ParticipantId, visitor: Visitor) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let replaced = participant.presence.session();
        participant.presence = Presence::Joining(visitor.session);
        participant.name = visitor.name;
        participant.role = visitor.role;
        participant.publish = visitor.publish;
        if let Some(old) = replaced {
            self.end_tracks(id, old);
        }
        self.events.push_back(Event::ParticipantReturned {
            participant: id,
            replaced,
        });
    }

    fn send_away(&mut self, id: ParticipantId) -> Result<(), Refused> {
        let participant = self.participants.get(&id);
        let participant = participant.ok_or(Refused::NoSuchParticipant)?;
        let publishing = participant.presence.session();
        self.events.push_back(Event::ParticipantRemoved {
            participant: id,
            publishing,
        });
        if let Some(session) = publishing {
            self.end_tracks(id, session);
        }
        self.remove(id);
        Ok(())
    }

    fn end_tracks(&mut self, id: ParticipantId, session: Session) {
        let tracks = self
            .participants
            .get_mut(&id)
            .map(|participant| std::mem::take(&mut participant.tracks));
        for number in tracks.unwrap_or_default().into_keys() {
            self.events.push_back(Event::TrackEnded {
                participant: id,
                session,
                number,
            });
        }
    }

    /// Who attends stays; who only published leaves.
    fn stop_publishing(&mut self, id: ParticipantId) {
        match self.participants.get_mut(&id) {
            Some(participant) if participant.attending.is_some() => {
                participant.presence = Presence::Attending;
                self.events
                    .push_back(Event::PublishingEnded { participant: id });
                if self.speakers.forget(id) {
                    self.tell_speaker();
                }
                self.stop_with_the_last();
            }
            _ => self.remove(id),
        }
    }

    fn remove(&mut self, id: ParticipantId) {
        if let Some(gone) = self.participants.remove(&id)
            && let Some(identity) = gone.identity.filter(|_| !gone.muted.is_empty())
        {
            self.muted_before.insert(identity, gone.muted);
        }
        if let Some(preview) = &mut self.preview {
            preview.retain(|direction| match direction {
                Direction::Pin(participant) => *participant != Some(id),
                Direction::Put { participant, .. } => *participant != id,
                Direction::Layout(_) | Direction::Slate(_) => true,
            });
        }
        let was_pinned = self.stage.pinned() == Some(id);
        self.stage.forget(id);
        if was_pinned {
            self.events.push_back(Event::Pinned(None));
        }
        self.events
            .push_back(Event::ParticipantLeft { participant: id });
        if self.speakers.forget(id) {
            self.tell_speaker();
        }
        self.stop_with_the_last();
    }

    fn stop_with_the_last(&mut self) {
        let mut participants = self.participants.values();
        let is_over = !participants.any(|participant| participant.presence.is_publishing());
        if self.settings.auto_broadcast
            && is_over
            && let Some(broadcast) = self.broadcast
        {
            self.stopped(broadcast);
        }
    }

    fn stopped(&mut self, broadcast: BroadcastId) {
        self.broadcast = None;
        if std::mem::take(&mut self.begins_anew) {
            self.stage.begin_with(&self.settings);
        }
        if self.preview.take().is_some() {
            self.events.push_back(Event::PreviewChanged { on: false });
        }
        self.events.push_back(Event::BroadcastStopped(broadcast));
    }

    fn check(&self, direction: &Direction) -> Result<(), Refused> {
        let is_here = |id: &ParticipantId| self.participants.contains_key(id);
        match direction {
            Direction::Layout(name) if !self.settings.layouts.contains(name) => {
                Err(Refused::NoSuchLayout {
                    name: name.clone(),
                    known: self.settings.layouts.join(", "),
                })
            }
            Direction::Slate(Some(text))
                if !(1..=MAX_SLATE_CHARS).contains(&text.trim().chars().count()) =>
            {
                Err(Refused::BadSlate)
            }
            Direction::Pin(Some(participant)) | Direction::Put { participant, .. }
                if !is_here(participant) =>
            {
                Err(Refused::NoSuchParticipant)
            }
            _ => Ok(()),
        }
    }

    fn direct(&mut self, direction: Direction) {
        if !self.stage.direct(&direction) {
            return;
        }
        self.events.push_back(match direction {
            Direction::Layout(name) => Event::LayoutChanged(name),
            Direction::Slate(slate) => Event::SlateChanged(slate),
            Direction::Pin(participant) => Event::Pinned(participant),
            Direction::Put { participant, on } => Event::StageChanged { participant, on },
        });
    }

    fn of_session(&mut self, session: Session) -> Result<&mut Participant, Refused> {
        self.participants
            .values_mut()
            .find(|participant| participant.presence.session() == Some(session))
            .ok_or(Refused::StaleSession)
    }

    fn leaves_at(&self, participant: &Participant) -> Option<Instant> {
        match participant.presence {
            Presence::Away { since } => since.checked_add(self.settings.away_for),
            Presence::Attending | Presence::Joining(_) | Presence::Connected(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
