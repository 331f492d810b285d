//! Where a broadcast's running time is zero: on the machine's clock, and on the wall's.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// From the start of a child's process to its first frame, on an idle machine.
const CHILD_STARTS_IN: Duration = Duration::from_millis(300);
/// The first segment is this long: players begin with a whole one.
const FIRST_SEGMENT: Duration = Duration::from_millis(500);

/// All children of a broadcast count from here, so the timeline goes on over them.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// On CLOCK_MONOTONIC, which GStreamer's system clock reads too.
    pub base_time: Duration,
    pub wall: SystemTime,
    instant: Instant,
}

impl Epoch {
    /// Lies so far back that a child started now begins near the end of the first segment.
    pub fn for_start_now(segment: Duration) -> Self {
        // A machine that was started this moment has no such past: then there is no lead.
        let uptime = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let lead = segment
            .saturating_sub(FIRST_SEGMENT + CHILD_STARTS_IN)
            .min(uptime);
        Self {
            base_time: uptime - lead,
            wall: SystemTime::now() - lead,
            instant: Instant::now() - lead,
        }
    }

    pub fn running_time(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.instant)
    }
}
