//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): what is asked for twice is done once, and
//! answered as it was the first time, over restarts, for a day.
//!
//! Answers hold secrets, as a new token. They are kept sealed with what the client alone has: its own
//! token and its key.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::auth::Caller;
use super::caller::bearer;
use super::db::{self, Db, away};
use crate::problem::Problem;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that is not the first.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY_LEN: usize = 255;
/// Of a body, either way: as axum takes one.
const MAX_BODY_LEN: usize = 2 * 1024 * 1024;
const KEPT_MS: i64 = 24 * 3600 * 1000;
/// Headers of an answer that belong to what was done.
const KEPT_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::ETAG,
    header::CACHE_CONTROL,
];

pub struct Idempotency(Db);

impl Idempotency {
    /// What a server that died was carrying out is open again.
    pub async fn open(db: Db) -> Result<Arc<Self>, sqlx::Error> {
        sqlx::query("DELETE FROM idempotency WHERE answer IS NULL")
            .execute(&db.pool)
            .await?;
        Ok(Arc::new(Self(db)))
    }

    /// Whether it is the first of its id; else what that was asked with, and answered, if it was yet.
    async fn begin(
        &self,
        id: &str,
        asked: &str,
    ) -> Result<Option<(String, Option<String>)>, sqlx::Error> {
        let pool = &self.0.pool;
        sqlx::query("DELETE FROM idempotency WHERE at_ms < $1")
            .bind(db::now_ms() - KEPT_MS)
            .execute(pool)
            .await?;
        let begun = sqlx::query(
            "INSERT INTO idempotency (id, asked, at_ms) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(id.to_owned())
        .bind(asked.to_owned())
        .bind(db::now_ms())
        .execute(pool)
        .await?;
        if begun.rows_affected() == 1 {
            return Ok(None);
        }
        sqlx::query_as("SELECT asked, answer FROM idempotency WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(pool)
            .await
    }

    async fn end(&self, id: &str, answer: Option<String>) -> Result<(), sqlx::Error> {
        let statement = match answer {
            Some(_) => "UPDATE idempotency SET answer = $2 WHERE id = $1",
            // Nothing was done: it may be tried again.
            None => "DELETE FROM idempotency WHERE id = $1 AND answer IS NULL AND $2 IS NULL",
        };
        sqlx::query(statement)
            .bind(id.to_owned())
            .bind(answer)
            .execute(&self.0.pool)
            .await?;
        Ok(())
    }
}

/// Around routes: a POST with a key is carried out once.
pub async fn once(
    State(kept): State<Arc<Idempotency>>,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    let keyed = *request.method() == Method::POST && request.headers().contains_key(HEADER);
    // Who is nobody leaves nothing behind.
    if !keyed || caller.check_anywhere(|_| true).is_err() {
        return next.run(request).await;
    }
    let carried_out = carry_out(kept, request, next).await;
    carried_out.unwrap_or_else(IntoResponse::into_response)
}

async fn carry_out(
    kept: Arc<Idempotency>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = request
        .headers()
        .get(HEADER)
        .and_then(|key| key.to_str().ok());
    let key = key.filter(|key| (1..=MAX_KEY_LEN).contains(&key.len()));
    let key = key.ok_or_else(|| {
        let detail = format!("Idempotency-Key has 1 to {MAX_KEY_LEN} ASCII characters");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let token = bearer(request.headers()).unwrap_or_default();
    let path = request.uri().path();
    let (id, seal) = (
        STANDARD.encode(digest(&["id", token, key, path])),
        digest(&["seal", token, key, path]),
    );
    let (head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_LEN).await.map_err(|_| {
        let detail = format!("a body has {MAX_BODY_LEN} bytes at most");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    let asked = STANDARD.encode(Sha256::digest(&body));
    match kept.begin(&id, &asked).await.map_err(away)? {
        None => {}
        Some((before, _)) if before != asked => {
            let detail =
                "this Idempotency-Key was sent with another body; each request has its own";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        }
        Some((_, None)) => {
            let detail = "the same request is being carried out; ask again in a moment";
            return Err(Problem::new(StatusCode::CONFLICT, detail)
                .with_header(header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        Some((_, Some(answer))) => {
            let answer = Answer::unseal(&answer, &seal);
            return answer.map(Answer::replay).map_err(|error| {
                warn!(%error, "an answer that was kept does not read");
                let detail = "this was carried out, and its answer is lost; send a new Idempotency-Key to do it again";
                Problem::new(StatusCode::CONFLICT, detail)
            });
        }
    }
    let request = Request::from_parts(head, Body::from(body));
    // To its end, though the client leaves: it will ask again.
    let work = tokio::spawn(async move {
        let response = next.run(request).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, MAX_BODY_LEN).await.unwrap_or_default();
        let answer = head.status.is_success().then(|| {
            let answer = Answer::of(head.status, &head.headers, &body);
            answer.seal(&seal)
        });
        let answer = answer.transpose().unwrap_or_else(|error| {
            warn!(%error, "an answer cannot be kept");
            None
        });
        if let Err(error) = kept.end(&id, answer).await {
            warn!(%error, "what was done for an Idempotency-Key is not put down");
        }
        Response::from_parts(head, Body::from(body))
    });
    work.await.map_err(|_| {
        let detail = "this request met a fault of the server; it is in the server's log";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })
}

/// Of parts that cannot run into each other.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn of(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Self {
        let kept = KEPT_HEADERS.iter();
        let kept = kept.filter_map(|name| Some((name, headers.get(name)?.to_str().ok()?)));
        Self {
            status: status.as_u16(),
            headers: kept
                .map(|(name, value)| (name.to_string(), value.to_owned()))
                .collect(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn seal(&self, key: &[u8; 32]) -> anyhow::Result<String> {
        let mut text = serde_json::to_vec(self)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(unsealable)?;
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut text);
        let nonce = nonce.map_err(unsealable)?;
        Ok(STANDARD.encode([&nonce.as_ref()[..], &text].concat()))
    }

    fn unseal(sealed: &str, key: &[u8; 32]) -> anyhow::Result<Self> {
        let mut bytes = STANDARD.decode(sealed)?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN).context("too short")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(unsealable)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(unsealable)?;
        let text = key.open_in_place(nonce, Aad::empty(), text);
        Ok(serde_json::from_slice(text.map_err(unsealable)?)?)
    }

    fn replay(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                headers.insert(name, value);
            }
        }
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

fn unsealable(_: aws_lc_rs::error::Unspecified) -> anyhow::Error {
    anyhow!("the seal does not fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_who_has_token_and_key_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, HeaderValue::from_static("/there"));
        headers.insert(header::DATE, HeaderValue::from_static("now"));
        let answer = Answer::of(StatusCode::CREATED, &headers, &Bytes::from("secret"));
        let sealed = answer.seal(&digest(&["token", "key"])).expect("sealed");
        assert!(
            !STANDARD
                .decode(&sealed)
                .expect("base64")
                .windows(6)
                .any(|w| w == b"secret")
        );
        for other in [["tokenk", "ey"], ["token", "KEY"]] {
            assert!(Answer::unseal(&sealed, &digest(&other)).is_err());
        }
        let again = Answer::unseal(&sealed, &digest(&["token", "key"])).expect("unsealed");
        assert_eq!((again.status, &*again.body), (201, "secret"));
        assert_eq!(
            again.headers,
            [("location".to_owned(), "/there".to_owned())]
        );
        assert!(Answer::unseal("AAAA", &digest(&["token", "key"])).is_err());
    }
}
