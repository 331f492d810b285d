//! One broadcast: the room's tracks into the program, its parts to the audience and the recording.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tracing::{Instrument, info, info_span, warn};

use super::open_room::OpenRoom;
use super::settings;
use super::tools::Tools;
use crate::hls::{self, ClosedSegment, Live};
use crate::program::{self, Feed, InputId, InputSpec, Program};
use crate::room::{BroadcastId, Command, MediaKind, ParticipantId, Session, TrackNumber};
use crate::rtc::core::TrackInfo;
use crate::vod;

/// A track that is to be part of the program: whose, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub participant: ParticipantId,
    pub session: Session,
    pub info: TrackInfo,
}

/// Which track of which connection.
pub type TrackKey = (Session, TrackNumber);

/// The room's hold on its broadcast; the work is a task's.
pub struct Broadcast {
    pub id: BroadcastId,
    pub started_at: DateTime<Utc>,
    live: Arc<Live>,
    program: Program,
    feed: Feed,
    inputs: BTreeMap<TrackKey, (InputId, Staged)>,
    next_input: u32,
}

impl Broadcast {
    pub fn start(id: BroadcastId, room: Arc<OpenRoom>, tools: &Tools) -> Self {
        let started_at = Utc::now();
        let epoch = program::Epoch::for_start_now(tools.program.segment);
        let ladder = &tools.program.ladder;
        let live = Arc::new(Live::new(
            tools.hls.clone(),
            id,
            epoch.wall.into(),
            settings::hls_renditions(ladder),
        ));
        let recorder = tools.archive.as_ref().map(|archive| {
            archive.record(vod::RecordingInfo {
                id,
                room: room.id().clone(),
                started_at,
                renditions: settings::vod_renditions(ladder),
            })
        });
        let (program, events) = {
            let span = info_span!("program", room = %room.id(), id = %id);
            span.in_scope(|| Program::start(tools.program.clone(), epoch))
        };
        let work = Work {
            id,
            room: room.clone(),
            live: live.clone(),
            recorder,
            epoch,
        };
        let span = info_span!("broadcast", room = %room.id(), id = %id);
        tools.broadcasts.spawn(work.run(events).instrument(span));
        let feed = program.feed();
        let inputs = BTreeMap::new();
        Self {
            id,
            started_at,
            live,
            program,
            feed,
            inputs,
            next_input: 0,
        }
    }

    pub fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// Lets the program end; its task does the rest.
    pub fn stop(self) {
        self.program.stop();
    }

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Makes the program's inputs those that are `wanted`, in the order of the stage.
    pub fn put_on_stage(&mut self, wanted: &[(TrackKey, Staged)]) {
        let gone: Vec<TrackKey> = self
            .inputs
            .iter()
            .filter(|(key, (_, now))| !wanted.iter().any(|(k, w)| k == *key && w == now))
            .map(|(key, _)| *key)
            .collect();
        let mut changed = !gone.is_empty();
        for key in gone {
            if let Some((input, _)) = self.inputs.remove(&key) {
                self.feed.remove_input(input);
            }
        }
        for (key, staged) in wanted {
            if self.inputs.contains_key(key) {
                continue;
            }
            let input = InputId(self.next_input);
            self.next_input += 1;
            self.feed.add_input(InputSpec {
                id: input,
                group: staged.session.0,
                codec: staged.info.codec,
                payload_type: staged.info.payload_type,
                clock_rate: staged.info.clock_rate,
                fmtp: staged.info.fmtp.clone(),
            });
            self.inputs.insert(*key, (input, staged.clone()));
            changed = true;
        }
        if changed {
            let videos: Vec<_> = wanted
                .iter()
                .filter(|(_, staged)| staged.info.kind == MediaKind::Video)
                .filter_map(|(key, _)| self.inputs.get(key).map(|(input, _)| *input))
                .collect();
            self.feed.layout(&videos);
        }
    }

    /// The program's name for a track.
    pub fn input(&self, key: TrackKey) -> Option<InputId> {
        self.inputs.get(&key).map(|(input, _)| *input)
    }

    /// The track behind an input.
    pub fn track(&self, input: InputId) -> Option<TrackKey> {
        self.inputs
            .iter()
            .find(|(_, (id, _))| *id == input)
            .map(|(key, _)| *key)
    }
}

/// What the broadcast's task holds.
struct Work {
    id: BroadcastId,
    room: Arc<OpenRoom>,
    live: Arc<Live>,
    recorder: Option<vod::Recorder>,
    epoch: program::Epoch,
}

impl Work {
    async fn run(mut self, mut events: mpsc::Receiver<program::Event>) {
        while let Some(event) = events.recv().await {
            match event {
                program::Event::Init { rendition, bytes } => self.init(&rendition, bytes),
                program::Event::Part {
                    rendition,
                    decode_time,
                    duration,
                    independent,
                    segment_start,
                    bytes,
                } => {
                    self.part(hls::Part {
                        rendition: rendition.into(),
                        decode_time,
                        duration,
                        independent,
                        segment_start,
                        bytes,
                    });
                }
                program::Event::KeyFrameWanted { input } => self.room.request_key_frame(input),
                program::Event::Restarted => {
                    metrics::counter!(crate::metrics::PROGRAM_RESTARTS).increment(1);
                    let closed = self.live.discontinuity();
                    self.record(closed);
                }
                program::Event::Ended { reason } => {
                    info!(reason, "the program ended");
                    break;
                }
            }
        }
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

    fn init(&mut self, rendition: &str, bytes: bytes::Bytes) {
        match self.live.push_init(hls::Init {
            rendition: rendition.into(),
            bytes: bytes.clone(),
        }) {
            Ok(taken) => {
                self.record(taken.closed);
                if let Some(recorder) = self.recorder.as_ref().filter(|_| taken.new) {
                    recorder.init(rendition, taken.number, bytes);
                }
            }
            Err(refused) => warn!(%refused, rendition, "an init segment is left out"),
        }
    }

    fn part(&mut self, part: hls::Part) {
        let rendition = part.rendition.clone();
        let end = part.decode_time + part.duration;
        match self.live.push_part(part) {
            Ok(closed) => {
                let delay = self.epoch.running_time(Instant::now()).saturating_sub(end);
                metrics::histogram!(crate::metrics::PART_DELAY, "rendition" => rendition.to_string())
                    .record(delay);
                metrics::counter!(crate::metrics::PARTS, "rendition" => rendition.to_string())
                    .increment(1);
                self.record(closed);
            }
            Err(refused) => warn!(%refused, %rendition, "a part is left out"),
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
