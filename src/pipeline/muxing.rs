//! A picture's rendition on its way into parts.

use std::time::Duration;

use anyhow::Context;
use gst::prelude::*;

use super::parts::{self, Cuts, SharedGrid};
use super::run::Outbox;

/// Cuts where it is told ([`parts::split`]).
pub const MUXER: &str = "cmafmux manual-split=true send-force-keyunit=false latency=100000000";

/// Ticks a second, as of RTP: the frames of all usual rates are whole numbers of them, and what is
/// copied, of which nobody says the rate, has the same as what is encoded.
const TIMESCALE: u32 = 90_000;

/// Parser, muxer and sink behind a rendition's encoder. They can be made anew between two frames: a
/// muxer whose header changes in the middle of what it was told to cut panics (gst-plugin-fmp4 0.14).
pub struct Muxing {
    rendition: String,
    /// How long one lasts.
    frame: Duration,
    /// Of the tee behind the encoder.
    from: gst::Pad,
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    grid: SharedGrid,
    outbox: Outbox,
    now: Option<Muxer>,
}

struct Muxer {
    bin: gst::Bin,
    cuts: Cuts,
    /// The muxer's own.
    sink: gst::Pad,
}

impl Muxing {
    pub fn new(
        pipeline: &gst::Pipeline,
        tee: &gst::Element,
        rendition: &str,
        frame: Duration,
        grid: SharedGrid,
        outbox: Outbox,
    ) -> anyhow::Result<Self> {
        let from = tee.request_pad_simple("src_%u").context("no source pad")?;
        let mut muxing = Self {
            rendition: rendition.to_owned(),
            frame,
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
        let old = self.now.take().context("no muxer")?;
        old.cuts.note(&self.grid, time);
        let sink = old.bin.static_pad("sink").context("no sink pad")?;
        self.from.unlink(&sink)?;
        self.begin()?;
        old.stay_until(time);
        // The old one takes itself away when all is out.
        sink.send_event(gst::event::Eos::new());
        Ok(())
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        let description = format!(
            "h264parse config-interval=0 name=cut ! {MUXER} name=mux ! appsink name=out sync=false async=false"
        );
        let bin = gst::parse::bin_from_description(&description, true)?;
        let find = |name: &str| bin.by_name(name).context("a part is missing");
        let mux = find("mux")?.static_pad("sink").context("no sink pad")?;
        mux.set_property("trak-timescale", TIMESCALE);
        let cuts = parts::split(&find("cut")?, &self.grid, Some(self.frame))?;
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
        self.now = Some(Muxer {
            bin,
            cuts,
            sink: mux,
        });
        Ok(())
    }
}

impl Muxer {
    /// The last picture is there until the next one is: else players would have a hole where one
    /// who was copied fell silent, and all that follows beside the sound.
    fn stay_until(&self, time: gst::ClockTime) {
        let segment = parts::segment(&self.sink);
        let Some((segment, (end, missing))) = segment.zip(self.cuts.missing(time)) else {
            return;
        };
        let Some(at) = segment.position_from_running_time(end) else {
            return;
        };
        let mut gap = gst::Buffer::new();
        {
            let gap = gap.make_mut();
            gap.set_pts(at);
            gap.set_dts(at);
            gap.set_duration(missing);
            // cmafmux knows a gap by the first two.
            gap.set_flags(
                gst::BufferFlags::GAP | gst::BufferFlags::DROPPABLE | gst::BufferFlags::DELTA_UNIT,
            );
        }
        // An error is told of by who made it.
        let _ = self.sink.chain(gap);
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::pipeline::abilities::load;
    use crate::program::core::grid::Grid;
    use crate::program::core::wire::{FromChild, Part};
    use crate::room::MediaKind;

    /// What the media header says (ISO/IEC 14496-12 §8.4.2).
    fn timescale(init: &[u8]) -> u32 {
        let at = init.windows(4).position(|kind| kind == b"mdhd").unwrap() + 4;
        let dates = if init[at] == 1 { 16 } else { 8 };
        let at = at + 4 + dates;
        u32::from_be_bytes(init[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn missing_frames_make_no_part_longer_or_shorter_and_leave_no_hole() {
        load().unwrap();
        let frame = Duration::from_secs(1) / 30;
        // One part's end and begin are missing, then what is before a new header. x264enc takes the
        // frame rate that it is not told for 25, and says so in the stream.
        let numbers = (0..22).chain(27..40).chain(50..90);
        let pipeline = gst::parse::launch(
            "appsrc name=in format=time caps=video/x-raw,format=I420,width=64,height=64,framerate=0/1 \
             ! x264enc tune=zerolatency key-int-max=1 ! tee name=out",
        )
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
        let mut grid = Grid::new(Duration::from_secs(2), Duration::from_millis(200));
        grid.begin(MediaKind::Audio, Duration::ZERO);
        grid.begin(MediaKind::Video, Duration::ZERO);
        let grid = Arc::new(Mutex::new(grid));
        let (outbox, made) = std::sync::mpsc::sync_channel(100);
        let tee = pipeline.by_name("out").unwrap();
        let mut muxing = Muxing::new(&pipeline, &tee, "64p", frame, grid.clone(), outbox).unwrap();
        let mut last = None;
        let sink = tee.static_pad("sink").unwrap();
        parts::watch_buffers(&sink, move |_, _, time| {
            let last = last.replace(time).unwrap_or(time);
            if time - last > gst::ClockTime::from_mseconds(300) {
                grid.lock().unwrap().begin_segment(time.into(), true);
                muxing.renew(time).unwrap();
            }
            gst::PadProbeReturn::Ok
        })
        .unwrap();

        pipeline.set_state(gst::State::Playing).unwrap();
        let source = pipeline.by_name("in").unwrap();
        let source = source.downcast::<gst_app::AppSrc>().unwrap();
        for number in numbers {
            let mut buffer = gst::Buffer::from_slice(vec![0; 64 * 64 * 3 / 2]);
            let buffer_ref = buffer.make_mut();
            buffer_ref.set_pts(
                gst::ClockTime::try_from(frame * number + Duration::from_millis(10)).unwrap(),
            );
            buffer_ref.set_duration(gst::ClockTime::try_from(frame).unwrap());
            source.push_buffer(buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        let mut parts: Vec<Part> = Vec::new();
        while let Ok(frame) = made.recv_timeout(Duration::from_secs(2)) {
            match frame {
                FromChild::Part(part) => parts.push(part),
                FromChild::Init { bytes, .. } => assert_eq!(timescale(&bytes), TIMESCALE),
                _ => {}
            }
        }
        pipeline.set_state(gst::State::Null).unwrap();

        parts.sort_by_key(|part| part.decode_time);
        let end = |part: &Part| part.decode_time + part.duration;
        assert!(parts.iter().any(|part| part.discontinuity));
        for pair in parts.windows(2) {
            let [end, next] = [end(&pair[0]), pair[1].decode_time];
            assert!(
                next.abs_diff(end) < Duration::from_micros(10),
                "{end:?} {next:?}"
            );
        }
        let (_, all_but_last) = parts.split_last().unwrap();
        for part in all_but_last.iter().filter(|part| !part.ends_segment) {
            let other = part.duration.abs_diff(Duration::from_millis(200));
            assert!(other < Duration::from_micros(10), "{:?}", part.duration);
        }
        let all = end(parts.last().unwrap()) - parts[0].decode_time;
        assert!(
            all.abs_diff(frame * 84) < Duration::from_millis(1),
            "{all:?}"
        );
    }
}
