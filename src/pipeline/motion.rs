//! How a picture gets to its place on the canvas: at once, or along a smooth way of some frames.

use std::time::Duration;

use gst::prelude::*;
use gst_controller::prelude::*;
use gst_controller::{DirectControlBinding, InterpolationControlSource, InterpolationMode};

use crate::program::core::layout::Tile;

/// Shares of the way at even times: slow at both ends.
const EASE: [f64; 5] = [0.0, 0.156, 0.5, 0.844, 1.0];

/// When a change begins, in running time, and how long it takes; zero is a cut.
#[derive(Debug, Clone, Copy)]
pub struct Transition {
    pub begins: gst::ClockTime,
    pub takes: Duration,
}

/// Position and size, as the mixer's pad names them, and how much of it is seen.
type Values = [f64; 5];
const PROPERTIES: [&str; 5] = ["xpos", "ypos", "width", "height", "alpha"];
const ALPHA: usize = 4;

/// What moves one pad of the mixer, which asks for its values with each frame.
pub struct Motion {
    sources: [InterpolationControlSource; 5],
    now: Option<Values>,
}

impl Motion {
    /// Nothing is seen until the first [`Self::go`].
    pub fn new(pad: &gst::Pad) -> anyhow::Result<Self> {
        pad.set_property("alpha", 0.0f64);
        let sources = PROPERTIES.map(|_| InterpolationControlSource::new());
        for (name, source) in PROPERTIES.iter().zip(&sources) {
            source.set_mode(InterpolationMode::CubicMonotonic);
            pad.add_control_binding(&DirectControlBinding::new_absolute(pad, name, source))?;
        }
        Ok(Self { sources, now: None })
    }

    /// To a tile, or out of sight. What was not seen appears in its place.
    pub fn go(&mut self, tile: Option<Tile>, transition: Transition) {
        let seen = self.now.filter(|values| values[ALPHA] > 0.0);
        let to = match (tile, self.now) {
            (Some(tile), _) => values(&tile),
            (None, Some(now)) => hidden(now),
            (None, None) => return,
        };
        let from = seen.unwrap_or(hidden(to));
        if self.now == Some(to) {
            return;
        }
        self.now = Some(to);
        let takes = transition.takes;
        let is_leaving = tile.is_none();
        for ((source, from), to) in self.sources.iter().zip(from).zip(to) {
            source.unset_all();
            if takes.is_zero() {
                source.set(transition.begins, to);
                continue;
            }
            if is_leaving {
                // Behind what comes, until that is all there.
                source.set(transition.begins, from);
                source.set(later(transition.begins, takes * 9 / 10), from);
                source.set(later(transition.begins, takes), to);
                continue;
            }
            let steps = EASE.len() as u32 - 1;
            for (step, share) in (0..).zip(EASE) {
                let at = later(transition.begins, takes * step / steps);
                source.set(at, from + (to - from) * share);
            }
        }
    }
}

fn later(time: gst::ClockTime, by: Duration) -> gst::ClockTime {
    time.saturating_add(gst::ClockTime::from_nseconds(by.as_nanos() as u64))
}

fn values(tile: &Tile) -> Values {
    [tile.x_px, tile.y_px, tile.width_px, tile.height_px, 1].map(f64::from)
}

fn hidden(values: Values) -> Values {
    let mut hidden = values;
    hidden[ALPHA] = 0.0;
    hidden
}
