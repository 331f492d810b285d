//! A picture on the canvas that nobody sends: made once, and shown for as long as it stands there.

use std::path::Path;

use anyhow::Context;
use gst::prelude::*;

use super::colours;
use super::input;
use super::motion::{Motion, Transition};
use crate::program::core::layout::Tile;
use crate::program::core::layout::card::{Card, SLATE_HEIGHT};

/// The mixer shows a frame for as long as it lasts, and each new one wakes four threads for nothing.
const RATE: &str = "1/1";

/// Below a name's line, of its card's height: capitals stand in the middle.
const NAME_PADDING_PERCENT: i32 = 14;

/// What is written, in which size: another size is another card.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    card: Card,
    width_px: u32,
    height_px: u32,
}

/// One card's branch of the graph.
pub struct CardBranch {
    look: Look,
    bin: gst::Bin,
    mixer: gst::Element,
    mixer_pad: gst::Pad,
    motion: Motion,
}

impl Look {
    fn of(card: &Card, tile: &Tile) -> Self {
        Self {
            card: card.clone(),
            width_px: tile.width_px,
            height_px: tile.height_px,
        }
    }
}

impl CardBranch {
    pub fn new(
        card: &Card,
        tile: &Tile,
        pipeline: &gst::Pipeline,
        mixer: &gst::Element,
        transition: Transition,
    ) -> anyhow::Result<Self> {
        let caps = format!(
            "video/x-raw,format=I420,width={},height={},pixel-aspect-ratio=1/1,{}",
            tile.width_px,
            tile.height_px,
            colours::CAPS
        );
        let bin = match card {
            Card::Backdrop(file) => picture(file, &caps)?,
            Card::Name(_) | Card::Initials(_) | Card::Slate(_) => letters(card, tile, &caps)?,
        };
        let end = bin.by_name("out").context("no end")?;
        let end = end.static_pad("src").context("no source pad")?;
        bin.add_pad(
            &gst::GhostPad::builder_with_target(&end)?
                .name("src")
                .build(),
        )?;
        pipeline.add(&bin)?;
        let mixer_pad = mixer
            .request_pad_simple("sink_%u")
            .context("no mixer pad")?;
        let motion = Motion::new(&mixer_pad)?;
        let mut branch = Self {
            motion,
            look: Look::of(card, tile),
            bin,
            mixer: mixer.clone(),
            mixer_pad,
        };
        branch.place(tile, transition);
        let output = branch.bin.static_pad("src").context("no output")?;
        // Its times begin at 0, and the canvas' did long ago. The mixer takes them one by one.
        let now = pipeline.current_running_time().unwrap_or_default();
        output.set_offset(now.nseconds() as i64);
        output.link(&branch.mixer_pad)?;
        branch.bin.sync_state_with_parent()?;
        Ok(branch)
    }

    /// As sharp as the canvas, and more than a name in the corner.
    pub fn is_drawn(&self) -> bool {
        !matches!(self.look.card, Card::Name(_))
    }

    pub fn is(&self, card: &Card, tile: &Tile) -> bool {
        self.look == Look::of(card, tile)
    }

    pub fn place(&mut self, tile: &Tile, transition: Transition) {
        let z = match self.look.card {
            // In the place of a picture.
            Card::Initials(_) => input::z(tile),
            Card::Name(_) => input::z(tile) + 1,
            Card::Slate(_) => input::OVER_Z + 2,
            Card::Backdrop(_) => input::BEHIND_Z,
        };
        self.mixer_pad.set_property("zorder", z);
        self.motion.go(Some(*tile), transition);
    }

    pub fn remove(self, pipeline: &gst::Pipeline) {
        input::remove(&self.bin, &self.mixer, &self.mixer_pad, pipeline);
    }
}

/// Words on a plain ground, still and without end.
fn letters(card: &Card, tile: &Tile, caps: &str) -> anyhow::Result<gst::Bin> {
    let side_px = tile.height_px.min(tile.width_px);
    let (text, colour, font) = match card {
        Card::Name(text) => {
            let font = format!("Sans {}px", tile.height_px * 6 / 10);
            (text.as_str(), 0xFF20_2428_u32, font)
        }
        Card::Initials(text) => {
            let font = format!("Sans Bold {}px", side_px / 3);
            (text.as_str(), 0xFF2C_3440, font)
        }
        Card::Slate(text) => {
            let size_px = (f64::from(side_px) * SLATE_HEIGHT) as u32;
            (text.as_str(), 0xFF14_181C, format!("Sans {size_px}px"))
        }
        Card::Backdrop(_) => anyhow::bail!("a backdrop has no letters"),
    };
    let description = format!(
        "videotestsrc name=plain pattern=solid-color num-buffers=1 ! {caps} \
         ! textoverlay name=letters halignment=center valignment=center line-alignment=center auto-resize=false \
           wrap-mode=none draw-shadow=false draw-outline=false \
         ! imagefreeze ! video/x-raw,framerate={RATE} ! queue name=out max-size-buffers=2",
    );
    // Only the end is the bin's own: a text pad of textoverlay would be waited for.
    let bin = gst::parse::bin_from_description(&description, false)?;
    let find = |name| bin.by_name(name).context("a part is missing");
    find("plain")?.set_property("foreground-color", colour);
    let letters = find("letters")?;
    // It reads Pango's markup, and names are strangers' words.
    letters.set_property("text", gst::glib::markup_escape_text(text).as_str());
    letters.set_property("font-desc", font);
    if let Card::Name(_) = card {
        // Names stand side by side: on one line, whichever letters they have.
        letters.set_property_from_str("valignment", "baseline");
        letters.set_property("ypad", tile.height_px as i32 * NAME_PADDING_PERCENT / 100);
    }
    Ok(bin)
}

/// A file's picture, as large as it is to be shown.
fn picture(file: &Path, caps: &str) -> anyhow::Result<gst::Bin> {
    let is_png = file
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
    let decoder = if is_png { "pngdec" } else { "jpegdec" };
    let description = format!(
        "filesrc name=file ! {decoder} ! videoconvert ! videoscale add-borders=false ! {caps} \
         ! imagefreeze ! video/x-raw,framerate={RATE} ! queue name=out max-size-buffers=2"
    );
    let bin = gst::parse::bin_from_description(&description, false)?;
    let source = bin.by_name("file").context("no file")?;
    source.set_property("location", file.to_string_lossy().as_ref());
    Ok(bin)
}
