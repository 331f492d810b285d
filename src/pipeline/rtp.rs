//! The program as RTP, for who plays it by WHEP: payloaded once, whoever plays it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;

use super::parts;
use super::run::Outbox;
use crate::program::core::ladder::AudioRendition;
use crate::program::core::wire::FromChild;

/// Of a packet, with room for header extensions, SRTP and a relay's header below the least MTU
/// that IPv6 promises (1280).
const MTU: u32 = 1180;

/// Opus is no better beyond.
const MAX_OPUS_BPS: u32 = 128_000;

/// A rendition's own way out.
pub struct Payloaded {
    valve: gst::Element,
    key_frame: Arc<AtomicBool>,
}

/// What stands before each payloader: closed, it costs nothing.
const VALVE: &str = "valve drop=true drop-mode=forward-sticky-events";

/// The encoder's own frames, from a tee.
pub fn of_picture(tee: &str, name: &str) -> String {
    // `timestamp-offset`: the parent reads running time from the timestamps.
    format!(
        "{tee}. ! {VALVE} name=valve-{name} \
         ! rtph264pay mtu={MTU} config-interval=-1 aggregate-mode=zero-latency timestamp-offset=0 \
         ! appsink name=rtp-{name} sync=false async=false "
    )
}

/// The mixed sound once more, for browsers take no AAC by RTP.
pub fn of_sound(tee: &str, audio: &AudioRendition) -> String {
    let (name, bitrate_bps) = (&audio.name, audio.bitrate_bps.min(MAX_OPUS_BPS));
    format!(
        "{tee}. ! {VALVE} name=valve-{name} ! queue max-size-time=500000000 \
         ! opusenc bitrate={bitrate_bps} bitrate-type=constrained-vbr \
         ! rtpopuspay mtu={MTU} timestamp-offset=0 ! appsink name=rtp-{name} sync=false async=false "
    )
}

impl Payloaded {
    pub fn new(
        pipeline: &gst::Pipeline,
        name: &str,
        is_video: bool,
        outbox: Outbox,
    ) -> anyhow::Result<Self> {
        let find = |name: String| {
            pipeline
                .by_name(&name)
                .with_context(|| format!("no element {name}"))
        };
        let key_frame: Arc<AtomicBool> = Arc::default();
        if is_video {
            force_key_frames(&find(format!("to-{name}"))?, key_frame.clone())?;
        }
        collect(&find(format!("rtp-{name}"))?, name, outbox)?;
        Ok(Self {
            valve: find(format!("valve-{name}"))?,
            key_frame,
        })
    }

    pub fn send(&self, wanted: bool) {
        self.valve.set_property("drop", !wanted);
        if wanted {
            self.force_key_frame();
        }
    }

    pub fn force_key_frame(&self) {
        self.key_frame.store(true, Ordering::Relaxed);
    }
}

/// With the next frame that leaves the queue before the encoder, if there is a wish. The very
/// first frame is one unasked, see [`parts::force_key_frames`].
fn force_key_frames(queue: &gst::Element, wish: Arc<AtomicBool>) -> anyhow::Result<()> {
    let pad = queue.static_pad("src").context("no source pad")?;
    let mut has_begun = false;
    parts::watch_buffers(&pad, move |pad, _, time| {
        if std::mem::replace(&mut has_begun, true) && wish.swap(false, Ordering::Relaxed) {
            pad.push_event(parts::key_frame_at(time));
        }
        gst::PadProbeReturn::Ok
    })
}

/// Sends the packets of each frame to the parent.
fn collect(sink: &gst::Element, rendition: &str, outbox: Outbox) -> anyhow::Result<()> {
    let sink = sink
        .downcast_ref::<gst_app::AppSink>()
        .context("no appsink")?;
    sink.set_buffer_list(true);
    let rendition = rendition.to_owned();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let list = sample.buffer_list_owned();
            let buffers = list.iter().flat_map(|list| list.iter());
            let packets = buffers.chain(sample.buffer()).filter_map(packet);
            let frame = FromChild::Rtp {
                rendition: rendition.clone(),
                packets: packets.collect(),
            };
            outbox.send(frame).map_err(|_| gst::FlowError::Eos)?;
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    sink.set_callbacks(callbacks);
    Ok(())
}

fn packet(buffer: &gst::BufferRef) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&buffer.map_readable().ok()?))
}
