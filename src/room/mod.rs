//! WHO: rooms, their participants and what they publish. Pure: no I/O, no clock, no async.
//!
//! Read [`id`], then [`track`].

pub mod id;
pub mod track;

pub use id::{BroadcastId, ParticipantId, RoomId};
pub use track::{Codec, MediaKind};
