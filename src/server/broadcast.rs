//! One broadcast: the room's tracks into the program, its parts to the audience and the recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tracing::{Instrument, info, info_span, warn};

use super::composition::Composition;
use super::costs::Costly;
use super::open_room::OpenRoom;
use super::realtime::Realtime;
use super::room_state::Bus;
use super::settings;
use super::tools::Tools;
use crate::control::events::Happened;
use crate::control::views::{BroadcastStats, RenditionStats};
use crate::hls::{self, ClosedSegment, Live};
use crate::program::core::ladder::Ladder;
use crate::program::{self, Program};
use crate::room::{self, BroadcastId, Command};
use crate::rtc::roster;
use crate::vod;

/// The room's hold on its broadcast; the work is a task's.
pub struct Broadcast {
    pub id: BroadcastId,
    pub started_at: DateTime<Utc>,
    live: Arc<Live>,
    program: Program,
    /// The program's tracks, for who plays it by WHEP.
    tracks: roster::Program,
    is_shed: Arc<AtomicBool>,
    composition: Composition,
    /// Who plays it by WHEP.
    players: Arc<AtomicUsize>,
    ladder: Ladder,
}

impl Broadcast {
    /// Into a recording, where the server makes any and the room's settings say so.
    pub fn start(
        id: BroadcastId,
        settings_of_room: &room::Settings,
        room: Arc<OpenRoom>,
        tools: &Arc<Tools>,
    ) -> Self {
        let started_at = Utc::now();
        let epoch = program::Epoch::for_start_now(tools.program.segment);
        let asked = settings_of_room.ladder.as_ref();
        let asked = asked.and_then(|name| tools.ladders.get(name));
        let ladder = asked.unwrap_or(&tools.program.ladder);
        let settings_of_program = program::ProgramSettings {
            ladder: ladder.clone(),
            ..tools.program.clone()
        };
        let live = Arc::new(Live::new(
            tools.hls.clone(),
            id,
            epoch.wall.into(),
            settings::hls_renditions(ladder),
        ));
        let archive = tools.archive.as_ref().filter(|_| settings_of_room.record);
        let recorder = archive.map(|archive| {
            archive.record(vod::RecordingInfo {
                id,
                room: room.id().clone(),
                started_at,
                private: settings_of_room.private,
                keep_for: settings_of_room.keep_for,
                renditions: settings::vod_renditions(ladder),
            })
        });
        let (program, events) = {
            let span = info_span!("program", room = %room.id(), id = %id);
            span.in_scope(|| Program::start(settings_of_program, epoch))
        };
        let feed = program.feed();
        let composition = Composition::new(feed.clone(), tools.program.layouts.clone());
        let realtime = Realtime::start(&tools.rtc, room.id().as_str(), ladder, feed, epoch);
        let (tracks, players) = (realtime.program(), realtime.players());
        let is_shed: Arc<AtomicBool> = Arc::default();
        let work = Work {
            id,
            is_shed: is_shed.clone(),
            tools: tools.clone(),
            room: room.clone(),
            live: live.clone(),
            recorder,
            realtime,
            epoch,
        };
        let span = info_span!("broadcast", room = %room.id(), id = %id);
        tools.broadcasts.spawn(work.run(events).instrument(span));
        Self {
            id,
            started_at,
            live,
            program,
            tracks,
            is_shed,
            composition,
            players,
            ladder: ladder.clone(),
        }
    }

    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    pub fn stats(&self, tools: &Tools) -> BroadcastStats {
        let renditions = self.live.bitrates().into_iter();
        let renditions = renditions.map(|(name, bitrate_bps)| RenditionStats { name, bitrate_bps });
        let lasts = Utc::now() - self.started_at;
        BroadcastStats {
            id: self.id,
            duration_s: lasts.as_seconds_f64().max(0.0),
            shed: self.is_shed(),
            cores: tools.costs.of(Costly::Broadcast(self.id)),
            hls_viewers: self.live.viewers(),
            whep_viewers: self.players.load(Ordering::Relaxed),
            renditions: renditions.collect(),
        }
    }

    pub fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// The program's tracks, for who plays it by WHEP.
    pub fn program(&self) -> roster::Program {
        self.tracks.clone()
    }

    /// The largest rendition shows the next smaller one, for the machine is too busy for both.
    pub fn is_shed(&self) -> bool {
        self.is_shed.load(Ordering::Relaxed)
    }

    /// Lets the program end; its task does the rest.
    pub fn stop(self) {
        self.program.stop();
    }

    pub fn composition(&self) -> &Composition {
        &self.composition
    }

    pub fn composition_mut(&mut self) -> &mut Composition {
        &mut self.composition
    }
}

/// What the broadcast's task holds.
struct Work {
    id: BroadcastId,
    is_shed: Arc<AtomicBool>,
    tools: Arc<Tools>,
    room: Arc<OpenRoom>,
    live: Arc<Live>,
    recorder: Option<vod::Recorder>,
    realtime: Realtime,
    epoch: program::Epoch,
}

impl Work {
    async fn run(mut self, mut events: mpsc::Receiver<program::Event>) {
        while let Some(event) = events.recv().await {
            match event {
                program::Event::Init { rendition, bytes } => self.init(&rendition, bytes),
                program::Event::Part(part) => self.part(part),
                program::Event::Rtp { rendition, packets } => {
                    self.realtime.frame(&rendition, packets);
                }
                program::Event::Delays { stage, delays } => {
                    let of_stage =
                        metrics::histogram!(crate::metrics::STAGE_DELAY, "stage" => stage.name());
                    delays.iter().for_each(|delay| of_stage.record(*delay));
                }
                program::Event::Load(load) => {
                    metrics::counter!(crate::metrics::FRAMES).increment(load.frames);
                    metrics::counter!(crate::metrics::FRAMES_DROPPED)
                        .increment(load.dropped_frames);
                    metrics::counter!(crate::metrics::PACKETS_LATE).increment(load.late_packets);
                }
                program::Event::Skew(delay) => {
                    metrics::histogram!(crate::metrics::LIP_SYNC).record(delay);
                }
                program::Event::Cost { cpu, time } => {
                    self.tools
                        .costs
                        .measure(Costly::Broadcast(self.id), cpu, time);
                }
                program::Event::Shed(is_shed) => self.shed(is_shed),
                program::Event::KeyFrameWanted { input } => {
                    self.room.request_key_frame(Bus::Program, input);
                }
                program::Event::KeptOut { input } => {
                    metrics::counter!(crate::metrics::INPUTS_KEPT_OUT).increment(1);
                    self.room.keep_out(input);
                }
                program::Event::Restarted => {
                    metrics::counter!(crate::metrics::PROGRAM_RESTARTS).increment(1);
                    self.realtime.restarted();
                    self.shed(false);
                    let closed = self.live.discontinuity();
                    self.record(closed);
                }
                program::Event::Ended { reason } => {
                    info!(reason, "the program ended");
                    break;
                }
            }
        }
        self.shed(false);
        self.tools.costs.end(Costly::Broadcast(self.id));
        let closed = self.live.end();
        self.record(closed);
        // Ended by itself, the room does not know yet.
        self.room.tell(Command::BroadcastFailed(self.id));
        let playable = match self.recorder {
            Some(recorder) => recorder.finish().await,
            None => false,
        };
        self.room.broadcast_ended(playable.then_some(self.id));
    }

    fn shed(&self, is_shed: bool) {
        if self.is_shed.swap(is_shed, Ordering::Relaxed) == is_shed {
            return;
        }
        let happened = Happened::BroadcastShed {
            broadcast: self.id,
            shed: is_shed,
        };
        self.tools.news.tell(self.room.id(), happened);
        let broadcasts = metrics::gauge!(crate::metrics::SHED);
        match is_shed {
            true => broadcasts.increment(1.0),
            false => broadcasts.decrement(1.0),
        }
    }

    fn init(&mut self, rendition: &str, bytes: bytes::Bytes) {
        match self.live.push_init(hls::Init {
            rendition: rendition.into(),
            bytes: bytes.clone(),
        }) {
            Ok(taken) => {
                if let Some(recorder) = self.recorder.as_ref().filter(|_| taken.new) {
                    recorder.init(rendition, taken.number, bytes);
                }
            }
            Err(refused) => warn!(%refused, rendition, "an init segment is left out"),
        }
    }

    fn part(&mut self, part: program::Part) {
        let rendition: Arc<str> = part.rendition.into();
        let end = part.decode_time + part.duration;
        match self.live.push_part(hls::Part {
            rendition: rendition.clone(),
            decode_time: part.decode_time,
            duration: part.duration,
            independent: part.independent,
            segment: part.segment,
            ends_segment: part.ends_segment,
            discontinuity: part.discontinuity,
            bytes: part.bytes,
        }) {
            Ok(closed) => {
                let delay = self.epoch.running_time(Instant::now()).saturating_sub(end);
                metrics::histogram!(crate::metrics::PART_DELAY, "rendition" => rendition.to_string())
                    .record(delay);
                metrics::counter!(crate::metrics::PARTS, "rendition" => rendition.to_string())
                    .increment(1);
                self.record(closed);
            }
            Err(refused) => warn!(
                %refused,
                %rendition,
                at = ?part.decode_time,
                duration = ?part.duration,
                "a part is left out"
            ),
        }
    }

    fn record(&self, closed: Vec<ClosedSegment>) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        for segment in closed {
            metrics::counter!(crate::metrics::SEGMENTS_RECORDED).increment(1);
            recorder.segment(vod::Segment {
                rendition: segment.rendition.to_string(),
                msn: segment.msn,
                init: segment.init,
                decode_time: segment.decode_time,
                duration: segment.duration,
                discontinuity: segment.discontinuity,
                program_date_time: segment.program_date_time,
                bytes: segment.parts,
            });
        }
    }
}
