//! Parts as they come in, and the segments they make up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

/// Largest part taken: 200 ms at 300 Mbit/s.
pub const MAX_PART_BYTES: usize = 8 << 20;

/// Shortest part taken; bounds the number of parts in a segment.
pub const MIN_PART: Duration = Duration::from_millis(5);

/// One CMAF chunk or more, as the pipeline made it.
#[derive(Debug, Clone)]
pub struct Part {
    /// The name of a rendition of the broadcast.
    pub rendition: Arc<str>,
    /// Of the first sample, on the broadcast's running time, which all renditions share.
    pub decode_time: Duration,
    pub duration: Duration,
    /// Decoding can begin here.
    pub independent: bool,
    /// Which segment it is part of: the pipeline counts them, for all renditions together.
    pub segment: u64,
    /// The pipeline cut a segment behind it.
    pub ends_segment: bool,
    /// Its segment is encoded in another way than the one before (EXT-X-DISCONTINUITY).
    pub discontinuity: bool,
    pub bytes: Bytes,
}

/// The Media Initialization Section that the parts after it need.
#[derive(Debug, Clone)]
pub struct Init {
    pub rendition: Arc<str>,
    pub bytes: Bytes,
}

/// Why a part or an init segment was not taken; the timeline is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the broadcast is over")]
    Over,
    #[error("the broadcast has no rendition of that name")]
    UnknownRendition,
    #[error("no init segment came before it")]
    NoInit,
    #[error("it is empty, or larger than {MAX_PART_BYTES} bytes")]
    Size,
    #[error("it is shorter than {MIN_PART:?} or longer than a segment")]
    Duration,
    #[error("nothing can be decoded before an independent part comes")]
    NotIndependent,
    #[error("it lies before what the rendition, or the first of the others, already has")]
    Backwards,
}

/// A segment to which nothing will be added; what the recorder keeps.
///
/// Where `msn` jumps between two of the same rendition, it had no media for those between.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedSegment {
    pub rendition: Arc<str>,
    /// The media sequence number; the same in every rendition at the same time.
    pub msn: u64,
    /// Which of the rendition's init segments, counted from 0 as they came.
    pub init: u32,
    pub decode_time: Duration,
    pub duration: Duration,
    pub independent: bool,
    /// Timestamps or encoding may jump before this segment (EXT-X-DISCONTINUITY).
    pub discontinuity: bool,
    pub program_date_time: DateTime<Utc>,
    /// The segment is their concatenation.
    pub parts: Vec<Bytes>,
}

/// A segment on the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub msn: u64,
    pub init: u32,
    pub decode_time: Duration,
    pub duration: Duration,
    pub discontinuity: bool,
    pub program_date_time: DateTime<Utc>,
    /// None means a gap: there is no media for this time (EXT-X-GAP).
    pub parts: Vec<SegmentPart>,
}

/// A part in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentPart {
    pub duration: Duration,
    pub independent: bool,
    pub bytes: Bytes,
}

impl Segment {
    pub fn is_gap(&self) -> bool {
        self.parts.is_empty()
    }

    /// What the recorder keeps of it; nothing of a gap.
    pub fn closed(&self, rendition: &Arc<str>) -> Option<ClosedSegment> {
        let first = self.parts.first()?;
        Some(ClosedSegment {
            rendition: rendition.clone(),
            msn: self.msn,
            init: self.init,
            decode_time: self.decode_time,
            duration: self.duration,
            independent: first.independent,
            discontinuity: self.discontinuity,
            program_date_time: self.program_date_time,
            parts: self.parts.iter().map(|part| part.bytes.clone()).collect(),
        })
    }

    /// In bits a second.
    pub fn bitrate_bps(&self) -> u64 {
        let bits: u128 = self.parts.iter().map(|p| p.bytes.len() as u128 * 8).sum();
        (bits * 1_000_000 / self.duration.as_micros().max(1)) as u64
    }
}

pub(super) fn check_size(bytes: &Bytes) -> Result<(), Refused> {
    if bytes.is_empty() || bytes.len() > MAX_PART_BYTES {
        return Err(Refused::Size);
    }
    Ok(())
}
