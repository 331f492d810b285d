//! A stored file as an HTTP answer: streamed through, whole or a range of it.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use object_store::path::Path;

use super::core::range::{Wanted, wanted};
use super::store::{Error, Store};

/// `None` where nothing is. `headers` are the request's.
pub async fn answer(
    store: &Store,
    path: &Path,
    content_type: &'static str,
    cache: &'static str,
    headers: &HeaderMap,
) -> Result<Option<Response>, Error> {
    let Some(meta) = store.head(path).await? else {
        return Ok(None);
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let etag = meta.e_tag.as_deref().map(quoted);
    let known = text(header::IF_NONE_MATCH).is_some_and(|tags| {
        etag.as_deref()
            .is_some_and(|etag| tags.split(',').any(|tag| tag.trim() == etag))
    });
    // RFC 9110 §13.1.5: a range of another version is of no use.
    let same = text(header::IF_RANGE).is_none_or(|tag| Some(tag) == etag.as_deref());
    let range = text(header::RANGE).filter(|_| same);
    let (status, range) = match wanted(range, meta.size) {
        _ if known => (StatusCode::NOT_MODIFIED, 0..0),
        Wanted::All => (StatusCode::OK, 0..meta.size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let body = if range.is_empty() {
        Body::empty()
    } else {
        Body::from_stream(store.get_range(path, range.clone()).await?.into_stream())
    };
    let mut response = (status, body).into_response();
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status != StatusCode::NOT_MODIFIED {
        fields.insert(
            header::CONTENT_LENGTH,
            HeaderValue::from(range.end - range.start),
        );
    }
    let content_range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!(
            "bytes {}-{}/{}",
            range.start,
            range.end - 1,
            meta.size
        )),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{}", meta.size)),
        _ => None,
    };
    for (name, value) in [(header::CONTENT_RANGE, content_range), (header::ETAG, etag)] {
        if let Some(value) = value.and_then(|value| value.try_into().ok()) {
            fields.insert(name, value);
        }
    }
    Ok(Some(response))
}

fn quoted(etag: &str) -> String {
    if etag.ends_with('"') {
        etag.to_owned()
    } else {
        format!("\"{etag}\"")
    }
}
