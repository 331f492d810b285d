//! `/api/v1/events`: what happens in the rooms, as it happens, by Server-Sent Events (WHATWG HTML
//! §9.2). Who comes back with `Last-Event-ID` gets what they missed.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Caller, Claims};
use super::caller::room_id;
use super::core::journal::Journal;
use super::openapi::{PROBLEM, Refusals};
use crate::problem::Problem;
use crate::room::{
    BroadcastId, Event, MediaKind, ParticipantId, Role, Room, RoomId, TrackNumber, TrackSource,
};

/// Kept for who comes back: some hours of a busy server.
const KEPT: usize = 20_000;
/// Streams at most; each costs a connection and little else.
const MAX_STREAMS: usize = 1_000;
/// Read from the journal under its lock.
const AT_ONCE: usize = 100;
/// Proxies cut what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happened in a room, as producers are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type")]
pub enum Happened {
    #[serde(rename = "participant.joined")]
    ParticipantJoined {
        participant: ParticipantId,
        /// What they are known by over several visits: the `sub` of their token.
        identity: Option<String>,
        name: Option<String>,
        role: Option<Role>,
    },
    /// By another connection.
    #[serde(rename = "participant.returned")]
    ParticipantReturned { participant: ParticipantId },
    /// Vanished without a word, and may come back.
    #[serde(rename = "participant.away")]
    ParticipantAway { participant: ParticipantId },
    #[serde(rename = "participant.left")]
    ParticipantLeft { participant: ParticipantId },
    /// By a producer.
    #[serde(rename = "participant.removed")]
    ParticipantRemoved { participant: ParticipantId },
    /// By a producer: all that is muted of theirs now.
    #[serde(rename = "participant.muted")]
    ParticipantMuted {
        participant: ParticipantId,
        sources: Vec<TrackSource>,
    },
    /// By a producer.
    #[serde(rename = "participant.renamed")]
    ParticipantRenamed {
        participant: ParticipantId,
        identity: Option<String>,
        name: Option<String>,
    },
    /// By a producer.
    #[serde(rename = "participant.role")]
    ParticipantRole {
        participant: ParticipantId,
        role: Role,
    },
    /// What they publish arrives badly; `null` once it does well again.
    #[serde(rename = "participant.quality")]
    ParticipantQuality {
        participant: ParticipantId,
        trouble: Option<Trouble>,
    },
    #[serde(rename = "track.started")]
    TrackStarted {
        participant: ParticipantId,
        track: TrackNumber,
        kind: MediaKind,
        source: TrackSource,
    },
    #[serde(rename = "track.muted")]
    TrackMuted {
        participant: ParticipantId,
        track: TrackNumber,
        muted: bool,
    },
    /// It crashed the program twice.
    #[serde(rename = "track.kept_out")]
    TrackKeptOut {
        participant: ParticipantId,
        track: TrackNumber,
    },
    #[serde(rename = "track.ended")]
    TrackEnded {
        participant: ParticipantId,
        track: TrackNumber,
    },
    /// `null` after a while of silence.
    #[serde(rename = "speaker.changed")]
    SpeakerChanged { participant: Option<ParticipantId> },
    #[serde(rename = "layout.changed")]
    LayoutChanged { layout: String },
    #[serde(rename = "passthrough.changed")]
    PassthroughChanged { passthrough: bool },
    #[serde(rename = "slate.changed")]
    SlateChanged { slate: Option<String> },
    #[serde(rename = "pinned.changed")]
    PinnedChanged { participant: Option<ParticipantId> },
    #[serde(rename = "stage.changed")]
    StageChanged {
        participant: ParticipantId,
        on_stage: bool,
    },
    #[serde(rename = "order.changed")]
    OrderChanged,
    #[serde(rename = "preview.changed")]
    PreviewChanged { open: bool },
    #[serde(rename = "broadcast.started")]
    BroadcastStarted { broadcast: BroadcastId },
    #[serde(rename = "broadcast.stopped")]
    BroadcastStopped { broadcast: BroadcastId },
    /// The largest rendition shows the next smaller one, for the machine is too busy for both.
    #[serde(rename = "broadcast.shed")]
    BroadcastShed { broadcast: BroadcastId, shed: bool },
    /// It can be played.
    #[serde(rename = "recording.completed")]
    RecordingCompleted { recording: BroadcastId },
}

/// Why what somebody publishes arrives badly
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// One packet of twenty, or more, is lost for good.
    Loss,
    /// A round trip takes 600 ms or more.
    Delay,
}

impl Happened {
    /// All values of `type`.
    pub const TYPES: &[&str] = &[
        "participant.joined",
        "participant.returned",
        "participant.away",
        "participant.left",
        "participant.removed",
        "participant.muted",
        "participant.renamed",
        "participant.role",
        "participant.quality",
        "track.started",
        "track.muted",
        "track.kept_out",
        "track.ended",
        "speaker.changed",
        "layout.changed",
        "passthrough.changed",
        "slate.changed",
        "pinned.changed",
        "stage.changed",
        "order.changed",
        "preview.changed",
        "broadcast.started",
        "broadcast.stopped",
        "broadcast.shed",
        "recording.completed",
    ];

    /// `None` of what is between the room and the server alone.
    pub fn of(event: &Event, room: &Room) -> Option<Self> {
        let who = |id: ParticipantId| room.participants().into_iter().find(|one| one.id == id);
        Some(match event.clone() {
            Event::ParticipantJoined { participant } => Self::ParticipantJoined {
                participant,
                identity: who(participant).and_then(|one| one.identity.clone()),
                name: who(participant).map(|one| one.name.clone()),
                role: who(participant).map(|one| one.role),
            },
            Event::ParticipantReturned { participant, .. } => {
                Self::ParticipantReturned { participant }
            }
            Event::ParticipantAway { participant } => Self::ParticipantAway { participant },
            Event::ParticipantLeft { participant } => Self::ParticipantLeft { participant },
            Event::ParticipantRemoved { participant, .. } => {
                Self::ParticipantRemoved { participant }
            }
            Event::ParticipantMuted {
                participant,
                sources,
            } => Self::ParticipantMuted {
                participant,
                sources: sources.into_iter().collect(),
            },
            Event::RoleChanged { participant, role } => Self::ParticipantRole { participant, role },
            Event::ParticipantRenamed { participant } => Self::ParticipantRenamed {
                participant,
                identity: who(participant).and_then(|one| one.identity.clone()),
                name: who(participant).map(|one| one.name.clone()),
            },
            Event::TrackStarted {
                participant,
                number,
                track,
                ..
            } => Self::TrackStarted {
                participant,
                track: number,
                kind: track.kind,
                source: track.source,
            },
            Event::TrackMuted {
                participant,
                number,
                muted,
                ..
            } => Self::TrackMuted {
                participant,
                track: number,
                muted,
            },
            Event::TrackKeptOut {
                participant,
                number,
                ..
            } => Self::TrackKeptOut {
                participant,
                track: number,
            },
            Event::TrackEnded {
                participant,
                number,
                ..
            } => Self::TrackEnded {
                participant,
                track: number,
            },
            Event::SpeakerChanged(participant) => Self::SpeakerChanged { participant },
            Event::LayoutChanged(layout) => Self::LayoutChanged { layout },
            Event::PassthroughChanged(passthrough) => Self::PassthroughChanged { passthrough },
            Event::SlateChanged(slate) => Self::SlateChanged { slate },
            Event::Pinned(participant) => Self::PinnedChanged { participant },
            Event::StageChanged { participant, on } => Self::StageChanged {
                participant,
                on_stage: on,
            },
            Event::OrderChanged => Self::OrderChanged,
            Event::PreviewChanged { on } => Self::PreviewChanged { open: on },
            Event::BroadcastStarted(broadcast) => Self::BroadcastStarted { broadcast },
            Event::BroadcastStopped(broadcast) => Self::BroadcastStopped { broadcast },
            Event::ParticipantAttends { .. }
            | Event::PublishingEnded { .. }
            | Event::BroadcastDue => return None,
        })
    }
}

/// One entry.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Told {
    pub at: DateTime<Utc>,
    pub room: RoomId,
    #[serde(flatten)]
    pub happened: Happened,
}

/// Where all rooms tell what happens. Telling never waits for who listens.
pub struct News {
    /// Numbers count from the server's start; this tells one start from another.
    since_ms: u128,
    journal: Mutex<Journal<Arc<Told>>>,
    /// `None`: the server leaves.
    newest: watch::Sender<Option<u64>>,
    streams: Arc<Semaphore>,
}

impl Default for News {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            since_ms: since.unwrap_or_default().as_millis(),
            journal: Mutex::new(Journal::new(KEPT)),
            newest: watch::Sender::new(Some(0)),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }
}

impl News {
    pub fn tell(&self, room: &RoomId, happened: Happened) {
        let told = Told {
            at: Utc::now(),
            room: room.clone(),
            happened,
        };
        let number = self.journal().push(Arc::new(told));
        self.newest.send_if_modified(|newest| match newest {
            Some(newest) if *newest < number => {
                *newest = number;
                true
            }
            _ => false,
        });
    }

    /// Reads what happens from now on.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            newest: self.newest.subscribe(),
            number: self.journal().newest(),
            news: self.clone(),
        }
    }

    /// The number of what was told last.
    pub fn newest(&self) -> u64 {
        self.journal().newest()
    }

    /// Whoever comes back does not learn this name any more.
    pub fn forget(&self, forgotten: &str) {
        for told in self.journal().iter_mut() {
            let is_them = match &told.happened {
                Happened::ParticipantJoined { identity, .. }
                | Happened::ParticipantRenamed { identity, .. } => {
                    identity.as_deref() == Some(forgotten)
                }
                _ => false,
            };
            if !is_them {
                continue;
            }
            let mut masked = Told::clone(told);
            if let Happened::ParticipantJoined { identity, name, .. }
            | Happened::ParticipantRenamed { identity, name, .. } = &mut masked.happened
            {
                (*identity, *name) = (None, None);
            }
            *told = Arc::new(masked);
        }
    }

    /// Ends all streams; their clients come back to the next server.
    pub fn close(&self) {
        self.newest.send_replace(None);
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.since_ms)
    }

    /// The number in an id of ours.
    fn number(&self, id: &str) -> Option<u64> {
        let (since, number) = id.split_once('-')?;
        (since.parse() == Ok(self.since_ms)).then(|| number.parse().ok())?
    }

    fn journal(&self) -> MutexGuard<'_, Journal<Arc<Told>>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who reads what happens, at their own pace.
pub struct Reader {
    news: Arc<News>,
    newest: watch::Receiver<Option<u64>>,
    /// What was read last.
    number: u64,
}

pub enum Read {
    /// With their numbers.
    Events(Vec<(u64, Arc<Told>)>),
    /// More happened than is held for who reads slowly; what comes next is what happens from now on.
    Missed,
}

impl Reader {
    /// Of what was read last, or lost.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// `None` when all is read and the server leaves.
    pub async fn next(&mut self) -> Option<Read> {
        loop {
            let is_over = self.newest.borrow_and_update().is_none();
            let found = self.news.journal().after(self.number, AT_ONCE);
            let Some(found) = found else {
                self.number = self.news.journal().newest();
                return Some(Read::Missed);
            };
            if let Some((number, _)) = found.last() {
                self.number = *number;
                return Some(Read::Events(found));
            }
            if is_over {
                return None;
            }
            self.newest.changed().await.ok()?;
        }
    }
}

pub fn routes(news: Arc<News>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(listen))
        .with_state(news)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Of this room alone; else of all, for who holds a token for all.
    room: Option<String>,
}

/// What happens in the rooms, as it happens
///
/// Server-Sent Events, each with an `id`: who comes back with the header `Last-Event-ID` gets what they
/// missed, or `{"type": "missed"}` where that is not held any more. A stream ends with the token it was
/// opened with.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    params(Filter, ("last-event-id" = Option<String>, Header, description = "The last that was read")),
    responses(
        (status = 200, body = Told, content_type = "text/event-stream"),
        Refusals,
        (status = 503, description = "too many listen", body = Problem, content_type = PROBLEM)
    )
)]
async fn listen(
    State(news): State<Arc<News>>,
    caller: Caller,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let room = filter.room.as_deref().map(room_id).transpose()?;
    caller.directs(room.as_ref())?;
    let streams = news.streams.clone();
    let place = streams.try_acquire_owned().map_err(|_| {
        let detail = "too many listen already; close streams that nobody reads";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("10"))
    })?;
    let last_id = headers.get("last-event-id");
    let last_id = last_id.and_then(|id| id.to_str().ok());
    let stream = Listener::new(news, room, last_id, place).stream();
    let stream = stream.take_until(expiry(caller.claims().cloned()));
    let kept_alive = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // As nginx understands it.
    let unbuffered = [("x-accel-buffering", "no")];
    Ok((unbuffered, kept_alive).into_response())
}

/// A stream lasts no longer than the token it was opened with.
async fn expiry(claims: Option<Claims>) {
    let Some(claims) = claims else {
        return std::future::pending().await;
    };
    // A key that never expires does so after the end of time.
    let Some(at) = UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp)) else {
        return std::future::pending().await;
    };
    tokio::time::sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await;
}

struct Listener {
    reader: Reader,
    room: Option<RoomId>,
    /// Something between was lost, and that is to be told.
    missed: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn new(
        news: Arc<News>,
        room: Option<RoomId>,
        last_id: Option<&str>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let known = last_id.map(|id| news.number(id));
        let mut reader = news.reader();
        reader.number = known.flatten().unwrap_or(reader.number);
        Self {
            reader,
            room,
            missed: known == Some(None),
            _place: place,
        }
    }

    fn stream(self) -> impl Stream<Item = Result<SseEvent, Infallible>> {
        let batches = stream::unfold(self, |mut listener| async {
            let batch = listener.next().await?;
            Some((stream::iter(batch), listener))
        });
        batches.flatten().map(Ok)
    }

    /// `None` when the server leaves.
    async fn next(&mut self) -> Option<Vec<SseEvent>> {
        loop {
            if std::mem::take(&mut self.missed) {
                return Some(vec![self.gap()]);
            }
            match self.reader.next().await? {
                Read::Missed => self.missed = true,
                Read::Events(found) => {
                    let is_wanted =
                        |told: &Told| self.room.as_ref().is_none_or(|r| *r == told.room);
                    let wanted = found.iter().filter(|(_, told)| is_wanted(told));
                    let batch: Vec<_> = wanted.filter_map(|(n, told)| self.sse(*n, told)).collect();
                    if !batch.is_empty() {
                        return Some(batch);
                    }
                }
            }
        }
    }

    fn sse(&self, number: u64, told: &Told) -> Option<SseEvent> {
        let event = SseEvent::default().id(self.reader.news.id(number));
        event.json_data(told).ok()
    }

    /// So that who listens asks for the state anew.
    fn gap(&self) -> SseEvent {
        let data = r#"{"type":"missed","detail":"what happened before is not held any more: read the rooms again"}"#;
        let id = self.reader.news.id(self.reader.number);
        SseEvent::default().id(id).data(data)
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn who_is_forgotten_is_not_in_memory_either() {
        let (news, room) = (News::default(), "show".parse().expect("a name"));
        let joins = |identity: &str| Happened::ParticipantJoined {
            participant: ParticipantId(uuid::Uuid::nil()),
            identity: Some(identity.to_owned()),
            name: Some(identity.to_uppercase()),
            role: None,
        };
        news.tell(&room, joins("ada"));
        news.tell(&room, joins("bob"));
        news.forget("ada");
        let told = news.journal().after(0, 9).expect("all of it");
        let told: Vec<_> = told.iter().map(|(_, told)| format!("{told:?}")).collect();
        assert!(!told[0].contains("ada") && !told[0].contains("ADA"));
        assert!(told[1].contains("bob") && told[1].contains("BOB"));
    }

    #[test]
    fn all_types_are_listed() {
        let schema = serde_json::json!(Happened::schema());
        let variants = schema["oneOf"].as_array().expect("variants");
        let of = |variant: &serde_json::Value| {
            let direct = &variant["properties"]["type"]["enum"][0];
            direct.as_str().map(str::to_owned).expect("its type")
        };
        let described: Vec<String> = variants.iter().map(of).collect();
        assert_eq!(described, Happened::TYPES);
    }
}
