//! What a participant publishes.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    Audio,
    Video,
}

/// Where a track comes from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum TrackSource {
    Microphone,
    Camera,
    Screen,
    /// The sound of a shared screen.
    #[serde(rename = "screen-audio")]
    ScreenAudio,
}

impl FromStr for TrackSource {
    type Err = NoSuchSource;

    fn from_str(text: &str) -> Result<Self, NoSuchSource> {
        match text {
            "camera" => Ok(Self::Camera),
            "microphone" => Ok(Self::Microphone),
            "screen" => Ok(Self::Screen),
            "screen-audio" => Ok(Self::ScreenAudio),
            _ => Err(NoSuchSource),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a source is camera, microphone, screen or screen-audio")]
pub struct NoSuchSource;

impl TrackSource {
    pub const ALL: [Self; 4] = [
        Self::Camera,
        Self::Microphone,
        Self::Screen,
        Self::ScreenAudio,
    ];

    pub fn of(kind: MediaKind, is_screen: bool) -> Self {
        match (kind, is_screen) {
            (MediaKind::Audio, false) => TrackSource::Microphone,
            (MediaKind::Audio, true) => TrackSource::ScreenAudio,
            (MediaKind::Video, false) => TrackSource::Camera,
            (MediaKind::Video, true) => TrackSource::Screen,
        }
    }
}

/// The codecs that Amphi takes from a publisher.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    H264,
    Vp8,
    Vp9,
    Av1,
    Opus,
}

impl Codec {
    pub fn kind(self) -> MediaKind {
        match self {
            Codec::Opus => MediaKind::Audio,
            Codec::H264 | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => MediaKind::Video,
        }
    }

    /// The encoding name of the codec's RTP payload format, as IANA lists it and as
    /// `a=rtpmap` (RFC 8866 §6.6) and GStreamer's `encoding-name` spell it.
    pub fn encoding_name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Av1 => "AV1",
            Codec::Opus => "OPUS",
        }
    }

    /// Ticks a second of the codec's RTP timestamps.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::H264 | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => 90_000,
        }
    }
}
