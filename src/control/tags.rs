//! `ETag` and what is asked of it: that nothing is overwritten that was not seen (RFC 9110 §13.1).

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// Refuses, unless what is there is as the client thinks it is. `None`: nothing is there.
pub fn check(headers: &HeaderMap, tag: Option<&str>) -> Result<(), Problem> {
    let named = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let names = |list: &str| list.split(',').any(|one| Some(one.trim()) == tag);
    let holds = |list: &str| match list.trim() {
        "*" => tag.is_some(),
        list => names(list),
    };
    let fails = named(header::IF_MATCH).is_some_and(|list| !holds(list))
        || named(header::IF_NONE_MATCH).is_some_and(holds);
    match fails {
        true => {
            let detail = "it was changed in the meantime; GET it, and decide again";
            Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail))
        }
        false => Ok(()),
    }
}

/// Of what has no count of its changes: all that there is to see of it.
pub fn of(view: &impl Serialize) -> String {
    let text = serde_json::to_vec(view).unwrap_or_default();
    let hash = Sha256::digest(text);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash[..12]))
}

/// Says what the answer is of.
pub fn tagged(tag: Option<&str>, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_seen_is_not_overwritten() {
        let passes = |name, value: &str, tag| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            check(&headers, tag).is_ok()
        };
        let (one, two) = (Some("\"1\""), Some("\"2\""));
        for (value, tag, matches) in [
            ("\"1\"", one, true),
            ("\"0\", \"1\"", one, true),
            ("\"1\"", two, false),
            ("*", one, true),
            ("*", None, false),
            ("\"1\"", None, false),
        ] {
            assert_eq!(
                passes(header::IF_MATCH, value, tag),
                matches,
                "{value} {tag:?}"
            );
            assert_eq!(
                passes(header::IF_NONE_MATCH, value, tag),
                !matches,
                "{value} {tag:?}"
            );
        }
        assert!(check(&HeaderMap::new(), None).is_ok());
    }
}
