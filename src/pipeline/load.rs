//! What came to the encoders, and what they had no time for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use gst::prelude::*;

use super::parts;

/// The queue before an encoder, which takes no more frames when it is full: a rendition that falls
/// behind holds up nobody else.
pub struct Counted {
    queue: gst::Element,
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
            came,
            went,
            told: (0, 0),
        })
    }

    /// Frames that went on to the encoder, and those that were dropped, since the last time.
    pub fn take(&mut self) -> (u64, u64) {
        let went = self.went.load(Ordering::Relaxed);
        let waiting = u64::from(self.queue.property::<u32>("current-level-buffers"));
        let came = self.came.load(Ordering::Relaxed);
        // What is on its way between the two counts as waiting, not as dropped.
        let dropped = came.saturating_sub(went + waiting).max(self.told.1);
        let news = (went - self.told.0, dropped - self.told.1);
        self.told = (went, dropped);
        news
    }
}
