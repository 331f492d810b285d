//! A publisher's track on its way into the mix: jitter buffer, depayloader, decoder, mixer pad.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;

use super::run::Outbox;
use crate::program::core::layout::Tile;
use crate::program::core::wire::{FromChild, InputId, InputSpec};
use crate::room::{Codec, MediaKind};

/// How long a late packet is waited for; paid only when one is late.
pub const JITTER_MS: u32 = 80;
/// A publisher is asked for a key frame no more often, whatever the decoder wishes.
const KEY_FRAME_EVERY: Duration = Duration::from_millis(500);
/// Frames of speakers stand on the black canvas.
const SPEAKERS_Z: u32 = 1;

pub struct Branch {
    bin: gst::Bin,
    source: gst_app::AppSrc,
    mixer: gst::Element,
    mixer_pad: gst::Pad,
    kind: MediaKind,
}

impl Branch {
    pub fn new(
        spec: &InputSpec,
        pipeline: &gst::Pipeline,
        mixer: &gst::Element,
        outbox: Outbox,
    ) -> anyhow::Result<Self> {
        let kind = spec.codec.kind();
        let bin = gst::parse::bin_from_description(&description(spec), true)?;
        let source = bin
            .by_name("source")
            .and_then(|element| element.downcast::<gst_app::AppSrc>().ok())
            .context("no source")?;
        if kind == MediaKind::Video {
            pass_on_key_frame_requests(&source, spec.id, outbox)?;
        }
        pipeline.add(&bin)?;
        let mixer_pad = mixer
            .request_pad_simple("sink_%u")
            .context("no mixer pad")?;
        if kind == MediaKind::Video {
            mixer_pad.set_property_from_str("sizing-policy", "keep-aspect-ratio");
            mixer_pad.set_property("zorder", SPEAKERS_Z);
        }
        let branch = Self {
            bin,
            source,
            mixer: mixer.clone(),
            mixer_pad,
            kind,
        };
        branch.place(None);
        let output = branch.bin.static_pad("src").context("no output")?;
        output.link(&branch.mixer_pad)?;
        branch.bin.sync_state_with_parent()?;
        Ok(branch)
    }

    pub fn push(&self, packet: Bytes) {
        // Fails only while the branch is being removed.
        let _ = self.source.push_buffer(gst::Buffer::from_slice(packet));
    }

    /// Shows the picture in its tile, or not at all.
    pub fn place(&self, tile: Option<Tile>) {
        if self.kind == MediaKind::Audio {
            return;
        }
        let pad = &self.mixer_pad;
        pad.set_property("alpha", if tile.is_some() { 1.0f64 } else { 0.0 });
        if let Some(tile) = tile {
            pad.set_property("xpos", tile.x_px as i32);
            pad.set_property("ypos", tile.y_px as i32);
            pad.set_property("width", tile.width_px as i32);
            pad.set_property("height", tile.height_px as i32);
        }
    }

    /// In the order that never hung: lock, stop, unlink, release, remove.
    pub fn remove(self, pipeline: &gst::Pipeline) {
        self.bin.set_locked_state(true);
        let _ = self.bin.set_state(gst::State::Null);
        if let Some(output) = self.bin.static_pad("src") {
            let _ = output.unlink(&self.mixer_pad);
        }
        self.mixer.release_request_pad(&self.mixer_pad);
        let _ = pipeline.remove(&self.bin);
    }
}

/// The branch in GStreamer's own words; its one loose end becomes the bin's output.
fn description(spec: &InputSpec) -> String {
    let decoder = match spec.codec {
        Codec::H264 => {
            "rtph264depay wait-for-keyframe=true request-keyframe=true ! h264parse ! avdec_h264 max-threads=1"
        }
        Codec::Vp8 => "rtpvp8depay wait-for-keyframe=true request-keyframe=true ! vp8dec threads=1",
        Codec::Vp9 => "rtpvp9depay wait-for-keyframe=true request-keyframe=true ! vp9dec threads=1",
        Codec::Av1 => "rtpav1depay wait-for-keyframe=true request-keyframe=true ! av1dec",
        Codec::Opus => "rtpopusdepay ! opusdec plc=true",
    };
    let (media, after) = match spec.codec.kind() {
        // The newest frames matter; a mixer that waits must not make the decoder wait.
        MediaKind::Video => (
            "video",
            "queue max-size-buffers=3 max-size-bytes=0 max-size-time=0 leaky=downstream",
        ),
        MediaKind::Audio => (
            "audio",
            "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 \
             ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=200000000 leaky=downstream",
        ),
    };
    format!(
        "appsrc name=source is-live=true do-timestamp=true format=time max-bytes=4000000 leaky-type=downstream \
         caps=application/x-rtp,media={media},encoding-name={},clock-rate={},payload={} \
         ! rtpjitterbuffer latency={JITTER_MS} drop-on-latency=true do-lost=true ! {decoder} ! {after}",
        spec.codec.encoding_name(),
        spec.clock_rate,
        spec.payload_type,
    )
}

/// The depayloader asks upstream for a key frame at the start and after a loss; upstream is the
/// parent, then the publisher.
fn pass_on_key_frame_requests(
    source: &gst_app::AppSrc,
    input: InputId,
    outbox: Outbox,
) -> anyhow::Result<()> {
    let pad = source.static_pad("src").context("no source pad")?;
    let last = std::sync::Mutex::new(None::<std::time::Instant>);
    // The first frame to come may be any: ask at once.
    let _ = outbox.try_send(FromChild::KeyFrameWanted { input });
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let asked = info
            .event()
            .and_then(|event| event.structure())
            .is_some_and(|structure| structure.name() == "GstForceKeyUnit");
        if asked
            && let Ok(mut last) = last.lock()
            && last.is_none_or(|at| at.elapsed() >= KEY_FRAME_EVERY)
        {
            *last = Some(std::time::Instant::now());
            let _ = outbox.try_send(FromChild::KeyFrameWanted { input });
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}
