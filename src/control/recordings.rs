//! `/api/v1/recordings`: what was broadcast.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{House, fresh, readable};
use super::audit::Change;
use super::auth::Caller;
use super::openapi::{Conflict, Later, NotThere, Refusals, Unreadable};
use super::paging::{Limit, Page};
use super::views::RecordingView;
use crate::problem::Problem;
use crate::room::BroadcastId;

#[derive(Clone)]
struct Api {
    house: Arc<dyn House>,
}

pub fn routes(house: Arc<dyn House>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .with_state(Api { house })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// `next` of the page before.
    #[param(value_type = Option<BroadcastId>)]
    cursor: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// The recordings, the newest first
///
/// Those of private rooms are shown to who holds a token for the room alone.
#[utoipa::path(
    get,
    path = "/api/v1/recordings",
    security((), ("token" = [])),
    tag = "recordings",
    params(Which),
    responses((status = 200, body = Page<RecordingView>), Refusals, Unreadable, Later)
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let Which { cursor, limit } = readable(which)?;
    let cursor = cursor.map(|cursor| cursor.parse::<BroadcastId>());
    let cursor = cursor.transpose().map_err(|_| {
        let detail = "cursor is `next` of the page before";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let found = api.house.recordings(cursor, limit.and_one()).await;
    let mut page = Page::of(found.map_err(storage_away)?, limit, |last| {
        last.id.to_string()
    });
    page.items
        .retain(|one| !one.private || caller.enters(&one.room).is_ok());
    Ok(fresh(page))
}

/// A recording
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{id}",
    security((), ("token" = [])),
    tag = "recordings",
    params(("id" = BroadcastId, Path)),
    responses((status = 200, body = RecordingView), Refusals, NotThere, Later)
)]
async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let recording = api.find(&id).await?;
    if recording.private {
        caller.enters(&recording.room)?;
    }
    Ok(fresh(recording))
}

/// Deletes a recording, for good
#[utoipa::path(
    delete,
    path = "/api/v1/recordings/{id}",
    tag = "recordings",
    params(("id" = BroadcastId, Path)),
    responses((status = 204), Refusals, NotThere, Conflict, Later)
)]
async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.directs_some()?;
    let recording = api.find(&id).await?;
    caller.directs(Some(&recording.room))?;
    if recording.state == "recording" {
        let detail = "this broadcast is still live; stop it first";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let deleted = api.house.delete_recording(recording.id).await;
    deleted.map_err(storage_away)?;
    let change = Change::of(Some(recording.room.clone())).from(recording);
    Ok(change.on(StatusCode::NO_CONTENT))
}

impl Api {
    async fn find(&self, id: &str) -> Result<RecordingView, Problem> {
        let unknown = || {
            let detail = "there is no such recording; GET /api/v1/recordings lists them";
            Problem::new(StatusCode::NOT_FOUND, detail)
        };
        let id = id.parse().map_err(|_| unknown())?;
        let found = self.house.recording(id).await.map_err(storage_away)?;
        found.ok_or_else(unknown)
    }
}

fn storage_away(reason: String) -> Problem {
    let detail = format!("the recordings' storage does not answer ({reason}); try again later");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("10"))
}
