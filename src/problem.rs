//! The one place that speaks HTTP errors: `application/problem+json` (RFC 9457).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// An answer that says what went wrong and, in `detail`, what the client can do about it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Always the status's reason phrase; `type` is left out, which means `about:blank`.
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip)]
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header to the answer, such as `Retry-After` or `WWW-Authenticate`.
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}

/// The longest text of the framework's that is taken over; its refusals are a line.
const MAX_REFUSAL_LEN: usize = 4096;

/// Lets the framework's own refusals (a URL that is not UTF-8, a method that is not taken) say
/// what they say as all others do: a layer around every route.
pub async fn instead_of_plain_text(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let plain = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !plain {
        return response;
    }
    let (parts, body) = response.into_parts();
    let said = axum::body::to_bytes(body, MAX_REFUSAL_LEN).await;
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).into_owned();
    let allowed = parts.headers.get(header::ALLOW);
    let detail = match (said.trim(), allowed.and_then(|list| list.to_str().ok())) {
        ("", Some(list)) => format!("this URL takes {list}"),
        ("", None) => "the request is refused; the documentation says what it may be".to_owned(),
        (said, _) => said.to_owned(),
    };
    let mut answer = Problem::new(status, detail).into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let headers = self.headers.clone();
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        for (name, value) in headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(answer: Response, kind: &str, said: &str) {
        let answer = instead_of_plain_text(answer).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await;
        let body = String::from_utf8(body.expect("short").to_vec()).expect("text");
        assert!(body.contains(said), "{body}");
    }

    #[tokio::test]
    async fn refusals_are_documents_and_all_else_is_left_alone() {
        let document = "application/problem+json";
        let text = "text/plain; charset=utf-8";
        check(
            (StatusCode::BAD_REQUEST, "not UTF-8").into_response(),
            document,
            r#""detail":"not UTF-8""#,
        )
        .await;
        let allow = [(header::ALLOW, "GET,HEAD")];
        check(
            (StatusCode::METHOD_NOT_ALLOWED, allow).into_response(),
            document,
            "GET,HEAD",
        )
        .await;
        check("ok".into_response(), text, "ok").await;
        let page = axum::response::Html("<p>nothing here");
        check(
            (StatusCode::NOT_FOUND, page).into_response(),
            "text/html; charset=utf-8",
            "<p>",
        )
        .await;
    }
}
