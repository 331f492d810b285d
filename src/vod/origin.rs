//! `/vod/{recording}/…`: playlists written from the manifest, segments passed on from the storage.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::archive::Archive;
use super::core::manifest::{Film, Manifest, State as Recorded};
use super::core::playlist;
use super::finish::is_made;
use super::store::{Error, file};
use crate::problem::Problem;
use crate::room::BroadcastId;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A complete recording can still be deleted.
const FOR_A_WHILE: &str = "public, max-age=60";
/// While it is recorded, a playlist grows with each segment.
const SHORTLY: &str = "public, max-age=1";

/// Whether who comes with these headers may watch a recording.
pub type Gate = Arc<dyn Fn(&Manifest, &HeaderMap) -> Result<(), Problem> + Send + Sync>;

#[derive(Clone)]
struct Shelf {
    archive: Archive,
    gate: Gate,
}

pub fn routes(archive: Archive, gate: Gate) -> Router {
    Router::new()
        .route("/vod/{recording}/index.m3u8", get(multivariant))
        .route("/vod/{recording}/{file}", get(made))
        .route("/vod/{recording}/{rendition}/{file}", get(below_rendition))
        // Of refusals too: a player elsewhere shows why.
        .layer(map_response(for_every_origin))
        .with_state(Shelf { archive, gate })
}

async fn multivariant(
    State(shelf): State<Shelf>,
    Path(recording): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let manifest = shelf.find(&recording, &headers).await?;
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
    State(shelf): State<Shelf>,
    Path((recording, rendition, name)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let manifest = shelf.find(&recording, &headers).await?;
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
    let kind = if rendition.info.kind == super::RenditionKind::Audio {
        "audio/mp4"
    } else {
        "video/mp4"
    };
    super::file::answer(&shelf.archive.store, &path, kind, FOR_EVER, &headers)
        .await
        .map_err(away)?
        .ok_or_else(unknown)
}

/// recording.mp4 and what else was made after the end.
async fn made(
    State(shelf): State<Shelf>,
    Path((recording, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let manifest = shelf.find(&recording, &headers).await?;
    if !is_made(&name) {
        return Err(not_found(
            "a recording has index.m3u8, recording.mp4, poster.jpg and thumbnails.vtt",
        ));
    }
    match &manifest.film {
        Film::Ready => {}
        Film::Pending => {
            return Err(not_found(&format!(
                "{name} is made after the broadcast; try again in a minute"
            ))
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("30")));
        }
        Film::Failed { reason, .. } => {
            return Err(not_found(&format!(
                "{name} could not be made ({reason}); play index.m3u8"
            )));
        }
    }
    let content_type = match name.rsplit_once('.') {
        Some((_, "mp4")) => "video/mp4",
        Some((_, "vtt")) => "text/vtt; charset=utf-8",
        _ => "image/jpeg",
    };
    let path = file(manifest.id, &name);
    super::file::answer(
        &shelf.archive.store,
        &path,
        content_type,
        FOR_A_WHILE,
        &headers,
    )
    .await
    .map_err(away)?
    .ok_or_else(|| not_found(&format!("this recording has no {name}; play index.m3u8")))
}

impl Shelf {
    async fn find(&self, recording: &str, headers: &HeaderMap) -> Result<Manifest, Problem> {
        let unknown = || not_found("there is no such recording; GET /api/v1/recordings lists them");
        let id: BroadcastId = recording.parse().map_err(|_| unknown())?;
        let found = self.archive.store.manifest(id).await.map_err(away)?;
        let manifest = found.ok_or_else(unknown)?;
        (self.gate)(&manifest, headers)?;
        Ok(manifest)
    }
}

fn playlist_answer(manifest: &Manifest, text: String) -> Response {
    let cache = if manifest.state == Recorded::Complete {
        FOR_A_WHILE
    } else {
        SHORTLY
    };
    let headers = [
        (header::CONTENT_TYPE, PLAYLIST),
        (header::CACHE_CONTROL, cache),
    ];
    (headers, text).into_response()
}

async fn for_every_origin(mut response: Response) -> Response {
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
