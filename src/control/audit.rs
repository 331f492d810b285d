//! `/api/v1/audit`: every command that the API carried out: who, what, when, from where, before and after.
//!
//! A layer around the API's routes puts down each; the handlers say what changed ([`Change`]).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{MatchedPath, Query, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use http::{Method, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use sqlx::any::AnyRow;
use tracing::error;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::api::{fresh, readable};
use super::auth::Caller;
use super::caller::room_id;
use super::db::{self, Db, away};
use super::openapi::{Later, NotThere, Refusals, Unreadable};
use super::origin::Proxies;
use super::paging::{Limit, Page};
use crate::problem::Problem;
use crate::room::RoomId;

/// Of an export, read at once.
const CHUNK: i64 = 1000;
/// More of a header than anybody's chain of proxies needs.
const MAX_TEXT_CHARS: usize = 200;

/// What a command changed, as its handler says. It rides on the answer.
#[derive(Debug, Clone, Default)]
pub struct Change {
    room: Option<RoomId>,
    /// Instead of what the path names.
    about: Option<&'static str>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// Where the path does not say it.
    pub fn of(room: Option<RoomId>) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// Where the path names what is not to be put down.
    pub fn about(mut self, target: &'static str) -> Self {
        self.about = Some(target);
        self
    }

    pub fn from(mut self, before: impl Serialize) -> Self {
        self.before = serde_json::to_value(before).ok();
        self
    }

    pub fn to(mut self, after: impl Serialize) -> Self {
        self.after = serde_json::to_value(after).ok();
        self
    }

    pub fn on(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

pub struct Audit {
    db: Db,
    proxies: Proxies,
}

impl Audit {
    pub fn new(db: Db, proxies: Proxies) -> Arc<Self> {
        Arc::new(Self { db, proxies })
    }

    async fn add(&self, entry: Entry) -> Result<(), sqlx::Error> {
        let json = |value: Option<Value>| value.map(|value| value.to_string());
        sqlx::query(
            "INSERT INTO audit (id, at_ms, identity, name, role, address, action, room, target, status, before, after)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(entry.id)
        .bind(entry.at.timestamp_millis())
        .bind(entry.identity)
        .bind(entry.name)
        .bind(entry.role)
        .bind(entry.address)
        .bind(entry.action)
        .bind(entry.room)
        .bind(entry.target)
        .bind(i64::from(entry.status))
        .bind(json(entry.before))
        .bind(json(entry.after))
        .execute(&self.db.pool)
        .await?;
        Ok(())
    }

    /// The newest first, from before `cursor`.
    async fn page(
        &self,
        room: Option<&RoomId>,
        cursor: Option<Uuid>,
        most: usize,
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let before = cursor.unwrap_or(Uuid::max()).to_string();
        let rows = match room {
            Some(room) => sqlx::query(
                "SELECT * FROM audit WHERE room = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
            )
            .bind(room.to_string()),
            None => sqlx::query("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2"),
        };
        let rows = rows
            .bind(before)
            .bind(most as i64)
            .fetch_all(&self.db.pool)
            .await?;
        rows.iter().map(entry).collect()
    }

    /// The oldest first, from behind `after`.
    async fn chunk(&self, room: Option<&RoomId>, after: &str) -> Result<Vec<Entry>, sqlx::Error> {
        let rows = match room {
            Some(room) => {
                sqlx::query("SELECT * FROM audit WHERE room = $1 AND id > $2 ORDER BY id LIMIT $3")
                    .bind(room.to_string())
            }
            None => sqlx::query("SELECT * FROM audit WHERE id > $1 ORDER BY id LIMIT $2"),
        };
        let rows = rows.bind(after.to_owned()).bind(CHUNK);
        let rows = rows.fetch_all(&self.db.pool).await?;
        rows.iter().map(entry).collect()
    }
}

/// A command that was carried out
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Entry {
    id: String,
    at: DateTime<Utc>,
    /// The `sub` of the token that it came with.
    identity: Option<String>,
    name: Option<String>,
    role: Option<String>,
    /// Where it came from.
    address: Option<String>,
    /// Method and path, as the API's description has them.
    action: String,
    room: Option<String>,
    /// Whom or what of the room it was about.
    target: Option<String>,
    status: u16,
    /// What there was before, as `GET` answers it.
    before: Option<Value>,
    after: Option<Value>,
}

fn entry(row: &AnyRow) -> Result<Entry, sqlx::Error> {
    let json = |column| {
        let text: Option<String> = row.try_get(column)?;
        Ok::<_, sqlx::Error>(text.and_then(|text| serde_json::from_str(&text).ok()))
    };
    Ok(Entry {
        id: row.try_get("id")?,
        at: db::time(row.try_get("at_ms")?),
        identity: row.try_get("identity")?,
        name: row.try_get("name")?,
        role: row.try_get("role")?,
        address: row.try_get("address")?,
        action: row.try_get("action")?,
        room: row.try_get("room")?,
        target: row.try_get("target")?,
        status: u16::try_from(row.try_get::<i64, _>("status")?).unwrap_or_default(),
        before: json("before")?,
        after: json("after")?,
    })
}

/// Around each route: puts down what was carried out, before it is answered.
pub async fn put_down(
    State(audit): State<Arc<Audit>>,
    path: MatchedPath,
    parameters: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    if matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let parameter = |name: &str| {
        let mut all = parameters.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, value)| cut(value))
    };
    let (room, target) = (
        parameter("room"),
        parameter("id").or_else(|| parameter("identity")),
    );
    let caller: Option<Caller> = request.extensions().get().cloned();
    let address = audit.proxies.client(&request);
    let mut response = next.run(request).await;
    if !response.status().is_success() {
        return response;
    }
    let claims = caller.as_ref().and_then(Caller::claims);
    let change: Change = response.extensions_mut().remove().unwrap_or_default();
    let entry = Entry {
        id: Uuid::now_v7().to_string(),
        at: Utc::now(),
        identity: claims.and_then(|claims| claims.sub.clone()),
        name: claims.and_then(|claims| claims.name.clone()),
        role: claims.map(|claims| claims.role.name().to_owned()),
        address: address.map(|address| address.to_string()),
        action: format!("{method} {}", path.as_str()),
        room: room.or_else(|| change.room.map(String::from)),
        target: change.about.map(str::to_owned).or(target),
        status: response.status().as_u16(),
        before: change.before,
        after: change.after,
    };
    if let Err(error) = audit.add(entry.clone()).await {
        // It is done, and somebody is to know.
        error!(%error, ?entry, "a command is not in the audit log");
    }
    response
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

pub fn routes(audit: Arc<Audit>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(export))
        .with_state(audit)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Of this room alone; else of all, for who holds a token for all.
    room: Option<String>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Of {
    /// Of this room alone; else of all, for who holds a token for all.
    room: Option<String>,
}

/// What was commanded, the newest first
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    params(Which),
    responses((status = 200, body = Page<Entry>), Refusals, NotThere, Unreadable, Later)
)]
async fn list(
    State(audit): State<Arc<Audit>>,
    caller: Caller,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.directs_some()?;
    let Which {
        room,
        cursor,
        limit,
    } = readable(which)?;
    let room = room.as_deref().map(room_id).transpose()?;
    caller.directs(room.as_ref())?;
    let found = audit.page(room.as_ref(), cursor, limit.and_one()).await;
    let found = found.map_err(away)?;
    Ok(fresh(Page::of(found, limit, |last| last.id.clone())))
}

/// All that was commanded, the oldest first, one JSON object a line
#[utoipa::path(
    get,
    path = "/api/v1/audit/export",
    tag = "audit",
    params(Of),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson"),
        Refusals, NotThere, Unreadable
    )
)]
async fn export(
    State(audit): State<Arc<Audit>>,
    caller: Caller,
    of: Result<Query<Of>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.directs_some()?;
    let Of { room } = readable(of)?;
    let room = room.as_deref().map(room_id).transpose()?;
    caller.directs(room.as_ref())?;
    let chunks = stream::unfold(Some(String::new()), move |after| {
        let (audit, room) = (audit.clone(), room.clone());
        async move {
            let after = after?;
            let found = match audit.chunk(room.as_ref(), &after).await {
                Ok(found) => found,
                // The reader sees that it was cut off.
                Err(error) => return Some((Err(error), None)),
            };
            let last = found.last()?.id.clone();
            let line = |entry: &Entry| serde_json::to_string(entry).unwrap_or_default() + "\n";
            let lines: String = found.iter().map(line).collect();
            Some((Ok(lines), Some(last)))
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(chunks.boxed())).into_response())
}
