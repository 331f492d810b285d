//! What the receiver tells the sender: which packets to send again, when a key frame is needed,
//! and how the network did.

use std::time::{Duration, Instant};

use super::{Output, Receiver};
use crate::room::MediaKind;
use crate::rtc::core::receive::tracks::{NO_LEVEL, SILENCE};
use crate::rtc::core::rtcp;
use crate::rtc::core::sink::{Event, TrackId};

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
            stream.key_frame.wanted |= gave_up && track.media.kind == MediaKind::Video;
        }
    }

    pub(super) fn send_key_frame_requests(&mut self, now: Instant) {
        for track in &mut self.tracks.tracks {
            let codec = track.running.and_then(|pt| track.media.by_payload_type(pt));
            let can_be_asked = codec.is_some_and(|codec| codec.pli);
            for stream in &mut track.streams {
                let throttled = stream.key_frame_due().is_some_and(|due| due > now);
                if !stream.key_frame.wanted || throttled || stream.ssrc == 0 {
                    continue;
                }
                stream.key_frame.wanted = false;
                stream.key_frame.asked = Some(now);
                if can_be_asked {
                    stream.key_frame.sent += 1;
                    let message = rtcp::picture_loss(self.ssrc, stream.ssrc);
                    self.rtcp.push_back(message);
                }
            }
        }
    }

    /// What subscribers choose from.
    pub(super) fn tell_layers(&mut self, now: Instant) {
        for track in &mut self.tracks.tracks {
            if track.running.is_some() {
                let layers = track.layers(now);
                let event = Event::Layers(TrackId(track.media.index), layers);
                self.outputs.push_back(Output::Event(event));
            }
        }
    }

    pub(super) fn tell_levels(&mut self) {
        for track in &mut self.tracks.tracks {
            if track.loudest <= SILENCE {
                let level = std::mem::replace(&mut track.loudest, NO_LEVEL);
                let event = Event::AudioLevel(TrackId(track.media.index), level);
                self.outputs.push_back(Output::Event(event));
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
