//! A picture's rendition on its way into parts.

use anyhow::Context;
use gst::prelude::*;

use super::parts::{self, Cuts, SharedGrid};
use super::run::Outbox;

/// Cuts where it is told ([`parts::split`]).
pub const MUXER: &str = "cmafmux manual-split=true send-force-keyunit=false latency=100000000";

/// Parser, muxer and sink behind a rendition's encoder. They can be made anew between two frames: a
/// muxer whose header changes in the middle of what it was told to cut panics (gst-plugin-fmp4 0.14).
pub struct Muxing {
    rendition: String,
    /// Of the tee behind the encoder.
    from: gst::Pad,
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    grid: SharedGrid,
    outbox: Outbox,
    now: Option<(gst::Bin, Cuts)>,
}

impl Muxing {
    pub fn new(
        pipeline: &gst::Pipeline,
        tee: &gst::Element,
        rendition: &str,
        grid: SharedGrid,
        outbox: Outbox,
    ) -> anyhow::Result<Self> {
        let from = tee.request_pad_simple("src_%u").context("no source pad")?;
        let mut muxing = Self {
            rendition: rendition.to_owned(),
            from,
            pipeline: pipeline.downgrade(),
            grid,
            outbox,
            now: None,
        };
        muxing.begin()?;
        Ok(muxing)
    }

    /// Finishes the part that is open, and begins with a new header. Only the thread that the frames
    /// come by may call it, before the frame of this time.
    pub fn renew(&mut self, time: gst::ClockTime) -> anyhow::Result<()> {
        let (bin, cuts) = self.now.take().context("no muxer")?;
        cuts.note(&self.grid, time);
        let sink = bin.static_pad("sink").context("no sink pad")?;
        self.from.unlink(&sink)?;
        self.begin()?;
        // The old one takes itself away when all is out.
        sink.send_event(gst::event::Eos::new());
        Ok(())
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        let description = format!(
            "h264parse config-interval=0 name=cut ! {MUXER} ! appsink name=out sync=false async=false"
        );
        let bin = gst::parse::bin_from_description(&description, true)?;
        let find = |name: &str| bin.by_name(name).context("a part is missing");
        let cuts = parts::split(&find("cut")?, &self.grid)?;
        let over = {
            let (bin, pipeline) = (bin.downgrade(), self.pipeline.clone());
            move || {
                if let (Some(bin), Some(pipeline)) = (bin.upgrade(), pipeline.upgrade()) {
                    take_away(bin, &pipeline);
                }
            }
        };
        parts::collect(
            &find("out")?,
            &self.rendition,
            cuts.clone(),
            self.outbox.clone(),
            over,
        )?;
        let pipeline = self.pipeline.upgrade().context("no pipeline")?;
        pipeline.add(&bin)?;
        let sink = bin.static_pad("sink").context("no sink pad")?;
        self.from.link(&sink)?;
        bin.sync_state_with_parent()?;
        self.now = Some((bin, cuts));
        Ok(())
    }
}

/// Not by the thread that is to end, and not when the whole program ends.
fn take_away(bin: gst::Bin, pipeline: &gst::Pipeline) {
    let is_linked = bin.static_pad("sink").is_some_and(|sink| sink.is_linked());
    if is_linked {
        return;
    }
    pipeline.call_async(move |pipeline| {
        bin.set_locked_state(true);
        let _ = bin.set_state(gst::State::Null);
        let _ = pipeline.remove(&bin);
    });
}
