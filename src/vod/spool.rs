//! A recording's folder on this machine: what the storage does not have yet survives here.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::core::manifest::{Manifest, RecordedSegment};
use crate::room::BroadcastId;

/// What a recording is made of, on its way into the storage.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub head: Head,
    pub bytes: Vec<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Head {
    Init {
        rendition: String,
        number: u32,
    },
    Segment {
        rendition: String,
        segment: RecordedSegment,
    },
}

impl Item {
    pub fn len(&self) -> u64 {
        self.bytes.iter().map(|part| part.len() as u64).sum()
    }
}

/// A segment that the storage has, and the stored manifest does not name yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sent {
    rendition: String,
    codecs: Option<String>,
    segment: RecordedSegment,
}

pub struct Spool {
    folder: PathBuf,
    max_bytes: u64,
    bytes: u64,
    next: u64,
}

/// An item that is in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    file: PathBuf,
    pub len: u64,
}

const MANIFEST: &str = "manifest.json";
const SENT: &str = "sent.ndjson";

impl Spool {
    /// `folder` is of this recording alone.
    pub fn new(folder: PathBuf, max_bytes: u64) -> Self {
        Self {
            folder,
            max_bytes,
            bytes: 0,
            next: 0,
        }
    }

    /// The recordings that have something in `folder`.
    pub async fn all(folder: &Path) -> Vec<BroadcastId> {
        let mut found = Vec::new();
        if let Ok(mut entries) = fs::read_dir(folder).await {
            while let Ok(Some(entry)) = entries.next_entry().await {
                found.extend(
                    entry
                        .file_name()
                        .to_str()
                        .and_then(|name| name.parse::<BroadcastId>().ok()),
                );
            }
        }
        found
    }

    /// Begins: should this process die, the next one knows what the recording is of.
    pub async fn put_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let json = serde_json::to_vec(manifest).unwrap_or_default();
        write_whole(&self.folder.join(MANIFEST), &[json.into()]).await
    }

    pub async fn manifest(&self) -> Option<Manifest> {
        let json = fs::read(self.folder.join(MANIFEST)).await.ok()?;
        serde_json::from_slice(&json).ok()
    }

    /// # Errors
    /// [`io::ErrorKind::StorageFull`] too when this recording may not have more of the disk.
    pub async fn keep(&mut self, item: &Item) -> io::Result<Kept> {
        let len = item.len();
        if self.bytes + len > self.max_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let head = serde_json::to_vec(&item.head).map_err(io::Error::other)?;
        let head_len = u32::try_from(head.len()).map_err(io::Error::other)?;
        let mut parts = vec![Bytes::copy_from_slice(&head_len.to_be_bytes()), head.into()];
        parts.extend(item.bytes.iter().cloned());
        let file = self.folder.join(format!("{:010}", self.next));
        fs::create_dir_all(&self.folder).await?;
        write_whole(&file, &parts).await?;
        self.next += 1;
        self.bytes += len;
        Ok(Kept { file, len })
    }

    pub async fn read(&self, kept: &Kept) -> io::Result<Item> {
        let mut bytes = BytesMut::from(&fs::read(&kept.file).await?[..]);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a damaged file of the spool");
        if bytes.len() < 4 {
            return Err(damaged());
        }
        let word = bytes.split_to(4);
        let head_len = u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize;
        if bytes.len() < head_len {
            return Err(damaged());
        }
        let head = serde_json::from_slice(&bytes.split_to(head_len)).map_err(io::Error::other)?;
        let bytes = vec![bytes.freeze()];
        Ok(Item { head, bytes })
    }

    pub async fn forget(&mut self, kept: Kept) {
        let _ = fs::remove_file(&kept.file).await;
        self.bytes = self.bytes.saturating_sub(kept.len);
    }

    /// What a process that died left, in order.
    pub async fn left(&mut self) -> io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        let mut entries = match fs::read_dir(&self.folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            let len = entry.metadata().await?.len();
            self.next = self.next.max(number + 1);
            self.bytes += len;
            found.push((
                number,
                Kept {
                    file: entry.path(),
                    len,
                },
            ));
        }
        found.sort_by_key(|(number, _)| *number);
        Ok(found.into_iter().map(|(_, kept)| kept).collect())
    }

    /// Notes a segment that is in the storage.
    pub async fn note_sent(
        &self,
        rendition: &str,
        codecs: Option<&str>,
        segment: &RecordedSegment,
    ) -> io::Result<()> {
        let sent = Sent {
            rendition: rendition.to_owned(),
            codecs: codecs.map(str::to_owned),
            segment: segment.clone(),
        };
        let mut line = serde_json::to_vec(&sent).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut file = fs::OpenOptions::new();
        let mut file = file
            .append(true)
            .create(true)
            .open(self.folder.join(SENT))
            .await?;
        file.write_all(&line).await?;
        file.flush().await
    }

    /// The stored manifest names them all.
    pub async fn clear_sent(&self) {
        let _ = fs::remove_file(self.folder.join(SENT)).await;
    }

    /// Puts into the manifest what was sent after it was stored.
    pub async fn replay_sent(&self, manifest: &mut Manifest) {
        let text = fs::read_to_string(self.folder.join(SENT))
            .await
            .unwrap_or_default();
        // A line that was cut off by a crash is of a segment that is still in the spool.
        for sent in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Sent>(line).ok())
        {
            if let Some(rendition) = manifest.rendition_mut(&sent.rendition) {
                rendition.codecs = rendition.codecs.take().or(sent.codecs);
            }
            manifest.add(&sent.rendition, sent.segment);
        }
    }

    /// All is in the storage.
    pub async fn remove(self) {
        let _ = fs::remove_dir_all(&self.folder).await;
    }
}

/// A file that is there is whole.
async fn write_whole(path: &Path, parts: &[Bytes]) -> io::Result<()> {
    let unfinished = path.with_extension("part");
    let mut file = fs::File::create(&unfinished).await?;
    for part in parts {
        file.write_all(part).await?;
    }
    file.flush().await?;
    drop(file);
    fs::rename(&unfinished, path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u32, len: usize) -> Item {
        Item {
            head: Head::Init {
                rendition: "720p".to_owned(),
                number,
            },
            bytes: vec![Bytes::from(vec![7; len])],
        }
    }

    #[tokio::test]
    async fn what_is_kept_outlives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("one");
        let mut spool = Spool::new(place.clone(), 1000);
        for number in 0..12 {
            spool.keep(&item(number, 10)).await.expect("kept");
        }
        let mut spool = Spool::new(place, 1000);
        let left = spool.left().await.expect("read");
        assert_eq!(left.len(), 12);
        for (number, kept) in (0..).zip(left) {
            assert_eq!(spool.read(&kept).await.expect("read"), item(number, 10));
            spool.forget(kept).await;
        }
        assert_eq!(spool.left().await.expect("read"), []);
    }

    #[tokio::test]
    async fn it_takes_no_more_of_the_disk_than_it_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spool = Spool::new(folder.path().join("one"), 100);
        let kept = spool.keep(&item(0, 60)).await.expect("kept");
        let refused = spool.keep(&item(1, 60)).await.expect_err("full");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        spool.forget(kept).await;
        spool.keep(&item(1, 60)).await.expect("room again");
    }
}
