//! `/api/v1`: what is live, who is in a room, what was recorded; start, stop and delete.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize};

use super::auth::{Authority, Denied};
use super::participants::ParticipantDetail;
use crate::problem::Problem;
use crate::room::{
    BroadcastId, Command, Direction, MediaKind, ParticipantId, Refused, Role, RoomId, Transition,
};

/// What the routes ask of the house.
pub trait House: Send + Sync + 'static {
    fn rooms(&self) -> Vec<RoomView>;
    /// `None` for a room that does not exist.
    fn room(&self, id: &RoomId) -> Option<RoomView>;
    fn participants(&self, id: &RoomId) -> Vec<ParticipantView>;
    /// `None` for one who is not here, and whose connection has not failed lately.
    fn participant(&self, room: RoomId, id: ParticipantId)
    -> Answer<'_, Option<ParticipantDetail>>;
    /// Carries out what a producer asks of a room's stage.
    fn direct(&self, id: &RoomId, commands: Vec<Command>) -> Result<(), Refused>;
    /// Shows a producer what the program would be with these.
    fn preview(&self, id: &RoomId, directions: Vec<Direction>) -> Result<(), Refused>;
    /// `None` while nobody looks at what comes next.
    fn previewed(&self, id: &RoomId) -> Option<PreviewView>;
    /// The names of the layouts that there are.
    fn layouts(&self) -> Vec<String>;
    fn start_broadcast(&self, id: &RoomId) -> Result<BroadcastId, Refused>;
    fn stop_broadcast(&self, id: &RoomId) -> Result<(), Refused>;
    fn recordings(&self) -> Answer<'_, Vec<RecordingView>>;
    fn recording(&self, id: BroadcastId) -> Answer<'_, Option<RecordingView>>;
    fn delete_recording(&self, id: BroadcastId) -> Answer<'_, ()>;
}

/// An answer that storage must be asked for; the error says why it did not answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

#[derive(Debug, Clone, Serialize)]
pub struct RoomView {
    pub id: RoomId,
    /// The audience can watch.
    pub live: bool,
    pub broadcast: Option<BroadcastView>,
    /// Why the room has no broadcast, though somebody publishes.
    pub refused: Option<String>,
    /// How many are here.
    pub participants: usize,
    /// How the program is arranged.
    pub layout: String,
    /// Who is shown large, whoever speaks.
    pub pinned: Option<ParticipantId>,
    /// How the program changes.
    pub transition: Transition,
    /// A picture that is alone on stage may be shown as its publisher encoded it.
    pub passthrough: bool,
    /// What is shown instead of the program.
    pub slate: Option<String>,
    /// What the last broadcast left behind, once it can be played.
    pub last_recording: Option<BroadcastId>,
}

#[derive(Debug, Clone, Serialize)]
pub struct BroadcastView {
    /// The largest rendition shows the next smaller one, for the machine is too busy for both.
    pub shed: bool,
    pub id: BroadcastId,
    pub started_at: DateTime<Utc>,
}

/// What the program would be. For who directs alone.
#[derive(Debug, Clone, Serialize)]
pub struct PreviewView {
    pub layout: String,
    pub pinned: Option<ParticipantId>,
    pub slate: Option<String>,
    /// Who would be part of it, once they publish.
    pub on_stage: Vec<ParticipantId>,
    /// Where it is played.
    pub whep: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct ParticipantView {
    pub id: ParticipantId,
    pub name: String,
    pub role: Role,
    /// `attending`, `joining`, `connected`, `away` or `left`
    pub presence: &'static str,
    /// Part of the program, once they publish.
    pub on_stage: bool,
    pub tracks: Vec<TrackView>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TrackView {
    pub kind: MediaKind,
    pub codec: crate::room::Codec,
    pub muted: bool,
    /// It crashed the program twice, which goes on without it until it is published anew.
    pub kept_out: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct RecordingView {
    pub id: BroadcastId,
    pub room: RoomId,
    pub started_at: DateTime<Utc>,
    pub duration_s: f64,
    /// `recording` or `complete`
    pub state: String,
}

/// A list, in an object so that it can grow a cursor.
#[derive(Debug, Serialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Clone)]
struct Api {
    house: Arc<dyn House>,
    authority: Authority,
}

pub fn routes(house: Arc<dyn House>, authority: Authority) -> Router {
    Router::new()
        .route("/api/v1/rooms", get(list_rooms))
        .route("/api/v1/rooms/{room}", get(show_room))
        .route("/api/v1/rooms/{room}/participants", get(list_participants))
        .route(
            "/api/v1/rooms/{room}/participants/{id}",
            get(show_participant).patch(change_participant),
        )
        .route(
            "/api/v1/rooms/{room}/broadcast",
            post(start).patch(direct).delete(stop),
        )
        .route(
            "/api/v1/rooms/{room}/broadcast/preview",
            get(show_preview).put(preview).delete(end_preview),
        )
        .route("/api/v1/rooms/{room}/broadcast/preview/take", post(take))
        .route("/api/v1/layouts", get(list_layouts))
        .route("/api/v1/recordings", get(list_recordings))
        .route(
            "/api/v1/recordings/{id}",
            get(show_recording).delete(delete_recording),
        )
        .with_state(Api { house, authority })
}

async fn list_rooms(State(api): State<Api>) -> Response {
    fresh(Items {
        items: api.house.rooms(),
    })
}

async fn show_room(State(api): State<Api>, Path(room): Path<String>) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.house
        .room(&room)
        .map(fresh)
        .ok_or_else(|| no_room(&room))
}

async fn list_participants(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    Ok(fresh(Items {
        items: api.house.participants(&room),
    }))
}

async fn show_participant(
    State(api): State<Api>,
    Path((room, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    let unknown = || {
        let detail = "nobody of this id is here, and none of this id failed to connect lately; \
                      GET /api/v1/rooms/{room}/participants lists who is";
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    let id = id.parse().map_err(|_| unknown())?;
    let found = api.house.participant(room, id).await;
    found.ok().flatten().map(fresh).ok_or_else(unknown)
}

async fn start(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    let id = api.house.start_broadcast(&room).map_err(refused)?;
    #[derive(Serialize)]
    struct Started {
        id: BroadcastId,
    }
    Ok((StatusCode::CREATED, Json(Started { id })).into_response())
}

async fn stop(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    api.house.stop_broadcast(&room).map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is not named stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramChange {
    layout: Option<String>,
    transition: Option<Transition>,
    passthrough: Option<bool>,
    /// `null` shows the program again.
    #[serde(default, deserialize_with = "named")]
    slate: Option<Option<String>>,
    /// `null` lets whoever speaks be large again.
    #[serde(default, deserialize_with = "named")]
    pinned: Option<Option<ParticipantId>>,
}

/// What would be another than in the program now.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewChange {
    layout: Option<String>,
    #[serde(default, deserialize_with = "named")]
    slate: Option<Option<String>>,
    #[serde(default, deserialize_with = "named")]
    pinned: Option<Option<ParticipantId>>,
    /// Who would be taken into the program, or out of it.
    #[serde(default)]
    on_stage: BTreeMap<ParticipantId, bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParticipantChange {
    on_stage: Option<bool>,
    /// In the order of the stage; 0 is the first.
    place: Option<usize>,
}

/// Tells `null` from what is not there.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

async fn direct(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Result<Json<ProgramChange>, JsonRejection>,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    let Json(change) = body.map_err(unreadable)?;
    if api.house.room(&room).is_none() {
        return Err(no_room(&room));
    }
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
    api.house
        .room(&room)
        .map(fresh)
        .ok_or_else(|| no_room(&room))
}

async fn preview(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Result<Json<PreviewChange>, JsonRejection>,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    let Json(change) = body.map_err(unreadable)?;
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

async fn show_preview(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    api.previewed(&room).map(fresh)
}

async fn end_preview(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    api.previewed(&room)?;
    let end = vec![Command::EndPreview];
    api.house.direct(&room, end).map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The program becomes what the preview shows.
async fn take(
    State(api): State<Api>,
    Path(room): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    api.previewed(&room)?;
    let take = vec![Command::Take];
    api.house.direct(&room, take).map_err(refused)?;
    api.house
        .room(&room)
        .map(fresh)
        .ok_or_else(|| no_room(&room))
}

async fn change_participant(
    State(api): State<Api>,
    Path((room, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Json<ParticipantChange>, JsonRejection>,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    api.may(&headers, &room, Role::may_direct)?;
    let Json(change) = body.map_err(unreadable)?;
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
        place,
    });
    let commands = on_stage.into_iter().chain(place);
    api.house
        .direct(&room, commands.collect())
        .map_err(refused)?;
    let mut all = api.house.participants(&room).into_iter();
    let changed = all.find(|participant| participant.id == id);
    changed
        .map(fresh)
        .ok_or_else(|| refused(Refused::NoSuchParticipant))
}

async fn list_layouts(State(api): State<Api>) -> Response {
    fresh(Items {
        items: api.house.layouts(),
    })
}

async fn list_recordings(State(api): State<Api>) -> Result<Response, Problem> {
    let items = api.house.recordings().await.map_err(storage_away)?;
    Ok(fresh(Items { items }))
}

async fn show_recording(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    api.recording(&id).await.map(fresh)
}

async fn delete_recording(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let recording = api.recording(&id).await?;
    api.may(&headers, &recording.room, Role::may_direct)?;
    if recording.state == "recording" {
        let detail = "this broadcast is still live; stop it first";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    api.house
        .delete_recording(recording.id)
        .await
        .map_err(storage_away)?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    fn may(
        &self,
        headers: &HeaderMap,
        room: &RoomId,
        allowed: fn(Role) -> bool,
    ) -> Result<(), Problem> {
        self.authority
            .check(bearer(headers), room, allowed)
            .map(drop)
            .map_err(denied)
    }

    fn previewed(&self, room: &RoomId) -> Result<PreviewView, Problem> {
        let previewed = self.house.previewed(room);
        previewed.ok_or_else(|| refused(Refused::NoPreview))
    }

    async fn recording(&self, id: &str) -> Result<RecordingView, Problem> {
        let unknown = || {
            let detail = "there is no such recording; GET /api/v1/recordings lists them";
            Problem::new(StatusCode::NOT_FOUND, detail)
        };
        let id = id.parse().map_err(|_| unknown())?;
        let found = self.house.recording(id).await.map_err(storage_away)?;
        found.ok_or_else(unknown)
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(super) fn room_id(text: &str) -> Result<RoomId, Problem> {
    text.parse().map_err(|e: crate::room::id::InvalidRoomId| {
        Problem::new(StatusCode::NOT_FOUND, e.to_string())
    })
}

fn no_room(room: &RoomId) -> Problem {
    let detail = format!("there is no room {room}; it comes to be when someone publishes into it");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

pub(super) fn denied(denied: Denied) -> Problem {
    match denied {
        Denied::NoToken | Denied::BadToken(_) => {
            Problem::new(StatusCode::UNAUTHORIZED, denied.to_string())
                .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        }
        Denied::OtherRoom | Denied::RoleMayNot(_) => {
            Problem::new(StatusCode::FORBIDDEN, denied.to_string())
        }
    }
}

fn refused(refused: Refused) -> Problem {
    let status = match refused {
        Refused::Full(_) | Refused::TooCostly(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::MayNotPublish(_) | Refused::MayNotAttend(_) => StatusCode::FORBIDDEN,
        Refused::NoSuchLayout { .. } | Refused::BadSlate => StatusCode::UNPROCESSABLE_ENTITY,
        Refused::NoSuchParticipant | Refused::NoPreview => StatusCode::NOT_FOUND,
        Refused::AlreadyLive | Refused::NotLive | Refused::StaleSession => StatusCode::CONFLICT,
    };
    Problem::new(status, refused.to_string())
}

fn unreadable(rejection: JsonRejection) -> Problem {
    Problem::new(rejection.status(), rejection.body_text())
}

fn storage_away(reason: String) -> Problem {
    let detail = format!("the recordings' storage does not answer ({reason}); try again later");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("10"))
}

/// State of this moment: no cache may keep it.
fn fresh(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
