//! What an offer and our answer agreed on: all that the connection needs, nothing of SDP's text.

use crate::room::{Codec, MediaKind};

/// One side's ICE credentials (RFC 8839 §5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

/// `a=fingerprint` (RFC 8122 §5), sha-256 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Our part in the DTLS handshake (`a=setup`, RFC 8842 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    Client,
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    pub local_ice: IceCredentials,
    pub remote_ice: IceCredentials,
    pub remote_fingerprint: Fingerprint,
    pub dtls_role: DtlsRole,
    /// What the peer sends, in the order of the `m=` sections; rejected sections are left out.
    pub media: Vec<Media>,
    /// What we send.
    pub sends: Vec<SendMedia>,
    /// Messages beside the media (RFC 8841).
    pub has_data: bool,
}

/// One `m=` section in which we send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMedia {
    pub mid: String,
    pub kind: MediaKind,
    pub codec: Codec,
    pub payload_type: u8,
    pub clock_rate: u32,
    /// The peer asks for lost packets (RFC 4585 §6.2.1).
    pub nack: bool,
    /// How they are sent again; without, as they were.
    pub rtx: Option<Rtx>,
    pub ssrc: u32,
    pub transport_cc: Option<u8>,
    pub audio_level: Option<u8>,
    pub color_space: Option<u8>,
    pub dependency_descriptor: Option<u8>,
}

/// RFC 4588: payload type and SSRC of a stream of retransmissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtx {
    pub payload_type: u8,
    pub ssrc: u32,
}

/// One accepted `m=` section that the peer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// The index of the `m=` section in the offer.
    pub index: u8,
    pub mid: String,
    pub kind: MediaKind,
    /// A screen, not a camera (`a=content:slides`, RFC 4796).
    pub is_screen: bool,
    /// The payload types we accepted, best first.
    pub codecs: Vec<CodecParameters>,
    /// Simulcast rids the peer offered to send and we accepted; empty without simulcast. Their order
    /// says nothing of their size.
    pub rids: Vec<String>,
    /// `a=ssrc` the offer declared (media, RTX of it); browsers may leave them out, then mid/rid
    /// extensions and payload types tell.
    pub ssrcs: Vec<DeclaredSsrc>,
    pub extensions: Extensions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredSsrc {
    pub media: u32,
    pub rtx: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecParameters {
    pub codec: Codec,
    pub payload_type: u8,
    pub clock_rate: u32,
    pub fmtp: String,
    /// The payload type of its retransmissions (RFC 4588).
    pub rtx_payload_type: Option<u8>,
    pub nack: bool,
    pub pli: bool,
    pub transport_cc: bool,
}

/// Ids of the header extensions (RFC 8285) accepted for one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// RFC 9143
    pub mid: Option<u8>,
    /// RFC 8852
    pub rid: Option<u8>,
    /// RFC 8852
    pub repaired_rid: Option<u8>,
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01
    pub transport_cc: Option<u8>,
    pub abs_send_time: Option<u8>,
    /// RFC 6464
    pub audio_level: Option<u8>,
    /// What the numbers of a picture mean (libwebrtc's rtp-hdrext/color-space): VP8 has no other way
    /// to say it.
    pub color_space: Option<u8>,
    /// Where in the pyramid of layers a packet stands (the AV1 RTP specification, appendix A).
    pub dependency_descriptor: Option<u8>,
}
