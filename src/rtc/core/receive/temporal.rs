//! The temporal layers of one source: without the upper ones there are fewer pictures a second,
//! and those that are left need none of them.

use std::time::Instant;

use super::rate::Rate;
use crate::rtc::core::sink::{LayerInfo, THINNER};

/// Which temporal layer a picture belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporal {
    /// 0 is the lowest, which stands alone.
    pub id: u8,
    pub opens: Option<Opening>,
}

/// Who gets all layers up to `from` can have those up to `to` from this picture on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    pub from: u8,
    pub to: u8,
}

impl Temporal {
    /// The highest layer that can be had from this picture on, no higher than `wanted`, by those
    /// who get all up to `current`.
    pub fn raised(self, current: u8, wanted: u8) -> u8 {
        match self.opens {
            Some(Opening { from, to }) if current >= from => current.max(wanted.min(to)),
            _ => current,
        }
    }
}

/// What each takes.
#[derive(Debug, Default)]
pub struct TemporalLayers(Vec<Rate>);

impl TemporalLayers {
    pub fn on_packet(&mut self, id: u8, len: usize, now: Instant) {
        // What is above them all comes and goes with the highest.
        let at = usize::from(id).min(THINNER);
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Rate::default);
        }
        if let Some(rate) = self.0.get_mut(at) {
            rate.on_bytes(len, now);
        }
    }

    /// As [`LayerInfo::thinner_bps`].
    pub fn thinner_bps(&mut self, now: Instant) -> [u64; THINNER] {
        let mut thinner_bps = LayerInfo::default().thinner_bps;
        let newest = self.0.iter().filter_map(Rate::last).max();
        let runs = |rate: &Rate| newest.is_some_and(|newest| rate.runs(newest));
        let below_highest = self.0.iter().rposition(runs).unwrap_or(0);
        let mut sum_bps = 0;
        for (rate, thinner_bps) in self.0.iter_mut().take(below_highest).zip(&mut thinner_bps) {
            let own_bps = rate.steady_bps(now);
            if own_bps == 0 {
                // Not measured yet, so neither are those above.
                break;
            }
            sum_bps += own_bps;
            *thinner_bps = sum_bps;
        }
        thinner_bps
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn upper_layers_open_where_they_need_nothing_that_was_left_out() {
        let opening = |from, to| Temporal {
            id: 0,
            opens: Some(Opening { from, to }),
        };
        assert_eq!(opening(0, 7).raised(0, 2), 2);
        assert_eq!(opening(0, 1).raised(0, 2), 1);
        assert_eq!(opening(1, 2).raised(0, 2), 0, "the one between is missing");
        assert_eq!(opening(1, 2).raised(1, 2), 2);
        assert_eq!(opening(0, 1).raised(2, 2), 2, "never down");
        let shut = Temporal { id: 1, opens: None };
        assert_eq!(shut.raised(0, 2), 0);
    }

    #[test]
    fn each_costs_what_is_below_it_too() {
        let (mut layers, start) = (TemporalLayers::default(), Instant::now());
        // Ten pictures of 1000 bytes, ten of 500, twenty of 250.
        let second = |layers: &mut TemporalLayers, from: u64, ids: &[u8]| {
            for picture in 0..40 {
                let id = ids[picture as usize % ids.len()];
                let at = Duration::from_millis(from * 1000 + picture * 25);
                layers.on_packet(id, 1000 >> id, start + at);
            }
        };
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for from in 0..3 {
            second(&mut layers, from, &[0, 2, 1, 2]);
        }
        let thinner_kbps = |layers: &mut TemporalLayers, seconds| {
            let each = layers
                .thinner_bps(at(seconds))
                .map(|bps| bps as f64 / 1000.0);
            each.map(f64::round)
        };
        let [lowest, two, 0.0] = thinner_kbps(&mut layers, 3) else {
            panic!("there are three layers");
        };
        assert!((75.0..85.0).contains(&lowest), "{lowest}");
        assert!((115.0..125.0).contains(&two), "{two}");
        second(&mut layers, 3, &[0, 0, 1, 0]);
        second(&mut layers, 4, &[0, 0, 1, 0]);
        let [lowest, 0.0, 0.0] = thinner_kbps(&mut layers, 5) else {
            panic!("two layers are left");
        };
        assert!(lowest > 100.0, "{lowest}");
        second(&mut layers, 5, &[0]);
        second(&mut layers, 6, &[0]);
        assert_eq!(layers.thinner_bps(at(7)), [0; THINNER], "one is left");
    }
}
