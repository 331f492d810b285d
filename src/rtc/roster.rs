//! Who is in a room and what they publish, as those who subscribe need to know it.

use crate::room::{MediaKind, ParticipantId, Role, TrackNumber, TrackSource};
use crate::rtc::core::sdp::Published;
use crate::rtc::core::{TrackId, TrackInfo};
use crate::rtc::{ConnectionId, crew::Source};

/// A room at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster {
    /// In the order of the stage.
    pub participants: Vec<Entry>,
    pub speaking: Option<ParticipantId>,
    /// While it is on air.
    pub program: Option<Program>,
    /// While a producer looks at what comes next; for who directs alone.
    pub preview: Option<Program>,
    /// How the program is arranged.
    pub layout: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: ParticipantId,
    pub name: String,
    pub role: Role,
    /// Publishing, or about to.
    pub is_publishing: bool,
    /// Vanished without a word, and may come back.
    pub is_away: bool,
    /// Part of the program.
    pub is_on_stage: bool,
    /// What of theirs a producer muted.
    pub muted: Vec<TrackSource>,
    pub tracks: Vec<RosterTrack>,
}

/// What the audience sees and hears, as tracks of a source in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub connection: ConnectionId,
    pub tracks: Vec<TrackInfo>,
}

/// One published track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterTrack {
    pub number: TrackNumber,
    pub source: TrackSource,
    pub info: TrackInfo,
    pub muted: bool,
    /// A producer muted it: its packets go to nobody.
    pub is_withheld: bool,
    pub connection: ConnectionId,
    /// How many play it.
    pub players: usize,
    /// The greatest height at which one of them, or the program, shows it, [rounded](rounded_px); 0
    /// of sound.
    pub shown_px: u32,
}

/// The next of some usual heights, so that a window that is drawn larger is not news to everybody at
/// each pixel. No camera is larger than the last.
pub fn rounded_px(height_px: u32) -> u32 {
    const LARGEST_PX: u32 = 2400;
    const USUAL_PX: [u32; 9] = [0, 100, 150, 200, 300, 400, 600, 800, 1200];
    let mut usual = USUAL_PX.into_iter();
    usual
        .find(|usual| *usual >= height_px)
        .unwrap_or(LARGEST_PX)
}

impl RosterTrack {
    /// Its name among all tracks of the room; the same after its publisher came back.
    pub fn name(&self, participant: ParticipantId) -> String {
        format!("{participant}/{}", self.number.0)
    }

    /// Where its packets come from, if anybody is to have them.
    pub fn from(&self) -> Option<Source> {
        (!self.is_withheld).then_some((self.connection, TrackId(self.number.0)))
    }

    pub fn kind(&self) -> MediaKind {
        self.info.kind
    }

    /// As SDP announces it.
    pub fn published(&self, participant: ParticipantId, ssrcs: (u32, u32)) -> Published {
        let (stream, track) = (participant.to_string(), self.name(participant));
        published(&self.info, stream, track, ssrcs)
    }
}

fn published(info: &TrackInfo, stream: String, track: String, ssrcs: (u32, u32)) -> Published {
    Published {
        kind: info.kind,
        codec: info.codec,
        fmtp: info.fmtp.clone(),
        stream,
        track,
        ssrcs,
    }
}

impl Program {
    /// Where the packets of the track of this name come from.
    pub fn source(&self, name: &str) -> Option<Source> {
        let mut tracks = self.tracks.iter();
        let track = tracks.find(|track| Self::name(track) == name)?;
        Some((self.connection, track.id))
    }

    /// As SDP announces its tracks; `ssrcs` makes those of each.
    pub fn published(&self, ssrcs: impl Fn() -> (u32, u32)) -> Vec<Published> {
        let stream = || "program".to_owned();
        let tracks = self.tracks.iter();
        let published = tracks.map(|track| published(track, stream(), Self::name(track), ssrcs()));
        published.collect()
    }

    /// The same for every broadcast.
    fn name(track: &TrackInfo) -> String {
        format!("program/{}", track.id.0)
    }
}

impl Roster {
    pub fn find(&self, id: ParticipantId) -> Option<&Entry> {
        self.participants.iter().find(|entry| entry.id == id)
    }

    /// All tracks with their publishers.
    pub fn tracks(&self) -> impl Iterator<Item = (ParticipantId, &RosterTrack)> {
        let entries = self.participants.iter();
        entries.flat_map(|entry| entry.tracks.iter().map(|track| (entry.id, track)))
    }

    /// The track of this name, with its publisher.
    pub fn track(&self, name: &str) -> Option<(ParticipantId, &RosterTrack)> {
        self.tracks().find(|(id, track)| track.name(*id) == name)
    }
}
