//! Which source is whose: SSRCs to tracks (RFC 8843 §9.2, RFC 8852), and what of each is known.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::rtp::Header;
use super::stream::Stream;
use crate::room::MediaKind;
use crate::rtc::core::sdp::agreement::{CodecParameters, Media};
use crate::rtc::core::sink::LayerInfo;

/// Sources remembered of one connection: media and RTX of every layer, twice over.
const MAX_SOURCES: usize = 64;

/// RFC 8843 §15.1: mids and rids are short; three bytes or a few letters are usual.
const MAX_NAME_LEN: usize = 32;

/// Video that pauses for this long is muted, or lost.
const VIDEO_STALLS_AFTER: Duration = Duration::from_secs(2);
/// Opus with DTX sends at least every 400 ms, other silence suppression less often.
const AUDIO_STALLS_AFTER: Duration = Duration::from_secs(4);

/// One accepted `m=` section and its sources: one, or one per simulcast rid.
#[derive(Debug)]
pub struct Track {
    pub media: Media,
    pub streams: Vec<Stream>,
    /// The payload type that runs; `None` before the first packet.
    pub running: Option<u8>,
    pub last_packet: Option<Instant>,
    pub stalled: bool,
    /// The loudest level since levels were told, in -dBov; [`NO_LEVEL`] if none came.
    pub loudest: u8,
}

/// RFC 6464 §3: levels go from 0, full scale, to 127, silence.
pub const SILENCE: u8 = 127;
pub const NO_LEVEL: u8 = 255;

/// What a packet of one SSRC is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub track: usize,
    pub stream: usize,
    pub rtx: bool,
}

/// The tracks of a connection, and the way from an SSRC to one of them.
#[derive(Debug)]
pub struct Tracks {
    pub tracks: Vec<Track>,
    sources: BTreeMap<u32, Source>,
}

impl Tracks {
    pub fn new(media: Vec<Media>) -> Self {
        let mut tracks = Self {
            tracks: Vec::new(),
            sources: BTreeMap::new(),
        };
        tracks.agree(media);
        tracks
    }

    /// After a negotiation: a section keeps its place, and its track where the source is the same.
    pub fn agree(&mut self, media: Vec<Media>) {
        for (at, media) in media.into_iter().enumerate() {
            match self.tracks.get_mut(at) {
                Some(track) if track.media.ssrcs == media.ssrcs => track.media = media,
                Some(track) => {
                    self.sources.retain(|_, source| source.track != at);
                    *track = Track::new(media);
                    self.declare(at);
                }
                None => {
                    self.tracks.push(Track::new(media));
                    self.declare(at);
                }
            }
        }
    }

    fn declare(&mut self, track: usize) {
        let Some(of) = self.tracks.get(track) else {
            return;
        };
        // With rids the order of `a=ssrc` says nothing, so the extension tells.
        if let (true, Some(declared)) = (of.media.rids.is_empty(), of.media.ssrcs.first()) {
            let source = |rtx| Source {
                track,
                stream: 0,
                rtx,
            };
            self.sources.insert(declared.media, source(false));
            let rtx = declared.rtx.map(|ssrc| (ssrc, source(true)));
            self.sources.extend(rtx);
        }
    }

    /// The source of a packet; `None` if nothing tells, or it is one source too many.
    pub fn find(&mut self, header: &Header, packet: &[u8]) -> Option<Source> {
        if let Some(source) = self.sources.get(&header.ssrc) {
            return Some(*source);
        }
        if self.sources.len() >= MAX_SOURCES {
            return None;
        }
        let source = self
            .by_extension(header, packet)
            .or_else(|| self.by_payload_type(header))?;
        self.sources.insert(header.ssrc, source);
        Some(source)
    }

    /// The media stream of `ssrc`, as RTCP names it.
    pub fn stream_mut(&mut self, ssrc: u32) -> Option<(usize, &mut Stream)> {
        let source = *self.sources.get(&ssrc)?;
        let stream = self
            .tracks
            .get_mut(source.track)?
            .streams
            .get_mut(source.stream)?;
        (stream.ssrc == ssrc).then_some((source.track, stream))
    }

    fn by_extension(&mut self, header: &Header, packet: &[u8]) -> Option<Source> {
        let track = self.tracks.iter().position(|track| {
            let mid = track.media.extensions.mid;
            mid.and_then(|id| name(header, packet, id)) == Some(&track.media.mid)
        })?;
        let of = self.tracks.get_mut(track)?;
        let rtx = of.media.by_rtx_payload_type(header.payload_type).is_some();
        if of.media.rids.is_empty() {
            return Some(Source {
                track,
                stream: 0,
                rtx,
            });
        }
        let extensions = of.media.extensions;
        let id = if rtx {
            extensions.repaired_rid
        } else {
            extensions.rid
        };
        let rid = id.and_then(|id| name(header, packet, id))?;
        let stream = of.media.rids.iter().position(|accepted| accepted == rid)?;
        Some(Source { track, stream, rtx })
    }

    /// The last resort (RFC 8843 §9.2): only where one section alone uses the payload type.
    fn by_payload_type(&self, header: &Header) -> Option<Source> {
        let mut found = None;
        for (track, of) in self.tracks.iter().enumerate() {
            let media = of.media.by_payload_type(header.payload_type).is_some();
            let rtx = of.media.by_rtx_payload_type(header.payload_type).is_some();
            if (media || rtx) && of.media.rids.is_empty() {
                if found.is_some() {
                    return None;
                }
                found = Some(Source {
                    track,
                    stream: 0,
                    rtx,
                });
            }
        }
        found
    }
}

impl Track {
    fn new(media: Media) -> Self {
        let streams = if media.rids.is_empty() {
            let ssrc = media.ssrcs.first().map_or(0, |declared| declared.media);
            vec![Stream::new(ssrc, None)]
        } else {
            let rids = media.rids.iter();
            rids.map(|rid| Stream::new(0, Some(rid.clone()))).collect()
        };
        Self {
            media,
            streams,
            running: None,
            last_packet: None,
            stalled: false,
            loudest: NO_LEVEL,
        }
    }

    /// What subscribers choose from.
    pub fn layers(&mut self, now: Instant) -> Vec<LayerInfo> {
        let stalled = self.stalled;
        let alone = self.streams.len() == 1;
        if let [stream] = &mut self.streams[..]
            && stream.spatial.are_several()
        {
            let mut layers = stream.spatial.layers(now);
            if let Some(lowest) = layers.first_mut() {
                lowest.thinner_bps = stream.temporal.thinner_bps(now);
            }
            for layer in &mut layers {
                layer.running &= !stalled;
            }
            return layers;
        }
        let streams = self.streams.iter_mut();
        streams
            .map(|stream| {
                LayerInfo {
                    height_px: stream.height_px,
                    bitrate_bps: stream.rate.steady_bps(now),
                    thinner_bps: stream.temporal.thinner_bps(now),
                    // A still screen sends almost nothing, but there is no other layer.
                    running: match alone {
                        true => !stalled && stream.rate.last().is_some(),
                        false => stream.rate.runs(now),
                    },
                }
            })
            .collect()
    }

    /// When silence since the last packet becomes a stall; `None` if it cannot.
    pub fn stalls_at(&self) -> Option<Instant> {
        let after = match self.media.kind {
            MediaKind::Video => VIDEO_STALLS_AFTER,
            MediaKind::Audio => AUDIO_STALLS_AFTER,
        };
        (!self.stalled).then_some(self.last_packet? + after)
    }
}

impl Media {
    pub(super) fn by_payload_type(&self, payload_type: u8) -> Option<&CodecParameters> {
        let mut codecs = self.codecs.iter();
        codecs.find(|codec| codec.payload_type == payload_type)
    }

    pub(super) fn by_rtx_payload_type(&self, payload_type: u8) -> Option<&CodecParameters> {
        let mut codecs = self.codecs.iter();
        codecs.find(|codec| codec.rtx_payload_type == Some(payload_type))
    }
}

fn name<'a>(header: &Header, packet: &'a [u8], id: u8) -> Option<&'a str> {
    let value = header.extension(packet, id)?;
    (value.len() <= MAX_NAME_LEN).then_some(std::str::from_utf8(value).ok()?)
}
