//! A broadcast on the air: its parts, and who waits for the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::audience::Audience;
use super::core::media::{self, Header, Report};
use super::core::multivariant;
use super::core::reload::{self, BadRequest, Decision, Directives, Edge};
use super::core::rendition::Rendition;
use super::core::segment::{ClosedSegment, Init, Part, Refused};
use super::core::timeline::{AUDIO_FRAME, Grid, InitTaken, Timeline};
use super::core::track::Track;
use super::playlist::{Playlist, Text};
use super::seats::{Seat, Seats};
use super::settings::Settings;
use crate::room::BroadcastId;

/// How long a viewer is kept waiting, in target durations (8216bis §6.2.5.2).
const WAIT_TARGETS: u32 = 3;
/// Of the part target, the least that a part may have that does not end its segment (8216bis
/// §4.4.4.9).
const SHORTEST: f64 = 0.85;

/// A broadcast on the air: the pipeline's parts go in, playlists and bytes come out.
#[derive(Debug)]
pub struct Live {
    broadcast: BroadcastId,
    settings: Settings,
    timeline: RwLock<Timeline>,
    /// What was last published of each rendition, in the timeline's order. The channel is
    /// the waiting room: each new playlist wakes all.
    published: Vec<watch::Sender<Arc<Playlist>>>,
    multivariant: RwLock<Option<Arc<Text>>>,
    versions: AtomicU64,
    seats: Arc<Seats>,
    /// Of pictures, and of sound alone.
    watched: Arc<Audience>,
    heard: Arc<Audience>,
}

/// Why a viewer gets nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error("the broadcast has nothing by that name, or no longer")]
    NotFound,
    #[error("the next part did not come in time")]
    TooLate,
    #[error("too many viewers are waiting")]
    Full,
}

impl Live {
    /// `started` is the wall clock at the broadcast's running time zero.
    pub fn new(
        settings: Settings,
        broadcast: BroadcastId,
        started: DateTime<Utc>,
        renditions: Vec<Rendition>,
    ) -> Self {
        let empty = || {
            let playlist = Playlist {
                edge: Edge::default(),
                over: false,
                version: 0,
                full: Text::new(""),
                delta: None,
            };
            watch::Sender::new(Arc::new(playlist))
        };
        let grid = Grid {
            segment: settings.segment,
            part: settings.part,
            window: settings.window,
        };
        Self {
            broadcast,
            published: renditions.iter().map(|_| empty()).collect(),
            timeline: RwLock::new(Timeline::new(grid, started, renditions)),
            multivariant: RwLock::new(None),
            versions: AtomicU64::new(1),
            seats: Seats::new(settings.max_waiting),
            watched: Arc::default(),
            heard: Arc::default(),
            settings,
        }
    }

    pub fn broadcast(&self) -> BroadcastId {
        self.broadcast
    }

    /// Takes an init segment; see [`Timeline::push_init`].
    pub fn push_init(&self, init: Init) -> Result<InitTaken, Refused> {
        self.write().push_init(init)
    }

    /// Takes a part and wakes who waited for it; the segments that it closed are for the
    /// recorder. See [`Timeline::push_part`].
    pub fn push_part(&self, part: Part) -> Result<Vec<ClosedSegment>, Refused> {
        let mut timeline = self.write();
        let index = timeline.index_of(&part.rendition);
        let is_whole = part.duration.as_secs_f64() >= SHORTEST * self.settings.part.as_secs_f64();
        let news = !timeline.tracks().iter().all(Track::has_media);
        let rendition = part.rendition.clone();
        let closed = timeline.push_part(part)?;
        if closed.iter().any(|closed| closed.rendition != rendition) {
            self.publish_all(&timeline);
            return Ok(closed);
        }
        // A short one ends its segment; it is told of with what closes the segment.
        if let Some(index) = index.filter(|_| is_whole || !closed.is_empty()) {
            self.publish(&timeline, index);
        }
        if news || !closed.is_empty() {
            self.publish_multivariant(&timeline);
        }
        // Once a segment, by the rendition that all others are cut like.
        if index == Some(0) && !closed.is_empty() {
            self.watched.next_segment();
            self.heard.next_segment();
        }
        Ok(closed)
    }

    /// The pipeline began anew; see [`Timeline::discontinuity`].
    pub fn discontinuity(&self) -> Vec<ClosedSegment> {
        let mut timeline = self.write();
        let closed = timeline.discontinuity();
        self.publish_all(&timeline);
        closed
    }

    /// Nothing more will come; who waits is answered with the end.
    pub fn end(&self) -> Vec<ClosedSegment> {
        let mut timeline = self.write();
        let closed = timeline.end();
        self.publish_all(&timeline);
        closed
    }

    pub fn is_over(&self) -> bool {
        self.read().is_over()
    }

    /// Whether viewers can begin: every rendition has a part.
    pub fn is_playable(&self) -> bool {
        self.multivariant().is_some()
    }

    /// Segment and index of a rendition's newest part.
    pub fn latest_part(&self, rendition: &str) -> Option<(u64, u64)> {
        let timeline = self.read();
        timeline.tracks()[timeline.index_of(rendition)?].last_part()
    }

    /// How many viewers wait at this moment.
    pub fn waiting(&self) -> usize {
        self.seats.taken()
    }

    /// How many play it at the live edge, of those who ask here: a cache that asks for many is one.
    pub fn viewers(&self) -> usize {
        self.watched.count().max(self.heard.count())
    }

    /// The renditions, and what their segments need in bit/s on average: `None` until one is closed.
    pub fn bitrates(&self) -> Vec<(String, Option<u64>)> {
        let timeline = self.read();
        let tracks = timeline.tracks().iter();
        tracks
            .map(|track| {
                let average = track.measured_bps().map(|(_, average)| average);
                (track.rendition.name.to_string(), average)
            })
            .collect()
    }

    /// The multivariant playlist, once every rendition has something to play.
    pub fn multivariant(&self) -> Option<Arc<Text>> {
        let text = self.multivariant.read();
        text.unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// A rendition's playlist, as new as the viewer wants it.
    pub async fn playlist(
        &self,
        rendition: &str,
        directives: Directives,
    ) -> Result<Arc<Playlist>, Unavailable> {
        let (index, part_target, audience) = {
            let timeline = self.read();
            let index = timeline.index_of(rendition).ok_or(Unavailable::NotFound)?;
            let track = &timeline.tracks()[index];
            let audience = match track.rendition.is_audio() {
                true => &self.heard,
                false => &self.watched,
            };
            (index, self.part_target(track), audience)
        };
        let now = self.published[index].borrow().clone();
        let limit = reload::advance_part_limit(part_target);
        let playlist = match reload::decide(directives.wanted, now.edge, now.over, limit)? {
            Decision::Ready => now,
            Decision::WaitFor(edge) => {
                let _watching = audience.watch();
                self.wait(index, edge).await?
            }
        };
        if playlist.version == 0 {
            return Err(Unavailable::NotFound);
        }
        Ok(playlist)
    }

    /// A part's bytes; a viewer who asks for the hinted one waits until it is there.
    pub async fn part(&self, rendition: &str, msn: u64, part: u64) -> Result<Bytes, Unavailable> {
        let (found, index, edge) = {
            let timeline = self.read();
            let index = timeline.index_of(rendition).ok_or(Unavailable::NotFound)?;
            let track = &timeline.tracks()[index];
            (find_part(track, msn, part), index, track.edge())
        };
        if let Some(bytes) = found {
            return Ok(bytes);
        }
        if (msn, part) != (edge.msn, edge.parts) {
            return Err(Unavailable::NotFound);
        }
        let next = Edge {
            msn,
            parts: part + 1,
        };
        self.wait(index, next).await?;
        find_part(&self.read().tracks()[index], msn, part).ok_or(Unavailable::NotFound)
    }

    /// A closed segment's bytes: those of its parts, in their order.
    pub fn segment(&self, rendition: &str, msn: u64) -> Result<Vec<Bytes>, Unavailable> {
        let timeline = self.read();
        let index = timeline.index_of(rendition).ok_or(Unavailable::NotFound)?;
        let track = &timeline.tracks()[index];
        let segment = track.segment(msn).filter(|s| !s.is_gap());
        let segment = segment.ok_or(Unavailable::NotFound)?;
        if track.open().is_some_and(|open| open.msn == msn) {
            return Err(Unavailable::NotFound);
        }
        Ok(segment
            .parts
            .iter()
            .map(|part| part.bytes.clone())
            .collect())
    }

    pub fn init(&self, rendition: &str, number: u32) -> Result<Bytes, Unavailable> {
        let timeline = self.read();
        let index = timeline.index_of(rendition).ok_or(Unavailable::NotFound)?;
        let init = timeline.tracks()[index].init(number);
        init.cloned().ok_or(Unavailable::NotFound)
    }

    /// Whether the rendition carries sound only; None if there is none of that name.
    pub fn is_audio(&self, rendition: &str) -> Option<bool> {
        let timeline = self.read();
        let index = timeline.index_of(rendition)?;
        Some(timeline.tracks()[index].rendition.is_audio())
    }

    async fn wait(&self, index: usize, edge: Edge) -> Result<Arc<Playlist>, Unavailable> {
        let _seat: Seat = self.seats.take().ok_or(Unavailable::Full)?;
        let mut news = self.published[index].subscribe();
        let longest = self.read().target_duration() * WAIT_TARGETS;
        let there = news.wait_for(|playlist| playlist.over || playlist.edge >= edge);
        match tokio::time::timeout(longest, there).await {
            Ok(Ok(playlist)) => Ok(playlist.clone()),
            Ok(Err(_)) => Err(Unavailable::NotFound),
            Err(_) => Err(Unavailable::TooLate),
        }
    }

    fn publish_all(&self, timeline: &Timeline) {
        for index in 0..self.published.len() {
            self.publish(timeline, index);
        }
        self.publish_multivariant(timeline);
    }

    fn publish(&self, timeline: &Timeline, index: usize) {
        let track = &timeline.tracks()[index];
        if !track.has_media() && !timeline.is_over() {
            return;
        }
        let part_target = self.part_target(track);
        let header = Header {
            target_duration: timeline.target_duration(),
            part_target,
            part_hold_back: part_target.mul_f64(self.settings.hold_back_parts.max(2.0)),
        };
        let others = timeline.tracks().iter().enumerate();
        let reports: Vec<Report> = others
            .filter(|(other, _)| *other != index)
            .filter_map(|(_, other)| {
                let (last_msn, last_part) = other.last_part()?;
                Some(Report {
                    rendition: &other.rendition.name,
                    last_msn,
                    last_part,
                })
            })
            .collect();
        let over = timeline.is_over();
        let render = |skip| media::write(track, header, &reports, over, skip);
        let skips = media::can_skip(track, header.target_duration);
        let playlist = Playlist {
            edge: track.edge(),
            over,
            version: self.versions.fetch_add(1, Ordering::Relaxed),
            full: Text::new(render(false)),
            delta: skips.then(|| Text::new(render(true))),
        };
        self.published[index].send_replace(Arc::new(playlist));
    }

    fn publish_multivariant(&self, timeline: &Timeline) {
        let base = format!("{}/", self.broadcast);
        let text = multivariant::write(timeline.tracks(), &base).map(|t| Arc::new(Text::new(t)));
        if text.is_some() {
            let present = self.multivariant.write();
            *present.unwrap_or_else(|poisoned| poisoned.into_inner()) = text;
        }
    }

    /// No part is longer (8216bis §4.4.3.7): audio is cut between frames. Should the pipeline
    /// cut longer ones all the same, the truth is told for as long as they are listed: all others
    /// are too short beside them (85 %, §4.4.4.9).
    fn part_target(&self, track: &Track) -> Duration {
        let target = if track.rendition.is_audio() {
            self.settings.part + AUDIO_FRAME
        } else {
            self.settings.part
        };
        target.max(media::longest_part(track))
    }

    /// A panic elsewhere leaves the timeline as it was: its changes are made at the end.
    fn read(&self) -> RwLockReadGuard<'_, Timeline> {
        self.timeline.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Timeline> {
        self.timeline.write().unwrap_or_else(|e| e.into_inner())
    }
}

fn find_part(track: &Track, msn: u64, part: u64) -> Option<Bytes> {
    let segment = track.segment(msn)?;
    let part = segment.parts.get(usize::try_from(part).ok()?)?;
    Some(part.bytes.clone())
}

#[cfg(test)]
pub(crate) mod tests;
