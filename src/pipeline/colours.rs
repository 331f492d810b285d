//! What the numbers of a picture mean: ITU-R BT.601, of any size, as browsers send it.
//!
//! Neither VP8 nor a camera's H.264 says what its colours are, so GStreamer guesses: BT.709
//! from 720 lines on. The canvas would then take over what came last, and convert each frame of all
//! others. Here whatever does not say otherwise is BT.601 (as libwebrtc makes it), and so is the
//! canvas; only who really sends something else is converted.

use anyhow::Context;
use gst::prelude::*;

use crate::program::core::colours::{BT601, Colours, Conversion};

/// To be appended to the caps of raw pictures.
pub const CAPS: &str = "colorimetry=bt601,chroma-site=mpeg2";

pub const COLORIMETRY: &str = "colorimetry";
const CHROMA_SITE: &str = "chroma-site";
pub const OURS: &str = "bt601";
/// A quarter of a pixel of colour is not worth a conversion: it is said of all.
const SITE: &str = "mpeg2";

/// How pictures of these colours become the canvas'; `None` where they are that already, or do not
/// say what they are.
pub fn to_ours(from: &gst_video::VideoColorimetry) -> Option<Conversion> {
    if is_ours(from) {
        return None;
    }
    let (kr, kb) = from.matrix().kr_kb().ok()?;
    let is_full = from.range() == gst_video::VideoColorRange::Range0_255;
    Some(Conversion::new(Colours { kr, kb, is_full }, BT601))
}

/// Lets coded pictures that leave by `pad` say what their colours are; decoders repeat it.
pub fn declare(pad: &gst::Pad) -> anyhow::Result<()> {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        let caps = match info.event().map(|event| event.view()) {
            Some(gst::EventView::Caps(event)) => event.caps_owned(),
            _ => return gst::PadProbeReturn::Ok,
        };
        let declared = gst::event::Caps::new(&declared(caps));
        info.data = Some(gst::PadProbeData::Event(declared));
        gst::PadProbeReturn::Ok
    })
    .context("no probe")?;
    Ok(())
}

fn declared(mut caps: gst::Caps) -> gst::Caps {
    for structure in caps.make_mut().iter_mut() {
        let said = structure.get::<String>(COLORIMETRY).ok();
        let said = said.map(|said| said.parse::<gst_video::VideoColorimetry>());
        if said.is_none_or(|said| said.is_ok_and(|said| is_ours(&said))) {
            structure.set(COLORIMETRY, OURS);
        }
        structure.set(CHROMA_SITE, SITE);
    }
    caps
}

/// Whether the conversion to red, green and blue is the canvas'; the other two numbers of a
/// description (transfer and primaries) differ by nothing that an eye sees.
fn is_ours(colorimetry: &gst_video::VideoColorimetry) -> bool {
    use gst_video::{VideoColorMatrix, VideoColorRange};
    colorimetry.matrix() == VideoColorMatrix::Bt601
        && colorimetry.range() == VideoColorRange::Range16_235
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(caps: &str) -> Option<String> {
        gst::init().expect("GStreamer");
        let caps = declared(caps.parse().expect("caps"));
        let structure = caps.structure(0)?;
        assert_eq!(structure.get(CHROMA_SITE), Ok(SITE));
        structure.get(COLORIMETRY).ok()
    }

    #[test]
    fn what_does_not_say_otherwise_is_ours() {
        for caps in [
            "video/x-vp8,width=1280,height=720",
            "video/x-h264,colorimetry=bt601,chroma-site=jpeg",
            "video/x-h264,colorimetry=2:4:16:4",
            "video/x-vp8,colorimetry=2:4:0:0",
        ] {
            assert_eq!(said(caps).as_deref(), Some(OURS), "{caps}");
        }
        for other in ["bt709", "1:4:0:0", "bt2020"] {
            let caps = format!("video/x-h264,colorimetry=(string){other}");
            assert_eq!(said(&caps).as_deref(), Some(other));
        }
    }
}
