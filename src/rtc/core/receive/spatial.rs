//! The spatial layers of one source (SVC): each is decoded on top of all that are below it.

use std::time::Instant;

use super::rate::Rate;
use crate::rtc::core::sink::LayerInfo;

/// As many as an index of three bits names (RFC 9628 §4.2).
const MAX_LAYERS: usize = 8;

#[derive(Debug, Default)]
pub struct SpatialLayers(Vec<Layer>);

#[derive(Debug, Default)]
struct Layer {
    rate: Rate,
    height_px: u16,
}

impl SpatialLayers {
    /// Whether there is anything to choose from.
    pub fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    pub fn on_packet(&mut self, id: u8, len: usize, now: Instant) {
        let at = usize::from(id);
        if at >= MAX_LAYERS {
            return;
        }
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Layer::default);
        }
        if let Some(layer) = self.0.get_mut(at) {
            layer.rate.on_bytes(len, now);
        }
    }

    /// What the publisher says it sends from now on, and the largest of it; nothing where it says
    /// nothing.
    pub fn set_heights(&mut self, heights_px: impl Iterator<Item = u16>) -> Option<u16> {
        let mut count = 0;
        for height_px in heights_px.take(MAX_LAYERS) {
            if self.0.len() <= count {
                self.0.push(Layer::default());
            }
            if let Some(layer) = self.0.get_mut(count) {
                layer.height_px = height_px;
            }
            count += 1;
        }
        if count == 0 {
            return None;
        }
        self.0.truncate(count);
        self.0.last().map(|layer| layer.height_px)
    }

    /// Each with what it takes together with those below, for none is of use without them.
    pub fn layers(&mut self, now: Instant) -> Vec<LayerInfo> {
        let newest = self.0.iter().filter_map(|layer| layer.rate.last()).max();
        let mut bitrate_bps = 0;
        let layers = self.0.iter_mut().map(|layer| {
            let own_bps = layer.rate.steady_bps(now);
            // Not measured yet: then neither is the sum.
            bitrate_bps = if own_bps == 0 {
                0
            } else {
                bitrate_bps + own_bps
            };
            LayerInfo {
                height_px: layer.height_px,
                bitrate_bps,
                thinner_bps: Default::default(),
                running: newest.is_some_and(|newest| layer.rate.runs(newest)),
            }
        });
        layers.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_costs_what_is_below_it_too() {
        let (mut layers, start) = (SpatialLayers::default(), Instant::now());
        let largest_px = layers.set_heights([180, 360, 720].into_iter());
        assert_eq!(largest_px, Some(720));
        let second = |layers: &mut SpatialLayers, from: Instant, count: u8| {
            for tenth in 0..10 {
                for id in 0..count {
                    let len = 1000 << id;
                    layers.on_packet(id, len, from + Duration::from_millis(tenth * 100));
                }
            }
        };
        second(&mut layers, start, 3);
        let now = start + Duration::from_secs(1);
        let seen = layers.layers(now);
        let of = |seen: &[LayerInfo]| -> Vec<(u16, u64, bool)> {
            let each = seen.iter();
            each.map(|layer| (layer.height_px, layer.bitrate_bps / 1000, layer.running))
                .collect()
        };
        let all = [(180, 80, true), (360, 240, true), (720, 560, true)];
        assert_eq!(of(&seen), all);
        // The top is left out, and some time later it is gone.
        second(&mut layers, now, 2);
        second(&mut layers, now + Duration::from_secs(1), 2);
        let seen = layers.layers(now + Duration::from_secs(2));
        assert_eq!((seen[1].running, seen[2].running), (true, false));
        layers.set_heights([180, 360].into_iter());
        assert_eq!(layers.layers(now).len(), 2);
    }

    #[test]
    fn a_still_picture_keeps_its_layers() {
        let (mut layers, start) = (SpatialLayers::default(), Instant::now());
        layers.on_packet(0, 100, start);
        layers.on_packet(1, 100, start + Duration::from_millis(1));
        let seen = layers.layers(start + Duration::from_secs(60));
        assert!(seen.iter().all(|layer| layer.running));
        layers.on_packet(9, 100, start);
        assert_eq!(layers.layers(start).len(), 2, "no such layer");
    }
}
