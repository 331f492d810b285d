//! What a room is told, and what it tells.

use std::collections::BTreeSet;

use super::id::{BroadcastId, ParticipantId};
use super::participant::{Role, Session, Track, TrackNumber};
use super::stage::{Direction, MAX_SLATE_CHARS, Transition};
use super::state::Settings;
use super::track::TrackSource;

/// A change asked of a room, or something that happened to one of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Someone wants to publish. With an `identity` that is already in the room, they take
    /// their place again and `fresh` is not used.
    Join {
        fresh: ParticipantId,
        visitor: Visitor,
    },
    /// Someone comes to see and hear the others; with an `identity` that is already in the room,
    /// it is they.
    Attend {
        fresh: ParticipantId,
        visitor: Visitor,
    },
    /// They do not any more.
    Unattend(Session),
    /// A microphone's level (RFC 6464), in -dBov.
    Level {
        session: Session,
        level: u8,
    },
    /// The connection is made; media may flow.
    Connected(Session),
    TrackStarted {
        session: Session,
        number: TrackNumber,
        track: Track,
    },
    /// A track stalls or resumes.
    TrackMuted {
        session: Session,
        number: TrackNumber,
        muted: bool,
    },
    /// The program cannot have a track: it crashes for it.
    KeepOut {
        session: Session,
        number: TrackNumber,
    },
    /// The participant said goodbye.
    Left(Session),
    /// The participant vanished.
    Lost(Session),
    /// A producer mutes what of someone comes from these, and lets all else be heard and seen again.
    Mute {
        participant: ParticipantId,
        sources: BTreeSet<TrackSource>,
    },
    /// A producer calls someone otherwise, until they come back by another name.
    Rename {
        participant: ParticipantId,
        name: String,
    },
    /// A producer makes someone something else. Who may not attend by it has to leave.
    SetRole {
        participant: ParticipantId,
        role: Role,
    },
    /// What holds for the room from now on; what a program begins with, from the next broadcast on.
    Configure(Box<Settings>),
    /// All have to leave, the broadcast ends, and nobody may come any more.
    Delete,
    /// Someone has to leave.
    Remove(ParticipantId),
    Direct(Direction),
    /// Shows a producer what the program would be with these, before they are taken.
    Preview(Vec<Direction>),
    /// Directs the program as the preview shows it. The preview goes on.
    Take,
    EndPreview,
    /// How the program changes from now on.
    SetTransition(Transition),
    /// Whether a picture that is alone on stage may be shown as its publisher encoded it.
    SetPassthrough(bool),
    /// Gives someone another place in the order of the stage; 0 is the first.
    Move {
        participant: ParticipantId,
        place: usize,
    },
    StartBroadcast(BroadcastId),
    StopBroadcast,
    /// The program could not go on.
    BroadcastFailed(BroadcastId),
}

/// Who comes into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    pub session: Session,
    pub identity: Option<String>,
    pub name: String,
    pub role: Role,
    /// What they may publish at most; all else of theirs reaches nobody.
    pub publish: BTreeSet<TrackSource>,
}

/// What happened in a room, in order. Everything else learns of it from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    ParticipantJoined {
        participant: ParticipantId,
    },
    /// The participant has a new connection; the old one, if it still stands, must be closed.
    ParticipantReturned {
        participant: ParticipantId,
        replaced: Option<Session>,
    },
    ParticipantAway {
        participant: ParticipantId,
    },
    ParticipantLeft {
        participant: ParticipantId,
    },
    /// Has to leave; the connection by which they publish, if it still stands, must be closed. Their session
    /// sees that its place is gone.
    ParticipantRemoved {
        participant: ParticipantId,
        publishing: Option<Session>,
    },
    /// What of theirs a producer muted, in all.
    ParticipantMuted {
        participant: ParticipantId,
        sources: BTreeSet<TrackSource>,
    },
    ParticipantRenamed {
        participant: ParticipantId,
    },
    RoleChanged {
        participant: ParticipantId,
        role: Role,
    },
    /// Publishes no more, and still attends.
    PublishingEnded {
        participant: ParticipantId,
    },
    /// Attends from another session now; the old one, if it still stands, must be closed.
    ParticipantAttends {
        participant: ParticipantId,
        replaced: Option<Session>,
    },
    /// Who speaks; nobody does after a while of silence.
    SpeakerChanged(Option<ParticipantId>),
    TrackStarted {
        participant: ParticipantId,
        session: Session,
        number: TrackNumber,
        track: Track,
    },
    TrackMuted {
        participant: ParticipantId,
        session: Session,
        number: TrackNumber,
        muted: bool,
    },
    /// The program goes on without it.
    TrackKeptOut {
        participant: ParticipantId,
        session: Session,
        number: TrackNumber,
    },
    TrackEnded {
        participant: ParticipantId,
        session: Session,
        number: TrackNumber,
    },
    LayoutChanged(String),
    PassthroughChanged(bool),
    SlateChanged(Option<String>),
    Pinned(Option<ParticipantId>),
    /// The preview is another, or is no more.
    PreviewChanged {
        on: bool,
    },
    /// Someone is part of the program now, or is not any more.
    StageChanged {
        participant: ParticipantId,
        on: bool,
    },
    /// The order of the stage is another.
    OrderChanged,
    /// The room wants a broadcast: answer with [`Command::StartBroadcast`].
    BroadcastDue,
    BroadcastStarted(BroadcastId),
    BroadcastStopped(BroadcastId),
}

/// Why a room does not do as it is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the room is full: it takes {0} participants")]
    Full(usize),
    #[error("a {0:?} may not publish")]
    MayNotPublish(Role),
    #[error("a {0:?} may not join the stage")]
    MayNotAttend(Role),
    #[error("they publish, and a {0:?} may not: take them out of the room first")]
    StillPublishes(Role),
    #[error("there is no layout `{name}`: there are {known}")]
    NoSuchLayout { name: String, known: String },
    #[error("a slate has 1 to {MAX_SLATE_CHARS} characters, or is null")]
    BadSlate,
    #[error("nobody of this id is in the room")]
    NoSuchParticipant,
    #[error("{0}")]
    TooCostly(String),
    #[error(
        "nobody is in the room; PATCH /api/v1/rooms/{{room}} sets what its programs begin with"
    )]
    Unused,
    #[error("the room is being deleted")]
    Deleted,
    #[error("the room is live already")]
    AlreadyLive,
    #[error("the room is not live")]
    NotLive,
    #[error("there is no preview: PUT /api/v1/rooms/{{room}}/broadcast/preview begins one")]
    NoPreview,
    #[error("this connection is no longer the participant's")]
    StaleSession,
}
