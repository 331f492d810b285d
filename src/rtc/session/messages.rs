//! The messages of `/rtc/{room}`, as JSON: each an object with a `type`.

use axum::extract::ws::Message;
use serde::{Deserialize, Serialize};

use super::super::roster::{Entry, Roster};
use crate::room::{ParticipantId, Role, TrackSource};

/// Views in one message; more than that nobody shows.
const MAX_VIEWS: usize = 256;

/// The longest message to the room, in bytes, and the longest topic.
pub const MAX_TEXT: usize = 4000;
pub const MAX_TOPIC: usize = 40;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// The first message.
    Join(Join),
    /// To the offer of that number.
    Answer { number: u64, sdp: String },
    /// Trickle ICE (RFC 8838), as `RTCIceCandidate.toJSON()`; `null` after the last. The server,
    /// an ICE-lite agent, learns the client's addresses from its checks, and says these to who
    /// must find out why none came.
    Candidate {
        #[serde(default)]
        candidate: Option<Candidate>,
    },
    /// The network changed: the next offer restarts ICE.
    RestartIce,
    /// The heights at which pictures are shown, in device pixels; 0 when one is hidden. What is
    /// not named stays as it was.
    View { views: Vec<View> },
    /// To all others in the room; `topic` says what it is, such as `chat` or `reaction`.
    Say { topic: String, text: String },
    /// Goodbye: the place is given up at once.
    Leave,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Join {
    pub token: Option<String>,
    pub name: Option<String>,
    /// The same at every visit, and the same as in `/whip/{room}?identity=`: by it both belong to
    /// one participant. A token that has a subject says it instead.
    pub identity: Option<String>,
    /// The key of a welcome whose socket was lost.
    pub resume: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Candidate {
    pub candidate: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct View {
    /// Of the section in the offer.
    pub mid: String,
    pub height: u32,
}

impl ClientMessage {
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        let message: Self =
            serde_json::from_str(text).map_err(|e| format!("not a message of /rtc: {e}"))?;
        match &message {
            Self::View { views } if views.len() > MAX_VIEWS => {
                Err(format!("at most {MAX_VIEWS} views in a message"))
            }
            Self::Say { topic, text } if text.len() > MAX_TEXT || topic.len() > MAX_TOPIC => {
                Err(format!(
                    "a message to the room has at most {MAX_TEXT} bytes of text and {MAX_TOPIC} of topic"
                ))
            }
            _ => Ok(message),
        }
    }
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ServerMessage {
    Welcome {
        /// The client's own id.
        participant: ParticipantId,
        /// Whether an earlier session goes on.
        resumed: bool,
        /// The secret to come back with.
        resume: String,
        /// As `RTCConfiguration.iceServers`.
        #[serde(rename = "iceServers")]
        ice_servers: Vec<IceServerView>,
    },
    /// The whole room, whenever something of it changed.
    Room {
        participants: Vec<ParticipantView>,
        speaking: Option<ParticipantId>,
        live: bool,
        /// How the program is arranged.
        layout: String,
    },
    /// To be answered. A `fresh` one begins a new RTCPeerConnection.
    Offer {
        number: u64,
        fresh: bool,
        sdp: String,
    },
    /// A picture does not fit the network now, or fits again.
    Paused { mid: String, paused: bool },
    Said {
        from: ParticipantId,
        topic: String,
        text: String,
    },
    /// A message was not understood, or came too often; the session goes on.
    Error { detail: String },
    /// The last message: no session comes of it. `status` is as in HTTP.
    Refused { status: u16, detail: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IceServerView {
    pub urls: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParticipantView {
    pub id: ParticipantId,
    pub name: String,
    pub role: Role,
    pub publishing: bool,
    pub away: bool,
    /// Part of the program, once they publish.
    pub on_stage: bool,
    /// What of theirs a producer muted: it reaches nobody.
    pub muted: Vec<TrackSource>,
    pub tracks: Vec<TrackView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrackView {
    pub source: TrackSource,
    pub muted: bool,
    /// How many play it: layers for small pictures are of use only then.
    pub players: usize,
    /// The greatest height at which anybody shows it, the program too, rounded up; layers that are
    /// higher are of no use. 0 while nobody does.
    pub height: u32,
    /// The section of the offer that brings it; `null` for one's own, and until it is offered.
    pub mid: Option<String>,
}

impl ServerMessage {
    pub fn json(&self) -> String {
        // Our own types, with string keys only, always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn text(&self) -> Message {
        Message::Text(self.json().into())
    }

    pub fn room(roster: &Roster, mid: impl Fn(&str) -> Option<String>) -> Self {
        let participant = |entry: &Entry| ParticipantView {
            id: entry.id,
            name: entry.name.clone(),
            role: entry.role,
            publishing: entry.is_publishing,
            away: entry.is_away,
            on_stage: entry.is_on_stage,
            muted: entry.muted.clone(),
            tracks: entry
                .tracks
                .iter()
                .map(|track| TrackView {
                    source: track.source,
                    muted: track.muted,
                    players: track.players,
                    height: track.shown_px,
                    mid: mid(&track.name(entry.id)),
                })
                .collect(),
        };
        Self::Room {
            participants: roster.participants.iter().map(participant).collect(),
            speaking: roster.speaking,
            live: roster.program.is_some(),
            layout: roster.layout.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn client_messages_are_read() {
        let check = |text: &str, expect: Option<ClientMessage>| {
            assert_eq!(ClientMessage::read(text).ok(), expect, "{text}");
        };
        let join = Join {
            name: Some("Ann".into()),
            ..Join::default()
        };
        check(
            r#"{"type":"join","name":"Ann"}"#,
            Some(ClientMessage::Join(join)),
        );
        check(
            r#"{"type":"view","views":[{"mid":"2","height":360}]}"#,
            Some(ClientMessage::View {
                views: vec![View {
                    mid: "2".into(),
                    height: 360,
                }],
            }),
        );
        check(
            r#"{"type":"candidate","candidate":{"candidate":"x","sdpMid":"0"}}"#,
            Some(ClientMessage::Candidate {
                candidate: Some(Candidate {
                    candidate: Some("x".into()),
                }),
            }),
        );
        check(r#"{"type":"restart-ice"}"#, Some(ClientMessage::RestartIce));
        check(r#"{"type":"view","views":[{"mid":"2","height":-1}]}"#, None);
        check("[]", None);
        let long = "x".repeat(MAX_TEXT + 1);
        check(
            &format!(r#"{{"type":"say","topic":"chat","text":"{long}"}}"#),
            None,
        );
    }

    #[test]
    fn server_messages_are_written_as_documented() {
        let message = ServerMessage::Paused {
            mid: "3".into(),
            paused: true,
        };
        let Message::Text(text) = message.text() else {
            panic!("text");
        };
        assert_eq!(
            text.as_str(),
            r#"{"type":"paused","mid":"3","paused":true}"#
        );
    }

    proptest! {
        #[test]
        fn survives(text in ".{0,200}") {
            let _ = ClientMessage::read(&text);
        }
    }
}
