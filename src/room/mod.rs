//! WHO: rooms, their participants and what they publish. Pure: no I/O, no clock, no async.
//!
//! Read [`id`], [`track`], [`participant`], [`stage`] (what a producer directs), then [`event`] (what a room is told and tells) and
//! [`state`] (what it does).

pub mod event;
pub mod id;
pub mod participant;
pub mod speaker;
pub mod stage;
pub mod state;
pub mod track;

pub use event::{Command, Event, Refused, Visitor};
pub use id::{BroadcastId, ParticipantId, RoomId};
pub use participant::{Participant, Presence, Role, Session, Track, TrackNumber};
pub use stage::{Direction, FIRST_LAYOUT, Stage, Transition};
pub use state::{Room, Settings};
pub use track::{Codec, MediaKind, TrackSource};
