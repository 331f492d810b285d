//! The rooms of this server: who may open one, and what all of them do together.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::open_room::OpenRoom;
use super::settings::of_room;
use super::tools::Tools;
use crate::hls;
use crate::room::{Command, RoomId, Session};

/// How often rooms are looked at for what is due; a vanished participant's place is given up
/// that much late at worst.
const TICK: Duration = Duration::from_millis(250);

pub struct Rooms {
    tools: Arc<Tools>,
    rooms: Mutex<BTreeMap<RoomId, Arc<OpenRoom>>>,
    next_session: AtomicU64,
}

/// Why a room is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The server holds as many rooms as its settings allow.
    NoRoomLeft,
    /// Only rooms that were made by the API are there.
    NotMade,
}

impl Rooms {
    pub fn new(tools: Arc<Tools>) -> Arc<Self> {
        Arc::new(Self {
            tools,
            rooms: Mutex::default(),
            next_session: AtomicU64::new(1),
        })
    }

    pub fn find(&self, id: &RoomId) -> Option<Arc<OpenRoom>> {
        self.lock().get(id).cloned()
    }

    pub fn find_or_open(&self, id: &RoomId) -> Result<Arc<OpenRoom>, NotOpened> {
        let mut rooms = self.lock();
        if let Some(room) = rooms.get(id) {
            return Ok(room.clone());
        }
        let made = self.tools.made.find(id);
        if made.is_none() && !self.tools.rooms_by_use {
            return Err(NotOpened::NotMade);
        }
        if rooms.len() >= self.tools.max_rooms {
            return Err(NotOpened::NoRoomLeft);
        }
        let all = &self.tools.room;
        let settings = made.map_or_else(|| all.clone(), |made| of_room(all, &made.settings));
        let room = OpenRoom::new(id.clone(), settings, self.tools.clone());
        rooms.insert(id.clone(), room.clone());
        Ok(room)
    }

    /// The room is no more; what its broadcast still has to do goes on.
    pub fn remove(&self, id: &RoomId) {
        let room = self.lock().remove(id);
        if let Some(room) = room {
            room.tell(Command::Delete);
        }
    }

    /// Their names in order, from behind one.
    pub fn after(&self, cursor: Option<&RoomId>, most: usize) -> Vec<RoomId> {
        let rooms = self.lock();
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let names = rooms.range((from, Bound::Unbounded)).map(|(id, _)| id);
        names.take(most).cloned().collect()
    }

    pub fn all(&self) -> Vec<Arc<OpenRoom>> {
        self.lock().values().cloned().collect()
    }

    pub fn new_session(&self) -> Session {
        Session(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// Does what time demands, until the task is dropped.
    pub async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = Instant::now();
            for room in self.all() {
                room.handle_timeout(now);
            }
            self.lock().retain(|_, room| !room.may_be_forgotten(now));
            self.measure();
        }
    }

    /// Ends every broadcast and waits until each is in its recording.
    pub async fn close(&self) {
        for room in self.all() {
            room.close();
        }
        self.tools.broadcasts.close();
        self.tools.broadcasts.wait().await;
    }

    fn measure(&self) {
        let rooms = self.all();
        let participants: usize = rooms.iter().map(|room| room.participant_count()).sum();
        let live = rooms.iter().filter(|room| room.is_live()).count();
        metrics::gauge!(crate::metrics::ROOMS).set(rooms.len() as f64);
        metrics::gauge!(crate::metrics::BROADCASTS).set(live as f64);
        metrics::gauge!(crate::metrics::PARTICIPANTS).set(participants as f64);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoomId, Arc<OpenRoom>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl hls::Directory for Rooms {
    fn live(&self, room: &RoomId) -> Option<Arc<hls::Live>> {
        self.find(room)?.live()
    }
}
