//! The offering side: one subscriber's session description, as tracks come and go (RFC 8829 §5.2).
//!
//! Sections are never removed. One whose track ended is used again for the next of its kind, so
//! that a room where people come and go all day keeps a short description.

use super::agreement::{
    Agreement, CodecParameters, DtlsRole, Extensions, Fingerprint, IceCredentials, Rtx, SendMedia,
};
use super::answer::{Published, extensions_sent, receiver_of, send_media};
use super::offer::{Offer, OfferError, Setup};
use super::write::{
    Announced, Candidate, DATA_PROTOCOL, OurTransport, SectionText, write_data, write_mixed,
    write_section, write_session,
};
use crate::room::{Codec, MediaKind};

/// Tracks that one subscriber gets at most.
pub const MAX_SECTIONS: usize = 128;

const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

/// Of the section for messages beside the media. It is the first, and always there.
const DATA_MID: &str = "data";

/// Ids of the header extensions in all our offers.
const EXTENSIONS: Extensions = Extensions {
    mid: Some(1),
    rid: None,
    repaired_rid: None,
    transport_cc: Some(2),
    abs_send_time: None,
    audio_level: Some(3),
    color_space: Some(4),
    dependency_descriptor: Some(5),
};

/// Dynamic payload types (RFC 3551 §3, and RFC 5761 §4 for what must be left out), in pairs of
/// media and retransmissions.
const PAYLOAD_TYPES: std::ops::RangeInclusive<u8> = 96..=127;
const MORE_PAYLOAD_TYPES: std::ops::RangeInclusive<u8> = 36..=63;

#[derive(Debug, Clone)]
struct Section {
    mid: String,
    kind: MediaKind,
    ssrcs: (u32, u32),
    /// What it carries, by the caller's name for it.
    track: Option<(String, Published)>,
    /// The payload type that the last track had, for a section that rests.
    codec: CodecParameters,
    /// What the last answer agreed to for the track.
    agreed: Option<SendMedia>,
}

/// What is offered to one subscriber.
#[derive(Debug)]
pub struct Subscription {
    ice: IceCredentials,
    sections: Vec<Section>,
    codecs: Vec<CodecParameters>,
    version: u64,
    random: fn() -> u32,
}

impl Subscription {
    /// `random` makes SSRCs.
    pub fn new(ice: IceCredentials, random: fn() -> u32) -> Self {
        let mut subscription = Self {
            ice,
            sections: Vec::new(),
            codecs: Vec::new(),
            version: 0,
            random,
        };
        // One of each kind rests from the start, so that the connection is made before the
        // first track comes.
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let codec = match kind {
                MediaKind::Audio => Codec::Opus,
                MediaKind::Video => Codec::Vp8,
            };
            let codec = subscription.codec(codec, "");
            subscription.sections.extend(codec.map(|codec| Section {
                mid: String::new(),
                kind,
                ssrcs: (0, 0),
                track: None,
                codec,
                agreed: None,
            }));
        }
        for (at, section) in subscription.sections.iter_mut().enumerate() {
            section.mid = at.to_string();
            section.ssrcs = (random(), random());
        }
        subscription
    }

    /// New credentials, for an ICE restart: the next offer carries them.
    pub fn restart_ice(&mut self, ice: IceCredentials) {
        self.ice = ice;
    }

    pub fn ice(&self) -> &IceCredentials {
        &self.ice
    }

    /// What the subscriber should get, each track by a name of the caller's. Whether that needs
    /// a new offer. `ssrcs` of the tracks are ours to choose.
    pub fn set_tracks(&mut self, wanted: &[(String, Published)]) -> bool {
        let mut changed = false;
        for section in &mut self.sections {
            let Some((name, track)) = &section.track else {
                continue;
            };
            let still = wanted.iter().find(|(other, _)| other == name);
            let same = still.is_some_and(|(_, other)| {
                other.codec == track.codec && other.fmtp == track.fmtp && other.kind == track.kind
            });
            if !same {
                section.track = None;
                section.agreed = None;
                changed = true;
            }
        }
        for (name, track) in wanted {
            let carried =
                |section: &Section| section.track.as_ref().is_some_and(|(n, _)| n == name);
            if !self.sections.iter().any(carried) {
                changed |= self.add(name, track).is_some();
            }
        }
        changed
    }

    fn add(&mut self, name: &str, track: &Published) -> Option<()> {
        let codec = self.codec(track.codec, &track.fmtp)?;
        let is_free =
            |section: &&mut Section| section.track.is_none() && section.kind == track.kind;
        if let Some(section) = self.sections.iter_mut().find(is_free) {
            section.track = Some((name.to_owned(), track.clone()));
            section.codec = codec;
            return Some(());
        }
        if self.sections.len() >= MAX_SECTIONS {
            return None;
        }
        let random = self.random;
        self.sections.push(Section {
            mid: self.sections.len().to_string(),
            kind: track.kind,
            ssrcs: (random(), random()),
            track: Some((name.to_owned(), track.clone())),
            codec,
            agreed: None,
        });
        Some(())
    }

    /// The payload type of a codec with these parameters, the same in all sections (RFC 9143
    /// §10.1.1); `None` when all are taken.
    fn codec(&mut self, codec: Codec, fmtp: &str) -> Option<CodecParameters> {
        let known = self.codecs.iter();
        let mut known = known.filter(|known| known.codec == codec && known.fmtp == fmtp);
        if let Some(known) = known.next() {
            return Some(known.clone());
        }
        let has_rtx = codec.kind() == MediaKind::Video;
        let taken = |payload_type: u8| {
            self.codecs
                .iter()
                .any(|c| c.payload_type == payload_type || c.rtx_payload_type == Some(payload_type))
        };
        let mut free = PAYLOAD_TYPES
            .chain(MORE_PAYLOAD_TYPES)
            .filter(|payload_type| !taken(*payload_type));
        let parameters = CodecParameters {
            codec,
            payload_type: free.next()?,
            clock_rate: codec.clock_rate(),
            fmtp: fmtp.to_owned(),
            rtx_payload_type: if has_rtx { Some(free.next()?) } else { None },
            nack: true,
            pli: has_rtx,
            transport_cc: true,
        };
        self.codecs.push(parameters.clone());
        Some(parameters)
    }

    /// The next offer.
    pub fn offer(&mut self, candidates: &[Candidate], fingerprint: &Fingerprint) -> String {
        self.version += 1;
        let of_media = self.sections.iter().map(|s| s.mid.as_str());
        let mids: Vec<&str> = std::iter::once(DATA_MID).chain(of_media).collect();
        let mut text = String::new();
        write_session(&mut text, self.version, Some(&mids.join(" ")));
        write_mixed(&mut text);
        let transport = OurTransport {
            ice: &self.ice,
            candidates,
            fingerprint,
            setup: "actpass",
        };
        write_data(&mut text, DATA_MID, &transport);
        for section in &self.sections {
            let (ssrc, rtx_ssrc) = section.ssrcs;
            let rtx = section.codec.rtx_payload_type.map(|payload_type| Rtx {
                payload_type,
                ssrc: rtx_ssrc,
            });
            let announced = section.track.as_ref().map(|(_, track)| Announced {
                stream: &track.stream,
                track: &track.track,
                ssrc,
                rtx,
            });
            let text_of = SectionText {
                media: word(section.kind),
                protocol: PROTOCOL,
                mid: &section.mid,
                direction: if announced.is_some() {
                    "sendonly"
                } else {
                    "inactive"
                },
                codecs: std::slice::from_ref(&section.codec),
                extensions: Extensions {
                    audio_level: EXTENSIONS
                        .audio_level
                        .filter(|_| section.kind == MediaKind::Audio),
                    color_space: EXTENSIONS
                        .color_space
                        .filter(|_| section.kind == MediaKind::Video),
                    dependency_descriptor: EXTENSIONS
                        .dependency_descriptor
                        .filter(|_| section.codec.codec == Codec::Av1),
                    ..EXTENSIONS
                },
                rids: &[],
                announced,
            };
            write_section(&mut text, &text_of, &transport);
        }
        text
    }

    /// Takes the answer to the last offer. The agreement's sections are ours, in their order;
    /// one without a track, or that the subscriber refused, sends nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Offer::parse`], and [`OfferError::Sections`] when sections are missing.
    pub fn answered(&mut self, text: &str) -> Result<Agreement, OfferError> {
        let answer = Offer::parse(text)?;
        let Some((data, media)) = answer.sections.split_first() else {
            return Err(OfferError::Sections);
        };
        if media.len() != self.sections.len() {
            return Err(OfferError::Sections);
        }
        let mut sends = Vec::new();
        for (section, theirs) in self.sections.iter_mut().zip(media) {
            if let Some((_, track)) = &section.track {
                let track = Published {
                    ssrcs: section.ssrcs,
                    ..track.clone()
                };
                let codec = match theirs.receives {
                    true => receiver_of(theirs, &track),
                    false => None,
                };
                let extensions = extensions_sent(&answer, theirs);
                section.agreed =
                    codec.map(|codec| send_media(&section.mid, &codec, extensions, &track));
            }
            sends.push(section.agreed.clone().unwrap_or_else(|| section.resting()));
        }
        Ok(Agreement {
            local_ice: self.ice.clone(),
            remote_ice: answer.ice,
            remote_fingerprint: answer.fingerprint,
            dtls_role: match answer.setup {
                Setup::ActPass | Setup::Active => DtlsRole::Server,
                Setup::Passive => DtlsRole::Client,
            },
            media: Vec::new(),
            sends,
            has_data: data.open && data.protocol == DATA_PROTOCOL,
        })
    }

    /// What each section carries and the subscriber takes: the name of the track, or nothing.
    pub fn carried(&self) -> impl Iterator<Item = Option<&str>> {
        self.sections.iter().map(|section| {
            let (name, _) = section.track.as_ref()?;
            section.agreed.as_ref().map(|_| name.as_str())
        })
    }

    /// The index of the section with this mid.
    pub fn by_mid(&self, mid: &str) -> Option<usize> {
        self.sections.iter().position(|section| section.mid == mid)
    }

    /// The mid of the section that carries a track.
    pub fn mid_of(&self, name: &str) -> Option<&str> {
        let carries = |section: &&Section| section.track.as_ref().is_some_and(|(n, _)| n == name);
        self.sections
            .iter()
            .find(carries)
            .map(|section| section.mid.as_str())
    }
}

impl Section {
    fn resting(&self) -> SendMedia {
        SendMedia {
            mid: self.mid.clone(),
            kind: self.kind,
            codec: self.codec.codec,
            payload_type: self.codec.payload_type,
            clock_rate: self.codec.clock_rate,
            nack: false,
            rtx: None,
            ssrc: self.ssrcs.0,
            transport_cc: None,
            audio_level: None,
            color_space: None,
            dependency_descriptor: None,
        }
    }
}

fn word(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

#[cfg(test)]
#[path = "subscription/tests.rs"]
mod tests;
