//! Measurements of what is received, as values.

use std::time::Duration;

use crate::room::Codec;
use crate::rtc::core::sink::TrackId;

/// One track so far. Loss is the network's, before retransmissions healed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackStats {
    pub track: TrackId,
    /// `None` until its first packet.
    pub codec: Option<Codec>,
    /// Media packets handed on, retransmitted ones included.
    pub packets: u64,
    /// Their bytes, RTP headers included.
    pub bytes: u64,
    /// Of the last whole second.
    pub bits_per_second: u64,
    pub lost: u64,
    /// Lost packets that came by retransmission.
    pub recovered: u64,
    /// Lost packets given up.
    pub abandoned: u64,
    pub duplicates: u64,
    pub nacks_sent: u64,
    pub plis_sent: u64,
    pub jitter: Duration,
    pub stalled: bool,
}
