//! How long pictures take through the graph, stage by stage, as the parent wants to know it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use super::parts;
use super::run::Outbox;
use crate::program::core::wire::{FromChild, Stage};

/// Of one stage between: sixty frames of a dozen inputs.
const MAX_SAMPLES: usize = 1000;

/// What was measured since the parent was told.
#[derive(Clone, Default)]
pub struct Delays(Arc<Mutex<BTreeMap<Stage, Vec<Duration>>>>);

impl Delays {
    /// Measures what passes `pad`: from the time that stands on it, which is when the packets of the
    /// picture came, or when its frame of the program was due.
    pub fn watch(&self, pad: &gst::Pad, stage: Stage) -> anyhow::Result<()> {
        let delays = self.clone();
        parts::watch_buffers(pad, move |pad, _, time| {
            let element = pad.parent_element();
            let now = element.and_then(|element| element.current_running_time());
            if let Some(now) = now {
                delays.note(stage, now.saturating_sub(time).into());
            }
            gst::PadProbeReturn::Ok
        })
    }

    fn note(&self, stage: Stage, delay: Duration) {
        let Ok(mut samples) = self.0.lock() else {
            return;
        };
        let of_stage = samples.entry(stage).or_default();
        if of_stage.len() < MAX_SAMPLES {
            of_stage.push(delay);
        }
    }

    /// A parent that does not read learns less.
    pub fn tell(&self, outbox: &Outbox) {
        let Ok(mut samples) = self.0.lock() else {
            return;
        };
        for (stage, delays) in std::mem::take(&mut *samples) {
            let _ = outbox.try_send(FromChild::Delays { stage, delays });
        }
    }
}
