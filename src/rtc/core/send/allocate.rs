//! Who gets how much of a subscriber's bandwidth: sound first, then a picture of everybody, then
//! better ones, the active speaker's before the others'.
//!
//! Where not even the smallest picture fits, some of its frames do, if its publisher sends them in
//! temporal layers. Larger ones always come with all frames: of two pictures for the same bitrate,
//! the smoother is the better one for faces.

use super::forward::Target;
use crate::rtc::core::sink::LayerInfo;

/// Opus with its headers, until it is measured.
pub const AUDIO_BPS: u64 = 48_000;

/// Whoever is silent now may speak in a moment.
const LEAST_AUDIO_BPS: u64 = 24_000;

/// What our header extensions and SRTP's tag add to 50 packets a second.
const AUDIO_OVERHEAD_BPS: u64 = 50 * 28 * 8;

/// What a track of sound takes.
pub fn sound_bps(layers: &[LayerInfo]) -> u64 {
    match layers.first() {
        Some(layer) if layer.bitrate_bps > 0 => {
            (layer.bitrate_bps + AUDIO_OVERHEAD_BPS).max(LEAST_AUDIO_BPS)
        }
        _ => AUDIO_BPS,
    }
}

/// Assumed of a layer that has not run for a second yet: this, and as much again for each 360
/// rows, up to a bound, for the height is the publisher's word.
const UNKNOWN_BPS: u64 = 250_000;
const MAX_UNKNOWN_BPS: u64 = 1_000_000;

/// More must be there before a better layer is taken than to keep it, or it would come and go.
const HEADROOM_PERCENT: u64 = 115;

/// A picture shown a little larger than its layer still looks well.
const STRETCH_PERCENT: u32 = 115;

/// A picture that the subscriber may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Video<'a> {
    pub layers: &'a [LayerInfo],
    /// The height at which it is shown, in device pixels; 0: not at all.
    pub shown_px: u32,
    pub is_speaking: bool,
    /// Whether it may get more than now.
    pub may_rise: bool,
    /// What it gets now.
    pub current: Option<Target>,
}

/// What everybody gets: for each video its layers, or `None` where it does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocation {
    pub targets: Vec<Option<Target>>,
    /// What it costs, sound included.
    pub cost_bps: u64,
    /// What the next better picture would need in all; `None` when all have what they want.
    pub unmet_bps: Option<u64>,
}

/// Spends `budget_bps` on sound, which takes `sound` of it, and on `videos`. Never spends more on
/// pictures than what sound leaves.
pub fn allocate(budget_bps: u64, sound: u64, videos: &[Video<'_>]) -> Allocation {
    let mut spent = 0;
    let left = budget_bps.saturating_sub(sound);
    let ladders: Vec<Vec<Rung>> = videos.iter().map(ladder).collect();
    let mut order: Vec<usize> = (0..videos.len()).collect();
    order.sort_by_key(|i| {
        (
            !videos[*i].is_speaking,
            std::cmp::Reverse(videos[*i].shown_px),
            *i,
        )
    });

    let mut taken: Vec<Option<usize>> = vec![None; videos.len()];
    let mut unmet: Option<u64> = None;
    let most = ladders.iter().map(Vec::len).max().unwrap_or(0);
    for step in 0..most {
        for &i in &order {
            let Some(rung) = ladders[i].get(step) else {
                continue;
            };
            // Who could not get the rung below does not get this one.
            let below = match (step, taken[i]) {
                (0, _) => 0,
                (_, Some(at)) if at + 1 == step => ladders[i][at].cost_bps,
                _ => continue,
            };
            let current = ladders[i]
                .iter()
                .position(|r| Some(r.target) == videos[i].current);
            let is_better = current.is_none_or(|current| step > current);
            if is_better && !videos[i].may_rise {
                continue;
            }
            let more = rung.cost_bps.saturating_sub(below);
            let needs = match rung.with_slack(is_better) {
                Some(cost_bps) => cost_bps.saturating_sub(below),
                None if is_better => more * HEADROOM_PERCENT / 100,
                None => more,
            };
            if spent + needs <= left {
                spent += more;
                taken[i] = Some(step);
            } else {
                let whole = sound + spent + needs;
                unmet = Some(unmet.map_or(whole, |least| least.min(whole)));
            }
        }
    }
    let targets = taken
        .iter()
        .zip(&ladders)
        .map(|(at, ladder)| Some(ladder.get((*at)?)?.target))
        .collect();
    Allocation {
        targets,
        cost_bps: sound + spent,
        unmet_bps: unmet,
    }
}

#[derive(Debug, Clone, Copy)]
struct Rung {
    target: Target,
    cost_bps: u64,
    /// The cost with all frames, where some are left out.
    whole_bps: Option<u64>,
}

impl Rung {
    /// What must be there for a picture that comes with fewer frames: more than it takes, since it
    /// comes where the path is nearly full, and its frames are of many sizes. Sound would wait for
    /// them. But never more than for all of them.
    fn with_slack(&self, is_better: bool) -> Option<u64> {
        let whole_bps = self.whole_bps?;
        let slack_bps = match is_better {
            true => (self.cost_bps * 2).min(whole_bps * HEADROOM_PERCENT / 100),
            false => (self.cost_bps * 3 / 2).min(whole_bps),
        };
        Some(slack_bps)
    }
}

/// The running layers from the cheapest to the best that its size is worth, before the first of
/// which come its own thinner ones; costs ascend.
fn ladder(video: &Video<'_>) -> Vec<Rung> {
    if video.shown_px == 0 {
        return Vec::new();
    }
    let running = video
        .layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| layer.running);
    let mut rungs: Vec<(u16, Rung)> = running
        .filter_map(|(index, layer)| {
            let cost_bps = match layer.bitrate_bps {
                0 => {
                    let by_height = UNKNOWN_BPS * (1 + u64::from(layer.height_px) / 360);
                    by_height.min(MAX_UNKNOWN_BPS)
                }
                known => known,
            };
            let layer_index = u8::try_from(index).ok()?;
            let rung = Rung {
                target: Target::whole(layer_index),
                cost_bps,
                whole_bps: None,
            };
            Some((layer.height_px, rung))
        })
        .collect();
    rungs.sort_by_key(|(height_px, rung)| (*height_px, rung.cost_bps));
    let enough = rungs
        .iter()
        .position(|(height_px, _)| u32::from(*height_px) * STRETCH_PERCENT / 100 >= video.shown_px);
    rungs.truncate(enough.map_or(rungs.len(), |at| at + 1));
    let mut ladder: Vec<Rung> = Vec::new();
    for (_, rung) in rungs {
        // A larger picture that costs less replaces the smaller one.
        while ladder
            .last()
            .is_some_and(|last| last.cost_bps >= rung.cost_bps)
        {
            ladder.pop();
        }
        ladder.push(rung);
    }
    let thinner = ladder.first().map(|first| thinner(first, video.layers));
    ladder.splice(0..0, thinner.unwrap_or_default());
    ladder
}

/// The same picture with fewer frames, from the fewest on.
fn thinner(whole: &Rung, layers: &[LayerInfo]) -> Vec<Rung> {
    let layer = layers.get(usize::from(whole.target.layer));
    let thinner_bps = layer.map(|layer| layer.thinner_bps).unwrap_or_default();
    let fewest_first = (0..).zip(thinner_bps);
    fewest_first
        .filter(|(_, cost_bps)| (1..whole.cost_bps).contains(cost_bps))
        .map(|(temporal, cost_bps)| Rung {
            target: Target {
                temporal,
                ..whole.target
            },
            cost_bps,
            whole_bps: Some(whole.cost_bps),
        })
        .collect()
}

#[cfg(test)]
#[path = "allocate/tests.rs"]
mod tests;
