//! `/api/v1/webhooks`: who is told of what, what they have not taken, and telling them again.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{MAX_WEBHOOKS, Webhook, Webhooks};
use crate::control::api::{Body, change_of, fresh, readable};
use crate::control::audit::Change;
use crate::control::auth::Caller;
use crate::control::caller::room_id;
use crate::control::db::away;
use crate::control::events::Happened;
use crate::control::openapi::{Changed, Later, NotThere, Refusals, Unreadable};
use crate::control::paging::{Limit, Page};
use crate::control::tags;
use crate::control::views::Items;
use crate::problem::Problem;
use crate::room::RoomId;

/// As long as HMAC-SHA256's output; the standard asks for 24 to 64.
const SECRET_BYTES: usize = 32;
const MAX_URL_LEN: usize = 2000;

#[derive(Clone)]
struct Api {
    webhooks: Arc<Webhooks>,
}

pub fn routes(webhooks: Arc<Webhooks>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, change, remove))
        .routes(routes!(pending))
        .routes(routes!(replay))
        .with_state(Api { webhooks })
}

/// Who is told of what
#[derive(Debug, Serialize, ToSchema)]
struct WebhookView {
    id: Uuid,
    url: String,
    /// `null`: of all rooms.
    room: Option<RoomId>,
    /// Types of events; empty: all.
    events: Vec<String>,
    /// While it is not, nothing is put down for it. An answer of 410 Gone disables it.
    enabled: bool,
    created_at: DateTime<Utc>,
}

impl From<&Webhook> for WebhookView {
    fn from(webhook: &Webhook) -> Self {
        Self {
            id: webhook.id,
            url: webhook.url.to_string(),
            room: webhook.room.clone(),
            events: webhook.events.clone(),
            enabled: webhook.enabled,
            created_at: webhook.created_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
struct CreatedWebhook {
    #[serde(flatten)]
    webhook: WebhookView,
    /// What signatures are made with (Standard Webhooks). It is told this once.
    secret: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://portal.example/amphi", "room": "demo", "events": ["broadcast.started", "recording.completed"]}))]
struct NewWebhook {
    #[schema(format = "uri", max_length = 2000, pattern = r"^https?://[A-Za-z0-9]")]
    url: String,
    /// Of this room alone; else of all, for who holds a token for all.
    room: Option<RoomId>,
    /// Types of events; empty: all.
    #[serde(default)]
    events: Vec<String>,
}

/// What is not named stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"events": ["broadcast.started"], "enabled": true}))]
struct WebhookChange {
    #[schema(format = "uri", max_length = 2000, pattern = r"^https?://[A-Za-z0-9]")]
    url: Option<String>,
    events: Option<Vec<String>>,
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"since": "2026-01-31T18:00:00Z"}))]
struct Replay {
    /// Also what was taken since then, as far as it is kept: 7 days.
    since: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Replayed {
    /// So many events are due now.
    events: u64,
}

/// An event that a webhook has not taken.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveryView {
    /// The `webhook-id` that it is sent with.
    id: String,
    room: String,
    #[serde(rename = "type")]
    kind: String,
    at: DateTime<Utc>,
    /// `waiting`, or `dead` when it was refused for a day.
    state: String,
    attempts: u32,
    /// When it is tried again, if those before it of its room are taken by then.
    due_at: Option<DateTime<Utc>>,
    /// Why it was not taken.
    error: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OfRoom {
    /// Those of this room alone.
    room: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// `next` of the page before.
    #[param(pattern = "^[0-9]{1,15}$")]
    cursor: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

fn cursor_of(text: &str) -> Option<i64> {
    let is_one = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    is_one.then(|| text.parse().ok())?
}

/// Who is told of what happens
#[utoipa::path(
    get,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    params(OfRoom),
    responses((status = 200, body = Items<WebhookView>), Refusals, NotThere)
)]
async fn list(
    State(api): State<Api>,
    Query(of): Query<OfRoom>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.directs_some()?;
    let room = of.room.as_deref().map(room_id).transpose()?;
    caller.directs(room.as_ref())?;
    let all = api.webhooks.all();
    let is_meant = |webhook: &&Arc<Webhook>| room.is_none() || webhook.room == room;
    let items = all.iter().filter(is_meant);
    Ok(fresh(Items {
        items: items.map(|w| WebhookView::from(&**w)).collect(),
    }))
}

/// Asks to be told
///
/// Each event is sent as `/api/v1/events` tells it, by POST, signed as Standard Webhooks 1.0.0 has it:
/// headers `webhook-id`, `webhook-timestamp`, `webhook-signature`. Whatever is not answered 2xx within
/// 15 s is sent again for 24 h, the events of each room in their order.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    request_body = NewWebhook,
    responses((status = 201, body = CreatedWebhook), Refusals, Unreadable, Later)
)]
async fn create(State(api): State<Api>, caller: Caller, body: Body) -> Result<Response, Problem> {
    caller.directs_some()?;
    let new: NewWebhook = change_of(body)?;
    caller.directs(new.room.as_ref())?;
    let webhooks = &api.webhooks;
    if webhooks.all().len() >= MAX_WEBHOOKS {
        let detail = format!("there are {MAX_WEBHOOKS} webhooks already; delete one first");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let mut secret = [0; SECRET_BYTES];
    rand::rng().fill(&mut secret);
    let webhook = Webhook {
        id: Uuid::now_v7(),
        url: api.url(&new.url)?,
        secret: format!("whsec_{}", STANDARD.encode(secret)),
        room: new.room,
        events: types(new.events)?,
        enabled: true,
        created_at: Utc::now(),
    };
    webhooks.store.add(&webhook).await.map_err(away)?;
    let created = CreatedWebhook {
        webhook: WebhookView::from(&webhook),
        secret: webhook.secret.clone(),
    };
    let place = format!("/api/v1/webhooks/{}", webhook.id);
    let change = Change::of(webhook.room.clone()).to(&created.webhook);
    webhooks.know(webhook);
    let location = [(header::LOCATION, place)];
    Ok(change.on((StatusCode::CREATED, location, Json(created))))
}

/// A webhook
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = WebhookView), Refusals, NotThere)
)]
async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Response, Problem> {
    let webhook = api.webhook(&caller, &id)?;
    let view = WebhookView::from(&*webhook);
    Ok(tags::tagged(Some(&tags::of(&view)), fresh(view)))
}

/// Changes where it is sent and what of; what is not named stays as it is
#[utoipa::path(
    patch,
    path = "/api/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path)),
    request_body = WebhookChange,
    responses((status = 200, body = WebhookView), Refusals, NotThere, Changed, Unreadable, Later)
)]
async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let _turn = api.webhooks.turn.lock().await;
    let webhook = api.webhook(&caller, &id)?;
    let seen = tags::of(&WebhookView::from(&*webhook));
    tags::check(&headers, Some(&seen))?;
    let change: WebhookChange = change_of(body)?;
    let mut changed = (*webhook).clone();
    if let Some(url) = change.url {
        changed.url = api.url(&url)?;
    }
    if let Some(events) = change.events {
        changed.events = types(events)?;
    }
    changed.enabled = change.enabled.unwrap_or(changed.enabled);
    let webhooks = &api.webhooks;
    let stored = webhooks.store.change(&changed).await;
    stored.map_err(away)?;
    let view = WebhookView::from(&changed);
    let change = Change::of(changed.room.clone());
    let change = change.from(WebhookView::from(&*webhook)).to(&view);
    let answer = tags::tagged(Some(&tags::of(&view)), fresh(view));
    webhooks.change(changed);
    Ok(change.on(answer))
}

/// Deletes a webhook, with all that it was still to be told
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path)),
    responses((status = 204), Refusals, NotThere, Later)
)]
async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Response, Problem> {
    let webhook = api.webhook(&caller, &id)?;
    let webhooks = &api.webhooks;
    let removed = webhooks.store.remove(webhook.id).await;
    removed.map_err(away)?;
    webhooks.forget(webhook.id);
    let change = Change::of(webhook.room.clone()).from(WebhookView::from(&*webhook));
    Ok(change.on(StatusCode::NO_CONTENT))
}

/// What a webhook has not taken: what waits, and what was given up
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{id}/deliveries",
    tag = "webhooks",
    params(("id" = Uuid, Path), After),
    responses((status = 200, body = Page<DeliveryView>), Refusals, NotThere, Unreadable, Later)
)]
async fn pending(
    State(api): State<Api>,
    Path(id): Path<String>,
    caller: Caller,
    after: Result<Query<After>, QueryRejection>,
) -> Result<Response, Problem> {
    let webhook = api.webhook(&caller, &id)?;
    let After { cursor, limit } = readable(after)?;
    let after = match cursor.as_deref().map(cursor_of) {
        None => 0,
        Some(Some(after)) => after,
        Some(None) => {
            let detail = "cursor is `next` of the page before";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
    };
    let store = &api.webhooks.store;
    let found = store
        .pending(webhook.id, after, limit.and_one() as i64)
        .await;
    let page = Page::of(found.map_err(away)?, limit, |last| last.event.to_string());
    Ok(fresh(page.map(|pending| DeliveryView {
        due_at: (pending.state == "waiting").then_some(pending.due_at),
        id: pending.id,
        room: pending.room,
        kind: pending.kind,
        at: pending.at,
        state: pending.state,
        attempts: pending.attempts,
        error: pending.error,
    })))
}

/// Sends again, at once: what waits, what was given up, and what was taken since a time
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{id}/replay",
    tag = "webhooks",
    params(("id" = Uuid, Path)),
    request_body = Replay,
    responses((status = 202, body = Replayed), Refusals, NotThere, Unreadable, Later)
)]
async fn replay(
    State(api): State<Api>,
    Path(id): Path<String>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let webhook = api.webhook(&caller, &id)?;
    let Replay { since } = change_of(body)?;
    let webhooks = &api.webhooks;
    let replayed = webhooks.store.replay(&webhook, since).await;
    let events = replayed.map_err(away)?;
    webhooks.wake(webhook.id);
    let change = Change::of(webhook.room.clone());
    Ok(change.on((StatusCode::ACCEPTED, Json(Replayed { events }))))
}

impl Api {
    fn webhook(&self, caller: &Caller, id: &str) -> Result<Arc<Webhook>, Problem> {
        caller.directs_some()?;
        let found = id.parse().ok().and_then(|id| self.webhooks.find(id));
        let webhook = found.ok_or_else(|| {
            let detail = "there is no such webhook; GET /api/v1/webhooks lists them";
            Problem::new(StatusCode::NOT_FOUND, detail)
        })?;
        caller.directs(webhook.room.as_ref())?;
        Ok(webhook)
    }

    fn url(&self, text: &str) -> Result<Url, Problem> {
        let unusable = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        if text.len() > MAX_URL_LEN {
            return Err(unusable(format!(
                "url is longer than {MAX_URL_LEN} characters"
            )));
        }
        let url: Url = text
            .parse()
            .map_err(|e| unusable(format!("url cannot be {text:?}: {e}")))?;
        match self.webhooks.courier.objection(&url) {
            Some(objection) => Err(unusable(objection)),
            None => Ok(url),
        }
    }
}

/// Those that there are, each once.
fn types(events: Vec<String>) -> Result<Vec<String>, Problem> {
    match events
        .iter()
        .find(|kind| !Happened::TYPES.contains(&kind.as_str()))
    {
        Some(unknown) => {
            let all = Happened::TYPES.join(", ");
            let detail = format!("there is no event {unknown:?}; there are {all}");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        None => Ok(events
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()),
    }
}
