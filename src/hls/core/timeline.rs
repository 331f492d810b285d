//! All renditions side by side: parts in, segments out.
//!
//! The pipeline counts the segments, for all renditions together, and says of each part in which
//! it lies. So every rendition has the same media sequence number at the same time, even after
//! one of them lost a part. When the pipeline begins anew it also counts anew: an *epoch*.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::rendition::Rendition;
use super::segment::{ClosedSegment, Init, MIN_PART, Part, Refused, Segment, check_size};
use super::track::{Track, Window};

/// An AAC frame (1024 samples at 44.1 kHz) rounded up: audio is cut between frames, so its
/// segments and parts miss the grid by up to half of it, and its parts are up to one longer.
pub const AUDIO_FRAME: Duration = Duration::from_millis(24);

const MAX_MARKED: usize = 64;

/// What a timeline is made on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The usual length of a segment.
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
    /// Within an epoch, the segments before which the pipeline said there is a discontinuity.
    marked: BTreeSet<u64>,
    over: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Epoch {
    /// The number of its first segment, the only one with a discontinuity before it.
    first_msn: u64,
    /// The pipeline's count at its first segment; none before its first part.
    first_count: Option<u64>,
    after_discontinuity: bool,
}

/// A track's newest part in an epoch.
#[derive(Debug, Clone, Copy)]
enum Place {
    Before,
    At { count: u64, end: Duration },
}

/// An init segment's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitTaken {
    pub number: u32,
    /// False if it is the one that was in force already.
    pub new: bool,
}

impl Timeline {
    pub fn new(grid: Grid, started: DateTime<Utc>, renditions: Vec<Rendition>) -> Self {
        Self {
            grid,
            started,
            places: vec![Place::Before; renditions.len()],
            tracks: renditions.into_iter().map(Track::new).collect(),
            epoch: Epoch::default(),
            marked: BTreeSet::new(),
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

    /// Takes an init segment: that of the parts that follow.
    pub fn push_init(&mut self, init: Init) -> Result<InitTaken, Refused> {
        if self.over {
            return Err(Refused::Over);
        }
        let index = self
            .index_of(&init.rendition)
            .ok_or(Refused::UnknownRendition)?;
        check_size(&init.bytes)?;
        let track = &mut self.tracks[index];
        Ok(match track.latest_init() {
            Some((number, present)) if *present == init.bytes => InitTaken { number, new: false },
            _ => InitTaken {
                number: track.add_init(init.bytes),
                new: true,
            },
        })
    }

    /// Takes a part, and hands out the segments that it closed.
    ///
    /// A part that needs another init segment than its segment's others begins a segment, for all
    /// renditions, after a discontinuity.
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
        let mut closed = Vec::new();
        let open = self.tracks[index].open();
        if open.is_some_and(|open| open.init != init) && !self.begins_segment(index, &part) {
            if !part.independent {
                return Err(Refused::NotIndependent);
            }
            closed.extend(self.discontinuity());
        }
        let count = match self.places[index] {
            Place::Before => self.first_count(index, &part)?,
            Place::At { count, end } if part.decode_time + self.tolerance() >= end => {
                self.next_count(index, count, &part)
            }
            Place::At { .. } => return Err(Refused::Backwards),
        };
        let msn = self.msn(count);
        if part.discontinuity && !self.has_discontinuity(msn) {
            self.mark(msn);
        }
        if self.tracks[index].open().is_none_or(|open| open.msn != msn) {
            closed.extend(self.close(index));
            self.fill_gap(index, msn);
            let segment = self.segment(msn, init, part.decode_time);
            self.tracks[index].open_segment(segment);
        }
        let end = part.decode_time + part.duration;
        let is_last = part.ends_segment;
        self.places[index] = Place::At { count, end };
        self.tracks[index].append(part);
        if is_last {
            closed.extend(self.close(index));
        }
        Ok(closed)
    }

    /// The pipeline began anew: closes what is open; each rendition's next segment has the
    /// same number, and one EXT-X-DISCONTINUITY. Twice in a row is once.
    pub fn discontinuity(&mut self) -> Vec<ClosedSegment> {
        if self.over || self.epoch.first_count.is_none() {
            return Vec::new();
        }
        let closed = self.close_all();
        let first_msn = self.tracks.iter().map(Track::next_msn).max().unwrap_or(0);
        for index in 0..self.tracks.len() {
            self.fill_gap(index, first_msn);
            self.places[index] = Place::Before;
        }
        self.marked.clear();
        self.epoch = Epoch {
            first_msn,
            first_count: None,
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

    /// By so much parts may overlap, and segments be longer: sound is cut between its own frames.
    fn tolerance(&self) -> Duration {
        self.grid.part / 2
    }

    /// EXTINF rounded to the nearest integer may not exceed the target duration
    /// (8216bis §4.4.3.1): a segment is shorter than this.
    fn longest_segment(&self) -> Duration {
        self.target_duration() + Duration::from_millis(500)
    }

    fn msn(&self, count: u64) -> u64 {
        let first = self.epoch.first_count.unwrap_or(count);
        self.epoch.first_msn + count.saturating_sub(first)
    }

    fn begins_segment(&self, index: usize, part: &Part) -> bool {
        match self.places[index] {
            Place::Before => true,
            Place::At { count, .. } => part.segment > count,
        }
    }

    /// Of a track's first part in an epoch.
    fn first_count(&mut self, index: usize, part: &Part) -> Result<u64, Refused> {
        if !part.independent && !self.tracks[index].rendition.is_audio() {
            return Err(Refused::NotIndependent);
        }
        let first = *self.epoch.first_count.get_or_insert(part.segment);
        if part.segment < first {
            return Err(Refused::Backwards);
        }
        Ok(part.segment)
    }

    /// Of a further part: no segment gets too long, whatever the pipeline says.
    fn next_count(&self, index: usize, before: u64, part: &Part) -> u64 {
        let count = part.segment.max(before);
        let Some(open) = self.tracks[index].open() else {
            return count.max(before + 1);
        };
        let too_long = open.duration + part.duration >= self.longest_segment();
        count.max(before + u64::from(too_long))
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
            let first = self
                .epoch
                .after_discontinuity
                .then_some(self.epoch.first_msn);
            let skipped = first.into_iter().chain(self.marked.iter().copied());
            let skipped = skipped.filter(|skipped| (from..msn).contains(skipped));
            let skipped = skipped.count() as u64;
            self.tracks[index].jump_to(msn, skipped);
            from = msn;
        }
        let Some((init, _)) = self.tracks[index].latest_init() else {
            return;
        };
        for msn in from..msn {
            let mut gap = self.segment(msn, init, self.tracks[index].end());
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
            discontinuity: self.has_discontinuity(msn),
            program_date_time: self
                .started
                .checked_add_signed(since_start)
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            parts: Vec::new(),
        }
    }

    /// Unless some rendition has begun it without. Renditions are some seconds apart at most: what is
    /// older is not asked for any more.
    fn mark(&mut self, msn: u64) {
        let has_begun = |track: &Track| track.open().is_some_and(|open| open.msn == msn);
        let mut tracks = self.tracks.iter();
        if tracks.any(|track| has_begun(track) || track.next_msn() > msn) {
            return;
        }
        self.marked.insert(msn);
        while self.marked.len() > MAX_MARKED {
            self.marked.pop_first();
        }
    }

    fn has_discontinuity(&self, msn: u64) -> bool {
        let is_first = self.epoch.after_discontinuity && msn == self.epoch.first_msn;
        is_first || self.marked.contains(&msn)
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
