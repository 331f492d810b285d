//! One source of a track: its media SSRC, and the RTX that repairs it.

use std::time::{Duration, Instant};

use super::dependency::Templates;
use super::nack::Nack;
use super::rate::Rate;
use super::reception::Reception;
use super::rtp::Header;
use super::sequence::{Arrival, Sequence};
use super::spatial::SpatialLayers;
use super::temporal::TemporalLayers;

/// An encoder gets a request at most this often: each key frame costs bandwidth, of a large
/// picture more.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
const PLI_INTERVAL_LARGE: Duration = Duration::from_secs(1);
const LARGE_PX: u16 = 540;

/// RFC 6298 §2: how much one sample moves the smoothed round trip.
const SMOOTHING: u32 = 8;

/// One media source. Its RTX packets are undone before they come here.
#[derive(Debug)]
pub struct Stream {
    pub ssrc: u32,
    /// Of simulcast; `None` without.
    pub rid: Option<String>,
    pub nack: Nack,
    pub reception: Reception,
    pub rate: Rate,
    sequence: Sequence,
    pub round_trip: Option<Duration>,
    pub packets: u64,
    pub bytes: u64,
    pub recovered: u64,
    pub duplicates: u64,
    pub nacks_sent: u64,
    /// RTCP BYE came, and no packet since.
    pub said_goodbye: bool,
    pub key_frame: KeyFrame,
    /// Of the last key frame that said it; 0 before.
    pub height_px: u16,
    pub spatial: SpatialLayers,
    /// Of the lowest spatial layer, where there are several.
    pub temporal: TemporalLayers,
    pub templates: Templates,
}

/// When key frames were asked for.
#[derive(Debug, Default)]
pub struct KeyFrame {
    pub asked: Option<Instant>,
    pub wanted: bool,
    pub sent: u64,
}

impl Stream {
    pub fn new(ssrc: u32, rid: Option<String>) -> Self {
        Self {
            ssrc,
            rid,
            nack: Nack::default(),
            reception: Reception::default(),
            rate: Rate::default(),
            sequence: Sequence::default(),
            round_trip: None,
            packets: 0,
            bytes: 0,
            recovered: 0,
            duplicates: 0,
            nacks_sent: 0,
            said_goodbye: false,
            key_frame: KeyFrame::default(),
            height_px: 0,
            spatial: SpatialLayers::default(),
            temporal: TemporalLayers::default(),
            templates: Templates::default(),
        }
    }

    /// When the key frame that is wanted is asked for again; `None` before the first request.
    pub fn key_frame_due(&self) -> Option<Instant> {
        let interval = match self.height_px >= LARGE_PX {
            true => PLI_INTERVAL_LARGE,
            false => PLI_INTERVAL,
        };
        let asked = self.key_frame.asked?;
        self.key_frame.wanted.then_some(asked + interval)
    }

    /// The publisher goes on with another SSRC: extended numbers go on above the old ones.
    pub fn replace_source(&mut self, ssrc: u32, first: u16) {
        self.ssrc = ssrc;
        self.sequence.restart(first);
        self.nack.restart();
        self.reception = Reception::default();
        self.templates = Templates::default();
    }

    /// Notes a packet of `len` bytes that came as media (not by RTX).
    /// `Some` is its extended number, if the packet is news.
    pub fn on_media(
        &mut self,
        header: &Header,
        len: usize,
        clock_rate: u32,
        nack: bool,
        now: Instant,
    ) -> Option<u64> {
        self.said_goodbye = false;
        let number = self.sequence.unwrap(header.sequence);
        let mut retransmitted = false;
        match self.sequence.insert(number) {
            Arrival::New { gap } => {
                if nack && gap > 0 {
                    self.nack.on_new(number, gap, now);
                }
            }
            // Without RTX the answer to a request comes by the same SSRC.
            Arrival::Late => retransmitted = self.on_filled(number, now),
            Arrival::Duplicate | Arrival::TooOld => {
                self.duplicates += 1;
                return None;
            }
        }
        if retransmitted {
            self.recovered += 1;
        } else {
            self.reception
                .on_packet(number, header.timestamp, clock_rate, now);
        }
        if len > header.header_len {
            self.rate.on_bytes(len, now);
            self.count(len);
        }
        Some(number)
    }

    /// Notes a packet that RTX brought back; as [`Self::on_media`].
    pub fn on_retransmitted(&mut self, osn: u16, len: usize, now: Instant) -> Option<u64> {
        let number = self.sequence.unwrap(osn);
        // Above the highest there is no hole to fill: the first packet of a source, or the tail
        // of a burst sent again by a probe. The latter is good news all the same.
        match self.sequence.insert(number) {
            Arrival::New { gap } => {
                if gap > 0 {
                    self.nack.on_new(number, gap, now);
                }
            }
            Arrival::Late => {
                self.on_filled(number, now);
            }
            Arrival::Duplicate | Arrival::TooOld => {
                self.duplicates += 1;
                return None;
            }
        }
        // Browsers probe with packets that came before: those are no part of the layer's rate.
        self.rate.on_bytes(len, now);
        self.recovered += 1;
        self.count(len);
        Some(number)
    }

    /// Whether the late packet had been asked for.
    fn on_filled(&mut self, number: u64, now: Instant) -> bool {
        let Some(filled) = self.nack.on_late(number, now) else {
            return false;
        };
        if let Some(sample) = filled.round_trip {
            self.round_trip = Some(match self.round_trip {
                None => sample,
                Some(smoothed) => (smoothed * (SMOOTHING - 1) + sample) / SMOOTHING,
            });
        }
        filled.asked
    }

    fn count(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }
}
