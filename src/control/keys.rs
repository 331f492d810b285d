//! `/api/v1/keys`: API keys, for servers and encoders that hold one for long. Only their hash is kept.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::api::{Body, change_of, fresh, readable};
use super::audit::Change;
use super::auth::{self, Authority, Caller, Claims, KEY_PREFIX, KeyHash, Scope};
use super::db::{self, Db, away};
use super::fields::MAX_NAME_CHARS;
use super::openapi::{Conflict, Later, NotThere, Refusals, Unreadable};
use super::paging::{Limit, Page};
use crate::problem::Problem;
use crate::room::Role;

const KEY_BYTES: usize = 32;

#[derive(Clone)]
struct Api {
    authority: Authority,
    db: Db,
}

/// Tells the authority of all keys that there are.
pub async fn load(db: &Db, authority: &Authority) -> anyhow::Result<()> {
    let rows = sqlx::query("SELECT * FROM api_keys")
        .fetch_all(&db.pool)
        .await?;
    for row in &rows {
        let (key, hash) = key(row)?;
        authority.know_key(hash, key.claims());
    }
    Ok(())
}

pub fn routes(authority: Authority, db: Db) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(remove))
        .with_state(Api { authority, db })
}

/// An API key, but for itself
#[derive(Debug, Clone, Serialize, ToSchema)]
struct ApiKey {
    id: Uuid,
    /// What it is for.
    name: String,
    /// `*`: all of them.
    #[schema(value_type = String)]
    room: Scope,
    role: Role,
    created_at: DateTime<Utc>,
    /// `null`: it is good until it is deleted.
    expires_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    fn claims(&self) -> Claims {
        let ends = self.expires_at.map(|at| at.timestamp());
        Claims {
            jti: None,
            sub: Some(format!("key:{}", self.id)),
            name: Some(self.name.clone()),
            room: self.room.clone(),
            role: self.role,
            publish: None,
            exp: ends.map_or(u64::MAX, |at| u64::try_from(at).unwrap_or_default()),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    about: ApiKey,
    /// For `Authorization: Bearer`. It is told this once.
    key: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "the portal", "room": "*", "role": "producer"}))]
struct NewKey {
    /// What it is for: in the audit, and what a participant is called who publishes with it.
    #[schema(min_length = 1, max_length = 80, pattern = r"\S")]
    name: String,
    /// A room's name, or `*` for all of them.
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = r"^(\*|[a-zA-Z0-9_-]{1,64})$")]
    room: Scope,
    role: Role,
    /// Until when it is good, if not for ever.
    expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `next` of the page before.
    cursor: Option<Uuid>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// The API keys, the oldest first
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "tokens",
    params(Which),
    responses((status = 200, body = Page<ApiKey>), Refusals, Unreadable, Later)
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.directs(None)?;
    let Which { cursor, limit } = readable(which)?;
    let after = cursor.unwrap_or_default().to_string();
    let rows = sqlx::query("SELECT * FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(limit.and_one() as i64)
        .fetch_all(&api.db.pool)
        .await;
    let keys = rows.map_err(away)?;
    let keys: Result<Vec<_>, _> = keys
        .iter()
        .map(|row| key(row).map(|(key, _)| key))
        .collect();
    let keys = keys.map_err(|e| away(sqlx::Error::Decode(e.into())))?;
    Ok(fresh(Page::of(keys, limit, |key| key.id.to_string())))
}

/// Makes an API key
///
/// It is a token that is good until it is deleted: for a server that runs shows by the API, or for an
/// encoder that publishes into its room (`role` host or speaker). Only who directs all rooms makes them.
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "tokens",
    request_body = NewKey,
    responses((status = 201, body = CreatedKey), Refusals, Conflict, Unreadable, Later)
)]
async fn create(State(api): State<Api>, caller: Caller, body: Body) -> Result<Response, Problem> {
    caller.directs(None)?;
    let new: NewKey = change_of(body)?;
    let unusable = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    if new.name.trim().is_empty() || new.name.chars().count() > MAX_NAME_CHARS {
        return Err(unusable(format!(
            "name has 1 to {MAX_NAME_CHARS} characters"
        )));
    }
    if new.expires_at.is_some_and(|at| at <= Utc::now()) {
        let detail = "expires_at is over already";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    if matches!(api.authority, Authority::Everybody) {
        let detail = "this server runs with --dev and asks nobody for a key";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let mut secret = [0; KEY_BYTES];
    rand::rng().fill(&mut secret);
    let text = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let hash = auth::hash(&text);
    let about = ApiKey {
        id: Uuid::now_v7(),
        name: new.name,
        room: new.room,
        role: new.role,
        created_at: Utc::now(),
        expires_at: new.expires_at,
    };
    sqlx::query(
        "INSERT INTO api_keys (id, hash, name, room, role, created_ms, expires_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(about.id.to_string())
    .bind(URL_SAFE_NO_PAD.encode(hash))
    .bind(about.name.clone())
    .bind(String::from(about.room.clone()))
    .bind(about.role.name())
    .bind(about.created_at.timestamp_millis())
    .bind(about.expires_at.map(|at| at.timestamp_millis()))
    .execute(&api.db.pool)
    .await
    .map_err(away)?;
    api.authority.know_key(hash, about.claims());
    // Never the key itself.
    let change = Change::default().to(&about);
    let created = CreatedKey { about, key: text };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok(change.on((StatusCode::CREATED, no_store, Json(created))))
}

/// Deletes an API key: it is good for nothing, from now on
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    tag = "tokens",
    params(("id" = Uuid, Path)),
    responses((status = 204), Refusals, NotThere, Later)
)]
async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.directs(None)?;
    let unknown = || {
        let detail = "there is no such API key; GET /api/v1/keys lists them";
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    let id: Uuid = id.parse().map_err(|_| unknown())?;
    let row = sqlx::query("SELECT * FROM api_keys WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&api.db.pool)
        .await;
    let row = row.map_err(away)?.ok_or_else(unknown)?;
    let (about, hash) = key(&row).map_err(|e| away(sqlx::Error::Decode(e.into())))?;
    sqlx::query("DELETE FROM api_keys WHERE id = $1")
        .bind(id.to_string())
        .execute(&api.db.pool)
        .await
        .map_err(away)?;
    api.authority.forget_key(&hash);
    Ok(Change::default().from(about).on(StatusCode::NO_CONTENT))
}

fn key(row: &AnyRow) -> anyhow::Result<(ApiKey, KeyHash)> {
    let text = |column| row.try_get::<String, _>(column);
    let key = ApiKey {
        id: text("id")?.parse()?,
        name: text("name")?,
        room: text("room")?.try_into()?,
        role: text("role")?.parse()?,
        created_at: db::time(row.try_get("created_ms")?),
        expires_at: row.try_get::<Option<i64>, _>("expires_ms")?.map(db::time),
    };
    let hash = URL_SAFE_NO_PAD.decode(text("hash")?)?;
    let hash = hash.try_into();
    Ok((
        key,
        hash.map_err(|_| anyhow::anyhow!("a key's hash is too short"))?,
    ))
}
