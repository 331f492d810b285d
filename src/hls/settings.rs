//! What an operator can choose of the delivery.

use std::time::Duration;

/// The delivery of every broadcast; config's table says what is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The length of a segment; the pipeline cuts on the same grid.
    pub segment: Duration,
    /// The length of a part; the pipeline cuts to the same.
    pub part: Duration,
    /// How far back a viewer can go while the broadcast is live.
    pub window: Duration,
    /// How far behind the newest part players are told to stay, in parts. The draft wants
    /// two at least and recommends three; less delay is worth less than a stall.
    pub hold_back_parts: f64,
    /// How many viewers of one broadcast may wait for its next part at once; more get a 503.
    pub max_waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment: Duration::from_secs(2),
            part: Duration::from_millis(200),
            window: Duration::from_secs(60),
            hold_back_parts: 3.0,
            max_waiting: 50_000,
        }
    }
}
