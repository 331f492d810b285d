//! Identifiers, parsed once at the door.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest room name; it is a URL path segment and a folder name.
pub const MAX_ROOM_ID_LEN: usize = 64;

/// A room's name: 1 to [`MAX_ROOM_ID_LEN`] of `a-z A-Z 0-9 - _`, so that it needs no
/// escaping in a URL, a file name or a log line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-zA-Z0-9_-]{1,64}$", example = "demo")]
pub struct RoomId(String);

/// Why a text is no room name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoomId {
    #[error("a room name has 1 to {MAX_ROOM_ID_LEN} characters, this one has {0}")]
    Length(usize),
    #[error("a room name is made of a-z, A-Z, 0-9, '-' and '_'; {0:?} is not among them")]
    Character(char),
}

impl RoomId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomId {
    type Err = InvalidRoomId;

    fn from_str(text: &str) -> Result<Self, InvalidRoomId> {
        let length = text.chars().count();
        if length == 0 || length > MAX_ROOM_ID_LEN {
            return Err(InvalidRoomId::Length(length));
        }
        match text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_'))
        {
            Some(stranger) => Err(InvalidRoomId::Character(stranger)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for RoomId {
    type Error = InvalidRoomId;

    fn try_from(text: String) -> Result<Self, InvalidRoomId> {
        text.parse()
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> String {
        id.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One participant's stay in a room.
    ParticipantId
);
uuid_id!(
    /// One run of a room's program, and the recording it leaves behind. UUIDv7: sorts by start.
    BroadcastId
);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<(), InvalidRoomId>) {
        assert_eq!(text.parse::<RoomId>().map(|_| ()), expect, "{text:?}");
    }

    #[test]
    fn a_room_name_needs_no_escaping() {
        check("demo", Ok(()));
        check("Q3_all-hands", Ok(()));
        check("", Err(InvalidRoomId::Length(0)));
        check(&"x".repeat(64), Ok(()));
        check(&"x".repeat(10_000), Err(InvalidRoomId::Length(10_000)));
        check("a/b", Err(InvalidRoomId::Character('/')));
        check("..", Err(InvalidRoomId::Character('.')));
        check("zoë", Err(InvalidRoomId::Character('ë')));
    }
}
