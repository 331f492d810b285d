//! One rendition's segments: those listed in its playlist, those that viewers may still be
//! fetching, and the open one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::media;
use super::reload::Edge;
use super::rendition::Rendition;
use super::segment::{ClosedSegment, Part, Segment, SegmentPart};

/// One rendition on the timeline.
#[derive(Debug)]
pub struct Track {
    pub rendition: Rendition,
    /// By number; those that no kept segment needs are forgotten.
    inits: BTreeMap<u32, Bytes>,
    /// Closed segments, oldest first, without a hole in their numbers.
    kept: VecDeque<Listed>,
    /// The first so many of `kept` are no longer listed.
    unlisted: usize,
    open: Option<Segment>,
    /// The number of the open segment, or of the next one.
    next_msn: u64,
    /// EXT-X-DISCONTINUITY tags that have left the playlist.
    discontinuity_sequence: u64,
    bandwidth: Bandwidth,
}

/// A closed segment with the lines of the playlist that never change.
#[derive(Debug)]
pub struct Listed {
    pub segment: Segment,
    pub(super) date: String,
    pub(super) media: String,
}

/// How much of the past a track keeps, in segments.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub listed: usize,
    /// After they left the playlist, for viewers who still have an old one (8216bis §6.2.2).
    pub lingering: usize,
}

/// What was measured of all closed segments so far.
#[derive(Debug, Clone, Copy, Default)]
struct Bandwidth {
    peak_bps: u64,
    bits: u128,
    micros: u128,
}

impl Track {
    pub fn new(rendition: Rendition) -> Self {
        Self {
            rendition,
            inits: BTreeMap::new(),
            kept: VecDeque::new(),
            unlisted: 0,
            open: None,
            next_msn: 0,
            discontinuity_sequence: 0,
            bandwidth: Bandwidth::default(),
        }
    }

    /// How far the rendition has come.
    pub fn edge(&self) -> Edge {
        Edge {
            msn: self.next_msn,
            parts: self.open.as_ref().map_or(0, |s| s.parts.len() as u64),
        }
    }

    /// Whether there is anything to play.
    pub fn has_media(&self) -> bool {
        self.open.is_some() || !self.kept.is_empty()
    }

    /// The closed segments in the playlist, oldest first.
    pub fn listed(&self) -> impl DoubleEndedIterator<Item = &Listed> + ExactSizeIterator {
        self.kept.range(self.unlisted..)
    }

    pub fn open(&self) -> Option<&Segment> {
        self.open.as_ref()
    }

    /// The number of the first segment in the playlist (EXT-X-MEDIA-SEQUENCE).
    pub fn media_sequence(&self) -> u64 {
        self.listed()
            .next()
            .map_or(self.next_msn, |first| first.segment.msn)
    }

    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// The last part there is: of which segment, and its index in it.
    pub fn last_part(&self) -> Option<(u64, u64)> {
        let segment = self.open.as_ref().or_else(|| {
            self.kept
                .iter()
                .rev()
                .map(|k| &k.segment)
                .find(|s| !s.is_gap())
        })?;
        Some((segment.msn, (segment.parts.len() as u64).checked_sub(1)?))
    }

    /// A segment that is kept, or the open one.
    pub fn segment(&self, msn: u64) -> Option<&Segment> {
        if msn == self.next_msn {
            return self.open.as_ref();
        }
        let first = self.kept.front()?.segment.msn;
        let at = usize::try_from(msn.checked_sub(first)?).ok()?;
        self.kept.get(at).map(|kept| &kept.segment)
    }

    pub fn init(&self, number: u32) -> Option<&Bytes> {
        self.inits.get(&number)
    }

    /// Where the last closed segment ends.
    pub(super) fn end(&self) -> Duration {
        let last = self.kept.back().map(|kept| &kept.segment);
        last.map_or(Duration::ZERO, |last| last.decode_time + last.duration)
    }

    /// The newest init segment and its number.
    pub fn latest_init(&self) -> Option<(u32, &Bytes)> {
        self.inits.last_key_value().map(|(n, bytes)| (*n, bytes))
    }

    /// The bit rate of the largest segment, and of all: in bits a second, once one is closed.
    pub fn measured_bps(&self) -> Option<(u64, u64)> {
        let Bandwidth {
            peak_bps,
            bits,
            micros,
        } = self.bandwidth;
        (peak_bps > 0).then(|| (peak_bps, (bits * 1_000_000 / micros.max(1)) as u64))
    }

    pub(super) fn next_msn(&self) -> u64 {
        self.next_msn
    }

    pub(super) fn add_init(&mut self, bytes: Bytes) -> u32 {
        let number = self.latest_init().map_or(0, |(n, _)| n + 1);
        self.inits.insert(number, bytes);
        number
    }

    pub(super) fn open_segment(&mut self, segment: Segment) {
        self.next_msn = segment.msn;
        self.open = Some(segment);
    }

    pub(super) fn append(&mut self, part: Part) {
        if let Some(open) = &mut self.open {
            open.duration += part.duration;
            open.parts.push(SegmentPart {
                duration: part.duration,
                independent: part.independent,
                bytes: part.bytes,
            });
        }
    }

    /// Closes the open segment, if there is one.
    pub(super) fn close(&mut self, window: Window, target: Duration) -> Option<ClosedSegment> {
        let segment = self.open.take()?;
        // A fragment of a segment says nothing of the rate (8216bis §4.4.6.2, "peak segment
        // bit rate": at least half a target duration).
        if segment.duration * 2 >= target {
            self.bandwidth.peak_bps = self.bandwidth.peak_bps.max(segment.bitrate_bps());
            let bytes: usize = segment.parts.iter().map(|p| p.bytes.len()).sum();
            self.bandwidth.bits += bytes as u128 * 8;
            self.bandwidth.micros += segment.duration.as_micros();
        }
        let closed = segment.closed(&self.rendition.name);
        self.keep(segment, window);
        closed
    }

    /// Puts a closed segment, or a gap, at the end.
    pub(super) fn keep(&mut self, segment: Segment, window: Window) {
        self.next_msn = segment.msn + 1;
        self.kept.push_back(Listed {
            date: media::date_line(&segment),
            media: media::media_lines(&segment),
            segment,
        });
        while self.kept.len() - self.unlisted > window.listed {
            self.unlist_first();
        }
        while self.unlisted > window.lingering {
            self.unlisted -= 1;
            self.kept.pop_front();
        }
        let oldest = self.kept.front().map_or(0, |kept| kept.segment.init);
        let newest = self.latest_init().map_or(0, |(n, _)| n);
        self.inits
            .retain(|number, _| *number >= oldest || *number == newest);
    }

    /// Goes on at `msn` with an empty playlist; `discontinuities` are in what was left out.
    pub(super) fn jump_to(&mut self, msn: u64, discontinuities: u64) {
        while self.unlisted < self.kept.len() {
            self.unlist_first();
        }
        self.kept.clear();
        self.unlisted = 0;
        self.discontinuity_sequence += discontinuities;
        self.next_msn = msn;
    }

    fn unlist_first(&mut self) {
        if let Some(first) = self.kept.get(self.unlisted) {
            self.discontinuity_sequence += u64::from(first.segment.discontinuity);
            self.unlisted += 1;
        }
    }
}
