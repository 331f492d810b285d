//! Recordings from outside: both storages, a storage that is away, a server that dies, and the
//! files that are made at the end.

mod support {
    pub mod cmaf;
    pub mod s3;
}

use std::path::Path;
use std::time::Duration;

use amphi::room::BroadcastId;
use amphi::vod::{
    Archive, FinishSettings, Recorder, RecordingInfo, RenditionInfo, RenditionKind, Segment,
    Settings, SpoolSettings, StoreLocation,
};
use chrono::{DateTime, Utc};
use support::cmaf::{self, SEGMENT, Tracks};
use support::s3::{BUCKET, KEY, S3};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);

fn open(location: StoreLocation, work: &Path) -> Archive {
    let finish = FinishSettings {
        executable: env!("CARGO_BIN_EXE_amphi").into(),
        folder: work.join("finishing"),
    };
    Archive::open(&Settings {
        location,
        spool: SpoolSettings {
            folder: work.join("spool"),
            max_bytes: 64 << 20,
        },
        finish: Some(finish),
    })
    .expect("an archive")
}

fn bucket(s3: &S3) -> StoreLocation {
    StoreLocation::S3 {
        bucket: BUCKET.into(),
        prefix: "some/where".into(),
        endpoint: s3.endpoint(),
        region: "us-east-1".into(),
        credentials: Some((KEY.0.into(), KEY.1.into())),
    }
}

fn info(id: BroadcastId) -> RecordingInfo {
    let rendition = |name: &str, kind| RenditionInfo {
        name: name.into(),
        kind,
        declared_bitrate_bps: 1_000_000,
    };
    let video = RenditionKind::Video {
        width_px: 640,
        height_px: 360,
        fps: 30.0,
    };
    RecordingInfo {
        id,
        room: "show".parse().expect("a name"),
        started_at: DateTime::UNIX_EPOCH,
        private: false,
        keep_for: None,
        renditions: vec![
            rendition("360p", video),
            rendition("audio", RenditionKind::Audio),
        ],
    }
}

fn new_id() -> BroadcastId {
    BroadcastId(uuid::Uuid::now_v7())
}

/// Gives the recorder segments `from..to` of both renditions; from the third on, as if a new
/// child had made them.
fn record(recorder: &Recorder, tracks: &Tracks, from: usize, to: usize) {
    for (rendition, track) in [("360p", &tracks.video), ("audio", &tracks.audio)] {
        if from == 0 {
            recorder.init(rendition, 0, track.init.clone());
            recorder.init(rendition, 1, track.init.clone());
        }
        for (msn, bytes) in track.segments.iter().enumerate().take(to).skip(from) {
            let time = SEGMENT * u32::try_from(msn).expect("small");
            recorder.segment(Segment {
                rendition: rendition.into(),
                msn: msn as u64,
                init: u32::from(msn >= 2),
                decode_time: time,
                duration: SEGMENT,
                discontinuity: msn == 2,
                program_date_time: DateTime::<Utc>::UNIX_EPOCH + time,
                bytes: vec![bytes.clone()],
            });
        }
    }
}

/// Serves the archive and gives the base URL of a recording.
async fn serve(archive: &Archive, id: BroadcastId) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let routes = amphi::vod::routes(archive.clone(), std::sync::Arc::new(|_, _| Ok(())));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}/vod/{id}")
}

async fn get_soon(url: &str) -> reqwest::Response {
    let asked = async {
        loop {
            let answer = reqwest::get(url).await.expect("an answer");
            if answer.status().is_success() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, asked)
        .await
        .unwrap_or_else(|_| panic!("{url} does not come"))
}

/// A whole recording, as anyone sees it.
async fn check_recording(base: &str) {
    let multivariant = get_soon(&format!("{base}/index.m3u8")).await;
    let multivariant = multivariant.text().await.expect("text");
    assert!(multivariant.contains("avc1.") && multivariant.contains("mp4a.40.2"));
    cmaf::check_probe(&format!("{base}/index.m3u8")).await;

    let film = get_soon(&format!("{base}/recording.mp4")).await;
    assert_eq!(film.headers()["content-type"], "video/mp4");
    let film = film.bytes().await.expect("a film");
    let find = |name: &[u8]| film.windows(4).position(|window| window == name);
    assert!(
        find(b"moov") < find(b"mdat"),
        "it does not play while it loads"
    );
    cmaf::check_probe(&format!("{base}/recording.mp4")).await;

    let client = reqwest::Client::new();
    let part = client
        .get(format!("{base}/recording.mp4"))
        .header("range", "bytes=4-7")
        .send()
        .await
        .expect("an answer");
    assert_eq!(part.status(), 206);
    assert_eq!(
        part.headers()["content-range"],
        format!("bytes 4-7/{}", film.len()).as_str()
    );
    assert_eq!(&part.bytes().await.expect("four bytes")[..], b"ftyp");

    let poster = get_soon(&format!("{base}/poster.jpg")).await;
    let poster = poster.bytes().await.expect("a poster");
    assert_eq!(cmaf::size_of_picture(&poster), (640, 360));
    assert!(cmaf::light(&poster) > 40.0, "the poster is dark");

    let thumbnails = get_soon(&format!("{base}/thumbnails.vtt")).await;
    let text = thumbnails.text().await.expect("text");
    assert!(
        text.starts_with("WEBVTT\n") && text.contains("thumbnails-0.jpg#xywh=0,0,160,90"),
        "{text}"
    );
    let sheet = get_soon(&format!("{base}/thumbnails-0.jpg")).await;
    let sheet = sheet.bytes().await.expect("a sheet");
    assert_eq!(cmaf::size_of_picture(&sheet), (800, 450));
}

async fn check_store(location: StoreLocation) {
    let work = tempfile::tempdir().expect("a temporary folder");
    let tracks = cmaf::make();
    let archive = open(location, work.path());
    let id = new_id();
    let recorder = archive.record(info(id));
    record(&recorder, &tracks, 0, 4);
    assert!(recorder.finish().await);
    let base = serve(&archive, id).await;
    check_recording(&base).await;

    let list = archive.list(None, 100).await.expect("a list");
    assert_eq!(list.len(), 1);
    assert_eq!((list[0].id, list[0].duration), (id, SEGMENT * 4));
    archive.delete(id).await.expect("deleted");
    assert_eq!(archive.list(None, 100).await.expect("a list"), []);
    let gone = reqwest::get(format!("{base}/recording.mp4"))
        .await
        .expect("an answer");
    assert_eq!(gone.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_a_recording() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_store(StoreLocation::Folder(folder.path().into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_a_recording() {
    let s3 = S3::start().await;
    check_store(bucket(&s3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_storage_is_away() {
    let mut s3 = S3::start().await;
    let work = tempfile::tempdir().expect("a temporary folder");
    let tracks = cmaf::make();
    let archive = open(bucket(&s3), work.path());
    let id = new_id();
    let recorder = archive.record(info(id));
    record(&recorder, &tracks, 0, 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    s3.go_away().await;
    record(&recorder, &tracks, 1, 4);
    tokio::time::sleep(Duration::from_secs(3)).await;
    s3.come_back().await;
    assert!(recorder.finish().await);
    check_recording(&serve(&archive, id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_completes_what_a_dead_server_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = || StoreLocation::Folder(folder.path().into());
    let id = new_id();
    let work = tempfile::tempdir().expect("a temporary folder");
    let tracks = cmaf::make();
    let dead = tokio::runtime::Runtime::new().expect("a runtime");
    let recorder = {
        let _inside = dead.enter();
        open(place(), work.path()).record(info(id))
    };
    record(&recorder, &tracks, 0, 4);
    let archive = open(place(), work.path());
    wait_for_segments(&archive, id, SEGMENT * 4).await;
    dead.shutdown_background();

    archive.recover(new_id()).await.expect("recovered");
    check_recording(&serve(&archive, id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_the_storage_is_away_loses_nothing() {
    let mut s3 = S3::start().await;
    let location = bucket(&s3);
    let work = tempfile::tempdir().expect("a temporary folder");
    let tracks = cmaf::make();
    let id = new_id();
    s3.go_away().await;
    let dead = tokio::runtime::Runtime::new().expect("a runtime");
    let (recorder, archive) = {
        let _inside = dead.enter();
        let archive = open(location.clone(), work.path());
        (archive.record(info(id)), archive)
    };
    record(&recorder, &tracks, 0, 4);
    let spool = work.path().join("spool").join(id.to_string());
    let spooled = async {
        // Four inits and eight segments, and the manifest.
        let is_whole =
            |file: &std::fs::DirEntry| file.path().extension().is_none_or(|e| e != "part");
        let whole = || {
            Some(
                std::fs::read_dir(&spool)
                    .ok()?
                    .flatten()
                    .filter(is_whole)
                    .count(),
            )
        };
        while whole().unwrap_or(0) < 13 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, spooled)
        .await
        .expect("all is on the disk");
    assert!(archive.backlog().waiting_bytes() > 0);
    dead.shutdown_background();
    drop(recorder);

    let archive = open(location, work.path());
    archive
        .recover(new_id())
        .await
        .expect_err("the storage is still away");
    s3.come_back().await;
    archive.recover(new_id()).await.expect("recovered");
    check_recording(&serve(&archive, id).await).await;
    assert!(!spool.exists(), "the spool is empty again");
    assert_eq!(archive.backlog().waiting_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_nothing_is_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let work = tempfile::tempdir().expect("a temporary folder");
    let archive = open(StoreLocation::Folder(folder.path().into()), work.path());
    assert!(!archive.record(info(new_id())).finish().await);
    assert_eq!(archive.list(None, 100).await.expect("a list"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_recordings_are_deleted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let work = tempfile::tempdir().expect("a temporary folder");
    let archive = open(StoreLocation::Folder(folder.path().into()), work.path());
    let id = new_id();
    let recorder = archive.record(info(id));
    record(&recorder, &cmaf::make(), 0, 2);
    assert!(recorder.finish().await);
    let day = Duration::from_secs(86_400);
    let begun = DateTime::<Utc>::UNIX_EPOCH;
    assert_eq!(archive.expire(day, begun + day).await.expect("looked"), 0);
    assert_eq!(
        archive.expire(day, begun + 2 * day).await.expect("looked"),
        1
    );
    assert_eq!(archive.list(None, 100).await.expect("a list"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_that_cannot_be_made_is_explained() {
    let (folder, work): (TempDir, TempDir) = (
        tempfile::tempdir().expect("a temporary folder"),
        tempfile::tempdir().expect("a temporary folder"),
    );
    let archive = open(StoreLocation::Folder(folder.path().into()), work.path());
    let id = new_id();
    let recorder = archive.record(info(id));
    let mut tracks = cmaf::make();
    tracks.video.init = "not an init segment".into();
    record(&recorder, &tracks, 0, 4);
    assert!(recorder.finish().await);
    let url = format!("{}/recording.mp4", serve(&archive, id).await);
    let asked = async {
        loop {
            let text = reqwest::get(&url).await.expect("an answer").text().await;
            let text = text.expect("text");
            if text.contains("could not be made") {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let text = tokio::time::timeout(SOON, asked).await.expect("a reason");
    assert!(
        text.contains("init segment") && text.contains("index.m3u8"),
        "{text}"
    );
}

async fn wait_for_segments(archive: &Archive, id: BroadcastId, duration: Duration) {
    let seen = async {
        while archive
            .find(id)
            .await
            .expect("readable")
            .is_none_or(|found| found.duration < duration)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, seen).await.expect("uploaded");
    // Of both renditions: the sound comes last.
    tokio::time::sleep(Duration::from_millis(500)).await;
}
