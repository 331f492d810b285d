//! Rooms that were made by the API, and what was set for them. Asked at every door, so held in memory too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::Row;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::api::{Body, House, change_of, fields_of, fresh, no_room};
use super::audit::Change;
use super::auth::Caller;
use super::bans::Bans;
use super::caller::{Directed, room_id};
use super::db::{self, Db, away};
use super::fields::whole;
use super::openapi::{Changed, Later, NotThere, Refusals, Unreadable};
use super::roles::Roles;
use super::tags;
use super::views::RoomView;
use crate::problem::Problem;
use crate::room::{FIRST_LAYOUT, RoomId, Transition};

/// More are refused. A room that nobody is in is a row, and little else.
const MAX_ROOMS: usize = 1_000_000;
const MAX_PARTICIPANTS: u16 = 1000;
/// A century.
const MAX_KEPT_DAYS: u16 = 36_500;

/// What a room is like. What is not named is as here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"layout": "side-by-side", "transition": "cut", "private": false, "keep_days": 30}))]
pub struct RoomSettings {
    /// How its programs are arranged at first.
    #[schema(default = "grid")]
    pub layout: String,
    /// How its programs change at first.
    pub transition: Transition,
    /// Whether a picture that is alone on stage may be shown as its publisher encoded it; `null`: as
    /// `program.passthrough` says.
    pub passthrough: Option<bool>,
    /// `auto`: from the first who publishes to the last. `manual`: as it is told.
    pub broadcast: Begins,
    /// The renditions of its broadcasts: one of `GET /api/v1/ladders`; `null`: as `program.ladder` says.
    pub ladder: Option<String>,
    /// Whether its broadcasts are recorded, where the server records at all.
    pub record: bool,
    /// Who watches its broadcasts, or what they leave behind, needs a token for the room.
    pub private: bool,
    /// For so many days after their end its recordings are kept; `null`: as `recording.keep_for` says.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 36500)]
    pub keep_days: Option<u16>,
    /// When its next broadcast starts by itself, whoever is there. Then it is `null` again.
    pub starts_at: Option<DateTime<Utc>>,
    /// Participants at most; `null`: as `room.max_participants` says.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_participants: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Begins {
    Auto,
    Manual,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            layout: FIRST_LAYOUT.to_owned(),
            transition: Transition::default(),
            passthrough: None,
            broadcast: Begins::Auto,
            ladder: None,
            record: true,
            private: false,
            keep_days: None,
            starts_at: None,
            max_participants: None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct MadeRoom {
    pub settings: RoomSettings,
    /// Counts its changes.
    pub version: i64,
    pub created_at: DateTime<Utc>,
}

pub struct MadeRooms {
    db: Db,
    all: RwLock<All>,
    /// One change at a time: each is of what the one before left.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct All {
    rooms: BTreeMap<RoomId, Arc<MadeRoom>>,
    /// Whose broadcast starts by itself, and when.
    starts: BTreeSet<(DateTime<Utc>, RoomId)>,
}

impl All {
    fn insert(&mut self, id: RoomId, made: Arc<MadeRoom>) {
        self.remove(&id);
        if let Some(at) = made.settings.starts_at {
            self.starts.insert((at, id.clone()));
        }
        self.rooms.insert(id, made);
    }

    fn remove(&mut self, id: &RoomId) {
        let gone = self.rooms.remove(id);
        if let Some(at) = gone.and_then(|gone| gone.settings.starts_at) {
            self.starts.remove(&(at, id.clone()));
        }
    }
}

impl MadeRooms {
    pub async fn open(db: Db) -> Result<Self, sqlx::Error> {
        let rows = sqlx::query("SELECT id, settings, version, created_ms FROM rooms");
        let mut all = All::default();
        for row in rows.fetch_all(&db.pool).await? {
            let (id, settings): (String, String) = (row.try_get("id")?, row.try_get("settings")?);
            let made = MadeRoom {
                // Of another version of this server: what it does not know is left out.
                settings: serde_json::from_str(&settings).unwrap_or_default(),
                version: row.try_get("version")?,
                created_at: db::time(row.try_get("created_ms")?),
            };
            if let Ok(id) = id.parse() {
                all.insert(id, Arc::new(made));
            }
        }
        Ok(Self {
            db,
            all: RwLock::new(all),
            turn: tokio::sync::Mutex::default(),
        })
    }

    pub fn find(&self, id: &RoomId) -> Option<Arc<MadeRoom>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.rooms.get(id).cloned()
    }

    /// Whose broadcast was to start by itself by now, and when.
    pub fn due(&self, now: DateTime<Utc>) -> Vec<(DateTime<Utc>, RoomId)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let due = all.starts.iter().take_while(|(at, _)| *at <= now);
        due.cloned().collect()
    }

    /// It starts by itself no more, unless another time was set since.
    pub async fn forget_start(&self, id: &RoomId, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let _turn = self.turn.lock().await;
        let made = self.find(id);
        match made.filter(|made| made.settings.starts_at == Some(at)) {
            None => Ok(()),
            Some(made) => {
                let settings = RoomSettings {
                    starts_at: None,
                    ..made.settings.clone()
                };
                self.put(id, settings).await.map(drop)
            }
        }
    }

    /// In the order of their names, from behind one.
    pub fn after(&self, cursor: Option<&RoomId>, most: usize) -> Vec<RoomId> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let names = all.rooms.range((from, Bound::Unbounded)).map(|(id, _)| id);
        names.take(most).cloned().collect()
    }

    fn len(&self) -> usize {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.rooms.len()
    }

    async fn put(&self, id: &RoomId, settings: RoomSettings) -> Result<Arc<MadeRoom>, sqlx::Error> {
        let before = self.find(id);
        let made = Arc::new(MadeRoom {
            settings,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            created_at: before.map_or_else(Utc::now, |before| before.created_at),
        });
        sqlx::query(
            "INSERT INTO rooms (id, settings, version, created_ms) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET settings = $2, version = $3",
        )
        .bind(id.to_string())
        .bind(serde_json::json!(made.settings).to_string())
        .bind(made.version)
        .bind(made.created_at.timestamp_millis())
        .execute(&self.db.pool)
        .await?;
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(id.clone(), made.clone());
        Ok(made)
    }

    async fn remove(&self, id: &RoomId) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM rooms WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.db.pool)
            .await?;
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(id);
        Ok(())
    }
}

#[derive(Clone)]
struct Api {
    house: Arc<dyn House>,
    made: Arc<MadeRooms>,
    bans: Arc<Bans>,
    roles: Arc<Roles>,
}

pub fn routes(
    house: Arc<dyn House>,
    made: Arc<MadeRooms>,
    bans: Arc<Bans>,
    roles: Arc<Roles>,
) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(show, make, change, remove))
        .with_state(Api {
            house,
            made,
            bans,
            roles,
        })
}

/// A room; a private one for who holds a token for it
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{room}",
    security((), ("token" = [])),
    tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 200, body = RoomView), Refusals, NotThere)
)]
async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(room): Path<String>,
) -> Result<Response, Problem> {
    let room = room_id(&room)?;
    let view = api.house.room(&room).ok_or_else(|| no_room(&room))?;
    if view.settings.private {
        caller.enters(&room)?;
    }
    Ok(api.tagged(&room, fresh(view)))
}

/// Makes a room, or sets all its settings anew
///
/// A room that was made stays until it is deleted, over restarts; one that came to be by use becomes one
/// of these. `ETag` counts the changes: with `If-Match` nothing is overwritten that was not seen, with
/// `If-None-Match: *` nothing at all.
#[utoipa::path(
    put,
    path = "/api/v1/rooms/{room}",
    tag = "rooms",
    params(("room" = RoomId, Path)),
    request_body = RoomSettings,
    responses(
        (status = 200, body = RoomView), (status = 201, body = RoomView),
        Refusals, NotThere, Changed, Unreadable, Later
    )
)]
async fn make(
    State(api): State<Api>,
    Directed(room): Directed,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let settings: RoomSettings = change_of(body)?;
    let _turn = api.made.turn.lock().await;
    let is_new = api.is_as_expected(&headers, &room)?.is_none();
    if is_new && api.made.len() >= MAX_ROOMS {
        let detail = format!("there are {MAX_ROOMS} rooms already; delete one first");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    api.set(&room, settings, status).await
}

/// Changes settings of a room that was made; what is not named stays as it is
///
/// The layout, the ladder, the transition and passthrough of a room that is live are those that its next broadcast
/// begins with.
#[utoipa::path(
    patch,
    path = "/api/v1/rooms/{room}",
    tag = "rooms",
    params(("room" = RoomId, Path)),
    request_body = RoomSettings,
    responses((status = 200, body = RoomView), Refusals, NotThere, Changed, Unreadable, Later)
)]
async fn change(
    State(api): State<Api>,
    Directed(room): Directed,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let fields = fields_of(body)?;
    let _turn = api.made.turn.lock().await;
    let made = api.is_as_expected(&headers, &room)?;
    let made = made.ok_or_else(|| not_made(&room))?;
    let mut whole: Map<String, Value> = match serde_json::json!(made.settings) {
        Value::Object(whole) => whole,
        _ => Map::new(),
    };
    whole.extend(fields);
    let settings = serde_json::from_value(whole.into());
    let settings =
        settings.map_err(|e| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, e.to_string()))?;
    api.set(&room, settings, StatusCode::OK).await
}

/// Deletes a room, with its bans and the roles that were given in it: all have to leave, and its broadcast ends. Recordings stay
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{room}",
    tag = "rooms",
    params(("room" = RoomId, Path)),
    responses((status = 204), Refusals, NotThere, Changed, Later)
)]
async fn remove(
    State(api): State<Api>,
    Directed(room): Directed,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let _turn = api.made.turn.lock().await;
    api.is_as_expected(&headers, &room)?;
    let before = api.house.room(&room).ok_or_else(|| no_room(&room))?;
    api.made.remove(&room).await.map_err(away)?;
    for ban in api.bans.of(&room) {
        api.bans.lift(&room, &ban.identity).await.map_err(away)?;
    }
    api.roles.forget(&room).await.map_err(away)?;
    api.house.close_room(&room);
    Ok(Change::default().from(before).on(StatusCode::NO_CONTENT))
}

impl Api {
    async fn set(
        &self,
        room: &RoomId,
        settings: RoomSettings,
        status: StatusCode,
    ) -> Result<Response, Problem> {
        self.check(&settings)?;
        let before = self.house.room(room);
        let made = self.made.put(room, settings).await.map_err(away)?;
        self.house.configure(room, &made.settings);
        let after = self.house.room(room).ok_or_else(|| no_room(room))?;
        let change = Change::default().from(before).to(&after);
        Ok(change.on(self.tagged(room, (status, fresh(after)))))
    }

    fn check(&self, settings: &RoomSettings) -> Result<(), Problem> {
        let unusable = |detail| Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
        let layouts = self.house.layouts();
        if !layouts.contains(&settings.layout) {
            let (name, known) = (&settings.layout, layouts.join(", "));
            return unusable(format!("there is no layout `{name}`: there are {known}"));
        }
        let ladders = self.house.ladders();
        if let Some(name) = settings
            .ladder
            .as_ref()
            .filter(|name| !ladders.contains(name))
        {
            let known = ladders.join(", ");
            return unusable(format!("there is no ladder `{name}`: there are {known}"));
        }
        for (key, value, most) in [
            (
                "max_participants",
                settings.max_participants,
                MAX_PARTICIPANTS,
            ),
            ("keep_days", settings.keep_days, MAX_KEPT_DAYS),
        ] {
            if value.is_some_and(|value| !(1..=most).contains(&value)) {
                return unusable(format!("{key} is 1 to {most}, or null"));
            }
        }
        Ok(())
    }

    /// The room as it was made, unless the client thinks it is another.
    fn is_as_expected(
        &self,
        headers: &HeaderMap,
        room: &RoomId,
    ) -> Result<Option<Arc<MadeRoom>>, Problem> {
        let made = self.made.find(room);
        let tag = made.as_ref().map(|made| tag(made));
        tags::check(headers, tag.as_deref()).map(|()| made)
    }

    fn tagged(&self, room: &RoomId, answer: impl IntoResponse) -> Response {
        let tag = self.made.find(room).map(|made| tag(&made));
        tags::tagged(tag.as_deref(), answer)
    }
}

fn tag(made: &MadeRoom) -> String {
    format!("\"{}\"", made.version)
}

fn not_made(room: &RoomId) -> Problem {
    let detail = format!("no room {room} was made; PUT /api/v1/rooms/{room} makes it");
    Problem::new(StatusCode::NOT_FOUND, detail)
}
