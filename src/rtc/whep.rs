//! WHEP (draft-ietf-wish-whep-03): play the program, or one participant as they publish, over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{options, post};
use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, watch};

use super::core::sdp::{self, Offer, Published, fragment, offer};
use super::core::send::track::Slot;
use super::core::{Event, ReceivedRtp, SenderReport, Sink, TrackId};
use super::roster::{Entry as RosterEntry, Roster};
use super::whip::problems::{bad_request, expect_type, no_such, not_here, refused, transport};
use super::whip::resource::{
    Entry, Resources, SDP, TransportSection, allow_every_origin, bearer, describe, new_key,
    room_id, with_ice_servers,
};
use super::whip::sessions::SessionSink;
use super::whip::{Refused, Settings, body::read};
use super::{ConnectionId, Rtc};
use crate::problem::Problem;
use crate::room::{ParticipantId, RoomId};

/// Decides who plays, and tells what there is to play.
pub trait Audience: Send + Sync + 'static {
    /// The room as it is and will be, for who may play in it.
    fn roster(
        &self,
        room: &RoomId,
        bearer: Option<&str>,
    ) -> Result<watch::Receiver<Arc<Roster>>, Refused>;

    /// As [`Self::roster`], for who directs the room's program, and may see what comes next.
    fn roster_of_director(
        &self,
        room: &RoomId,
        bearer: Option<&str>,
    ) -> Result<watch::Receiver<Arc<Roster>>, Refused>;
}

/// Instead of a participant: what comes next in the program. Who has it as a name is played by id.
const PREVIEW: &str = "preview";

#[derive(Clone)]
struct Whep {
    audience: Arc<dyn Audience>,
    resources: Resources,
}

pub fn routes(audience: Arc<dyn Audience>, rtc: Rtc, settings: Settings) -> Router {
    let whep = Whep {
        audience,
        resources: Resources::new(rtc, settings),
    };
    let endpoint = post(play_participant)
        .merge(options(ask))
        .fallback(|| not_here("POST, OPTIONS"));
    let session = axum::routing::patch(patch)
        .delete(leave)
        .options(describe)
        .fallback(|| not_here("PATCH, DELETE, OPTIONS"));
    let program = post(play_program)
        .merge(options(ask))
        .fallback(|| not_here("POST, OPTIONS"));
    Router::new()
        .route("/whep/{room}", program)
        .route("/whep/{room}/{participant}", endpoint)
        .route("/whep/{room}/{participant}/{session}", session)
        .layer(map_response(allow_every_origin))
        .with_state(whep)
}

/// Who may play may know the ICE servers before the offer is made.
async fn ask(
    State(whep): State<Whep>,
    path: Result<Path<BTreeMap<String, String>>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let room = path
        .ok()
        .and_then(|Path(path)| room_id(path.get("room")?).ok());
    let may = |room| whep.audience.roster(&room, bearer(&headers)).is_ok();
    match room.is_some_and(may) {
        true => with_ice_servers(describe().await, &whep.resources.rtc),
        false => describe().await,
    }
}

/// What is played.
#[derive(Clone, Copy)]
enum Played {
    Program,
    Preview,
    Participant(ParticipantId),
}

async fn play_program(
    State(whep): State<Whep>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path(room) = path.map_err(|e| no_such(e.body_text()))?;
    play(whep, room_id(&room)?, None, headers, body).await
}

async fn play_participant(
    State(whep): State<Whep>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path((room, participant)) = path.map_err(|e| no_such(e.body_text()))?;
    play(whep, room_id(&room)?, Some(&participant), headers, body).await
}

async fn play(
    whep: Whep,
    room: RoomId,
    participant: Option<&str>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (audience, token) = (&whep.audience, bearer(&headers));
    let roster = match participant {
        Some(PREVIEW) => audience.roster_of_director(&room, token),
        _ => audience.roster(&room, token),
    };
    let roster = roster.map_err(refused)?;
    expect_type(&headers, SDP, "accept-post")?;
    let text = read(body, offer::MAX_OFFER_LEN).await?;
    let offer = Offer::parse(&text).map_err(bad_request)?;
    let (played, tracks) = match participant {
        Some(PREVIEW) => preview(&roster.borrow())?,
        Some(participant) => published(&roster.borrow(), participant)?,
        None => program(&roster.borrow(), &room)?,
    };

    let Resources { rtc, sessions, .. } = &whep.resources;
    let settings = whep.resources.answer_settings();
    let local_ice = rtc.credentials(room.as_str());
    let (answer, agreement, carried) =
        sdp::answer_subscriber(&offer, local_ice, &settings, &tracks).map_err(bad_request)?;
    let transport_section = TransportSection::of(&agreement);
    let remote_ice = agreement.remote_ice.clone();
    let key = new_key();
    let ended = Arc::new(Notify::new());
    let player = Player(ended.clone());
    let sink = SessionSink::new(Box::new(player), sessions.clone(), key.clone());
    let over = sink.over();
    let connection = rtc
        .open(agreement, Box::new(sink))
        .await
        .map_err(|e| transport(&e))?;
    rtc.add_remote_candidates(connection, fragment::candidates(&text));
    let slots = carried.iter().filter_map(|at| tracks.get(*at)).cloned();
    let follow = Follow {
        rtc: rtc.clone(),
        connection,
        played,
        slots: slots.collect(),
        current: BTreeMap::new(),
    };
    tokio::spawn(follow.run(roster, ended, over.clone()));
    Ok(whep.resources.created(Entry {
        endpoint: format!("/whep/{room}/{}", participant.unwrap_or("program")),
        room: &room,
        connection,
        remote_ice,
        transport: transport_section,
        key,
        over,
        answer,
    }))
}

fn program(roster: &Roster, room: &RoomId) -> Result<(Played, Vec<Published>), Problem> {
    let program = roster.program.as_ref().ok_or_else(|| {
        no_such(format!(
            "{room} is not on air: start its broadcast, or try again when it has begun"
        ))
    })?;
    let tracks = program.published(|| (rand::random(), rand::random()));
    Ok((Played::Program, tracks))
}

fn preview(roster: &Roster) -> Result<(Played, Vec<Published>), Problem> {
    let preview = roster.preview.as_ref().ok_or_else(|| {
        let detail = "there is no preview: PUT /api/v1/rooms/{room}/broadcast/preview begins one";
        no_such(detail.to_owned())
    })?;
    let tracks = preview.published(|| (rand::random(), rand::random()));
    Ok((Played::Preview, tracks))
}

/// What the participant publishes now. Their id, or their name where only one has it.
fn published(roster: &Roster, participant: &str) -> Result<(Played, Vec<Published>), Problem> {
    let entries = || roster.participants.iter();
    let by_id = entries().find(|entry| entry.id.to_string() == participant);
    let is_named = |entry: &&RosterEntry| entry.name == participant;
    let by_name = || match entries().filter(is_named).count() {
        1 => entries().find(is_named),
        _ => None,
    };
    let entry = by_id
        .or_else(by_name)
        .filter(|entry| !entry.tracks.is_empty());
    let entry = entry.ok_or_else(|| {
        no_such("nobody of this id publishes in the room now; /api/v1/rooms/{room}/participants lists who does".to_owned())
    })?;
    let tracks = entry.tracks.iter();
    let published = tracks.map(|track| track.published(entry.id, (rand::random(), rand::random())));
    Ok((Played::Participant(entry.id), published.collect()))
}

/// Keeps a player's sections connected to what is played, also when it comes back by another
/// connection, or on air again.
struct Follow {
    rtc: Rtc,
    connection: ConnectionId,
    played: Played,
    slots: Vec<Published>,
    current: BTreeMap<Slot, super::crew::Source>,
}

impl Follow {
    async fn run(
        mut self,
        mut roster: watch::Receiver<Arc<Roster>>,
        ended: Arc<Notify>,
        over: Arc<AtomicBool>,
    ) {
        loop {
            if over.load(Ordering::Acquire) {
                return;
            }
            let now = roster.borrow_and_update().clone();
            self.connect(&now);
            tokio::select! {
                changed = roster.changed() => if changed.is_err() {
                    self.rtc.close(self.connection);
                    return;
                },
                () = ended.notified() => return,
            }
        }
    }

    fn connect(&mut self, roster: &Roster) {
        for (at, wanted) in self.slots.iter().enumerate() {
            let slot = Slot(at as u16);
            let source = match self.played {
                Played::Program => {
                    let program = roster.program.as_ref();
                    program.and_then(|program| program.source(&wanted.track))
                }
                Played::Preview => {
                    let preview = roster.preview.as_ref();
                    preview.and_then(|preview| preview.source(&wanted.track))
                }
                Played::Participant(participant) => {
                    let track = roster.track(&wanted.track).filter(|(id, track)| {
                        *id == participant && track.info.codec == wanted.codec
                    });
                    track.and_then(|(_, track)| track.from())
                }
            };
            if self.current.get(&slot).copied() == source {
                continue;
            }
            self.rtc.set_source(self.connection, slot, source);
            match source {
                Some(source) => self.current.insert(slot, source),
                None => self.current.remove(&slot),
            };
        }
    }
}

/// A player sends nothing.
struct Player(Arc<Notify>);

impl Sink for Player {
    fn event(&mut self, event: Event) {
        if matches!(event, Event::Closed(_)) {
            self.0.notify_one();
        }
    }

    fn rtp(&mut self, _: TrackId, _: ReceivedRtp) {}

    fn sender_report(&mut self, _: TrackId, _: SenderReport) {}
}

async fn patch(
    State(whep): State<Whep>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path((room, _, key)) = path.map_err(|e| no_such(e.body_text()))?;
    whep.resources
        .patch(&room_id(&room)?, &key, &headers, body)
        .await
}

async fn leave(
    State(whep): State<Whep>,
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((room, _, key)) = path.map_err(|e| no_such(e.body_text()))?;
    whep.resources.leave(&room_id(&room)?, &key)
}
