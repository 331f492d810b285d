//! The parent of `amphi finish`: gives it a recording's segments and keeps what it makes.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use tokio::fs;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::core::manifest::{Film, Manifest, RecordedRendition};
use super::finish::{input_name, is_made};
use super::store::{FinishSettings, Store, file};
use crate::room::BroadcastId;

/// One at a time: it must not take the processor from broadcasts that are live.
const AT_ONCE: usize = 1;
/// A child that takes longer hangs: it copies, about a hundred times as fast as the recording.
const MIN_TIME: Duration = Duration::from_secs(60);
/// What is kept of a child's last words.
const MAX_REASON: usize = 500;

#[derive(Clone)]
pub struct Finisher {
    settings: FinishSettings,
    turns: Arc<Semaphore>,
}

impl Finisher {
    pub fn new(settings: FinishSettings) -> Self {
        Self {
            settings,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Removes what a server that died was working on.
    pub async fn clear(&self) {
        let _ = fs::remove_dir_all(&self.settings.folder).await;
    }

    /// Makes recording.mp4 and poster.jpg, or notes in the manifest why not.
    pub async fn finish(&self, store: &Store, id: BroadcastId) {
        let Ok(_turn) = self.turns.acquire().await else {
            return;
        };
        let manifest = match store.manifest(id).await {
            Ok(Some(manifest)) if manifest.wants_film() => manifest,
            // Deleted or done while it waited.
            Ok(_) => return,
            Err(error) => {
                warn!(recording = %id, %error, "recording.mp4 waits for the next start");
                return;
            }
        };
        let folder = self.settings.folder.join(id.to_string());
        let made = self.make(store, &manifest, &folder).await;
        let _ = fs::remove_dir_all(&folder).await;
        if let Err(error) = note(store, manifest, made).await {
            warn!(recording = %id, %error, "what became of recording.mp4 is not noted");
        }
    }

    async fn make(&self, store: &Store, manifest: &Manifest, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)
            .await
            .with_context(|| format!("the folder {}", folder.display()))?;
        let (video, audio) = manifest.best_tracks();
        for (track, rendition) in [("video", video), ("audio", audio)] {
            if let Some(rendition) = rendition {
                fetch(store, manifest.id, rendition, track, folder).await?;
            }
        }
        self.run_child(folder, MIN_TIME.max(manifest.duration()))
            .await?;
        let mut made = fs::read_dir(folder).await?;
        while let Some(entry) = made.next_entry().await? {
            if let Some(name) = entry.file_name().to_str().filter(|name| is_made(name)) {
                store
                    .put_file(&file(manifest.id, name), &entry.path())
                    .await?;
            }
        }
        Ok(())
    }

    async fn run_child(&self, folder: &Path, within: Duration) -> anyhow::Result<()> {
        let mut child = Command::new(&self.settings.executable)
            .arg("finish")
            .arg(folder)
            // Held open: its end tells the child that the server is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the finishing child cannot be started")?;
        let held = child.stdin.take();
        let output = tokio::time::timeout(within, child.wait_with_output())
            .await
            .with_context(|| {
                format!("the finishing child hung and was ended after {within:?}")
            })??;
        drop(held);
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            let words: String = words.trim().chars().take(MAX_REASON).collect();
            bail!("the finishing child failed ({}): {words}", output.status);
        }
        Ok(())
    }
}

/// Each run of segments with the same init segment becomes a file.
async fn fetch(
    store: &Store,
    id: BroadcastId,
    rendition: &RecordedRendition,
    track: &str,
    folder: &Path,
) -> anyhow::Result<()> {
    let name = &rendition.info.name;
    for (number, run) in rendition.runs().enumerate() {
        let mut to = fs::File::create(folder.join(input_name(track, number))).await?;
        let init = run.iter().take(1).map(|s| format!("init-{}.mp4", s.init));
        let segments = run.iter().map(|segment| format!("{}.m4s", segment.msn));
        for part in init.chain(segments) {
            let path = file(id, &format!("{name}/{part}"));
            let found = store.get(&path).await?;
            let found = found.with_context(|| format!("{path} is not in the storage"))?;
            let mut bytes = found.into_stream();
            while let Some(bytes) = bytes.next().await {
                to.write_all(&bytes?).await?;
            }
        }
        to.flush().await?;
    }
    Ok(())
}

async fn note(
    store: &Store,
    mut manifest: Manifest,
    made: anyhow::Result<()>,
) -> Result<(), super::Error> {
    let id = manifest.id;
    // A recording that was deleted meanwhile stays deleted.
    let held = store.hold().await;
    if store.manifest(id).await?.is_none() {
        drop(held);
        return store.delete(id).await;
    }
    match made {
        Ok(()) => {
            info!(recording = %id, "recording.mp4 is ready");
            manifest.film = Film::Ready;
        }
        Err(error) => {
            warn!(recording = %id, "no recording.mp4: {error:#}");
            manifest.film_failed(format!("{error:#}"));
        }
    }
    store.put_manifest(&manifest).await
}
