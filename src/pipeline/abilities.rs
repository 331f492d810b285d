//! What this machine's GStreamer can do, asked by the server before it takes publishers.

use crate::program::core::ladder::Ladder;
use crate::program::core::wire::Abilities;
use crate::room::Codec;

/// What every broadcast needs, besides its encoder.
const NEEDED: &[&str] = &[
    "aacparse",
    "appsink",
    "appsrc",
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
    "videocrop",
    "videoscale",
    "videotestsrc",
];

const VIDEO_CODECS: &[(Codec, &[&str])] = &[
    (Codec::H264, &["rtph264depay", "avdec_h264"]),
    (Codec::Vp8, &["rtpvp8depay", "vp8dec"]),
    (Codec::Vp9, &["rtpvp9depay", "vp9dec"]),
    (Codec::Av1, &["rtpav1depay", "av1dec"]),
];

/// Looks, and makes nothing.
pub fn abilities(ladder: &Ladder) -> anyhow::Result<Abilities> {
    gst::init()?;
    let has = |name: &&&str| gst::ElementFactory::find(name).is_some();
    let encoder = ladder
        .encoder
        .element
        .split_whitespace()
        .next()
        .unwrap_or_default();
    let mut missing: Vec<String> = NEEDED
        .iter()
        .chain(&[encoder])
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
    Ok(Abilities { codecs, missing })
}
