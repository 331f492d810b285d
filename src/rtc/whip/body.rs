//! Reads bodies: no longer, and no longer lasting, than they may be.

use std::time::Duration;

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;

use super::problems::bad_request;
use crate::problem::Problem;

/// A client that has not sent its body by then is cut off.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// What is read of a body that is too long, so that its sender hears of it.
const DISCARDED_LEN: usize = 16 * 1024 * 1024;

/// The body as text, of at most `limit` bytes: else 413, 408 or 400.
pub async fn read(body: Body, limit: usize) -> Result<String, Problem> {
    let bytes = tokio::time::timeout(BODY_WITHIN, collect(body, limit))
        .await
        .map_err(|_| {
            Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
        })??;
    String::from_utf8(bytes).map_err(|_| bad_request("the body is not UTF-8"))
}

/// The whole body, or, if it is too long, none of it; then it is read on for a while, since many
/// clients hear no answer before all is sent.
async fn collect(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| bad_request("the body broke off"))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        len += data.len();
        if len <= limit {
            bytes.extend_from_slice(data);
        } else if len > DISCARDED_LEN {
            break;
        }
    }
    if len > limit {
        let detail = format!("the body is longer than {limit} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(bytes)
}
