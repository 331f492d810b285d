//! Someone in a room, and whether they are here.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::ParticipantId;
use super::track::{Codec, MediaKind, TrackSource};

/// What a participant is in the room; [`Role::may_publish`] and its siblings say what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Host,
    Speaker,
    Viewer,
    Producer,
}

/// What a role is called, and nothing else is.
const ROLES: [(&str, Role); 4] = [
    ("host", Role::Host),
    ("speaker", Role::Speaker),
    ("viewer", Role::Viewer),
    ("producer", Role::Producer),
];

impl FromStr for Role {
    type Err = NoSuchRole;

    fn from_str(text: &str) -> Result<Self, NoSuchRole> {
        let known = ROLES.iter().find(|(name, _)| *name == text);
        known.map(|(_, role)| *role).ok_or(NoSuchRole)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is host, speaker, viewer or producer")]
pub struct NoSuchRole;

impl Role {
    pub fn name(self) -> &'static str {
        let known = ROLES.iter().find(|(_, role)| *role == self);
        known.map_or("", |(name, _)| name)
    }

    pub fn may_publish(self) -> bool {
        matches!(self, Role::Host | Role::Speaker)
    }

    /// May see and hear the others in real time.
    pub fn may_attend(self) -> bool {
        matches!(self, Role::Host | Role::Speaker | Role::Producer)
    }

    /// May start and stop the broadcast.
    pub fn may_direct(self) -> bool {
        matches!(self, Role::Host | Role::Producer)
    }
}

/// One connection of a participant. A participant who comes back has a new one, and what the
/// old one still says is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// One track of a participant: the number of its `m=` section.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(transparent)]
pub struct TrackNumber(pub u8);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Track {
    pub kind: MediaKind,
    pub source: TrackSource,
    pub codec: Codec,
    /// Nothing comes: the publisher muted it, or lost it.
    pub muted: bool,
    /// It crashed the program, which goes on without it.
    pub kept_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Here by a session, and publishes nothing.
    Attending,
    /// The connection to publish is being made.
    Joining(Session),
    Connected(Session),
    /// Vanished without a word; the place is kept for a while.
    Away {
        since: Instant,
    },
}

impl Presence {
    /// Publishes, or did a moment ago and may come back.
    pub fn is_publishing(self) -> bool {
        self != Presence::Attending
    }

    pub fn session(self) -> Option<Session> {
        match self {
            Presence::Joining(session) | Presence::Connected(session) => Some(session),
            Presence::Attending | Presence::Away { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participant {
    pub id: ParticipantId,
    /// What the participant is known by over several visits; from the token, or chosen by the page.
    pub identity: Option<String>,
    pub name: String,
    pub role: Role,
    pub presence: Presence,
    /// The session by which they see and hear the others.
    pub attending: Option<Session>,
    pub tracks: BTreeMap<TrackNumber, Track>,
    /// What of theirs a producer muted: it reaches nobody, whatever they publish.
    pub muted: BTreeSet<TrackSource>,
    /// What they may publish; all else of theirs reaches nobody, either.
    pub publish: BTreeSet<TrackSource>,
    /// Place in the order of the stage: who came first stands first.
    pub place: u64,
}

impl Participant {
    /// Whether nothing of this track reaches the others.
    pub fn is_muted(&self, track: &Track) -> bool {
        track.muted || self.is_withheld(track.source)
    }

    /// Whether nothing from there reaches the others, whatever they publish.
    pub fn is_withheld(&self, source: TrackSource) -> bool {
        self.muted.contains(&source) || !self.publish.contains(&source)
    }
}
