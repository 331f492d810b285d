//! `/api/v1`: what is live, who is in a room, and what its program shows.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::Change;
use super::auth::Caller;
use super::caller::Directed;
use super::db::away;
use super::fields::{name, named, whole};
use super::openapi::{Changed, Conflict, Later, Limited, NotThere, Refusals, Unreadable};
use super::paging::{Limit, Page};
use super::participants::ParticipantDetail;
use super::roles::Roles;
use super::rooms::RoomSettings;
use super::tags;
use super::views::{
    Items, ParticipantView, PreviewView, RecordingView, RoomStats, RoomView, Started,
};
use crate::problem::Problem;
use crate::room::{
    BroadcastId, Command, Direction, ParticipantId, Refused, Role, RoomId, TrackSource, Transition,
};

/// What the routes ask of the house.
pub trait House: Send + Sync + 'static {
    /// In the order of their names, from behind one; with `live`, those that can be watched.
    fn rooms(&self, live: bool, cursor: Option<&RoomId>, most: usize) -> Vec<RoomView>;
    /// `None` for a room that does not exist.
    fn room(&self, id: &RoomId) -> Option<RoomView>;
    /// All have to leave, and its broadcast ends.
    fn close_room(&self, id: &RoomId);
    /// What was set for a room, onto the one that is open.
    fn configure(&self, id: &RoomId, settings: &RoomSettings);
    fn participants(&self, id: &RoomId) -> Vec<ParticipantView>;
    /// `None` for one who is not here, and whose connection has not failed lately.
    fn participant(&self, room: RoomId, id: ParticipantId)
    -> Answer<'_, Option<ParticipantDetail>>;
    /// What a participant is known by; `None` of who is not here.
    fn known_by(&self, room: &RoomId, id: ParticipantId) -> Option<KnownBy>;
    /// Carries out what a producer asks of a room's stage.
    fn direct(&self, id: &RoomId, commands: Vec<Command>) -> Result<(), Refused>;
    /// Shows a producer what the program would be with these.
    fn preview(&self, id: &RoomId, directions: Vec<Direction>) -> Result<(), Refused>;
    /// `None` while nobody looks at what comes next.
    fn previewed(&self, id: &RoomId) -> Option<PreviewView>;
    /// `None` for a room that does not exist.
    fn stats(&self, id: &RoomId) -> Option<RoomStats>;
    /// The names of the layouts that there are.
    fn layouts(&self) -> Vec<String>;
    /// Those of the ladders.
    fn ladders(&self) -> Vec<String>;
    fn start_broadcast(&self, id: &RoomId) -> Result<BroadcastId, Refused>;
    fn stop_broadcast(&self, id: &RoomId) -> Result<(), Refused>;
    /// The newest first, from behind one.
    fn recordings(
        &self,
        cursor: Option<BroadcastId>,
        most: usize,
    ) -> Answer<'_, Vec<RecordingView>>;
    fn recording(&self, id: BroadcastId) -> Answer<'_, Option<RecordingView>>;
    fn delete_recording(&self, id: BroadcastId) -> Answer<'_, ()>;
}

/// What the identity begins with of who has none by their token.
pub const GUEST: &str = "guest:";

/// By what somebody is recognized when they come back, and what they are called.
pub struct KnownBy {
    pub identity: Option<String>,
    pub name: String,
}

/// An answer that storage must be asked for; the error says why it did not answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

#[derive(Clone)]
struct Api {
    house: Arc<dyn House>,
    roles: Arc<Roles>,
}

pub fn routes(house: Arc<dyn House>, roles: Arc<Roles>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_rooms))
        .routes(routes!(list_participants))
        .routes(routes!(show_participant, change_participant))
        .routes(routes!(start, direct, stop))
        .routes(routes!(show_preview, preview, end_preview))
        .routes(routes!(take))
        .routes(routes!(show_stats))
        .routes(routes!(list_layouts))
        .routes(routes!(list_ladders))
        .with_state(Api { house, roles })
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Those that the audience can watch now.
    #[serde(default)]
    live: bool,
    /// `next` of the page before.
    #[param(value_type = Option<RoomId>)]
    cursor: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: Limit,
}

/// The rooms, by name: those that were made, and those that came to be by use
///
/// Private ones are shown to who holds a token for them alone.
#[utoipa::path(
    get,
    path = "/api/v1/rooms",
    security((), ("token" = [])),
    tag = "rooms",
    params(Which),
    responses((status = 200, body = Page<RoomView>), Limited, Unreadable)
)]
async fn list_rooms(
    State(api): State<Api>,
    caller: Caller,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let Which {
        live,
        cursor,
        limit,
    } = readable(which)?;
    let cursor = cursor.map(|cursor| cursor.parse::<RoomId>()).transpose();
    let cursor = cursor.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.to_string()))?;
    let found = api.house.rooms(live, cursor.as_ref(), limit.and_one());
    let mut page = Page::of(found, limit, |last| last.id.to_string());
    page.items
        .retain(|room| !room.settings.private || caller.enters(&room.id).is_ok());
    Ok(fresh(page))
}

/// Who is in a room, in the order of the stage
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}/participants",
    tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 200, body = Items<ParticipantView>), Refusals, NotThere)
)]
async fn list_participants(
    State(api): State<Api>,
    Directed(room): Directed,
) -> Result<Response, Problem> {
    Ok(fresh(Items {
        items: api.house.participants(&room),
    }))
}

/// A participant, by which connections they are here, and how well; or why they could not connect
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}/participants/{id}",
    tag = "rooms",
    params(("room" = RoomId, Path), ("id" = ParticipantId, Path)),
    responses((status = 200, body = ParticipantDetail), Refusals, NotThere)
)]
async fn show_participant(
    State(api): State<Api>,
    Directed(room): Directed,
    Path((_, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let unknown = || {
        let detail = "nobody of this id is here, and none of this id failed to connect lately; \
                      GET /api/v1/rooms/{room}/participants lists who is";
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    let id = id.parse().map_err(|_| unknown())?;
    let found = api.house.participant(room, id).await;
    let found = found.ok().flatten().ok_or_else(unknown)?;
    let tag = tags::of(&found.participant);
    Ok(tags::tagged(Some(&tag), fresh(found)))
}

/// Goes live
#[utoipa::path(
    post,
    path = "/api/v1/rooms/{room}/broadcast",
    tag = "program",
    params(("room" = RoomId, Path)),
    responses((status = 201, body = Started), Refusals, NotThere, Conflict, Later)
)]
async fn start(State(api): State<Api>, Directed(room): Directed) -> Result<Response, Problem> {
    let before = api.house.room(&room);
    let id = api.house.start_broadcast(&room).map_err(refused)?;
    let change = Change::default().from(before).to(api.house.room(&room));
    Ok(change.on((StatusCode::CREATED, Json(Started { id }))))
}

/// Ends the broadcast
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{room}/broadcast",
    tag = "program",
    params(("room" = RoomId, Path)),
    responses((status = 204), Refusals, NotThere, Conflict)
)]
async fn stop(State(api): State<Api>, Directed(room): Directed) -> Result<Response, Problem> {
    let before = api.house.room(&room);
    api.house.stop_broadcast(&room).map_err(refused)?;
    let change = Change::default().from(before).to(api.house.room(&room));
    Ok(change.on(StatusCode::NO_CONTENT))
}

/// What is not named stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"layout": "spotlight", "transition": "animate", "slate": null}))]
struct ProgramChange {
    layout: Option<String>,
    transition: Option<Transition>,
    passthrough: Option<bool>,
    /// `null` shows the program again.
    #[serde(default, deserialize_with = "named")]
    #[schema(min_length = 1, max_length = 120, pattern = r"\S")]
    slate: Option<Option<String>>,
    /// `null` lets whoever speaks be large again.
    #[serde(default, deserialize_with = "named")]
    pinned: Option<Option<ParticipantId>>,
}

/// What would be another than in the program now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"layout": "presentation", "slate": "Back in five minutes"}))]
struct PreviewChange {
    layout: Option<String>,
    #[serde(default, deserialize_with = "named")]
    #[schema(min_length = 1, max_length = 120, pattern = r"\S")]
    slate: Option<Option<String>>,
    #[serde(default, deserialize_with = "named")]
    pinned: Option<Option<ParticipantId>>,
    /// Who would be taken into the program, or out of it.
    #[serde(default)]
    on_stage: BTreeMap<ParticipantId, bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"on_stage": true, "place": 0, "name": "Ada", "muted": ["microphone"]}))]
struct ParticipantChange {
    on_stage: Option<bool>,
    /// In the order of the stage; 0 is the first.
    #[serde(default, deserialize_with = "whole")]
    #[schema(maximum = 65535)]
    place: Option<u16>,
    /// What they may do in this room from now on, whatever their token says; a viewer has to leave the
    /// stage. For who has a token with an identity.
    role: Option<Role>,
    /// What others see as their name, until they come back by another.
    #[serde(default, deserialize_with = "name")]
    #[schema(min_length = 1, max_length = 80, pattern = r"\S")]
    name: Option<String>,
    /// What of theirs reaches nobody, whatever they publish: all that is not named does.
    #[schema(value_type = Option<Vec<TrackSource>>)]
    muted: Option<BTreeSet<TrackSource>>,
}

/// Changes the program; what is not named stays as it is
#[utoipa::path(
    patch,
    path = "/api/v1/rooms/{room}/broadcast",
    tag = "program",
    params(("room" = RoomId, Path)),
    request_body = ProgramChange,
    responses((status = 200, body = RoomView), Refusals, NotThere, Conflict, Unreadable)
)]
async fn direct(
    State(api): State<Api>,
    Directed(room): Directed,
    body: Body,
) -> Result<Response, Problem> {
    let change: ProgramChange = change_of(body)?;
    let before = api.house.room(&room).ok_or_else(|| no_room(&room))?;
    let transition = change.transition.map(Command::SetTransition);
    let passthrough = change.passthrough.map(Command::SetPassthrough);
    let layout = change.layout.map(Direction::Layout).into_iter();
    let directions = layout.chain(change.slate.map(Direction::Slate));
    let directions = directions.chain(change.pinned.map(Direction::Pin));
    let commands = transition.into_iter().chain(passthrough);
    let commands = commands.chain(directions.map(Command::Direct));
    api.house
        .direct(&room, commands.collect())
        .map_err(refused)?;
    api.changed(&room, before)
}

/// Shows what the program would be with these changes, to who may direct
#[utoipa::path(
    put,
    path = "/api/v1/rooms/{room}/broadcast/preview",
    tag = "program",
    params(("room" = RoomId, Path)),
    request_body = PreviewChange,
    responses((status = 200, body = PreviewView), Refusals, NotThere, Conflict, Unreadable, Later)
)]
async fn preview(
    State(api): State<Api>,
    Directed(room): Directed,
    body: Body,
) -> Result<Response, Problem> {
    let change: PreviewChange = change_of(body)?;
    let layout = change.layout.map(Direction::Layout).into_iter();
    let directions = layout
        .chain(change.slate.map(Direction::Slate))
        .chain(change.pinned.map(Direction::Pin));
    let on_stage = change.on_stage.into_iter();
    let on_stage = on_stage.map(|(participant, on)| Direction::Put { participant, on });
    let directions = directions.chain(on_stage).collect();
    api.house.preview(&room, directions).map_err(refused)?;
    api.previewed(&room).map(fresh)
}

/// What the program would be
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}/broadcast/preview",
    tag = "program",
    params(("room" = RoomId, Path)),
    responses((status = 200, body = PreviewView), Refusals, NotThere)
)]
async fn show_preview(
    State(api): State<Api>,
    Directed(room): Directed,
) -> Result<Response, Problem> {
    api.previewed(&room).map(fresh)
}

/// Ends the preview
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{room}/broadcast/preview",
    tag = "program",
    params(("room" = RoomId, Path)),
    responses((status = 204), Refusals, NotThere)
)]
async fn end_preview(
    State(api): State<Api>,
    Directed(room): Directed,
) -> Result<StatusCode, Problem> {
    api.previewed(&room)?;
    let end = vec![Command::EndPreview];
    api.house.direct(&room, end).map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the program what the preview shows
#[utoipa::path(
    post,
    path = "/api/v1/rooms/{room}/broadcast/preview/take",
    tag = "program",
    params(("room" = RoomId, Path)),
    responses((status = 200, body = RoomView), Refusals, NotThere)
)]
async fn take(State(api): State<Api>, Directed(room): Directed) -> Result<Response, Problem> {
    api.previewed(&room)?;
    let before = api.house.room(&room).ok_or_else(|| no_room(&room))?;
    let take = vec![Command::Take];
    api.house.direct(&room, take).map_err(refused)?;
    api.changed(&room, before)
}

/// Takes a participant into the program or out of it, gives them another place, name or role, or mutes them
#[utoipa::path(
    patch,
    path = "/api/v1/rooms/{room}/participants/{id}",
    tag = "program",
    params(("room" = RoomId, Path), ("id" = ParticipantId, Path)),
    request_body = ParticipantChange,
    responses(
        (status = 200, body = ParticipantView),
        Refusals, NotThere, Conflict, Changed, Unreadable, Later
    )
)]
async fn change_participant(
    State(api): State<Api>,
    Directed(room): Directed,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let change: ParticipantChange = change_of(body)?;
    let id: ParticipantId = id
        .parse()
        .map_err(|_| refused(Refused::NoSuchParticipant))?;
    let on_stage = change.on_stage.map(|on| {
        Command::Direct(Direction::Put {
            participant: id,
            on,
        })
    });
    let place = change.place.map(|place| Command::Move {
        participant: id,
        place: place.into(),
    });
    let muted = change.muted.map(|sources| Command::Mute {
        participant: id,
        sources,
    });
    let name = change.name.map(|name| Command::Rename {
        participant: id,
        name,
    });
    let role = change.role.map(|role| Command::SetRole {
        participant: id,
        role,
    });
    let commands = on_stage.into_iter().chain(place).chain(muted).chain(name);
    let nobody = || refused(Refused::NoSuchParticipant);
    let before = api.member(&room, id).ok_or_else(nobody)?;
    tags::check(&headers, Some(&tags::of(&before)))?;
    api.house
        .direct(&room, commands.chain(role).collect())
        .map_err(refused)?;
    if let Some(role) = change.role {
        api.keep_role(&room, &before, role).await?;
    }
    // Who became a viewer is not here any more.
    let after = api.member(&room, id).unwrap_or_else(|| ParticipantView {
        presence: "left",
        role: change.role.unwrap_or(before.role),
        ..before.clone()
    });
    let change = Change::default().from(before).to(&after);
    Ok(change.on(tags::tagged(Some(&tags::of(&after)), fresh(after))))
}

/// The names of the layouts
#[utoipa::path(
    get,
    path = "/api/v1/layouts",
    security(()),
    tag = "program",
    responses((status = 200, body = Items<String>), Limited)
)]
async fn list_layouts(State(api): State<Api>) -> Response {
    fresh(Items {
        items: api.house.layouts(),
    })
}

/// The names of the ladders: the sets of renditions that a room may ask for
#[utoipa::path(
    get,
    path = "/api/v1/ladders",
    security(()),
    tag = "program",
    responses((status = 200, body = Items<String>), Limited)
)]
async fn list_ladders(State(api): State<Api>) -> Response {
    fresh(Items {
        items: api.house.ladders(),
    })
}

/// How a room does: who is there, who watches, and what its broadcast costs
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}/stats",
    tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 200, body = RoomStats), Refusals, NotThere)
)]
async fn show_stats(State(api): State<Api>, Directed(room): Directed) -> Result<Response, Problem> {
    let stats = api.house.stats(&room).ok_or_else(|| no_room(&room))?;
    Ok(fresh(stats))
}

impl Api {
    /// The answer of a command that changed a room's program.
    fn changed(&self, room: &RoomId, before: RoomView) -> Result<Response, Problem> {
        let after = self.house.room(room).ok_or_else(|| no_room(room))?;
        Ok(Change::default().from(before).to(&after).on(fresh(after)))
    }

    fn member(&self, room: &RoomId, id: ParticipantId) -> Option<ParticipantView> {
        let mut all = self.house.participants(room).into_iter();
        all.find(|participant| participant.id == id)
    }

    async fn keep_role(
        &self,
        room: &RoomId,
        who: &ParticipantView,
        role: Role,
    ) -> Result<(), Problem> {
        let identity = who.identity.as_ref();
        let identity = identity.filter(|identity| !identity.starts_with(GUEST));
        // Who is nobody in particular has it as long as they are here.
        match identity {
            Some(identity) => self.roles.set(room, identity, role).await.map_err(away),
            None => Ok(()),
        }
    }

    fn previewed(&self, room: &RoomId) -> Result<PreviewView, Problem> {
        let previewed = self.house.previewed(room);
        previewed.ok_or_else(|| refused(Refused::NoPreview))
    }
}

pub(super) fn no_room(room: &RoomId) -> Problem {
    let detail = format!("there is no room {room}; PUT /api/v1/rooms/{room} makes it");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

pub(super) fn refused(refused: Refused) -> Problem {
    let status = match refused {
        Refused::Full(_) | Refused::TooCostly(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::MayNotPublish(_) | Refused::MayNotAttend(_) => StatusCode::FORBIDDEN,
        Refused::NoSuchLayout { .. } | Refused::BadSlate => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::NoSuchParticipant | Refused::NoPreview => StatusCode::NOT_FOUND,
        Refused::StillPublishes(_)
        | Refused::AlreadyLive
        | Refused::Deleted
        | Refused::Unused
        | Refused::NotLive
        | Refused::StaleSession => StatusCode::CONFLICT,
    };
    Problem::new(status, refused.to_string())
}

/// What is to be changed. An object: serde takes a list for a struct's fields, too.
pub(super) type Body = Result<Json<Map<String, Value>>, JsonRejection>;

pub(super) fn fields_of(body: Body) -> Result<Map<String, Value>, Problem> {
    let body = body.map_err(|e| Problem::new(e.status(), e.body_text()));
    body.map(|Json(fields)| fields)
}

pub(super) fn change_of<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let change = serde_json::from_value(fields_of(body)?.into());
    change.map_err(|e| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string()))
}

pub(super) fn readable<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let query = query.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, e.body_text()));
    query.map(|Query(query)| query)
}

/// State of this moment: no cache may keep it.
pub(super) fn fresh(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
