//! Where the segments and parts of all renditions begin.

use std::collections::VecDeque;
use std::time::Duration;

use crate::room::MediaKind;

/// Frame times are rounded, borders are not.
const TOLERANCE: Duration = Duration::from_millis(2);
/// Borders that are kept: the slowest rendition is some seconds behind the fastest at most.
const MAX_BORDERS: usize = 64;

/// The borders between segments, counted for all renditions together.
///
/// Usually they are where the running time is a multiple of the segment duration. While a
/// publisher's own pictures are copied, a segment begins with each key frame that comes when one
/// is due.
#[derive(Debug)]
pub struct Grid {
    segment: Duration,
    part: Duration,
    borders: VecDeque<Border>,
    is_regular: bool,
    /// The latest time that somebody asked for.
    asked: Duration,
    /// Before this, no segment begins by itself.
    regular_from: Duration,
    first_frame: Option<Duration>,
    first_sound: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Border {
    at: Duration,
    segment: u64,
    discontinuity: bool,
}

/// A part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Counted from the first.
    pub segment: u64,
    /// Counted from its segment's first.
    pub part: u64,
    /// The segment is encoded in another way than the one before.
    pub discontinuity: bool,
}

impl Grid {
    pub fn new(segment: Duration, part: Duration) -> Self {
        Self {
            segment,
            part,
            borders: VecDeque::new(),
            is_regular: true,
            asked: Duration::ZERO,
            regular_from: Duration::ZERO,
            first_frame: None,
            first_sound: None,
        }
    }

    /// Tells when the canvas, or the mix, has begun; calls but the first of each have no effect.
    /// All renditions begin with the first part that is whole in picture and sound.
    pub fn begin(&mut self, kind: MediaKind, at: Duration) {
        let first = match kind {
            MediaKind::Video => &mut self.first_frame,
            MediaKind::Audio => &mut self.first_sound,
        };
        first.get_or_insert(at);
        if let Some((frame, sound)) = self.first_frame.zip(self.first_sound)
            && self.borders.is_empty()
        {
            let begun = frame.max(sound) + TOLERANCE;
            self.borders.push_back(Border {
                at: multiple_after(self.part, begun.max(self.asked)),
                segment: 0,
                discontinuity: false,
            });
        }
    }

    /// Where a time lies; `None` before the first segment. Once asked for, a time stays where it is.
    pub fn cell(&mut self, time: Duration) -> Option<Cell> {
        let time = time + TOLERANCE;
        while self.is_regular && self.due().is_some_and(|due| due <= time) {
            self.push(self.due()?, false);
        }
        self.asked = self.asked.max(time);
        let border = self.borders[self.border(time)?];
        Some(Cell {
            segment: border.segment,
            part: ((time - border.at).as_nanos() / self.part.as_nanos().max(1)) as u64,
            discontinuity: border.discontinuity,
        })
    }

    /// When the next segment is to begin.
    pub fn due(&self) -> Option<Duration> {
        let last = self.borders.back()?;
        let earliest = (last.at + self.part).max(self.regular_from);
        Some(multiple_after(self.segment, earliest))
    }

    /// The index of the border that a time comes after.
    fn border(&self, time: Duration) -> Option<usize> {
        self.borders.iter().rposition(|border| border.at <= time)
    }

    /// Where the part ends that a time is in, as far as its segment is known.
    pub fn part_end(&self, time: Duration) -> Option<Duration> {
        let time = time + TOLERANCE;
        let index = self.border(time)?;
        let begin = self.borders[index].at;
        let whole = begin + multiple_after(self.part, time - begin);
        let next = self.borders.get(index + 1).map(|next| next.at);
        let next = next.or_else(|| self.due().filter(|_| self.is_regular));
        Some(next.map_or(whole, |next| whole.min(next)))
    }

    /// Where a frame goes after missing ones, `last` being the one before: whole frames earlier, to
    /// begin the part that is due. Else that before would be longer than a part may be, and its own
    /// shorter.
    pub fn without_gap(&mut self, last: Duration, time: Duration, frame: Duration) -> Duration {
        self.cell(time);
        let own = self
            .border(time + TOLERANCE)
            .map(|own| self.borders[own].at);
        let Some((end, own)) = self.part_end(last).zip(own) else {
            return time;
        };
        let earliest = end.max(own);
        let room = (time + TOLERANCE).saturating_sub(earliest);
        let frames = room.as_nanos() / frame.as_nanos().max(1);
        let earlier = frame * u32::try_from(frames).unwrap_or(u32::MAX);
        time.saturating_sub(earlier)
    }

    /// When the present segment has its usual length.
    pub fn full(&self) -> Option<Duration> {
        Some(self.borders.back()?.at + self.segment)
    }

    /// The first time that is not settled.
    pub fn open_from(&self) -> Duration {
        let last = self.borders.back().map_or(Duration::ZERO, |last| last.at);
        self.asked.max(last)
    }

    /// Begins a segment out of turn. False, and without effect, if it is too late for that.
    pub fn begin_segment(&mut self, at: Duration, discontinuity: bool) -> bool {
        let is_open = !self.borders.is_empty() && at > self.open_from();
        if is_open {
            self.push(at, discontinuity);
        }
        is_open
    }

    /// Whether segments begin by themselves.
    pub fn set_regular(&mut self, is_regular: bool) {
        if is_regular && !self.is_regular {
            self.regular_from = self.asked;
        }
        self.is_regular = is_regular;
    }

    fn push(&mut self, at: Duration, discontinuity: bool) {
        let segment = self.borders.back().map_or(0, |last| last.segment + 1);
        self.borders.push_back(Border {
            at,
            segment,
            discontinuity,
        });
        if self.borders.len() > MAX_BORDERS {
            self.borders.pop_front();
        }
    }
}

/// The first multiple of `step` after `time`.
fn multiple_after(step: Duration, time: Duration) -> Duration {
    let step = step.as_nanos().max(1);
    let nanos = (time.as_nanos() / step + 1) * step;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn grid() -> Grid {
        let mut grid = Grid::new(ms(2000), ms(200));
        grid.begin(MediaKind::Audio, ms(10_020));
        grid.begin(MediaKind::Video, ms(10_130));
        grid
    }

    fn cell(grid: &mut Grid, at_ms: u64) -> Option<(u64, u64)> {
        grid.cell(ms(at_ms)).map(|cell| (cell.segment, cell.part))
    }

    #[test]
    fn segments_lie_on_multiples_of_their_length() {
        let mut grid = grid();
        assert_eq!(cell(&mut grid, 10_190), None);
        // A frame's time may be rounded down.
        assert_eq!(cell(&mut grid, 10_199), Some((0, 0)));
        assert_eq!(cell(&mut grid, 11_999), Some((1, 0)));
        assert_eq!(cell(&mut grid, 11_990), Some((0, 8)));
        assert_eq!(cell(&mut grid, 14_200), Some((2, 1)));
        assert_eq!(cell(&mut grid, 12_000), Some((1, 0)));
        // Hours later.
        assert_eq!(cell(&mut grid, 10_000_000), Some((4995, 0)));
    }

    #[test]
    fn nothing_begins_before_both_picture_and_sound_have() {
        let mut grid = Grid::new(ms(2000), ms(200));
        grid.begin(MediaKind::Video, ms(10_130));
        assert_eq!(cell(&mut grid, 10_330), None);
        grid.begin(MediaKind::Audio, ms(10_350));
        grid.begin(MediaKind::Audio, ms(10_370));
        assert_eq!(cell(&mut grid, 10_390), None);
        assert_eq!(cell(&mut grid, 10_400), Some((0, 0)));

        // A frame that was turned away before stays away.
        let mut grid = Grid::new(ms(2000), ms(200));
        grid.begin(MediaKind::Video, ms(10_130));
        assert_eq!(cell(&mut grid, 10_430), None);
        grid.begin(MediaKind::Audio, ms(10_350));
        assert_eq!(cell(&mut grid, 10_430), None);
        assert_eq!(cell(&mut grid, 10_600), Some((0, 0)));
    }

    #[test]
    fn a_segment_out_of_turn_is_that_of_all_who_have_not_passed_it() {
        let mut grid = grid();
        cell(&mut grid, 12_500);
        assert!(!grid.begin_segment(ms(12_500), true));
        assert!(grid.begin_segment(ms(12_700), true));
        grid.set_regular(false);
        let spliced = grid.cell(ms(12_700)).expect("a cell");
        assert_eq!(
            (spliced.segment, spliced.part, spliced.discontinuity),
            (2, 0, true)
        );
        assert_eq!(cell(&mut grid, 12_600), Some((1, 3)));
        // The next is due where it would have been, and nothing begins by itself.
        assert_eq!(grid.due(), Some(ms(14_000)));
        assert_eq!(cell(&mut grid, 14_300), Some((2, 8)));
        grid.set_regular(true);
        assert!(grid.begin_segment(ms(14_400), false));
        assert_eq!(cell(&mut grid, 14_400), Some((3, 0)));
        assert_eq!(cell(&mut grid, 16_000), Some((4, 0)));
    }

    #[test]
    fn a_part_ends_where_the_next_or_its_segment_does() {
        let mut grid = grid();
        cell(&mut grid, 12_100);
        assert_eq!(grid.part_end(ms(10_199)), Some(ms(10_400)));
        assert_eq!(grid.part_end(ms(11_900)), Some(ms(12_000)));
        assert_eq!(grid.part_end(ms(12_199)), Some(ms(12_400)));
        assert!(grid.begin_segment(ms(12_300), true));
        assert_eq!(grid.part_end(ms(12_250)), Some(ms(12_300)));
        assert_eq!(grid.part_end(ms(12_300)), Some(ms(12_500)));
        assert_eq!(grid.part_end(ms(13_933)), Some(ms(14_000)));
        grid.set_regular(false);
        assert_eq!(grid.part_end(ms(13_933)), Some(ms(14_100)));
    }

    #[test]
    fn after_missing_frames_the_part_that_is_due_begins_in_time() {
        let mut grid = grid();
        let mut after = |last, time| {
            let at = grid.without_gap(ms(last), ms(time), ms(40));
            at.as_millis()
        };
        assert_eq!(after(10_410, 10_530), 10_530, "within a part");
        assert_eq!(after(10_570, 10_690), 10_610);
        assert_eq!(after(10_610, 10_890), 10_810, "the one after it too");
        assert_eq!(after(11_970, 12_130), 12_010, "its segment's first");
        assert_eq!(after(12_370, 14_090), 14_010, "not in another segment");
        assert_eq!(after(14_380, 14_399), 14_399, "a border's own frame");
        assert_eq!(after(14_530, 14_720), 14_600, "on the border");
    }

    #[test]
    fn no_segment_is_shorter_than_a_part_unless_it_is_asked_for() {
        let mut grid = grid();
        assert!(grid.begin_segment(ms(13_900), false));
        assert_eq!(grid.due(), Some(ms(16_000)));
    }

    proptest! {
        #[test]
        fn a_time_stays_where_it_is(steps in prop::collection::vec((0_u64..30_000, any::<bool>(), any::<bool>()), 0..60)) {
            let mut grid = grid();
            let mut known = std::collections::BTreeMap::new();
            for (at_ms, begins, is_regular) in steps {
                grid.set_regular(is_regular);
                if begins {
                    grid.begin_segment(ms(at_ms), true);
                } else {
                    let cell = grid.cell(ms(at_ms));
                    known.insert(at_ms, cell);
                }
            }
            for (at_ms, before) in &known {
                prop_assert_eq!(grid.cell(ms(*at_ms)), *before);
            }
            // Time and count go forward together.
            let cells: Vec<_> = known.values().flatten().map(|c| (c.segment, c.part)).collect();
            prop_assert!(cells.is_sorted());
        }
    }
}
