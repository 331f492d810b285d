//! The workers, and which of them has which connection.
//!
//! A room's connections are all with one worker, so its packets never cross a thread. The kernel
//! spreads peers over the workers' sockets as it likes; what comes to the wrong one is handed
//! over. Our ufrag says whose a peer is.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand::distr::Alphanumeric;
use tokio::sync::{Notify, mpsc};

use super::core::TrackId;
use super::core::sdp::agreement::{IceCredentials, SendMedia};
use super::core::send::track::{Slot, View};
use super::demux::ConnectionId;
use super::origin::Local;
use super::worker::Command;

/// Workers at most: each has a letter of the alphabet that ufrags are written in.
pub const MAX_WORKERS: usize = LETTERS.len();

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";

/// RFC 8445 §5.3 asks for 24 and 128 random bits.
const UFRAG_LEN: usize = 8;
const PWD_LEN: usize = 24;

/// Key frame requests that wait; the worker takes all at once, and each peer has few tracks.
const MAX_KEY_FRAMES: usize = 10_000;

/// A track of a connection of this process.
pub type Source = (ConnectionId, TrackId);

/// The way to one worker: what is told without waiting, and what waits for an answer.
#[derive(Clone)]
pub struct Member {
    pub commands: mpsc::Sender<Command>,
    pub shared: Arc<Shared>,
}

/// What the handles tell a worker without waiting. It takes the newest of each: nothing queues.
#[derive(Default)]
pub struct Shared {
    pub(super) wake: Notify,
    stopped: AtomicBool,
    /// Of the worker's socket, so far: calls of the kernel to send.
    pub(super) calls: AtomicU64,
    wishes: Mutex<Wishes>,
    /// Connections and sources that had a name so far.
    named: AtomicU64,
}

#[derive(Default)]
pub(super) struct Wishes {
    /// At most the connections that are open, and those just closed; so with all that follow.
    pub closes: BTreeSet<ConnectionId>,
    pub key_frames: BTreeSet<Source>,
    pub agreed: BTreeMap<ConnectionId, Vec<SendMedia>>,
    pub sources: BTreeMap<(ConnectionId, Slot), Option<Source>>,
    pub views: BTreeMap<(ConnectionId, Slot), View>,
    pub candidates: BTreeMap<ConnectionId, Vec<String>>,
    pub locals: BTreeMap<ConnectionId, Local>,
}

impl Wishes {
    pub fn key_frame(&mut self, source: Source) {
        if self.key_frames.len() < MAX_KEY_FRAMES {
            self.key_frames.insert(source);
        }
    }
}

impl Shared {
    pub(super) fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    pub(super) fn take_wishes(&self) -> Wishes {
        std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// The way to each worker.
pub struct Crew {
    workers: Vec<Member>,
}

impl Crew {
    pub fn new(workers: Vec<Member>) -> Self {
        Self { workers }
    }

    /// Credentials for a connection of `room`.
    pub fn credentials(&self, room: &str) -> IceCredentials {
        let worker = self.number_of_room(room);
        let random = |len| {
            let letters = rand::rng().sample_iter(Alphanumeric).take(len);
            letters.map(char::from).collect::<String>()
        };
        let letter = char::from(LETTERS[worker % LETTERS.len()]);
        IceCredentials {
            ufrag: format!("{letter}{}", random(UFRAG_LEN - 1)),
            pwd: random(PWD_LEN),
        }
    }

    /// The number of the worker that a ufrag of ours belongs to.
    pub fn number_of(&self, ufrag: &str) -> Option<usize> {
        let letter = ufrag.bytes().next()?;
        let number = LETTERS.iter().position(|known| *known == letter)?;
        (number < self.workers.len()).then_some(number)
    }

    pub fn of_ufrag(&self, ufrag: &str) -> Option<&Member> {
        self.workers.get(self.number_of(ufrag)?)
    }

    pub fn of_connection(&self, id: ConnectionId) -> Option<&Member> {
        let count = self.workers.len().max(1) as u64;
        self.workers.get((id.0 % count) as usize)
    }

    /// A name for a new connection or source of this worker, by which the crew finds it.
    pub fn new_id(&self, number: usize) -> ConnectionId {
        let worker = self.workers.get(number);
        let named = worker.map_or(0, |member| {
            member.shared.named.fetch_add(1, Ordering::Relaxed)
        });
        ConnectionId((named + 1) * self.workers.len().max(1) as u64 + number as u64)
    }

    /// Of the worker that has all connections of `room`.
    pub fn number_of_room(&self, room: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        room.hash(&mut hasher);
        (hasher.finish() % self.workers.len().max(1) as u64) as usize
    }

    pub fn worker(&self, number: usize) -> Option<&Member> {
        self.workers.get(number)
    }

    pub fn all(&self) -> &[Member] {
        &self.workers
    }

    pub fn len(&self) -> usize {
        self.workers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rooms_connections_are_all_with_one_worker() {
        let member = |_| Member {
            commands: mpsc::channel(1).0,
            shared: Arc::default(),
        };
        let workers = (0..5).map(member).collect();
        let crew = Crew::new(workers);
        let mut seen = std::collections::BTreeSet::new();
        for room in 0..100 {
            let room = room.to_string();
            let (a, b) = (crew.credentials(&room), crew.credentials(&room));
            assert_ne!(a, b);
            let number = crew.number_of(&a.ufrag);
            assert_eq!(number, crew.number_of(&b.ufrag));
            seen.insert(number.expect("a worker"));
        }
        assert_eq!(seen.len(), 5);
        assert_eq!(crew.number_of("zzzz"), None);
        assert_eq!(crew.number_of(""), None);
    }
}
