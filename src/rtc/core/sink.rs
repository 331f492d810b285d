//! What a connection tells the house about the media it receives.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use super::receive::payload::Content;
use super::send::track::Slot;
use super::verdict::Verdict;
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
    /// `a=fmtp` parameters of the payload type, as the offer gave them; may be empty.
    pub fmtp: String,
    /// A screen, not a camera.
    pub is_screen: bool,
    /// The id of the header extension by which a picture's packets say what its colours are.
    pub color_space: Option<u8>,
    /// How many sources were agreed on: 1 without simulcast. Each may come in spatial layers.
    pub layers: u8,
}

/// Primaries, transfer and matrix of ITU-T H.273, and range and place of chroma (libwebrtc's
/// rtp-hdrext/color-space, without what only high dynamic range has).
pub type ColorSpace = [u8; 4];

/// One media packet: decrypted, without duplicates, RTX already undone, read once for all who
/// get it. Packets come in the order of their arrival, so gaps and late packets are for the
/// receiver.
#[derive(Debug, Clone)]
pub struct ReceivedRtp {
    pub arrival: Instant,
    /// The whole RTP packet (RFC 3550 §5.1), its padding removed.
    pub packet: Bytes,
    /// Where the payload begins.
    pub header_len: u16,
    /// The extended (unwrapped) sequence number, of this layer.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// Nothing more of its frame follows: what was held for it may go.
    pub completes: bool,
    /// Of simulcast: the index of its rid in the agreement. Of SVC: the spatial layer. Else 0.
    pub layer: u8,
    pub content: Content,
    /// RFC 6464, as on the wire: whether it is voice, and the level in -dBov.
    pub audio_level: Option<u8>,
    /// What the colours are, as on the wire; mostly said with the last packet of a key frame.
    pub color_space: Option<ColorSpace>,
    /// Where in the packet the dependency descriptor lies, which says of which layer it is.
    pub dependency_descriptor: Option<Range<u16>>,
}

impl ReceivedRtp {
    pub fn payload(&self) -> &[u8] {
        self.packet
            .get(usize::from(self.header_len)..)
            .unwrap_or_default()
    }

    pub fn dependency_descriptor(&self) -> Option<&[u8]> {
        let Range { start, end } = self.dependency_descriptor.clone()?;
        self.packet.get(usize::from(start)..usize::from(end))
    }

    /// Chromium probes with packets of nothing but padding: only their numbers matter.
    pub fn is_empty(&self) -> bool {
        self.packet.len() <= usize::from(self.header_len)
    }

    /// One of several layers that share their source's numbers (SVC).
    pub fn is_scalable(&self) -> bool {
        self.content.spatial.is_some()
    }
}

/// Temporal layers are four at most (RFC 7741 §4.2), so that without some of the upper ones there
/// are so many ways to be thinner.
pub const THINNER: usize = 3;

/// One layer of a published track, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerInfo {
    /// Of its last key frame; 0 where the codec does not say.
    pub height_px: u16,
    /// Of the last few seconds.
    pub bitrate_bps: u64,
    /// What is left of that by the temporal layers up to each index; zeros where that is all, or
    /// not known. Of spatial layers (SVC) the lowest has it.
    pub thinner_bps: [u64; THINNER],
    /// Packets come.
    pub running: bool,
}

/// What a track's subscribers make of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    pub subscribers: usize,
    /// The greatest height at which one of them shows it, in device pixels.
    pub shown_px: u32,
}

/// What ties a track's RTP timestamps to the publisher's wall clock (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    /// As [`ReceivedRtp::layer`].
    pub layer: u8,
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
    /// The track's layers, each second while it runs.
    Layers(TrackId, Vec<LayerInfo>),
    /// The loudest level of an audio track in the last tenth of a second, in -dBov (RFC 6464):
    /// 0 is full scale, 127 is silence.
    AudioLevel(TrackId, u8),
    /// Who gets a track that the peer sends.
    Demand(TrackId, Demand),
    /// What we send in a slot: this layer of its source, or nothing, for it does not fit.
    LayerChosen(Slot, Option<u8>),
    /// Whether messages beside the media may be sent.
    DataOpen(bool),
    /// The peer's message beside the media.
    Data(String),
    /// Our own message beside the media, which could not be sent.
    DataUnsent(String),
    /// Why it will be closed, where that is no orderly end.
    Failed(Box<Verdict>),
    /// The last event of a connection.
    Closed(CloseReason),
}

/// Where a connection's media goes. Called on the worker's thread: it must not block.
pub trait Sink: Send {
    fn event(&mut self, event: Event);
    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp);
    fn sender_report(&mut self, track: TrackId, report: SenderReport);
}
