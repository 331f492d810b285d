//! The embedded pages, and the headers that keep them safe.

use std::borrow::Cow;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::problem::Problem;
use crate::room::{BroadcastId, RoomId};

/// What `npm run build` left in `player/dist`; empty in a tree whose pages were never built.
#[derive(RustEmbed)]
#[folder = "player/dist"]
#[allow_missing = true]
struct Pages;

/// `/`, the pages of a room and of a recording, and their assets.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|headers| page(Page::Home, headers)))
        .route("/api", get(|headers| page(Page::Api, headers)))
        .route("/publish/{room}", get(publish))
        .route("/watch/{room}", get(watch))
        .route("/embed/{room}", get(embed))
        .route("/vod/{recording}", get(vod))
        .route("/assets/{*path}", get(asset))
        .route(
            "/favicon.svg",
            get(|headers| plain_file("favicon.svg", headers)),
        )
        .route(
            "/licenses.txt",
            get(|headers| plain_file("licenses.txt", headers)),
        )
}

/// Characters of a stranger's URL that are given back.
const QUOTED: usize = 80;

/// What no route knows: a page for those who read pages, a problem for the rest.
pub async fn not_found(request: Request) -> Response {
    let reads_pages = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if reads_pages && matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(Page::Missing, request.headers().clone()).await;
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    let path: String = request.uri().path().chars().take(QUOTED).collect();
    let detail = format!("nothing is at {path}; `/` lists what is live");
    Problem::new(StatusCode::NOT_FOUND, detail).into_response()
}

async fn publish(Path(room): Path<String>, headers: HeaderMap) -> Response {
    of_a_room(Page::Publish, &room, headers).await
}

async fn watch(Path(room): Path<String>, headers: HeaderMap) -> Response {
    of_a_room(Page::Watch, &room, headers).await
}

async fn embed(Path(room): Path<String>, headers: HeaderMap) -> Response {
    of_a_room(Page::Embed, &room, headers).await
}

async fn vod(Path(recording): Path<String>, headers: HeaderMap) -> Response {
    match recording.parse::<BroadcastId>() {
        Ok(_) => page(Page::Vod, headers).await,
        Err(_) => missing(headers).await,
    }
}

async fn of_a_room(which: Page, room: &str, headers: HeaderMap) -> Response {
    match room.parse::<RoomId>() {
        Ok(_) => page(which, headers).await,
        Err(_) => missing(headers).await,
    }
}

async fn missing(headers: HeaderMap) -> Response {
    let mut response = page(Page::Missing, headers).await;
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// One HTML file, and what its document may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Home,
    Publish,
    Watch,
    Embed,
    Vod,
    Api,
    Missing,
}

impl Page {
    fn file(self) -> &'static str {
        match self {
            Page::Home => "index.html",
            Page::Publish => "publish/index.html",
            Page::Watch => "watch/index.html",
            Page::Embed => "embed/index.html",
            Page::Vod => "vod/index.html",
            Page::Api => "api/index.html",
            Page::Missing => "missing/index.html",
        }
    }

    fn has_player(self) -> bool {
        matches!(self, Page::Watch | Page::Embed | Page::Vod)
    }

    /// Nothing but our own files. The player's controls bring their styles inside shadow
    /// roots, which CSP counts as inline; MSE plays from `blob:` URLs.
    fn content_security_policy(self) -> String {
        let style = if self.has_player() {
            "'self' 'unsafe-inline'"
        } else {
            "'self'"
        };
        let ancestors = match self {
            Page::Embed => "*",
            _ => "'none'",
        };
        format!(
            "default-src 'none'; script-src 'self'; style-src {style}; font-src 'self'; \
             img-src 'self' data:; media-src 'self' blob:; connect-src 'self'; \
             worker-src 'self' blob:; base-uri 'none'; form-action 'self'; \
             frame-ancestors {ancestors}"
        )
    }

    fn permissions_policy(self) -> &'static str {
        match self {
            Page::Publish => {
                "camera=(self), microphone=(self), display-capture=(self), \
                 screen-wake-lock=(self), geolocation=()"
            }
            _ => "camera=(), microphone=(), display-capture=(), geolocation=()",
        }
    }
}

async fn page(which: Page, headers: HeaderMap) -> Response {
    let mut response = match Pages::get(which.file()) {
        Some(file) => served(which.file(), file, &headers, "no-cache"),
        None => not_built(),
    };
    let answer = response.headers_mut();
    let policy = which.content_security_policy();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if which != Page::Embed {
        answer.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        answer.insert(
            "cross-origin-opener-policy",
            HeaderValue::from_static("same-origin"),
        );
    }
    // A token may stand in the query: it must not travel to other sites.
    answer.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    answer.insert(
        "permissions-policy",
        HeaderValue::from_static(which.permissions_policy()),
    );
    response
}

/// The names hold a hash of the content: a name is for ever.
async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("assets/{path}");
    match Pages::get(&path) {
        Some(file) => served(&path, file, &headers, "public, max-age=31536000, immutable"),
        None => {
            let detail = "no such asset: the pages may have been updated, load the page again";
            Problem::new(StatusCode::NOT_FOUND, detail).into_response()
        }
    }
}

/// A file at the root, whose name stays when its content changes.
async fn plain_file(name: &'static str, headers: HeaderMap) -> Response {
    match Pages::get(name) {
        Some(file) => served(name, file, &headers, "public, max-age=86400"),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The build lays `.br` and `.gz` beside what shrinks; the best one the client takes is sent.
fn served(path: &str, plain: EmbeddedFile, headers: &HeaderMap, cache: &'static str) -> Response {
    let (file, encoding) = ["br", "gzip"]
        .into_iter()
        .filter(|encoding| accepts(headers, encoding))
        .find_map(|encoding| {
            let suffix = if encoding == "gzip" { "gz" } else { encoding };
            Some((Pages::get(&format!("{path}.{suffix}"))?, Some(encoding)))
        })
        .unwrap_or((plain, None));

    let etag = etag(&file);
    let mut answer = HeaderMap::new();
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(value) = HeaderValue::from_str(&etag) {
        answer.insert(header::ETAG, value);
    }
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == etag.as_bytes())
    {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    answer.insert(header::CONTENT_TYPE, content_type(path));
    if let Some(encoding) = encoding {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let body = match file.data {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    (answer, body).into_response()
}

/// Whether `Accept-Encoding` names the coding and does not refuse it (RFC 9110 §12.5.3).
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(coding));
            let refused = parts.any(|weight| {
                weight
                    .strip_prefix("q=")
                    .is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0))
            });
            named && !refused
        })
}

fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash[..12].iter().map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

fn content_type(path: &str) -> HeaderValue {
    let guess = mime_guess::from_path(path).first_raw();
    HeaderValue::from_static(match guess {
        Some("text/html") => "text/html; charset=utf-8",
        Some("text/javascript") => "text/javascript; charset=utf-8",
        Some("text/css") => "text/css; charset=utf-8",
        Some("text/plain") => "text/plain; charset=utf-8",
        Some(other) => other,
        None => "application/octet-stream",
    })
}

fn not_built() -> Response {
    let text = "<!doctype html><meta charset=utf-8><title>Amphi</title>\
                <h1>The pages are not built</h1>\
                <p>Run <code>make player</code>, then build the server again.</p>";
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
        text,
    )
        .into_response()
}

#[cfg(test)]
mod tests;
