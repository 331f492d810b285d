//! Carries out what [`Splice`] decides: a publisher's own frames in the encoder's place.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use gst::prelude::*;

use super::muxing::Muxing;
use super::parts::{self, SharedGrid};
use super::run::Outbox;
use crate::program::core::ladder::VideoRendition;
use crate::program::core::splice::{Frame, Source, Splice, Verdict};
use crate::program::core::wire::{FromChild, InputId};

/// The last frames of the smaller rendition are out of its encoder by then.
const LAST_WITHIN: Duration = Duration::from_millis(100);

/// A copied frame, and its caps.
type Copied = (gst::Buffer, gst::Caps);

/// The rendition that may be copied: the first of the ladder.
#[derive(Clone)]
pub struct Splicing {
    splice: Arc<Mutex<Splice<Copied>>>,
    grid: SharedGrid,
    size_px: (u32, u32),
    frame: Duration,
    outbox: Outbox,
}

impl Splicing {
    pub fn new(
        rendition: &VideoRendition,
        frame: Duration,
        grid: SharedGrid,
        outbox: Outbox,
    ) -> Self {
        let splice = Splice::new(frame, rendition.bitrate_bps);
        Self {
            splice: Arc::new(Mutex::new(splice)),
            grid,
            size_px: (rendition.width_px, rendition.height_px),
            frame,
            outbox,
        }
    }

    /// Says what may be copied from now on.
    pub fn allow(&self, source: Option<InputId>) {
        if let (Ok(mut splice), Ok(mut grid)) = (self.splice.lock(), self.grid.lock()) {
            splice.handle_publisher(source, &mut grid);
        }
    }

    /// That input is on its way out.
    pub fn forbid(&self, input: InputId) {
        let publisher = self
            .splice
            .lock()
            .ok()
            .and_then(|splice| splice.publisher());
        if publisher == Some(input) {
            self.allow(None);
        }
    }

    /// What is copied now.
    pub fn copied(&self) -> Option<Source> {
        self.splice.lock().ok()?.source()
    }

    /// Whether a publisher is copied, or would be as soon as the smaller rendition is not.
    pub fn can_copy(&self) -> bool {
        self.splice.lock().is_ok_and(|splice| splice.can_copy())
    }

    /// Copies the smaller rendition from now on, or no longer. False if it cannot be done yet.
    pub fn shed(&self, is_shed: bool) -> bool {
        match (self.splice.lock(), self.grid.lock()) {
            (Ok(mut splice), Ok(mut grid)) => splice.shed(is_shed, &mut grid),
            _ => false,
        }
    }

    /// Offers the next smaller rendition's frames, which come to `tee`.
    pub fn watch_smaller(&self, tee: &gst::Element) -> anyhow::Result<()> {
        let pad = tee.static_pad("sink").context("no sink pad")?;
        let splicing = self.clone();
        parts::watch_buffers(&pad, move |pad, buffer, time| {
            if let (Ok(mut splice), Some(caps)) = (splicing.splice.lock(), pad.current_caps())
                && splice.source() == Some(Source::SmallerRendition)
            {
                splice.handle_smaller(time.into(), (buffer.to_owned(), caps));
            }
            gst::PadProbeReturn::Ok
        })
    }

    /// Offers an input's frames, which leave `parser` as H.264 access units.
    pub fn watch_input(&self, parser: &gst::Element, input: InputId) -> anyhow::Result<()> {
        let pad = parser.static_pad("src").context("no source pad")?;
        let splicing = self.clone();
        parts::watch_buffers(&pad, move |pad, buffer, time| {
            splicing.offer(pad, buffer, time, input);
            gst::PadProbeReturn::Ok
        })
    }

    fn offer(&self, pad: &gst::Pad, buffer: &gst::BufferRef, time: gst::ClockTime, input: InputId) {
        let Ok(mut splice) = self.splice.lock() else {
            return;
        };
        if splice.publisher() != Some(input) {
            return;
        }
        let (Some(caps), Ok(mut grid)) = (pad.current_caps(), self.grid.lock()) else {
            return;
        };
        let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        // One header is for all that is copied in one go.
        let is_copied = splice.source() == Some(Source::Publisher(input));
        let held = splice.held().filter(|_| is_copied);
        let is_same = held.is_none_or(|(_, before)| *before == caps);
        let frame = Frame {
            time: time.into(),
            is_key,
            fits: is_same && size(&caps) == Some(self.size_px),
            bytes: buffer.size(),
            data: (buffer.to_owned(), caps),
        };
        if splice.handle_frame(frame, &mut grid) {
            let _ = self.outbox.try_send(FromChild::KeyFrameWanted { input });
        }
    }

    /// `queue` leads into the rendition's encoder, whose frames come out to `tee`, and go on to
    /// `muxing`.
    pub fn watch_canvas(
        &self,
        queue: &gst::Element,
        tee: &gst::Element,
        muxing: Muxing,
    ) -> anyhow::Result<()> {
        let before = queue.static_pad("src").context("no source pad")?;
        let after = tee.static_pad("sink").context("no sink pad")?;
        let encoder = after.peer().context("no encoder")?;
        // Encoders on cards may hold some frames for a while.
        let in_encoder: Arc<Mutex<i64>> = Arc::default();
        let count = move |counter: &Mutex<i64>, by: i64| {
            counter.lock().map_or(0, |mut count| {
                *count += by;
                *count
            })
        };
        let came_out = in_encoder.clone();
        parts::watch_buffers(&encoder, move |_, _, _| {
            count(&came_out, -1);
            gst::PadProbeReturn::Ok
        })?;
        let splicing = self.clone();
        let mut out = Out {
            pad: after,
            encoder,
            frame: self.frame,
            caps: None,
            muxing,
        };
        parts::watch_buffers(&before, move |pad, _, time| {
            let verdict = splicing.verdict(time);
            if count(&in_encoder, 0) <= 0 {
                out.push_all(&splicing);
            }
            if verdict == Verdict::EncodeAnew {
                let since = Instant::now();
                while splicing.lacks_frames() && since.elapsed() < LAST_WITHIN {
                    std::thread::sleep(LAST_WITHIN / 20);
                    out.push_all(&splicing);
                }
                splicing.leave();
            }
            match verdict {
                Verdict::Replace => return gst::PadProbeReturn::Drop,
                Verdict::Encode => {}
                Verdict::EncodeAnew => {
                    out.give_back(time);
                    pad.push_event(parts::key_frame_at(time));
                }
            }
            count(&in_encoder, 1);
            gst::PadProbeReturn::Ok
        })?;
        // What the encoder is not there for, it shall not remember.
        let splicing = self.clone();
        before
            .add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                let is_wish = info
                    .event()
                    .and_then(|event| event.structure())
                    .is_some_and(|structure| structure.name() == "GstForceKeyUnit");
                match is_wish && splicing.copied().is_some() {
                    // An event that is only dropped is freed twice (GStreamer 1.22).
                    true => gst::PadProbeReturn::Handled,
                    false => gst::PadProbeReturn::Ok,
                }
            })
            .context("no probe")?;
        Ok(())
    }

    fn verdict(&self, time: gst::ClockTime) -> Verdict {
        match (self.splice.lock(), self.grid.lock()) {
            (Ok(mut splice), Ok(mut grid)) => splice.handle_canvas(time.into(), &mut grid),
            _ => Verdict::Encode,
        }
    }

    fn lacks_frames(&self) -> bool {
        self.splice.lock().is_ok_and(|splice| splice.lacks_frames())
    }

    fn leave(&self) {
        if let Ok(mut splice) = self.splice.lock() {
            splice.handle_left();
        }
    }

    fn poll(&self) -> Option<(Duration, Copied)> {
        self.splice.lock().ok()?.poll()
    }
}

/// Where copied frames go, as if the encoder had made them.
struct Out {
    pad: gst::Pad,
    encoder: gst::Pad,
    frame: Duration,
    /// Of what is copied; `None` while frames are the encoder's.
    caps: Option<gst::Caps>,
    muxing: Muxing,
}

impl Out {
    /// What is due.
    fn push_all(&mut self, splicing: &Splicing) {
        while let Some((time, copied)) = splicing.poll() {
            self.push(time, copied);
        }
    }

    fn push(&mut self, time: Duration, (mut buffer, caps): Copied) {
        let segment = parts::segment(&self.encoder);
        let (Some(segment), Ok(time)) = (segment, gst::ClockTime::try_from(time)) else {
            return;
        };
        // Encoders may have times of their own; their segment says which.
        let Some(at) = segment.position_from_running_time(time) else {
            return;
        };
        if self.caps.is_none() {
            self.change(time, &caps);
        }
        self.caps = Some(caps);
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(at);
            buffer.set_dts(at);
            buffer.set_duration(gst::ClockTime::try_from(self.frame).ok());
            buffer.unset_flags(gst::BufferFlags::DISCONT);
        }
        // An error is told of by who made it.
        let _ = self.pad.chain(buffer);
    }

    /// What follows is the encoder's own again.
    fn give_back(&mut self, time: gst::ClockTime) {
        self.caps = None;
        if let Some(caps) = self.encoder.current_caps() {
            self.change(time, &caps);
        }
    }

    fn change(&mut self, time: gst::ClockTime, caps: &gst::Caps) {
        if let Err(error) = self.muxing.renew(time) {
            eprintln!("the muxer cannot be made anew: {error:#}");
        }
        self.pad.send_event(gst::event::Caps::new(caps));
    }
}

fn size(caps: &gst::Caps) -> Option<(u32, u32)> {
    let structure = caps.structure(0)?;
    let px = |field| u32::try_from(structure.get::<i32>(field).ok()?).ok();
    Some((px("width")?, px("height")?))
}
