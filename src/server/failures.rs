//! Why connections failed lately, also of those who left, in rooms that are gone.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::room::{ParticipantId, Role, RoomId};
use crate::rtc::core::verdict::Verdict;

/// Over all rooms; the oldest goes for the next.
const MAX_FAILURES: usize = 1000;

/// Why somebody's connection failed.
#[derive(Debug, Clone)]
pub struct Failed {
    pub room: RoomId,
    pub participant: ParticipantId,
    pub name: String,
    pub role: Role,
    pub at: DateTime<Utc>,
    pub verdict: Verdict,
}

#[derive(Default)]
pub struct Failures(Mutex<VecDeque<Failed>>);

impl Failures {
    /// Keeps the newest of each participant.
    pub fn remember(&self, failed: Failed) {
        let mut all = self.lock();
        all.retain(|known| known.participant != failed.participant);
        if all.len() == MAX_FAILURES {
            all.pop_front();
        }
        all.push_back(failed);
    }

    pub fn of(&self, room: &RoomId, participant: ParticipantId) -> Option<Failed> {
        let all = self.lock();
        let mut found = all
            .iter()
            .filter(|failed| failed.participant == participant);
        found.find(|failed| failed.room == *room).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
