//! What every room needs to do its work, made once at the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::costs::Costs;
use super::failures::Failures;

use crate::control::events::News;
use crate::control::rooms::MadeRooms;
use crate::program::core::ladder::Ladder;
use crate::{hls, program, room, rtc, vod};

pub struct Tools {
    pub room: room::Settings,
    pub max_rooms: usize,
    pub made: Arc<MadeRooms>,
    /// Whether other rooms come to be by use.
    pub rooms_by_use: bool,
    /// How long the playlist of a broadcast that ended is still served.
    pub ended_for: Duration,
    pub rtc: rtc::Rtc,
    pub failures: Arc<Failures>,
    pub news: Arc<News>,
    pub program: program::ProgramSettings,
    /// Those that a room may ask for, by name.
    pub ladders: BTreeMap<String, Ladder>,
    pub costs: Costs,
    /// The tasks of all broadcasts, from their start until they are in their recordings.
    pub broadcasts: TaskTracker,
    pub hls: hls::Settings,
    /// `None`: nothing is recorded.
    pub archive: Option<vod::Archive>,
}
