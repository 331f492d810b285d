//! WHAT REMAINS: the live segments, kept, are the recording.
pub mod core;
use crate::room::{BroadcastId, RoomId};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use std::time::Duration;
#[derive(Clone)]
pub struct Archive;
pub struct Recorder;
pub struct RecordingInfo {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    pub renditions: Vec<RenditionInfo>,
}
pub struct RenditionInfo {
    pub name: String,
}
pub struct Segment {
    pub rendition: String,
    pub msn: u64,
    pub init: u32,
    pub decode_time: Duration,
    pub duration: Duration,
    pub discontinuity: bool,
    pub program_date_time: DateTime<Utc>,
    pub bytes: Vec<Bytes>,
}
pub struct Summary {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    pub duration: Duration,
    pub state: String,
}
impl Archive {
    pub fn record(&self, _: RecordingInfo) -> Recorder {
        Recorder
    }
    pub async fn list(&self) -> Result<Vec<Summary>, String> {
        Ok(vec![])
    }
    pub async fn delete(&self, _: BroadcastId) -> Result<(), String> {
        Ok(())
    }
    pub async fn recover(self) {}
}
impl Recorder {
    pub fn init(&self, _: &str, _: u32, _: Bytes) {}
    pub fn segment(&self, _: Segment) {}
    pub async fn finish(self) -> bool {
        false
    }
}
pub fn routes(_: Archive) -> axum::Router {
    axum::Router::new()
}
