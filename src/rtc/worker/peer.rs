//! One connection of a worker, and who is told of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{error, info, warn};

use super::forwarding::Round;
use crate::rtc::core::connection::Connection;
use crate::rtc::core::receive::receiver::Output;
use crate::rtc::core::verdict::Verdict;
use crate::rtc::core::{Event, Sink};
use crate::rtc::demux::ConnectionId;
use crate::rtc::switchboard::Switchboard;

pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) sink: Box<dyn Sink>,
    /// Its entry in the timers.
    pub(super) deadline: Option<Instant>,
    pub(super) is_faulty: bool,
}

impl Peer {
    /// A fault of ours that one peer's bytes bring about ends that connection alone.
    pub(super) fn guard(&mut self, id: ConnectionId, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            error!(connection = %id, "a fault of the server; the connection is closed");
            self.is_faulty = true;
        }
    }

    /// What came, to the sink, and to the round for who subscribes to it.
    pub(super) fn tell(&mut self, id: ConnectionId, round: &mut Round, board: &Switchboard) {
        let has_subscribers = |track| board.has_subscribers((id, track));
        while let Some(output) = self.connection.poll_event() {
            match output {
                Output::Rtp(track, packet) => {
                    if has_subscribers(track) {
                        let shared = Arc::new(packet.clone());
                        round.packets.push(((id, track), shared));
                    }
                    self.sink.rtp(track, packet);
                }
                Output::SenderReport(track, report) => {
                    if has_subscribers(track) {
                        round.reports.push(((id, track), report));
                    }
                    self.sink.sender_report(track, report);
                }
                Output::Event(event) => {
                    match &event {
                        Event::Layers(track, layers) => {
                            if has_subscribers(*track) {
                                round.layers.push(((id, *track), layers.clone()));
                            }
                        }
                        Event::AudioLevel(..) | Event::LayerChosen(..) => {}
                        Event::Failed(verdict) => {
                            let Verdict { failure, seen } = verdict.as_ref();
                            let (reason, remedy) = (failure.reason(), failure.remedy());
                            warn!(connection = %id, failure = failure.name(), reason, remedy, ?seen, "a connection failed");
                        }
                        event => info!(connection = %id, ?event, "peer"),
                    }
                    self.sink.event(event);
                }
            }
        }
    }
}
