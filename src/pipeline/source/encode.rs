//! The encoders of the source, as GStreamer describes them, and what comes out of them.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;
use gst_video::UpstreamForceKeyUnitEvent;
use tokio::sync::mpsc;

use crate::room::MediaKind;

/// How the picture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoCodec {
    /// Constrained baseline, for every browser.
    H264,
    /// VP8.
    Vp8,
}

/// One encoded picture or one packet of sound.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    /// Of the picture or of the sound.
    pub kind: MediaKind,
    /// When it is to be shown, since the source's start.
    pub at: Duration,
    /// Whether decoding can start here.
    pub key: bool,
    /// Annex B for H.264, a frame for VP8, a packet for Opus.
    pub data: Bytes,
}

/// At most this between key frames, in frames; requests come in between.
const KEY_FRAME_INTERVAL: u32 = 120;

/// Raw video in; an appsink called `video` at the end.
pub(super) fn video_branch(codec: VideoCodec, kbps: u32, sync: bool) -> String {
    let encoder = match codec {
        VideoCodec::H264 => format!(
            "x264enc tune=zerolatency speed-preset=superfast bitrate={kbps} vbv-buf-capacity=300 \
             key-int-max={KEY_FRAME_INTERVAL} b-adapt=false bframes=0 ! \
             video/x-h264,profile=constrained-baseline ! h264parse config-interval=-1 ! \
             video/x-h264,stream-format=byte-stream,alignment=au"
        ),
        VideoCodec::Vp8 => format!(
            "vp8enc deadline=1 cpu-used=8 end-usage=cbr target-bitrate={} lag-in-frames=0 \
             keyframe-max-dist={KEY_FRAME_INTERVAL} error-resilient=default threads=2",
            u64::from(kbps) * 1000
        ),
    };
    format!("{encoder} ! appsink name=video sync={sync} max-buffers=8")
}

/// Raw audio in; an appsink called `audio` at the end.
pub(super) fn audio_branch(sync: bool) -> String {
    format!(
        "audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=2 ! \
         opusenc bitrate=64000 frame-size=20 ! appsink name=audio sync={sync} max-buffers=8"
    )
}

/// Sends all that comes to the sink, its times put `after` the source's start.
pub(super) fn collect(
    sink: &gst::Element,
    kind: MediaKind,
    after: Duration,
    units: mpsc::Sender<AccessUnit>,
) -> anyhow::Result<()> {
    let sink = sink
        .downcast_ref::<gst_app::AppSink>()
        .context("the encoders do not end in an appsink")?;
    let new_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let Some(unit) = access_unit(&sample, kind, after) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        match units.try_send(unit) {
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gst::FlowError::Eos),
            // Late media is worse than lost media, and the receiver asks for a key frame.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(gst::FlowSuccess::Ok),
        }
    };
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(new_sample)
            .build(),
    );
    Ok(())
}

fn access_unit(sample: &gst::Sample, kind: MediaKind, after: Duration) -> Option<AccessUnit> {
    let buffer = sample.buffer()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let at = segment.to_running_time(buffer.pts()?)?;
    let data = buffer.map_readable().ok()?;
    Some(AccessUnit {
        kind,
        at: after + Duration::from_nanos(at.nseconds()),
        key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        data: Bytes::copy_from_slice(&data),
    })
}

/// Asks the encoder of `pipeline` for a key frame now.
pub(super) fn force_key_frame(pipeline: &gst::Pipeline) {
    if let Some(pad) = pipeline
        .by_name("video")
        .and_then(|sink| sink.static_pad("sink"))
    {
        pad.push_event(
            UpstreamForceKeyUnitEvent::builder()
                .all_headers(true)
                .build(),
        );
    }
}
