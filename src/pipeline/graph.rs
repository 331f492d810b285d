//! The media graph: a canvas and a mix that never stop, and the ladder behind them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;

use super::card::CardBranch;
use super::colours;
use super::delays::Delays;
use super::input::{self, Around, Branch};
use super::load::{Counted, MAX_WAITING};
use super::motion::Transition;
use super::muxing::{MUXER, Muxing};
use super::parts;
use super::rtp::{self, Payloaded};
use super::run::Outbox;
use super::scale;
use super::splice::Splicing;
use crate::program::core::detail::Detail;
use crate::program::core::grid::Grid;
use crate::program::core::ladder::VideoRendition;
use crate::program::core::layout::{Card, Tile};
use crate::program::core::lip_sync::{LipSync, Report};
use crate::program::core::patience::Patience;
use crate::program::core::shedding::Shedding;
use crate::program::core::splice::Source;
use crate::program::core::wire::{Canvas, FromChild, InputId, InputSpec, Load, Stage, Start};
use crate::room::MediaKind;

/// How long the mixers wait for an input that is late: its jitter buffer, and decoding. What is early
/// waits there as long.
const MIX_LATENCY: gst::ClockTime = gst::ClockTime::from_mseconds(input::JITTER_MS as u64 + 40);
/// A picture that is to be seen is waited for so long: a key frame of it, asked for anew.
const SHOWN_WITHIN: Duration = Duration::from_millis(700);
/// How often late packets are counted, and the parent is told of delays.
const MEASURE_EVERY: Duration = Duration::from_millis(500);
/// What the encoders still hold is given this long to come out at the end.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// Sound whose times are off by more, for a second, is moved: a part of what an ear tells apart from
/// its picture.
const MIX_ALIGNMENT: gst::ClockTime = gst::ClockTime::from_mseconds(8);
/// A picture or sound that is so much ahead says that something is wrong with its publisher.
const NOTABLE_DELAY: Duration = Duration::from_millis(150);
const AUDIO_RATE: i64 = 48_000;
/// By so much sound was later than its picture at the viewer, with a page's clock and beep and with
/// those of `amphi publish` (VP8) alike: decoders and resamplers begin with some silence too.
const SOUND_LATE_NS: i64 = 20_000_000;
/// Of the sum of all voices, which may be louder than any of them: the limiter makes it fit.
const MIX_CAPS: &str = "audio/x-raw,format=F32LE,layout=interleaved,rate=48000,channels=2";
/// Of the mixed sound.
const AUDIO_CAPS: &str = "audio/x-raw,format=S16LE,layout=interleaved,rate=48000,channels=2";

pub struct Graph {
    pipeline: gst::Pipeline,
    compositor: gst::Element,
    audio_mixer: gst::Element,
    inputs: BTreeMap<InputId, Branch>,
    lip_sync: LipSync,
    /// By group of inputs.
    patience: BTreeMap<u64, Patience>,
    measure_due: Option<Instant>,
    tiles: Vec<(InputId, Tile)>,
    /// What is to be seen as soon as it is there.
    next: Option<Next>,
    /// Inputs to remove when the last change is over.
    leaving: Vec<InputId>,
    last_change: Option<Change>,
    position: Arc<Mutex<gst::ClockTime>>,
    cards: Vec<CardBranch>,
    /// As 0xRRGGBB.
    background: Arc<AtomicU32>,
    canvas_px: (u32, u32),
    /// By rendition.
    payloaded: BTreeMap<String, Payloaded>,
    /// The rendition that may be copied, and the next smaller one.
    top: String,
    smaller: Option<String>,
    splicing: Splicing,
    /// Before each encoder.
    queues: Vec<Counted>,
    /// Of all inputs that are there, as it was told.
    late_packets: u64,
    shedding: Shedding,
    auto_gain: bool,
    /// What the parent was told of an overload.
    is_overload_told: bool,
    detail: Option<Detail>,
    /// The largest rendition is copied from the next smaller one.
    is_shed: bool,
    delays: Delays,
    outbox: Outbox,
}

/// A change that may still be going on.
struct Change {
    ends: Instant,
    /// Pictures that it takes away.
    hides: Vec<InputId>,
}

struct Next {
    canvas: Canvas,
    at_latest: Instant,
}

impl Graph {
    /// Builds everything but the inputs.
    pub fn new(start: &Start, outbox: Outbox) -> anyhow::Result<Self> {
        let pipeline = gst::parse::launch(&description(start)?)
            .context("the graph cannot be built; is a GStreamer plugin missing, or an encoder's setting wrong?")?
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow::anyhow!("the description is no pipeline"))?;
        let find = |name: &str| {
            pipeline
                .by_name(name)
                .with_context(|| format!("no element {name}"))
        };
        let (compositor, audio_mixer) = (find("canvas")?, find("mix")?);
        for mixer in [&compositor, &audio_mixer] {
            input::hide_latency(&mixer.static_pad("sink_0").context("no first pad")?)?;
        }

        // So that it is heard with the picture it was spoken to.
        let aac = find("aac")?.static_pad("src").context("no source pad")?;
        aac.set_offset(-AudioEncoder::find().delay_ns() - SOUND_LATE_NS);

        let position = note_position(&find("program")?)?;
        let grid = Arc::new(Mutex::new(Grid::new(start.segment, start.part)));
        parts::note_begin(&find("program")?, MediaKind::Video, &grid)?;
        parts::note_begin(&find("sound")?, MediaKind::Audio, &grid)?;
        parts::force_key_frames(&find("program")?, &grid)?;
        let ladder = &start.ladder;
        let cuts = parts::split(&find("cut-sound")?, &grid, None)?;
        let sound = &ladder.audio.name;
        parts::collect(&find("out-sound")?, sound, cuts, outbox.clone(), || ())?;
        let top = ladder.video.first().context("a ladder without video")?;
        let frame = ladder.frame();
        let splicing = Splicing::new(top, frame, grid.clone(), outbox.clone());
        let mut queues = Vec::new();
        for (nth, video) in ladder.video.iter().enumerate() {
            let name = &video.name;
            let tee = find(&format!("coded-{name}"))?;
            let muxing = Muxing::new(&pipeline, &tee, name, frame, grid.clone(), outbox.clone())?;
            let queue = find(&format!("to-{name}"))?;
            // Before the splice, which takes frames out.
            queues.push(Counted::new(queue.clone())?);
            match nth {
                0 => splicing.watch_canvas(&queue, &tee, muxing)?,
                1 => splicing.watch_smaller(&tee)?,
                _ => {}
            }
        }
        let delays = Delays::default();
        let sink = |element: &gst::Element| element.static_pad("sink").context("no sink pad");
        delays.watch(&sink(&find("program")?)?, Stage::Mixed)?;
        for video in &ladder.video {
            let coded = find(&format!("coded-{}", video.name))?;
            delays.watch(&sink(&coded)?, Stage::Encoded)?;
        }
        let names = ladder.video.iter().map(|video| (&video.name, true));
        let names = names.chain([(&ladder.audio.name, false)]);
        let payloaded = names
            .map(|(name, is_video)| {
                let payloaded = Payloaded::new(&pipeline, name, is_video, outbox.clone())?;
                Ok((name.clone(), payloaded))
            })
            .collect::<anyhow::Result<_>>()?;
        let background = paint_with(&find("beat")?)?;
        let (inputs, tiles) = (BTreeMap::new(), Vec::new());
        Ok(Self {
            pipeline,
            compositor,
            audio_mixer,
            inputs,
            lip_sync: LipSync::default(),
            patience: BTreeMap::new(),
            measure_due: None,
            tiles,
            next: None,
            leaving: Vec::new(),
            last_change: None,
            position,
            cards: Vec::new(),
            background,
            canvas_px: ladder.canvas_px(),
            payloaded,
            top: top.name.clone(),
            smaller: ladder.video.get(1).map(|video| video.name.clone()),
            splicing,
            queues,
            late_packets: 0,
            shedding: Shedding::new(ladder.fps, Instant::now()),
            is_overload_told: false,
            detail: ladder.video.get(1).map(|smaller| {
                Detail::new(ladder.canvas_px(), (smaller.width_px, smaller.height_px))
            }),
            is_shed: false,
            auto_gain: start.auto_gain,
            delays,
            outbox,
        })
    }

    pub fn bus(&self) -> gst::Bus {
        self.pipeline.bus().unwrap_or_default()
    }

    /// Runs on the machine's monotonic clock. With the base time of the child before, running
    /// time goes on where it was.
    pub fn play(&self, base_time: Duration) -> anyhow::Result<()> {
        let clock = gst::SystemClock::obtain();
        self.pipeline.use_clock(Some(&clock));
        self.pipeline.set_start_time(gst::ClockTime::NONE);
        let base_time = gst::ClockTime::try_from(base_time).context("the base time")?;
        self.pipeline.set_base_time(base_time);
        self.pipeline
            .set_state(gst::State::Playing)
            .context("the graph does not start")?;
        Ok(())
    }

    pub fn add_input(&mut self, spec: &InputSpec) -> anyhow::Result<()> {
        self.take_away(spec.id);
        let mixer = match spec.codec.kind() {
            MediaKind::Video => &self.compositor,
            MediaKind::Audio => &self.audio_mixer,
        };
        // An input that this machine cannot decode is no reason to end the program.
        let outbox = self.outbox.clone();
        let around = Around {
            pipeline: &self.pipeline,
            mixer,
            delays: &self.delays,
            splicing: &self.splicing,
            auto_gain: self.auto_gain,
        };
        match Branch::new(spec, &around, outbox) {
            Ok(branch) => {
                self.lip_sync.add(spec);
                self.inputs.insert(spec.id, branch);
            }
            Err(error) => eprintln!("input {:?} is left out: {error:#}", spec.id),
        }
        Ok(())
    }

    /// Now, or when it has made room for what is to be seen instead.
    pub fn remove_input(&mut self, id: InputId) {
        let is_seen = self.tiles.iter().any(|(input, _)| *input == id);
        let goes = |change: &Change| change.hides.contains(&id);
        let is_going = self.last_change.as_ref().is_some_and(goes);
        match self.inputs.get(&id) {
            Some(branch) if is_going || (is_seen && self.next.is_some()) => {
                self.splicing.forbid(id);
                branch.freeze();
                self.leaving.push(id);
            }
            _ => self.take_away(id),
        }
    }

    fn take_away(&mut self, id: InputId) {
        self.splicing.forbid(id);
        self.leaving.retain(|leaving| *leaving != id);
        if let Some(branch) = self.inputs.remove(&id) {
            branch.remove(&self.pipeline);
            self.lip_sync.remove(id);
        }
    }

    /// As soon as all of it is there: until then the audience sees what was there before, not a
    /// hole. A picture that does not come in time is not waited for.
    pub fn show(&mut self, canvas: Canvas) -> anyhow::Result<()> {
        let is_first = self.tiles.is_empty() && self.cards.is_empty();
        let before = self.next.take().map(|next| next.at_latest);
        let at_latest = before.unwrap_or_else(|| Instant::now() + SHOWN_WITHIN);
        if is_first || self.is_there(&canvas) {
            return self.change(canvas);
        }
        self.next = Some(Next { canvas, at_latest });
        Ok(())
    }

    /// Shows what is due; called often.
    pub fn handle_time(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        if self.measure_due.is_none_or(|due| due <= now) {
            self.measure_due = Some(now + MEASURE_EVERY);
            self.weigh_patience(now);
            self.inputs.values().for_each(Branch::ask_again);
            self.delays.tell(&self.outbox);
            self.weigh_load(now);
        }
        if self.next.is_none() && self.last_change.as_ref().is_none_or(|c| c.ends <= now) {
            self.last_change = None;
            for id in std::mem::take(&mut self.leaving) {
                self.take_away(id);
            }
        }
        let is_due = |next: &Next| Instant::now() >= next.at_latest || self.is_there(&next.canvas);
        if self.next.as_ref().is_some_and(is_due)
            && let Some(Next { canvas, .. }) = self.next.take()
        {
            self.change(canvas)?;
        }
        Ok(())
    }

    /// Tells what was too much, and sheds the most costly rendition if it goes on.
    fn weigh_load(&mut self, now: Instant) {
        let counts: Vec<(u64, u64)> = self.queues.iter_mut().map(Counted::take).collect();
        let frames = counts.first().map_or(0, |(frames, _)| *frames);
        let late_packets = self.inputs.values().map(Branch::late_packets).sum();
        let load = Load {
            frames,
            dropped_frames: counts.iter().map(|(_, dropped)| dropped).sum(),
            late_packets: late_packets - self.late_packets.min(late_packets),
        };
        self.late_packets = late_packets;
        let _ = self.outbox.try_send(FromChild::Load(load));
        self.shedding.handle_frames(frames, now);
        self.shed(now);
    }

    /// The largest rendition is not encoded where that is too much, or would show no more than the
    /// next smaller one.
    fn shed(&mut self, now: Instant) {
        let Some(detail) = &mut self.detail else {
            return;
        };
        let pictures = self.tiles.iter().filter_map(|(id, tile)| {
            let size = self.inputs.get(id)?.size_px()?;
            Some((size, *tile))
        });
        let has_more = self.cards.iter().any(CardBranch::is_drawn);
        let is_missing = detail.is_missing(pictures, has_more, now);
        let is_overloaded = self.shedding.is_shed();
        // What is copied from its publisher is not encoded either, and shows more.
        let wanted = (is_overloaded || is_missing) && !self.splicing.can_copy();
        if wanted != self.is_shed && self.splicing.shed(wanted) {
            self.is_shed = wanted;
        }
        let is_told = self.is_shed && is_overloaded;
        if is_told != self.is_overload_told {
            self.is_overload_told = is_told;
            let _ = self.outbox.try_send(FromChild::Shed(is_told));
        }
    }

    fn weigh_patience(&mut self, now: Instant) {
        let mut late: BTreeMap<u64, u64> = BTreeMap::new();
        for branch in self.inputs.values() {
            *late.entry(branch.group).or_default() += branch.late_packets();
        }
        self.patience.retain(|group, _| late.contains_key(group));
        for (group, late) in late {
            let patience = self.patience.entry(group).or_default();
            if patience.handle_late(late, now) {
                eprintln!(
                    "packets come late: session {group} is shown {} ms later",
                    patience.extra().as_millis()
                );
            }
        }
        for branch in self.inputs.values_mut() {
            let patience = self.patience.get(&branch.group);
            branch.wait(patience.map_or(Duration::ZERO, Patience::extra));
        }
    }

    /// Inputs that could not be made will never be.
    fn is_there(&self, canvas: &Canvas) -> bool {
        let mut inputs = canvas.tiles.iter().map(|(id, _)| self.inputs.get(id));
        inputs.all(|branch| branch.is_none_or(Branch::has_begun))
    }

    fn change(&mut self, canvas: Canvas) -> anyhow::Result<()> {
        let position = self.position.lock();
        let transition = Transition {
            begins: position.map_or(gst::ClockTime::ZERO, |position| *position),
            takes: canvas.transition,
        };
        let stays = |id: &InputId| canvas.tiles.iter().any(|(input, _)| input == id);
        let before = self.tiles.iter().map(|(id, _)| *id);
        self.last_change = Some(Change {
            hides: before.filter(|id| !stays(id)).collect(),
            // The mixers are that much behind.
            ends: Instant::now() + canvas.transition + Duration::from(MIX_LATENCY),
        });
        self.splicing.allow(canvas.copied);
        self.tiles = canvas.tiles;
        self.place(transition);
        self.lay_cards(&canvas.cards, transition);
        self.paint(canvas.background)
    }

    /// Cards that stand already are only moved.
    fn lay_cards(&mut self, cards: &[(Card, Tile)], transition: Transition) {
        let mut before = std::mem::take(&mut self.cards);
        for (card, tile) in cards {
            if let Some(at) = before.iter().position(|branch| branch.is(card, tile)) {
                let mut branch = before.swap_remove(at);
                branch.place(tile, transition);
                self.cards.push(branch);
                continue;
            }
            let (pipeline, mixer) = (&self.pipeline, &self.compositor);
            match CardBranch::new(card, tile, pipeline, mixer, transition) {
                Ok(branch) => self.cards.push(branch),
                // A name that is not shown is no reason to end the program.
                Err(error) => eprintln!("{card:?} is left out: {error:#}"),
            }
        }
        for branch in before {
            branch.remove(&self.pipeline);
        }
    }

    /// Black costs nothing: it is there by itself.
    fn paint(&self, background: u32) -> anyhow::Result<()> {
        self.background.store(background, Ordering::Relaxed);
        let pad = self
            .compositor
            .static_pad("sink_0")
            .context("no background pad")?;
        let (width, height) = match background {
            0 => (0, 0),
            _ => self.canvas_px,
        };
        pad.set_property("width", width as i32);
        pad.set_property("height", height as i32);
        Ok(())
    }

    pub fn rtp(&self, id: InputId, arrival: Duration, packet: Bytes) {
        if let Some(branch) = self.inputs.get(&id) {
            branch.push(arrival, packet);
        }
    }

    /// The program as RTP, or no longer: nobody pays for what nobody plays.
    pub fn send_rtp(&self, wanted: bool) {
        self.payloaded
            .values()
            .for_each(|payloaded| payloaded.send(wanted));
    }

    pub fn force_key_frame(&self, rendition: &str) {
        let copied = self.splicing.copied().filter(|_| rendition == self.top);
        let rendition = match copied {
            Some(Source::Publisher(input)) => {
                let _ = self.outbox.try_send(FromChild::KeyFrameWanted { input });
                return;
            }
            Some(Source::SmallerRendition) => self.smaller.as_deref(),
            None => Some(rendition),
        };
        let payloaded = rendition.and_then(|rendition| self.payloaded.get(rendition));
        if let Some(payloaded) = payloaded {
            payloaded.force_key_frame();
        }
    }

    /// Keeps an input's sound and picture together.
    pub fn sender_report(&mut self, id: InputId, report: Report) {
        let Some(seen) = self.inputs.get(&id).and_then(Branch::last_seen) else {
            return;
        };
        for (id, delay) in self.lip_sync.report(id, report, seen) {
            let _ = self.outbox.try_send(FromChild::Skew(delay));
            if delay >= NOTABLE_DELAY {
                eprintln!(
                    "{id:?} is {} ms ahead of what belongs to it, and waits",
                    delay.as_millis()
                );
            }
            if let Some(branch) = self.inputs.get_mut(&id) {
                branch.delay(delay);
            }
        }
    }

    /// Lets what is in the encoders come out, into the last part. `ended` is told by who reads
    /// the bus.
    pub fn finish(mut self, ended: &Receiver<()>) {
        // Cards have no end: without the live inputs that pace it, the mixer would go on with them
        // as fast as it can.
        for card in self.cards.drain(..) {
            card.remove(&self.pipeline);
        }
        // Nobody ends what is pushed into them.
        for (_, branch) in std::mem::take(&mut self.inputs) {
            branch.remove(&self.pipeline);
        }
        self.pipeline.send_event(gst::event::Eos::new());
        let _ = ended.recv_timeout(FINISH_WITHIN);
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    fn place(&mut self, transition: Transition) {
        // What comes before what goes: a frame may be made in between.
        for (id, tile) in &self.tiles {
            if let Some(branch) = self.inputs.get_mut(id) {
                branch.place(Some(*tile), transition);
            }
        }
        for (id, branch) in &mut self.inputs {
            if !self.tiles.iter().any(|(input, _)| input == id) {
                branch.place(None, transition);
            }
        }
    }
}

/// What `beat` is to be painted with. Only the thread that its frames come by may say so: it crashes
/// when it is told in the middle of one (videotestsrc 1.22).
fn paint_with(beat: &gst::Element) -> anyhow::Result<Arc<AtomicU32>> {
    let colour: Arc<AtomicU32> = Arc::default();
    let wanted = colour.clone();
    let mut painted = 0;
    let element = beat.downgrade();
    parts::watch_buffers(
        &beat.static_pad("src").context("no source pad")?,
        move |_, _, _| {
            let colour = wanted.load(Ordering::Relaxed);
            if colour != painted
                && let Some(beat) = element.upgrade()
            {
                beat.set_property("foreground-color", 0xFF00_0000 | colour);
                painted = colour;
            }
            gst::PadProbeReturn::Ok
        },
    )?;
    Ok(colour)
}

/// The running time of the newest frame.
fn note_position(tee: &gst::Element) -> anyhow::Result<Arc<Mutex<gst::ClockTime>>> {
    let position = Arc::new(Mutex::new(gst::ClockTime::ZERO));
    let noted = position.clone();
    let pad = tee.static_pad("sink").context("no sink pad")?;
    parts::watch_buffers(&pad, move |_, _, time| {
        if let Ok(mut position) = noted.lock() {
            *position = time;
        }
        gst::PadProbeReturn::Ok
    })?;
    Ok(position)
}

/// The graph in GStreamer's own words.
fn description(start: &Start) -> anyhow::Result<String> {
    let ladder = &start.ladder;
    let top = ladder.video.first().context("a ladder without video")?;
    let latency_ns = MIX_LATENCY.nseconds();
    let raw = format!(
        "video/x-raw,format=I420,width={},height={},framerate={}/1,pixel-aspect-ratio=1/1,{}",
        top.width_px,
        top.height_px,
        ladder.fps,
        colours::CAPS
    );
    // Keeps the canvas going when nobody is on stage; it is black by itself.
    let beat = format!(
        "video/x-raw,format=I420,width=16,height=16,framerate={}/1,pixel-aspect-ratio=1/1,{}",
        ladder.fps,
        colours::CAPS
    );
    let mut text = format!(
        "compositor name=canvas background=black ignore-inactive-pads=true \
           start-time-selection=first latency={latency_ns} max-threads=1 \
         ! {raw} ! tee name=program \
         videotestsrc name=beat is-live=true pattern=solid-color foreground-color=4278190080 ! {beat} ! canvas. \
         audiomixer name=mix ignore-inactive-pads=true \
           start-time-selection=first latency={latency_ns} output-buffer-duration=20000000 alignment-threshold={} \
         ! {MIX_CAPS} ! rglimiter ! audioconvert dithering=none ! {AUDIO_CAPS} ! tee name=sound \
         {} sound. ! {} name=aac bitrate={} ! aacparse name=cut-sound ! {MUXER} ! appsink name=out-sound sync=false async=false \
         audiotestsrc is-live=true wave=silence samplesperbuffer=960 ! {AUDIO_CAPS} ! mix. ",
        MIX_ALIGNMENT.nseconds(),
        rtp::of_sound("sound", &ladder.audio),
        AudioEncoder::find().element,
        ladder.audio.bitrate_bps,
    );
    for (nth, video) in ladder.video.iter().enumerate() {
        let scaled = if nth == 0 {
            String::new()
        } else {
            scaler(video, ladder.fps)
        };
        let encoder = ladder.encoder.description(video.bitrate_bps);
        text += &format!(
            "program. ! queue name=to-{name} max-size-buffers={MAX_WAITING} max-size-bytes=0 max-size-time=0 ! {scaled} {encoder} \
             ! tee name=coded-{name} {} ",
            rtp::of_picture(&format!("coded-{}", video.name), &video.name),
            name = video.name,
        );
    }
    Ok(text)
}

fn scaler(video: &VideoRendition, fps: u32) -> String {
    format!(
        "{} ! video/x-raw,format=I420,width={},height={},framerate={fps}/1,pixel-aspect-ratio=1/1 !",
        scale::NAME,
        video.width_px,
        video.height_px
    )
}

/// An AAC encoder begins with silence, which its times do not show: sound comes out of a decoder
/// later than it went in, by this many samples.
struct AudioEncoder {
    element: &'static str,
    delay_samples: i64,
}

impl AudioEncoder {
    /// voaacenc answers soonest and costs least; libav's is there where it is not.
    fn find() -> Self {
        match gst::ElementFactory::find("voaacenc") {
            Some(_) => Self {
                element: "voaacenc",
                delay_samples: 1600,
            },
            None => Self {
                element: "audioconvert ! avenc_aac",
                delay_samples: 1024,
            },
        }
    }

    fn delay_ns(&self) -> i64 {
        self.delay_samples * 1_000_000_000 / AUDIO_RATE
    }
}
