//! Who has to leave a room, and who may not come back.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{House, fresh, refused};
use super::audit::Change;
use super::bans::{Ban, Bans};
use super::caller::Directed;
use super::db::away;
use super::openapi::{Conflict, Later, NotThere, Refusals, Unreadable};
use super::views::Items;
use crate::problem::Problem;
use crate::room::{Command, ParticipantId, Refused, RoomId};

#[derive(Clone)]
struct Api {
    house: Arc<dyn House>,
    bans: Arc<Bans>,
}

pub fn routes(house: Arc<dyn House>, bans: Arc<Bans>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(remove))
        .routes(routes!(list))
        .routes(routes!(lift))
        .with_state(Api { house, bans })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct How {
    /// They may not come back.
    #[serde(default)]
    ban: bool,
}

/// Someone who may not come back
#[derive(Debug, Serialize, ToSchema)]
struct BanView {
    /// What they are known by.
    identity: String,
    /// As they were called when they were banned.
    name: String,
    at: DateTime<Utc>,
}

/// Takes someone out of the room, at once; with `ban`, for good
///
/// A ban holds for the `sub` of their token, over restarts, until it is lifted. Who has a token
/// without one is known by what their page chose, and can choose again: give those whom you may have to
/// ban tokens with an identity.
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{room}/participants/{id}",
    tag = "rooms",
    params(("room" = RoomId, Path), ("id" = ParticipantId, Path), How),
    responses((status = 204), Refusals, NotThere, Conflict, Unreadable, Later)
)]
async fn remove(
    State(api): State<Api>,
    Directed(room): Directed,
    Path((_, id)): Path<(String, String)>,
    how: Result<Query<How>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(How { ban }) = how.map_err(|e| Problem::new(e.status(), e.body_text()))?;
    let nobody = || refused(Refused::NoSuchParticipant);
    let id: ParticipantId = id.parse().map_err(|_| nobody())?;
    if ban {
        let known = api.house.known_by(&room, id).ok_or_else(nobody)?;
        let identity = known.identity.ok_or_else(|| {
            let detail = "this participant has no identity to be known by when they come back; \
                          remove them without `ban`";
            Problem::new(StatusCode::CONFLICT, detail)
        })?;
        let ban = Ban {
            identity,
            name: known.name,
            at: Utc::now(),
        };
        api.bans.add(&room, ban).await.map_err(away)?;
    }
    let all = api.house.participants(&room).into_iter();
    let before = all.into_iter().find(|participant| participant.id == id);
    let removed = api.house.direct(&room, vec![Command::Remove(id)]);
    removed.map_err(refused)?;
    let change = Change::default().from(before);
    Ok(change.on(StatusCode::NO_CONTENT))
}

/// Who may not come back into a room
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}/bans",
    tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 200, body = Items<BanView>), Refusals, NotThere)
)]
async fn list(State(api): State<Api>, Directed(room): Directed) -> Result<Response, Problem> {
    let items = api.bans.of(&room).into_iter().map(|ban| BanView {
        identity: ban.identity,
        name: ban.name,
        at: ban.at,
    });
    Ok(fresh(Items {
        items: items.collect(),
    }))
}

/// Lets someone come back
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{room}/bans/{identity}",
    tag = "rooms",
    params(("room" = RoomId, Path), ("identity" = String, Path)),
    responses((status = 204), Refusals, NotThere, Later)
)]
async fn lift(
    State(api): State<Api>,
    Directed(room): Directed,
    Path((_, identity)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    match api.bans.lift(&room, &identity).await.map_err(away)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let detail = format!("nobody of this identity is banned from {room}");
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
    }
}
