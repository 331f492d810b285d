//! Every layout with every stage: inside the canvas, apart, and nobody jumps who need not.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::program::core::files::Files;

const CANVAS: (u32, u32) = (1280, 720);

fn layouts() -> Vec<Layout> {
    load_all(&Files::built_in(), &[]).expect("good")
}

fn layout(name: &str) -> Layout {
    let mut all = layouts().into_iter();
    all.find(|layout| layout.name == name).expect("built in")
}

fn camera(key: u32) -> Source<u32> {
    Source {
        key,
        is_screen: false,
        is_featured: false,
    }
}

fn rectangles(name: &str, sources: &[Source<u32>]) -> Vec<(u32, [u32; 4])> {
    let arrangement = arrange(&layout(name), sources, CANVAS, &Arrangement::default());
    let of = |placed: &Placed<u32>| {
        let tile = placed.tile;
        (
            placed.key,
            [tile.x_px, tile.y_px, tile.width_px, tile.height_px],
        )
    };
    arrangement.placed.iter().map(of).collect()
}

#[test]
fn one_fills_the_canvas_and_three_stand_two_above_one() {
    assert_eq!(rectangles("grid", &[camera(1)]), [(1, [0, 0, 1280, 720])]);
    let three: Vec<_> = (1..4).map(camera).collect();
    let expected = [
        (1, [0, 0, 640, 360]),
        (2, [640, 0, 640, 360]),
        (3, [320, 360, 640, 360]),
    ];
    assert_eq!(rectangles("grid", &three), expected);
    assert_eq!(rectangles("grid", &[]), []);
}

#[test]
fn who_speaks_is_large_and_only_two_change_places_with_the_speaker() {
    let stage = |speaks| {
        let source = |key| Source {
            is_featured: key == speaks,
            ..camera(key)
        };
        (1..5).map(source).collect::<Vec<_>>()
    };
    let spotlight = layout("spotlight");
    let first = arrange(&spotlight, &stage(1), CANVAS, &Arrangement::default());
    let large = |arrangement: &Arrangement<u32>| arrangement.placed[0].key;
    assert_eq!(large(&first), 1);
    let then = arrange(&spotlight, &stage(3), CANVAS, &first);
    assert_eq!(large(&then), 3);
    let tile_of = |arrangement: &Arrangement<u32>, key| {
        let mut placed = arrangement.placed.iter();
        placed
            .find(|placed| placed.key == key)
            .expect("placed")
            .tile
    };
    for key in [2, 4] {
        assert_eq!(tile_of(&first, key), tile_of(&then, key));
    }
    assert_eq!(tile_of(&then, 1), tile_of(&first, 3));
}

#[test]
fn a_screen_is_large_and_whole_where_the_layout_says_so() {
    let screen = Source {
        is_screen: true,
        ..camera(9)
    };
    let stage = [camera(1), camera(2), screen];
    let arrangement = arrange(
        &layout("presentation"),
        &stage,
        CANVAS,
        &Arrangement::default(),
    );
    let first = &arrangement.placed[0];
    assert_eq!((first.key, first.tile.fit), (9, Fit::Contain));
    assert!(first.tile.width_px > 900);
    assert_eq!(arrangement.placed.len(), 3);
    assert_eq!(
        rectangles("presentation", &stage[..1]),
        [(1, [0, 0, 1280, 720])]
    );
    assert_eq!(rectangles("solo", &stage), [(1, [0, 0, 1280, 720])]);
}

#[test]
fn errors_name_file_and_line() {
    let check = |text: &'static str, words: &[&str]| {
        let read = |path: &Path| {
            path.ends_with("layouts/own.toml")
                .then(|| text.as_bytes().to_vec())
        };
        let files = Files {
            folder: Some(Path::new("/etc/amphi")),
            read: &read,
        };
        let error = load_all(&files, &["own".to_owned()])
            .expect_err("bad")
            .to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let area = "[[scene]]\n[[scene.area]]\nwho = 'all'\n";
    let own = "/etc/amphi/layouts/own.toml";
    check("gap = 3.0\nscene = []", &[own, "line 1", "gap"]);
    check(
        "background = 'red'\nscene = []",
        &[own, "line 1", "#101418"],
    );
    check(
        "backdrop = 'none.png'\nscene = []",
        &[own, "line 1", "none.png"],
    );
    check(
        "[[scene]]\n[[scene.area]]\nwho = 'me'",
        &[own, "line 3", "who"],
    );
    let outside = Box::leak(format!("{area}at = [0.5, 0, 0.6, 1]").into_boxed_str());
    check(outside, &[own, "line 4", "inside"]);
    let twice = Box::leak(
        format!("{area}at = [0, 0, 1, 1]\n[[scene.area]]\nwho='others'\nat = [0.5, 0, 0.5, 1]")
            .into_boxed_str(),
    );
    check(twice, &[own, "line 7", "overlaps"]);
    let needs = "[[scene]]\nneeds = 2\n[[scene.area]]\nwho = 'all'\nat = [0, 0, 1, 1]";
    check(needs, &[own, "last"]);
}

fn stage() -> impl Strategy<Value = Vec<Source<u32>>> {
    proptest::collection::vec((any::<bool>(), any::<bool>()), 0..60).prop_map(|all| {
        let source = |(key, (is_screen, is_featured))| Source {
            key: key as u32,
            is_screen,
            is_featured,
        };
        all.into_iter().enumerate().map(source).collect()
    })
}

proptest! {
    #[test]
    fn tiles_are_inside_and_apart(sources in stage(), before in stage(), w in 160..4000u32, h in 160..3000u32) {
        for layout in layouts() {
            let before = arrange(&layout, &before, (w, h), &Arrangement::default());
            let arrangement = arrange(&layout, &sources, (w, h), &before);
            for (nth, a) in arrangement.placed.iter().enumerate() {
                let tile = a.tile;
                prop_assert!(tile.x_px + tile.width_px <= w && tile.y_px + tile.height_px <= h, "{tile:?}");
                prop_assert!(tile.width_px > 0 && tile.height_px > 0);
                prop_assert!([tile.x_px, tile.y_px, tile.width_px, tile.height_px].iter().all(|px| px % 2 == 0));
                prop_assert!(sources.iter().any(|source| source.key == a.key));
                for b in &arrangement.placed[..nth] {
                    prop_assert!(a.key != b.key);
                    let (a, b) = (a.tile, b.tile);
                    let apart = a.x_px >= b.x_px + b.width_px || b.x_px >= a.x_px + a.width_px
                        || a.y_px >= b.y_px + b.height_px || b.y_px >= a.y_px + a.height_px;
                    prop_assert!(apart || a.is_over || b.is_over, "{:?} {:?}", a, b);
                }
            }
        }
    }

    #[test]
    fn who_joins_moves_nobody_whose_tile_could_stay(sources in stage(), newcomer in any::<bool>()) {
        for layout in layouts() {
            let before = arrange(&layout, &sources, CANVAS, &Arrangement::default());
            let mut more = sources.clone();
            more.push(Source { key: 1000, is_screen: newcomer, is_featured: false });
            let after = arrange(&layout, &more, CANVAS, &before);
            for was in before.placed.iter().filter(|_| before.scene == after.scene) {
                let is = after.placed.iter().find(|placed| placed.key == was.key);
                let place = is.map(|is| (is.area, is.place));
                // A screen, where a layout wants one, may take the place of another.
                prop_assert!(newcomer || place == Some((was.area, was.place)), "{} {was:?} {is:?}", layout.name);
            }
        }
    }
}
