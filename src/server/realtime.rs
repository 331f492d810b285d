//! The program for who plays it by WHEP: what the child payloads becomes tracks of the transport.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tracing::debug;

use crate::program::{Epoch, Feed, Ladder};
use crate::room::{Codec, MediaKind};
use crate::rtc::core::receive::payload::Content;
use crate::rtc::core::{LayerInfo, ReceivedRtp, SenderReport, TrackId, TrackInfo};
use crate::rtc::roster;
use crate::rtc::{LocalSource, Origin, Rtc};

const VIDEO: TrackId = TrackId(0);
const AUDIO: TrackId = TrackId(1);

/// RFC 3550 §5.1: what our payloaders write, version 2 and nothing else.
const PLAIN: u8 = 0x80;
const HEADER_LEN: usize = 12;

/// As often as senders do.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// An encoder makes no key frames of a rendition more often: each costs all who watch, and who
/// comes in between gets the last one from the transport.
const KEY_FRAME_EVERY: Duration = Duration::from_millis(1000);

/// Another child's numbers begin anew, so far on that nobody takes its packets for late ones.
const RESTART_JUMP: u64 = 20_000;

/// Seconds from 1900, where NTP begins, to 1970.
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// Main profile, level 3.1 and up; a receiver takes what it can decode.
const H264_FMTP: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f";

/// A broadcast's way into the transport.
pub struct Realtime {
    source: LocalSource,
    epoch: Epoch,
    outputs: BTreeMap<String, Output>,
    players: Arc<AtomicUsize>,
}

/// One rendition.
struct Output {
    track: TrackId,
    codec: Codec,
    layer: u8,
    next_sequence: u64,
    report_due: Option<Instant>,
}

impl Realtime {
    /// Others of `room` may subscribe at once; the child payloads when somebody does.
    pub fn start(rtc: &Rtc, room: &str, ladder: &Ladder, feed: Feed, epoch: Epoch) -> Self {
        // As of simulcast, the smallest is the first layer.
        let mut video: Vec<_> = ladder.video.iter().collect();
        video.sort_by_key(|rendition| (rendition.height_px, rendition.bitrate_bps));
        let output = |track, codec, layer: usize| Output {
            track,
            codec,
            layer: layer as u8,
            next_sequence: 0,
            report_due: None,
        };
        let mut outputs: BTreeMap<String, Output> = video
            .iter()
            .enumerate()
            .map(|(layer, video)| (video.name.clone(), output(VIDEO, Codec::H264, layer)))
            .collect();
        outputs.insert(ladder.audio.name.clone(), output(AUDIO, Codec::Opus, 0));
        let running = |height_px: u32, bitrate_bps: u32| LayerInfo {
            height_px: height_px as u16,
            bitrate_bps: u64::from(bitrate_bps),
            thinner_bps: Default::default(),
            running: true,
        };
        let of_video = video.iter().map(|v| running(v.height_px, v.bitrate_bps));
        let layers = BTreeMap::from([
            (VIDEO, of_video.collect()),
            (AUDIO, vec![running(0, ladder.audio.bitrate_bps)]),
        ]);
        let players: Arc<AtomicUsize> = Arc::default();
        let encoders = Encoders {
            all: players.clone(),
            feed,
            renditions: video.iter().map(|video| video.name.clone()).collect(),
            players: BTreeMap::new(),
            forced: BTreeMap::new(),
        };
        Self {
            source: rtc.originate(room, layers, Box::new(encoders)),
            epoch,
            outputs,
            players,
        }
    }

    /// How many play it.
    pub fn players(&self) -> Arc<AtomicUsize> {
        self.players.clone()
    }

    /// The program's tracks, as subscribers need to know them.
    pub fn program(&self) -> roster::Program {
        let layers = |track| self.outputs.values().filter(|o| o.track == track).count();
        let info = |id, codec: Codec, fmtp: &str| TrackInfo {
            id,
            kind: codec.kind(),
            codec,
            payload_type: 96,
            clock_rate: codec.clock_rate(),
            fmtp: fmtp.to_owned(),
            is_screen: false,
            color_space: None,
            layers: layers(id) as u8,
        };
        roster::Program {
            connection: self.source.id(),
            tracks: vec![
                info(VIDEO, Codec::H264, H264_FMTP),
                info(AUDIO, Codec::Opus, ""),
            ],
        }
    }

    /// What follows comes from another child.
    pub fn restarted(&mut self) {
        for output in self.outputs.values_mut() {
            output.next_sequence += RESTART_JUMP;
        }
    }

    /// A frame of a rendition.
    pub fn frame(&mut self, rendition: &str, packets: Vec<Bytes>) {
        let Some(output) = self.outputs.get_mut(rendition) else {
            return;
        };
        let now = Instant::now();
        let (track, report) = (output.track, output.report(&self.epoch, now));
        let packets = packets.into_iter();
        let packets = packets.filter_map(|packet| output.read(packet, now));
        let sent = self.source.rtp(track, packets.collect());
        let reported = report.map(|report| self.source.sender_report(track, report));
        if let Err(error) = sent.and(reported.unwrap_or(Ok(()))) {
            debug!(%error, rendition, "a frame is lost on its way to the transport");
        }
    }
}

impl Output {
    fn read(&mut self, packet: Bytes, arrival: Instant) -> Option<ReceivedRtp> {
        let (header, payload) = packet.split_at_checked(HEADER_LEN)?;
        if header[0] != PLAIN || payload.is_empty() {
            return None;
        }
        let marker = header[1] & 0x80 != 0;
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let content = Content::read(self.codec, payload);
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        Some(ReceivedRtp {
            arrival,
            header_len: HEADER_LEN as u16,
            sequence,
            timestamp,
            marker,
            completes: marker || self.codec.kind() == MediaKind::Audio,
            layer: self.layer,
            content,
            audio_level: None,
            color_space: None,
            dependency_descriptor: None,
            packet,
        })
    }

    /// Timestamps are running time, and where that is zero on the wall's clock is known.
    fn report(&mut self, epoch: &Epoch, now: Instant) -> Option<SenderReport> {
        if self.report_due.is_some_and(|due| now < due) {
            return None;
        }
        self.report_due = Some(now + REPORT_EVERY);
        let running = epoch.running_time(now);
        let wall = (epoch.wall + running).duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.ok()?;
        let fraction = (u64::from(wall.subsec_nanos()) << 32) / 1_000_000_000;
        let ticks = running.as_micros() * u128::from(self.codec.clock_rate()) / 1_000_000;
        Some(SenderReport {
            layer: self.layer,
            arrival: now,
            ntp: ((wall.as_secs() + NTP_TO_UNIX_S) << 32) | fraction,
            rtp: ticks as u32,
        })
    }
}

/// What subscribers wish of the child.
struct Encoders {
    feed: Feed,
    /// By layer.
    renditions: Vec<String>,
    players: BTreeMap<TrackId, usize>,
    /// As many as the track has that most play.
    all: Arc<AtomicUsize>,
    forced: BTreeMap<u8, Instant>,
}

impl Origin for Encoders {
    fn key_frame_wanted(&mut self, track: TrackId, layer: u8) {
        let now = Instant::now();
        let is_soon = |at: &Instant| now.saturating_duration_since(*at) < KEY_FRAME_EVERY;
        let rendition = self.renditions.get(usize::from(layer));
        let Some(rendition) = rendition.filter(|_| track == VIDEO) else {
            return;
        };
        if !self.forced.get(&layer).is_some_and(is_soon) {
            self.forced.insert(layer, now);
            self.feed.force_key_frame(rendition.clone());
        }
    }

    fn subscribers(&mut self, track: TrackId, count: usize) {
        self.players.insert(track, count);
        let most = self.players.values().max().copied();
        self.all.store(most.unwrap_or(0), Ordering::Relaxed);
        self.feed.want_rtp(self.players.values().any(|n| *n > 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_say_what_time_it_is_where_timestamps_are_running_time() {
        let epoch = Epoch::for_start_now(Duration::from_secs(2));
        let mut output = Output {
            track: AUDIO,
            codec: Codec::Opus,
            layer: 0,
            next_sequence: 0,
            report_due: None,
        };
        let now = Instant::now();
        let report = output.report(&epoch, now).expect("the first is due");
        let since_1900 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since_1900 = since_1900.expect("a clock").as_secs() + NTP_TO_UNIX_S;
        assert!((report.ntp >> 32).abs_diff(since_1900) <= 1);
        let running = f64::from(report.rtp) / 48_000.0;
        assert!((running - epoch.running_time(now).as_secs_f64()).abs() < 0.001);
        assert_eq!(output.report(&epoch, now + REPORT_EVERY / 2), None);
        assert!(output.report(&epoch, now + REPORT_EVERY).is_some());
    }

    #[test]
    fn what_is_no_packet_is_left_out() {
        let mut output = Output {
            track: VIDEO,
            codec: Codec::H264,
            layer: 1,
            next_sequence: 5,
            report_due: None,
        };
        let now = Instant::now();
        assert!(output.read(Bytes::from_static(&[0x80; 12]), now).is_none());
        assert!(output.read(Bytes::from_static(&[0x90; 40]), now).is_none());
        // An SPS, the last packet of its frame.
        let packet = [&[0x80, 0xE0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 0][..], &[0x67; 9]].concat();
        let read = output.read(packet.into(), now).expect("a packet");
        assert_eq!((read.sequence, read.timestamp, read.layer), (5, 7, 1));
        assert!(read.completes && read.content.starts_key_frame);
    }
}
