//! The other side of the table: what our own load clients offer and read in an answer, and what they
//! answer to an offer.

use std::net::SocketAddr;

use super::agreement::{
    Agreement, CodecParameters, DtlsRole, Extensions, Fingerprint, IceCredentials, Media, Rtx,
};
use super::answer::{
    AnswerSettings, Published, accept, agreement, extensions_sent, receiver_of, send_media,
};
use super::offer::{Offer, OfferError};
use super::write::{
    Announced, DATA_PROTOCOL, OurTransport, SectionText, write_data, write_rejected, write_section,
    write_session,
};
use crate::room::{Codec, MediaKind};

const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";

/// What a client wants of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// WHIP: to send sound and a picture.
    Publish,
    /// WHEP: to get them.
    Play,
}

/// A client's offer, and what its answer is read by.
#[derive(Debug, Clone)]
pub struct ClientOffer {
    wish: Wish,
    ice: IceCredentials,
    sections: Vec<Published>,
    pub text: String,
}

impl ClientOffer {
    /// `ssrcs` are of sound and picture, each with that of its retransmissions.
    pub fn new(
        wish: Wish,
        ice: IceCredentials,
        fingerprint: &Fingerprint,
        ssrcs: [(u32, u32); 2],
    ) -> Self {
        let section = |codec: Codec, ssrcs| Published {
            kind: codec.kind(),
            codec,
            fmtp: String::new(),
            stream: "load".to_owned(),
            track: codec.encoding_name().to_owned(),
            ssrcs,
        };
        let sections = vec![
            section(Codec::Opus, ssrcs[0]),
            section(Codec::Vp8, ssrcs[1]),
        ];
        let mut text = String::new();
        write_session(&mut text, 1, Some("0 1"));
        // A client is a whole agent (RFC 8445 §5.2).
        text = text.replace("a=ice-lite\r\n", "");
        let transport = OurTransport {
            ice: &ice,
            candidates: &[],
            fingerprint,
            setup: "actpass",
        };
        for (index, section) in sections.iter().enumerate() {
            let codecs = match (wish, section.kind) {
                (Wish::Publish, _) | (Wish::Play, MediaKind::Audio) => {
                    vec![codec(section.codec, "", FIRST_TYPE)]
                }
                (Wish::Play, MediaKind::Video) => played(),
            };
            let (ssrc, rtx_ssrc) = section.ssrcs;
            let rtx = codecs.first().and_then(|codec| codec.rtx_payload_type);
            let rtx = rtx.map(|payload_type| Rtx {
                payload_type,
                ssrc: rtx_ssrc,
            });
            let announced = Announced {
                stream: &section.stream,
                track: &section.track,
                ssrc,
                rtx,
            };
            let section_text = SectionText {
                media: match section.kind {
                    MediaKind::Audio => "audio",
                    MediaKind::Video => "video",
                },
                protocol: PROTOCOL,
                mid: &index.to_string(),
                direction: match wish {
                    Wish::Publish => "sendonly",
                    Wish::Play => "recvonly",
                },
                codecs: &codecs,
                extensions: EXTENSIONS,
                rids: &[],
                announced: (wish == Wish::Publish).then_some(announced),
            };
            write_section(&mut text, &section_text, &transport);
        }
        Self {
            wish,
            ice,
            sections,
            text,
        }
    }

    /// What the answer agrees to, and where the server is.
    ///
    /// # Errors
    ///
    /// Those of [`Offer::parse`]; [`OfferError::Lacks`] without a candidate of UDP.
    pub fn answered(&self, text: &str) -> Result<(Agreement, SocketAddr), OfferError> {
        let answer = Offer::parse(text)?;
        let settings = AnswerSettings {
            codecs: match self.wish {
                Wish::Publish => vec![Codec::Opus, Codec::Vp8],
                Wish::Play => taken(),
            },
            start_bitrate_kbps: 0,
            candidates: Vec::new(),
            fingerprint: answer.fingerprint.clone(),
        };
        let (mut media, mut sends) = (Vec::new(), Vec::new());
        for (index, (theirs, ours)) in answer.sections.iter().zip(&self.sections).enumerate() {
            match self.wish {
                Wish::Play if theirs.sends => media.extend(accept(index, theirs, &settings)),
                Wish::Publish if theirs.receives => {
                    let codec = receiver_of(theirs, ours);
                    sends.extend(codec.map(|codec| {
                        send_media(&theirs.mid, &codec, extensions_sent(&answer, theirs), ours)
                    }));
                }
                _ => {}
            }
        }
        let server = text.lines().find_map(candidate);
        let server = server.ok_or(OfferError::Lacks("a candidate of UDP"))?;
        let agreement = agreement(&answer, self.ice.clone(), media, sends);
        Ok((agreement, server))
    }
}

/// What a client answers to a server's offer, and what both hold to from then on.
#[derive(Debug, Clone)]
pub struct ClientAnswer {
    pub text: String,
    pub agreement: Agreement,
    pub server: SocketAddr,
}

impl ClientAnswer {
    /// Takes all that is sent, as a browser does, and accepts the data channel, but never opens it.
    ///
    /// # Errors
    ///
    /// Those of [`Offer::parse`]; [`OfferError::Lacks`] without a candidate of UDP.
    pub fn new(
        offer: &str,
        ice: IceCredentials,
        fingerprint: &Fingerprint,
    ) -> Result<Self, OfferError> {
        let server = offer.lines().find_map(candidate);
        let server = server.ok_or(OfferError::Lacks("a candidate of UDP"))?;
        let offer = Offer::parse(offer)?;
        let settings = AnswerSettings {
            codecs: taken(),
            start_bitrate_kbps: 0,
            candidates: Vec::new(),
            fingerprint: fingerprint.clone(),
        };
        let sections = offer.sections.iter().enumerate();
        let media: Vec<Media> = sections
            .filter_map(|(index, section)| accept(index, section, &settings))
            .collect();
        let agreement = Agreement {
            dtls_role: DtlsRole::Client,
            ..agreement(&offer, ice, media, Vec::new())
        };
        let transport = OurTransport {
            ice: &agreement.local_ice,
            candidates: &[],
            fingerprint,
            setup: "active",
        };
        let (mut sections, mut mids) = (String::new(), Vec::new());
        for section in &offer.sections {
            let media = agreement.media.iter().find(|m| m.mid == section.mid);
            if let Some(media) = media {
                let text = SectionText {
                    media: &section.media,
                    protocol: &section.protocol,
                    mid: &section.mid,
                    direction: if section.sends {
                        "recvonly"
                    } else {
                        "inactive"
                    },
                    codecs: &media.codecs,
                    extensions: media.extensions,
                    rids: &[],
                    announced: None,
                };
                write_section(&mut sections, &text, &transport);
            } else if section.protocol == DATA_PROTOCOL && section.open {
                write_data(&mut sections, &section.mid, &transport);
            } else {
                let formats = section.formats.join(" ");
                let (media, protocol) = (&section.media, &section.protocol);
                write_rejected(&mut sections, media, protocol, &formats, &section.mid);
                continue;
            }
            mids.push(section.mid.as_str());
        }
        let mut text = String::new();
        write_session(&mut text, 1, Some(&mids.join(" ")));
        // A client is a whole agent (RFC 8445 §5.2).
        text = text.replace("a=ice-lite\r\n", "") + &sections;
        Ok(Self {
            text,
            agreement,
            server,
        })
    }
}

/// What a player or attendee takes: it counts it and decodes nothing.
fn taken() -> Vec<Codec> {
    let pictures = PLAYED.map(|(codec, _)| codec);
    [Codec::Opus].into_iter().chain(pictures).collect()
}

/// The address of `a=candidate:… udp …` (RFC 8839 §5.1).
fn candidate(line: &str) -> Option<SocketAddr> {
    let mut words = line.trim().strip_prefix("a=candidate:")?.split(' ');
    let is_udp = words.nth(2)?.eq_ignore_ascii_case("udp");
    let (ip, port) = (words.nth(1)?, words.next()?);
    is_udp.then_some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

const EXTENSIONS: Extensions = Extensions {
    mid: Some(1),
    rid: None,
    repaired_rid: None,
    transport_cc: Some(2),
    abs_send_time: None,
    audio_level: None,
    color_space: None,
    dependency_descriptor: None,
};

/// The first dynamic payload type (RFC 3551 §6).
const FIRST_TYPE: u8 = 96;

/// Pictures that a player takes: it counts them and decodes none.
const PLAYED: [(Codec, &str); 5] = [
    (Codec::Vp8, ""),
    (
        Codec::H264,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        Codec::H264,
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (Codec::Vp9, "profile-id=0"),
    (Codec::Av1, ""),
];

fn played() -> Vec<CodecParameters> {
    let types = (FIRST_TYPE..).step_by(2);
    let all = PLAYED.iter().zip(types);
    all.map(|((of, fmtp), payload_type)| codec(*of, fmtp, payload_type))
        .collect()
}

fn codec(codec: Codec, fmtp: &str, payload_type: u8) -> CodecParameters {
    let is_video = codec.kind() == MediaKind::Video;
    CodecParameters {
        codec,
        payload_type: if is_video { payload_type } else { 111 },
        clock_rate: codec.clock_rate(),
        fmtp: fmtp.to_owned(),
        rtx_payload_type: is_video.then_some(payload_type + 1),
        nack: is_video,
        pli: is_video,
        transport_cc: true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{answer, answer_subscriber};
    use super::*;
    use crate::rtc::core::ice::Transport;
    use crate::rtc::core::sdp::Candidate;

    #[test]
    fn our_own_answers_are_agreed_to() {
        let ice = |name: &str| IceCredentials {
            ufrag: name.to_owned(),
            pwd: "x".repeat(24),
        };
        let server: SocketAddr = ([192, 0, 2, 1], 8189).into();
        let settings = AnswerSettings {
            codecs: vec![Codec::Opus, Codec::Vp8],
            start_bitrate_kbps: 0,
            candidates: [Transport::Tcp, Transport::Udp]
                .map(|transport| Candidate {
                    transport,
                    address: server,
                })
                .to_vec(),
            fingerprint: Fingerprint([7; 32]),
        };
        let client = |wish| {
            let fingerprint = Fingerprint([9; 32]);
            ClientOffer::new(wish, ice("client"), &fingerprint, [(1, 2), (3, 4)])
        };
        let publisher = client(Wish::Publish);
        let offer = Offer::parse(&publisher.text).expect("an offer");
        let (text, theirs) = answer(&offer, ice("server"), &settings).expect("an answer");
        let (ours, address) = publisher.answered(&text).expect("agreed");
        assert_eq!(address, server);
        assert_eq!((theirs.media.len(), ours.sends.len()), (2, 2));
        assert_eq!(ours.sends[1].ssrc, theirs.media[1].ssrcs[0].media);

        let player = client(Wish::Play);
        let offer = Offer::parse(&player.text).expect("an offer");
        let tracks = &publisher.sections;
        let (text, theirs, carried) =
            answer_subscriber(&offer, ice("server"), &settings, tracks).expect("an answer");
        let (ours, _) = player.answered(&text).expect("agreed");
        assert_eq!(carried, [0, 1]);
        assert_eq!((theirs.sends.len(), ours.media.len()), (2, 2));
        assert_eq!(
            ours.media[1].ssrcs[0].rtx,
            theirs.sends[1].rtx.map(|rtx| rtx.ssrc)
        );
    }
}
