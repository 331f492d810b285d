//! Budgets, spent.

use proptest::prelude::*;

use super::*;

fn layer(height_px: u16, kbps: u64) -> LayerInfo {
    LayerInfo {
        height_px,
        bitrate_bps: kbps * 1000,
        thinner_bps: Default::default(),
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
    let expect: Vec<_> = expect
        .iter()
        .map(|layer| layer.map(Target::whole))
        .collect();
    let allocation = allocate(budget_kbps * 1000, AUDIO_BPS * videos.len() as u64, videos);
    assert_eq!(
        allocation.targets, expect,
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
    assert_eq!(allocation.targets, [None]);
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
    one.current = Some(Target::whole(1));
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

#[test]
fn a_picture_that_does_not_fit_comes_with_fewer_frames() {
    let mut layers = simulcast();
    layers[0].thinner_bps = [60_000, 90_000, 0];
    layers[1].thinner_bps = [200_000, 300_000, 0];
    let videos = [video(&layers, 360, true), video(&layers, 360, false)];
    let thin = |temporal| Some(Target { layer: 0, temporal });
    let whole = |layer| Some(Target::whole(layer));
    let check = |videos: &[Video<'_>], left_kbps: u64, expect: [Option<Target>; 2]| {
        let allocation = allocate(left_kbps * 1000, 0, videos);
        assert_eq!(allocation.targets, expect, "{left_kbps} kbit/s");
    };
    check(&videos, 110, [None, None]);
    check(&videos, 130, [thin(0), None]);
    check(&videos, 190, [thin(0), thin(0)]);
    check(&videos, 250, [whole(0), thin(0)]);
    check(&videos, 280, [whole(0), thin(1)]);
    check(&videos, 320, [whole(0), whole(0)]);
    // The larger one never comes with fewer.
    check(&videos, 690, [whole(0), whole(0)]);
    check(&videos, 710, [whole(1), whole(0)]);
    let taken = videos.map(|video| Video {
        current: thin(1),
        ..video
    });
    check(&taken, 160, [thin(0), thin(0)]);
    check(&taken, 210, [thin(1), thin(0)]);
    check(&taken, 230, [thin(1), thin(1)]);
}

fn some_layers() -> impl Strategy<Value = Vec<LayerInfo>> {
    let one = (0u16..1200, 0u64..5000, any::<bool>(), [0u64..4, 0..4, 0..4]).prop_map(
        |(height_px, kbps, running, quarters)| LayerInfo {
            running,
            thinner_bps: quarters.map(|quarters| kbps * 250 * quarters),
            ..layer(height_px, kbps)
        },
    );
    proptest::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn never_exceeds_the_budget(
        budget in 0u64..20_000_000,
        sound in 0u64..1_000_000,
        videos in proptest::collection::vec((some_layers(), 0u32..2000, any::<bool>(), proptest::option::of((0u8..4, 0u8..4))), 0..12),
    ) {
        let videos: Vec<Video> = videos.iter().map(|(layers, shown_px, is_speaking, current)| Video {
            layers, shown_px: *shown_px, is_speaking: *is_speaking, may_rise: true,
            current: current.map(|(layer, temporal)| Target { layer, temporal }),
        }).collect();
        let allocation = allocate(budget, sound, &videos);
        prop_assert!(allocation.cost_bps <= budget.max(sound));
        let mut cost = sound;
        for (video, target) in videos.iter().zip(&allocation.targets) {
            if let Some(target) = target {
                let layer = video.layers[usize::from(target.layer)];
                prop_assert!(layer.running && video.shown_px > 0);
                cost += match target.limit() {
                    None => layer.bitrate_bps,
                    Some(temporal) => layer.thinner_bps[usize::from(temporal)],
                };
            }
        }
        // Layers of unknown rate are counted at a guess.
        prop_assert!(cost <= allocation.cost_bps);
        if let Some(unmet) = allocation.unmet_bps {
            prop_assert!(unmet > budget);
        }
        // With the same state again, nothing changes.
        let again: Vec<Video> = videos.iter().zip(&allocation.targets)
            .map(|(video, target)| Video { current: *target, ..video.clone() }).collect();
        prop_assert_eq!(allocate(budget, sound, &again).targets.iter().flatten().count(),
            allocation.targets.iter().flatten().count());
    }
}
