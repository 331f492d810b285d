//! What a producer looks at before it is taken live: a small program of its own, by WHEP alone. Its
//! child can take nothing from the audience's but processor time, and that it has to be admitted to.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{Instrument, info, info_span};

use super::composition::Composition;
use super::costs::Costly;
use super::open_room::OpenRoom;
use super::realtime::Realtime;
use super::room_state::Bus;
use super::tools::Tools;
use crate::program::core::ladder::Ladder;
use crate::program::{self, Event, Program};
use crate::room::{BroadcastId, Command};
use crate::rtc::roster;

/// A preview that nobody plays for so long ends: it costs as much as one that is seen.
const UNWATCHED_FOR: Duration = Duration::from_secs(60);

/// The room's hold on it. Dropping it ends it.
pub struct Preview {
    tracks: roster::Program,
    composition: Composition,
    watched_at: Instant,
    // The task knows by it whether it is still wanted.
    _held: Arc<()>,
    _program: Program,
}

impl Preview {
    /// Beside the broadcast `of`.
    pub fn start(
        (of, ladder): (BroadcastId, &Ladder),
        room: Arc<OpenRoom>,
        tools: &Arc<Tools>,
    ) -> Self {
        let epoch = program::Epoch::for_start_now(tools.program.segment);
        let mut settings = tools.program.clone();
        settings.ladder = ladder.preview();
        let span = info_span!("preview", room = %room.id(), of = %of);
        let (program, events) = span.in_scope(|| Program::start(settings.clone(), epoch));
        let feed = program.feed();
        let name = room.id().as_str();
        let realtime = Realtime::start(&tools.rtc, name, &settings.ladder, feed.clone(), epoch);
        let tracks = realtime.program();
        let held = Arc::new(());
        let work = Work {
            of: Costly::Preview(of),
            room,
            tools: tools.clone(),
            realtime,
            held: Arc::downgrade(&held),
        };
        tools.costs.begin(work.of);
        tools.broadcasts.spawn(work.run(events).instrument(span));
        Self {
            tracks,
            composition: Composition::new(feed, settings.layouts),
            watched_at: Instant::now(),
            _held: held,
            _program: program,
        }
    }

    pub fn tracks(&self) -> roster::Program {
        self.tracks.clone()
    }

    pub fn composition(&self) -> &Composition {
        &self.composition
    }

    pub fn composition_mut(&mut self) -> &mut Composition {
        &mut self.composition
    }

    /// To be asked now and then.
    pub fn is_forgotten(&mut self, now: Instant) -> bool {
        if self.composition.feed().is_played() {
            self.watched_at = now;
        }
        now.saturating_duration_since(self.watched_at) > UNWATCHED_FOR
    }
}

struct Work {
    of: Costly,
    room: Arc<OpenRoom>,
    tools: Arc<Tools>,
    realtime: Realtime,
    held: Weak<()>,
}

impl Work {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Rtp { rendition, packets } => self.realtime.frame(&rendition, packets),
                Event::Cost { cpu, time } => self.tools.costs.measure(self.of, cpu, time),
                Event::KeyFrameWanted { input } => {
                    self.room.request_key_frame(Bus::Preview, input);
                }
                Event::Restarted => self.realtime.restarted(),
                Event::Ended { reason } => {
                    info!(reason, "the preview ended");
                    break;
                }
                // Nobody watches it by HLS, and what is measured is the program.
                Event::Init { .. }
                | Event::Part(_)
                | Event::Delays { .. }
                | Event::Load(_)
                | Event::Shed(_)
                | Event::Skew(_)
                | Event::KeptOut { .. } => {}
            }
        }
        self.tools.costs.end(self.of);
        if self.held.upgrade().is_some() {
            self.room.tell(Command::EndPreview);
        }
    }
}
