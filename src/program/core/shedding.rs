//! When encoding falls behind, the most costly rendition is not encoded for a while.

use std::time::{Duration, Instant};

/// Whoever falls behind does so for this long before anything is done.
const WINDOW: Duration = Duration::from_secs(5);
/// Frames missing of those that were due: what a machine that is only busy for a moment does not miss.
const BEHIND: f64 = 0.1;
/// How long a rendition is shed at first. The rest is doubled each time that it did not help.
const REST: Duration = Duration::from_secs(30);
const MAX_REST: Duration = Duration::from_secs(600);
/// A rendition that was taken back for so long has shown that there is room for it.
const PROVEN: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Shedding {
    fps: u32,
    /// Begins with the first frame: nothing is behind before.
    window: Option<Instant>,
    /// In the window.
    encoded: u64,
    is_shed: bool,
    /// Since the last change.
    since: Instant,
    rest: Duration,
}

impl Shedding {
    pub fn new(fps: u32, now: Instant) -> Self {
        Self {
            fps,
            window: None,
            encoded: 0,
            is_shed: false,
            since: now,
            // Doubled by the first time.
            rest: REST / 2,
        }
    }

    /// Whether encoding all is too much.
    pub fn is_shed(&self) -> bool {
        self.is_shed
    }

    /// Takes the number of frames that came to the most costly encoder since the last time. Says
    /// when its rendition is to be shed (`true`), and when it is to be taken back.
    pub fn handle_frames(&mut self, frames: u64, now: Instant) -> Option<bool> {
        if self.window.is_none() && frames > 0 {
            self.window = Some(now);
            return None;
        }
        self.encoded += frames;
        let length = now.saturating_duration_since(self.window?);
        if length < WINDOW {
            return None;
        }
        let due = length.as_secs_f64() * f64::from(self.fps);
        let is_behind = (self.encoded as f64) < due * (1.0 - BEHIND);
        (self.window, self.encoded) = (Some(now), 0);
        let lasted = now.saturating_duration_since(self.since);
        let changes = match self.is_shed {
            false => is_behind,
            true => !is_behind && lasted >= self.rest,
        };
        if !changes {
            return None;
        }
        if !self.is_shed {
            self.rest = match lasted < PROVEN {
                true => (self.rest * 2).min(MAX_REST),
                false => REST,
            };
        }
        self.is_shed = !self.is_shed;
        self.since = now;
        Some(self.is_shed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second at a time, with so many of its fifteen frames; the changes, and their seconds.
    fn run(frames: impl Fn(u64, bool) -> u64, seconds: u64) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let mut shedding = Shedding::new(30, start);
        let mut changes = Vec::new();
        let mut is_shed = false;
        assert_eq!(shedding.handle_frames(1, start), None);
        for half in 1..=2 * seconds {
            let now = start + Duration::from_millis(500) * half as u32;
            if let Some(change) = shedding.handle_frames(frames(half / 2, is_shed), now) {
                is_shed = change;
                changes.push((half / 2, change));
            }
        }
        changes
    }

    #[test]
    fn a_busy_moment_is_no_reason() {
        assert_eq!(run(|_, _| 15, 60), []);
        assert_eq!(run(|second, _| if second == 7 { 8 } else { 15 }, 60), []);
    }

    #[test]
    fn what_has_not_begun_is_not_behind() {
        let start = Instant::now();
        let mut shedding = Shedding::new(30, start);
        let frames = |second| if second < 4 { 0 } else { 30 };
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert_eq!(shedding.handle_frames(frames(second), now), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_shed_and_tried_again_less_and_less_often() {
        let changes = run(|_, is_shed| if is_shed { 15 } else { 11 }, 500);
        let expect = [
            (5, true),
            (35, false),
            (40, true),
            (100, false),
            (105, true),
            (225, false),
            (230, true),
            (470, false),
            (475, true),
        ];
        assert_eq!(changes, expect);
    }

    #[test]
    fn it_is_taken_back_once_there_is_room() {
        let busy = |second| (130..170).contains(&second);
        let changes = run(|second, _| if busy(second) { 10 } else { 15 }, 400);
        assert_eq!(changes, [(135, true), (175, false)]);
    }
}
