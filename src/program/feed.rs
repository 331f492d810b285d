//! The room's packets on their way into the program.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::core::wire::{Canvas, InputId, InputSpec, ToChild};
use super::epoch::Epoch;

/// Packets that wait for the child: about two seconds of four 720p speakers, so that what comes
/// while a first child starts is not lost.
pub(super) const MAX_PACKETS: usize = 4096;

/// What the child should have, whichever child it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub inputs: BTreeMap<InputId, InputSpec>,
    pub canvas: Canvas,
    /// The program as RTP.
    pub rtp: bool,
}

impl Wanted {
    pub fn leave_out(&mut self, is_out: impl Fn(InputId) -> bool) {
        self.inputs.retain(|id, _| !is_out(*id));
        self.canvas.tiles.retain(|(id, _)| !is_out(*id));
    }
}

/// A message about one input, for a child that has it; or about none.
pub(super) struct Media {
    pub input: Option<InputId>,
    pub message: ToChild,
}

/// A handle to a running program's inputs: cheap to clone, and it never waits.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    packets: mpsc::Sender<Media>,
    wanted: watch::Sender<Wanted>,
    canvas_px: (u32, u32),
    epoch: Epoch,
    dropped: AtomicU64,
}

impl Feed {
    pub(super) fn new(
        packets: mpsc::Sender<Media>,
        wanted: watch::Sender<Wanted>,
        canvas_px: (u32, u32),
        epoch: Epoch,
    ) -> Self {
        let dropped = AtomicU64::new(0);
        Self(Arc::new(Inner {
            packets,
            wanted,
            canvas_px,
            epoch,
            dropped,
        }))
    }

    /// Width and height of what is composed.
    pub fn canvas_px(&self) -> (u32, u32) {
        self.0.canvas_px
    }

    /// The inputs from now on, and what is to be seen of them.
    pub fn compose(&self, inputs: BTreeMap<InputId, InputSpec>, canvas: Canvas) {
        self.0.wanted.send_if_modified(|wanted| {
            let changed = wanted.canvas != canvas || wanted.inputs != inputs;
            (wanted.inputs, wanted.canvas) = (inputs, canvas);
            changed
        });
    }

    /// One packet of an input. Dropped, and counted, when the child does not keep up.
    pub fn rtp(&self, input: InputId, arrival: Instant, packet: Bytes) {
        let arrival = self.0.epoch.running_time(arrival);
        let rtp = ToChild::Rtp {
            input,
            arrival,
            packet,
        };
        self.send(Some(input), rtp);
    }

    /// What ties an input's RTP timestamps to its publisher's clock, so that its sound and its
    /// picture are shown together.
    pub fn sender_report(&self, input: InputId, ntp: u64, rtp: u32) {
        self.send(Some(input), ToChild::SenderReport { input, ntp, rtp });
    }

    /// Whether the program is wanted as RTP too.
    pub fn want_rtp(&self, rtp: bool) {
        self.0.wanted.send_if_modified(|wanted| {
            let changed = wanted.rtp != rtp;
            wanted.rtp = rtp;
            changed
        });
    }

    /// Whether somebody plays the program as RTP.
    pub fn is_played(&self) -> bool {
        self.0.wanted.borrow().rtp
    }

    /// Somebody who plays this rendition by RTP cannot show it before its next key frame.
    pub fn force_key_frame(&self, rendition: String) {
        self.send(None, ToChild::ForceKeyFrame { rendition });
    }

    fn send(&self, input: Option<InputId>, message: ToChild) {
        if self.0.packets.try_send(Media { input, message }).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Packets that the program did not take.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Whether both feed the same program.
    pub fn is_same(&self, other: &Feed) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
