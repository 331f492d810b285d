//! Whether a queue grows on the path: the trend of one-way delays (the trendline filter and the
//! adaptive threshold of Google Congestion Control, draft-ietf-rmcat-gcc-02 §5 and libwebrtc).

use std::collections::VecDeque;

/// Groups whose delays the line is fitted through.
const WINDOW: usize = 20;
/// How much of the smoothed delay stays.
const SMOOTHING: f64 = 0.9;
/// Makes the slope comparable to the threshold; both as in libwebrtc.
const GAIN: f64 = 4.0;
const MAX_DELTAS: u32 = 60;
/// The threshold's start and bounds, in ms, and how fast it follows, a ms.
const THRESHOLD_MS: f64 = 12.5;
const THRESHOLD_BOUNDS_MS: (f64, f64) = (6.0, 600.0);
const RISE: f64 = 0.0087;
const FALL: f64 = 0.039;
/// A trend above the threshold must last this long.
const OVERUSE_MS: f64 = 10.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    #[default]
    Normal,
    /// A queue builds up: too much is sent.
    Over,
    /// A queue drains: wait until it is empty.
    Under,
}

/// Fed with packet groups, says how the path is used.
#[derive(Debug)]
pub struct Trend {
    points: VecDeque<(f64, f64)>,
    accumulated_ms: f64,
    smoothed_ms: f64,
    deltas: u32,
    threshold_ms: f64,
    before: f64,
    over_for_ms: f64,
    over_count: u32,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            points: VecDeque::with_capacity(WINDOW + 1),
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            deltas: 0,
            threshold_ms: THRESHOLD_MS,
            before: 0.0,
            over_for_ms: 0.0,
            over_count: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// A group of packets was sent `sent_ms` after the one before, and came `arrived_ms` after
    /// it, at `at_ms` on the receiver's clock.
    pub fn on_group(&mut self, sent_ms: f64, arrived_ms: f64, at_ms: f64) {
        self.deltas = (self.deltas + 1).min(MAX_DELTAS);
        self.accumulated_ms += arrived_ms - sent_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        self.points.push_back((at_ms, self.smoothed_ms));
        if self.points.len() > WINDOW {
            self.points.pop_front();
        }
        let slope = match self.points.len() {
            WINDOW => slope(&self.points),
            _ => 0.0,
        };
        let trend = slope * f64::from(self.deltas) * GAIN;
        self.detect(trend, sent_ms);
        self.adapt(trend, arrived_ms);
        self.before = trend;
    }

    fn detect(&mut self, trend: f64, sent_ms: f64) {
        if trend > self.threshold_ms {
            self.over_for_ms += sent_ms;
            self.over_count += 1;
            if self.over_for_ms > OVERUSE_MS && self.over_count > 1 && trend >= self.before {
                self.over_for_ms = 0.0;
                self.over_count = 0;
                self.usage = Usage::Over;
            }
            return;
        }
        self.over_for_ms = 0.0;
        self.over_count = 0;
        self.usage = match trend < -self.threshold_ms {
            true => Usage::Under,
            false => Usage::Normal,
        };
    }

    /// So that self-inflicted delay is found beside that of others' traffic.
    fn adapt(&mut self, trend: f64, elapsed_ms: f64) {
        let distance = trend.abs() - self.threshold_ms;
        // A spike says nothing.
        if distance > 15.0 {
            return;
        }
        let speed = if distance < 0.0 { FALL } else { RISE };
        self.threshold_ms += speed * distance * elapsed_ms.clamp(0.0, 100.0);
        let (least, most) = THRESHOLD_BOUNDS_MS;
        self.threshold_ms = self.threshold_ms.clamp(least, most);
    }
}

/// Least squares.
fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let (mut up, mut down) = (0.0, 0.0);
    for (x, y) in points {
        up += (x - mean_x) * (y - mean_y);
        down += (x - mean_x) * (x - mean_x);
    }
    if down == 0.0 { 0.0 } else { up / down }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups each 20 ms, of which the n-th comes with `delay(n)` ms.
    fn usage_after(groups: u32, delay: impl Fn(f64) -> f64) -> Vec<Usage> {
        let mut trend = Trend::default();
        let mut seen = Vec::new();
        for n in 1..groups {
            let n = f64::from(n);
            let arrived = 20.0 + delay(n) - delay(n - 1.0);
            trend.on_group(20.0, arrived, 20.0 * n + delay(n));
            seen.push(trend.usage());
        }
        seen
    }

    #[test]
    fn a_steady_path_is_normal_and_so_is_a_jittery_one() {
        assert!(
            usage_after(500, |_| 30.0)
                .iter()
                .all(|u| *u == Usage::Normal)
        );
        let jitter = |n: f64| (n * 7.0) % 5.0;
        assert!(usage_after(500, jitter).iter().all(|u| *u != Usage::Over));
    }

    #[test]
    fn a_growing_queue_is_found_and_a_draining_one_too() {
        assert!(usage_after(60, |n| 3.0 * n).contains(&Usage::Over));
        let drains = usage_after(80, |n| if n < 40.0 { 3.0 * n } else { 240.0 - 3.0 * n });
        assert!(drains[50..].contains(&Usage::Under));
    }
}
