//! A playlist's text, rendered once and compressed at most once, for every viewer who wants it.

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::core::reload::Edge;

/// Fast: level 3 makes a media playlist a twelfth of its size in a third of level 6's time.
const GZIP_LEVEL: u32 = 3;

/// One text, plain and compressed.
#[derive(Debug)]
pub struct Text {
    pub plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Text {
    pub fn new(plain: impl Into<Bytes>) -> Self {
        Self {
            plain: plain.into(),
            gzip: OnceLock::new(),
        }
    }

    pub fn gzip(&self) -> Bytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
            // Writing to memory does not fail; if it did, the plain text is no gzip.
            match encoder
                .write_all(&self.plain)
                .and_then(|()| encoder.finish())
            {
                Ok(bytes) => bytes.into(),
                Err(_) => Bytes::new(),
            }
        };
        self.gzip.get_or_init(compress).clone()
    }
}

/// A rendition's playlist at one moment.
#[derive(Debug)]
pub struct Playlist {
    pub edge: Edge,
    pub over: bool,
    /// Counts the texts of a rendition: no two have the same.
    pub version: u64,
    pub full: Text,
    /// The delta update, if there is anything to skip.
    pub delta: Option<Text>,
}
