//! Where everybody stands on the canvas: layouts are data, an arrangement is pure.
//!
//! Read [`file`] for how a layout is written, and [`card`] for what is written in the picture.

pub mod card;
pub mod file;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use card::Card;
pub use file::{Area, Flow, Layout, Scene, Who, load_all};

/// Pictures at most in one program; with more, tiles are too small to see a face.
pub const MAX_TILES: usize = 49;

/// How a picture fills its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// All of the tile; what does not fit is cut off, but never much of the picture.
    #[default]
    Cover,
    /// All of the picture; the background shows beside it.
    Contain,
}

/// One rectangle of the canvas, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    pub x_px: u32,
    pub y_px: u32,
    pub width_px: u32,
    pub height_px: u32,
    pub fit: Fit,
    /// It lies over others.
    pub is_over: bool,
}

/// A picture on stage: of a camera, or of who has none now; or of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<K> {
    pub key: K,
    pub is_screen: bool,
    /// It is pinned, or its participant speaks.
    pub is_featured: bool,
}

/// Where one source stands: in which area of the scene, at which of its places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<K> {
    pub key: K,
    pub area: usize,
    pub place: usize,
    pub tile: Tile,
}

/// An arrangement, and the scene it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrangement<K> {
    pub layout: String,
    pub scene: usize,
    pub placed: Vec<Placed<K>>,
}

impl<K> Default for Arrangement<K> {
    fn default() -> Self {
        Self {
            layout: String::new(),
            scene: 0,
            placed: Vec::new(),
        }
    }
}

/// Arranges `sources`, which are in the order of the stage. Whoever stood in an area `before`
/// keeps the place there.
pub fn arrange<K: Copy + Ord>(
    layout: &Layout,
    sources: &[Source<K>],
    canvas_px: (u32, u32),
    before: &Arrangement<K>,
) -> Arrangement<K> {
    let screens = sources.iter().filter(|source| source.is_screen).count();
    let fits = |scene: &Scene| sources.len() >= scene.needs && screens >= scene.screens;
    let Some(number) = layout.scenes.iter().position(fits) else {
        return Arrangement::default();
    };
    let scene = &layout.scenes[number];
    let is_same_scene = before.layout == layout.name && before.scene == number;
    let old: BTreeMap<K, (usize, usize)> = before
        .placed
        .iter()
        .filter(|_| is_same_scene)
        .map(|placed| (placed.key, (placed.area, placed.place)))
        .collect();
    let mut left: Vec<Source<K>> = sources.to_vec();
    let mut placed = Vec::new();
    for (area_number, area) in scene.areas.iter().enumerate() {
        let stays = |key: &K| old.get(key).is_some_and(|(old, _)| *old == area_number);
        let chosen = choose(area, &mut left, stays);
        let places = keep_places(&chosen, area_number, &old);
        let tiles = tiles(area, layout.gap, chosen.len(), canvas_px);
        for (place, (key, tile)) in places.into_iter().zip(tiles).enumerate() {
            placed.push(Placed {
                key,
                area: area_number,
                place,
                tile,
            });
        }
    }
    Arrangement {
        layout: layout.name.clone(),
        scene: number,
        placed,
    }
}

/// Takes those of an area out of who is `left`; some of them stood there before.
fn choose<K: Copy>(area: &Area, left: &mut Vec<Source<K>>, stood: impl Fn(&K) -> bool) -> Vec<K> {
    // Nobody is featured when nobody spoke yet: then all stays as it is.
    let first = |is: &dyn Fn(&Source<K>) -> bool| left.iter().position(is);
    let featured = first(&|source| source.is_featured && !source.is_screen)
        .or_else(|| first(&|source| source.is_featured))
        .or_else(|| first(&|source| stood(&source.key)))
        .or_else(|| first(&|source| !source.is_screen))
        .unwrap_or(0);
    let mut nth = 0;
    let mut taken = 0;
    let mut chosen = Vec::new();
    left.retain(|source| {
        let is_theirs = match area.who {
            Who::All | Who::Others => true,
            Who::Screens => source.is_screen,
            Who::Cameras => !source.is_screen,
            Who::Featured => nth == featured,
        };
        nth += 1;
        let takes = is_theirs && taken < area.most;
        if takes {
            taken += 1;
            chosen.push(source.key);
        }
        !takes
    });
    chosen
}

/// Each in the place they had, where that is still there; the others where there is room.
fn keep_places<K: Copy + Ord>(
    chosen: &[K],
    area: usize,
    old: &BTreeMap<K, (usize, usize)>,
) -> Vec<K> {
    let mut places: Vec<Option<K>> = vec![None; chosen.len()];
    let mut others = Vec::new();
    for key in chosen {
        let place = old.get(key).filter(|(old_area, _)| *old_area == area);
        match place.and_then(|(_, place)| places.get_mut(*place)) {
            Some(free @ None) => *free = Some(*key),
            _ => others.push(*key),
        }
    }
    let mut others = others.into_iter();
    places
        .into_iter()
        .filter_map(|place| place.or_else(|| others.next()))
        .collect()
}

/// `count` equal tiles in an area.
fn tiles(area: &Area, gap: f64, count: usize, canvas_px: (u32, u32)) -> Vec<Tile> {
    let (canvas_width, canvas_height) = (f64::from(canvas_px.0), f64::from(canvas_px.1));
    let [x, y, width, height] = area.at;
    let (left, top) = (x * canvas_width, y * canvas_height);
    let (width, height) = (width * canvas_width, height * canvas_height);
    let columns = match area.flow {
        _ if count == 0 => return Vec::new(),
        Flow::Grid => (1..=count)
            .find(|columns| columns * columns >= count)
            .unwrap_or(1),
        Flow::Row => count,
        Flow::Column => 1,
    };
    let rows = count.div_ceil(columns);
    let (tile_width, tile_height) = (width / columns as f64, height / rows as f64);
    let gap_px = match area.over {
        true => 0.0,
        false => gap * canvas_width / 2.0,
    };
    (0..count)
        .map(|nth| {
            let (row, column) = (nth / columns, nth % columns);
            let in_row = match row + 1 == rows {
                true => count - row * columns,
                false => columns,
            };
            // The last row is centred.
            let indent = (columns - in_row) as f64 * tile_width / 2.0;
            let x = |column: usize| left + indent + column as f64 * tile_width;
            let y = |row: usize| top + row as f64 * tile_height;
            let (x_px, width_px) = edges(x(column), x(column + 1), gap_px, canvas_px.0);
            let (y_px, height_px) = edges(y(row), y(row + 1), gap_px, canvas_px.1);
            Tile {
                x_px,
                y_px,
                width_px,
                height_px,
                fit: area.fit,
                is_over: area.over,
            }
        })
        .collect()
}

/// Where a tile begins, and its length: on even pixels, for chroma has half the resolution, with
/// half a gap on each side but for the canvas' own edges.
fn edges(from: f64, to: f64, gap_px: f64, canvas_px: u32) -> (u32, u32) {
    let canvas_px = canvas_px & !1;
    // So that what is computed in two ways is one number.
    let exact = |at: f64| (at * 64.0).round() / 64.0;
    let even = |at: f64| ((exact(at).max(0.0) / 2.0).round() as u32 * 2).min(canvas_px);
    let begin = if from < 1.0 { 0.0 } else { from + gap_px };
    let is_last = to > f64::from(canvas_px) - 1.0;
    let end = if is_last {
        f64::from(canvas_px)
    } else {
        to - gap_px
    };
    let begin_px = even(begin).min(canvas_px.saturating_sub(2));
    (begin_px, even(end).saturating_sub(begin_px).max(2))
}

#[cfg(test)]
mod tests;
