//! What a room is told, and what it tells.

use super::id::{BroadcastId, ParticipantId};
use super::participant::{Role, Session, Track, TrackNumber};

/// A change asked of a room, or something that happened to one of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Someone wants to publish. With an `identity` that is already in the room, they take
    /// their place again and `fresh` is not used.
    Join {
        fresh: ParticipantId,
        session: Session,
        identity: Option<String>,
        name: String,
        role: Role,
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
    /// The participant said goodbye.
    Left(Session),
    /// The participant vanished.
    Lost(Session),
    StartBroadcast(BroadcastId),
    StopBroadcast,
    /// The program could not go on.
    BroadcastFailed(BroadcastId),
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
    TrackEnded {
        participant: ParticipantId,
        session: Session,
        number: TrackNumber,
    },
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
    #[error("the room is live already")]
    AlreadyLive,
    #[error("the room is not live")]
    NotLive,
    #[error("this connection is no longer the participant's")]
    StaleSession,
}
