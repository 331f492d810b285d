//! Pictures that nobody sends: names in the corner of a picture, initials where no picture is, a slate
//! in the place of the program, and what stands behind all.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Fit, Tile};

/// What is on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Card {
    Name(String),
    /// Of someone whose camera is off.
    Initials(String),
    /// Words instead of the program.
    Slate(String),
    /// Behind all pictures: a PNG or a JPEG.
    Backdrop(PathBuf),
}

/// Words in the place of the program, in lines that leave a margin on both sides.
pub fn slate(text: &str, canvas_px: (u32, u32)) -> (Card, Tile) {
    let letter_px = f64::from(canvas_px.0.min(canvas_px.1)) * SLATE_HEIGHT * SLATE_LETTER_WIDTH;
    let most = (f64::from(canvas_px.0) * SLATE_WIDTH / letter_px) as usize;
    let mut lines = vec![String::new()];
    for word in line(text, usize::MAX).split_whitespace() {
        let line = lines.last_mut().filter(|line| !line.is_empty());
        match line {
            Some(line) if width(line) + 1 + width(word) <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let text = lines.join("\n").trim().to_owned();
    whole(Card::Slate(text), canvas_px)
}

/// In letters: those of the far east are as wide as two.
fn width(text: &str) -> usize {
    let wide = |c: char| c >= '\u{2E80}';
    text.chars().map(|c| 1 + usize::from(wide(c))).sum()
}

/// What covers the canvas.
pub fn whole(card: Card, (width_px, height_px): (u32, u32)) -> (Card, Tile) {
    let tile = Tile {
        x_px: 0,
        y_px: 0,
        width_px,
        height_px,
        fit: Fit::Cover,
        is_over: false,
    };
    (card, tile)
}

/// Of the canvas' height.
const NAME_HEIGHT: f64 = 0.05;
/// Of its own height: a letter, and the space beside the name.
const LETTER_WIDTH: f64 = 0.5;
const MARGIN: f64 = 0.5;

/// Of the canvas' shorter side: a slate's letters.
pub const SLATE_HEIGHT: f64 = 1.0 / 12.0;
/// Of their height.
const SLATE_LETTER_WIDTH: f64 = 0.58;
/// Of the canvas' width: a line of a slate.
const SLATE_WIDTH: f64 = 0.84;

/// In a tile narrower than this share of the canvas nobody reads a name.
const LEAST_TILE: f64 = 0.1;

/// Letters of a name that are shown.
const MAX_LETTERS: usize = 40;

/// One line, without what cannot be seen.
fn line(name: &str, most: usize) -> String {
    let seen = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = seen.collect();
    let text = text.trim();
    match text.chars().count() > most {
        true => text
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text.to_owned(),
    }
}

/// The first letters of the first and the last word.
pub fn initials(name: &str) -> String {
    let letter = |word: &str| word.chars().find(|c| c.is_alphanumeric());
    let mut words = name.split_whitespace().filter_map(letter);
    let first = words.next();
    let letters = first.into_iter().chain(words.next_back());
    letters.flat_map(char::to_uppercase).take(3).collect()
}

/// The name's card in the lower left corner of a tile, if there is room for it.
pub fn name(name: &str, tile: &Tile, canvas_px: (u32, u32)) -> Option<(Card, Tile)> {
    let (width, height) = (f64::from(canvas_px.0), f64::from(canvas_px.1));
    let is_narrow = f64::from(tile.width_px) < width * LEAST_TILE;
    let even = |px: f64| (px.round() as u32).max(2) & !1;
    let height_px = even(height * NAME_HEIGHT);
    let letter = f64::from(height_px) * LETTER_WIDTH;
    let margin = f64::from(height_px) * MARGIN;
    let room = ((f64::from(tile.width_px) - 2.0 * margin) / letter).max(0.0) as usize;
    let text = line(name, room.min(MAX_LETTERS));
    let letters = text.chars().count();
    if is_narrow || letters < 2 || height_px * 2 > tile.height_px {
        return None;
    }
    let width_px = even(letters as f64 * letter + 2.0 * margin).min(tile.width_px);
    let card = Tile {
        x_px: tile.x_px,
        y_px: tile.y_px + tile.height_px - height_px,
        width_px,
        height_px,
        fit: Fit::Cover,
        is_over: tile.is_over,
    };
    Some((Card::Name(text), card))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slate_is_broken_into_lines() {
        let check = |text, expect: &str| {
            let (card, tile) = slate(text, (1280, 720));
            assert_eq!(card, Card::Slate(expect.to_owned()));
            assert_eq!((tile.width_px, tile.height_px), (1280, 720));
        };
        check(" Back\nsoon ", "Back soon");
        check(
            "We will be back at 14:00 with Ada Lovelace and her guests",
            "We will be back at 14:00 with\nAda Lovelace and her guests",
        );
        check("\u{7}", "");
    }

    #[test]
    fn initials_are_of_the_first_and_the_last_name() {
        assert_eq!(initials("Ada King, Countess of Lovelace"), "AL");
        assert_eq!(initials("  cher "), "C");
        assert_eq!(initials("\u{202e}*** !"), "");
        assert_eq!(initials("李 小龙"), "李小");
    }

    proptest! {
        #[test]
        fn a_name_stands_in_its_tile(text in ".{0,80}", x in 0..500u32, y in 0..300u32, w in 1..400u32, h in 1..300u32) {
            let tile = Tile { x_px: 2 * x, y_px: 2 * y, width_px: 2 * w, height_px: 2 * h, fit: Fit::Cover, is_over: false };
            if let Some((Card::Name(text), card)) = name(&text, &tile, (1280, 720)) {
                prop_assert!(card.x_px >= tile.x_px && card.x_px + card.width_px <= tile.x_px + tile.width_px);
                prop_assert!(card.y_px >= tile.y_px && card.y_px + card.height_px <= tile.y_px + tile.height_px);
                prop_assert!(!text.contains(char::is_control) && card.width_px % 2 == 0);
            }
        }
    }
}
