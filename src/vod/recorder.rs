//! One broadcast's segments on their way into the storage.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::PutPayload;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::archive::Archive;
use super::core::manifest::{Manifest, RecordedSegment, RecordingInfo, State};
use super::store::{Store, file};

/// The first wait after a failed upload, doubled each time.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(10);
/// The manifest is rewritten with each of these many segments: what a crash can take from it.
const MANIFEST_EVERY: usize = 1;

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
    Init {
        rendition: String,
        number: u32,
        bytes: Bytes,
    },
    Segment(Segment),
    Finish(oneshot::Sender<bool>),
}

/// A handle to the task that uploads. It never waits. While the storage is away, segments wait
/// in memory: about 1.5 GB an hour of the default ladder.
pub struct Recorder {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Recorder {
    pub(super) fn start(archive: Archive, info: RecordingInfo) -> Self {
        let (jobs, receiver) = mpsc::unbounded_channel();
        tokio::spawn(work(archive, Manifest::new(info), receiver));
        Self { jobs }
    }

    pub fn init(&self, rendition: &str, number: u32, bytes: Bytes) {
        let rendition = rendition.to_owned();
        let _ = self.jobs.send(Job::Init {
            rendition,
            number,
            bytes,
        });
    }

    pub fn segment(&self, segment: Segment) {
        let _ = self.jobs.send(Job::Segment(segment));
    }

    /// Waits for what is still to be uploaded. Whether there is anything to play.
    pub async fn finish(self) -> bool {
        let (answer, answered) = oneshot::channel();
        let _ = self.jobs.send(Job::Finish(answer));
        answered.await.unwrap_or(false)
    }
}

async fn work(archive: Archive, mut manifest: Manifest, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let store = &archive.store;
    let id = manifest.id;
    put_manifest(store, &manifest).await;
    let mut since_manifest = 0;
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Init {
                rendition,
                number,
                bytes,
            } => {
                if let Some(known) = manifest.rendition_mut(&rendition) {
                    known.codecs = known.codecs.take().or_else(|| codecs(&bytes));
                }
                put(
                    store,
                    &file(id, &format!("{rendition}/init-{number}.mp4")),
                    bytes.into(),
                )
                .await;
            }
            Job::Segment(segment) => {
                let name = format!("{}/{}.m4s", segment.rendition, segment.msn);
                let bytes = segment.bytes.iter().map(|part| part.len() as u64).sum();
                put(store, &file(id, &name), segment.bytes.into_iter().collect()).await;
                let recorded = RecordedSegment {
                    msn: segment.msn,
                    init: segment.init,
                    duration_us: segment.duration.as_micros() as u64,
                    discontinuity: segment.discontinuity,
                    bytes,
                    program_date_time: segment.program_date_time,
                };
                manifest.add(&segment.rendition, recorded);
                since_manifest += 1;
                if since_manifest >= MANIFEST_EVERY {
                    since_manifest = 0;
                    put_manifest(store, &manifest).await;
                }
            }
            Job::Finish(answer) => {
                manifest.state = State::Complete;
                put_manifest(store, &manifest).await;
                info!(recording = %id, duration = ?manifest.duration(), "the recording is complete");
                let _ = answer.send(manifest.is_playable());
                archive.finish_later(id);
                return;
            }
        }
    }
}

async fn put_manifest(store: &Store, manifest: &Manifest) {
    let json = serde_json::to_vec(manifest).unwrap_or_default();
    put(
        store,
        &file(manifest.id, "manifest.json"),
        Bytes::from(json).into(),
    )
    .await;
}

/// Tries until it is done.
async fn put(store: &Store, path: &object_store::path::Path, bytes: PutPayload) {
    let mut wait = RETRY;
    while let Err(error) = store.put(path, bytes.clone()).await {
        warn!(%error, %path, "an upload failed and is tried again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_RETRY);
    }
}

/// `CODECS` of an init segment.
fn codecs(init: &Bytes) -> Option<String> {
    crate::hls::core::codecs::codec_string(init)
}
