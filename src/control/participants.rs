//! One participant, as the API shows them: what they publish, by which connections, and how well.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::views::ParticipantView;
use crate::room::{Codec, MediaKind};

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ParticipantDetail {
    #[serde(flatten)]
    pub participant: ParticipantView,
    pub connections: Vec<ConnectionView>,
    /// The last time that one of their connections failed.
    pub last_failure: Option<FailureView>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ConnectionView {
    /// `publish` (WHIP) or `subscribe` (the session)
    pub purpose: &'static str,
    /// `udp`, `tcp` or `relay`; `null` until a pair is chosen.
    pub transport: Option<&'static str>,
    pub remote_address: Option<String>,
    pub round_trip_ms: Option<f64>,
    /// What the path to the participant carries, as estimated.
    pub estimate_bps: Option<u64>,
    pub received: Vec<ReceivedView>,
    pub sent: Vec<SentView>,
}

/// A track that the participant sends. Loss is the network's, before retransmissions healed it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ReceivedView {
    pub codec: Option<Codec>,
    pub bitrate_bps: u64,
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    pub recovered: u64,
    pub jitter_ms: f64,
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub stalled: bool,
}

/// A track that the participant is sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SentView {
    pub mid: String,
    pub kind: Option<MediaKind>,
    pub codec: Option<Codec>,
    /// Of simulcast, from 0; `null` while nothing is sent.
    pub layer: Option<u8>,
    /// Frames of temporal layers above this one do not fit the path now; `null` where all do.
    pub temporal_layer: Option<u8>,
    /// It does not fit the path now.
    pub paused: bool,
    pub packets: u64,
    pub bytes: u64,
    pub resent: u64,
    pub nacks_received: u64,
    pub key_frames_wanted: u64,
    pub layer_switches: u64,
    /// Of the participant's last report, 0 to 1.
    pub fraction_lost: f64,
    pub lost: u32,
    pub jitter_ms: f64,
}

/// Why a connection failed, and what to change.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FailureView {
    pub at: DateTime<Utc>,
    /// `unreachable`, `private-addresses`, `wrong-credentials`, `answers-lost`,
    /// `handshake-unfinished`, `handshake-refused` or `vanished`
    pub failure: &'static str,
    pub reason: &'static str,
    pub remedy: &'static str,
    /// The addresses that the client was told.
    pub local_candidates: Vec<String>,
    /// Those that it told, as it wrote them.
    pub remote_candidates: Vec<String>,
    pub checks_received: u64,
    /// With credentials that were not agreed on.
    pub checks_refused: u64,
    pub answers_sent: u64,
    /// Where checks came from.
    pub paths: Vec<String>,
    pub selected: Option<String>,
    pub handshake_datagrams: u64,
}
