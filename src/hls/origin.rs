//! The HTTP routes below `/live`: what viewers, edges and a CDN fetch.
//!
//! ```text
//! /live/{room}/index.m3u8                                  multivariant
//! /live/{room}/{broadcast}/{rendition}/index.m3u8          media playlist, blocking
//! /live/{room}/{broadcast}/{rendition}/init-{n}.mp4
//! /live/{room}/{broadcast}/{rendition}/{msn}.m4s           a segment
//! /live/{room}/{broadcast}/{rendition}/{msn}.{part}.m4s    a part
//! ```
//! Below the broadcast's id, only playlists ever change.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::core::reload;
use super::playlist::Text;
use super::reply::{self, Cache};
use super::seats::Seats;
use super::window::{Live, Unavailable};
use crate::room::RoomId;

/// How many viewers may wait for a part at once, in all rooms, unless set otherwise: each
/// costs about 10 kB, its connection included.
pub const MAX_WAITING: usize = 200_000;

/// How long an answer to a blocking request may be kept: the same question is asked by those
/// who are at the live edge, for about as long as it takes to play it (8216bis §B.1 has six
/// target durations as the most).
const BLOCKING_CACHE: Cache = Cache::Seconds(6);

/// A playlist that nobody waited for is old with the next part; the shortest there is.
const PLAIN_CACHE: Cache = Cache::Seconds(1);

/// An ended broadcast's playlist stays as it is.
const ENDED_CACHE: Cache = Cache::Seconds(60);

/// Who is on the air.
pub trait Directory: Send + Sync + 'static {
    /// The room's broadcast: the one on the air, or the last one as long as viewers may
    /// still be reading it.
    fn live(&self, room: &RoomId) -> Option<Arc<Live>>;
}

/// The routes, with the default number of places to wait in.
pub fn routes(directory: Arc<dyn Directory>) -> Router {
    Origin::new(directory, MAX_WAITING).router()
}

/// What answers below `/live`.
#[derive(Clone)]
pub struct Origin {
    directory: Arc<dyn Directory>,
    seats: Arc<Seats>,
}

/// What a path names.
#[derive(Debug, PartialEq)]
enum Resource<'a> {
    Multivariant,
    Of {
        broadcast: &'a str,
        rendition: &'a str,
        file: File,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum File {
    Playlist,
    Init(u32),
    Segment(u64),
    Part(u64, u64),
}

impl Origin {
    pub fn new(directory: Arc<dyn Directory>, max_waiting: usize) -> Self {
        Self {
            directory,
            seats: Seats::new(max_waiting),
        }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/live/{*path}", any(handle))
            .with_state(self)
    }

    /// Answers a request for `path`, which begins with `/live/`.
    pub async fn serve(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
        if let Some(refusal) = reply::refuse_method(method) {
            return refusal;
        }
        let path = uri.path().strip_prefix("/live/").unwrap_or_default();
        let Some((room, resource)) = parse_path(path) else {
            return not_found(
                "there is nothing at this path; a stream is at /live/{room}/index.m3u8",
            );
        };
        let live = room
            .parse()
            .ok()
            .and_then(|room| self.directory.live(&room));
        let Some(live) = live else {
            return not_found("the room is not live, or not yet: ask again in a moment");
        };
        let Resource::Of {
            broadcast,
            rendition,
            file,
        } = resource
        else {
            return match live.multivariant() {
                Some(text) => {
                    let tag = tag_of(&text);
                    reply::playlist(headers, &text, PLAIN_CACHE, &tag)
                }
                None => not_found("the broadcast is starting: ask again in a moment"),
            };
        };
        if broadcast.parse().ok() != Some(live.broadcast()) {
            return not_found("that broadcast is over: begin at /live/{room}/index.m3u8");
        }
        let answer = match file {
            File::Playlist => self.playlist(&live, rendition, uri, headers).await,
            File::Part(msn, part) => self.part(&live, rendition, msn, part, headers).await,
            File::Segment(msn) => live
                .segment(rendition, msn)
                .map(|chunks| reply::bytes(headers, chunks, mime(&live, rendition))),
            File::Init(number) => live
                .init(rendition, number)
                .map(|bytes| reply::bytes(headers, vec![bytes], mime(&live, rendition))),
        };
        answer.unwrap_or_else(|why| refuse(&why))
    }

    async fn playlist(
        &self,
        live: &Live,
        rendition: &str,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Response, Unavailable> {
        let directives = reload::parse_query(uri.query().unwrap_or_default())?;
        let blocking = directives.wanted.is_some();
        let _seat = match blocking {
            true => Some(self.seats.take().ok_or(Unavailable::Full)?),
            false => None,
        };
        let playlist = live.playlist(rendition, directives).await?;
        let cache = match (playlist.over, blocking) {
            (true, _) => ENDED_CACHE,
            (false, true) => BLOCKING_CACHE,
            (false, false) => PLAIN_CACHE,
        };
        let delta = playlist.delta.as_ref().filter(|_| directives.skip);
        let tag = format!(
            "{}{}",
            playlist.version,
            if delta.is_some() { "d" } else { "" }
        );
        let text = delta.unwrap_or(&playlist.full);
        Ok(reply::playlist(headers, text, cache, &tag))
    }

    async fn part(
        &self,
        live: &Live,
        rendition: &str,
        msn: u64,
        part: u64,
        headers: &HeaderMap,
    ) -> Result<Response, Unavailable> {
        let _seat = self.seats.take().ok_or(Unavailable::Full)?;
        let bytes = live.part(rendition, msn, part).await?;
        Ok(reply::bytes(headers, vec![bytes], mime(live, rendition)))
    }
}

async fn handle(
    State(origin): State<Origin>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    origin.serve(&method, &uri, &headers).await
}

fn parse_path(path: &str) -> Option<(&str, Resource<'_>)> {
    let mut names = path.split('/');
    let room = names.next()?;
    let second = names.next()?;
    let resource = match (names.next(), names.next(), names.next()) {
        (None, None, None) if second == "index.m3u8" => Resource::Multivariant,
        (Some(rendition), Some(file), None) => Resource::Of {
            broadcast: second,
            rendition,
            file: parse_file(file)?,
        },
        _ => return None,
    };
    Some((room, resource))
}

/// Numbers are written one way only, so that a cache keeps one copy.
fn parse_file(name: &str) -> Option<File> {
    if name == "index.m3u8" {
        return Some(File::Playlist);
    }
    if let Some(number) = name
        .strip_prefix("init-")
        .and_then(|n| n.strip_suffix(".mp4"))
    {
        return number_in(number)?.try_into().ok().map(File::Init);
    }
    let stem = name.strip_suffix(".m4s")?;
    match stem.split_once('.') {
        Some((msn, part)) => Some(File::Part(number_in(msn)?, number_in(part)?)),
        None => number_in(stem).map(File::Segment),
    }
}

fn number_in(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse()
        .ok()
        .filter(|number| plain && *number < u64::MAX)
}

fn mime(live: &Live, rendition: &str) -> &'static str {
    match live.is_audio(rendition) {
        Some(true) => "audio/mp4",
        _ => "video/mp4",
    }
}

/// A multivariant playlist is short, and changes with its bit rates.
fn tag_of(text: &Text) -> String {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.plain.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    format!("m{hash:x}")
}

fn not_found(detail: &str) -> Response {
    reply::problem(StatusCode::NOT_FOUND, detail, Cache::Seconds(1))
}

fn refuse(why: &Unavailable) -> Response {
    let (status, cache) = match why {
        Unavailable::BadRequest(_) => (StatusCode::BAD_REQUEST, Cache::Never),
        Unavailable::NotFound => (StatusCode::NOT_FOUND, Cache::Seconds(1)),
        Unavailable::TooLate | Unavailable::Full => (StatusCode::SERVICE_UNAVAILABLE, Cache::Never),
    };
    let mut response = reply::problem(status, why.to_string(), cache);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let soon = http::HeaderValue::from_static("1");
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, soon);
    }
    response
}

#[cfg(test)]
mod tests;
