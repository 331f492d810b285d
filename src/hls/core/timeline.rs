//! All renditions on one grid: parts in, segments out.
//!
//! The broadcast's running time is divided into slots of one segment each, and a segment's
//! media sequence number is counted in slots, so that every rendition has the same number at
//! the same time, even after one of them lost a part. After a discontinuity (the pipeline
//! began anew) the slots are counted from the first that has media again: an *epoch*.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::rendition::Rendition;
use super::segment::{ClosedSegment, Init, MIN_PART, Part, Refused, Segment, check_size};
use super::track::{Track, Window};

/// An AAC frame (1024 samples at 44.1 kHz) rounded up: audio is cut between frames, so its
/// segments and parts miss the grid by up to half of it, and its parts are up to one longer.
pub const AUDIO_FRAME: Duration = Duration::from_millis(24);

/// What a timeline is made on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The length of a slot.
    pub segment: Duration,
    /// The length that parts are cut to.
    pub part: Duration,
    /// How much a viewer can go back.
    pub window: Duration,
}

/// A broadcast's renditions, from its start to its end.
#[derive(Debug)]
pub struct Timeline {
    grid: Grid,
    /// The wall clock at running time zero.
    started: DateTime<Utc>,
    tracks: Vec<Track>,
    /// Where each track stands in the present epoch; same order.
    places: Vec<Place>,
    epoch: Epoch,
    over: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    /// The number of its first segment, the only one with a discontinuity before it.
    first_msn: u64,
    /// The slot of its first segment; none before its first part.
    first_slot: Option<u64>,
    after_discontinuity: bool,
}

/// A track's newest part in an epoch.
#[derive(Debug, Clone, Copy)]
enum Place {
    Before,
    At { slot: u64, end: Duration },
}

/// An init segment's number, and the segments that it closed.
#[derive(Debug, Clone, PartialEq)]
pub struct InitTaken {
    pub number: u32,
    /// False if it is the one that was in force already.
    pub new: bool,
    pub closed: Vec<ClosedSegment>,
}

impl Timeline {
    pub fn new(grid: Grid, started: DateTime<Utc>, renditions: Vec<Rendition>) -> Self {
        Self {
            grid,
            started,
            places: vec![Place::Before; renditions.len()],
            tracks: renditions.into_iter().map(Track::new).collect(),
            epoch: Epoch::default(),
            over: false,
        }
    }

    pub fn grid(&self) -> Grid {
        self.grid
    }

    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// The index of the rendition with this name.
    pub fn index_of(&self, rendition: &str) -> Option<usize> {
        let mut names = self.tracks.iter().map(|track| &track.rendition.name);
        names.position(|name| &**name == rendition)
    }

    pub fn is_over(&self) -> bool {
        self.over
    }

    /// EXT-X-TARGETDURATION: no segment's duration rounds to more.
    pub fn target_duration(&self) -> Duration {
        let longest = self.grid.segment + self.tolerance();
        Duration::from_secs((longest.as_secs_f64().round() as u64).max(1))
    }

    /// Takes an init segment. One that differs from the rendition's present one, when that
    /// has been used, begins an epoch (see [`Timeline::discontinuity`]).
    pub fn push_init(&mut self, init: Init) -> Result<InitTaken, Refused> {
        if self.over {
            return Err(Refused::Over);
        }
        let index = self
            .index_of(&init.rendition)
            .ok_or(Refused::UnknownRendition)?;
        check_size(&init.bytes)?;
        if let Some((number, present)) = self.tracks[index].latest_init()
            && *present == init.bytes
        {
            return Ok(InitTaken {
                number,
                new: false,
                closed: Vec::new(),
            });
        }
        let closed = match self.places[index] {
            Place::Before => Vec::new(),
            Place::At { .. } => self.discontinuity(),
        };
        Ok(InitTaken {
            number: self.tracks[index].add_init(init.bytes),
            new: true,
            closed,
        })
    }

    /// Takes a part, and hands out the segments that it closed.
    pub fn push_part(&mut self, part: Part) -> Result<Vec<ClosedSegment>, Refused> {
        if self.over {
            return Err(Refused::Over);
        }
        let index = self
            .index_of(&part.rendition)
            .ok_or(Refused::UnknownRendition)?;
        check_size(&part.bytes)?;
        if part.duration < MIN_PART || part.duration >= self.longest_segment() {
            return Err(Refused::Duration);
        }
        let (init, _) = self.tracks[index].latest_init().ok_or(Refused::NoInit)?;
        let slot = match self.places[index] {
            Place::Before => self.first_slot(index, &part)?,
            Place::At { slot, end } if part.decode_time + self.tolerance() >= end => {
                self.next_slot(index, slot, &part)
            }
            Place::At { .. } => return Err(Refused::Backwards),
        };
        let mut closed = Vec::new();
        let msn = self.msn(slot);
        if self.tracks[index].open().is_none_or(|open| open.msn != msn) {
            closed.extend(self.close(index));
            self.fill_gap(index, msn);
            let segment = self.segment(msn, init, part.decode_time);
            self.tracks[index].open_segment(segment);
        }
        let end = part.decode_time + part.duration;
        self.places[index] = Place::At { slot, end };
        self.tracks[index].append(part);
        if self.is_full(index, slot, end) {
            closed.extend(self.close(index));
        }
        Ok(closed)
    }

    /// The pipeline began anew: closes what is open; each rendition's next segment has the
    /// same number, and one EXT-X-DISCONTINUITY. Twice in a row is once.
    pub fn discontinuity(&mut self) -> Vec<ClosedSegment> {
        if self.over || self.epoch.first_slot.is_none() {
            return Vec::new();
        }
        let closed = self.close_all();
        let first_msn = self.tracks.iter().map(Track::next_msn).max().unwrap_or(0);
        for index in 0..self.tracks.len() {
            self.fill_gap(index, first_msn);
            self.places[index] = Place::Before;
        }
        self.epoch = Epoch {
            first_msn,
            first_slot: None,
            after_discontinuity: true,
        };
        closed
    }

    /// Nothing more will come (EXT-X-ENDLIST).
    pub fn end(&mut self) -> Vec<ClosedSegment> {
        let closed = self.close_all();
        self.over = true;
        closed
    }

    /// A segment may begin this much before its slot: sound is cut between its own frames.
    /// Pictures and sound begin with the same part, so less than a part is enough.
    fn tolerance(&self) -> Duration {
        self.grid.part / 2
    }

    /// EXTINF rounded to the nearest integer may not exceed the target duration
    /// (8216bis §4.4.3.1): a segment is shorter than this.
    fn longest_segment(&self) -> Duration {
        self.target_duration() + Duration::from_millis(500)
    }

    fn slot_of(&self, time: Duration) -> u64 {
        (time.as_nanos() / self.grid.segment.as_nanos().max(1)) as u64
    }

    fn slot_start(&self, slot: u64) -> Duration {
        self.grid
            .segment
            .saturating_mul(u32::try_from(slot).unwrap_or(u32::MAX))
    }

    fn msn(&self, slot: u64) -> u64 {
        let first_slot = self.epoch.first_slot.unwrap_or(slot);
        self.epoch.first_msn + slot.saturating_sub(first_slot)
    }

    /// The slot of a track's first part in an epoch.
    fn first_slot(&mut self, index: usize, part: &Part) -> Result<u64, Refused> {
        if !part.independent && !self.tracks[index].rendition.is_audio() {
            return Err(Refused::NotIndependent);
        }
        let Some(first) = self.epoch.first_slot else {
            let first = self.slot_of(part.decode_time + self.tolerance());
            self.epoch.first_slot = Some(first);
            return Ok(first);
        };
        // Whatever begins a little before what another rendition began with belongs to it.
        if part.decode_time + self.tolerance() < self.slot_start(first) {
            return Err(Refused::Backwards);
        }
        Ok(self.slot_of(part.decode_time).max(first))
    }

    /// The slot of a further part: the one its track is in, unless the pipeline cut here, or
    /// should have.
    fn next_slot(&self, index: usize, slot: u64, part: &Part) -> u64 {
        let nearest = self.slot_of(part.decode_time + self.tolerance());
        let Some(open) = self.tracks[index].open() else {
            return nearest.max(slot + 1);
        };
        let cut = part.segment_start && nearest > slot;
        let late = part.decode_time >= self.slot_start(slot + 1) + self.tolerance();
        let too_long = open.duration + part.duration >= self.longest_segment();
        if cut || late || too_long {
            nearest.max(slot + 1)
        } else {
            slot
        }
    }

    /// Whether the slot is filled, so that the segment can be closed, and listed, without
    /// waiting for the next one to begin.
    fn is_full(&self, index: usize, slot: u64, end: Duration) -> bool {
        let early = if self.tracks[index].rendition.is_audio() {
            AUDIO_FRAME / 2
        } else {
            Duration::from_millis(1)
        };
        end + early >= self.slot_start(slot + 1)
    }

    fn close(&mut self, index: usize) -> Option<ClosedSegment> {
        let (window, target) = (self.window(), self.target_duration());
        self.tracks[index].close(window, target)
    }

    fn close_all(&mut self) -> Vec<ClosedSegment> {
        (0..self.tracks.len())
            .filter_map(|index| self.close(index))
            .collect()
    }

    /// Lists what the rendition has no media for, up to `msn`, so that its numbers go on
    /// without a hole; what would have left the playlist by then is left out.
    fn fill_gap(&mut self, index: usize, msn: u64) {
        let window = self.window();
        let mut from = self.tracks[index].next_msn();
        let kept = (window.listed + window.lingering) as u64;
        if msn.saturating_sub(from) > kept || !self.tracks[index].has_media() {
            let first = self.epoch.first_msn;
            let skipped = self.epoch.after_discontinuity && (from..msn).contains(&first);
            self.tracks[index].jump_to(msn, u64::from(skipped));
            from = msn;
        }
        let Some((init, _)) = self.tracks[index].latest_init() else {
            return;
        };
        for msn in from..msn {
            let slot =
                self.epoch.first_slot.unwrap_or(0) + msn.saturating_sub(self.epoch.first_msn);
            let mut gap = self.segment(msn, init, self.slot_start(slot));
            gap.duration = self.grid.segment;
            self.tracks[index].keep(gap, window);
        }
    }

    fn segment(&self, msn: u64, init: u32, decode_time: Duration) -> Segment {
        let since_start = TimeDelta::from_std(decode_time).unwrap_or(TimeDelta::MAX);
        Segment {
            msn,
            init,
            decode_time,
            duration: Duration::ZERO,
            discontinuity: self.epoch.after_discontinuity && msn == self.epoch.first_msn,
            program_date_time: self
                .started
                .checked_add_signed(since_start)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            parts: Vec::new(),
        }
    }

    fn window(&self) -> Window {
        let nanos = self.grid.segment.as_nanos().max(1);
        let listed = self.grid.window.as_nanos().div_ceil(nanos) as usize;
        // 8216bis §6.2.2: a playlist holds three target durations at least; a segment stays
        // for the length of the longest playlist that had it, and its own.
        let listed = listed.max(4);
        Window {
            listed,
            lingering: listed + 1,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
