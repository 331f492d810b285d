//! What came to the encoders, and what they had no time for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use gst::prelude::*;

use super::parts;

/// Frames that wait for an encoder at most.
pub const MAX_WAITING: u32 = 4;
/// A queue that was full so often in a row, when it was looked at, is behind for good.
const BEHIND: u32 = 2;

/// The queue before an encoder. A short one evens out a busy moment: then all wait, and no frame is
/// lost. One that stays full takes no more frames: a rendition that falls behind holds up nobody else.
pub struct Counted {
    queue: gst::Element,
    full: u32,
    came: Arc<AtomicU64>,
    went: Arc<AtomicU64>,
    told: (u64, u64),
}

impl Counted {
    pub fn new(queue: gst::Element) -> anyhow::Result<Self> {
        let (came, went) = (Arc::default(), Arc::default());
        for (pad, counter) in [("sink", &came), ("src", &went)] {
            let pad = queue.static_pad(pad).context("no pad")?;
            let counter: Arc<AtomicU64> = Arc::clone(counter);
            parts::watch_buffers(&pad, move |_, _, _| {
                counter.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            })?;
        }
        Ok(Self {
            queue,
            full: 0,
            came,
            went,
            told: (0, 0),
        })
    }

    /// Frames that went on to the encoder, and those that were dropped, since the last time.
    pub fn take(&mut self) -> (u64, u64) {
        let went = self.went.load(Ordering::Relaxed);
        let waiting = self.queue.property::<u32>("current-level-buffers");
        self.full = if waiting < MAX_WAITING {
            0
        } else {
            self.full + 1
        };
        let leaky = if self.full >= BEHIND {
            "upstream"
        } else {
            "no"
        };
        self.queue.set_property_from_str("leaky", leaky);
        let waiting = u64::from(waiting);
        let came = self.came.load(Ordering::Relaxed);
        // What is on its way between the two counts as waiting, not as dropped.
        let dropped = came.saturating_sub(went + waiting).max(self.told.1);
        let news = (went - self.told.0, dropped - self.told.1);
        self.told = (went, dropped);
        news
    }
}
