//! Whether the largest rendition would show more than the next smaller one: of small pictures it
//! would be a magnification, which players make for nothing.

use std::time::{Duration, Instant};

use super::fit::{Size, cut, fitted};
use super::layout::Tile;

/// Cameras begin small, and shrink for a while when their path is bad.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the detail in the smaller rendition; what is so little above it is not missed.
const NEARLY: f64 = 0.95;

#[derive(Debug)]
pub struct Detail {
    /// How much larger the largest rendition's pictures are.
    ratio: f64,
    /// Since when the smaller one shows all there is.
    since: Option<Instant>,
}

impl Detail {
    /// Of the two largest renditions.
    pub fn new(largest: Size, smaller: Size) -> Self {
        Self {
            ratio: f64::from(largest.1) / f64::from(smaller.1.max(1)),
            since: None,
        }
    }

    /// Takes the pictures on the canvas, as large as they come and where they stand; `has_more` when
    /// something is drawn beside them that is as sharp as the canvas. Whether the smaller rendition
    /// shows all of it, and did so for a while.
    pub fn is_missing(
        &mut self,
        pictures: impl IntoIterator<Item = (Size, Tile)>,
        has_more: bool,
        now: Instant,
    ) -> bool {
        let is_small = |(size, tile): (Size, Tile)| {
            let shown = fitted(size, &tile);
            let whole = size.1 - 2 * cut(size, shown).1;
            f64::from(shown.1) >= f64::from(whole) * self.ratio * NEARLY
        };
        if has_more || !pictures.into_iter().all(is_small) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::core::layout::Fit;

    fn tile(width_px: u32, height_px: u32) -> Tile {
        Tile {
            x_px: 0,
            y_px: 0,
            width_px,
            height_px,
            fit: Fit::Cover,
            is_over: false,
        }
    }

    /// Whether it is missing after each second with one picture.
    fn run(seconds: impl IntoIterator<Item = (Size, Tile)>) -> Vec<bool> {
        let mut detail = Detail::new((1280, 720), (640, 360));
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        (0..)
            .zip(seconds)
            .map(|(second, picture)| detail.is_missing([picture], false, at(second)))
            .collect()
    }

    #[test]
    fn a_small_picture_on_a_large_canvas_is_only_magnified() {
        let whole = tile(1280, 720);
        let missing = run(std::iter::repeat_n(((640, 360), whole), 40));
        assert_eq!(missing.iter().position(|missing| *missing), Some(30));
        assert!(!run(std::iter::repeat_n(((960, 540), whole), 60)).contains(&true));
        // In a tile as large as it is.
        let quarter = tile(640, 360);
        assert!(!run(std::iter::repeat_n(((640, 360), quarter), 60)).contains(&true));
    }

    #[test]
    fn a_larger_picture_ends_it_at_once_and_a_short_dip_does_not_begin_it() {
        let whole = tile(1280, 720);
        let height = |second: u64| match second {
            10..35 | 50..100 => (640, 360),
            _ => (1280, 720),
        };
        let missing = run((0..120).map(|second| (height(second), whole)));
        let seconds: Vec<_> = (0..120).filter(|second| missing[*second]).collect();
        assert_eq!(seconds, (80..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_drawn_counts() {
        let mut detail = Detail::new((1280, 720), (640, 360));
        let start = Instant::now();
        let later = start + PATIENCE;
        assert!(!detail.is_missing([], true, start));
        assert!(!detail.is_missing([], true, later));
        assert!(!detail.is_missing([], false, later));
        assert!(detail.is_missing([], false, later + PATIENCE));
    }
}
