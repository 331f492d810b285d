//! `manifest.json`: all that is known of a recording besides its bytes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::room::{BroadcastId, RoomId};

/// What a recording is made of, known at its start.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingInfo {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    /// Who watches it has to be let in.
    pub private: bool,
    /// How long it is kept, if not as long as all others.
    pub keep_for: Option<Duration>,
    pub renditions: Vec<RenditionInfo>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenditionInfo {
    pub name: String,
    #[serde(flatten)]
    pub kind: RenditionKind,
    /// As the ladder asks; used while no segment has been measured.
    pub declared_bitrate_bps: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RenditionKind {
    Video {
        width_px: u32,
        height_px: u32,
        fps: f64,
    },
    Audio,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The broadcast runs, or its server died.
    Recording,
    /// All segments are there.
    Complete,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this format.
    pub version: u32,
    pub id: BroadcastId,
    pub room: RoomId,
    pub state: State,
    pub started_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_for_s: Option<u64>,
    pub renditions: Vec<RecordedRendition>,
    #[serde(default)]
    pub film: Film,
}

/// recording.mp4 and poster.jpg, made after the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Film {
    #[default]
    Pending,
    Ready,
    /// The playlists play all the same.
    Failed {
        reason: String,
        attempts: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedRendition {
    #[serde(flatten)]
    pub info: RenditionInfo,
    /// `CODECS` of its first init segment (RFC 6381).
    pub codecs: Option<String>,
    pub segments: Vec<RecordedSegment>,
}

/// One segment that is in the storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedSegment {
    pub msn: u64,
    pub init: u32,
    pub duration_us: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub discontinuity: bool,
    pub bytes: u64,
    pub program_date_time: DateTime<Utc>,
}

/// The format that this version writes; a later one is not read.
pub const VERSION: u32 = 1;

/// recording.mp4 is tried at most this often, once a start of the server: what crashes the child
/// must not do so for ever.
const MAX_ATTEMPTS: u32 = 3;

impl RecordedRendition {
    /// Its segments, in order, as runs that share an init segment.
    pub fn runs(&self) -> impl Iterator<Item = &[RecordedSegment]> {
        self.segments.chunk_by(|a, b| a.init == b.init)
    }
}

impl Manifest {
    pub fn new(info: RecordingInfo) -> Self {
        let renditions = info.renditions.into_iter().map(|info| RecordedRendition {
            info,
            codecs: None,
            segments: Vec::new(),
        });
        Self {
            version: VERSION,
            id: info.id,
            room: info.room,
            state: State::Recording,
            started_at: info.started_at,
            private: info.private,
            keep_for_s: info.keep_for.map(|kept| kept.as_secs()),
            renditions: renditions.collect(),
            film: Film::Pending,
        }
    }

    /// Whether recording.mp4 is still to be made.
    pub fn wants_film(&self) -> bool {
        let wanted = match &self.film {
            Film::Pending => true,
            Film::Ready => false,
            Film::Failed { attempts, .. } => *attempts < MAX_ATTEMPTS,
        };
        wanted && self.state == State::Complete && self.is_playable()
    }

    pub fn film_failed(&mut self, reason: String) {
        let before = match &self.film {
            Film::Failed { attempts, .. } => *attempts,
            _ => 0,
        };
        self.film = Film::Failed {
            reason,
            attempts: before + 1,
        };
    }

    /// What recording.mp4 is made of: the largest picture, and the sound.
    pub fn best_tracks(&self) -> (Option<&RecordedRendition>, Option<&RecordedRendition>) {
        let area = |rendition: &RecordedRendition| match rendition.info.kind {
            RenditionKind::Video {
                width_px,
                height_px,
                ..
            } => u64::from(width_px) * u64::from(height_px),
            RenditionKind::Audio => 0,
        };
        let (audio, video): (Vec<_>, Vec<_>) = self
            .renditions
            .iter()
            .filter(|rendition| !rendition.segments.is_empty())
            .partition(|rendition| rendition.info.kind == RenditionKind::Audio);
        let best = video.into_iter().max_by_key(|rendition| area(rendition));
        (best, audio.first().copied())
    }

    pub fn rendition_mut(&mut self, name: &str) -> Option<&mut RecordedRendition> {
        self.renditions
            .iter_mut()
            .find(|rendition| rendition.info.name == name)
    }

    /// Puts a segment into its place: uploads do not end in the order in which they began.
    pub fn add(&mut self, rendition: &str, segment: RecordedSegment) {
        let Some(rendition) = self.rendition_mut(rendition) else {
            return;
        };
        match rendition
            .segments
            .binary_search_by_key(&segment.msn, |s| s.msn)
        {
            Ok(at) => rendition.segments[at] = segment,
            Err(at) => rendition.segments.insert(at, segment),
        }
    }

    /// Segments of all renditions.
    pub fn segments(&self) -> usize {
        self.renditions.iter().map(|r| r.segments.len()).sum()
    }

    /// The longest rendition's.
    pub fn duration(&self) -> Duration {
        let sums = self
            .renditions
            .iter()
            .map(|r| r.segments.iter().map(|s| s.duration_us).sum());
        Duration::from_micros(sums.max().unwrap_or(0))
    }

    /// Whether there is anything to play.
    pub fn is_playable(&self) -> bool {
        self.renditions
            .iter()
            .any(|rendition| !rendition.segments.is_empty())
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
