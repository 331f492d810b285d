//! The sending half of a connection: others' packets in, this subscriber's datagrams out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::allocate::{self, Video};
use super::bandwidth::Bandwidth;
use super::forward::{Forward, Rewritten, rewrite_payload};
use super::history::{History, Sent};
use super::packet::Head;
use crate::room::{Codec, MediaKind};
use crate::rtc::core::ice::Path;
use crate::rtc::core::outbox::Outbox;
use crate::rtc::core::receive::reception::ReportBlock;
use crate::rtc::core::rtcp::{self, Incoming};
use crate::rtc::core::sdp::agreement::{Rtx, SendMedia};
use crate::rtc::core::sink::{LayerInfo, ReceivedRtp, SenderReport};
use crate::rtc::core::srtp::Srtp;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the budget is spent anew.
const ALLOCATE_INTERVAL: Duration = Duration::from_millis(250);

/// While a key frame is awaited it is wished for again, should one be lost.
const KEY_FRAME_AGAIN: Duration = Duration::from_millis(1000);

/// Packets asked for in one message that are sent again; more is no loss but an outage.
const MAX_RESENDS: usize = 200;

/// Until reports tell.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// A probe for a better picture: so short that the queue it may fill harms no sound, in steps, and
/// how long to wait after one.
const PROBE_FOR: Duration = Duration::from_millis(150);
const PROBE_STEP: Duration = Duration::from_millis(10);
const PROBE_PAUSE: Duration = Duration::from_secs(3);
/// A probe that offers more than this times the estimate says little more and costs much.
const PROBE_REACH: u64 = 2;

/// Reports of which the answer may still come.
const MAX_REPORTS: usize = 4;

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

/// What a sender has for its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendEvent {
    /// The source of the slot should send a key frame of this layer.
    KeyFrameWanted(Slot, u8),
    /// The slot sends this layer from its next key frame on; `None`: it does not fit, so it is
    /// paused.
    Layer(Slot, Option<u8>),
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

struct Track {
    media: SendMedia,
    has_source: bool,
    forward: Forward,
    history: History,
    rtx_sequence: u64,
    layers: Vec<LayerInfo>,
    view: View,
    report: Option<SenderReport>,
    reports_sent: VecDeque<(u32, Instant)>,
    key_frame_wished: Option<Instant>,
    is_paused: bool,
    stats: SlotStats,
}

struct Probe {
    until: Instant,
    next: Instant,
    bps: u64,
}

/// All that one connection sends.
pub struct Sender {
    tracks: Vec<Track>,
    is_connected: bool,
    cname: String,
    bandwidth: Bandwidth,
    round_trip: Option<Duration>,
    report_due: Option<Instant>,
    allocate_due: Option<Instant>,
    probe: Option<Probe>,
    probed: Option<Instant>,
    resends: VecDeque<(usize, u16)>,
    rtcp: VecDeque<Vec<u8>>,
    events: VecDeque<SendEvent>,
}

impl Sender {
    /// `cname` names us in the reports (RFC 7022).
    pub fn new(cname: String) -> Self {
        Self {
            tracks: Vec::new(),
            is_connected: false,
            cname,
            bandwidth: Bandwidth::default(),
            round_trip: None,
            report_due: None,
            allocate_due: None,
            probe: None,
            probed: None,
            resends: VecDeque::new(),
            rtcp: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What was agreed on, after each negotiation. A section keeps its place, and its numbers go
    /// on: no number of a source may ever be sealed twice.
    pub fn agree(&mut self, sends: Vec<SendMedia>, mut random: impl FnMut() -> u16) {
        for (at, media) in sends.into_iter().enumerate() {
            match self.tracks.get_mut(at) {
                Some(track) if track.media.ssrc == media.ssrc => track.media = media,
                Some(track) => *track = Track::new(media, random()),
                None => self.tracks.push(Track::new(media, random())),
            }
        }
    }

    /// Media may flow: now key frames are of use.
    pub fn on_connected(&mut self, now: Instant) {
        self.is_connected = true;
        for at in 0..self.tracks.len() {
            self.wish_key_frame(at, now);
        }
    }

    pub fn is_idle(&self) -> bool {
        self.tracks.is_empty()
    }

    pub fn media(&self, slot: Slot) -> Option<&SendMedia> {
        self.tracks.get(usize::from(slot.0)).map(|t| &t.media)
    }

    /// A track, with these layers, comes in `slot` from now on; `None` ends it.
    pub fn set_source(&mut self, slot: Slot, layers: Option<Vec<LayerInfo>>, now: Instant) {
        let Some(track) = self.tracks.get_mut(usize::from(slot.0)) else {
            return;
        };
        track.forward.restart();
        track.history.clear();
        track.report = None;
        track.is_paused = false;
        track.has_source = layers.is_some();
        track.layers = layers.unwrap_or_default();
        // Small at first: with the first measurements comes what fits.
        let first = track.has_source.then_some(0);
        track.forward.want(first);
        if track.has_source {
            self.report_due.get_or_insert(now + REPORT_INTERVAL);
            self.allocate_due = Some(now);
            self.wish_key_frame(usize::from(slot.0), now);
        }
    }

    /// The layers of the slot's source, each second.
    pub fn set_layers(&mut self, slot: Slot, layers: &[LayerInfo], now: Instant) {
        if let Some(track) = self.tracks.get_mut(usize::from(slot.0)) {
            track.layers.clear();
            track.layers.extend_from_slice(layers);
            self.allocate_due = Some(now);
        }
    }

    pub fn set_view(&mut self, slot: Slot, view: View, now: Instant) {
        if let Some(track) = self.tracks.get_mut(usize::from(slot.0))
            && track.view != view
        {
            track.view = view;
            self.allocate_due = Some(now);
        }
    }

    /// The source's clock, as its publisher reported it.
    pub fn on_source_report(&mut self, slot: Slot, report: SenderReport) {
        if let Some(track) = self.tracks.get_mut(usize::from(slot.0))
            && track.forward.current() == Some(report.layer)
        {
            track.report = Some(report);
        }
    }

    /// Sends packets of the slot's source, of any layer, in the order they came.
    pub fn forward<'a>(
        &mut self,
        slot: Slot,
        packets: impl Iterator<Item = &'a ReceivedRtp>,
        wire: &mut Wire<'_>,
        now: Instant,
    ) {
        let at = usize::from(slot.0);
        let Some(track) = self.tracks.get_mut(at).filter(|track| track.has_source) else {
            return;
        };
        for packet in packets {
            let Some(rewritten) = track.forward.take(packet) else {
                continue;
            };
            let number = self.bandwidth.next_number();
            let form = Form::Media(number);
            let sent = track.write(packet, &rewritten, form, wire);
            track.stats.packets += 1;
            track.stats.bytes += sent as u64;
            if sent > 0 && track.media.transport_cc.is_some() {
                self.bandwidth.on_sent(sent, now);
            }
            if track.media.nack {
                track.history.push(packet, rewritten, number, now);
            }
        }
        if track.forward.awaits_key_frame().is_some() {
            self.wish_key_frame(at, now);
        }
    }

    /// What the subscriber says of what it gets.
    pub fn handle_rtcp(&mut self, message: &Incoming, now: Instant) {
        match message {
            Incoming::Reception(block) => self.on_reception(block, now),
            Incoming::Nack { ssrc, numbers } => {
                let Some(at) = self.by_ssrc(*ssrc) else {
                    return;
                };
                let track = &mut self.tracks[at];
                track.stats.nacks += numbers.len() as u64;
                if track.media.nack {
                    let room = MAX_RESENDS.saturating_sub(self.resends.len());
                    let numbers = numbers.iter().take(room);
                    self.resends.extend(numbers.map(|number| (at, *number)));
                }
            }
            Incoming::KeyFrameWanted { ssrc } => {
                let Some(at) = self.by_ssrc(*ssrc) else {
                    return;
                };
                let track = &mut self.tracks[at];
                track.stats.key_frames_wanted += 1;
                if let Some(layer) = track.forward.current() {
                    let wanted = SendEvent::KeyFrameWanted(Slot(at as u16), layer);
                    self.events.push_back(wanted);
                }
            }
            Incoming::TransportFeedback(feedback) => self.bandwidth.on_feedback(feedback, now),
            Incoming::Remb { bps } => self.bandwidth.on_remb(*bps, now),
            Incoming::SenderReport { .. } | Incoming::Goodbye { .. } => {}
        }
    }

    fn on_reception(&mut self, block: &ReportBlock, now: Instant) {
        let Some(at) = self.by_ssrc(block.ssrc) else {
            return;
        };
        let track = &mut self.tracks[at];
        track.stats.fraction_lost = block.fraction_lost;
        track.stats.lost = block.total_lost;
        let jitter = f64::from(block.jitter) / f64::from(track.media.clock_rate.max(1));
        track.stats.jitter = Duration::from_secs_f64(jitter);
        let mut sent = track.reports_sent.iter();
        let Some((_, at)) = sent.find(|(middle, _)| *middle == block.last_sender_report) else {
            return;
        };
        // RFC 3550 §6.4.1, by our own clock.
        let held = Duration::from_micros(u64::from(block.delay) * 1_000_000 / 65_536);
        let sample = now.saturating_duration_since(*at).saturating_sub(held);
        let smoothed = self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8);
        self.round_trip = Some(smoothed);
        self.bandwidth.on_round_trip(smoothed);
    }

    fn by_ssrc(&self, ssrc: u32) -> Option<usize> {
        self.tracks
            .iter()
            .position(|track| track.media.ssrc == ssrc)
    }

    fn wish_key_frame(&mut self, at: usize, now: Instant) {
        let Some(track) = self.tracks.get_mut(at) else {
            return;
        };
        if track.media.kind == MediaKind::Audio || !self.is_connected {
            return;
        }
        let Some(layer) = track.forward.awaits_key_frame() else {
            return;
        };
        let is_new = track
            .key_frame_wished
            .is_none_or(|at| now.saturating_duration_since(at) >= KEY_FRAME_AGAIN);
        if is_new {
            track.key_frame_wished = Some(now);
            let wanted = SendEvent::KeyFrameWanted(Slot(at as u16), layer);
            self.events.push_back(wanted);
        }
    }

    /// Sends again what was asked for, and probes.
    pub fn flush(&mut self, wire: &mut Wire<'_>, now: Instant) {
        let pause = self.round_trip.unwrap_or(ROUND_TRIP);
        while let Some((at, number)) = self.resends.pop_front() {
            let Some(track) = self.tracks.get_mut(at) else {
                continue;
            };
            let Some(sent) = track.history.again(number, pause, now) else {
                continue;
            };
            let sent = sent.clone();
            match track.media.rtx {
                Some(rtx) => track.resend(&sent, rtx, &mut self.bandwidth, wire, now),
                None => track.write(
                    &sent.packet,
                    &sent.rewritten,
                    Form::Media(sent.number),
                    wire,
                ),
            };
            track.stats.resent += 1;
        }
        self.send_probe(wire, now);
    }

    fn send_probe(&mut self, wire: &mut Wire<'_>, now: Instant) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        if probe.next > now {
            return;
        }
        if probe.until <= now || self.bandwidth.is_overused() {
            self.probe = None;
            self.bandwidth.end_probe();
            return;
        }
        // What time brought, though a late timer must make no burst of it.
        let elapsed = now.saturating_duration_since(probe.next) + PROBE_STEP;
        let elapsed = elapsed.min(PROBE_STEP * 4);
        probe.next = now + PROBE_STEP;
        let mut left = probe.bps * elapsed.as_millis() as u64 / 8000;
        let mut tracks = self.tracks.iter_mut();
        let Some(track) = tracks.find(|track| track.history.newest().is_some()) else {
            return;
        };
        let (Some(rtx), Some(sent)) = (track.media.rtx, track.history.newest().cloned()) else {
            return;
        };
        // Whole packets sent again: padding too, but of some use where one was lost.
        while left > 0 {
            let len = track.resend(&sent, rtx, &mut self.bandwidth, wire, now);
            left = left.saturating_sub(len.max(100) as u64);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.report_due.is_some_and(|due| due <= now) {
            self.report_due = Some(now + REPORT_INTERVAL);
            self.send_reports(now);
        }
        if self.allocate_due.is_some_and(|due| due <= now) {
            let has_video =
                |track: &Track| track.has_source && track.media.kind == MediaKind::Video;
            let again = self.tracks.iter().any(has_video);
            self.allocate_due = again.then_some(now + ALLOCATE_INTERVAL);
            self.allocate(now);
            for at in 0..self.tracks.len() {
                if self.tracks[at].has_source {
                    self.wish_key_frame(at, now);
                }
            }
        }
    }

    fn allocate(&mut self, now: Instant) {
        let is_of = |track: &Track, kind| track.has_source && track.media.kind == kind;
        let audios = self.tracks.iter().filter(|t| is_of(t, MediaKind::Audio));
        let sound_bps = audios.map(|track| allocate::sound_bps(&track.layers)).sum();
        let of: Vec<usize> = (0..self.tracks.len())
            .filter(|at| is_of(&self.tracks[*at], MediaKind::Video))
            .collect();
        let videos: Vec<Video<'_>> = of
            .iter()
            .map(|at| {
                let track = &self.tracks[*at];
                Video {
                    layers: &track.layers,
                    shown_px: track.view.shown_px,
                    is_speaking: track.view.is_speaking,
                    current: track.forward.wanted(),
                }
            })
            .collect();
        let budget = self.bandwidth.estimate_bps();
        let allocation = allocate::allocate(budget, sound_bps, &videos);
        for (at, layer) in of.into_iter().zip(allocation.layers) {
            let track = &mut self.tracks[at];
            // A camera that is off is not paused: it has nothing to send.
            if !track.layers.iter().any(|layer| layer.running) && track.view.shown_px > 0 {
                continue;
            }
            let is_paused = layer.is_none();
            if track.forward.wanted() == layer && track.is_paused == is_paused {
                continue;
            }
            track.is_paused = is_paused;
            track.forward.want(layer);
            track.key_frame_wished = None;
            self.events
                .push_back(SendEvent::Layer(Slot(at as u16), layer));
        }
        self.consider_probe(allocation.unmet_bps, now);
    }

    /// Somebody could have a better picture, if only it were known whether it fits.
    fn consider_probe(&mut self, unmet_bps: Option<u64>, now: Instant) {
        let Some(unmet_bps) = unmet_bps else {
            return;
        };
        let is_due = self
            .probed
            .is_none_or(|at| now.saturating_duration_since(at) >= PROBE_PAUSE);
        let is_calm = !self.bandwidth.decreased_within(PROBE_PAUSE, now);
        let heard = self.bandwidth.acknowledged_bps();
        let (true, true, None, Some(carried)) = (is_due, is_calm, &self.probe, heard) else {
            return;
        };
        let reach = self.bandwidth.estimate_bps().max(100_000) * PROBE_REACH;
        let target = (unmet_bps + unmet_bps / 10).min(reach);
        self.probed = Some(now);
        self.bandwidth.begin_probe();
        self.probe = Some(Probe {
            until: now + PROBE_FOR,
            next: now,
            bps: target.saturating_sub(carried),
        });
    }

    fn send_reports(&mut self, now: Instant) {
        for track in &mut self.tracks {
            let Some(report) = track.report.filter(|_| track.has_source) else {
                continue;
            };
            let elapsed = now.saturating_duration_since(report.arrival);
            let ntp_elapsed = ((elapsed.as_micros() << 32) / 1_000_000) as u64;
            let ntp = report.ntp.wrapping_add(ntp_elapsed);
            let ticks = elapsed.as_micros() * u128::from(track.media.clock_rate) / 1_000_000;
            let Some(rtp) = track.forward.timestamp(report.rtp) else {
                continue;
            };
            if track.reports_sent.len() == MAX_REPORTS {
                track.reports_sent.pop_front();
            }
            track.reports_sent.push_back(((ntp >> 16) as u32, now));
            self.rtcp.push_back(rtcp::sender_report(
                track.media.ssrc,
                ntp,
                rtp.wrapping_add(ticks as u32),
                track.stats.packets as u32,
                track.stats.bytes as u32,
                &self.cname,
            ));
        }
    }

    /// The next RTCP packet to encrypt and send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.rtcp.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<SendEvent> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let probe = self.probe.as_ref().map(|probe| probe.next);
        [
            (self.report_due, "sender report"),
            (self.allocate_due, "bandwidth to allocate"),
            (probe, "probe"),
        ]
        .into_iter()
        .filter_map(|(at, why)| Some((at?, why)))
        .min_by_key(|(at, _)| *at)
    }

    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub fn estimate_bps(&self) -> u64 {
        self.bandwidth.estimate_bps()
    }

    /// Of each slot, in order.
    pub fn stats(&self) -> Vec<SlotStats> {
        let tracks = self.tracks.iter();
        tracks
            .map(|track| SlotStats {
                mid: track.media.mid.clone(),
                codec: Some(track.media.codec),
                layer: track.forward.current(),
                is_paused: track.is_paused,
                layer_switches: track.forward.switches(),
                ..track.stats.clone()
            })
            .collect()
    }
}

impl Track {
    fn new(media: SendMedia, random: u16) -> Self {
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
            stats: SlotStats::default(),
        }
    }

    /// A packet once more, by RFC 4588; its length on the wire.
    fn resend(
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
    fn write(
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
            marker: packet.marker,
            sequence: index as u16,
            timestamp: rewritten.timestamp,
            ssrc,
            transport_cc: media.transport_cc.map(|id| (id, number)),
            audio_level: media.audio_level.zip(packet.audio_level),
        };
        let Wire { srtp, path, outbox } = wire;
        let is_vp8 = media.codec == Codec::Vp8;
        outbox.write(*path, |bytes, start| {
            let header_len = head.write(bytes);
            if matches!(form, Form::Rtx(..)) {
                bytes.extend_from_slice(&(rewritten.sequence as u16).to_be_bytes());
            }
            let payload_at = bytes.len();
            bytes.extend_from_slice(packet.payload());
            if is_vp8 {
                rewrite_payload(&mut bytes[payload_at..], &packet.content, rewritten);
            }
            srtp.seal_rtp(bytes, start, header_len, ssrc, index)
        })
    }
}

/// How a packet goes out, with its transport-wide number.
#[derive(Clone, Copy)]
enum Form {
    /// As its slot's media. A second time it must be the same to the last bit: its nonce in
    /// SRTP is the same.
    Media(u16),
    /// By RFC 4588, with the number in that stream.
    Rtx(Rtx, u64, u16),
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
