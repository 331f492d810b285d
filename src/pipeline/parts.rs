//! Cuts every rendition where the grid says, and makes parts of what is cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;

use super::run::Outbox;
use crate::program::core::grid::{Cell, Grid};
use crate::program::core::wire::{FromChild, Part};
use crate::room::MediaKind;

/// What all threads ask where they are to cut.
pub type SharedGrid = Arc<Mutex<Grid>>;

fn cell(grid: &SharedGrid, time: gst::ClockTime) -> Option<Cell> {
    grid.lock().ok()?.cell(time.into())
}

/// Tells the grid when `tee`, which is fed by the canvas or the mix, has its first buffer.
pub fn note_begin(tee: &gst::Element, kind: MediaKind, grid: &SharedGrid) -> anyhow::Result<()> {
    let pad = tee.static_pad("sink").context("no sink pad")?;
    let grid = grid.clone();
    let mut is_noted = false;
    watch_buffers(&pad, move |_, _, time| {
        if !std::mem::replace(&mut is_noted, true)
            && let Ok(mut grid) = grid.lock()
        {
            grid.begin(kind, time.into());
        }
        gst::PadProbeReturn::Ok
    })
}

/// Asks the encoders for a key frame where the first whole part begins, and where each segment
/// does. `tee` is what feeds all of them.
///
/// The very first frame is one unasked. To ask for it would make it the last: GStreamer 1.22's
/// encoder base notes that request with the 1000 hours x264enc adds to its times, and takes every
/// later one for older.
pub fn force_key_frames(tee: &gst::Element, grid: &SharedGrid) -> anyhow::Result<()> {
    let pad = tee.static_pad("sink").context("no sink pad")?;
    let grid = grid.clone();
    let mut before: Option<Option<u64>> = None;
    watch_buffers(&pad, move |pad, _, time| {
        let segment = cell(&grid, time).map(|cell| cell.segment);
        if before
            .replace(segment)
            .is_some_and(|before| before != segment)
        {
            // To the tee itself: a probe on its sink pad runs before the buffer gets there.
            pad.send_event(key_frame_at(time));
        }
        gst::PadProbeReturn::Ok
    })
}

/// Makes an encoder begin anew with the frame of this running time.
pub fn key_frame_at(time: gst::ClockTime) -> gst::Event {
    gst_video::DownstreamForceKeyUnitEvent::builder()
        .running_time(time)
        .all_headers(true)
        .build()
}

/// Where a rendition was cut, from the first part that is not out yet.
#[derive(Debug, Clone, Default)]
pub struct Cuts(Arc<Mutex<Cutting>>);

#[derive(Debug, Default)]
struct Cutting {
    borders: VecDeque<(gst::ClockTime, Cell)>,
    /// When the newest buffer begins and ends, in running time.
    newest: Option<(gst::ClockTime, gst::ClockTime)>,
}

impl Cuts {
    /// Times are rounded on their way through the muxer; all parts but some are longer than this.
    const TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(5);

    fn push(&self, time: gst::ClockTime, cell: Cell) {
        if let Ok(mut cutting) = self.0.lock() {
            cutting.borders.push_back((time, cell));
        }
    }

    fn reach(&self, begin: gst::ClockTime, duration: Option<gst::ClockTime>) {
        if let Ok(mut cutting) = self.0.lock() {
            cutting.newest = duration.map(|duration| (begin, begin + duration));
        }
    }

    fn newest(&self) -> Option<(gst::ClockTime, gst::ClockTime)> {
        self.0.lock().ok()?.newest
    }

    /// What is missing between the newest buffer and a time: where it begins, and how long it is.
    pub fn missing(&self, time: gst::ClockTime) -> Option<(gst::ClockTime, gst::ClockTime)> {
        let (_, end) = self.newest()?;
        let missing = time.checked_sub(end)?;
        (missing > Self::TOLERANCE).then_some((end, missing))
    }

    /// Cuts where nothing follows.
    pub fn note(&self, grid: &SharedGrid, time: gst::ClockTime) {
        if let Some(cell) = cell(grid, time) {
            self.push(time, cell);
        }
    }

    /// The cell of the part that begins there, and whether it ends its segment.
    fn take(&self, time: gst::ClockTime) -> Option<(Cell, bool)> {
        let borders = &mut self.0.lock().ok()?.borders;
        while borders
            .get(1)
            .is_some_and(|(next, _)| *next <= time + Self::TOLERANCE)
        {
            borders.pop_front();
        }
        let (_, cell) = *borders.front()?;
        let next = borders.get(1).map(|(_, next)| next.segment);
        Some((cell, next.is_some_and(|next| next != cell.segment)))
    }
}

/// Tells cmafmux, which follows `parser`, to cut where a part or a segment begins. Only a key
/// frame begins a segment: cmafmux marks as independent what it is told to begin.
///
/// What comes before the first whole part is dropped: every part but a segment's last must have
/// its full length (RFC 8216bis §4.4.4.9). `lasts`: how long each buffer does, where the parser has
/// only the stream's word for it, or none.
pub fn split(
    parser: &gst::Element,
    grid: &SharedGrid,
    lasts: Option<Duration>,
) -> anyhow::Result<Cuts> {
    let pad = parser.static_pad("src").context("no source pad")?;
    let (grid, cuts) = (grid.clone(), Cuts::default());
    let made = cuts.clone();
    let lasts = lasts.and_then(|lasts| gst::ClockTime::try_from(lasts).ok());
    let mut before: Option<Cell> = None;
    probe_buffers(&pad, move |pad, buffer, time| {
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if lasts.is_some() {
            buffer.make_mut().set_duration(lasts);
        }
        let time = match made.missing(time) {
            Some(_) => after_missing(buffer, time, &made, &grid),
            None => time,
        };
        let Some(now) = cell(&grid, time).filter(|_| before.is_some() || key) else {
            return gst::PadProbeReturn::Drop;
        };
        let before = before.replace(now);
        if before != Some(now) {
            made.push(time, now);
        }
        made.reach(time, buffer.duration());
        if let Some(before) = before.filter(|before| *before != now) {
            let chunk = before.segment == now.segment || !key;
            let structure = gst::Structure::builder("FMP4MuxSplitNow")
                .field("chunk", chunk)
                .build();
            pad.push_event(gst::event::CustomDownstream::new(structure));
        }
        gst::PadProbeReturn::Ok
    })?;
    Ok(cuts)
}

/// Moves a buffer to where the part begins that is due; the new time.
fn after_missing(
    buffer: &mut gst::Buffer,
    time: gst::ClockTime,
    cuts: &Cuts,
    grid: &SharedGrid,
) -> gst::ClockTime {
    let earlier = cuts.newest().zip(grid.lock().ok());
    let earlier = earlier.and_then(|((last, end), mut grid)| {
        let frame = end.saturating_sub(last);
        let moved = grid.without_gap(last.into(), time.into(), frame.into());
        time.checked_sub(moved.try_into().ok()?)
    });
    let earlier = earlier.unwrap_or_default();
    if !earlier.is_zero() {
        let buffer = buffer.make_mut();
        let [pts, dts] = [buffer.pts(), buffer.dts()].map(|at| at?.checked_sub(earlier));
        buffer.set_pts(pts);
        buffer.set_dts(dts);
    }
    time - earlier
}

/// Sends what `sink` gets to the parent: headers, and one part for each list of buffers. At the end
/// of the stream, calls `over`.
pub fn collect(
    sink: &gst::Element,
    rendition: &str,
    cuts: Cuts,
    outbox: Outbox,
    over: impl Fn() + Send + 'static,
) -> anyhow::Result<()> {
    let sink = sink
        .downcast_ref::<gst_app::AppSink>()
        .context("no appsink")?;
    sink.set_buffer_list(true);
    let rendition = rendition.to_owned();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            for frame in frames(&sample, &rendition, &cuts) {
                outbox.send(frame).map_err(|_| gst::FlowError::Eos)?;
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| over())
        .build();
    sink.set_callbacks(callbacks);
    Ok(())
}

/// A list is `[ftyp moov]?` then `[moof, mdat's header]` and the samples.
fn frames(sample: &gst::Sample, rendition: &str, cuts: &Cuts) -> Vec<FromChild> {
    let mut found = Vec::new();
    let Some(list) = sample.buffer_list_owned() else {
        return found;
    };
    let segment = sample
        .segment()
        .and_then(|s| s.downcast_ref::<gst::ClockTime>());
    let mut part: Option<(gst::ClockTime, Duration, bool)> = None;
    let mut bytes = Vec::new();
    for buffer in list.iter() {
        let flags = buffer.flags();
        let Ok(map) = buffer.map_readable() else {
            continue;
        };
        let header = flags.contains(gst::BufferFlags::HEADER);
        if header && flags.contains(gst::BufferFlags::DISCONT) {
            let bytes = Bytes::copy_from_slice(&map);
            found.push(FromChild::Init {
                rendition: rendition.to_owned(),
                bytes,
            });
            continue;
        }
        if header && part.is_none() {
            let time = buffer.pts().map(|pts| match segment {
                Some(segment) => segment.to_running_time(pts).unwrap_or(pts),
                None => pts,
            });
            let duration = buffer.duration().unwrap_or_default();
            let is_key = !flags.contains(gst::BufferFlags::DELTA_UNIT);
            part = time.map(|time| (time, duration.into(), is_key));
        }
        bytes.extend_from_slice(&map);
    }
    if let Some((time, duration, independent)) = part
        && let Some((cell, ends_segment)) = cuts.take(time)
    {
        found.push(FromChild::Part(Part {
            rendition: rendition.to_owned(),
            decode_time: time.into(),
            duration,
            independent,
            segment: cell.segment,
            ends_segment,
            discontinuity: cell.discontinuity,
            bytes: bytes.into(),
        }));
    }
    found
}

/// How times of what passes `pad` become running times.
pub fn segment(pad: &gst::Pad) -> Option<gst::FormattedSegment<gst::ClockTime>> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    event.segment().downcast_ref::<gst::ClockTime>().cloned()
}

/// Calls `f` with each buffer that comes to `pad`, and its running time; it says whether the
/// buffer passes.
pub fn watch_buffers(
    pad: &gst::Pad,
    mut f: impl FnMut(&gst::Pad, &gst::BufferRef, gst::ClockTime) -> gst::PadProbeReturn
    + Send
    + 'static,
) -> anyhow::Result<()> {
    probe_buffers(pad, move |pad, buffer, time| f(pad, buffer, time))
}

/// The same, of buffers that may be changed.
fn probe_buffers(
    pad: &gst::Pad,
    f: impl FnMut(&gst::Pad, &mut gst::Buffer, gst::ClockTime) -> gst::PadProbeReturn + Send + 'static,
) -> anyhow::Result<()> {
    let f = std::sync::Mutex::new(f);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer_mut()
            && let Some((segment, pts)) = segment(pad).zip(buffer.pts())
            && let Some(time) = segment.to_running_time(pts)
            && let Ok(mut f) = f.lock()
        {
            return f(pad, buffer, time);
        }
        gst::PadProbeReturn::Ok
    })
    .context("no probe")?;
    Ok(())
}
