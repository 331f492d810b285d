//! How an answer is put together: caching, ranges, compression, other origins.

use std::ops::Range;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::playlist::Text;
use crate::problem::Problem;

/// What may be kept, and for how long, by whoever stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// Its URL never means anything else.
    Forever,
    Seconds(u8),
    Never,
}

pub const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// The tag of everything that never changes: one URL, one content, one tag.
const FOREVER_TAG: &str = "\"1\"";

impl Cache {
    fn value(self) -> HeaderValue {
        match self {
            Cache::Forever => HeaderValue::from_static("public, max-age=31536000, immutable"),
            Cache::Seconds(1) => HeaderValue::from_static("public, max-age=1"),
            Cache::Seconds(seconds) => HeaderValue::try_from(format!("public, max-age={seconds}"))
                .unwrap_or(HeaderValue::from_static("no-store")),
            Cache::Never => HeaderValue::from_static("no-store"),
        }
    }
}

/// Bytes that never change: an init segment, a part, or a segment in its parts.
pub fn bytes(request: &HeaderMap, chunks: Vec<Bytes>, mime: &'static str) -> Response {
    let tag = HeaderValue::from_static(FOREVER_TAG);
    let mut headers = common(Cache::Forever, tag);
    if matches_tag(request, header::IF_NONE_MATCH, FOREVER_TAG) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let total = chunks.iter().map(Bytes::len).sum();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let (status, range) = match wanted_range(request, total) {
        Wanted::All => (StatusCode::OK, 0..total),
        Wanted::Part(range) => {
            let value = format!("bytes {}-{}/{total}", range.start, range.end - 1);
            put(&mut headers, header::CONTENT_RANGE, value);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Wanted::Impossible => {
            put(
                &mut headers,
                header::CONTENT_RANGE,
                format!("bytes */{total}"),
            );
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    headers.insert(header::CONTENT_LENGTH, range.len().into());
    let mut chunks = cut(chunks, range);
    let body = match chunks.len() {
        0 | 1 => Body::from(chunks.pop().unwrap_or_default()),
        _ => Body::from_stream(stream::iter(
            chunks.into_iter().map(Ok::<_, std::io::Error>),
        )),
    };
    response(status, headers, body)
}

/// A playlist; `tag` names this version of it.
pub fn playlist(request: &HeaderMap, text: &Text, cache: Cache, tag: &str) -> Response {
    let gzip = accepts_gzip(request);
    let tag = format!("\"{tag}{}\"", if gzip { "z" } else { "" });
    let known = matches_tag(request, header::IF_NONE_MATCH, &tag);
    let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
    let mut headers = common(cache, tag);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(PLAYLIST_TYPE),
    );
    let body = if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        text.gzip()
    } else {
        text.plain.clone()
    };
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    response(StatusCode::OK, headers, Body::from(body))
}

/// A refusal that a page of another origin may read, too.
pub fn problem(status: StatusCode, detail: impl Into<String>, cache: Cache) -> Response {
    Problem::new(status, detail)
        .with_header(header::CACHE_CONTROL, cache.value())
        .with_header(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        )
        .into_response()
}

/// The answer to a page of another origin that asks what it may do.
pub fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Whether the method is one that these resources have.
pub fn refuse_method(method: &Method) -> Option<Response> {
    match *method {
        Method::GET | Method::HEAD => None,
        Method::OPTIONS => Some(preflight()),
        _ => Some(
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "a stream can be read with GET and HEAD only",
            )
            .with_header(
                header::ALLOW,
                HeaderValue::from_static("GET, HEAD, OPTIONS"),
            )
            .into_response(),
        ),
    }
}

fn common(cache: Cache, tag: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CACHE_CONTROL, cache.value());
    headers.insert(header::ETAG, tag);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("content-length, content-range, date, etag"),
    );
    headers
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// RFC 9110 §13.1.2: a list of tags, weak ones too, or `*`.
fn matches_tag(request: &HeaderMap, name: HeaderName, tag: &str) -> bool {
    let Some(value) = request.get(name).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut tags = value.split(',').map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// RFC 9110 §12.5.3, as far as gzip goes.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let none = matches!(
            weight.trim().trim_start_matches("q="),
            "0" | "0." | "0.0" | "0.00" | "0.000"
        );
        matches!(name.trim(), "gzip" | "*") && !none
    })
}

#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    Part(Range<usize>),
    Impossible,
}

/// RFC 9110 §14.2: one range of bytes; several at once get everything, which is allowed.
fn wanted_range(request: &HeaderMap, total: usize) -> Wanted {
    let text = request.get(header::RANGE).and_then(|v| v.to_str().ok());
    let Some((first, last)) = text
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let fresh = !request.contains_key(header::IF_RANGE)
        || matches_tag(request, header::IF_RANGE, FOREVER_TAG);
    if !fresh {
        return Wanted::All;
    }
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(total),
        (Ok(first), Err(_)) if last.is_empty() => first..total,
        (Err(_), Ok(suffix)) if first.is_empty() => total.saturating_sub(suffix)..total,
        _ => return Wanted::All,
    };
    if range.start < range.end {
        Wanted::Part(range)
    } else {
        Wanted::Impossible
    }
}

/// The chunks' bytes in `range`, nothing copied.
fn cut(chunks: Vec<Bytes>, range: Range<usize>) -> Vec<Bytes> {
    let mut start = 0;
    let pieces = chunks.into_iter().filter_map(|chunk| {
        let end = start + chunk.len();
        let from = range.start.clamp(start, end) - start;
        let to = range.end.clamp(start, end) - start;
        start = end;
        (from < to).then(|| chunk.slice(from..to))
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_range_is_taken_from_the_chunks() {
        let check = |range: &str, expect: Wanted| {
            let got = wanted_range(&headers(header::RANGE, range), 10);
            assert_eq!(got, expect, "{range}");
        };
        check("bytes=0-", Wanted::Part(0..10));
        check("bytes=2-4", Wanted::Part(2..5));
        check("bytes=2-400", Wanted::Part(2..10));
        check("bytes=-3", Wanted::Part(7..10));
        check("bytes=-30", Wanted::Part(0..10));
        check("bytes=-0", Wanted::Impossible);
        check("bytes=10-", Wanted::Impossible);
        check("bytes=4-2", Wanted::All);
        check("bytes=0-1,4-5", Wanted::All);
        check("items=0-1", Wanted::All);
        check("bytes=0-18446744073709551615", Wanted::Part(0..10));

        let chunks = vec![Bytes::from("abc"), Bytes::from("de"), Bytes::from("fghij")];
        let taken: Vec<u8> = cut(chunks, 2..7).concat();
        assert_eq!(taken, b"cdefg");
    }

    #[test]
    fn gzip_is_for_who_wants_it() {
        let check = |value: &str, expect: bool| {
            let got = accepts_gzip(&headers(header::ACCEPT_ENCODING, value));
            assert_eq!(got, expect, "{value}");
        };
        check("gzip, deflate, br, zstd", true);
        check("br;q=1.0, gzip;q=0.8", true);
        check("*", true);
        check("gzip;q=0", false);
        check("identity", false);
        check("", false);
    }

    #[test]
    fn a_known_tag_is_known() {
        let check = |value: &str, expect: bool| {
            let request = headers(header::IF_NONE_MATCH, value);
            let got = matches_tag(&request, header::IF_NONE_MATCH, "\"7z\"");
            assert_eq!(got, expect, "{value}");
        };
        check("\"7z\"", true);
        check("W/\"7z\"", true);
        check("\"6\", \"7z\"", true);
        check("*", true);
        check("\"7\"", false);
    }
}
