//! A rendition that is either encoded from the canvas, or copied: from the one publisher who is to be
//! seen, or, where encoding all of them is too much, from the next smaller rendition. And how it
//! changes from one to the other.
//!
//! A publisher's frames are timed as the canvas' frames are, and wait for the canvas to get there. So all
//! renditions stay side by side, a change of source is a border between two frames, and segments of
//! all renditions can begin where a publisher's key frame is.

use std::collections::VecDeque;
use std::time::Duration;

use super::grid::Grid;
use super::wire::InputId;

/// A key frame that comes so much before a segment is due begins it.
const EARLY: Duration = Duration::from_millis(300);
/// No segment gets longer than usual by more than this, and two frames: a playlist's target duration
/// is rounded.
const LATE: Duration = Duration::from_millis(400);
/// Between two requests for the same key frame.
const ASK_AGAIN: Duration = Duration::from_millis(400);
/// How long a publisher takes to send one, at most and at first.
const MAX_RESPONSE: Duration = Duration::from_millis(500);
const RESPONSE: Duration = Duration::from_millis(150);
/// A publisher who sends nothing for so long is not copied: the canvas keeps the last picture.
const SILENCE: Duration = Duration::from_millis(250);
/// Frames that are ahead of their own time: one more, and the publisher is faster than the canvas.
const MAX_AHEAD: u32 = 3;
/// After a change of mind, or of pictures that cannot be copied, for so long all is encoded.
const SETTLE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_secs(10);
/// A publisher whose frames could be copied for so long takes a shed rendition's place: each try
/// costs its viewers two discontinuities.
const STEADY: Duration = Duration::from_secs(10);
/// Of the rendition's bitrate: all viewers pay for what a publisher sends.
const MOST_OF_BITRATE: u64 = 2;
/// That is looked at second by second.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Of what waits for the canvas, some seconds.
const MAX_HELD: usize = 256;

/// Decides frame by frame; `T` is a copied frame's data.
#[derive(Debug)]
pub struct Splice<T> {
    frame: Duration,
    /// Who may be copied now.
    publisher: Option<InputId>,
    state: State,
    /// Copied frames that wait for the canvas.
    held: VecDeque<(Duration, T)>,
    /// The newest frame of the canvas.
    canvas: Option<Duration>,
    /// The slot of the newest copied frame.
    last: Duration,
    not_before: Duration,
    asked: Option<Duration>,
    /// How long the publisher took to send the last key frame.
    response: Duration,
    /// The first and the newest of the publisher's frames that could be copied, without a gap.
    copyable: Option<(Duration, Duration)>,
    bitrate_bps: u64,
    /// When the second began, and the bits since.
    rate: (Duration, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Encoded,
    /// From a time on, which may be yet to come.
    Copied {
        source: Source,
        from: Duration,
    },
    /// The same, up to a time that is yet to come.
    Leaving {
        source: Source,
        from: Duration,
        at: Duration,
    },
}

/// Where copied frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Publisher(InputId),
    SmallerRendition,
}

/// A frame of a publisher who may be copied, in their own encoding.
#[derive(Debug)]
pub struct Frame<T> {
    /// Running time.
    pub time: Duration,
    pub is_key: bool,
    /// It has the rendition's size.
    pub fits: bool,
    pub bytes: usize,
    pub data: T,
}

/// What becomes of a frame of the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Encode,
    /// As the first after copied ones: it must be a key frame. Until [`Splice::handle_left`], what is
    /// left to copy may come.
    EncodeAnew,
    /// What is due of [`Splice::poll`] takes its place.
    Replace,
}

impl<T> Splice<T> {
    /// Of a rendition whose frames last so long, and that is encoded with this bitrate.
    pub fn new(frame: Duration, bitrate_bps: u32) -> Self {
        Self {
            bitrate_bps: u64::from(bitrate_bps),
            rate: (Duration::ZERO, 0),
            frame,
            publisher: None,
            state: State::Encoded,
            held: VecDeque::new(),
            canvas: None,
            last: Duration::ZERO,
            not_before: Duration::ZERO,
            asked: None,
            response: RESPONSE,
            copyable: None,
        }
    }

    /// Says who may be copied from now on.
    pub fn handle_publisher(&mut self, publisher: Option<InputId>, grid: &mut Grid) {
        if self.publisher != publisher {
            if let Some(Source::Publisher(_)) = self.source() {
                self.leave(SETTLE, grid);
            }
            self.publisher = publisher;
            self.copyable = None;
            let now = self.canvas.unwrap_or_default();
            self.not_before = self.not_before.max(now + SETTLE);
        }
    }

    /// Copies the smaller rendition from now on, or no longer. False if it cannot be done yet.
    pub fn shed(&mut self, is_shed: bool, grid: &mut Grid) -> bool {
        match (is_shed, self.state, self.canvas) {
            (true, State::Encoded, Some(canvas)) => {
                let from = self.next_slot(canvas, grid);
                let begins = grid.begin_segment(from, true);
                if begins {
                    let source = Source::SmallerRendition;
                    self.state = State::Copied { source, from };
                }
                begins
            }
            (
                false,
                State::Copied {
                    source: Source::SmallerRendition,
                    ..
                },
                _,
            ) => {
                let rest = match self.can_copy() {
                    true => Duration::ZERO,
                    false => SETTLE,
                };
                self.leave(rest, grid);
                true
            }
            _ => false,
        }
    }

    /// Whether the publisher is copied, or would be as soon as nothing else is.
    pub fn can_copy(&self) -> bool {
        let Some(((first, newest), canvas)) = self.copyable.zip(self.canvas) else {
            return false;
        };
        let is_shed = self.source() == Some(Source::SmallerRendition);
        canvas <= newest + SILENCE && (!is_shed || newest >= first + STEADY)
    }

    /// Who may be copied.
    pub fn publisher(&self) -> Option<InputId> {
        self.publisher
    }

    /// What is copied; `None` while frames are encoded.
    pub fn source(&self) -> Option<Source> {
        match self.state {
            State::Encoded => None,
            State::Copied { source, .. } | State::Leaving { source, .. } => Some(source),
        }
    }

    /// Takes a frame of the smaller rendition, which is cut where this one is.
    pub fn handle_smaller(&mut self, time: Duration, data: T) {
        let is_wanted = match self.state {
            State::Copied { source, from } => {
                source == Source::SmallerRendition && self.is_there(time, from)
            }
            State::Leaving { source, from, at } => {
                source == Source::SmallerRendition
                    && self.is_there(time, from)
                    && !self.is_there(time, at)
            }
            State::Encoded => false,
        };
        if is_wanted && self.held.len() < MAX_HELD {
            self.hold(time, data);
        }
    }

    /// Takes a publisher's frame; true if they are to be asked for a key frame.
    pub fn handle_frame(&mut self, frame: Frame<T>, grid: &mut Grid) -> bool {
        let Some((canvas, due)) = self.canvas.zip(grid.due()) else {
            return false;
        };
        let Some(publisher) = self.publisher.map(Source::Publisher) else {
            return false;
        };
        let is_another = self.source().is_some_and(|source| source != publisher);
        if !frame.fits || self.is_too_much(&frame) {
            if !is_another {
                self.leave(REST, grid);
            }
            self.not_before = self.not_before.max(frame.time + SETTLE);
        }
        self.copyable = (frame.time >= self.not_before).then(|| {
            let before = self.copyable;
            let goes_on = before.filter(|(_, newest)| frame.time <= *newest + SILENCE);
            (goes_on.map_or(frame.time, |(first, _)| first), frame.time)
        });
        if is_another {
            return false;
        }
        if frame.is_key
            && let Some(asked) = self.asked.take()
        {
            self.response = frame.time.saturating_sub(asked).min(MAX_RESPONSE);
        }
        let slot = self.slot(canvas, frame.time).max(self.last + self.frame);
        let may_begin = frame.is_key && slot + EARLY >= due;
        match self.state {
            State::Encoded if self.copyable.is_none() => return false,
            State::Encoded => {
                let slot = self.slot(canvas, frame.time);
                if may_begin && slot > canvas && grid.begin_segment(slot, true) {
                    grid.set_regular(false);
                    self.state = State::Copied {
                        source: publisher,
                        from: slot,
                    };
                    self.hold(slot, frame.data);
                }
            }
            State::Copied { .. } => {
                if slot > frame.time + self.frame * MAX_AHEAD || self.held.len() >= MAX_HELD {
                    self.leave(REST, grid);
                } else {
                    let slot = self.without_gap(canvas, slot, grid);
                    if may_begin {
                        // Where it is too late for that, another one will be asked for.
                        grid.begin_segment(slot, false);
                    }
                    self.hold(slot, frame.data);
                }
            }
            State::Leaving { at, .. } => {
                if !self.is_there(slot, at) {
                    self.hold(slot, frame.data);
                }
                return false;
            }
        }
        self.asks(frame.time, grid)
    }

    /// Tells of a frame of the canvas that is about to be encoded.
    pub fn handle_canvas(&mut self, time: Duration, grid: &mut Grid) -> Verdict {
        self.canvas = Some(time);
        if let State::Copied { source, .. } = self.state
            && source != Source::SmallerRendition
        {
            let is_late = grid.full().is_some_and(|full| time > full + LATE);
            if is_late || time > self.last + SILENCE {
                self.leave(REST, grid);
            }
        }
        match self.state {
            State::Leaving { at, .. } if self.is_there(time, at) => Verdict::EncodeAnew,
            State::Copied { from, .. } | State::Leaving { from, .. }
                if self.is_there(time, from) =>
            {
                Verdict::Replace
            }
            _ => Verdict::Encode,
        }
    }

    /// Whether copied frames are on their way that come before the next encoded one.
    pub fn lacks_frames(&self) -> bool {
        match self.state {
            State::Leaving { source, at, .. } => {
                source == Source::SmallerRendition && !self.is_there(self.last + self.frame, at)
            }
            State::Encoded | State::Copied { .. } => false,
        }
    }

    /// From now on frames are encoded.
    pub fn handle_left(&mut self) {
        self.state = State::Encoded;
        self.held.clear();
    }

    /// The newest frame that waits for the canvas.
    pub fn held(&self) -> Option<&T> {
        self.held.back().map(|(_, data)| data)
    }

    /// The next copied frame whose time has come, and that time. To be called when all that was to
    /// be encoded is.
    pub fn poll(&mut self) -> Option<(Duration, T)> {
        let canvas = self.canvas?;
        let (time, _) = self.held.front()?;
        if self.is_there(canvas, *time) {
            self.held.pop_front()
        } else {
            None
        }
    }

    /// As [`Grid::without_gap`], of what can still begin a segment.
    fn without_gap(&self, canvas: Duration, slot: Duration, grid: &Grid) -> Duration {
        match grid.part_end(self.last) {
            Some(end) => slot.min(self.slot(canvas, end)).max(self.last + self.frame),
            None => slot,
        }
    }

    fn is_too_much(&mut self, frame: &Frame<T>) -> bool {
        let (since, bits) = self.rate;
        let bits = bits + frame.bytes as u64 * 8;
        let lasted = frame.time.saturating_sub(since);
        if lasted < RATE_WINDOW {
            self.rate.1 = bits;
            return false;
        }
        self.rate = (frame.time, 0);
        let most = self.bitrate_bps * MOST_OF_BITRATE;
        // A second begins anew after a while without frames.
        lasted < RATE_WINDOW * 2 && bits as f64 > most as f64 * lasted.as_secs_f64()
    }

    fn hold(&mut self, slot: Duration, data: T) {
        self.last = slot;
        self.held.push_back((slot, data));
    }

    fn is_there(&self, time: Duration, slot: Duration) -> bool {
        is_there(time, slot, self.frame)
    }

    /// The canvas' frame that is nearest to a time.
    fn slot(&self, canvas: Duration, time: Duration) -> Duration {
        let half = self.frame / 2;
        let frames = |ahead: Duration| {
            let frames = (ahead + half).as_nanos() / self.frame.as_nanos().max(1);
            self.frame * u32::try_from(frames).unwrap_or(u32::MAX)
        };
        match time >= canvas {
            true => canvas + frames(time - canvas),
            false => canvas.saturating_sub(frames(canvas - time)),
        }
    }

    /// The first after a time that can be told to all renditions.
    fn next_slot(&self, time: Duration, grid: &Grid) -> Duration {
        let earliest = grid.open_from().max(time) + self.frame;
        self.slot(time, earliest + self.frame / 2)
    }

    /// So that the key frame is there when a segment is due.
    fn asks(&mut self, now: Duration, grid: &Grid) -> bool {
        // Before rather than after: what is due by itself does not wait.
        let lead = self.response + self.frame * 2;
        let is_due = grid.due().is_some_and(|due| now + lead >= due);
        let asked_just_now = self.asked.is_some_and(|asked| now < asked + ASK_AGAIN);
        if !is_due || asked_just_now {
            return false;
        }
        self.asked = Some(now);
        true
    }

    /// Encodes again, as soon as that can be said to all renditions.
    fn leave(&mut self, rest: Duration, grid: &mut Grid) {
        let State::Copied { source, from } = self.state else {
            return;
        };
        let canvas = self.canvas.unwrap_or_default();
        self.not_before = canvas + rest;
        let at = self.next_slot(canvas.max(from), grid);
        grid.begin_segment(at, true);
        grid.set_regular(true);
        self.state = State::Leaving { source, from, at };
        let frame = self.frame;
        self.held.retain(|(slot, _)| !is_there(*slot, at, frame));
        self.last = self.held.back().map_or(canvas, |(slot, _)| *slot);
    }
}

/// Whether who is at `time` has come to a slot; times are rounded.
fn is_there(time: Duration, slot: Duration, frame: Duration) -> bool {
    time + frame / 4 >= slot
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::MediaKind;

    const CAMERA: InputId = InputId(7);
    /// The canvas is so many frames behind what comes.
    const BEHIND: u32 = 4;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What went out: its time, whether it was copied, and whether it can begin a segment.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Out {
        time: Duration,
        is_copied: bool,
        is_key: bool,
    }

    /// A publisher, a canvas and an encoder, frame by frame.
    struct Show {
        splice: Splice<bool>,
        frame_bytes: usize,
        grid: Grid,
        at: u32,
        /// The publisher's answer is on its way.
        key_at: Option<u32>,
        out: Vec<Out>,
        cells: Vec<Option<super::super::grid::Cell>>,
    }

    impl Show {
        fn new() -> Self {
            let mut grid = Grid::new(ms(2000), ms(200));
            grid.begin(MediaKind::Audio, ms(10_000));
            grid.begin(MediaKind::Video, ms(10_000));
            Self {
                splice: Splice::new(Duration::from_secs(1) / 30, 2_500_000),
                frame_bytes: 10_000,
                grid,
                at: 300,
                key_at: None,
                out: Vec::new(),
                cells: Vec::new(),
            }
        }

        fn time(frame: u32) -> Duration {
            Duration::from_secs(1) * frame / 30
        }

        /// One frame's time goes by; the publisher sends a frame that came so much late, or none.
        fn step(&mut self, late: Option<Duration>, fits: bool) {
            self.at += 1;
            if let Some(late) = late {
                let is_key = self.key_at.is_some_and(|at| at <= self.at);
                if is_key {
                    self.key_at = None;
                }
                let time = Self::time(self.at) + ms(11) + late;
                let frame = Frame {
                    time,
                    is_key,
                    fits,
                    bytes: self.frame_bytes,
                    data: is_key,
                };
                if self.splice.handle_frame(frame, &mut self.grid) && self.key_at.is_none() {
                    self.key_at = Some(self.at + 3);
                }
            }
            let time = Self::time(self.at - BEHIND);
            let cell = self.grid.cell(time);
            let begins = self
                .cells
                .last()
                .is_some_and(|last| last.map(|c| c.segment) != cell.map(|c| c.segment));
            self.cells.push(cell);
            let verdict = self.splice.handle_canvas(time, &mut self.grid);
            if verdict == Verdict::EncodeAnew {
                let mut smaller = time - self.splice.frame * 2;
                while self.splice.lacks_frames() {
                    self.splice.handle_smaller(smaller, false);
                    smaller += self.splice.frame;
                }
            }
            while let Some((time, is_key)) = self.splice.poll() {
                self.out.push(Out {
                    time,
                    is_copied: true,
                    is_key,
                });
            }
            if verdict == Verdict::EncodeAnew {
                self.splice.handle_left();
            }
            if verdict != Verdict::Replace {
                let is_key = begins || verdict == Verdict::EncodeAnew;
                self.out.push(Out {
                    time,
                    is_copied: false,
                    is_key,
                });
            }
        }

        fn run(&mut self, frames: u32) {
            (0..frames).for_each(|_| self.step(Some(ms(0)), true));
        }

        fn allow(&mut self, source: Option<InputId>) {
            self.splice.handle_publisher(source, &mut self.grid);
        }

        fn is_copied(&self) -> bool {
            self.splice.source().is_some()
        }

        /// What must be so whatever happens.
        fn check(&mut self) {
            let mut before: Option<(Out, Option<super::super::grid::Cell>)> = None;
            for out in &self.out {
                let cell = self.grid.cell(out.time);
                if let Some((last, last_cell)) = before {
                    assert!(out.time > last.time, "{last:?} {out:?}");
                    let begins = cell.map(|c| c.segment) != last_cell.map(|c| c.segment);
                    assert!(!begins || out.is_key, "a segment begins with {out:?}");
                    if out.is_copied != last.is_copied {
                        assert!(
                            begins && cell.is_some_and(|c| c.discontinuity),
                            "{out:?} in {cell:?}"
                        );
                    }
                }
                before = Some((*out, cell));
            }
        }
    }

    #[test]
    fn it_is_copied_from_a_key_frame_on_and_encoded_again_at_once() {
        let mut show = Show::new();
        show.run(30);
        show.allow(Some(CAMERA));
        show.run(30 * 5);
        assert!(show.is_copied());
        show.run(30 * 20);
        assert!(show.is_copied());
        let copied = show.out.iter().filter(|out| out.is_copied).count();
        assert!(copied > 30 * 20, "{copied}");
        show.allow(None);
        show.run(5);
        assert!(!show.is_copied());
        show.check();
        // No frame is missing, neither here nor there.
        let gap = show
            .out
            .windows(2)
            .map(|pair| pair[1].time - pair[0].time)
            .max();
        assert!(gap.is_some_and(|gap| gap < ms(40)), "{gap:?}");
        let segments: Vec<u64> = show
            .out
            .iter()
            .filter_map(|out| Some(show.grid.cell(out.time)?.segment))
            .collect();
        assert!(segments.windows(2).all(|pair| pair[1] - pair[0] < 2));
    }

    #[test]
    fn who_falls_silent_or_changes_size_is_not_copied() {
        let mut show = Show::new();
        show.allow(Some(CAMERA));
        show.run(30 * 8);
        assert!(show.is_copied());
        (0..20).for_each(|_| show.step(None, true));
        assert!(!show.is_copied());
        show.run(30 * 16);
        assert!(show.is_copied(), "after a rest");
        show.step(Some(ms(0)), false);
        show.run(5);
        assert!(!show.is_copied());
        show.check();
    }

    #[test]
    fn missing_frames_make_no_part_longer_or_shorter() {
        for (lost, of) in [(1, 3), (2, 7), (5, 11), (7, 31), (9, 23), (10, 47)] {
            let mut show = Show::new();
            show.allow(Some(CAMERA));
            show.run(30 * 8);
            assert!(show.is_copied());
            let from = show.out.len();
            for nth in 0..600 {
                // A publisher sends the key frame that was asked for late rather than never.
                show.step((nth % of >= lost).then_some(ms(0)), true);
            }
            assert!(show.is_copied(), "{lost} of {of}");
            show.check();
            let mut parts = Vec::new();
            for out in &show.out[from..] {
                let cell = show.grid.cell(out.time).expect("a cell");
                if parts.last().is_none_or(|(_, last)| *last != cell) {
                    parts.push((out.time, cell));
                }
            }
            for pair in parts.windows(2) {
                let [(begin, cell), (end, next)] = [pair[0], pair[1]];
                let is_last = next.segment != cell.segment;
                let lasts = end - begin;
                assert!(lasts < ms(205), "{lost} of {of}: {lasts:?} of {cell:?}");
                assert!(
                    is_last || lasts > ms(195),
                    "{lost} of {of}: {lasts:?} of {cell:?}"
                );
            }
        }
    }

    #[test]
    fn who_sends_much_more_than_the_rendition_has_is_not_copied() {
        let mut show = Show::new();
        show.allow(Some(CAMERA));
        show.run(30 * 8);
        assert!(show.is_copied());
        // 6 Mbit/s.
        show.frame_bytes = 25_000;
        show.run(30 * 3);
        assert!(!show.is_copied());
        show.run(30 * 20);
        assert!(!show.is_copied());
        show.frame_bytes = 10_000;
        show.run(30 * 20);
        assert!(show.is_copied());
        show.check();
    }

    #[test]
    fn who_sends_no_key_frame_is_not_copied() {
        let mut show = Show::new();
        show.allow(Some(CAMERA));
        show.run(30 * 8);
        assert!(show.is_copied());
        for _ in 0..90 {
            show.key_at = None;
            show.step(Some(ms(0)), true);
        }
        assert!(!show.is_copied());
        show.check();
        let mut durations = Vec::new();
        let mut begin = (0, Duration::ZERO);
        for out in &show.out {
            let Some(cell) = show.grid.cell(out.time) else {
                continue;
            };
            if cell.segment != begin.0 {
                durations.push(out.time - begin.1);
                begin = (cell.segment, out.time);
            }
        }
        let longest = durations.iter().skip(1).max();
        assert!(
            longest.is_some_and(|longest| *longest < ms(2500)),
            "{durations:?}"
        );
    }

    #[test]
    fn a_smaller_rendition_takes_the_place_and_gives_it_back() {
        let mut show = Show::new();
        show.allow(Some(CAMERA));
        show.run(30);
        // What the smaller encoder makes comes two frames later, cut where the grid says.
        let shed = |show: &mut Show, is_shed, frames: u32| {
            assert!(show.splice.shed(is_shed, &mut show.grid));
            for _ in 0..frames {
                let time = Show::time(show.at - BEHIND - 2);
                let segment = |grid: &mut Grid, time| grid.cell(time).map(|cell| cell.segment);
                let before = segment(&mut show.grid, time - show.splice.frame);
                let is_key = before != segment(&mut show.grid, time);
                show.splice.handle_smaller(time, is_key);
                show.step(Some(ms(0)), true);
            }
        };
        shed(&mut show, true, 150);
        assert_eq!(show.splice.source(), Some(Source::SmallerRendition));
        assert!(!show.splice.shed(true, &mut show.grid), "it is already");
        shed(&mut show, false, 20);
        assert_eq!(show.splice.source(), None);
        show.check();
        assert!(show.out.iter().filter(|out| out.is_copied).count() > 140);
    }

    #[test]
    fn who_can_be_copied_takes_the_place_of_a_smaller_rendition() {
        let mut show = Show::new();
        show.run(30);
        assert!(show.splice.shed(true, &mut show.grid));
        show.run(30);
        assert!(!show.splice.can_copy(), "nobody may be");
        show.allow(Some(CAMERA));
        show.run(30 * 8);
        assert!(!show.splice.can_copy(), "not at once");
        show.run(30 * 5);
        assert!(show.splice.can_copy());
        (0..20).for_each(|_| show.step(None, true));
        show.run(30);
        assert!(!show.splice.can_copy(), "nothing came for a while");
        show.run(30 * 12);
        assert!(show.splice.can_copy());
        show.step(Some(ms(0)), false);
        assert!(!show.splice.can_copy(), "it does not fit");
        show.run(30 * 13);
        assert_eq!(show.splice.source(), Some(Source::SmallerRendition));
        assert!(show.splice.shed(false, &mut show.grid));
        for _ in 0..75 {
            show.run(1);
            assert!(show.splice.can_copy());
        }
        assert_eq!(show.splice.source(), Some(Source::Publisher(CAMERA)));
        assert!(!show.splice.shed(true, &mut show.grid), "that costs less");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_in_order_and_cut_at_key_frames(
            steps in prop::collection::vec((0_u8..100, 0_u64..120, 0_u8..200), 0..1500)
        ) {
            let mut show = Show::new();
            show.run(10);
            show.allow(Some(CAMERA));
            for (lost, late, odd) in steps {
                let late = if late < 90 { late / 4 } else { late };
                match odd {
                    0 => show.allow(None),
                    1..4 => show.allow(Some(CAMERA)),
                    _ => {}
                }
                show.step((lost > 3).then_some(ms(late)), odd != 5);
            }
            show.check();
        }
    }
}
