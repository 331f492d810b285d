//! All recordings: begun, listed, deleted, and finished after a crash.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::core::manifest::{Manifest, RecordingInfo, State};
use super::finisher::Finisher;
use super::recorder::Recorder;
use super::store::{Error, Settings, Store};
use crate::room::{BroadcastId, RoomId};

/// The newest are listed; older ones are found by their id.
const MAX_LISTED: usize = 200;

#[derive(Clone)]
pub struct Archive {
    pub(super) store: Store,
    finisher: Option<Finisher>,
}

/// A recording in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    pub duration: Duration,
    pub state: &'static str,
}

impl Archive {
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            store: Store::open(settings)?,
            finisher: settings.finish.clone().map(Finisher::new),
        })
    }

    /// Begins a recording; call it inside a tokio runtime.
    pub fn record(&self, info: RecordingInfo) -> Recorder {
        Recorder::start(self.clone(), info)
    }

    /// The newest first.
    pub async fn list(&self) -> Result<Vec<Summary>, Error> {
        let mut found = Vec::new();
        for id in self.store.ids().await?.into_iter().take(MAX_LISTED) {
            if let Some(summary) = self.find(id).await? {
                found.push(summary);
            }
        }
        Ok(found)
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

    /// Completes what a server that died left open: all it had uploaded is in the manifest. To
    /// be called before the first broadcast begins.
    pub async fn recover(&self) -> Result<(), Error> {
        if let Some(finisher) = &self.finisher {
            finisher.clear().await;
        }
        for id in self.store.ids().await? {
            let manifest = match self.store.manifest(id).await {
                Ok(Some(manifest)) if manifest.state == State::Recording => manifest,
                Ok(Some(manifest)) if manifest.wants_film() => {
                    self.finish_later(id);
                    continue;
                }
                Ok(_) => continue,
                Err(error) => {
                    warn!(%error, recording = %id, "a recording cannot be finished");
                    continue;
                }
            };
            self.store
                .put_manifest(&Manifest {
                    state: State::Complete,
                    ..manifest
                })
                .await?;
            info!(recording = %id, "a recording that was cut off is complete");
            self.finish_later(id);
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
            State::Complete => "complete",
        },
        room: manifest.room,
    }
}
