//! A rendition that is either encoded from the canvas, or copied from the one publisher who is to be
//! seen, and how it changes from one to the other.
//!
//! Copied frames are timed as the canvas' frames are, and wait for the canvas to get there. So all
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
/// Of what waits for the canvas, some seconds.
const MAX_HELD: usize = 256;

/// Decides frame by frame; `T` is a copied frame's data.
#[derive(Debug)]
pub struct Splice<T> {
    frame: Duration,
    /// What may be copied now.
    source: Option<InputId>,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Encoded,
    /// From a time on, which may be yet to come.
    Copied {
        from: Duration,
    },
    /// The same, up to a time that is yet to come.
    Leaving {
        from: Duration,
        at: Duration,
    },
}

/// A frame of a publisher who may be copied, in their own encoding.
#[derive(Debug)]
pub struct Frame<T> {
    /// Running time.
    pub time: Duration,
    pub is_key: bool,
    /// It has the rendition's size.
    pub fits: bool,
    pub data: T,
}

/// What becomes of a frame of the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Encode,
    /// As the first after copied ones: it must be a key frame.
    EncodeAnew,
    /// What is due of [`Splice::poll`] takes its place.
    Replace,
}

impl<T> Splice<T> {
    pub fn new(fps: u32) -> Self {
        Self {
            frame: Duration::from_secs(1) / fps.max(1),
            source: None,
            state: State::Encoded,
            held: VecDeque::new(),
            canvas: None,
            last: Duration::ZERO,
            not_before: Duration::ZERO,
            asked: None,
            response: RESPONSE,
        }
    }

    /// Says what may be copied from now on.
    pub fn handle_source(&mut self, source: Option<InputId>, grid: &mut Grid) {
        if self.source != source {
            self.leave(SETTLE, grid);
            self.source = source;
            let now = self.canvas.unwrap_or_default();
            self.not_before = self.not_before.max(now + SETTLE);
        }
    }

    /// What may be copied, and whether it is.
    pub fn source(&self) -> (Option<InputId>, bool) {
        (self.source, self.state != State::Encoded)
    }

    /// Takes a frame; true if its publisher is to be asked for a key frame.
    pub fn handle_frame(&mut self, frame: Frame<T>, grid: &mut Grid) -> bool {
        let Some((canvas, due)) = self.canvas.zip(grid.due()) else {
            return false;
        };
        if !frame.fits {
            self.leave(REST, grid);
            self.not_before = self.not_before.max(frame.time + SETTLE);
        }
        if frame.is_key
            && let Some(asked) = self.asked.take()
        {
            self.response = frame.time.saturating_sub(asked).min(MAX_RESPONSE);
        }
        let slot = self.slot(canvas, frame.time).max(self.last + self.frame);
        let may_begin = frame.is_key && slot + EARLY >= due;
        match self.state {
            State::Encoded if !frame.fits || frame.time < self.not_before => return false,
            State::Encoded => {
                let slot = self.slot(canvas, frame.time);
                if may_begin && slot > canvas && grid.begin_segment(slot, true) {
                    grid.set_regular(false);
                    self.state = State::Copied { from: slot };
                    self.hold(slot, frame.data);
                }
            }
            State::Copied { .. } => {
                if slot > frame.time + self.frame * MAX_AHEAD || self.held.len() >= MAX_HELD {
                    self.leave(REST, grid);
                } else {
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
        if let State::Copied { .. } = self.state {
            let is_late = grid.full().is_some_and(|full| time > full + LATE);
            if is_late || time > self.last + SILENCE {
                self.leave(REST, grid);
            }
        }
        match self.state {
            State::Leaving { at, .. } if self.is_there(time, at) => {
                self.state = State::Encoded;
                Verdict::EncodeAnew
            }
            State::Copied { from } | State::Leaving { from, .. } if self.is_there(time, from) => {
                Verdict::Replace
            }
            _ => Verdict::Encode,
        }
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
        let State::Copied { from } = self.state else {
            return;
        };
        let canvas = self.canvas.unwrap_or_default();
        self.not_before = canvas + rest;
        let earliest = grid.open_from().max(canvas).max(from) + self.frame;
        let at = self.slot(canvas, earliest + self.frame / 2);
        grid.begin_segment(at, true);
        grid.set_regular(true);
        self.state = State::Leaving { from, at };
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
            grid.begin(ms(10_000));
            Self {
                splice: Splice::new(30),
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
            while let Some((time, is_key)) = self.splice.poll() {
                self.out.push(Out {
                    time,
                    is_copied: true,
                    is_key,
                });
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
            self.splice.handle_source(source, &mut self.grid);
        }

        fn is_copied(&self) -> bool {
            self.splice.source().1
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
