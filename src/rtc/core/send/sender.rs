//! The sending half of a connection: others' packets in, this subscriber's datagrams out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocate::{self, Video};
use super::bandwidth::Bandwidth;
use super::forward::Target;
use super::pacer::{Bucket, Paced, Pacer};
use super::probe::Prober;
use super::track::{Form, Slot, SlotStats, Track, View, Wire};
use crate::room::MediaKind;
use crate::rtc::core::prefetch::{Depth, prefetch};
use crate::rtc::core::receive::reception::ReportBlock;
use crate::rtc::core::rtcp::{self, Incoming};
use crate::rtc::core::sdp::agreement::SendMedia;
use crate::rtc::core::sink::{LayerInfo, ReceivedRtp, SenderReport};

const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the budget is spent anew.
const ALLOCATE_INTERVAL: Duration = Duration::from_millis(250);

/// While a key frame is awaited it is wished for again, should one be lost.
const KEY_FRAME_AGAIN: Duration = Duration::from_millis(1000);

/// Packets asked for in one message that are sent again; more is no loss but an outage.
const MAX_RESENDS: usize = 200;

/// Of the estimate, for what is sent again: where a full queue drops packets, more of them would
/// keep it full.
const RESEND_PERCENT: u64 = 20;
const RESEND_BURST: Duration = Duration::from_millis(500);

/// A picture that gets worse so soon after the estimate fell was too much.
const RECENT_DECREASE: Duration = Duration::from_secs(1);

/// Until reports tell.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Reports of which the answer may still come.
const MAX_REPORTS: usize = 4;

/// What a sender has for its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendEvent {
    /// The source of the slot should send a key frame of this layer.
    KeyFrameWanted(Slot, u8),
    /// The slot sends this layer from its next key frame on; `None`: it does not fit, so it is
    /// paused.
    Layer(Slot, Option<u8>),
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
    prober: Prober,
    resends: VecDeque<(usize, u16)>,
    resend_allowance: Bucket,
    pacer: Pacer,
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
            prober: Prober::default(),
            resends: VecDeque::new(),
            resend_allowance: Bucket::default(),
            pacer: Pacer::default(),
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
                Some(track) => {
                    self.pacer.forget(at);
                    *track = Track::new(media, random());
                }
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

    /// The layer whose key frame the slot waits for, from a source of which it sends nothing yet:
    /// what was sent once must never be sealed again.
    pub fn awaits_key_frame(&self, slot: Slot) -> Option<u8> {
        let track = self.tracks.get(usize::from(slot.0))?;
        let awaited = track.forward.awaits_key_frame();
        awaited.filter(|layer| !track.forward.is_of(*layer))
    }

    pub fn media(&self, slot: Slot) -> Option<&SendMedia> {
        self.tracks.get(usize::from(slot.0)).map(|t| &t.media)
    }

    /// A track, with these layers, comes in `slot` from now on; `None` ends it.
    pub fn set_source(&mut self, slot: Slot, layers: Option<Vec<LayerInfo>>, now: Instant) {
        let Some(track) = self.tracks.get_mut(usize::from(slot.0)) else {
            return;
        };
        // They are the old source's, perhaps of another codec.
        self.pacer.forget(usize::from(slot.0));
        track.forward.restart();
        track.history.clear();
        track.report = None;
        track.is_paused = false;
        track.has_source = layers.is_some();
        track.layers = layers.unwrap_or_default();
        // Small at first: with the first measurements comes what fits.
        let first = track.has_source.then_some(Target::whole(0));
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

    pub fn view(&self, slot: Slot) -> View {
        let track = self.tracks.get(usize::from(slot.0));
        track.map(|track| track.view).unwrap_or_default()
    }

    /// The source's clock, as its publisher reported it.
    pub fn on_source_report(&mut self, slot: Slot, report: SenderReport) {
        if let Some(track) = self.tracks.get_mut(usize::from(slot.0))
            && track.forward.is_of(report.layer)
        {
            track.report = Some(report);
        }
    }

    /// Sends packets of the slot's source, of any layer, in the order they came.
    pub fn forward<'a>(
        &mut self,
        slot: Slot,
        packets: impl Iterator<Item = &'a Arc<ReceivedRtp>>,
        wire: &mut Wire<'_>,
        now: Instant,
    ) {
        // A key frame that nobody could get would be taken for one that was sent.
        if !self.is_connected {
            return;
        }
        let at = usize::from(slot.0);
        let Some(track) = self.tracks.get_mut(at).filter(|track| track.has_source) else {
            return;
        };
        self.pacer.fill(self.bandwidth.pace_bps(), now);
        let never_waits = track.media.kind == MediaKind::Audio;
        for packet in packets {
            let Some(rewritten) = track.forward.take(packet) else {
                continue;
            };
            if never_waits || self.pacer.is_free() {
                let len = track.send(packet, rewritten, &mut self.bandwidth, wire, now);
                self.pacer.pay(len);
            } else {
                self.pacer.wait(Paced {
                    track: at,
                    packet: packet.clone(),
                    rewritten,
                });
            }
        }
        if track.forward.awaits_key_frame().is_some() {
            self.wish_key_frame(at, now);
        }
    }

    /// Asks for the memory that [`Self::forward`] needs.
    pub fn prefetch(&self, slot: Slot, depth: Depth) {
        if depth == Depth::Own {
            prefetch(self);
            return;
        }
        let Some(track) = self.tracks.get(usize::from(slot.0)) else {
            return;
        };
        match depth {
            Depth::Own => {}
            Depth::Pointed => {
                prefetch(track);
                self.bandwidth.prefetch();
            }
            Depth::Far => track.history.prefetch(),
        }
    }

    /// Whether packets wait for their time, or an event to be asked for.
    pub fn has_more(&self) -> bool {
        !self.pacer.is_empty() || !self.events.is_empty()
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
                if let Some(current) = track.forward.current() {
                    let wanted = SendEvent::KeyFrameWanted(Slot(at as u16), current.layer);
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

    /// Sends what waited for its time, sends again what was asked for, and probes.
    pub fn flush(&mut self, wire: &mut Wire<'_>, now: Instant) {
        if !self.resends.is_empty() {
            self.send_again(wire, now);
        }
        if !self.pacer.is_empty() {
            self.pacer.fill(self.bandwidth.pace_bps(), now);
        }
        while let Some(paced) = self.pacer.pop_due() {
            if let Some(track) = self.tracks.get_mut(paced.track) {
                let bandwidth = &mut self.bandwidth;
                let len = track.send(&paced.packet, paced.rewritten, bandwidth, wire, now);
                self.pacer.pay(len);
            }
        }
        self.send_probe(wire, now);
    }

    fn send_again(&mut self, wire: &mut Wire<'_>, now: Instant) {
        // By feedback a round trip is known with the queue that is in it now: what is asked for
        // again may still stand there.
        let by_report = self.round_trip.unwrap_or(ROUND_TRIP);
        let pause = by_report.max(self.bandwidth.round_trip());
        let most_bps = self.bandwidth.estimate_bps() * RESEND_PERCENT / 100;
        self.resend_allowance.fill(most_bps, RESEND_BURST, now);
        while let Some((at, number)) = self.resends.pop_front() {
            if !self.resend_allowance.has_credit() {
                self.resends.clear();
                return;
            }
            let Some(track) = self.tracks.get_mut(at) else {
                continue;
            };
            let Some(sent) = track.history.again(number, pause, now) else {
                continue;
            };
            let sent = sent.clone();
            let len = match track.media.rtx {
                Some(rtx) => track.resend(&sent, rtx, &mut self.bandwidth, wire, now),
                None => track.write(
                    &sent.packet,
                    &sent.rewritten,
                    Form::Media(sent.number),
                    wire,
                ),
            };
            track.stats.resent += 1;
            self.pacer.pay(len);
            self.resend_allowance.pay(len);
        }
    }

    /// Whole packets sent again: padding too, but of some use where one was lost.
    fn send_probe(&mut self, wire: &mut Wire<'_>, now: Instant) {
        self.prober.fill(&mut self.bandwidth, now);
        if !self.prober.is_due() {
            return;
        }
        // Sound has packets, too, but mostly nothing to send them again by.
        let found = self.tracks.iter_mut().find_map(|track| {
            let (rtx, sent) = (track.media.rtx?, track.history.newest()?.clone());
            Some((track, rtx, sent))
        });
        let Some((track, rtx, sent)) = found else {
            return;
        };
        while self.prober.is_due() {
            let len = track.resend(&sent, rtx, &mut self.bandwidth, wire, now);
            self.prober.pay(len);
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
                    may_rise: !track.patience.is_held(now),
                    is_speaking: track.view.is_speaking,
                    current: track.forward.wanted(),
                }
            })
            .collect();
        let budget = self.bandwidth.estimate_bps();
        let allocation = allocate::allocate(budget, sound_bps, &videos);
        for (at, target) in of.into_iter().zip(allocation.targets) {
            let track = &mut self.tracks[at];
            // A camera that is off is not paused: it has nothing to send.
            if !track.layers.iter().any(|layer| layer.running) && track.view.shown_px > 0 {
                continue;
            }
            let (before, is_paused) = (track.forward.wanted(), target.is_none());
            if before == target && track.is_paused == is_paused {
                continue;
            }
            let layer = target.map(|target| target.layer);
            let is_same_layer =
                before.map(|before| before.layer) == layer && track.is_paused == is_paused;
            track.is_paused = is_paused;
            let is_worse = target < before;
            let was_too_much = self.bandwidth.decreased_within(RECENT_DECREASE, now);
            match is_worse {
                true if was_too_much => track.patience.on_fall(now),
                true => {}
                false => track.patience.on_rise(now),
            }
            track.forward.want(target);
            if is_same_layer {
                // Fewer frames from now on, or as soon as more can begin.
                continue;
            }
            if is_worse && self.bandwidth.has_long_queue() {
                // Its last frames would only hold up the sound.
                track.forward.restart();
                self.pacer.forget(at);
            }
            track.key_frame_wished = None;
            self.events
                .push_back(SendEvent::Layer(Slot(at as u16), layer));
        }
        if let Some(unmet_bps) = allocation.unmet_bps {
            self.prober.consider(unmet_bps, &mut self.bandwidth, now);
        }
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
        [
            (self.report_due, "sender report"),
            (self.allocate_due, "bandwidth to allocate"),
            (self.prober.poll_timeout(), "probe"),
            (self.pacer.poll_timeout(), "pictures to spread out"),
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
                layer: track.forward.current().map(|current| current.layer),
                temporal_layer: track.forward.wanted().and_then(Target::limit),
                is_paused: track.is_paused,
                layer_switches: track.forward.switches(),
                ..track.stats.clone()
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "sender/tests.rs"]
mod tests;
