//! Our answers: to an offer that publishes (RFC 8829 §5.3, RFC 9725 §4.2) and to one that
//! subscribes (WHEP), and what each agrees on.

use super::agreement::{
    Agreement, CodecParameters, DtlsRole, Extensions, Fingerprint, IceCredentials, Media, Rtx,
    SendMedia,
};
use super::offer::{Offer, OfferError, OfferedCodec, Section, Setup};
use super::write::{
    ABS_SEND_TIME, AUDIO_LEVEL, Announced, COLOR_SPACE, Candidate, DEPENDENCY_DESCRIPTOR, MID,
    OurTransport, REPAIRED_RID, RID, SectionText, TRANSPORT_CC, write_mixed, write_rejected,
    write_section, write_session,
};
use crate::room::{Codec, MediaKind};

/// Layers of one track that are taken: Chromium sends three, OBS up to four.
const MAX_RIDS: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerSettings {
    /// What the pipeline can decode; the offer's order decides among them.
    pub codecs: Vec<Codec>,
    /// The bitrate at which Chromium is asked to start its video, and not to fall below half of
    /// while nothing is known of the path. In kbit/s; 0 leaves it to Chromium.
    pub start_bitrate_kbps: u32,
    /// Where the peer finds us, best first.
    pub candidates: Vec<Candidate>,
    pub fingerprint: Fingerprint,
}

/// A published track that a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub kind: MediaKind,
    pub codec: Codec,
    pub fmtp: String,
    /// What belongs together has one stream: the participant.
    pub stream: String,
    pub track: String,
    /// Random, and ours alone in this connection; of the media and of its retransmissions.
    pub ssrcs: (u32, u32),
}

/// Answers an offer that publishes: the answer's text, and what both sides now hold to.
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
    let agreement = agreement(offer, local_ice, media, Vec::new());
    let mut sections = Vec::new();
    for media in &agreement.media {
        let mut codecs = media.codecs.clone();
        for codec in &mut codecs {
            let is_layered = !media.rids.is_empty();
            add_start_bitrate(codec, settings.start_bitrate_kbps, is_layered);
        }
        sections.push((
            media.mid.clone(),
            codecs,
            media.extensions,
            media.rids.clone(),
        ));
    }
    let text = write(offer, &agreement, settings, |section| {
        let found = sections.iter().find(|(mid, ..)| *mid == section.mid)?;
        let (_, codecs, extensions, rids) = found;
        Some(SectionText {
            media: &section.media,
            protocol: &section.protocol,
            mid: &section.mid,
            direction: "recvonly",
            codecs,
            extensions: *extensions,
            rids,
            announced: None,
        })
    });
    Ok((text, agreement))
}

/// Answers an offer that subscribes (draft-ietf-wish-whep) with these tracks: each goes into the
/// first section that takes its kind and codec. The second value says which track each of the
/// agreement's sections carries.
///
/// # Errors
///
/// [`OfferError::TakesNothing`] when no section takes any of the tracks.
pub fn answer_subscriber(
    offer: &Offer,
    local_ice: IceCredentials,
    settings: &AnswerSettings,
    tracks: &[Published],
) -> Result<(String, Agreement, Vec<usize>), OfferError> {
    let mut sections: Vec<(String, Vec<CodecParameters>, Extensions)> = Vec::new();
    let (mut sends, mut carried) = (Vec::new(), Vec::new());
    for (index, track) in tracks.iter().enumerate() {
        let free = offer.sections.iter().find_map(|section| {
            let is_taken = sections.iter().any(|(mid, ..)| *mid == section.mid);
            let fits = section.receives && section.over_dtls && !is_taken;
            let codec = fits.then(|| receiver_of(section, track))??;
            Some((section, codec))
        });
        let Some((section, codec)) = free else {
            continue;
        };
        let extensions = extensions_sent(offer, section);
        sends.push(send_media(&section.mid, &codec, extensions, track));
        sections.push((section.mid.clone(), vec![codec], extensions));
        carried.push(index);
    }
    if sends.is_empty() {
        let mut codecs: Vec<_> = tracks.iter().map(|t| t.codec.encoding_name()).collect();
        codecs.dedup();
        return Err(OfferError::TakesNothing(codecs.join(", ")));
    }
    let agreement = agreement(offer, local_ice, Vec::new(), sends);
    let text = write(offer, &agreement, settings, |section| {
        let at = sections.iter().position(|(mid, ..)| *mid == section.mid)?;
        let ((_, codecs, extensions), send) = (sections.get(at)?, agreement.sends.get(at)?);
        let track = tracks.get(*carried.get(at)?)?;
        Some(SectionText {
            media: &section.media,
            protocol: &section.protocol,
            mid: &section.mid,
            direction: "sendonly",
            codecs,
            extensions: *extensions,
            rids: &[],
            announced: Some(Announced {
                stream: &track.stream,
                track: &track.track,
                ssrc: send.ssrc,
                rtx: send.rtx,
            }),
        })
    });
    Ok((text, agreement, carried))
}

pub(super) fn agreement(
    offer: &Offer,
    local_ice: IceCredentials,
    media: Vec<Media>,
    sends: Vec<SendMedia>,
) -> Agreement {
    Agreement {
        local_ice,
        remote_ice: offer.ice.clone(),
        remote_fingerprint: offer.fingerprint.clone(),
        dtls_role: match offer.setup {
            Setup::ActPass | Setup::Active => DtlsRole::Server,
            Setup::Passive => DtlsRole::Client,
        },
        media,
        sends,
        has_data: false,
    }
}

fn not_taken(section: &Section, settings: &AnswerSettings) -> OfferError {
    let codecs = settings.codecs.iter().map(|codec| codec.encoding_name());
    OfferError::NotTaken {
        media: section.media.clone(),
        mid: section.mid.clone(),
        takes: codecs.collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn accept(index: usize, section: &Section, settings: &AnswerSettings) -> Option<Media> {
    let kind = section.kind.filter(|_| section.over_dtls)?;
    let (codec, offered) = section.codecs.iter().find_map(|offered| {
        let codec = known(offered).filter(|codec| settings.codecs.contains(codec))?;
        (codec.kind() == kind).then_some((codec, offered))
    })?;
    let id = |uri: &str| section.extensions.get(uri).copied();
    // Without the extension nothing tells the layers apart (RFC 8852 §3).
    let rids = match (kind, id(RID)) {
        (MediaKind::Video, Some(_)) => section.rids.iter().take(MAX_RIDS).cloned().collect(),
        _ => Vec::new(),
    };
    let has_rids = !rids.is_empty();
    Some(Media {
        index: u8::try_from(index).ok()?,
        mid: section.mid.clone(),
        kind,
        is_screen: section.is_screen,
        codecs: vec![parameters(codec, offered, section)],
        rids,
        ssrcs: section.ssrcs.clone(),
        extensions: Extensions {
            mid: id(MID),
            rid: id(RID).filter(|_| has_rids),
            repaired_rid: id(REPAIRED_RID).filter(|_| has_rids),
            transport_cc: id(TRANSPORT_CC),
            abs_send_time: id(ABS_SEND_TIME),
            audio_level: id(AUDIO_LEVEL),
            color_space: id(COLOR_SPACE),
            // VP8 and VP9 say it in the payload.
            dependency_descriptor: id(DEPENDENCY_DESCRIPTOR)
                .filter(|_| matches!(codec, Codec::Av1 | Codec::H264)),
        },
    })
}

fn parameters(codec: Codec, offered: &OfferedCodec, section: &Section) -> CodecParameters {
    let feedback = |what: &str| offered.feedback.iter().any(|f| f == what);
    CodecParameters {
        codec,
        payload_type: offered.payload_type,
        clock_rate: offered.clock_rate,
        fmtp: offered.fmtp.clone(),
        rtx_payload_type: section.rtx.get(&offered.payload_type).copied(),
        nack: feedback("nack"),
        pli: feedback("nack pli"),
        transport_cc: feedback("transport-cc"),
    }
}

/// The offered codec by which a section can take `track`.
pub(super) fn receiver_of(section: &Section, track: &Published) -> Option<CodecParameters> {
    if section.kind != Some(track.kind) {
        return None;
    }
    let fits = section.codecs.iter().filter(|offered| {
        known(offered) == Some(track.codec) && takes_packetization(offered, &track.fmtp)
    });
    // H.264 comes several times, by profile: the track's own is surely decoded.
    let profile = parameter(&track.fmtp, "profile-level-id");
    let best = fits.max_by_key(|offered| {
        let offered = offered.parameter("profile-level-id");
        let same = |len: usize| match (offered, profile) {
            (Some(a), Some(b)) => {
                a.get(..len).map(str::to_ascii_lowercase)
                    == b.get(..len).map(str::to_ascii_lowercase)
            }
            _ => false,
        };
        (same(6), same(4), same(2))
    })?;
    Some(parameters(track.codec, best, section))
}

/// A stream of packetization mode 1 has fragments that a receiver of mode 0 does not know.
fn takes_packetization(offered: &OfferedCodec, fmtp: &str) -> bool {
    let mode = |value: Option<&str>| value.unwrap_or("0") == "1";
    mode(offered.parameter("packetization-mode")) || !mode(parameter(fmtp, "packetization-mode"))
}

fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The extensions of an offered section that we send.
pub(super) fn extensions_sent(offer: &Offer, section: &Section) -> Extensions {
    // Longer ids need the two-byte form (RFC 8285 §4.3), which not everybody takes.
    let id = |uri: &str| section.extensions.get(uri).copied().filter(|id| *id < 15);
    Extensions {
        transport_cc: id(TRANSPORT_CC),
        audio_level: id(AUDIO_LEVEL),
        color_space: id(COLOR_SPACE),
        // That of a key frame is too long for the short form.
        dependency_descriptor: id(DEPENDENCY_DESCRIPTOR).filter(|_| offer.mixes_extensions),
        ..Extensions::default()
    }
}

pub(super) fn send_media(
    mid: &str,
    codec: &CodecParameters,
    extensions: Extensions,
    track: &Published,
) -> SendMedia {
    let (ssrc, rtx_ssrc) = track.ssrcs;
    let rtx = codec.rtx_payload_type.filter(|_| codec.nack);
    SendMedia {
        mid: mid.to_owned(),
        kind: track.kind,
        codec: codec.codec,
        payload_type: codec.payload_type,
        clock_rate: codec.clock_rate,
        nack: codec.nack,
        rtx: rtx.map(|payload_type| Rtx {
            payload_type,
            ssrc: rtx_ssrc,
        }),
        ssrc,
        transport_cc: extensions.transport_cc.filter(|_| codec.transport_cc),
        audio_level: extensions
            .audio_level
            .filter(|_| track.kind == MediaKind::Audio),
        color_space: extensions
            .color_space
            .filter(|_| track.kind == MediaKind::Video),
        dependency_descriptor: extensions
            .dependency_descriptor
            .filter(|_| track.codec == Codec::Av1),
    }
}

pub(super) fn known(offered: &OfferedCodec) -> Option<Codec> {
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

/// Chromium starts at 300 kbit/s and a small picture unless it is told. Of several layers it
/// would take the least bitrate for the smallest one's.
fn add_start_bitrate(codec: &mut CodecParameters, start_bitrate_kbps: u32, is_layered: bool) {
    if codec.codec.kind() != MediaKind::Video || start_bitrate_kbps == 0 {
        return;
    }
    if !codec.fmtp.is_empty() {
        codec.fmtp.push(';');
    }
    codec.fmtp += &format!("x-google-start-bitrate={start_bitrate_kbps}");
    if !is_layered {
        codec.fmtp += &format!(";x-google-min-bitrate={}", start_bitrate_kbps * 2 / 5);
    }
}

/// RFC 9143 §7.3.1: only what was offered is answered, and what is not accepted is rejected.
fn write<'a>(
    offer: &'a Offer,
    agreement: &Agreement,
    settings: &AnswerSettings,
    accepted: impl Fn(&'a Section) -> Option<SectionText<'a>>,
) -> String {
    let transport = OurTransport {
        ice: &agreement.local_ice,
        candidates: &settings.candidates,
        fingerprint: &settings.fingerprint,
        setup: match agreement.dtls_role {
            DtlsRole::Server => "passive",
            DtlsRole::Client => "active",
        },
    };
    let sections = offer.sections.iter();
    let sections: Vec<_> = sections
        .map(|section| (section, accepted(section)))
        .collect();
    let mids: Vec<&str> = sections
        .iter()
        .filter(|(_, accepted)| accepted.is_some())
        .map(|(section, _)| section.mid.as_str())
        .collect();
    let mut text = String::new();
    let bundle = offer.bundled.then(|| mids.join(" "));
    write_session(&mut text, 1, bundle.as_deref());
    if offer.mixes_extensions {
        write_mixed(&mut text);
    }
    for (section, accepted) in &sections {
        match accepted {
            Some(accepted) => write_section(&mut text, accepted, &transport),
            None => {
                let (media, formats) = (&section.media, section.formats.join(" "));
                write_rejected(&mut text, media, &section.protocol, &formats, &section.mid);
            }
        }
    }
    text
}
