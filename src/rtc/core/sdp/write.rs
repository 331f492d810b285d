//! SDP's text, as answers and offers of ours are written (RFC 8866, RFC 8829).

use std::fmt::{Arguments, Write};
use std::net::SocketAddr;

use super::agreement::{CodecParameters, Extensions, Fingerprint, IceCredentials, Rtx};
use crate::room::Codec;
use crate::rtc::core::data::{MAX_MESSAGE, SCTP_PORT};
use crate::rtc::core::ice::Transport;

pub(super) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(super) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub(super) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
pub(super) const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
pub(super) const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
pub(super) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// libwebrtc, docs/native-code/rtp-hdrext/color-space
pub(super) const COLOR_SPACE: &str = "http://www.webrtc.org/experiments/rtp-hdrext/color-space";
/// The AV1 RTP specification, appendix A.
pub(super) const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Where peers find us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub transport: Transport,
    pub address: SocketAddr,
}

/// What every section repeats of the one transport that the bundle has.
#[derive(Debug, Clone, Copy)]
pub(super) struct OurTransport<'a> {
    pub ice: &'a IceCredentials,
    pub candidates: &'a [Candidate],
    pub fingerprint: &'a Fingerprint,
    /// `a=setup`
    pub setup: &'a str,
}

/// A source that we announce (RFC 5576, RFC 8830).
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced<'a> {
    pub stream: &'a str,
    pub track: &'a str,
    pub ssrc: u32,
    pub rtx: Option<Rtx>,
}

/// One `m=` section.
#[derive(Debug, Clone, Copy)]
pub(super) struct SectionText<'a> {
    pub media: &'a str,
    pub protocol: &'a str,
    pub mid: &'a str,
    /// `sendonly`, `recvonly` or `inactive`
    pub direction: &'a str,
    pub codecs: &'a [CodecParameters],
    pub extensions: Extensions,
    /// Simulcast that we receive.
    pub rids: &'a [String],
    pub announced: Option<Announced<'a>>,
}

/// The lines before the first section. `version` grows with each description of one session
/// (RFC 8829 §5.2.1).
pub(super) fn write_session(text: &mut String, version: u64, bundle: Option<&str>) {
    put(
        text,
        format_args!("v=0\r\no=- 1 {version} IN IP4 0.0.0.0\r\ns=-\r\nt=0 0"),
    );
    if let Some(bundle) = bundle {
        put(text, format_args!("a=group:BUNDLE {bundle}"));
    }
    put(text, format_args!("a=ice-lite\r\na=msid-semantic: WMS *"));
}

/// Header extensions may have the long form in one packet and the short one in another (RFC 8285
/// §6); of the whole session, so before the first section.
pub(super) fn write_mixed(text: &mut String) {
    put(text, format_args!("a=extmap-allow-mixed"));
}

/// RFC 8829 §5.3.1: a rejected section keeps its place, with port 0.
pub(super) fn write_rejected(
    text: &mut String,
    media: &str,
    protocol: &str,
    formats: &str,
    mid: &str,
) {
    put(
        text,
        format_args!("m={media} 0 {protocol} {formats}\r\nc=IN IP4 0.0.0.0"),
    );
    put(text, format_args!("a=mid:{mid}\r\na=inactive"));
}

/// A data channel's section (RFC 8841 §9.2); the words of its `m=` line besides `application`.
pub(super) const DATA_PROTOCOL: &str = "UDP/DTLS/SCTP";

pub(super) fn write_data(text: &mut String, mid: &str, transport: &OurTransport<'_>) {
    put(
        text,
        format_args!("m=application 9 {DATA_PROTOCOL} webrtc-datachannel"),
    );
    put(text, format_args!("c=IN IP4 0.0.0.0\r\na=mid:{mid}"));
    write_transport(text, transport.ice, transport.candidates);
    write_security(text, transport);
    put(
        text,
        format_args!("a=sctp-port:{SCTP_PORT}\r\na=max-message-size:{MAX_MESSAGE}"),
    );
}

pub(super) fn write_section(
    text: &mut String,
    section: &SectionText<'_>,
    transport: &OurTransport<'_>,
) {
    let SectionText {
        media,
        protocol,
        mid,
        direction,
        ..
    } = section;
    let types: Vec<String> = section
        .codecs
        .iter()
        .flat_map(|codec| [Some(codec.payload_type), codec.rtx_payload_type])
        .flatten()
        .map(|payload_type| payload_type.to_string())
        .collect();
    put(
        text,
        format_args!("m={media} 9 {protocol} {}", types.join(" ")),
    );
    put(
        text,
        format_args!("c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0"),
    );
    put(text, format_args!("a=mid:{mid}"));
    write_transport(text, transport.ice, transport.candidates);
    write_security(text, transport);
    put(
        text,
        format_args!("a={direction}\r\na=rtcp-mux\r\na=rtcp-rsize"),
    );
    let extensions = section.extensions;
    for (id, uri) in [
        (extensions.mid, MID),
        (extensions.rid, RID),
        (extensions.repaired_rid, REPAIRED_RID),
        (extensions.transport_cc, TRANSPORT_CC),
        (extensions.abs_send_time, ABS_SEND_TIME),
        (extensions.audio_level, AUDIO_LEVEL),
        (extensions.color_space, COLOR_SPACE),
        (extensions.dependency_descriptor, DEPENDENCY_DESCRIPTOR),
    ] {
        if let Some(id) = id {
            put(text, format_args!("a=extmap:{id} {uri}"));
        }
    }
    for codec in section.codecs {
        write_codec(text, codec);
    }
    // RFC 8851 and RFC 8853: without both, browsers send the first layer alone.
    for rid in section.rids {
        put(text, format_args!("a=rid:{rid} recv"));
    }
    if !section.rids.is_empty() {
        put(
            text,
            format_args!("a=simulcast:recv {}", section.rids.join(";")),
        );
    }
    if let Some(announced) = &section.announced {
        write_announced(text, announced);
    }
}

fn write_announced(text: &mut String, announced: &Announced<'_>) {
    let Announced {
        stream,
        track,
        ssrc,
        rtx,
    } = announced;
    put(text, format_args!("a=msid:{stream} {track}"));
    if let Some(rtx) = rtx {
        put(text, format_args!("a=ssrc-group:FID {ssrc} {}", rtx.ssrc));
    }
    for ssrc in [Some(*ssrc), rtx.map(|rtx| rtx.ssrc)].into_iter().flatten() {
        // What is played together has one cname (RFC 3550 §6.5.1): the participant's stream.
        put(text, format_args!("a=ssrc:{ssrc} cname:{stream}"));
    }
}

/// DTLS: our certificate's hash and our part in the handshake.
fn write_security(text: &mut String, transport: &OurTransport<'_>) {
    let bytes = transport.fingerprint.0.iter();
    let hex: Vec<_> = bytes.map(|byte| format!("{byte:02X}")).collect();
    put(
        text,
        format_args!("a=fingerprint:sha-256 {}", hex.join(":")),
    );
    put(text, format_args!("a=setup:{}", transport.setup));
}

/// ICE: our credentials and candidates, which are all there will be (RFC 8838 §8.2).
pub(super) fn write_transport(text: &mut String, ice: &IceCredentials, candidates: &[Candidate]) {
    put(
        text,
        format_args!("a=ice-ufrag:{}\r\na=ice-pwd:{}", ice.ufrag, ice.pwd),
    );
    for (nth, candidate) in candidates.iter().enumerate() {
        put(text, format_args!("a={}", candidate_line(nth, candidate)));
    }
    put(text, format_args!("a=end-of-candidates"));
}

/// `candidate:…` of the `nth` candidate, best first (RFC 8839 §5.1).
pub fn candidate_line(nth: usize, candidate: &Candidate) -> String {
    let local = 65535u32.saturating_sub(u32::try_from(nth).unwrap_or(u32::MAX));
    let (ip, port) = (candidate.address.ip(), candidate.address.port());
    // RFC 8445 §5.1.2.1: a type preference of 126 for host candidates; RFC 6544 §4.2 wants TCP
    // below UDP.
    let (word, preference, kind) = match candidate.transport {
        Transport::Udp | Transport::Relay => ("udp", 126, ""),
        Transport::Tcp => ("tcp", 90, " tcptype passive"),
    };
    let priority = (preference << 24) + (local << 8) + 255;
    format!(
        "candidate:{} 1 {word} {priority} {ip} {port} typ host{kind}",
        nth + 1
    )
}

fn write_codec(text: &mut String, codec: &CodecParameters) {
    let payload_type = codec.payload_type;
    let (name, channels) = match codec.codec {
        Codec::Opus => ("opus", "/2"),
        other => (other.encoding_name(), ""),
    };
    put(
        text,
        format_args!(
            "a=rtpmap:{payload_type} {name}/{}{channels}",
            codec.clock_rate
        ),
    );
    if !codec.fmtp.is_empty() {
        put(text, format_args!("a=fmtp:{payload_type} {}", codec.fmtp));
    }
    for (on, what) in [
        (codec.nack, "nack"),
        (codec.pli, "nack pli"),
        (codec.transport_cc, "transport-cc"),
    ] {
        if on {
            put(text, format_args!("a=rtcp-fb:{payload_type} {what}"));
        }
    }
    if let Some(rtx) = codec.rtx_payload_type {
        put(
            text,
            format_args!("a=rtpmap:{rtx} rtx/{}", codec.clock_rate),
        );
        put(text, format_args!("a=fmtp:{rtx} apt={payload_type}"));
    }
}

pub(super) fn put(text: &mut String, line: Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{line}\r\n");
}
