//! A publisher's track on its way into the mix: jitter buffer, depayloader, decoder, mixer pad.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;

use super::colours;
use super::delays::Delays;
use super::motion::{Motion, Transition};
use super::parts;
use super::run::Outbox;
use super::scale::{self, Scale};
use super::splice::Splicing;
use crate::program::core::fit::Size;
use crate::program::core::layout::Tile;
use crate::program::core::lip_sync::Seen;
use crate::program::core::wire::{FromChild, InputId, InputSpec, Stage};
use crate::room::{Codec, MediaKind};

/// How long a late packet is waited for; paid only when one is late.
pub const JITTER_MS: u32 = 80;
/// WebRTC's own gain control and nothing else of it, which browsers have applied already.
const GAIN: &str = "! webrtcdsp echo-cancel=false noise-suppression=false high-pass-filter=false \
    gain-control=true gain-control-mode=adaptive-digital compression-gain-db=9 target-level-dbfs=6";
/// The name, within its bin, of what leaves H.264 as it came.
const PARSER: &str = "parser";
/// The same, of what puts the pictures of AV1 together.
const ASSEMBLER: &str = "assembler";
/// The same, of what takes the payload out of packets.
const DEPAYLOADER: &str = "depayloader";
/// The same, of what makes pictures as large as their tiles, in the input's own thread.
const SCALER: &str = "scaler";
/// A publisher is asked for a key frame no more often, whatever the decoder wishes.
const KEY_FRAME_EVERY: Duration = Duration::from_millis(500);
/// Behind all pictures, and before the canvas' colour.
pub const BEHIND_Z: u32 = 1;
/// A picture that leaves is behind those that come.
const LEAVING_Z: u32 = 2;
/// A name stands on each picture, and what lies over others on these.
const PICTURES_Z: u32 = 3;
pub const OVER_Z: u32 = 5;

pub struct Branch {
    bin: gst::Bin,
    /// Leads into the jitter buffer: a source element would be one more thread for each input.
    entry: gst::Pad,
    mixer: gst::Element,
    mixer_pad: gst::Pad,
    kind: MediaKind,
    jitter_buffer: gst::Element,
    last_seen: Arc<Mutex<Option<Seen>>>,
    /// Of both below: how much later than its packets came the input is shown.
    delay: Arc<Mutex<Duration>>,
    lip_sync: Duration,
    patience: Duration,
    pub group: u64,
    wish: Wish,
    /// Of a picture.
    scaler: Option<Scale>,
    motion: Option<Motion>,
    has_begun: Arc<AtomicBool>,
}

/// What a branch becomes part of.
pub struct Around<'a> {
    pub pipeline: &'a gst::Pipeline,
    pub mixer: &'a gst::Element,
    pub delays: &'a Delays,
    pub splicing: &'a Splicing,
    pub auto_gain: bool,
}

impl Branch {
    pub fn new(spec: &InputSpec, around: &Around<'_>, outbox: Outbox) -> anyhow::Result<Self> {
        let Around {
            pipeline,
            mixer,
            delays,
            splicing,
            auto_gain,
        } = *around;
        let kind = spec.codec.kind();
        let bin = gst::parse::bin_from_description(&description(spec, auto_gain), true)?;
        let label = spec.id.label();
        bin.set_property("name", &label);
        let jitter_buffer = bin.by_name(&label).context("no jitter buffer")?;
        if let Some(parser) = bin.by_name(PARSER) {
            splicing.watch_input(&parser, spec.id)?;
        }
        let wish = Wish::new(spec.id, outbox);
        if let Some(depayloader) = bin.by_name(DEPAYLOADER) {
            wish.watch(&depayloader)?;
            let whole = [PARSER, ASSEMBLER]
                .iter()
                .find_map(|name| bin.by_name(name));
            let coded = whole.unwrap_or(depayloader);
            let said = colours::Said::default();
            if let Some(id) = spec.color_space {
                said.read(&source_pad(&jitter_buffer)?, id)?;
            }
            colours::declare(&source_pad(&coded)?, said)?;
        }
        let entry = entry(kind, wish.clone());
        let (last_seen, delay) = Default::default();
        note_what_leaves(&jitter_buffer, &last_seen, &delay)?;
        pipeline.add(&bin)?;
        // Not before: what is added is unlinked.
        let way_in = bin.static_pad("sink").context("no way in")?;
        entry.link_full(&way_in, gst::PadLinkCheck::empty())?;
        let mixer_pad = mixer
            .request_pad_simple("sink_%u")
            .context("no mixer pad")?;
        hide_latency(&mixer_pad)?;
        leave_out_timeless(&mixer_pad)?;
        if kind == MediaKind::Video {
            // And no `converter-config`: with one GStreamer 1.22 copies also what fits.
            mixer_pad.set_property_from_str("sizing-policy", "keep-aspect-ratio");
        }
        let scaler = bin.by_name(SCALER);
        let scaler = scaler.and_then(|element| element.downcast::<Scale>().ok());
        let motion = match kind {
            MediaKind::Video => {
                delays.watch(&mixer_pad, Stage::Decoded)?;
                Some(Motion::new(&mixer_pad)?)
            }
            MediaKind::Audio => None,
        };
        let has_begun: Arc<AtomicBool> = Arc::default();
        let begins = has_begun.clone();
        mixer_pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            begins.store(true, Ordering::Relaxed);
            gst::PadProbeReturn::Remove
        });
        let branch = Self {
            wish,
            scaler,
            motion,
            has_begun,
            bin,
            entry,
            mixer: mixer.clone(),
            mixer_pad,
            kind,
            jitter_buffer,
            last_seen,
            delay,
            lip_sync: Duration::ZERO,
            patience: Duration::ZERO,
            group: spec.group,
        };
        let output = branch.bin.static_pad("src").context("no output")?;
        output.link(&branch.mixer_pad)?;
        branch.bin.sync_state_with_parent()?;
        begin(&branch.entry, spec)?;
        Ok(branch)
    }

    /// A packet, and the running time at which it came to the server.
    pub fn push(&self, arrival: Duration, packet: Bytes) {
        let mut buffer = gst::Buffer::from_slice(packet);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::try_from(arrival).ok());
        }
        // Fails while the branch is being removed, and after an error, of which the bus tells.
        let _ = self.entry.push(buffer);
    }

    /// The newest packet that left the jitter buffer.
    pub fn last_seen(&self) -> Option<Seen> {
        *self.last_seen.lock().ok()?
    }

    /// Shows, or sounds, this much later than the packets' arrival says.
    pub fn delay(&mut self, lip_sync: Duration) {
        self.lip_sync = lip_sync;
        self.settle();
    }

    /// Waits this much longer than usual for packets that are late, and is shown as much later.
    pub fn wait(&mut self, patience: Duration) {
        if self.patience != patience {
            self.patience = patience;
            let latency_ms = JITTER_MS + patience.as_millis() as u32;
            self.jitter_buffer.set_property("latency", latency_ms);
            self.settle();
        }
    }

    /// Asks again for a key frame that did not come.
    pub fn ask_again(&self) {
        self.wish.ask();
    }

    /// Packets that came when nobody waited for them any more.
    pub fn late_packets(&self) -> u64 {
        let stats = self.jitter_buffer.property::<gst::Structure>("stats");
        stats.get("num-late").unwrap_or(0)
    }

    fn settle(&self) {
        let delay = self.lip_sync + self.patience;
        if let Ok(mut now) = self.delay.lock() {
            *now = delay;
        }
        let delay_ns = i64::try_from(delay.as_nanos()).unwrap_or(0);
        self.jitter_buffer.set_property("ts-offset", delay_ns);
    }

    /// Whether there is anything of it to be seen or heard.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// How large the picture comes.
    pub fn size_px(&self) -> Option<Size> {
        let caps = self.scaler.as_ref()?.static_pad("sink")?.current_caps()?;
        let info = gst_video::VideoInfo::from_caps(&caps).ok()?;
        Some((info.width(), info.height()))
    }

    /// Shows the picture in its tile, or not at all.
    pub fn place(&mut self, tile: Option<Tile>, transition: Transition) {
        let Some(motion) = &mut self.motion else {
            return;
        };
        let z = tile.as_ref().map_or(LEAVING_Z, z);
        self.mixer_pad.set_property("zorder", z);
        if let (Some(tile), Some(scaler)) = (tile, &self.scaler) {
            scaler.fit(tile);
        }
        motion.go(tile, transition);
    }

    /// Nothing more comes, and the mixer goes on with the last picture, without waiting for more.
    pub fn freeze(&self) {
        if self.kind == MediaKind::Video {
            self.mixer_pad.set_property("repeat-after-eos", true);
        }
        self.entry.push_event(gst::event::Eos::new());
    }

    pub fn remove(self, pipeline: &gst::Pipeline) {
        remove(&self.bin, &self.mixer, &self.mixer_pad, pipeline);
    }
}

/// From now on its errors count for nothing (locked, it is leaving). The mixer's pad goes first: what
/// a thread of the branch waits for there, one frame of each input after the other, would else hold up
/// all who wait for that thread to end.
pub fn remove(
    bin: &gst::Bin,
    mixer: &gst::Element,
    mixer_pad: &gst::Pad,
    pipeline: &gst::Pipeline,
) {
    bin.set_locked_state(true);
    mixer.release_request_pad(mixer_pad);
    let _ = bin.set_state(gst::State::Null);
    let _ = pipeline.remove(bin);
}

/// Says that what comes by `pad` comes at once: how long the mixers wait does not change with what
/// they are given.
pub fn hide_latency(pad: &gst::Pad) -> anyhow::Result<()> {
    pad.add_probe(gst::PadProbeType::QUERY_UPSTREAM, |_, info| {
        let latency = info.query_mut().map(gst::QueryRef::view_mut);
        match latency {
            Some(gst::QueryViewMut::Latency(latency)) => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                gst::PadProbeReturn::Handled
            }
            _ => gst::PadProbeReturn::Ok,
        }
    })
    .context("no probe")?;
    Ok(())
}

/// Lets nothing through that has no time: a mixer that is given such a buffer ends the program.
/// Decoders make one now and then, of what was damaged on its way.
fn leave_out_timeless(pad: &gst::Pad) -> anyhow::Result<()> {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        match info.buffer().and_then(|buffer| buffer.pts()) {
            Some(_) => gst::PadProbeReturn::Ok,
            // Of what is only dropped on its way into an element, GStreamer 1.22 frees nothing, and
            // says so as an error of its own.
            None => gst::PadProbeReturn::Handled,
        }
    })
    .context("no probe")?;
    Ok(())
}

pub fn z(tile: &Tile) -> u32 {
    match tile.is_over {
        true => OVER_Z,
        false => PICTURES_Z,
    }
}

/// The branch in GStreamer's own words; its loose ends become the bin's input and output.
fn description(spec: &InputSpec, auto_gain: bool) -> String {
    let decoder = match spec.codec {
        // As the splice takes it too.
        Codec::H264 => {
            "rtph264depay name=depayloader wait-for-keyframe=true request-keyframe=true ! h264parse name=parser \
             ! video/x-h264,stream-format=avc,alignment=au ! avdec_h264 max-threads=1"
        }
        Codec::Vp8 => {
            "rtpvp8depay name=depayloader wait-for-keyframe=true request-keyframe=true ! avdec_vp8 max-threads=1"
        }
        Codec::Vp9 => {
            "rtpvp9depay name=depayloader wait-for-keyframe=true request-keyframe=true ! vp9dec threads=1"
        }
        Codec::Av1 => {
            "rtpav1depay name=depayloader wait-for-keyframe=true request-keyframe=true ! av1parse name=assembler \
             ! video/x-av1,alignment=tu ! av1dec"
        }
        // Without in-band FEC, for which each frame waits for the next: sound came 30 ms later.
        Codec::Opus => "rtpopusdepay ! opusdec plc=true",
    };
    let convert = match spec.codec.kind() {
        // What decoders make is I420 already, but of the rarest.
        MediaKind::Video => format!("videoconvert ! {} name={SCALER}", scale::NAME),
        MediaKind::Audio => {
            let has_gain = auto_gain && gst::ElementFactory::find("webrtcdsp").is_some();
            let gain = if has_gain { GAIN } else { "" };
            format!("capsfilter caps=audio/x-raw,rate=48000,channels=2 {gain}")
        }
    };
    // Its thread, which has its name, decodes too, and waits where the mixer has enough of it. What
    // comes meanwhile waits there.
    let label = spec.id.label();
    format!("rtpjitterbuffer name={label} latency={JITTER_MS} do-lost=true ! {decoder} ! {convert}")
}

fn source_pad(element: &gst::Element) -> anyhow::Result<gst::Pad> {
    element.static_pad("src").context("no source pad")
}

/// Keeps the newest packet's times, as they would be without our delay.
fn note_what_leaves(
    jitter_buffer: &gst::Element,
    last_seen: &Arc<Mutex<Option<Seen>>>,
    delay: &Arc<Mutex<Duration>>,
) -> anyhow::Result<()> {
    let pad = source_pad(jitter_buffer)?;
    let (last_seen, delay) = (last_seen.clone(), delay.clone());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer()
            && let Some(pts) = buffer.pts()
            && let Ok(packet) = buffer.map_readable()
            && let Some(rtp) = packet.get(4..8)
            && let (Ok(delay), Ok(mut last_seen)) = (delay.lock(), last_seen.lock())
        {
            *last_seen = Some(Seen {
                rtp: u32::from_be_bytes([rtp[0], rtp[1], rtp[2], rtp[3]]),
                running_time: Duration::from(pts).saturating_sub(*delay),
            });
        }
        gst::PadProbeReturn::Ok
    })
    .context("no probe")?;
    Ok(())
}

/// A key frame that is wished for until it is there: what asks for it asks once, and requests as well
/// as key frames get lost.
#[derive(Clone)]
struct Wish {
    input: InputId,
    outbox: Outbox,
    state: Arc<Mutex<Wished>>,
}

#[derive(Default)]
struct Wished {
    is_open: bool,
    asked: Option<Instant>,
}

impl Wish {
    fn new(input: InputId, outbox: Outbox) -> Self {
        let state = Arc::default();
        Self {
            input,
            outbox,
            state,
        }
    }

    /// It is fulfilled by what leaves the depayloader.
    fn watch(&self, depayloader: &gst::Element) -> anyhow::Result<()> {
        let pad = source_pad(depayloader)?;
        let state = self.state.clone();
        parts::watch_buffers(&pad, move |_, buffer, _| {
            if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT)
                && let Ok(mut state) = state.lock()
            {
                state.is_open = false;
            }
            gst::PadProbeReturn::Ok
        })
    }

    fn open(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.is_open = true;
        }
        self.ask();
    }

    /// Asks the publisher, unless that was just done.
    fn ask(&self) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        let is_due = state
            .asked
            .is_none_or(|asked| asked.elapsed() >= KEY_FRAME_EVERY);
        if state.is_open && is_due {
            state.asked = Some(Instant::now());
            let input = self.input;
            let _ = self.outbox.try_send(FromChild::KeyFrameWanted { input });
        }
    }
}

/// The pad that packets are pushed from. The depayloader asks upstream for a key frame at the start
/// and after a loss; upstream is the parent, then the publisher.
fn entry(kind: MediaKind, wish: Wish) -> gst::Pad {
    if kind == MediaKind::Video {
        // The first frame to come may be any: ask at once.
        wish.open();
    }
    gst::Pad::builder(gst::PadDirection::Src)
        .name("entry")
        .query_function(|pad, parent, query| match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                true
            }
            _ => gst::Pad::query_default(pad, parent, query),
        })
        .event_function(move |pad, parent, event| {
            let asked = event
                .structure()
                .is_some_and(|structure| structure.name() == "GstForceKeyUnit");
            if asked {
                wish.open();
            }
            asked || gst::Pad::event_default(pad, parent, event)
        })
        .build()
}

/// What must come before the first packet.
fn begin(entry: &gst::Pad, spec: &InputSpec) -> anyhow::Result<()> {
    let media = match spec.codec.kind() {
        MediaKind::Video => "video",
        MediaKind::Audio => "audio",
    };
    let caps = gst::Caps::builder("application/x-rtp")
        .field("media", media)
        .field("encoding-name", spec.codec.encoding_name())
        .field("clock-rate", spec.clock_rate as i32)
        .field("payload", i32::from(spec.payload_type))
        .build();
    entry.set_active(true)?;
    entry.push_event(gst::event::StreamStart::new(&spec.id.label()));
    entry.push_event(gst::event::Caps::new(&caps));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    entry.push_event(gst::event::Segment::new(&segment));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_without_a_time_is_left_out() {
        gst::init().unwrap();
        let text = "compositor name=canvas ! fakesink \
             appsrc name=in format=time caps=video/x-raw,format=I420,width=16,height=16,framerate=0/1";
        let pipeline = gst::parse::launch(text).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("in").unwrap();
        let source = source.downcast::<gst_app::AppSrc>().unwrap();
        let canvas = pipeline.by_name("canvas").unwrap();
        let pad = canvas.request_pad_simple("sink_%u").unwrap();
        leave_out_timeless(&pad).unwrap();
        source.static_pad("src").unwrap().link(&pad).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        for at_ms in [Some(0), None, Some(33), Some(67)] {
            let mut buffer = gst::Buffer::from_slice([0; 16 * 16 * 3 / 2]);
            let at = at_ms.map(gst::ClockTime::from_mseconds);
            buffer.get_mut().unwrap().set_pts(at);
            source.push_buffer(buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        let ends = [gst::MessageType::Error, gst::MessageType::Eos];
        let bus = pipeline.bus().unwrap();
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &ends);
        assert_eq!(end.map(|end| end.type_()), Some(gst::MessageType::Eos));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
