//! An offer, read once into what the answer needs (RFC 8829 §5.8, RFC 9725 §4.2).

use std::collections::BTreeMap;
use std::io::Cursor;

use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;

use super::agreement::{DeclaredSsrc, Fingerprint, IceCredentials};
use crate::room::MediaKind;

/// The longest that is read: Chromium's offer with simulcast and every codec has about 10 kB, its
/// answer about 1 kB a section.
pub const MAX_OFFER_LEN: usize = 256 * 1024;
/// Sections at most: WHIP has one audio and one video, and a screen perhaps; an answer of a
/// subscriber has as many as we offered.
pub const MAX_SECTIONS: usize = super::subscription::MAX_SECTIONS;
/// ice-ufrag and ice-pwd are 4 and 22 to 256 characters (RFC 8839 §5.4).
pub(super) const UFRAG_LEN: std::ops::RangeInclusive<usize> = 4..=256;
pub(super) const PWD_LEN: std::ops::RangeInclusive<usize> = 22..=256;

/// Why an offer cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    #[error("the offer is longer than {MAX_OFFER_LEN} bytes")]
    TooLong,
    #[error("the offer is not SDP: {0}")]
    Syntax(String),
    #[error("the offer has no media section, or more than {MAX_SECTIONS}")]
    Sections,
    #[error("the offer lacks {0}; send one made by RTCPeerConnection.createOffer or its like")]
    Lacks(&'static str),
    #[error("{0:?} is not a fingerprint of sha-256 (RFC 8122)")]
    Fingerprint(String),
    #[error("the offer sends nothing: WHIP publishes, so a section must be sendonly or sendrecv")]
    SendsNothing,
    /// RFC 9725 §4.4.3: no partial success, which would mislead who publishes.
    #[error(
        "the {media} section (mid {mid}) cannot be taken: Amphi takes {takes}, over \
         UDP/TLS/RTP/SAVPF with rtcp-mux; offer one of these, or leave the section out"
    )]
    NotTaken {
        media: String,
        mid: String,
        takes: String,
    },
    #[error(
        "the offer takes nothing of what is published, which is {0}: offer a recvonly section \
         for each kind, with that codec"
    )]
    TakesNothing(String),
    /// RFC 9725 §4.4.1.
    #[error("section {0} is not in the offer's BUNDLE group; set bundlePolicy to max-bundle")]
    NotBundled(String),
}

/// `a=setup` of the offer (RFC 8842 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    ActPass,
    Active,
    Passive,
}

/// One offer; sections in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub ice: IceCredentials,
    pub fingerprint: Fingerprint,
    pub setup: Setup,
    /// Whether there is a BUNDLE group, of which then all that is sent is part.
    pub bundled: bool,
    /// Whether header extensions may come in the long form, too (RFC 8285 §6).
    pub mixes_extensions: bool,
    pub sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The words of the `m=` line, to be given back in the answer.
    pub media: String,
    pub protocol: String,
    pub formats: Vec<String>,
    pub mid: String,
    /// `None` for data channels and the unknown.
    pub kind: Option<MediaKind>,
    /// Not rejected: its port is not 0, or another section's transport is its own.
    pub open: bool,
    /// The peer sends audio or video here.
    pub sends: bool,
    /// The peer takes audio or video here.
    pub receives: bool,
    /// `a=content:slides` (RFC 4796): a screen, not a camera.
    pub is_screen: bool,
    /// RTP over DTLS with rtcp-mux.
    pub over_dtls: bool,
    /// In the offer's order of preference.
    pub codecs: Vec<OfferedCodec>,
    /// Retransmission payload types by what they repair (`apt`, RFC 4588 §8.6).
    pub rtx: BTreeMap<u8, u8>,
    /// Header extensions by URI (RFC 8285 §5).
    pub extensions: BTreeMap<String, u8>,
    pub rids: Vec<String>,
    pub ssrcs: Vec<DeclaredSsrc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    pub payload_type: u8,
    /// The encoding name, in capitals.
    pub name: String,
    pub clock_rate: u32,
    pub fmtp: String,
    /// `a=rtcp-fb` values.
    pub feedback: Vec<String>,
}

impl OfferedCodec {
    /// One parameter of the `a=fmtp` line.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Offer {
    pub fn parse(text: &str) -> Result<Self, OfferError> {
        if text.len() > MAX_OFFER_LEN {
            return Err(OfferError::TooLong);
        }
        // RFC 8866 §9, `byte-string`. The crate takes them, and values go into our answer.
        if text.replace("\r\n", "\n").contains(['\r', '\0']) {
            return Err(OfferError::Syntax(
                "a value holds a carriage return or a null character".to_owned(),
            ));
        }
        let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|e| OfferError::Syntax(e.to_string().chars().take(200).collect()))?;
        let media = &sdp.media_descriptions;
        if media.is_empty() || media.len() > MAX_SECTIONS {
            return Err(OfferError::Sections);
        }
        // BUNDLE: the transport is the first section's, or the session's.
        let transport = |key: &str| {
            media
                .iter()
                .find_map(|m| value(&m.attributes, key))
                .or(value(&sdp.attributes, key))
        };
        let ice = IceCredentials {
            ufrag: transport("ice-ufrag")
                .filter(|ufrag| UFRAG_LEN.contains(&ufrag.len()))
                .ok_or(OfferError::Lacks("a=ice-ufrag"))?
                .to_owned(),
            pwd: transport("ice-pwd")
                .filter(|pwd| PWD_LEN.contains(&pwd.len()))
                .ok_or(OfferError::Lacks("a=ice-pwd"))?
                .to_owned(),
        };
        // RFC 8122 §5 lets a peer give one of several hashes, each on its line.
        let fingerprint = media
            .iter()
            .flat_map(|m| &m.attributes)
            .chain(&sdp.attributes)
            .filter(|a| a.key == "fingerprint")
            .filter_map(|a| a.value.as_deref())
            .min_by_key(|text| !is_sha_256(text))
            .ok_or(OfferError::Lacks("a=fingerprint"))?;
        let setup = match transport("setup") {
            None | Some("actpass") => Setup::ActPass,
            Some("active") => Setup::Active,
            Some("passive") => Setup::Passive,
            Some(_) => return Err(OfferError::Lacks("a=setup of actpass, active or passive")),
        };
        let direction = |m: &MediaDescription| {
            let known = |key: &&str| m.has_attribute(key) || sdp.has_attribute(key);
            ["sendonly", "recvonly", "inactive"]
                .iter()
                .find(|key| m.has_attribute(key))
                .or(["sendonly", "recvonly", "inactive"]
                    .iter()
                    .find(|key| !m.has_attribute("sendrecv") && known(key)))
                .copied()
        };
        let sections: Vec<Section> = media
            .iter()
            .enumerate()
            .map(|(index, m)| section(index, m, direction(m)))
            .collect();
        let bundle: Vec<&str> = sdp
            .attributes
            .iter()
            .filter(|a| a.key == "group")
            .filter_map(|a| a.value.as_deref()?.strip_prefix("BUNDLE"))
            .flat_map(str::split_whitespace)
            .collect();
        let outside = |section: &&Section| section.sends && !bundle.contains(&&*section.mid);
        let alone = bundle.is_empty() && sections.iter().filter(|s| s.sends).count() <= 1;
        if let Some(section) = sections.iter().find(outside).filter(|_| !alone) {
            return Err(OfferError::NotBundled(section.mid.clone()));
        }
        Ok(Self {
            ice,
            fingerprint: parse_fingerprint(fingerprint)?,
            setup,
            bundled: !bundle.is_empty(),
            mixes_extensions: sdp.has_attribute("extmap-allow-mixed"),
            sections,
        })
    }

    /// Whether some section of this kind sends.
    pub fn sends(&self, kind: MediaKind) -> bool {
        self.sections
            .iter()
            .any(|section| section.sends && section.kind == Some(kind))
    }
}

fn section(index: usize, m: &MediaDescription, direction: Option<&str>) -> Section {
    let kind = match m.media_name.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    let protocol = m.media_name.protos.join("/");
    let over_dtls = protocol.contains("TLS") && protocol.ends_with("SAVPF");
    // Port 0 in a bundled section with a=bundle-only is not a rejection (RFC 9143 §6).
    let open = m.media_name.port.value != 0 || m.has_attribute("bundle-only");
    let all = |key: &'static str| {
        m.attributes
            .iter()
            .filter(move |a| a.key == key)
            .filter_map(|a| a.value.as_deref())
    };
    let fmtp: BTreeMap<u8, &str> = all("fmtp").filter_map(numbered).collect();
    let mut feedback: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (payload_type, what) in all("rtcp-fb").filter_map(|v| v.split_once(' ')) {
        feedback
            .entry(payload_type.to_owned())
            .or_default()
            .push(what.trim().to_owned());
    }
    let maps: BTreeMap<u8, &str> = all("rtpmap").filter_map(numbered).collect();
    let mut codecs = Vec::new();
    let mut rtx = BTreeMap::new();
    for payload_type in m
        .media_name
        .formats
        .iter()
        .filter_map(|f| f.parse::<u8>().ok())
    {
        let Some(map) = maps.get(&payload_type) else {
            continue;
        };
        let mut words = map.split('/');
        let name = words.next().unwrap_or_default().to_uppercase();
        let clock_rate = words
            .next()
            .and_then(|w| w.trim().parse().ok())
            .unwrap_or_default();
        let fmtp = fmtp
            .get(&payload_type)
            .copied()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let own = feedback
            .get(&payload_type.to_string())
            .into_iter()
            .flatten();
        let feedback = own
            .chain(feedback.get("*").into_iter().flatten())
            .cloned()
            .collect();
        let codec = OfferedCodec {
            payload_type,
            name,
            clock_rate,
            fmtp,
            feedback,
        };
        match codec.parameter("apt").and_then(|apt| apt.parse().ok()) {
            Some(apt) if codec.name == "RTX" => drop(rtx.insert(apt, payload_type)),
            _ => codecs.push(codec),
        }
    }
    Section {
        media: m.media_name.media.clone(),
        protocol,
        formats: m.media_name.formats.clone(),
        mid: value(&m.attributes, "mid").map_or_else(|| index.to_string(), str::to_owned),
        kind,
        open,
        sends: kind.is_some() && open && matches!(direction, None | Some("sendonly")),
        receives: kind.is_some() && open && matches!(direction, None | Some("recvonly")),
        is_screen: value(&m.attributes, "content").is_some_and(|v| v.contains("slides")),
        over_dtls: over_dtls && m.has_attribute("rtcp-mux"),
        codecs,
        rtx,
        extensions: all("extmap")
            .filter_map(|v| {
                let mut words = v.split_whitespace();
                let id = words.next()?.split('/').next()?.parse().ok()?;
                Some((words.next()?.to_owned(), id))
            })
            .collect(),
        rids: all("rid")
            .filter_map(|v| v.split_once(' '))
            .filter(|(_, rest)| rest.starts_with("send"))
            .map(|(rid, _)| rid.to_owned())
            .collect(),
        ssrcs: ssrcs(all("ssrc"), all("ssrc-group")),
    }
}

/// `a=ssrc` with the retransmission stream that `a=ssrc-group:FID` names (RFC 5576 §4.2, §8).
fn ssrcs<'a>(
    sources: impl Iterator<Item = &'a str>,
    groups: impl Iterator<Item = &'a str>,
) -> Vec<DeclaredSsrc> {
    let repairs: BTreeMap<u32, u32> = groups
        .filter_map(|group| {
            let mut words = group.split_whitespace();
            (words.next()? == "FID").then_some(())?;
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        })
        .collect();
    let mut found: Vec<DeclaredSsrc> = Vec::new();
    for source in sources.filter_map(|s| s.split_whitespace().next()?.parse::<u32>().ok()) {
        let is_repair = repairs.values().any(|rtx| *rtx == source);
        if !is_repair && found.iter().all(|known| known.media != source) {
            found.push(DeclaredSsrc {
                media: source,
                rtx: repairs.get(&source).copied(),
            });
        }
    }
    found
}

fn numbered(value: &str) -> Option<(u8, &str)> {
    let (number, rest) = value.split_once(' ')?;
    Some((number.parse().ok()?, rest.trim()))
}

fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|a| a.key == key)?.value.as_deref()
}

fn is_sha_256(fingerprint: &str) -> bool {
    fingerprint
        .split_once(' ')
        .is_some_and(|(algorithm, _)| algorithm.eq_ignore_ascii_case("sha-256"))
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint, OfferError> {
    let bad = || OfferError::Fingerprint(text.chars().take(120).collect());
    let (_, hex) = text
        .split_once(' ')
        .filter(|_| is_sha_256(text))
        .ok_or_else(bad)?;
    let bytes: Option<Vec<u8>> = hex
        .trim()
        .split(':')
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect();
    let bytes = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(bad)?;
    Ok(Fingerprint(bytes))
}
