//! One broadcast: the room's tracks into the program, its parts to the audience and the recording.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tracing::{Instrument, info, info_span, warn};

use super::open_room::OpenRoom;
use super::realtime::Realtime;
use super::settings;
use super::tools::Tools;
use crate::hls::{self, ClosedSegment, Live};
use crate::program::core::layout::{Arrangement, Source, arrange, card};
use crate::program::core::wire::Canvas;
use crate::program::{self, Card, Feed, InputId, InputSpec, Layout, Program};
use crate::room::{
    BroadcastId, Codec, Command, MediaKind, ParticipantId, Session, Stage, TrackNumber, Transition,
};
use crate::rtc::core::TrackInfo;
use crate::rtc::roster;
use crate::vod;

/// A track that is to be part of the program: whose, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub participant: ParticipantId,
    pub session: Session,
    pub info: TrackInfo,
}

/// Someone who is part of the program, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub participant: ParticipantId,
    pub name: String,
    /// Shown large where the layout has a large place.
    pub is_featured: bool,
    /// They have a camera, or sound alone: then a card stands for the picture.
    pub is_seen: bool,
    /// What they send now, and is to be seen or heard.
    pub tracks: Vec<(TrackKey, Staged)>,
}

/// How long pictures take to move to their places.
const ANIMATION: Duration = Duration::from_millis(300);

/// The child waits no longer for a picture, and takes this long to change.
const STAY: Duration = Duration::from_millis(1200);

/// A place on the canvas is of a participant's camera, or of their screen.
type Place = (ParticipantId, bool);

/// Which track of which connection.
pub type TrackKey = (Session, TrackNumber);

/// The room's hold on its broadcast; the work is a task's.
pub struct Broadcast {
    pub id: BroadcastId,
    pub started_at: DateTime<Utc>,
    live: Arc<Live>,
    program: Program,
    /// The program's tracks, for who plays it by WHEP.
    tracks: roster::Program,
    feed: Feed,
    is_shed: Arc<AtomicBool>,
    inputs: BTreeMap<TrackKey, (InputId, Staged)>,
    next_input: u32,
    layouts: Arc<[Layout]>,
    arrangement: Arrangement<Place>,
    shown: BTreeSet<TrackKey>,
    /// What is not to be seen any more, and goes on until what is to be seen instead is there.
    stays: BTreeMap<TrackKey, Instant>,
}

impl Broadcast {
    pub fn start(id: BroadcastId, room: Arc<OpenRoom>, tools: &Arc<Tools>) -> Self {
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
        let feed = program.feed();
        let realtime = Realtime::start(&tools.rtc, room.id().as_str(), ladder, feed.clone(), epoch);
        let tracks = realtime.program();
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
        let inputs = BTreeMap::new();
        Self {
            id,
            started_at,
            live,
            program,
            tracks,
            feed,
            is_shed,
            inputs,
            next_input: 0,
            layouts: tools.program.layouts.clone(),
            arrangement: Arrangement::default(),
            shown: BTreeSet::new(),
            stays: BTreeMap::new(),
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

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Makes the program what is on stage, in the order of the stage, by this layout.
    pub fn put_on_stage(&mut self, cast: &[Member], stage: &Stage) {
        let cast = if stage.slate().is_some() { &[] } else { cast };
        let layout = stage.layout();
        let layouts = self.layouts.clone();
        let named = layouts.iter().find(|known| known.name == layout);
        let Some(layout) = named.or(layouts.first()) else {
            return;
        };
        let pictures: BTreeMap<Place, TrackKey> = cast.iter().flat_map(pictures).collect();
        let sources: Vec<Source<Place>> = cast
            .iter()
            .flat_map(|member| [(member, false), (member, true)])
            .map(|(member, is_screen)| (member, (member.participant, is_screen)))
            .filter(|(member, place)| pictures.contains_key(place) || (member.is_seen && !place.1))
            .map(|(member, place)| Source {
                key: place,
                is_screen: place.1,
                is_featured: member.is_featured,
            })
            .collect();
        let canvas_px = self.feed.canvas_px();
        self.arrangement = arrange(layout, &sources, canvas_px, &self.arrangement);
        let placed = self.arrangement.placed.iter();
        let shown: BTreeSet<TrackKey> = placed
            .filter_map(|placed| pictures.get(&placed.key).copied())
            .collect();
        let now = Instant::now();
        self.stays
            .retain(|key, until| *until > now && !shown.contains(key));
        let hidden = self.shown.difference(&shown);
        self.stays.extend(hidden.map(|key| (*key, now + STAY)));
        // Who is not to be seen now may be a moment later, without waiting for a key frame, where a
        // small layer makes that cheap; else what is not to be seen is not decoded.
        let is_wanted = |(key, staged): &&(TrackKey, Staged)| {
            let is_sound = staged.info.kind == MediaKind::Audio;
            let is_seen = shown.contains(key) || self.stays.contains_key(key);
            is_sound || is_seen || staged.info.layers > 1
        };
        let tracks = cast.iter().flat_map(|member| &member.tracks);
        let wanted: Vec<&(TrackKey, Staged)> = tracks.filter(is_wanted).collect();
        self.set_inputs(&wanted);
        self.shown = shown;
        let mut canvas = self.canvas(cast, layout, &pictures);
        if let Some(slate) = stage.slate() {
            canvas.cards.push(card::slate(slate, self.feed.canvas_px()));
        }
        canvas.copied = self.whole(&canvas).filter(|_| stage.passthrough());
        canvas.transition = match stage.transition() {
            Transition::Cut => Duration::ZERO,
            Transition::Animate => ANIMATION,
        };
        let specs = self.inputs.values();
        let specs = specs.map(|(id, staged)| (*id, spec(*id, staged)));
        self.feed.compose(specs.collect(), canvas);
    }

    /// Whether something has gone on for long enough.
    pub fn has_stayed(&self, now: Instant) -> bool {
        self.stays.values().any(|until| *until <= now)
    }

    /// The next time, nobody keeps the place of before.
    pub fn arrange_anew(&mut self) {
        self.arrangement = Arrangement::default();
    }

    fn set_inputs(&mut self, wanted: &[&(TrackKey, Staged)]) {
        let is_wanted =
            |key: &TrackKey, now: &Staged| wanted.iter().any(|(k, w)| k == key && w == now);
        self.inputs.retain(|key, (_, now)| is_wanted(key, now));
        for (key, staged) in wanted {
            if self.inputs.contains_key(key) {
                continue;
            }
            let input = InputId(self.next_input);
            self.next_input += 1;
            self.inputs.insert(*key, (input, staged.clone()));
        }
    }

    /// What stands where.
    fn canvas(
        &self,
        cast: &[Member],
        layout: &Layout,
        pictures: &BTreeMap<Place, TrackKey>,
    ) -> Canvas {
        let canvas_px = self.feed.canvas_px();
        let mut canvas = Canvas {
            background: layout.background,
            ..Canvas::default()
        };
        let backdrop = layout.backdrop.clone().map(Card::Backdrop);
        let backdrop = backdrop.map(|backdrop| card::whole(backdrop, canvas_px));
        canvas.cards.extend(backdrop);
        let is_alone = self.arrangement.placed.len() < 2;
        for placed in &self.arrangement.placed {
            let (participant, is_screen) = placed.key;
            let mut members = cast.iter();
            let Some(member) = members.find(|member| member.participant == participant) else {
                continue;
            };
            match pictures.get(&placed.key).and_then(|key| self.input(*key)) {
                Some(input) => canvas.tiles.push((input, placed.tile)),
                None => {
                    let initials = Card::Initials(card::initials(&member.name));
                    canvas.cards.push((initials, placed.tile));
                }
            }
            // Of one alone everybody knows the name.
            if layout.names && !is_alone && !is_screen {
                let name = card::name(&member.name, &placed.tile, canvas_px);
                canvas.cards.extend(name);
            }
        }
        canvas
    }

    /// The H.264 picture that is all there is to be seen.
    fn whole(&self, canvas: &Canvas) -> Option<InputId> {
        let input = canvas.whole(self.feed.canvas_px())?;
        let mut inputs = self.inputs.values();
        let (_, staged) = inputs.find(|(id, _)| *id == input)?;
        (staged.info.codec == Codec::H264).then_some(input)
    }

    /// The height at which a track's picture is shown, in pixels of the canvas; 0 when it is not.
    pub fn shown_px(&self, key: TrackKey) -> u32 {
        let Some((_, staged)) = self.inputs.get(&key) else {
            return 0;
        };
        let place = (staged.participant, staged.info.is_screen);
        let mut placed = self.arrangement.placed.iter();
        let placed = placed.find(|placed| placed.key == place);
        placed.map_or(0, |placed| placed.tile.height_px)
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

fn spec(id: InputId, staged: &Staged) -> InputSpec {
    InputSpec {
        id,
        group: staged.session.0,
        codec: staged.info.codec,
        payload_type: staged.info.payload_type,
        clock_rate: staged.info.clock_rate,
        fmtp: staged.info.fmtp.clone(),
    }
}

/// The pictures that someone sends.
fn pictures(member: &Member) -> impl Iterator<Item = (Place, TrackKey)> {
    let videos = member.tracks.iter();
    let videos = videos.filter(|(_, staged)| staged.info.kind == MediaKind::Video);
    videos.map(|(key, staged)| ((member.participant, staged.info.is_screen), *key))
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
                    self.tools.costs.measure(self.id, cpu, time);
                }
                program::Event::Shed(is_shed) => self.shed(is_shed),
                program::Event::KeyFrameWanted { input } => self.room.request_key_frame(input),
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
        self.tools.costs.end(self.id);
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
