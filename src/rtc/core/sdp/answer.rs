//! Our answer to an offer that publishes (RFC 8829 §5.3, RFC 9725 §4.2), and what it agrees on.

use std::fmt::Write;
use std::net::SocketAddr;

use super::agreement::{
    Agreement, CodecParameters, DtlsRole, Extensions, Fingerprint, IceCredentials, Media,
};
use super::offer::{Offer, OfferError, OfferedCodec, Section, Setup};
use crate::room::{Codec, MediaKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSettings {
    /// What the pipeline can decode; the offer's order decides among them.
    pub codecs: Vec<Codec>,
    /// The bitrate at which Chromium is asked to start its video, and not to fall below half of
    /// while nothing is known of the path. In kbit/s; 0 leaves it to Chromium.
    pub start_bitrate_kbps: u32,
    /// Where the peer finds us, best first.
    pub candidates: Vec<SocketAddr>,
    pub fingerprint: Fingerprint,
}

/// Answers `offer` with our ICE credentials: the answer's text, and what both sides now hold to.
///
/// # Errors
///
/// [`OfferError::SendsNothing`], and [`OfferError::NotTaken`] when something is sent that we
/// cannot take.
pub fn answer(
    offer: &Offer,
    local_ice: IceCredentials,
    settings: &AnswerSettings,
) -> Result<(String, Agreement), OfferError> {
    let sending = offer.sections.iter().enumerate().filter(|(_, s)| s.sends);
    let media = sending
        .map(|(index, section)| {
            accept(index, section, settings).ok_or_else(|| not_taken(section, settings))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if media.is_empty() {
        return Err(OfferError::SendsNothing);
    }
    let agreement = Agreement {
        local_ice,
        remote_ice: offer.ice.clone(),
        remote_fingerprint: offer.fingerprint.clone(),
        dtls_role: match offer.setup {
            Setup::ActPass | Setup::Active => DtlsRole::Server,
            Setup::Passive => DtlsRole::Client,
        },
        media,
    };
    Ok((write(offer, &agreement, settings), agreement))
}

fn not_taken(section: &Section, settings: &AnswerSettings) -> OfferError {
    let codecs = settings.codecs.iter().map(|codec| codec.encoding_name());
    OfferError::NotTaken {
        media: section.media.clone(),
        mid: section.mid.clone(),
        takes: codecs.collect::<Vec<_>>().join(", "),
    }
}

fn accept(index: usize, section: &Section, settings: &AnswerSettings) -> Option<Media> {
    let kind = section.kind.filter(|_| section.over_dtls)?;
    let (codec, offered) = section.codecs.iter().find_map(|offered| {
        let codec = known(offered).filter(|codec| settings.codecs.contains(codec))?;
        (codec.kind() == kind).then_some((codec, offered))
    })?;
    let feedback = |what: &str| offered.feedback.iter().any(|f| f == what);
    let id = |uri: &str| section.extensions.get(uri).copied();
    Some(Media {
        index: u8::try_from(index).ok()?,
        mid: section.mid.clone(),
        kind,
        codecs: vec![CodecParameters {
            codec,
            payload_type: offered.payload_type,
            clock_rate: offered.clock_rate,
            fmtp: offered.fmtp.clone(),
            rtx_payload_type: section.rtx.get(&offered.payload_type).copied(),
            nack: feedback("nack"),
            pli: feedback("nack pli"),
            transport_cc: feedback("transport-cc"),
        }],
        // Simulcast is not answered, so one encoding comes: here is where to accept more.
        rids: Vec::new(),
        ssrcs: section.ssrcs.clone(),
        extensions: Extensions {
            mid: id(MID),
            rid: None,
            repaired_rid: None,
            transport_cc: id(TRANSPORT_CC),
            abs_send_time: id(ABS_SEND_TIME),
            audio_level: id(AUDIO_LEVEL),
            video_orientation: None,
        },
    })
}

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

fn known(offered: &OfferedCodec) -> Option<Codec> {
    let codec = match offered.name.as_str() {
        "H264" => Codec::H264,
        "VP8" => Codec::Vp8,
        // Profile 0: 8 bit 4:2:0, which every decoder takes.
        "VP9" if matches!(offered.parameter("profile-id"), None | Some("0")) => Codec::Vp9,
        "AV1" if matches!(offered.parameter("profile"), None | Some("0")) => Codec::Av1,
        "OPUS" => Codec::Opus,
        _ => return None,
    };
    let h264_fits = match offered.parameter("packetization-mode") {
        None | Some("0" | "1") => true,
        Some(_) => codec != Codec::H264,
    };
    (h264_fits && offered.clock_rate == codec.clock_rate()).then_some(codec)
}

fn write(offer: &Offer, agreement: &Agreement, settings: &AnswerSettings) -> String {
    let mids: Vec<_> = agreement
        .media
        .iter()
        .map(|media| media.mid.as_str())
        .collect();
    let mut text = String::from("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n");
    // RFC 9143 §7.3.1: only what was offered is answered.
    if offer.bundled {
        put(&mut text, format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    put(
        &mut text,
        format_args!("a=ice-lite\r\na=msid-semantic: WMS *"),
    );
    for (index, section) in offer.sections.iter().enumerate() {
        match agreement
            .media
            .iter()
            .find(|media| usize::from(media.index) == index)
        {
            Some(media) => write_accepted(&mut text, section, media, agreement, settings),
            None => write_rejected(&mut text, section),
        }
    }
    text
}

/// RFC 8829 §5.3.1: a rejected section keeps its place, with port 0.
fn write_rejected(text: &mut String, section: &Section) {
    let formats = section.formats.join(" ");
    put(
        text,
        format_args!("m={} 0 {} {formats}", section.media, section.protocol),
    );
    put(text, format_args!("c=IN IP4 0.0.0.0"));
    put(text, format_args!("a=mid:{}", section.mid));
    put(text, format_args!("a=inactive"));
}

fn write_accepted(
    text: &mut String,
    section: &Section,
    media: &Media,
    agreement: &Agreement,
    settings: &AnswerSettings,
) {
    let types: Vec<String> = media
        .codecs
        .iter()
        .flat_map(|codec| [Some(codec.payload_type), codec.rtx_payload_type])
        .flatten()
        .map(|payload_type| payload_type.to_string())
        .collect();
    put(
        text,
        format_args!(
            "m={} 9 {} {}",
            section.media,
            section.protocol,
            types.join(" ")
        ),
    );
    put(text, format_args!("c=IN IP4 0.0.0.0"));
    put(text, format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
    put(text, format_args!("a=mid:{}", media.mid));
    write_transport(text, &agreement.local_ice, &settings.candidates);
    let hex: Vec<_> = settings
        .fingerprint
        .0
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    put(
        text,
        format_args!("a=fingerprint:sha-256 {}", hex.join(":")),
    );
    let setup = match agreement.dtls_role {
        DtlsRole::Server => "passive",
        DtlsRole::Client => "active",
    };
    put(
        text,
        format_args!("a=setup:{setup}\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize"),
    );
    let extensions = media.extensions;
    for (id, uri) in [
        (extensions.mid, MID),
        (extensions.transport_cc, TRANSPORT_CC),
        (extensions.abs_send_time, ABS_SEND_TIME),
        (extensions.audio_level, AUDIO_LEVEL),
    ] {
        if let Some(id) = id {
            put(text, format_args!("a=extmap:{id} {uri}"));
        }
    }
    for codec in &media.codecs {
        write_codec(text, codec, settings.start_bitrate_kbps);
    }
}

/// ICE: our credentials and candidates, which are all there will be (RFC 8838 §8.2).
pub(super) fn write_transport(text: &mut String, ice: &IceCredentials, candidates: &[SocketAddr]) {
    put(
        text,
        format_args!("a=ice-ufrag:{}\r\na=ice-pwd:{}", ice.ufrag, ice.pwd),
    );
    for (nth, address) in candidates.iter().enumerate() {
        // RFC 8445 §5.1.2.1: type preference 126 for host candidates, component 1.
        let local = 65535u32.saturating_sub(u32::try_from(nth).unwrap_or(u32::MAX));
        let priority = (126 << 24) + (local << 8) + 255;
        let (ip, port) = (address.ip(), address.port());
        put(
            text,
            format_args!(
                "a=candidate:{} 1 udp {priority} {ip} {port} typ host",
                nth + 1
            ),
        );
    }
    put(text, format_args!("a=end-of-candidates"));
}

fn write_codec(text: &mut String, codec: &CodecParameters, start_bitrate_kbps: u32) {
    let payload_type = codec.payload_type;
    let channels = if codec.codec == Codec::Opus { "/2" } else { "" };
    let name = match codec.codec {
        Codec::Opus => "opus",
        other => other.encoding_name(),
    };
    put(
        text,
        format_args!(
            "a=rtpmap:{payload_type} {name}/{}{channels}",
            codec.clock_rate
        ),
    );
    let mut fmtp = codec.fmtp.clone();
    if codec.codec.kind() == MediaKind::Video && start_bitrate_kbps > 0 {
        // Chromium starts at 300 kbit/s and a small picture unless it is told.
        let hint = format!(
            "x-google-start-bitrate={start_bitrate_kbps};x-google-min-bitrate={}",
            start_bitrate_kbps * 2 / 5
        );
        fmtp = if fmtp.is_empty() {
            hint
        } else {
            format!("{fmtp};{hint}")
        };
    }
    if !fmtp.is_empty() {
        put(text, format_args!("a=fmtp:{payload_type} {fmtp}"));
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

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{line}\r\n");
}
