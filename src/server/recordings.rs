//! What time demands of the recordings: what a crash left is completed, what is old is deleted.

use std::time::Duration;

use chrono::Utc;
use tracing::{info, warn};
use uuid::Uuid;

use crate::room::{BroadcastId, RoomId};
use crate::vod::Archive;
use crate::vod::archive::COMPLETE;

/// The storage may be away at the start.
const RECOVER_EVERY: Duration = Duration::from_secs(30);
/// Old recordings are looked for this often.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);
/// The gauges follow so fast.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Runs until it is dropped. `keep_for` of zero keeps recordings for ever, unless their room says otherwise.
///
/// Of those that are `untold` of, `completed` is called once they are complete.
pub async fn keep(
    archive: Archive,
    keep_for: Duration,
    untold: Vec<(RoomId, BroadcastId)>,
    completed: impl Fn(&RoomId, BroadcastId),
) {
    tokio::join!(
        recover(&archive, untold, completed),
        expire(&archive, keep_for),
        measure(&archive)
    );
}

async fn recover(
    archive: &Archive,
    untold: Vec<(RoomId, BroadcastId)>,
    completed: impl Fn(&RoomId, BroadcastId),
) {
    // Ids sort by time: those of this process are later.
    let started = BroadcastId(Uuid::now_v7());
    while let Err(error) = archive.recover(started).await {
        warn!(%error, "recordings that were cut off wait for their storage");
        tokio::time::sleep(RECOVER_EVERY).await;
    }
    for (room, id) in untold {
        match archive.find(id).await {
            Ok(Some(found)) if found.state == COMPLETE => completed(&room, id),
            Ok(_) => {}
            Err(error) => warn!(%error, recording = %id, "nobody is told that it is complete"),
        }
    }
}

async fn expire(archive: &Archive, keep_for: Duration) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    loop {
        ticks.tick().await;
        match archive.expire(keep_for, Utc::now()).await {
            Ok(0) => {}
            Ok(deleted) => info!(
                deleted,
                "old recordings are deleted, as recording.keep_for or their rooms say"
            ),
            Err(error) => warn!(%error, "old recordings are not deleted"),
        }
    }
}

async fn measure(archive: &Archive) {
    let mut ticks = tokio::time::interval(MEASURE_EVERY);
    loop {
        ticks.tick().await;
        let backlog = archive.backlog();
        metrics::gauge!(crate::metrics::RECORDING_WAITING_BYTES)
            .set(backlog.waiting_bytes() as f64);
        metrics::counter!(crate::metrics::SEGMENTS_LOST).absolute(backlog.lost());
    }
}
