//! WHAT THE AUDIENCE SEES, the parent's side: a pipeline child is started, fed and watched.
//!
//! Read [`core`] (the frames on the socket, the child's life, layout and ladder), then [`feed`]
//! (the room's packets on their way in), [`epoch`] (where running time begins), `abilities` (what this machine can do) `usage` (what a child uses of it) and
//! [`child`] (the task that holds the process).

mod abilities;
pub mod child;
pub mod core;
pub mod epoch;
pub mod feed;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use abilities::abilities;
pub use child::Program;
pub use core::ladder::Ladder;
pub use core::layout::{Card, Layout};
pub use core::wire::{InputId, InputSpec, Load, Part, Stage};
pub use epoch::Epoch;
pub use feed::Feed;

#[derive(Debug, Clone)]
pub struct ProgramSettings {
    /// This program's own binary: its `pipeline` subcommand is the child.
    pub executable: PathBuf,
    pub ladder: Ladder,
    /// The first is the one that a program begins with.
    pub layouts: Arc<[Layout]>,
    pub segment: Duration,
    pub part: Duration,
    /// A child that needs more is replaced.
    pub max_memory_bytes: u64,
    /// Whether quiet voices are made louder.
    pub auto_gain: bool,
}

/// What comes out of a program, in order.
#[derive(Debug, Clone)]
pub enum Event {
    Init {
        rendition: String,
        bytes: Bytes,
    },
    Part(Part),
    /// A frame of a rendition, in RTP packets whose timestamps are running time.
    Rtp {
        rendition: String,
        packets: Vec<Bytes>,
    },
    /// How long pictures took to get to a stage of the graph, since the last time.
    Delays {
        stage: Stage,
        delays: Vec<Duration>,
    },
    /// What the graph could not do in time, since the last time.
    Load(Load),
    /// The most costly rendition shows the next smaller one, for the machine cannot encode both; or
    /// not any longer.
    Shed(bool),
    /// By how much a publisher's sound or picture is shown later to stay with the other.
    Skew(Duration),
    /// What the child used of the machine.
    Cost {
        cpu: Duration,
        time: Duration,
    },
    /// An input cannot be decoded until its publisher sends a key frame.
    KeyFrameWanted {
        input: InputId,
    },
    /// An input that crashed children is not theirs any more; it is for the house to take it away.
    KeptOut {
        input: InputId,
    },
    /// What follows comes from another child: other init segments, after a gap.
    Restarted,
    /// The last event.
    Ended {
        reason: String,
    },
}
