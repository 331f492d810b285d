//! What the numbers of a picture mean: ITU-R BT.601, of any size, as browsers send it.
//!
//! Neither VP8 nor a camera's H.264 says what its colours are (browsers do, of what is no camera, by
//! an RTP header extension), so GStreamer guesses: BT.709 from 720 lines on. The canvas would then take over what came last, and convert each frame of all
//! others. Here whatever does not say otherwise is BT.601 (as libwebrtc makes it), and so is the
//! canvas; only who really sends something else is converted.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use gst::prelude::*;
use gst_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

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
pub fn to_ours(from: &VideoColorimetry) -> Option<Conversion> {
    if is_ours(from) {
        return None;
    }
    let (kr, kb) = from.matrix().kr_kb().ok()?;
    let is_full = from.range() == VideoColorRange::Range0_255;
    Some(Conversion::new(Colours { kr, kb, is_full }, BT601))
}

/// What a publisher says of its colours beside the pictures: it holds until a key frame that has no
/// word of it, as libwebrtc takes it.
#[derive(Clone, Default)]
pub struct Said(Arc<Mutex<Option<VideoColorimetry>>>);

impl Said {
    /// Reads what the packets say that pass `pad`, in the header extension `id`.
    pub fn read(&self, pad: &gst::Pad, id: u8) -> anyhow::Result<()> {
        let said = self.0.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer()
                && let Ok(packet) = gst_rtp::RTPBuffer::from_buffer_readable(buffer)
                && let Some(colorimetry) = extension(&packet, id).and_then(read)
                && let Ok(mut said) = said.lock()
            {
                *said = Some(colorimetry);
            }
            gst::PadProbeReturn::Ok
        })
        .context("no probe")?;
        Ok(())
    }

    fn is_news_to(&self, state: &Mutex<Declared>) -> bool {
        let (Ok(said), Ok(state)) = (self.0.lock(), state.lock()) else {
            return false;
        };
        said.is_some() && *said != state.said
    }

    fn take(&self) -> Option<VideoColorimetry> {
        self.0.lock().ok()?.take()
    }
}

/// A header extension's value, of either form.
fn extension<'a>(
    packet: &'a gst_rtp::RTPBuffer<'_, gst_rtp::rtp_buffer::Readable>,
    id: u8,
) -> Option<&'a [u8]> {
    let short = packet.extension_onebyte_header(id, 0);
    short.or_else(|| Some(packet.extension_twobytes_header(id, 0)?.1))
}

/// By libwebrtc's rtp-hdrext/color-space; what stands behind the first four bytes is of high dynamic
/// range.
fn read(value: &[u8]) -> Option<VideoColorimetry> {
    let &[primaries, transfer, matrix, range, ..] = value else {
        return None;
    };
    const FULL: u8 = 2;
    let range = match range >> 4 & 3 {
        FULL => VideoColorRange::Range0_255,
        _ => VideoColorRange::Range16_235,
    };
    let matrix = match VideoColorMatrix::from_iso(matrix.into()) {
        // Red, green and blue themselves are in no picture that we take.
        VideoColorMatrix::Unknown | VideoColorMatrix::Rgb => VideoColorMatrix::Bt601,
        matrix => matrix,
    };
    let transfer = VideoTransferFunction::from_iso(transfer.into());
    let primaries = VideoColorPrimaries::from_iso(primaries.into());
    Some(VideoColorimetry::new(range, matrix, transfer, primaries))
}

/// What coded pictures have as caps: as they came, and what was said beside them.
#[derive(Default)]
struct Declared {
    came: Option<gst::Caps>,
    said: Option<VideoColorimetry>,
    is_telling: bool,
}

/// Lets coded pictures that leave by `pad` say what their colours are; decoders repeat it.
pub fn declare(pad: &gst::Pad, said: Said) -> anyhow::Result<()> {
    let state = Mutex::new(Declared::default());
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::BUFFER;
    pad.add_probe(kinds, move |pad, info| {
        match &info.data {
            Some(gst::PadProbeData::Event(event)) => {
                if let gst::EventView::Caps(event) = event.view()
                    && let Ok(mut state) = state.lock()
                    && !state.is_telling
                {
                    let caps = event.caps_owned();
                    let declared = declared(caps.clone(), state.said.as_ref());
                    state.came = Some(caps);
                    let declared = gst::event::Caps::new(&declared);
                    info.data = Some(gst::PadProbeData::Event(declared));
                }
            }
            // A decoder takes other caps at a key frame alone.
            Some(gst::PadProbeData::Buffer(buffer)) => {
                if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
                    tell(pad, &state, said.take());
                } else if said.is_news_to(&state) {
                    pad.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().build());
                }
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    })
    .context("no probe")?;
    Ok(())
}

/// What is said with a key frame, in its caps.
fn tell(pad: &gst::Pad, state: &Mutex<Declared>, said: Option<VideoColorimetry>) {
    let set_telling = |is_telling| {
        let mut state = state.lock().ok()?;
        state.is_telling = is_telling;
        Some(())
    };
    let caps = state.lock().ok().and_then(|mut state| {
        let is_new = state.said != said;
        state.said = said;
        let caps = state.came.clone().filter(|_| is_new)?;
        Some(declared(caps, state.said.as_ref()))
    });
    let Some(caps) = caps else { return };
    set_telling(true);
    pad.push_event(gst::event::Caps::new(&caps));
    set_telling(false);
}

fn declared(mut caps: gst::Caps, beside: Option<&VideoColorimetry>) -> gst::Caps {
    for structure in caps.make_mut().iter_mut() {
        let said = structure.get::<String>(COLORIMETRY).ok();
        let said = said.map(|said| said.parse::<VideoColorimetry>());
        match beside {
            Some(beside) if !is_ours(beside) => structure.set(COLORIMETRY, beside.to_string()),
            None if said.is_some_and(|said| !said.is_ok_and(|said| is_ours(&said))) => {}
            _ => structure.set(COLORIMETRY, OURS),
        }
        structure.set(CHROMA_SITE, SITE);
    }
    caps
}

/// Whether the conversion to red, green and blue is the canvas'; the other two numbers of a
/// description (transfer and primaries) differ by nothing that an eye sees.
fn is_ours(colorimetry: &VideoColorimetry) -> bool {
    colorimetry.matrix() == VideoColorMatrix::Bt601
        && colorimetry.range() == VideoColorRange::Range16_235
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(caps: &str, beside: Option<&[u8]>) -> Option<String> {
        gst::init().expect("GStreamer");
        let beside = beside.and_then(read);
        let caps = declared(caps.parse().expect("caps"), beside.as_ref());
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
            assert_eq!(said(caps, None).as_deref(), Some(OURS), "{caps}");
        }
        for other in ["bt709", "1:4:0:0", "bt2020"] {
            let caps = format!("video/x-h264,colorimetry=(string){other}");
            assert_eq!(said(&caps, None).as_deref(), Some(other));
        }
    }

    #[test]
    fn what_is_said_beside_them_counts() {
        for (value, is) in [
            // As Chromium says it of a canvas: BT.709 of full range.
            (&[1, 13, 1, 0x20][..], "1:3:7:1"),
            (&[1, 1, 1, 0x10], "bt709"),
            (&[6, 6, 6, 0x10], OURS),
            (&[2, 2, 2, 0x20], "1:4:0:0"),
            (&[1, 13, 0, 0x10], OURS),
            (&[255, 255, 255, 0x30], OURS),
            (&[1, 1, 1], "bt2020"),
        ] {
            let caps = "video/x-h264,colorimetry=(string)bt2020";
            assert_eq!(said(caps, Some(value)).as_deref(), Some(is), "{value:?}");
        }
    }

    fn any(direction: gst::PadDirection) -> gst::PadTemplate {
        let caps = gst::Caps::new_any();
        gst::PadTemplate::new("pad", direction, gst::PadPresence::Always, &caps)
            .expect("a template")
    }

    /// What reaches who decodes: colours, and pictures.
    fn decoder() -> (gst::Pad, Arc<Mutex<Vec<String>>>) {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (events, pictures) = (seen.clone(), seen.clone());
        let pad = gst::Pad::builder_from_template(&any(gst::PadDirection::Sink))
            .event_function(move |_, _, event| {
                if let gst::EventView::Caps(event) = event.view()
                    && let Some(structure) = event.caps().structure(0)
                    && let Ok(colorimetry) = structure.get(COLORIMETRY)
                {
                    events.lock().expect("unharmed").push(colorimetry);
                }
                true
            })
            .chain_function(move |_, _, _| {
                pictures.lock().expect("unharmed").push("picture".into());
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        (pad, seen)
    }

    #[test]
    fn colours_change_with_key_frames_alone_and_ask_for_one() {
        gst::init().expect("GStreamer");
        let asked: Arc<Mutex<u32>> = Arc::default();
        let asks = asked.clone();
        let coded = gst::Pad::builder_from_template(&any(gst::PadDirection::Src))
            .event_function(move |_, _, event| {
                let is_it = gst_video::UpstreamForceKeyUnitEvent::parse(&event).is_ok();
                *asks.lock().expect("unharmed") += u32::from(is_it);
                true
            })
            .build();
        let said = Said::default();
        declare(&coded, said.clone()).expect("a probe");
        let (decoder, seen) = decoder();
        coded.link(&decoder).expect("linked");
        for pad in [&coded, &decoder] {
            pad.set_active(true).expect("active");
        }
        coded.push_event(gst::event::StreamStart::new("camera"));
        let caps: gst::Caps = "video/x-vp8".parse().expect("caps");
        coded.push_event(gst::event::Caps::new(&caps));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        coded.push_event(gst::event::Segment::new(&segment));
        let push = |is_key: bool, word: Option<&[u8]>| {
            *said.0.lock().expect("unharmed") = word.and_then(read).or(said.take());
            let mut picture = gst::Buffer::new();
            if !is_key {
                let picture = picture.get_mut().expect("ours alone");
                picture.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            coded.push(picture).expect("taken");
        };
        let canvas: &[u8] = &[1, 13, 1, 0x20];
        push(true, Some(canvas));
        push(false, None);
        push(true, None);
        assert_eq!(*asked.lock().expect("unharmed"), 0);
        push(false, Some(canvas));
        assert_eq!(*asked.lock().expect("unharmed"), 1);
        push(true, Some(canvas));
        let is = seen.lock().expect("unharmed").join(" ");
        let full = "1:3:7:1";
        let should = format!("{OURS} {full} picture picture {OURS} picture picture {full} picture");
        assert_eq!(is, should);
    }
}
