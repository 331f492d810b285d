//! `/vod/{recording}/…`: playlists written from the manifest, segments passed on from the storage.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use super::archive::Archive;
use super::core::manifest::{Manifest, State as Recorded};
use super::core::playlist;
use super::store::{Error, file};
use crate::problem::Problem;
use crate::room::BroadcastId;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// While it is recorded, a playlist grows with each segment.
const SHORTLY: &str = "public, max-age=1";

pub fn routes(archive: Archive) -> Router {
    Router::new()
        .route("/vod/{recording}/index.m3u8", get(multivariant))
        .route("/vod/{recording}/{rendition}/{file}", get(below_rendition))
        .with_state(archive)
}

async fn multivariant(
    State(archive): State<Archive>,
    Path(recording): Path<String>,
) -> Result<Response, Problem> {
    let manifest = find(&archive, &recording).await?;
    if !manifest.is_playable() {
        return Err(not_found(
            "this recording has no segment yet; try again in some seconds",
        ));
    }
    Ok(playlist_answer(
        &manifest,
        playlist::multivariant(&manifest),
    ))
}

async fn below_rendition(
    State(archive): State<Archive>,
    Path((recording, rendition, name)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let manifest = find(&archive, &recording).await?;
    let rendition = manifest
        .renditions
        .iter()
        .find(|known| known.info.name == rendition)
        .ok_or_else(|| not_found("this recording has no such rendition; index.m3u8 lists them"))?;
    if name == "index.m3u8" {
        return Ok(playlist_answer(
            &manifest,
            playlist::media(&manifest, rendition),
        ));
    }
    let unknown = || not_found("no such file; the rendition's index.m3u8 lists them");
    // Only names that a playlist can hold reach the storage.
    let msn = name
        .strip_suffix(".m4s")
        .and_then(|n| n.parse::<u64>().ok());
    let init = name
        .strip_prefix("init-")
        .and_then(|n| n.strip_suffix(".mp4")?.parse::<u32>().ok());
    let known = rendition
        .segments
        .iter()
        .any(|s| msn == Some(s.msn) || init == Some(s.init));
    if !known {
        return Err(unknown());
    }
    let path = file(manifest.id, &format!("{}/{name}", rendition.info.name));
    let found = archive
        .store
        .get(&path)
        .await
        .map_err(away)?
        .ok_or_else(unknown)?;
    let length = found.meta.size;
    let kind = if rendition.info.kind == super::RenditionKind::Audio {
        "audio/mp4"
    } else {
        "video/mp4"
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, FOR_EVER),
    ];
    let mut response = (headers, Body::from_stream(found.into_stream())).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(for_every_origin(response))
}

async fn find(archive: &Archive, recording: &str) -> Result<Manifest, Problem> {
    let unknown = || not_found("there is no such recording; GET /api/v1/recordings lists them");
    let id: BroadcastId = recording.parse().map_err(|_| unknown())?;
    archive
        .store
        .manifest(id)
        .await
        .map_err(away)?
        .ok_or_else(unknown)
}

fn playlist_answer(manifest: &Manifest, text: String) -> Response {
    // A complete recording can still be deleted, so its playlists are kept for a while only.
    let cache = if manifest.state == Recorded::Complete {
        "public, max-age=60"
    } else {
        SHORTLY
    };
    let headers = [
        (header::CONTENT_TYPE, PLAYLIST),
        (header::CACHE_CONTROL, cache),
    ];
    for_every_origin((headers, text).into_response())
}

fn for_every_origin(mut response: Response) -> Response {
    let anyone = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
    response
}

fn not_found(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, detail)
}

fn away(error: Error) -> Problem {
    let detail = format!("the recordings' storage does not answer ({error}); try again later");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
}
