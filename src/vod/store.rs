//! Where recordings are kept: a local folder, or S3.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, MutexGuard};

use super::core::manifest::{Manifest, VERSION};
use crate::room::BroadcastId;

#[derive(Debug, Clone)]
pub struct Settings {
    pub location: StoreLocation,
    pub spool: SpoolSettings,
    /// `None`: there will be no recording.mp4, nor a poster.
    pub finish: Option<FinishSettings>,
}

/// Where segments wait while the storage is away.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    pub folder: PathBuf,
    /// For each recording. Beyond it, segments are lost.
    pub max_bytes: u64,
}

/// How recording.mp4 is made.
#[derive(Debug, Clone)]
pub struct FinishSettings {
    /// This program; it is run as `amphi finish`.
    pub executable: PathBuf,
    /// For the work; needs room for twice the largest recording. Emptied at the start.
    pub folder: PathBuf,
}

#[derive(Debug, Clone)]
pub enum StoreLocation {
    Folder(PathBuf),
    S3 {
        bucket: String,
        prefix: String,
        /// Empty: AWS.
        endpoint: String,
        region: String,
        /// Key id and secret; `None`: from the machine's role or the AWS_ environment.
        credentials: Option<(String, String)>,
    },
}

/// The recorder tries again by itself, and keeps on the disk what it tries: the sooner a server
/// that is away is known, the less waits in memory.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
    },
    max_retries: 2,
    retry_timeout: Duration::from_secs(10),
};
/// A segment takes a second on a line that can carry the stream.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Why storage did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the folder {folder} for recordings cannot be made: {reason}")]
    Folder {
        folder: String,
        reason: std::io::Error,
    },
    #[error(transparent)]
    Storage(#[from] object_store::Error),
    #[error("a file on its way into the storage: {0}")]
    File(std::io::Error),
    #[error("{path} is not a manifest of version {VERSION}")]
    Manifest { path: String },
}

/// The layout is `recordings/{recording}/…`.
#[derive(Clone)]
pub struct Store(Arc<dyn ObjectStore>, Arc<Mutex<()>>);

impl Store {
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let objects: Arc<dyn ObjectStore> = match &settings.location {
            StoreLocation::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|reason| Error::Folder {
                    folder: folder.display().to_string(),
                    reason,
                })?;
                Arc::new(LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true))
            }
            StoreLocation::S3 {
                bucket,
                prefix,
                endpoint,
                region,
                credentials,
            } => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_retry(RETRY)
                    .with_client_options(ClientOptions::new().with_timeout(REQUEST_WITHIN))
                    .with_bucket_name(bucket)
                    .with_region(region);
                if !endpoint.is_empty() {
                    builder = builder.with_endpoint(endpoint).with_allow_http(true);
                }
                if let Some((id, secret)) = credentials {
                    builder = builder
                        .with_access_key_id(id)
                        .with_secret_access_key(secret);
                }
                Arc::new(PrefixStore::new(builder.build()?, prefix.as_str()))
            }
        };
        Ok(Self(objects, Arc::default()))
    }

    pub async fn put(&self, path: &Path, bytes: PutPayload) -> Result<(), Error> {
        self.0.put(path, bytes).await?;
        Ok(())
    }

    /// A file, however large, which is there when it is complete.
    pub async fn put_file(&self, path: &Path, file: &std::path::Path) -> Result<(), Error> {
        let mut upload = BufWriter::new(self.0.clone(), path.clone());
        let copied = async {
            let mut file = tokio::fs::File::open(file).await?;
            tokio::io::copy(&mut file, &mut upload).await?;
            upload.shutdown().await
        };
        if let Err(error) = copied.await {
            let _ = upload.abort().await;
            return Err(Error::File(error));
        }
        Ok(())
    }

    /// Without its bytes; `None` where nothing is.
    pub async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, Error> {
        match self.0.head(path).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn get_range(
        &self,
        path: &Path,
        range: std::ops::Range<u64>,
    ) -> Result<object_store::GetResult, Error> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        Ok(self.0.get_opts(path, options).await?)
    }

    /// `None` where nothing is.
    pub async fn get(&self, path: &Path) -> Result<Option<object_store::GetResult>, Error> {
        match self.0.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn manifest(&self, id: BroadcastId) -> Result<Option<Manifest>, Error> {
        let path = file(id, "manifest.json");
        let Some(found) = self.get(&path).await? else {
            return Ok(None);
        };
        let bytes = found.bytes().await?;
        let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
        match manifest.filter(|manifest| manifest.version == VERSION) {
            Some(manifest) => Ok(Some(manifest)),
            None => Err(Error::Manifest {
                path: path.to_string(),
            }),
        }
    }

    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let json = serde_json::to_vec(manifest).unwrap_or_default();
        self.put(
            &file(manifest.id, "manifest.json"),
            Bytes::from(json).into(),
        )
        .await
    }

    /// Every recording, the newest first: their ids sort by time.
    pub async fn ids(&self) -> Result<Vec<BroadcastId>, Error> {
        let listed = self
            .0
            .list_with_delimiter(Some(&Path::from("recordings")))
            .await?;
        let mut ids: Vec<BroadcastId> = listed
            .common_prefixes
            .iter()
            .filter_map(|prefix| prefix.filename()?.parse().ok())
            .collect();
        ids.sort_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// While it is held, nothing is deleted: what is found to be there can be changed.
    pub async fn hold(&self) -> MutexGuard<'_, ()> {
        self.1.lock().await
    }

    pub async fn delete(&self, id: BroadcastId) -> Result<(), Error> {
        let _held = self.hold().await;
        // The manifest last: what is half deleted is still known.
        let all: Vec<_> = self.0.list(Some(&folder(id))).try_collect().await?;
        for object in &all {
            if object.location.filename() != Some("manifest.json") {
                self.0.delete(&object.location).await?;
            }
        }
        match self.0.delete(&file(id, "manifest.json")).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

pub fn folder(id: BroadcastId) -> Path {
    Path::from(format!("recordings/{id}"))
}

/// `name` may name a folder too: `720p/12.m4s`.
pub fn file(id: BroadcastId, name: &str) -> Path {
    Path::from(format!("recordings/{id}/{name}"))
}
