//! A picture of letters on the canvas: made once, and shown for as long as it stands there.

use anyhow::Context;
use gst::prelude::*;

use super::motion::{Motion, Transition};
use crate::program::core::layout::{Card, Tile};

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
        fps: u32,
        pipeline: &gst::Pipeline,
        mixer: &gst::Element,
        transition: Transition,
    ) -> anyhow::Result<Self> {
        let (text, colour, font) = match card {
            Card::Name(name) => (
                name,
                0xFF20_2428_u32,
                format!("Sans {}px", tile.height_px * 6 / 10),
            ),
            Card::Initials(letters) => {
                let size_px = tile.height_px.min(tile.width_px) / 3;
                (letters, 0xFF2C_3440, format!("Sans Bold {size_px}px"))
            }
        };
        let description = format!(
            "videotestsrc name=plain pattern=solid-color num-buffers=1 \
             ! video/x-raw,format=I420,width={},height={},framerate={fps}/1,pixel-aspect-ratio=1/1 \
             ! textoverlay name=letters halignment=center valignment=center auto-resize=false wrap-mode=none draw-shadow=false draw-outline=false \
             ! imagefreeze ! queue name=out max-size-buffers=2",
            tile.width_px, tile.height_px,
        );
        // Only the end is the bin's own: a text pad of textoverlay would be waited for.
        let bin = gst::parse::bin_from_description(&description, false)?;
        let find = |name| {
            bin.by_name(name)
                .with_context(|| format!("no element {name}"))
        };
        let end = find("out")?.static_pad("src").context("no source pad")?;
        bin.add_pad(
            &gst::GhostPad::builder_with_target(&end)?
                .name("src")
                .build(),
        )?;
        find("plain")?.set_property("foreground-color", colour);
        let letters = find("letters")?;
        // It reads Pango's markup, and names are strangers' words.
        letters.set_property("text", gst::glib::markup_escape_text(text).as_str());
        letters.set_property("font-desc", font);
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

    pub fn is(&self, card: &Card, tile: &Tile) -> bool {
        self.look == Look::of(card, tile)
    }

    pub fn place(&mut self, tile: &Tile, transition: Transition) {
        // A name stands on a picture, and initials in its place.
        let above = u32::from(matches!(self.look.card, Card::Name(_)));
        let z = super::input::z(tile) + above;
        self.mixer_pad.set_property("zorder", z);
        self.motion.go(Some(*tile), transition);
    }

    pub fn remove(self, pipeline: &gst::Pipeline) {
        super::input::remove(&self.bin, &self.mixer, &self.mixer_pad, pipeline);
    }
}
