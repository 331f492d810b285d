//! One session's life: what it is told, what it is offered, and where its slots come from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseCode, Message, WebSocket, close_code};
use tokio::sync::{broadcast, mpsc};
use tracing::{debug, info};
use uuid::Uuid;

use super::allowance::Allowance;
use super::messages::{ClientMessage, IceServerView, ServerMessage, View};
use super::{Entered, Lost, Resumable, Said, Settings};
use crate::room::RoomId;
use crate::rtc::core::sdp::{Subscription, fragment};
use crate::rtc::core::send::track::{self, Slot};
use crate::rtc::core::{Event, ReceivedRtp, SenderReport, Sink, TrackId};
use crate::rtc::crew::Source;
use crate::rtc::roster::Roster;
use crate::rtc::{ConnectionId, IceServer, Rtc};

/// Keeps proxies from closing a quiet socket, and finds dead ones.
const PING_EVERY: Duration = Duration::from_secs(10);
const SILENT_FOR: Duration = Duration::from_secs(25);

/// An answer that does not come in this time never will.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Messages to the room, and messages of all kinds.
const SAY_BURST: f64 = 10.0;
const SAY_PER_SECOND: f64 = 3.0;
const BURST: f64 = 200.0;
const PER_SECOND: f64 = 30.0;

/// Connections that failed in a row, after which the client must join anew.
const MAX_FAILURES: u32 = 5;

/// Events of the transport that wait.
const MAX_EVENTS: usize = 256;

/// A session, from its welcome to its end.
pub struct Attendance {
    room: RoomId,
    key: String,
    entered: Entered,
    rtc: Rtc,
    settings: Arc<Settings>,
    resumable: Resumable,
    sockets: mpsc::Receiver<WebSocket>,
    events: mpsc::Receiver<(u64, Event)>,
    tell: mpsc::Sender<(u64, Event)>,

    subscription: Subscription,
    connection: Option<ConnectionId>,
    /// Counts the peer connections, so that news of an old one is no news.
    epoch: u64,
    offer: u64,
    offered_at: Option<Instant>,
    /// What must be in the next offer came while one was waited for.
    is_stale: bool,
    failures: u32,
    sources: BTreeMap<Slot, Source>,
    views: BTreeMap<Slot, track::View>,
    heights: BTreeMap<String, u32>,
    /// Not told to the transport yet.
    remote_candidates: Vec<String>,
    told: Option<ServerMessage>,
    /// Whether what is said to the client goes beside the media.
    has_channel: bool,
    may_say: Allowance,
    may_send: Allowance,
}

/// Why the loop over one socket ended.
enum End {
    /// It may come back.
    Lost,
    Left,
    Replaced(Box<WebSocket>),
}

impl End {
    /// By the reason for which the client closed the socket. A browser says itself that its page goes
    /// away, also where the page had no time to (RFC 6455 §7.4.1).
    fn of(reason: Option<CloseCode>) -> Self {
        match reason {
            Some(close_code::NORMAL | close_code::AWAY) => End::Left,
            _ => End::Lost,
        }
    }
}

impl Attendance {
    pub fn new(
        room: RoomId,
        entered: Entered,
        rtc: Rtc,
        settings: Arc<Settings>,
        resumable: Resumable,
    ) -> Self {
        let key = Uuid::new_v4().simple().to_string();
        let (take_over, sockets) = mpsc::channel(1);
        resumable.lock().insert(key.clone(), take_over);
        let (tell, events) = mpsc::channel(MAX_EVENTS);
        let now = Instant::now();
        Self {
            subscription: Subscription::new(rtc.credentials(room.as_str()), rand::random),
            room,
            key,
            entered,
            rtc,
            settings,
            resumable,
            sockets,
            events,
            tell,
            connection: None,
            epoch: 0,
            offer: 0,
            offered_at: None,
            is_stale: false,
            failures: 0,
            sources: BTreeMap::new(),
            views: BTreeMap::new(),
            heights: BTreeMap::new(),
            remote_candidates: Vec::new(),
            told: None,
            has_channel: false,
            may_say: Allowance::new(SAY_BURST, SAY_PER_SECOND, now),
            may_send: Allowance::new(BURST, PER_SECOND, now),
        }
    }

    /// Until the participant leaves, or does not come back.
    pub async fn run(mut self, socket: WebSocket) {
        let mut socket = socket;
        let mut resumed = false;
        loop {
            match self.serve(&mut socket, resumed).await {
                End::Left => {
                    let _ = socket.send(Message::Close(None)).await;
                    return;
                }
                End::Replaced(next) => socket = *next,
                End::Lost => {
                    drop(socket);
                    debug!(room = %self.room, participant = %self.entered.participant, "session lost its socket");
                    let wait =
                        tokio::time::timeout(self.settings.resume_within, self.sockets.recv());
                    match wait.await {
                        Ok(Some(next)) => socket = next,
                        _ => return,
                    }
                }
            }
            resumed = true;
        }
    }

    async fn serve(&mut self, socket: &mut WebSocket, resumed: bool) -> End {
        let welcome = ServerMessage::Welcome {
            participant: self.entered.participant,
            resumed,
            resume: self.key.clone(),
            ice_servers: self.rtc.ice_servers().iter().map(view).collect(),
        };
        self.told = None;
        let mut begun = self.send(socket, &welcome).await;
        if resumed && self.connection.is_some() {
            // Another network, perhaps, or a page that lost its connection: new credentials.
            self.subscription
                .restart_ice(self.rtc.credentials(self.room.as_str()));
        }
        begun &= self.make_offer(socket).await && self.tell_room(socket).await;
        if !begun {
            return End::Lost;
        }
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut heard = Instant::now();
        loop {
            let alive = tokio::select! {
                message = socket.recv() => {
                    heard = Instant::now();
                    match message {
                        None | Some(Err(_)) => return End::Lost,
                        Some(Ok(Message::Close(frame))) => return End::of(frame.map(|frame| frame.code)),
                        Some(Ok(Message::Text(text))) => match self.hear(socket, &text).await {
                            Ok(alive) => alive,
                            Err(end) => return end,
                        },
                        Some(Ok(_)) => true,
                    }
                }
                changed = self.entered.roster.changed() => match changed {
                    Ok(()) if let Some(lost) = self.entered.seat.lost() => {
                        let (status, detail) = match lost {
                            Lost::Taken => (409, "you joined from another page"),
                            Lost::Removed => (403, "you were taken out of the room"),
                        };
                        let detail = detail.to_owned();
                        let refused = ServerMessage::Refused { status, detail };
                        self.send(socket, &refused).await;
                        return End::Left;
                    }
                    Ok(()) => self.on_roster(socket).await,
                    Err(_) => return End::Left,
                },
                said = self.entered.said.recv() => match said {
                    Ok(said) => self.pass_on(socket, &said).await,
                    // Too slow to read all: what is gone is gone.
                    Err(broadcast::error::RecvError::Lagged(_)) => true,
                    Err(broadcast::error::RecvError::Closed) => return End::Left,
                },
                event = self.events.recv() => match event {
                    Some((epoch, event)) if epoch == self.epoch => {
                        match self.on_event(socket, event).await {
                            Ok(alive) => alive,
                            Err(end) => return end,
                        }
                    }
                    _ => true,
                },
                next = self.sockets.recv() => match next {
                    Some(next) => return End::Replaced(Box::new(next)),
                    None => true,
                },
                _ = ping.tick() => {
                    let silent = heard.elapsed() > SILENT_FOR;
                    let unanswered = self.offered_at.is_some_and(|at| at.elapsed() > ANSWER_WITHIN);
                    if silent || unanswered {
                        return End::Lost;
                    }
                    socket.send(Message::Ping(Vec::new().into())).await.is_ok()
                }
            };
            if !alive {
                return End::Lost;
            }
        }
    }

    async fn hear(&mut self, socket: &mut WebSocket, text: &str) -> Result<bool, End> {
        let now = Instant::now();
        if !self.may_send.take(now) {
            let detail = format!("too many messages: at most {PER_SECOND} a second");
            return Ok(self.send(socket, &ServerMessage::Error { detail }).await);
        }
        let message = match ClientMessage::read(text) {
            Ok(message) => message,
            Err(detail) => return Ok(self.send(socket, &ServerMessage::Error { detail }).await),
        };
        match message {
            ClientMessage::Answer { number, sdp } if number == self.offer => {
                return Ok(self.take_answer(socket, &sdp).await);
            }
            // Of an offer that another one replaced.
            ClientMessage::Answer { .. } => {}
            ClientMessage::Candidate { candidate } => {
                let line = candidate.and_then(|line| line.candidate);
                let line = line.map(|line| format!("a={line}")).unwrap_or_default();
                self.remote_candidates.extend(fragment::candidates(&line));
                self.tell_candidates();
            }
            ClientMessage::RestartIce => {
                self.subscription
                    .restart_ice(self.rtc.credentials(self.room.as_str()));
                return Ok(self.make_offer(socket).await);
            }
            ClientMessage::View { views } => self.see(&views),
            ClientMessage::Say { topic, text } => return Ok(self.say(socket, topic, text).await),
            ClientMessage::Leave => return Err(End::Left),
            ClientMessage::Join(_) => {
                let detail = "you have joined already".to_owned();
                return Ok(self.send(socket, &ServerMessage::Error { detail }).await);
            }
        }
        Ok(true)
    }

    /// What came over the data channel: messages to the room, and nothing else.
    async fn hear_data(&mut self, socket: &mut WebSocket, text: &str) -> bool {
        let detail = match ClientMessage::read(text) {
            Ok(ClientMessage::Say { topic, text }) => return self.say(socket, topic, text).await,
            Ok(_) => "over the data channel goes \"say\" alone".to_owned(),
            Err(detail) => detail,
        };
        self.send(socket, &ServerMessage::Error { detail }).await
    }

    async fn say(&mut self, socket: &mut WebSocket, topic: String, text: String) -> bool {
        if !self.may_say.take(Instant::now()) {
            let detail = "you say too much at once: wait a moment".to_owned();
            return self.send(socket, &ServerMessage::Error { detail }).await;
        }
        self.entered.seat.say(Said {
            from: self.entered.participant,
            topic,
            text,
        });
        true
    }

    async fn on_roster(&mut self, socket: &mut WebSocket) -> bool {
        let alive = self.negotiate(socket).await;
        self.connect_slots();
        self.update_views();
        alive && self.tell_room(socket).await
    }

    /// Offers what changed, if nothing is being answered.
    async fn negotiate(&mut self, socket: &mut WebSocket) -> bool {
        if self.offered_at.is_some() {
            self.is_stale = true;
            return true;
        }
        match self.choose_tracks() {
            true => self.send_offer(socket).await,
            false => true,
        }
    }

    async fn make_offer(&mut self, socket: &mut WebSocket) -> bool {
        self.choose_tracks();
        self.send_offer(socket).await
    }

    fn choose_tracks(&mut self) -> bool {
        let roster = self.entered.roster.borrow_and_update().clone();
        let own = self.entered.participant;
        let others = roster.tracks().filter(|(id, _)| *id != own);
        let wanted: Vec<_> = others
            .map(|(id, track)| (track.name(id), track.published(id, (0, 0))))
            .collect();
        self.subscription.set_tracks(&wanted)
    }

    async fn send_offer(&mut self, socket: &mut WebSocket) -> bool {
        self.offer += 1;
        self.offered_at = Some(Instant::now());
        self.is_stale = false;
        let (candidates, fingerprint) = (self.rtc.candidates(), self.rtc.fingerprint());
        let offer = ServerMessage::Offer {
            number: self.offer,
            fresh: self.connection.is_none(),
            sdp: self.subscription.offer(&candidates, &fingerprint),
        };
        self.send(socket, &offer).await
    }

    async fn take_answer(&mut self, socket: &mut WebSocket, sdp: &str) -> bool {
        self.offered_at = None;
        self.remote_candidates.extend(fragment::candidates(sdp));
        let agreement = match self.subscription.answered(sdp) {
            Ok(agreement) => agreement,
            Err(error) => {
                let detail = format!("the answer cannot be taken: {error}");
                return self.send(socket, &ServerMessage::Error { detail }).await;
            }
        };
        match self.connection {
            Some(id) => {
                // Whether they changed, the transport sees: the same ones restart nothing.
                let (local, remote) = (agreement.local_ice.clone(), agreement.remote_ice.clone());
                let restarted = self.rtc.restart_ice(id, local, remote).await;
                debug!(?restarted, "credentials of the answer");
                self.rtc.agree(id, agreement.sends);
            }
            None => {
                self.epoch += 1;
                let sink = Ear {
                    epoch: self.epoch,
                    tell: self.tell.clone(),
                    may_send: Allowance::new(BURST, PER_SECOND, Instant::now()),
                };
                match self.rtc.open(agreement, Box::new(sink)).await {
                    Ok(id) => {
                        self.connection = Some(id);
                        self.entered.seat.connects(id);
                    }
                    Err(error) => {
                        let detail = error.to_string();
                        return self.send(socket, &ServerMessage::Error { detail }).await;
                    }
                }
            }
        }
        self.tell_candidates();
        self.connect_slots();
        self.update_views();
        let alive = match self.is_stale {
            true => self.negotiate(socket).await,
            false => true,
        };
        alive && self.tell_room(socket).await
    }

    /// Those that come before there is a connection wait for it.
    fn tell_candidates(&mut self) {
        self.remote_candidates.truncate(fragment::MAX_CANDIDATES);
        if let Some(id) = self.connection
            && !self.remote_candidates.is_empty()
        {
            let candidates = std::mem::take(&mut self.remote_candidates);
            self.rtc.add_remote_candidates(id, candidates);
        }
    }

    /// Lets each slot come from where its track comes from now.
    fn connect_slots(&mut self) {
        let Some(connection) = self.connection else {
            return;
        };
        let roster = self.entered.roster.borrow().clone();
        for (at, name) in self.subscription.carried().enumerate() {
            let slot = Slot(at as u16);
            let track = name.and_then(|name| roster.track(name));
            let source = track.and_then(|(_, track)| track.from());
            if self.sources.get(&slot).copied() == source {
                continue;
            }
            self.rtc.set_source(connection, slot, source);
            match source {
                Some(source) => self.sources.insert(slot, source),
                None => self.sources.remove(&slot),
            };
        }
    }

    fn see(&mut self, views: &[View]) {
        for View { mid, height } in views {
            if self.subscription.by_mid(mid).is_some() {
                self.heights.insert(mid.clone(), *height);
            }
        }
        self.update_views();
    }

    fn update_views(&mut self) {
        let Some(connection) = self.connection else {
            return;
        };
        let roster = self.entered.roster.borrow().clone();
        for (at, name) in self.subscription.carried().enumerate() {
            let Some((id, _)) = name.and_then(|name| roster.track(name)) else {
                continue;
            };
            let slot = Slot(at as u16);
            let mut view = track::View {
                is_speaking: roster.speaking == Some(id),
                ..track::View::default()
            };
            if let Some(height) = self.heights.get(&at.to_string()) {
                view.shown_px = *height;
            }
            if self.views.insert(slot, view) != Some(view) {
                self.rtc.set_view(connection, slot, view);
            }
        }
    }

    /// The room as this client sees it, if that changed.
    async fn tell_room(&mut self, socket: &mut WebSocket) -> bool {
        let roster: Arc<Roster> = self.entered.roster.borrow().clone();
        let mid = |name: &str| self.subscription.mid_of(name).map(str::to_owned);
        let room = ServerMessage::room(&roster, mid);
        if self.told.as_ref() == Some(&room) {
            return true;
        }
        let alive = self.send(socket, &room).await;
        self.told = Some(room);
        alive
    }

    async fn pass_on(&mut self, socket: &mut WebSocket, said: &Said) -> bool {
        let Said { from, topic, text } = said.clone();
        let message = ServerMessage::Said { from, topic, text };
        if let Some(connection) = self.connection.filter(|_| self.has_channel)
            && self.rtc.send_data(connection, message.json()).is_ok()
        {
            return true;
        }
        self.send(socket, &message).await
    }

    async fn on_event(&mut self, socket: &mut WebSocket, event: Event) -> Result<bool, End> {
        match event {
            Event::Connected => {
                self.failures = 0;
                Ok(true)
            }
            Event::DataOpen(is_open) => {
                self.has_channel = is_open;
                Ok(true)
            }
            Event::DataUnsent(text) => Ok(socket.send(Message::Text(text.into())).await.is_ok()),
            Event::Data(text) => Ok(self.hear_data(socket, &text).await),
            Event::LayerChosen(slot, layer) => {
                let mid = slot.0.to_string();
                let paused = layer.is_none();
                Ok(self
                    .send(socket, &ServerMessage::Paused { mid, paused })
                    .await)
            }
            Event::Failed(verdict) => {
                let failure = verdict.failure;
                let (reason, remedy) = (failure.reason(), failure.remedy());
                self.entered.seat.failed(*verdict);
                let detail = format!("your connection failed: {reason}. What may help: {remedy}");
                Ok(self.send(socket, &ServerMessage::Error { detail }).await)
            }
            Event::Closed(reason) => {
                info!(room = %self.room, participant = %self.entered.participant, ?reason, "a speaker's connection ended");
                self.failures += 1;
                if self.failures > MAX_FAILURES {
                    let detail = "no connection comes to be: join again from another network";
                    let detail = detail.to_owned();
                    let refused = ServerMessage::Refused {
                        status: 503,
                        detail,
                    };
                    self.send(socket, &refused).await;
                    return Err(End::Left);
                }
                self.forget_connection();
                Ok(self.make_offer(socket).await && self.tell_room(socket).await)
            }
            _ => Ok(true),
        }
    }

    /// The next offer begins a new one.
    fn forget_connection(&mut self) {
        if let Some(id) = self.connection.take() {
            self.rtc.close(id);
        }
        self.epoch += 1;
        self.has_channel = false;
        self.sources.clear();
        self.views.clear();
        self.heights.clear();
        self.offered_at = None;
        let ice = self.rtc.credentials(self.room.as_str());
        self.subscription = Subscription::new(ice, rand::random);
    }

    async fn send(&self, socket: &mut WebSocket, message: &ServerMessage) -> bool {
        socket.send(message.text()).await.is_ok()
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.resumable.lock().remove(&self.key);
        if let Some(id) = self.connection {
            self.rtc.close(id);
        }
    }
}

fn view(server: &IceServer) -> IceServerView {
    let credential = server.credential.clone();
    let (username, credential) = credential.unzip();
    IceServerView {
        urls: server.url.clone(),
        username,
        credential,
    }
}

/// Hears of the connection for the session's task.
struct Ear {
    epoch: u64,
    tell: mpsc::Sender<(u64, Event)>,
    /// Before they queue: or who floods us with messages would not hear that they are closed.
    may_send: Allowance,
}

impl Sink for Ear {
    fn event(&mut self, event: Event) {
        if matches!(event, Event::Data(_)) && !self.may_send.take(Instant::now()) {
            return;
        }
        // A session that does not listen is stuck anyway.
        let _ = self.tell.try_send((self.epoch, event));
    }

    fn rtp(&mut self, _: TrackId, _: ReceivedRtp) {}

    fn sender_report(&mut self, _: TrackId, _: SenderReport) {}
}
