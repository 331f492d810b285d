//! What a connection tells the house about the media it receives.

use std::time::Instant;

use bytes::Bytes;

use crate::room::{Codec, MediaKind};

/// One published track of one connection: the index of its `m=` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u8);

/// What a receiver of the track's packets must know to depayload and decode them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackInfo {
    pub id: TrackId,
    pub kind: MediaKind,
    pub codec: Codec,
    pub payload_type: u8,
    pub clock_rate: u32,
    /// `a=fmtp` parameters of the payload type, as the answer gave them; may be empty.
    pub fmtp: String,
}

/// One media packet: decrypted, without duplicates, RTX already undone, no padding-only probes.
/// Packets come in the order of their arrival, so gaps and late packets are for the receiver.
#[derive(Debug, Clone)]
pub struct ReceivedRtp {
    pub arrival: Instant,
    /// The whole RTP packet (RFC 3550 §5.1), its padding removed.
    pub packet: Bytes,
    /// The extended (unwrapped) sequence number.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
}

/// What ties a track's RTP timestamps to the publisher's wall clock (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    pub arrival: Instant,
    /// 64-bit NTP time, seconds since 1900 in the upper half.
    pub ntp: u64,
    pub rtp: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// WHIP DELETE, or the house asked for it.
    Asked,
    /// The peer said so: DTLS close_notify or RTCP BYE on every track.
    PeerLeft,
    /// ICE consent (RFC 7675) ran out: the peer vanished.
    ConsentLost,
    /// ICE or DTLS did not complete in time.
    NeverConnected,
    /// The certificate is not the one the offer's fingerprint promised, or DTLS failed.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// DTLS is done and media may flow.
    Connected,
    /// The first packet of a track came.
    TrackStarted(TrackInfo),
    /// A track that ran sends nothing any more: muted, or on a path that lost it.
    TrackStalled(TrackId),
    /// It sends again.
    TrackResumed(TrackId),
    /// The last event of a connection.
    Closed(CloseReason),
}

/// Where a connection's media goes. Called on the worker's thread: it must not block.
pub trait Sink: Send {
    fn event(&mut self, event: Event);
    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp);
    fn sender_report(&mut self, track: TrackId, report: SenderReport);
}
