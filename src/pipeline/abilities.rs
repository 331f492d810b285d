//! What this machine's GStreamer can do, asked by the server before it takes publishers.

use anyhow::Context;
use gst::prelude::*;

use super::scale;
use crate::program::core::ladder::Ladder;
use crate::program::core::wire::Abilities;
use crate::room::Codec;

/// What every broadcast needs, besides its encoder.
const NEEDED: &[&str] = &[
    "aacparse",
    "appsink",
    "audioconvert",
    "audiomixer",
    "audioresample",
    "audiotestsrc",
    "compositor",
    "h264parse",
    "imagefreeze",
    "opusdec",
    "opusenc",
    "rglimiter",
    "rtph264pay",
    "rtpjitterbuffer",
    "rtpopusdepay",
    "rtpopuspay",
    "textoverlay",
    "valve",
    "videoconvert",
    "videoscale",
    "videotestsrc",
];

const VIDEO_CODECS: &[(Codec, &[&str])] = &[
    (Codec::H264, &["rtph264depay", "avdec_h264"]),
    (Codec::Vp8, &["rtpvp8depay", "avdec_vp8"]),
    (Codec::Vp9, &["rtpvp9depay", "vp9dec"]),
    (Codec::Av1, &["rtpav1depay", "av1parse", "av1dec"]),
];

/// An encoder that makes these works.
const TRIED_FRAMES: u32 = 5;
const TRIED_FOR: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// Starts GStreamer with the elements that the program brings along.
pub fn load() -> anyhow::Result<()> {
    gst::init().context("GStreamer")?;
    gstfmp4::plugin_register_static().context("cmafmux")?;
    gstrsrtp::plugin_register_static().context("rtpav1depay")?;
    scale::register().context("the scaler")
}

/// Looks, and tries the encoder.
pub fn abilities(ladder: &Ladder) -> anyhow::Result<Abilities> {
    load()?;
    let has = |name: &&&str| gst::ElementFactory::find(name).is_some();
    let mut missing: Vec<String> = NEEDED
        .iter()
        .filter(|name| !has(name))
        .map(|name| (*name).to_owned())
        .collect();
    if !has(&&"voaacenc") && !has(&&"avenc_aac") {
        missing.push("voaacenc".to_owned());
    }
    let decodable = VIDEO_CODECS
        .iter()
        .filter(|(_, elements)| elements.iter().all(|name| has(&name)));
    let codecs = decodable
        .map(|(codec, _)| *codec)
        .chain([Codec::Opus])
        .collect();
    Ok(Abilities {
        codecs,
        missing,
        encoder_fault: try_encoder(ladder).err().map(|error| format!("{error:#}")),
    })
}

/// Encodes some frames: an element that is there may still have no hardware to work on.
fn try_encoder(ladder: &Ladder) -> anyhow::Result<()> {
    let top = ladder.video.first().context("a ladder without video")?;
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers={TRIED_FRAMES} ! video/x-raw,format=I420,width={},height={},framerate={}/1 \
         ! {} ! h264parse ! fakesink sync=false",
        top.width_px,
        top.height_px,
        ladder.fps,
        ladder.encoder.description(top.bitrate_bps),
    ))?;
    let bus = pipeline.bus().context("no bus")?;
    pipeline.set_state(gst::State::Playing)?;
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(TRIED_FOR, &ends);
    let _ = pipeline.set_state(gst::State::Null);
    match end.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => Err(error.error().into()),
        _ => anyhow::bail!("it encodes nothing within {TRIED_FOR}"),
    }
}
