//! What one encoding of the program is, and what it is called.

use std::sync::Arc;

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendition {
    /// A URL path segment and a folder name, such as `720p` or `audio`; unique in the ladder.
    pub name: Arc<str>,
    pub kind: RenditionKind,
    /// What the encoder is told to make, in bits a second; advertised until it is measured.
    pub declared_bitrate_bps: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RenditionKind {
    Video {
        width_px: u32,
        height_px: u32,
        fps: f64,
    },
    Audio,
}

impl Rendition {
    pub fn video(name: &str, width_px: u32, height_px: u32, fps: f64, bitrate_bps: u64) -> Self {
        Self {
            name: name.into(),
            kind: RenditionKind::Video {
                width_px,
                height_px,
                fps,
            },
            declared_bitrate_bps: bitrate_bps,
        }
    }

    pub fn audio(name: &str, bitrate_bps: u64) -> Self {
        Self {
            name: name.into(),
            kind: RenditionKind::Audio,
            declared_bitrate_bps: bitrate_bps,
        }
    }

    pub fn is_audio(&self) -> bool {
        self.kind == RenditionKind::Audio
    }
}
