//! Decodes a media file, and encodes it anew, in real time.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use gst::prelude::*;
use tokio::sync::mpsc;

use super::encode::{audio_branch, collect, video_branch};
use super::{AccessUnit, Control, LOOK, SourceSettings, watch};
use crate::room::MediaKind;

/// Plays the file once; its times begin at `after`.
pub(super) fn play(
    path: &Path,
    settings: &SourceSettings,
    after: Duration,
    control: &Control,
    units: &mpsc::Sender<AccessUnit>,
) -> anyhow::Result<()> {
    let pipeline = gst::Pipeline::new();
    let file = gst::ElementFactory::make("uridecodebin")
        .property(
            "uri",
            gst::glib::filename_to_uri(path.canonicalize()?, None)?,
        )
        .build()
        .context("GStreamer lacks its base plugins")?;
    pipeline.add(&file)?;
    let (settings, units) = (settings.clone(), units.clone());
    let weak = pipeline.downgrade();
    file.connect_pad_added(move |_, pad| {
        if let Some(pipeline) = weak.upgrade()
            && let Err(error) = encode_pad(&pipeline, pad, &settings, after, &units)
        {
            gst::element_error!(pipeline, gst::CoreError::Failed, ("{error:#}"));
        }
    });
    pipeline
        .set_state(gst::State::Playing)
        .context("the file cannot be played")?;
    control.now_runs(Some(&pipeline));
    watch(&pipeline, control, || {
        std::thread::sleep(LOOK);
        true
    })
    .with_context(|| format!("cannot play {}", path.display()))
}

/// Puts the encoders behind one decoded stream; a second of the same kind is thrown away.
fn encode_pad(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    settings: &SourceSettings,
    after: Duration,
    units: &mpsc::Sender<AccessUnit>,
) -> anyhow::Result<()> {
    let caps = pad.current_caps().context("a stream without a type")?;
    let kind = match caps.structure(0).map(|first| first.name().as_str()) {
        Some("video/x-raw") => MediaKind::Video,
        Some("audio/x-raw") => MediaKind::Audio,
        _ => return discard(pipeline, pad),
    };
    let name = match kind {
        MediaKind::Video => "video",
        MediaKind::Audio => "audio",
    };
    if pipeline.by_name(name).is_some() {
        return discard(pipeline, pad);
    }
    let (width, height) = settings.size;
    let branch = match kind {
        MediaKind::Video => format!(
            "queue ! videoconvert ! videoscale add-borders=true ! videorate drop-only=true \
             max-rate={} ! video/x-raw,format=I420,width={width},height={height},\
             pixel-aspect-ratio=1/1 ! {}",
            settings.frame_rate,
            video_branch(settings.codec, settings.kbps, true)
        ),
        MediaKind::Audio => format!("queue ! {}", audio_branch(true)),
    };
    let branch = gst::parse::bin_from_description(&branch, true)?;
    let sink = branch
        .by_name(name)
        .context("the encoders lack their end")?;
    collect(&sink, kind, after, units.clone())?;
    attach(pipeline, pad, branch.upcast_ref())
}

fn discard(pipeline: &gst::Pipeline, pad: &gst::Pad) -> anyhow::Result<()> {
    let sink = gst::ElementFactory::make("fakesink")
        .property("async", false)
        .build()?;
    attach(pipeline, pad, &sink)
}

fn attach(pipeline: &gst::Pipeline, pad: &gst::Pad, element: &gst::Element) -> anyhow::Result<()> {
    pipeline.add(element)?;
    element.sync_state_with_parent()?;
    let input = element.static_pad("sink").context("no way in")?;
    pad.link(&input)?;
    Ok(())
}
