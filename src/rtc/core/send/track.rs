//! One section in which a connection sends: its state, and its packets' way into the outbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bandwidth::Bandwidth;
use super::forward::{Forward, Rewritten, rewrite_payload};
use super::history::{History, Sent};
use super::packet::{DependencyDescriptor, Head};
use super::patience::Patience;
use crate::room::Codec;
use crate::rtc::core::ice::Path;
use crate::rtc::core::outbox::Outbox;
use crate::rtc::core::sdp::agreement::{Rtx, SendMedia};
use crate::rtc::core::sink::{LayerInfo, ReceivedRtp, SenderReport};
use crate::rtc::core::srtp::Srtp;

/// The RTX stream's numbers start here, for the same reason as the media's.
const FIRST_RTX: u64 = 0x1000;

/// The index of a section in which we send, as the agreement lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// How a subscriber shows what comes in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The height of the picture, in device pixels; 0 when it is not shown.
    pub shown_px: u32,
    pub is_speaking: bool,
}

impl Default for View {
    /// Until the subscriber says it.
    fn default() -> Self {
        Self {
            shown_px: 720,
            is_speaking: false,
        }
    }
}

/// Where datagrams are sealed and go.
pub struct Wire<'a> {
    pub srtp: &'a mut Srtp,
    pub path: Path,
    pub outbox: &'a mut Outbox,
}

/// Measurements of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotStats {
    /// Of its section.
    pub mid: String,
    pub codec: Option<Codec>,
    pub layer: Option<u8>,
    /// The highest temporal layer that fits; `None` where all do.
    pub temporal_layer: Option<u8>,
    pub is_paused: bool,
    pub packets: u64,
    pub bytes: u64,
    /// Packets sent again.
    pub resent: u64,
    /// Packets asked for.
    pub nacks: u64,
    pub key_frames_wanted: u64,
    /// Of the subscriber's last report, in 1/256.
    pub fraction_lost: u8,
    pub lost: u32,
    pub jitter: Duration,
    pub layer_switches: u64,
}

/// One section in which we send: what comes in it, and what went out.
pub struct Track {
    pub(super) media: SendMedia,
    pub(super) has_source: bool,
    pub(super) forward: Forward,
    pub(super) history: History,
    pub(super) rtx_sequence: u64,
    pub(super) layers: Vec<LayerInfo>,
    pub(super) view: View,
    pub(super) report: Option<SenderReport>,
    pub(super) reports_sent: VecDeque<(u32, Instant)>,
    pub(super) key_frame_wished: Option<Instant>,
    pub(super) is_paused: bool,
    pub(super) patience: Patience,
    pub(super) stats: SlotStats,
}

impl Track {
    pub(super) fn new(media: SendMedia, random: u16) -> Self {
        Self {
            forward: Forward::new(media.clock_rate, random),
            rtx_sequence: FIRST_RTX + u64::from(random >> 2),
            history: History::new(media.kind),
            media,
            has_source: false,
            layers: Vec::new(),
            view: View::default(),
            report: None,
            reports_sent: VecDeque::new(),
            key_frame_wished: None,
            is_paused: false,
            patience: Patience::default(),
            stats: SlotStats::default(),
        }
    }

    /// A packet for the first time; its length on the wire.
    pub(super) fn send(
        &mut self,
        packet: &Arc<ReceivedRtp>,
        rewritten: Rewritten,
        bandwidth: &mut Bandwidth,
        wire: &mut Wire<'_>,
        now: Instant,
    ) -> usize {
        let number = bandwidth.next_number();
        let len = self.write(packet, &rewritten, Form::Media(number), wire);
        self.stats.packets += 1;
        self.stats.bytes += len as u64;
        if len > 0 && self.media.transport_cc.is_some() {
            bandwidth.on_sent(len, now);
        }
        if self.media.nack {
            self.history.push(packet, rewritten, number, now);
        }
        len
    }

    /// A packet once more, by RFC 4588; its length on the wire.
    pub(super) fn resend(
        &mut self,
        sent: &Sent,
        rtx: Rtx,
        bandwidth: &mut Bandwidth,
        wire: &mut Wire<'_>,
        now: Instant,
    ) -> usize {
        self.rtx_sequence += 1;
        let form = Form::Rtx(rtx, self.rtx_sequence, bandwidth.next_number());
        let len = self.write(&sent.packet, &sent.rewritten, form, wire);
        if len > 0 && self.media.transport_cc.is_some() {
            bandwidth.on_sent(len, now);
        }
        len
    }

    /// One packet into the outbox; its length on the wire.
    pub(super) fn write(
        &self,
        packet: &ReceivedRtp,
        rewritten: &Rewritten,
        form: Form,
        wire: &mut Wire<'_>,
    ) -> usize {
        let media = &self.media;
        let (payload_type, ssrc, index, number) = match form {
            Form::Media(number) => (media.payload_type, media.ssrc, rewritten.sequence, number),
            Form::Rtx(rtx, index, number) => (rtx.payload_type, rtx.ssrc, index, number),
        };
        let head = Head {
            payload_type,
            marker: rewritten.marker,
            sequence: index as u16,
            timestamp: rewritten.timestamp,
            ssrc,
            transport_cc: media.transport_cc.map(|id| (id, number)),
            audio_level: media.audio_level.zip(packet.audio_level),
            color_space: media.color_space.zip(packet.color_space),
            dependency_descriptor: media.dependency_descriptor.and_then(|id| {
                let bytes = packet.dependency_descriptor()?;
                let frame_number_offset = rewritten.picture_id_offset;
                Some(DependencyDescriptor {
                    id,
                    bytes,
                    frame_number_offset,
                })
            }),
        };
        let Wire { srtp, path, outbox } = wire;
        let has_numbers = matches!(media.codec, Codec::Vp8 | Codec::Vp9);
        outbox.write(*path, |bytes, start| {
            let header_len = head.write(bytes);
            if matches!(form, Form::Rtx(..)) {
                bytes.extend_from_slice(&(rewritten.sequence as u16).to_be_bytes());
            }
            let payload_at = bytes.len();
            bytes.extend_from_slice(packet.payload());
            if has_numbers {
                rewrite_payload(&mut bytes[payload_at..], &packet.content, rewritten);
            }
            srtp.seal_rtp(bytes, start, header_len, ssrc, index)
        })
    }
}

/// How a packet goes out, with its transport-wide number.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// As its slot's media. A second time it must be the same to the last bit: its nonce in
    /// SRTP is the same.
    Media(u16),
    /// By RFC 4588, with the number in that stream.
    Rtx(Rtx, u64, u16),
}
