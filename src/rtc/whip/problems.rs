//! What WHIP answers when it does not do as asked.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Refused;
use crate::problem::Problem;
use crate::rtc;

pub async fn not_here(allowed: &'static str) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("here is {allowed} (RFC 9725)"),
    )
    .with_header(header::ALLOW, HeaderValue::from_static(allowed))
}

/// 415 unless the body is of the type `wanted`, which `accept` then names (RFC 5789 §3.1).
pub fn expect_type(
    headers: &HeaderMap,
    wanted: &'static str,
    accept: &'static str,
) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let detail = format!("send the body with Content-Type: {wanted}");
    let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    Err(problem.with_header(
        HeaderName::from_static(accept),
        HeaderValue::from_static(wanted),
    ))
}

pub fn bad_request(reason: impl ToString) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, reason.to_string())
}

pub fn no_such(reason: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, reason)
}

pub fn no_session() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "this session is over; POST a new offer to publish again",
    )
}

pub fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Unauthorized(detail) => Problem::new(StatusCode::UNAUTHORIZED, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        Refused::Forbidden(detail) => Problem::new(StatusCode::FORBIDDEN, detail),
        Refused::NoRoom(detail) => Problem::new(StatusCode::NOT_FOUND, detail),
        Refused::Conflict(detail) => Problem::new(StatusCode::CONFLICT, detail),
        Refused::TooOften {
            detail,
            retry_after,
        } => Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            .with_header(header::RETRY_AFTER, retry_after.as_secs().into()),
        Refused::Full(detail) => try_later(detail),
    }
}

pub fn transport(error: &rtc::Error) -> Problem {
    match error {
        rtc::Error::NoConnection(_) => no_session(),
        rtc::Error::Full(_)
        | rtc::Error::Overloaded
        | rtc::Error::UfragTaken
        | rtc::Error::Stopped => try_later(error.to_string()),
    }
}

fn try_later(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
}
