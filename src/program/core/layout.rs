//! Where each speaker stands on the canvas.

use serde::{Deserialize, Serialize};

/// One rectangle of the canvas, in pixels; the picture is fitted into it, never distorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    pub x_px: u32,
    pub y_px: u32,
    pub width_px: u32,
    pub height_px: u32,
}

/// Speakers at most in one picture; with more, tiles are too small to see a face.
pub const MAX_TILES: usize = 49;

/// A grid of `count` equal tiles, as square as it goes, the last row centred.
pub fn grid(count: usize, width_px: u32, height_px: u32) -> Vec<Tile> {
    let count = count.min(MAX_TILES);
    let Some(columns) = (1..=count).find(|columns| columns * columns >= count) else {
        return Vec::new();
    };
    let rows = count.div_ceil(columns);
    // Even sizes and places: chroma has half the resolution.
    let even = |px: usize| px as u32 & !1;
    let tile_width = even(width_px as usize / columns);
    let tile_height = even(height_px as usize / rows);
    (0..count)
        .map(|nth| {
            let (row, column) = (nth / columns, nth % columns);
            let in_row = if row + 1 == rows {
                count - row * columns
            } else {
                columns
            };
            let row_width = tile_width as usize * in_row;
            let left = even((width_px as usize - row_width) / 2);
            Tile {
                x_px: left + tile_width * column as u32,
                y_px: tile_height * row as u32,
                width_px: tile_width,
                height_px: tile_height,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_fills_the_canvas_and_three_stand_two_above_one() {
        let full = Tile {
            x_px: 0,
            y_px: 0,
            width_px: 1280,
            height_px: 720,
        };
        assert_eq!(grid(1, 1280, 720), [full]);
        let three: Vec<_> = grid(3, 1280, 720)
            .iter()
            .map(|t| (t.x_px, t.y_px))
            .collect();
        assert_eq!(three, [(0, 0), (640, 0), (320, 360)]);
        assert_eq!(grid(0, 1280, 720), []);
    }

    proptest! {
        #[test]
        fn tiles_are_inside_and_apart(count in 0..80usize, w in 64..4000u32, h in 64..4000u32) {
            let tiles = grid(count, w, h);
            prop_assert_eq!(tiles.len(), count.min(MAX_TILES));
            for (nth, a) in tiles.iter().enumerate() {
                prop_assert!(a.x_px + a.width_px <= w && a.y_px + a.height_px <= h);
                prop_assert!(a.width_px > 0 && a.height_px > 0);
                for b in &tiles[..nth] {
                    let apart = a.x_px >= b.x_px + b.width_px || b.x_px >= a.x_px + a.width_px
                        || a.y_px >= b.y_px + b.height_px || b.y_px >= a.y_px + a.height_px;
                    prop_assert!(apart, "{:?} {:?}", a, b);
                }
            }
        }
    }
}
