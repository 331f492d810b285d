//! The receiving half of a connection: RTP in; packets, events and RTCP out.

mod feedback;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::payload::Content;
use super::rtp::{self, Header};
use super::rtx;
use super::stats::TrackStats;
use super::tracks::{Source, Tracks};
use super::twcc::Twcc;
use super::vp9;
use crate::room::{Codec, MediaKind};
use crate::rtc::core::rtcp::{self, Incoming};
use crate::rtc::core::sdp::agreement::Media;
use crate::rtc::core::sink::{Event, LayerInfo, ReceivedRtp, SenderReport, TrackId, TrackInfo};

/// RFC 3550 §6.2 allows less than its 5 s for small sessions; libwebrtc sends every second too.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Levels are told this often.
const LEVEL_INTERVAL: Duration = Duration::from_millis(100);

/// What the receiver has for the house.
#[derive(Debug, Clone)]
pub enum Output {
    Event(Event),
    Rtp(TrackId, ReceivedRtp),
    SenderReport(TrackId, SenderReport),
}

/// All tracks of one connection.
#[derive(Debug)]
pub struct Receiver {
    tracks: Tracks,
    twcc: Twcc,
    /// The SSRC that our RTCP carries.
    ssrc: u32,
    cname: String,
    report_due: Option<Instant>,
    levels_due: Option<Instant>,
    outputs: VecDeque<Output>,
    rtcp: VecDeque<Vec<u8>>,
    /// Packets that belong to no agreed track.
    strangers: u64,
}

impl Receiver {
    /// `ssrc` should be random. `cname` names us in the reports (RFC 7022).
    pub fn new(media: Vec<Media>, ssrc: u32, cname: String, now: Instant) -> Self {
        Self {
            tracks: Tracks::new(media),
            twcc: Twcc::new(now),
            ssrc,
            cname,
            report_due: None,
            levels_due: None,
            outputs: VecDeque::new(),
            rtcp: VecDeque::new(),
            strangers: 0,
        }
    }

    /// What the peer sends from now on, after a negotiation.
    pub fn agree(&mut self, media: Vec<Media>) {
        self.tracks.agree(media);
    }

    /// Takes one decrypted RTP packet, with the header parsed before.
    pub fn handle_rtp(&mut self, mut packet: BytesMut, header: &Header, now: Instant) {
        let Some(source) = self.tracks.find(header, &packet) else {
            self.strangers += 1;
            return;
        };
        let Some(track) = self.tracks.tracks.get_mut(source.track) else {
            return;
        };
        let transport_cc = track.media.extensions.transport_cc;
        let number = transport_cc.and_then(|id| header.extension(&packet, id));
        if let Some(&[high, low]) = number {
            self.twcc.on_packet(u16::from_be_bytes([high, low]), now);
        }
        let Some(len) = header.unpadded_len(&packet) else {
            return;
        };
        packet.truncate(len);
        if header.padding {
            packet[0] &= !0x20;
        }
        self.report_due.get_or_insert(now + REPORT_INTERVAL);
        if source.rtx {
            self.handle_rtx(source, packet, header, now);
        } else {
            self.handle_media(source, packet, header, now);
        }
    }

    fn handle_media(&mut self, source: Source, packet: BytesMut, header: &Header, now: Instant) {
        let track = &mut self.tracks.tracks[source.track];
        let Some(codec) = track.media.by_payload_type(header.payload_type) else {
            self.strangers += 1;
            return;
        };
        let (clock_rate, nack) = (codec.clock_rate, codec.nack);
        let stream = &mut track.streams[source.stream];
        if stream.ssrc != header.ssrc {
            stream.replace_source(header.ssrc, header.sequence);
        }
        let len = packet.len();
        if let Some(number) = stream.on_media(header, len, clock_rate, nack, now) {
            self.deliver(source, packet, header, (header.payload_type, number), now);
        }
        // An outage may have been found.
        self.check_given_up(source.track);
    }

    fn handle_rtx(&mut self, source: Source, mut packet: BytesMut, header: &Header, now: Instant) {
        let track = &mut self.tracks.tracks[source.track];
        let codec = track.media.by_rtx_payload_type(header.payload_type);
        let Some(payload_type) = codec.map(|codec| codec.payload_type) else {
            self.strangers += 1;
            return;
        };
        let stream = &mut track.streams[source.stream];
        if stream.ssrc == 0 {
            // Nothing to repair yet: a probe before the first packet.
            return;
        }
        let Some(osn) = rtx::undo(&mut packet, header, payload_type, stream.ssrc) else {
            return;
        };
        if let Some(number) = stream.on_retransmitted(osn, packet.len(), now) {
            self.deliver(source, packet, header, (payload_type, number), now);
        }
    }

    fn deliver(
        &mut self,
        source: Source,
        packet: BytesMut,
        header: &Header,
        (payload_type, sequence): (u8, u64),
        now: Instant,
    ) {
        let track = &mut self.tracks.tracks[source.track];
        let id = TrackId(track.media.index);
        let Some(codec) = track.media.by_payload_type(payload_type) else {
            return;
        };
        let payload = packet.get(header.header_len..).unwrap_or_default();
        let mut content = match payload.is_empty() {
            false => Content::read(codec.codec, payload),
            true => Content::default(),
        };
        let stream = &mut track.streams[source.stream];
        if let Some(height_px) = content.height_px {
            stream.height_px = height_px.get();
        }
        let descriptor = track.media.extensions.dependency_descriptor;
        let descriptor = descriptor.and_then(|id| header.extension_at(&packet, id));
        if let Some(descriptor) = descriptor.clone() {
            let place = stream.templates.place(&packet[descriptor], sequence);
            if let Some((spatial, temporal)) = place {
                (content.spatial, content.temporal) = (Some(spatial), Some(temporal));
            }
        }
        if let Some(spatial) = content.spatial {
            stream.spatial.on_packet(spatial.id, payload.len(), now);
        }
        let spatial_id = content.spatial.map_or(0, |spatial| spatial.id);
        if let Some(temporal) = content.temporal.filter(|_| spatial_id == 0) {
            stream.temporal.on_packet(temporal.id, packet.len(), now);
        }
        let spatial = &mut stream.spatial;
        let largest_px = match codec.codec {
            Codec::Vp9 if content.starts_key_frame => spatial.set_heights(vp9::heights_px(payload)),
            Codec::Av1 if content.starts_key_frame => {
                spatial.set_heights(stream.templates.heights_px())
            }
            _ => None,
        };
        if let Some(largest_px) = largest_px {
            stream.height_px = largest_px;
        }
        if track.streams.len() > 1 {
            // Subscribers choose among the rids.
            content.spatial = None;
        }
        if !payload.is_empty() {
            track.last_packet = Some(now);
            if track.running != Some(payload_type) {
                track.running = Some(payload_type);
                track.stalled = false;
                let started = TrackInfo {
                    id,
                    kind: track.media.kind,
                    codec: codec.codec,
                    payload_type,
                    clock_rate: codec.clock_rate,
                    fmtp: codec.fmtp.clone(),
                    is_screen: track.media.is_screen,
                    color_space: track.media.extensions.color_space,
                    layers: track.streams.len() as u8,
                };
                self.outputs
                    .push_back(Output::Event(Event::TrackStarted(started)));
            } else if track.stalled {
                track.stalled = false;
                self.outputs
                    .push_back(Output::Event(Event::TrackResumed(id)));
            }
        }
        let level = track.media.extensions.audio_level;
        let level = level.and_then(|id| header.extension(&packet, id)?.first().copied());
        if let Some(level) = level {
            track.loudest = track.loudest.min(level & 0x7F);
            self.levels_due.get_or_insert(now + LEVEL_INTERVAL);
        }
        let color_space = track.media.extensions.color_space;
        let color_space = color_space.and_then(|id| header.extension(&packet, id)?.try_into().ok());
        let received = ReceivedRtp {
            arrival: now,
            packet: packet.freeze(),
            // A header is at most 12 + 15 * 4 + 4 + 65535 * 4 bytes, of a datagram of 64 KiB.
            header_len: header.header_len as u16,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            completes: header.marker || track.media.kind == MediaKind::Audio,
            layer: content
                .spatial
                .map_or(source.stream as u8, |spatial| spatial.id),
            content,
            audio_level: level,
            color_space,
            dependency_descriptor: descriptor.map(|at| at.start as u16..at.end as u16),
        };
        self.outputs.push_back(Output::Rtp(id, received));
    }

    /// The layers of a track as they are now.
    pub fn layers(&mut self, track: TrackId, now: Instant) -> Vec<LayerInfo> {
        let mut tracks = self.tracks.tracks.iter_mut();
        let found = tracks.find(|of| TrackId(of.media.index) == track);
        found.map_or_else(Vec::new, |track| track.layers(now))
    }

    /// Takes one message of the peer's RTCP.
    pub fn handle_rtcp(&mut self, message: Incoming, now: Instant) {
        match message {
            Incoming::SenderReport { ssrc, ntp, rtp } => {
                let Some((track, stream)) = self.tracks.stream_mut(ssrc) else {
                    return;
                };
                stream.reception.on_sender_report(ntp, now);
                let of = &self.tracks.tracks[track];
                let layer = of.streams.iter().position(|stream| stream.ssrc == ssrc);
                let report = SenderReport {
                    layer: layer.unwrap_or(0) as u8,
                    arrival: now,
                    ntp,
                    rtp,
                };
                let id = TrackId(of.media.index);
                self.outputs.push_back(Output::SenderReport(id, report));
            }
            Incoming::Goodbye { ssrcs } => {
                for ssrc in ssrcs {
                    if let Some((_, stream)) = self.tracks.stream_mut(ssrc) {
                        stream.said_goodbye = true;
                    }
                }
            }
            Incoming::Reception(_)
            | Incoming::Nack { .. }
            | Incoming::KeyFrameWanted { .. }
            | Incoming::TransportFeedback(_)
            | Incoming::Remb { .. } => {}
        }
    }

    /// Whether every source that ever sent said goodbye (and at least one did).
    pub fn all_said_goodbye(&self) -> bool {
        let mut running = self.tracks.tracks.iter().flat_map(|track| &track.streams);
        running.clone().any(|stream| stream.said_goodbye)
            && running.all(|stream| stream.said_goodbye || stream.packets == 0)
    }

    /// Asks the publisher of `track` for a key frame of one layer, or of all; now, or as soon as
    /// the last request is old enough.
    pub fn request_key_frame(&mut self, track: TrackId, layer: Option<u8>, now: Instant) {
        let mut tracks = self.tracks.tracks.iter_mut();
        if let Some(track) = tracks.find(|of| TrackId(of.media.index) == track) {
            // One key frame starts all spatial layers of a source.
            let last = track.streams.len().saturating_sub(1);
            for (at, stream) in track.streams.iter_mut().enumerate() {
                let is_it = layer.is_none_or(|layer| usize::from(layer).min(last) == at);
                stream.key_frame.wanted |= is_it;
            }
            self.send_key_frame_requests(now);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.send_nacks(now);
        self.send_key_frame_requests(now);
        if self.twcc.poll_timeout().is_some_and(|due| due <= now) {
            // The draft wants any of the sender's sources here.
            let media = self.tracks.tracks.iter().flat_map(|track| &track.streams);
            let media = media.map(|stream| stream.ssrc).find(|ssrc| *ssrc != 0);
            self.rtcp
                .extend(self.twcc.feedback(self.ssrc, media.unwrap_or(0), now));
        }
        if self.report_due.is_some_and(|due| due <= now) {
            self.report_due = Some(now + REPORT_INTERVAL);
            self.send_report(now);
            self.tell_layers(now);
        }
        if self.levels_due.is_some_and(|due| due <= now) {
            self.levels_due = None;
            self.tell_levels();
        }
        for track in &mut self.tracks.tracks {
            if track.stalls_at().is_some_and(|at| at <= now) {
                track.stalled = true;
                let id = TrackId(track.media.index);
                self.outputs
                    .push_back(Output::Event(Event::TrackStalled(id)));
            }
        }
    }

    /// The next RTCP packet to encrypt and send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.rtcp.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let streams = self.tracks.tracks.iter().flat_map(|track| &track.streams);
        let nack = streams
            .filter_map(|stream| stream.nack.poll_timeout())
            .min();
        let streams = self.tracks.tracks.iter().flat_map(|track| &track.streams);
        let key_frames = streams.filter_map(|stream| stream.key_frame_due());
        let stalls = self
            .tracks
            .tracks
            .iter()
            .filter_map(|track| track.stalls_at());
        [
            (nack, "packets to ask for again"),
            (self.twcc.poll_timeout(), "congestion feedback"),
            (self.report_due, "receiver report"),
            (self.levels_due, "audio levels"),
            (key_frames.min(), "key frame request"),
            (stalls.min(), "track stalls"),
        ]
        .into_iter()
        .filter_map(|(at, why)| Some((at?, why)))
        .min_by_key(|(at, _)| *at)
    }

    /// The round trip as retransmissions measured it; `None` while nothing was lost.
    pub fn round_trip(&self) -> Option<Duration> {
        let streams = self.tracks.tracks.iter().flat_map(|track| &track.streams);
        streams.filter_map(|stream| stream.round_trip).min()
    }

    /// Packets that belonged to no agreed track.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    pub fn stats(&mut self, now: Instant) -> Vec<TrackStats> {
        let tracks = self.tracks.tracks.iter_mut();
        tracks
            .map(|track| {
                let codec = track.running.and_then(|pt| track.media.by_payload_type(pt));
                let clock_rate = codec.map_or(90_000, |codec| codec.clock_rate);
                let codec = codec.map(|codec| codec.codec);
                let streams = &mut track.streams;
                let sum =
                    |value: fn(&super::stream::Stream) -> u64| streams.iter().map(value).sum();
                TrackStats {
                    track: TrackId(track.media.index),
                    codec,
                    packets: sum(|stream| stream.packets),
                    bytes: sum(|stream| stream.bytes),
                    lost: sum(|stream| stream.reception.lost()),
                    recovered: sum(|stream| stream.recovered),
                    abandoned: sum(|stream| stream.nack.abandoned()),
                    duplicates: sum(|stream| stream.duplicates),
                    nacks_sent: sum(|stream| stream.nacks_sent),
                    plis_sent: sum(|stream| stream.key_frame.sent),
                    jitter: streams[0].reception.jitter(clock_rate),
                    bits_per_second: streams
                        .iter_mut()
                        .map(|s| s.rate.bits_per_second(now))
                        .sum(),
                    stalled: track.stalled,
                }
            })
            .collect()
    }
}

/// Whether a datagram in the RTP range is RTCP (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|kind| (192..=223).contains(kind))
}

/// Parses and takes a packet that is in the clear; for tests and fuzzing.
pub fn handle_clear(receiver: &mut Receiver, datagram: &[u8], now: Instant) {
    if is_rtcp(datagram) {
        for message in rtcp::parse(datagram) {
            receiver.handle_rtcp(message, now);
        }
    } else if let Some(header) = rtp::parse(datagram) {
        receiver.handle_rtp(BytesMut::from(datagram), &header, now);
    }
}

#[cfg(test)]
#[path = "receiver/tests.rs"]
mod tests;
