//! What the receiver tells the sender: which packets to send again, when a key frame is needed,
//! and how the network did.

use std::time::{Duration, Instant};

use super::{PLI_INTERVAL, Receiver};
use crate::room::MediaKind;
use crate::rtc::core::rtcp;

/// Until a retransmission measured it.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(50);

impl Receiver {
    pub(super) fn send_nacks(&mut self, now: Instant) {
        for track in 0..self.tracks.tracks.len() {
            for stream in &mut self.tracks.tracks[track].streams {
                let round_trip = stream.round_trip.unwrap_or(DEFAULT_ROUND_TRIP);
                let lost = stream.nack.due(now, round_trip);
                if !lost.is_empty() {
                    stream.nacks_sent += lost.len() as u64;
                    self.rtcp
                        .push_back(rtcp::nack(self.ssrc, stream.ssrc, &lost));
                }
            }
            self.check_given_up(track);
        }
    }

    pub(super) fn check_given_up(&mut self, track: usize) {
        let track = &mut self.tracks.tracks[track];
        for stream in &mut track.streams {
            let gave_up = stream.nack.take_gave_up();
            track.key_frame.wanted |= gave_up && track.media.kind == MediaKind::Video;
        }
    }

    pub(super) fn send_key_frame_requests(&mut self, now: Instant) {
        for track in &mut self.tracks.tracks {
            let last = track.key_frame.asked;
            let throttled = last.is_some_and(|last| last + PLI_INTERVAL > now);
            if !track.key_frame.wanted || throttled || track.streams[0].ssrc == 0 {
                continue;
            }
            track.key_frame.wanted = false;
            track.key_frame.asked = Some(now);
            let codec = track.running.and_then(|pt| track.media.by_payload_type(pt));
            if codec.is_some_and(|codec| codec.pli) {
                track.key_frame.sent += 1;
                let message = rtcp::picture_loss(self.ssrc, track.streams[0].ssrc);
                self.rtcp.push_back(message);
            }
        }
    }

    pub(super) fn send_report(&mut self, now: Instant) {
        let mut blocks = Vec::new();
        for stream in self
            .tracks
            .tracks
            .iter_mut()
            .flat_map(|track| &mut track.streams)
        {
            if stream.packets > 0 {
                blocks.push(stream.reception.report(stream.ssrc, now));
            }
        }
        self.rtcp
            .push_back(rtcp::receiver_report(self.ssrc, &self.cname, &blocks));
    }
}
