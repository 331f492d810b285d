//! `/api/v1/tokens`: tokens for those whom a producer lets in.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::api::{Body, change_of};
use super::audit::Change;
use super::auth::{Authority, Caller, Claims, Scope, expires_in};
use super::db::{self, Db, away};
use super::fields::{short, whole};
use super::openapi::{Conflict, Later, NotThere, Refusals, Unreadable};
use crate::problem::Problem;
use crate::room::{Role, RoomId, TrackSource};

/// Of a token that is asked for without a word of it.
const DEFAULT_TTL_S: u32 = 12 * 3600;
const MAX_TTL_S: u32 = 366 * 24 * 3600;

#[derive(Clone)]
struct Api {
    authority: Authority,
    revocations: Revocations,
}

pub fn routes(authority: Authority, revocations: Revocations) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(issue))
        .routes(routes!(revoke))
        .with_state(Api {
            authority,
            revocations,
        })
}

/// Tokens that are not good any more, over restarts.
#[derive(Clone)]
pub struct Revocations(Db);

impl Revocations {
    /// Tells the authority of all that were revoked before.
    pub async fn open(db: Db, authority: &Authority) -> Result<Self, sqlx::Error> {
        let all: Vec<(String,)> = sqlx::query_as("SELECT id FROM revoked")
            .fetch_all(&db.pool)
            .await?;
        all.into_iter().for_each(|(id,)| authority.revoke(id));
        Ok(Self(db))
    }

    async fn add(&self, id: &str) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO revoked (id, revoked_ms) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id.to_owned())
        .bind(db::now_ms())
        .execute(&self.0.pool)
        .await?;
        Ok(())
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"room": "demo", "role": "speaker", "identity": "ada@example.org", "name": "Ada"}))]
struct NewToken {
    room: RoomId,
    role: Role,
    /// Who its holder is, the same at every visit: by it they take their place again, and can be banned.
    #[serde(default, deserialize_with = "short")]
    #[schema(min_length = 1, max_length = 80)]
    identity: Option<String>,
    /// The name that others see.
    #[serde(default, deserialize_with = "short")]
    #[schema(min_length = 1, max_length = 80)]
    name: Option<String>,
    /// What they may publish; all, where it is not there or `null`.
    #[schema(value_type = Option<Vec<TrackSource>>)]
    publish: Option<BTreeSet<TrackSource>>,
    /// How long it is good for, in seconds; never longer than the token it is asked for with.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 31622400, default = 43200)]
    ttl_s: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
struct IssuedToken {
    /// By which it can be revoked.
    id: String,
    /// For `Authorization: Bearer`, or `#token=` of a page's address.
    token: String,
    expires_at: DateTime<Utc>,
}

/// Lets somebody into a room
#[utoipa::path(
    post,
    path = "/api/v1/tokens",
    tag = "tokens",
    request_body = NewToken,
    responses((status = 201, body = IssuedToken), Refusals, Conflict, Unreadable)
)]
async fn issue(
    State(Api { authority, .. }): State<Api>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    caller.directs_some()?;
    let new: NewToken = change_of(body)?;
    caller.directs(Some(&new.room))?;
    let ttl_s = new.ttl_s.unwrap_or(DEFAULT_TTL_S);
    if !(1..=MAX_TTL_S).contains(&ttl_s) {
        let detail = format!("ttl_s is 1 to {MAX_TTL_S}");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    let ttl = Duration::from_secs(ttl_s.into());
    let exp = expires_in(ttl);
    let id = Uuid::now_v7().to_string();
    let claims = Claims {
        jti: Some(id.clone()),
        sub: new.identity,
        name: new.name,
        room: Scope::Room(new.room.clone()),
        role: new.role,
        publish: new.publish,
        exp: caller.claims().map_or(exp, |own| exp.min(own.exp)),
    };
    let token = authority.issue(&claims).ok_or_else(|| {
        let detail = "this server runs with --dev and asks nobody for a token";
        Problem::new(StatusCode::CONFLICT, detail)
    })?;
    let expires_at = i64::try_from(claims.exp).ok();
    let expires_at = expires_at.and_then(|s| DateTime::from_timestamp(s, 0));
    let issued = IssuedToken {
        id,
        token,
        expires_at: expires_at.unwrap_or_default(),
    };
    // Never the token itself.
    let change = Change::of(Some(new.room)).to(&claims);
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok(change.on((StatusCode::CREATED, no_store, Json(issued))))
}

/// Makes a token good for nothing, from now on
///
/// Whoever is in a room by it already stays: remove them too.
#[utoipa::path(
    delete,
    path = "/api/v1/tokens/{id}",
    tag = "tokens",
    params(("id" = Uuid, Path, description = "Its `jti`")),
    responses((status = 204), Refusals, NotThere, Later)
)]
async fn revoke(
    State(api): State<Api>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    caller.directs(None)?;
    let id: Uuid = id.parse().map_err(|_| {
        let detail = "no token has such an id; it is a UUID, as POST /api/v1/tokens answers it";
        Problem::new(StatusCode::NOT_FOUND, detail)
    })?;
    let id = id.to_string();
    api.revocations.add(&id).await.map_err(away)?;
    api.authority.revoke(id);
    Ok(StatusCode::NO_CONTENT)
}
