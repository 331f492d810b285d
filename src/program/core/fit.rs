//! How a picture fills a tile: how large it becomes, and what is cut off at its sides.

use super::layout::{Fit, Tile};

/// The share of a picture's width or height that is left at least when its sides are cut off: of
/// a telephone held upright, a wide tile would show no more than a mouth.
const LEAST_LEFT: f64 = 0.7;

/// Width and height, in pixels.
pub type Size = (u32, u32);

/// How large a picture of `size` becomes in a tile; never larger than the tile.
pub fn fitted(size: Size, tile: &Tile) -> Size {
    let whole = aspect(size);
    let wanted = aspect((tile.width_px, tile.height_px));
    let aspect = match tile.fit {
        Fit::Contain => whole,
        Fit::Cover => wanted.clamp(whole * LEAST_LEFT, whole / LEAST_LEFT),
    };
    let (width, height) = (f64::from(tile.width_px), f64::from(tile.height_px));
    let px = |length: f64, most: u32| (length.round() as u32).clamp(1, most.max(1));
    match aspect < wanted {
        true => (px(height * aspect, tile.width_px), tile.height_px.max(1)),
        false => (tile.width_px.max(1), px(width / aspect, tile.height_px)),
    }
}

/// What is cut off a picture of `size` at the left, as at the right, and at the top, as at the
/// bottom, so that it has the shape of `target`; even, for chroma has half the resolution.
pub fn cut(size: Size, target: Size) -> Size {
    let (width, height) = (f64::from(size.0), f64::from(size.1));
    let aspect = aspect(target);
    let even = |px: f64| ((px / 4.0).floor() as u32) * 2;
    match aspect < width / height {
        true => (even(width - height * aspect), 0),
        false => (0, even(height - width / aspect)),
    }
}

fn aspect((width, height): Size) -> f64 {
    f64::from(width.max(1)) / f64::from(height.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tile(width_px: u32, height_px: u32, fit: Fit) -> Tile {
        Tile {
            x_px: 0,
            y_px: 0,
            width_px,
            height_px,
            fit,
            is_over: false,
        }
    }

    #[test]
    fn sides_are_cut_off_to_fill_the_tile_but_never_much() {
        let covers = |size, width, height| {
            let fitted = fitted(size, &tile(width, height, Fit::Cover));
            (fitted, cut(size, fitted))
        };
        let wide = (1280, 720);
        assert_eq!(covers(wide, 640, 360), ((640, 360), (0, 0)));
        assert_eq!(covers(wide, 426, 240), ((426, 240), (0, 0)));
        // 4:3 of it: 960 are left.
        assert_eq!(covers(wide, 400, 300), ((400, 300), (160, 0)));
        assert_eq!(covers(wide, 1280, 600), ((1280, 600), (0, 60)));
        // Of a picture that is much wider than its tile, 70 % are left.
        assert_eq!(covers(wide, 300, 700), ((300, 241), (190, 0)));
        assert_eq!(covers((360, 640), 1280, 720), ((579, 720), (0, 96)));
    }

    #[test]
    fn what_is_contained_is_whole() {
        let fitted = fitted((640, 480), &tile(1280, 720, Fit::Contain));
        assert_eq!(fitted, (960, 720));
        assert_eq!(cut((640, 480), fitted), (0, 0));
    }

    proptest! {
        #[test]
        fn it_stays_inside_the_tile_and_something_is_left(
            size in (1u32..4096, 1u32..4096), of_tile in (1u32..2000, 1u32..2000), covers: bool,
        ) {
            let fit = if covers { Fit::Cover } else { Fit::Contain };
            let fitted = fitted(size, &tile(of_tile.0, of_tile.1, fit));
            prop_assert!((1..=of_tile.0).contains(&fitted.0));
            prop_assert!((1..=of_tile.1).contains(&fitted.1));
            let cut = cut(size, fitted);
            prop_assert!(2 * cut.0 < size.0 && 2 * cut.1 < size.1, "{cut:?} of {size:?} in {fitted:?}");
        }
    }
}
