//! `/rtc/{room}`: a speaker's session. They publish by WHIP, and see and hear all others here: the
//! server offers, the client answers, for as long as tracks come and go.
//!
//! Read [`messages`] (what is said over the WebSocket), [`attendance`] (one session's life) and
//! [`allowance`] (how much one may say). Whoever loses the socket or changes the network has a
//! while to come back with the `resume` key of their welcome, and loses neither place nor slots.

pub mod allowance;
pub mod attendance;
pub mod messages;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{broadcast, mpsc, watch};

use self::attendance::Attendance;
use self::messages::{ClientMessage, ServerMessage};
use super::core::verdict::Verdict;
use super::roster::Roster;
use super::whip::Refused;
use super::whip::problems::no_such;
use super::whip::resource::room_id;
use super::{ConnectionId, Rtc};
use crate::room::{ParticipantId, RoomId};

/// Who connects must say at once who they are.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// The longest message that a client sends: an answer for a room full of speakers.
const MAX_MESSAGE: usize = 256 * 1024;

/// Decides who attends, and tells what happens in the room.
pub trait Stage: Send + Sync + 'static {
    fn enter(&self, request: EnterRequest<'_>) -> Result<Entered, Refused>;
}

/// Someone at the stage's door.
#[derive(Debug, Clone)]
pub struct EnterRequest<'a> {
    pub room: RoomId,
    pub token: Option<&'a str>,
    /// As in WHIP: what others see, where no token says it; and the same at every visit.
    pub name: Option<String>,
    pub identity: Option<String>,
}

pub struct Entered {
    pub participant: ParticipantId,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub said: broadcast::Receiver<Arc<Said>>,
    pub seat: Box<dyn Seat>,
}

/// A place on the stage; dropping it leaves.
pub trait Seat: Send + Sync {
    /// To all others in the room.
    fn say(&self, said: Said);
    /// Why the place is not this session's any more.
    fn lost(&self) -> Option<Lost>;
    /// The session's connection, from now on.
    fn connects(&self, connection: ConnectionId);
    fn failed(&self, verdict: Verdict);
}

/// Why a place is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another session of the same participant took it.
    Taken,
    /// A producer took the participant out of the room.
    Removed,
}

/// A message to the room: chat, a reaction, a raised hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub from: ParticipantId,
    pub topic: String,
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a place is kept for who lost the socket.
    pub resume_within: Duration,
}

#[derive(Clone)]
struct Sessions {
    stage: Arc<dyn Stage>,
    rtc: Rtc,
    settings: Arc<Settings>,
    resumable: Resumable,
}

/// The sessions that a new socket may take over, by their secret keys.
#[derive(Clone, Default)]
pub struct Resumable(Arc<Mutex<BTreeMap<String, mpsc::Sender<WebSocket>>>>);

impl Resumable {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::Sender<WebSocket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &str) -> Option<mpsc::Sender<WebSocket>> {
        self.lock().get(key).cloned()
    }
}

pub fn routes(stage: Arc<dyn Stage>, rtc: Rtc, settings: Settings) -> Router {
    let sessions = Sessions {
        stage,
        rtc,
        settings: Arc::new(settings),
        resumable: Resumable::default(),
    };
    Router::new()
        .route("/rtc/{room}", get(connect))
        .with_state(sessions)
}

async fn connect(
    State(sessions): State<Sessions>,
    room: Result<Path<String>, PathRejection>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let room = room.map_err(|e| no_such(e.body_text()));
    match room.and_then(|Path(room)| room_id(&room)) {
        Err(problem) => problem.into_response(),
        Ok(room) => upgrade
            .max_message_size(MAX_MESSAGE)
            .on_upgrade(move |socket| attend(sessions, room, socket)),
    }
}

async fn attend(sessions: Sessions, room: RoomId, mut socket: WebSocket) {
    let first = tokio::time::timeout(JOIN_WITHIN, next(&mut socket)).await;
    let join = match first {
        Ok(Some(Ok(ClientMessage::Join(join)))) => join,
        Ok(None) => return,
        Ok(Some(Err(detail))) => return refuse(socket, 400, detail).await,
        _ => {
            let detail = "the first message is {\"type\": \"join\", …}, within ten seconds";
            return refuse(socket, 400, detail.to_owned()).await;
        }
    };
    let resumed = join.resume.as_deref();
    if let Some(session) = resumed.and_then(|key| sessions.resumable.find(key)) {
        match session.send(socket).await {
            Ok(()) => return,
            // It ended this moment: then it begins anew.
            Err(unsent) => socket = unsent.0,
        }
    }
    let request = EnterRequest {
        room: room.clone(),
        token: join.token.as_deref(),
        name: join.name,
        identity: join.identity,
    };
    match sessions.stage.enter(request) {
        Err(refused) => {
            let (status, detail) = refused.told();
            refuse(socket, status, detail).await;
        }
        Ok(entered) => {
            let Sessions {
                rtc,
                settings,
                resumable,
                ..
            } = sessions;
            let attendance = Attendance::new(room, entered, rtc, settings, resumable);
            attendance.run(socket).await;
        }
    }
}

/// The next message that means something; `None` when the socket is gone.
async fn next(socket: &mut WebSocket) -> Option<Result<ClientMessage, String>> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return Some(ClientMessage::read(&text)),
            Message::Close(_) => return None,
            Message::Binary(_) => return Some(Err("messages are JSON text".to_owned())),
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

async fn refuse(mut socket: WebSocket, status: u16, detail: String) {
    let _ = socket
        .send(ServerMessage::Refused { status, detail }.text())
        .await;
    let _ = socket.send(Message::Close(None)).await;
}
