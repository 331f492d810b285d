//! One broadcast's segments on their way into the storage.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::archive::Archive;
use super::core::manifest::{Manifest, RecordedSegment, RecordingInfo, State};
use super::core::playlist;
use super::spool::{Head, Item, Kept, Spool};
use super::store::{Error, Store, file};
use crate::room::BroadcastId;

/// The first wait after a failed upload, doubled each time.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(10);
/// What waits in memory while an upload runs, some seconds of a ladder; more goes to the disk.
const MAX_MEMORY_BYTES: u64 = 8 << 20;
/// The manifest is stored again when it has grown by this fraction, so that a long recording
/// does not spend its time on it; what came since is noted on the disk.
const MANIFEST_GROWTH: usize = 100;

/// A segment that is complete.
#[derive(Debug, Clone)]
pub struct Segment {
    pub rendition: String,
    pub msn: u64,
    /// Which init segment it needs.
    pub init: u32,
    pub decode_time: Duration,
    pub duration: Duration,
    pub discontinuity: bool,
    pub program_date_time: DateTime<Utc>,
    /// Its parts, in order.
    pub bytes: Vec<Bytes>,
}

enum Job {
    Item(Item),
    Finish(oneshot::Sender<bool>),
}

/// A handle to the task that uploads. It never waits. While the storage is away, segments wait
/// on the disk.
pub struct Recorder {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Recorder {
    pub(super) fn start(archive: Archive, info: RecordingInfo) -> Self {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let spool = archive.spool(info.id);
        let work = Work::new(archive, Manifest::new(info), spool);
        tokio::spawn(async move {
            if let Err(error) = work.spool.put_manifest(&work.manifest).await {
                warn!(%error, "the spool cannot be written; is the disk full?");
            }
            work.run(receiver).await;
        });
        Self { jobs }
    }

    /// Uploads what a process that died left in the spool, and completes the recording.
    pub(super) async fn resume(archive: Archive, manifest: Manifest, mut spool: Spool) {
        let left = match spool.left().await {
            Ok(left) => left,
            Err(error) => return warn!(%error, "a spool does not read, and is left as it is"),
        };
        let mut work = Work::new(archive, manifest, spool);
        for kept in left {
            work.archive.backlog.add(kept.len);
            work.queue.push_back(Waiting::OnDisk(kept));
        }
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (answer, _) = oneshot::channel();
        let _ = jobs.send(Job::Finish(answer));
        work.run(receiver).await;
    }

    pub fn init(&self, rendition: &str, number: u32, bytes: Bytes) {
        let head = Head::Init {
            rendition: rendition.to_owned(),
            number,
        };
        let bytes = vec![bytes];
        let _ = self.jobs.send(Job::Item(Item { head, bytes }));
    }

    pub fn segment(&self, segment: Segment) {
        let bytes = segment.bytes.iter().map(|part| part.len() as u64).sum();
        let head = Head::Segment {
            rendition: segment.rendition,
            segment: RecordedSegment {
                msn: segment.msn,
                init: segment.init,
                duration_us: segment.duration.as_micros() as u64,
                discontinuity: segment.discontinuity,
                bytes,
                program_date_time: segment.program_date_time,
            },
        };
        let bytes = segment.bytes;
        let _ = self.jobs.send(Job::Item(Item { head, bytes }));
    }

    /// Waits for what is still to be uploaded. Whether there is anything to play.
    pub async fn finish(self) -> bool {
        let (answer, answered) = oneshot::channel();
        let _ = self.jobs.send(Job::Finish(answer));
        answered.await.unwrap_or(false)
    }
}

/// An item that is not in the storage yet.
enum Waiting {
    InMemory(Item),
    OnDisk(Kept),
}

impl Waiting {
    fn len(&self) -> u64 {
        match self {
            Self::InMemory(item) => item.len(),
            Self::OnDisk(kept) => kept.len,
        }
    }
}

/// What an upload was of.
enum Uploaded {
    /// The first in the queue; with what goes into the manifest.
    First(Head, Option<String>),
    Manifest,
}

type Upload = BoxFuture<'static, Result<Uploaded, Error>>;

struct Work {
    archive: Archive,
    manifest: Manifest,
    spool: Spool,
    queue: VecDeque<Waiting>,
    memory_bytes: u64,
    /// Segments of the manifest that the stored one does not have. `None`: there is none yet.
    unstored: Option<usize>,
    /// Renditions of which a segment was lost: the next one does not follow on.
    lost: Vec<String>,
}

impl Work {
    fn new(archive: Archive, manifest: Manifest, spool: Spool) -> Self {
        Self {
            archive,
            manifest,
            spool,
            queue: VecDeque::new(),
            memory_bytes: 0,
            unstored: None,
            lost: Vec::new(),
        }
    }

    async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let mut finish = None;
        let mut upload: Option<Upload> = None;
        let mut wait = RETRY;
        let mut rest = Instant::now();
        loop {
            if upload.is_none() {
                upload = self.next_upload(finish.is_some()).await;
                if upload.is_none() && finish.is_some() {
                    break;
                }
            }
            let running = async {
                match upload.as_mut() {
                    Some(upload) => {
                        tokio::time::sleep_until(rest).await;
                        upload.await
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                job = jobs.recv(), if finish.is_none() => match job {
                    Some(Job::Item(item)) => self.take(item).await,
                    Some(Job::Finish(answer)) => {
                        finish = Some(Some(answer));
                        // The server may be about to leave.
                        self.spill(0).await;
                    }
                    // The broadcast's task is gone: what is here is all there will be.
                    None => finish = Some(None),
                },
                result = running => {
                    upload = None;
                    match result {
                        Ok(uploaded) => {
                            wait = RETRY;
                            self.uploaded(uploaded).await;
                        }
                        Err(error) => {
                            warn!(%error, recording = %self.manifest.id, "an upload failed and is tried again");
                            rest = Instant::now() + wait;
                            wait = (wait * 2).min(MAX_RETRY);
                            self.spill(0).await;
                        }
                    }
                }
            }
        }
        self.complete(finish.flatten()).await;
    }

    async fn take(&mut self, mut item: Item) {
        if let Head::Segment { rendition, segment } = &mut item.head {
            segment.discontinuity |= self.lost.contains(rendition);
            self.lost.retain(|lost| lost != rendition);
        }
        self.archive.backlog.add(item.len());
        self.memory_bytes += item.len();
        self.queue.push_back(Waiting::InMemory(item));
        self.spill(MAX_MEMORY_BYTES).await;
    }

    /// Moves the newest to the disk, until no more than this is in memory.
    async fn spill(&mut self, max_memory_bytes: u64) {
        for index in (0..self.queue.len()).rev() {
            if self.memory_bytes <= max_memory_bytes {
                return;
            }
            let Some(Waiting::InMemory(item)) = self.queue.get(index) else {
                continue;
            };
            let len = item.len();
            match self.spool.keep(item).await {
                Ok(kept) => {
                    self.queue[index] = Waiting::OnDisk(kept);
                    self.memory_bytes -= len;
                }
                // The first may be on its way into the storage.
                Err(error) if index > 0 && self.memory_bytes > MAX_MEMORY_BYTES => {
                    self.lose(index, error);
                }
                Err(_) => return,
            }
        }
    }

    /// Loses an item, loudly: neither the storage nor the disk takes it.
    fn lose(&mut self, index: usize, reason: std::io::Error) {
        let Some(Waiting::InMemory(item)) = self.queue.remove(index) else {
            return;
        };
        self.memory_bytes -= item.len();
        self.archive.backlog.remove(item.len());
        self.archive.backlog.count_lost();
        let what = match item.head {
            Head::Init { rendition, number } => format!("{rendition}/init-{number}"),
            Head::Segment { rendition, segment } => {
                let name = format!("{rendition}/{}", segment.msn);
                self.lost.push(rendition);
                name
            }
        };
        error!(
            recording = %self.manifest.id, what, %reason,
            "LOST: the storage is away and the spool takes no more. Mend the storage, or make room \
             for recording.spool_max_mb"
        );
    }

    async fn next_upload(&mut self, finishing: bool) -> Option<Upload> {
        let store = self.archive.store.clone();
        let due = 1 + self.manifest.segments() / MANIFEST_GROWTH;
        let manifest_is_due = self.unstored.is_none_or(|unstored| unstored >= due);
        if manifest_is_due && !(finishing && self.queue.is_empty()) {
            let manifest = self.manifest.clone();
            let put = async move {
                store
                    .put_manifest(&manifest)
                    .await
                    .map(|()| Uploaded::Manifest)
            };
            return Some(put.boxed());
        }
        loop {
            let item = match self.queue.front()? {
                Waiting::InMemory(item) => item.clone(),
                Waiting::OnDisk(kept) => match self.spool.read(kept).await {
                    Ok(item) => item,
                    Err(error) => {
                        error!(%error, recording = %self.manifest.id, "LOST: a file of the spool does not read");
                        self.archive.backlog.count_lost();
                        self.pop().await;
                        continue;
                    }
                },
            };
            return Some(put_item(store, self.manifest.id, item).boxed());
        }
    }

    async fn uploaded(&mut self, uploaded: Uploaded) {
        let (head, codecs) = match uploaded {
            Uploaded::Manifest => {
                self.unstored = Some(0);
                return self.spool.clear_sent().await;
            }
            Uploaded::First(head, codecs) => (head, codecs),
        };
        match head {
            Head::Init { rendition, .. } => {
                if let Some(known) = self.manifest.rendition_mut(&rendition) {
                    known.codecs = known.codecs.take().or(codecs);
                }
            }
            Head::Segment { rendition, segment } => {
                let known = self.manifest.rendition_mut(&rendition);
                let codecs = known.and_then(|known| known.codecs.clone());
                let noted = self
                    .spool
                    .note_sent(&rendition, codecs.as_deref(), &segment);
                if let Err(error) = noted.await {
                    warn!(%error, "the spool cannot be written; is the disk full?");
                }
                self.manifest.add(&rendition, segment);
                *self.unstored.get_or_insert(0) += 1;
            }
        }
        self.pop().await;
    }

    /// The first of the queue is dealt with.
    async fn pop(&mut self) {
        let Some(first) = self.queue.pop_front() else {
            return;
        };
        self.archive.backlog.remove(first.len());
        match first {
            Waiting::InMemory(item) => self.memory_bytes -= item.len(),
            Waiting::OnDisk(kept) => self.spool.forget(kept).await,
        }
    }

    /// All segments are in the storage: the playlists and the last manifest follow.
    async fn complete(mut self, answer: Option<oneshot::Sender<bool>>) {
        let id = self.manifest.id;
        self.manifest.state = State::Complete;
        let mut wait = RETRY;
        while let Err(error) = put_playlists(&self.archive.store, &self.manifest).await {
            warn!(%error, recording = %id, "an upload failed and is tried again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_RETRY);
        }
        self.spool.remove().await;
        let is_playable = self.manifest.is_playable();
        if is_playable {
            info!(recording = %id, duration = ?self.manifest.duration(), "the recording is complete");
            self.archive.finish_later(id);
        }
        if let Some(answer) = answer {
            let _ = answer.send(is_playable);
        }
    }
}

async fn put_item(store: Store, id: BroadcastId, item: Item) -> Result<Uploaded, Error> {
    let (name, codecs) = match &item.head {
        Head::Init { rendition, number } => {
            let codecs = item.bytes.first().and_then(codecs);
            (format!("{rendition}/init-{number}.mp4"), codecs)
        }
        Head::Segment { rendition, segment } => (format!("{rendition}/{}.m4s", segment.msn), None),
    };
    store
        .put(&file(id, &name), item.bytes.into_iter().collect())
        .await?;
    Ok(Uploaded::First(item.head, codecs))
}

/// Playlists, so that any web server before the storage can play it. The manifest comes last: what
/// it calls complete is. A recording of nothing is none.
async fn put_playlists(store: &Store, manifest: &Manifest) -> Result<(), Error> {
    let id = manifest.id;
    if !manifest.is_playable() {
        return store.delete(id).await;
    }
    for rendition in &manifest.renditions {
        let path = file(id, &format!("{}/index.m3u8", rendition.info.name));
        let text = playlist::media(manifest, rendition);
        store.put(&path, Bytes::from(text).into()).await?;
    }
    let text = playlist::multivariant(manifest);
    store
        .put(&file(id, "index.m3u8"), Bytes::from(text).into())
        .await?;
    store.put_manifest(manifest).await
}

/// `CODECS` of an init segment.
fn codecs(init: &Bytes) -> Option<String> {
    crate::hls::core::codecs::codec_string(init)
}
