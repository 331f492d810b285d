//! Media that is made in this process, and goes to who subscribes as a publisher's does.

use std::collections::BTreeMap;

use super::core::{LayerInfo, ReceivedRtp, SenderReport, TrackId};
use super::demux::ConnectionId;
use super::handle::{Error, Rtc};
use super::worker::Command;

/// Who makes the media. Called on the worker's thread: it must not block.
pub trait Origin: Send {
    /// Somebody cannot show this layer before its next key frame.
    fn key_frame_wanted(&mut self, track: TrackId, layer: u8);

    /// So many get the track now.
    fn subscribers(&mut self, track: TrackId, count: usize);
}

/// What a worker holds of it.
pub struct Local {
    pub origin: Box<dyn Origin>,
    pub layers: BTreeMap<TrackId, Vec<LayerInfo>>,
}

/// The way of the media into the transport; dropping it ends the source.
pub struct LocalSource {
    rtc: Rtc,
    id: ConnectionId,
}

impl LocalSource {
    pub(super) fn new(rtc: Rtc, id: ConnectionId) -> Self {
        Self { rtc, id }
    }

    /// By which others subscribe, as to a connection's tracks.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Packets of a track, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`]: they are lost. So with reports.
    pub fn rtp(&self, track: TrackId, packets: Vec<ReceivedRtp>) -> Result<(), Error> {
        self.rtc
            .command_to(self.id, Command::Rtp((self.id, track), packets))
    }

    /// What ties the track's timestamps to the wall clock.
    pub fn sender_report(&self, track: TrackId, report: SenderReport) -> Result<(), Error> {
        let report = Command::SenderReport((self.id, track), report);
        self.rtc.command_to(self.id, report)
    }
}

impl Drop for LocalSource {
    fn drop(&mut self) {
        self.rtc.close(self.id);
    }
}
