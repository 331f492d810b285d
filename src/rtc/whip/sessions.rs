//! The sessions that were made by POST and are not over: what PATCH and DELETE need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::resource::TransportSection;
use crate::room::RoomId;
use crate::rtc::ConnectionId;
use crate::rtc::core::sdp::agreement::IceCredentials;
use crate::rtc::core::{CloseReason, Event, ReceivedRtp, SenderReport, Sink, TrackId};

#[derive(Debug, Clone)]
pub struct Session {
    pub room: RoomId,
    pub connection: ConnectionId,
    /// Of the ICE session (RFC 9725 §4.3), quotes included.
    pub etag: String,
    pub remote_ice: IceCredentials,
    pub transport: TransportSection,
}

/// By the unguessable last word of their URL. As many as there are connections, whose number
/// the transport limits.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<String, Session>>>);

impl Sessions {
    pub fn insert(&self, key: &str, session: Session) {
        self.lock().insert(key.to_owned(), session);
    }

    pub fn find(&self, room: &RoomId, key: &str) -> Option<Session> {
        self.lock()
            .get(key)
            .filter(|session| session.room == *room)
            .cloned()
    }

    pub fn remove(&self, key: &str) {
        self.lock().remove(key);
    }

    /// After an ICE restart.
    pub fn renew(&self, key: &str, etag: String, remote_ice: IceCredentials) {
        if let Some(session) = self.lock().get_mut(key) {
            session.etag = etag;
            session.remote_ice = remote_ice;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes all on to the house's sink, and forgets the session when the connection is over.
pub struct SessionSink {
    inner: Box<dyn Sink>,
    sessions: Sessions,
    key: String,
    over: Arc<AtomicBool>,
}

impl SessionSink {
    pub fn new(inner: Box<dyn Sink>, sessions: Sessions, key: String) -> Self {
        Self {
            inner,
            sessions,
            key,
            over: Arc::default(),
        }
    }

    /// Becomes true when the connection is over, which may be before its session is entered.
    pub fn over(&self) -> Arc<AtomicBool> {
        self.over.clone()
    }
}

impl Sink for SessionSink {
    fn event(&mut self, event: Event) {
        if matches!(event, Event::Closed(_)) {
            self.over.store(true, Ordering::Release);
            self.sessions.remove(&self.key);
        }
        self.inner.event(event);
    }

    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp) {
        self.inner.rtp(track, packet);
    }

    fn sender_report(&mut self, track: TrackId, report: SenderReport) {
        self.inner.sender_report(track, report);
    }
}

impl Drop for SessionSink {
    /// A connection that was refused, or whose thread is gone, tells nobody: the house must learn it.
    fn drop(&mut self) {
        if !self.over.load(Ordering::Acquire) {
            self.event(Event::Closed(CloseReason::NeverConnected));
        }
    }
}
