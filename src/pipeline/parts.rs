//! The grid on which every rendition is cut, and the parts that come of it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use gst::prelude::*;

use super::run::Outbox;
use crate::program::core::wire::FromChild;

/// Segments and parts begin where the running time is a multiple of these.
#[derive(Debug, Clone)]
pub struct Grid {
    segment: Duration,
    part: Duration,
    /// The part with which all renditions begin: the first that is whole.
    begin: Arc<OnceLock<u64>>,
}

impl Grid {
    pub fn new(segment: Duration, part: Duration) -> Self {
        let begin = Arc::default();
        Self {
            segment,
            part,
            begin,
        }
    }

    /// Which segment, and which part of all, a time is in. Times within half a frame before a
    /// border are past it: frame times are rounded, borders are not.
    fn cell(&self, time: gst::ClockTime) -> (u64, u64) {
        const TOLERANCE_NS: u64 = 2_000_000;
        let ns = u128::from(time.nseconds() + TOLERANCE_NS);
        let index = |length: Duration| (ns / length.as_nanos().max(1)) as u64;
        (index(self.segment), index(self.part))
    }
}

/// Asks the encoders for a key frame where the first whole part begins, and where each segment
/// does. `tee` is what feeds all of them.
///
/// The very first frame is one unasked. To ask for it would make it the last: GStreamer 1.22's
/// encoder base notes that request with the 1000 hours x264enc adds to its times, and takes every
/// later one for older.
pub fn force_key_frames(tee: &gst::Element, grid: &Grid) -> anyhow::Result<()> {
    let pad = tee.static_pad("sink").context("no sink pad")?;
    let grid = grid.clone();
    let mut last = None;
    watch_buffers(&pad, move |pad, _, time| {
        let now = grid.cell(time);
        let begin = *grid.begin.get_or_init(|| now.1 + 1);
        let before = last.replace(now).unwrap_or(now);
        if before.0 != now.0 || (before.1 < begin && now.1 >= begin) {
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

/// Tells cmafmux, which follows `parser`, to cut where a part or a segment begins. Only a key
/// frame begins a segment: cmafmux marks as independent what it is told to begin.
///
/// What comes before the first whole part is dropped: every part but a segment's last must have
/// its full length (RFC 8216bis §4.4.4.9).
pub fn split(parser: &gst::Element, grid: &Grid) -> anyhow::Result<()> {
    let pad = parser.static_pad("src").context("no source pad")?;
    let grid = grid.clone();
    let mut last: Option<(u64, u64)> = None;
    watch_buffers(&pad, move |pad, buffer, time| {
        let now = grid.cell(time);
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let may_begin = key && grid.begin.get().is_some_and(|begin| now.1 >= *begin);
        if last.is_none() && !may_begin {
            return gst::PadProbeReturn::Drop;
        }
        if let Some(before) = last.replace(now).filter(|before| *before != now) {
            let chunk = before.0 == now.0 || !key;
            let structure = gst::Structure::builder("FMP4MuxSplitNow")
                .field("chunk", chunk)
                .build();
            pad.push_event(gst::event::CustomDownstream::new(structure));
        }
        gst::PadProbeReturn::Ok
    })
}

/// Sends what `sink` gets to the parent: headers, and one part for each list of buffers.
pub fn collect(sink: &gst::Element, rendition: &str, outbox: Outbox) -> anyhow::Result<()> {
    let sink = sink
        .downcast_ref::<gst_app::AppSink>()
        .context("no appsink")?;
    sink.set_buffer_list(true);
    let rendition = rendition.to_owned();
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            for frame in frames(&sample, &rendition) {
                outbox.send(frame).map_err(|_| gst::FlowError::Eos)?;
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    sink.set_callbacks(callbacks);
    Ok(())
}

/// A list is `[ftyp moov]?` then `[moof, mdat's header]` and the samples.
fn frames(sample: &gst::Sample, rendition: &str) -> Vec<FromChild> {
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
            let starts_segment = !flags.contains(gst::BufferFlags::DELTA_UNIT);
            part = time.map(|time| (time, duration.into(), starts_segment));
        }
        bytes.extend_from_slice(&map);
    }
    if let Some((time, duration, segment_start)) = part {
        found.push(FromChild::Part {
            rendition: rendition.to_owned(),
            decode_time: time.into(),
            duration,
            independent: segment_start,
            segment_start,
            bytes: bytes.into(),
        });
    }
    found
}

/// Calls `f` with each buffer that comes to `pad`, and its running time; it says whether the
/// buffer passes.
pub fn watch_buffers(
    pad: &gst::Pad,
    f: impl FnMut(&gst::Pad, &gst::BufferRef, gst::ClockTime) -> gst::PadProbeReturn + Send + 'static,
) -> anyhow::Result<()> {
    let f = std::sync::Mutex::new(f);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad
            .sticky_event::<gst::event::Segment>(0)
            .and_then(|event| event.segment().downcast_ref::<gst::ClockTime>().cloned());
        if let Some(buffer) = info.buffer()
            && let Some((segment, pts)) = segment.zip(buffer.pts())
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
