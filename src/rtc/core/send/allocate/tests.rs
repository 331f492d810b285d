//! Budgets, spent.

use proptest::prelude::*;

use super::*;

fn layer(height_px: u16, kbps: u64) -> LayerInfo {
    LayerInfo {
        height_px,
        bitrate_bps: kbps * 1000,
        running: true,
    }
}

const LAYERS: [(u16, u64); 3] = [(180, 150), (360, 500), (720, 1700)];

fn simulcast() -> Vec<LayerInfo> {
    LAYERS
        .map(|(height_px, kbps)| layer(height_px, kbps))
        .to_vec()
}

fn video(layers: &[LayerInfo], shown_px: u32, is_speaking: bool) -> Video<'_> {
    Video {
        layers,
        shown_px,
        is_speaking,
        may_rise: true,
        current: None,
    }
}

fn check(budget_kbps: u64, videos: &[Video<'_>], expect: &[Option<u8>]) {
    let allocation = allocate(budget_kbps * 1000, AUDIO_BPS * videos.len() as u64, videos);
    assert_eq!(
        allocation.layers, expect,
        "{budget_kbps} kbit/s: {allocation:?}"
    );
}

#[test]
fn everybody_has_a_picture_before_anybody_has_a_better_one() {
    let layers = simulcast();
    let videos = [
        video(&layers, 360, false),
        video(&layers, 720, true),
        video(&layers, 180, false),
    ];
    check(320, &videos, &[None, Some(0), None]);
    check(600, &videos[..2], &[Some(0), Some(0)]);
    check(700, &videos, &[Some(0), Some(0), Some(0)]);
    check(1100, &videos, &[Some(0), Some(1), Some(0)]);
    check(1600, &videos, &[Some(1), Some(1), Some(0)]);
    check(9000, &videos, &[Some(1), Some(2), Some(0)]);
}

#[test]
fn a_hidden_picture_costs_nothing_and_wants_nothing() {
    let layers = simulcast();
    let allocation = allocate(9_000_000, AUDIO_BPS, &[video(&layers, 0, true)]);
    assert_eq!(allocation.layers, [None]);
    assert_eq!(
        (allocation.cost_bps, allocation.unmet_bps),
        (AUDIO_BPS, None)
    );
}

#[test]
fn a_layer_that_is_taken_is_kept_on_less_than_it_takes_to_take_it() {
    let layers = simulcast();
    let mut one = video(&layers, 360, false);
    check(560, std::slice::from_ref(&one), &[Some(0)]);
    one.current = Some(1);
    check(560, std::slice::from_ref(&one), &[Some(1)]);
    check(540, std::slice::from_ref(&one), &[Some(0)]);
}

#[test]
fn order_is_by_size_not_by_rid_and_what_does_not_run_is_not_taken() {
    let mut layers = simulcast();
    layers.reverse();
    check(9000, &[video(&layers, 360, false)], &[Some(1)]);
    layers[1].running = false;
    check(9000, &[video(&layers, 360, false)], &[Some(0)]);
}

fn some_layers() -> impl Strategy<Value = Vec<LayerInfo>> {
    let one =
        (0u16..1200, 0u64..5000, any::<bool>()).prop_map(|(height_px, kbps, running)| LayerInfo {
            running,
            ..layer(height_px, kbps)
        });
    proptest::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn never_exceeds_the_budget(
        budget in 0u64..20_000_000,
        sound in 0u64..1_000_000,
        videos in proptest::collection::vec((some_layers(), 0u32..2000, any::<bool>(), proptest::option::of(0u8..4)), 0..12),
    ) {
        let videos: Vec<Video> = videos.iter().map(|(layers, shown_px, is_speaking, current)| Video {
            layers, shown_px: *shown_px, is_speaking: *is_speaking, current: *current, may_rise: true,
        }).collect();
        let allocation = allocate(budget, sound, &videos);
        prop_assert!(allocation.cost_bps <= budget.max(sound));
        let mut cost = sound;
        for (video, layer) in videos.iter().zip(&allocation.layers) {
            if let Some(layer) = layer {
                let layer = video.layers[usize::from(*layer)];
                prop_assert!(layer.running && video.shown_px > 0);
                cost += layer.bitrate_bps;
            }
        }
        // Layers of unknown rate are counted at a guess.
        prop_assert!(cost <= allocation.cost_bps);
        if let Some(unmet) = allocation.unmet_bps {
            prop_assert!(unmet > budget);
        }
        // With the same state again, nothing changes.
        let again: Vec<Video> = videos.iter().zip(&allocation.layers)
            .map(|(video, layer)| Video { current: *layer, ..video.clone() }).collect();
        prop_assert_eq!(allocate(budget, sound, &again).layers.iter().flatten().count(),
            allocation.layers.iter().flatten().count());
    }
}
