//! What the API answers with.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::rooms::RoomSettings;
use crate::room::{
    BroadcastId, Codec, MediaKind, ParticipantId, Role, RoomId, TrackSource, Transition,
};

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RoomView {
    pub id: RoomId,
    /// The audience can watch.
    pub live: bool,
    pub broadcast: Option<BroadcastView>,
    /// Why the room has no broadcast, though somebody publishes.
    pub refused: Option<String>,
    /// How many are here.
    pub participants: usize,
    /// How the program is arranged.
    pub layout: String,
    /// Who is shown large, whoever speaks.
    pub pinned: Option<ParticipantId>,
    /// How the program changes.
    pub transition: Transition,
    /// A picture that is alone on stage may be shown as its publisher encoded it.
    pub passthrough: bool,
    /// What is shown instead of the program.
    pub slate: Option<String>,
    /// When it was made; `null` of one that came to be by use, and goes.
    pub created_at: Option<DateTime<Utc>>,
    /// What was set for it, or holds for all.
    pub settings: RoomSettings,
    /// What the last broadcast left behind, once it can be played.
    pub last_recording: Option<BroadcastId>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BroadcastView {
    /// The largest rendition shows the next smaller one, for the machine is too busy for both.
    pub shed: bool,
    pub id: BroadcastId,
    pub started_at: DateTime<Utc>,
}

/// What the program would be. For who directs alone.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PreviewView {
    pub layout: String,
    pub pinned: Option<ParticipantId>,
    pub slate: Option<String>,
    /// Who would be part of it, once they publish.
    pub on_stage: Vec<ParticipantId>,
    /// Where it is played.
    pub whep: String,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ParticipantView {
    pub id: ParticipantId,
    /// What they are known by over several visits: the `sub` of their token, or `guest:` and what their
    /// page chose.
    pub identity: Option<String>,
    pub name: String,
    pub role: Role,
    /// `attending`, `joining`, `connected`, `away` or `left`
    pub presence: &'static str,
    /// Part of the program, once they publish.
    pub on_stage: bool,
    /// What a producer muted: it reaches nobody, whatever they publish.
    pub muted: Vec<TrackSource>,
    pub tracks: Vec<TrackView>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TrackView {
    pub kind: MediaKind,
    pub codec: Codec,
    pub muted: bool,
    /// A producer muted it, or the token does not let them publish it: it reaches nobody.
    pub withheld: bool,
    /// It crashed the program twice, which goes on without it until it is published anew.
    pub kept_out: bool,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RecordingView {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    pub duration_s: f64,
    /// `recording` or `complete`
    pub state: String,
    /// Who watches it needs a token for its room.
    pub private: bool,
}

/// How a room does
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct RoomStats {
    pub participants: usize,
    /// Those of them who publish.
    pub publishers: usize,
    /// `null` while there is none.
    pub broadcast: Option<BroadcastStats>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BroadcastStats {
    pub id: BroadcastId,
    pub duration_s: f64,
    /// The largest rendition shows the next smaller one, for the machine is too busy for both.
    pub shed: bool,
    /// What it needs of the machine; `null` until it is measured.
    pub cores: Option<f64>,
    /// Who plays at the live edge by HLS, of those who ask this server: a cache that asks for many is one.
    pub hls_viewers: usize,
    /// Who plays the program by WHEP.
    pub whep_viewers: usize,
    pub renditions: Vec<RenditionStats>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RenditionStats {
    pub name: String,
    /// On average, of what was encoded; `null` until the first segment is.
    pub bitrate_bps: Option<u64>,
}

/// A list that is never long.
#[derive(Debug, Serialize, ToSchema)]
pub struct Items<T> {
    pub items: Vec<T>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Started {
    pub id: BroadcastId,
}
