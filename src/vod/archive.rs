//! All recordings: begun, listed, deleted, and finished after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, future, stream};
use tracing::{info, warn};

use super::core::manifest::{Manifest, RecordingInfo, State};
use super::core::retention::is_expired;
use super::finisher::Finisher;
use super::recorder::Recorder;
use super::spool::Spool;
use super::store::{Error, Settings, SpoolSettings, Store};
use crate::room::{BroadcastId, RoomId};

/// The state of a recording that is all there.
pub const COMPLETE: &str = "complete";

/// Of manifests, where storage is far away.
const READ_AT_ONCE: usize = 16;

#[derive(Clone)]
pub struct Archive {
    pub(super) store: Store,
    spool: SpoolSettings,
    pub(super) backlog: Arc<Backlog>,
    finisher: Option<Finisher>,
}

/// What is on its way into the storage, of all recordings.
#[derive(Debug, Default)]
pub struct Backlog {
    waiting_bytes: AtomicU64,
    lost: AtomicU64,
}

impl Backlog {
    /// In memory or on the disk, and not in the storage yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Segments that neither storage nor disk took.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// A recording in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    pub duration: Duration,
    pub state: &'static str,
    pub private: bool,
}

impl Archive {
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            store: Store::open(settings)?,
            spool: settings.spool.clone(),
            backlog: Arc::default(),
            finisher: settings.finish.clone().map(Finisher::new),
        })
    }

    /// Begins a recording; call it inside a tokio runtime.
    pub fn record(&self, info: RecordingInfo) -> Recorder {
        Recorder::start(self.clone(), info)
    }

    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    pub(super) fn spool(&self, id: BroadcastId) -> Spool {
        Spool::new(self.spool.folder.join(id.to_string()), self.spool.max_bytes)
    }

    /// Deletes what ended longer than `keep_for` ago; says how many.
    pub async fn expire(&self, keep_for: Duration, now: DateTime<Utc>) -> Result<usize, Error> {
        let mut deleted = 0;
        for id in self.store.ids().await? {
            let manifest = self.store.manifest(id).await;
            if manifest.is_ok_and(|m| m.is_some_and(|m| is_expired(&m, keep_for, now))) {
                self.store.delete(id).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// The newest first, from behind one.
    pub async fn list(
        &self,
        cursor: Option<BroadcastId>,
        most: usize,
    ) -> Result<Vec<Summary>, Error> {
        let ids = self.store.ids().await?.into_iter();
        let ids = ids.filter(|id| cursor.is_none_or(|cursor| *id < cursor));
        let found = stream::iter(ids).map(|id| self.find(id));
        let found = found.buffered(READ_AT_ONCE).try_filter_map(future::ok);
        found.take(most).try_collect().await
    }

    pub async fn find(&self, id: BroadcastId) -> Result<Option<Summary>, Error> {
        match self.store.manifest(id).await {
            Ok(manifest) => Ok(manifest.map(summary)),
            Err(Error::Manifest { path }) => {
                warn!(path, "a recording is left out: its manifest does not read");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub async fn delete(&self, id: BroadcastId) -> Result<(), Error> {
        self.store.delete(id).await
    }

    /// recording.mp4 and the poster are made in the background, one recording at a time.
    pub(super) fn finish_later(&self, id: BroadcastId) {
        if let Some(finisher) = self.finisher.clone() {
            let store = self.store.clone();
            tokio::spawn(async move { finisher.finish(&store, id).await });
        }
    }

    /// Completes what a server that died left open: first what is in its spool, then what only
    /// the storage knows. Recordings that began after `started` are not touched.
    ///
    /// # Errors
    /// When the storage is away: call it again.
    pub async fn recover(&self, started: BroadcastId) -> Result<(), Error> {
        if let Some(finisher) = &self.finisher {
            finisher.clear().await;
        }
        let spooled = Spool::all(&self.spool.folder).await;
        for id in spooled.into_iter().filter(|id| *id < started) {
            let spool = self.spool(id);
            let stored = self.store.manifest(id).await?;
            let Some(mut manifest) = stored.or(spool.manifest().await) else {
                warn!(recording = %id, "a spool without its manifest is left as it is");
                continue;
            };
            spool.replay_sent(&mut manifest).await;
            info!(recording = %id, "a recording that was cut off goes on into the storage");
            Recorder::resume(self.clone(), manifest, spool).await;
        }
        for id in self
            .store
            .ids()
            .await?
            .into_iter()
            .filter(|id| *id < started)
        {
            match self.store.manifest(id).await {
                Ok(Some(manifest)) if manifest.state == State::Recording => {
                    Recorder::resume(self.clone(), manifest, self.spool(id)).await;
                }
                Ok(Some(manifest)) if manifest.wants_film() => self.finish_later(id),
                Ok(_) => {}
                Err(error) => warn!(%error, recording = %id, "a recording cannot be finished"),
            }
        }
        Ok(())
    }
}

fn summary(manifest: Manifest) -> Summary {
    Summary {
        id: manifest.id,
        started_at: manifest.started_at,
        duration: manifest.duration(),
        state: match manifest.state {
            State::Recording => "recording",
            State::Complete => COMPLETE,
        },
        private: manifest.private,
        room: manifest.room,
    }
}
