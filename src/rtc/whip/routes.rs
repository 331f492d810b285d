//! `/whip/{room}` and the sessions below it: RFC 9725's methods, statuses and headers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{options, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::body::read;
use super::problems::{bad_request, expect_type, no_such, not_here, refused, transport};
use super::resource::{
    Entry, Resources, SDP, TransportSection, allow_every_origin, bearer, describe, new_key,
    room_id, with_ice_servers,
};
use super::sessions::SessionSink;
use super::{Admission, PublishRequest, Settings};
use crate::problem::Problem;
use crate::rtc::Rtc;
use crate::rtc::core::sdp::{self, Offer, fragment, offer};

#[derive(Clone)]
struct Whip {
    admission: Arc<dyn Admission>,
    resources: Resources,
}

pub fn routes(admission: Arc<dyn Admission>, rtc: Rtc, settings: Settings) -> Router {
    let whip = Whip {
        admission,
        resources: Resources::new(rtc, settings),
    };
    let endpoint = post(publish)
        .merge(options(ask))
        .fallback(|| not_here("POST, OPTIONS"));
    let session = axum::routing::patch(patch)
        .delete(leave)
        .options(describe)
        .fallback(|| not_here("PATCH, DELETE, OPTIONS"));
    Router::new()
        .route("/whip/{room}", endpoint)
        .route("/whip/{room}/{session}", session)
        .layer(map_response(allow_every_origin))
        .with_state(whip)
}

#[derive(Debug, Deserialize)]
struct Visitor {
    name: Option<String>,
    identity: Option<String>,
}

/// RFC 9725 §4.6: who may publish may know the ICE servers before the offer is made.
async fn ask(
    State(whip): State<Whip>,
    room: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let room = room.ok().and_then(|Path(room)| room_id(&room).ok());
    let may = |room| whip.admission.authorize(&room, bearer(&headers)).is_ok();
    match room.is_some_and(may) {
        true => with_ice_servers(describe().await, &whip.resources.rtc),
        false => describe().await,
    }
}

/// RFC 9725 §4.2: the offer comes, the answer goes, media follows.
async fn publish(
    State(whip): State<Whip>,
    room: Result<Path<String>, PathRejection>,
    visitor: Result<Query<Visitor>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let room = room_id(&room.map_err(|e| no_such(e.body_text()))?)?;
    let bearer = bearer(&headers);
    whip.admission.authorize(&room, bearer).map_err(refused)?;
    let Query(visitor) = visitor.map_err(|e| bad_request(e.body_text()))?;
    expect_type(&headers, SDP, "accept-post")?;
    let text = read(body, offer::MAX_OFFER_LEN).await?;
    let offer = Offer::parse(&text).map_err(bad_request)?;

    let Resources { rtc, sessions, .. } = &whip.resources;
    let settings = whip.resources.answer_settings();
    let local_ice = rtc.credentials(room.as_str());
    let (answer, agreement) = sdp::answer(&offer, local_ice, &settings).map_err(bad_request)?;
    let transport_section = TransportSection::of(&agreement);
    let remote_ice = agreement.remote_ice.clone();

    let request = PublishRequest {
        room: room.clone(),
        bearer,
        name: visitor.name,
        identity: visitor.identity,
    };
    let admitted = whip.admission.admit(request).map_err(refused)?;
    let key = new_key();
    let sink = SessionSink::new(admitted.sink, sessions.clone(), key.clone());
    let over = sink.over();
    let connection = rtc
        .open(agreement, Box::new(sink))
        .await
        .map_err(|e| transport(&e))?;
    rtc.add_remote_candidates(connection, fragment::candidates(&text));
    let response = whip.resources.created(Entry {
        endpoint: format!("/whip/{room}"),
        room: &room,
        connection,
        remote_ice,
        transport: transport_section,
        key,
        over,
        answer,
    });
    (admitted.on_open)(connection);
    Ok(response)
}

async fn patch(
    State(whip): State<Whip>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Path((room, key)) = path.map_err(|e| no_such(e.body_text()))?;
    whip.resources
        .patch(&room_id(&room)?, &key, &headers, body)
        .await
}

async fn leave(
    State(whip): State<Whip>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path((room, key)) = path.map_err(|e| no_such(e.body_text()))?;
    whip.resources.leave(&room_id(&room)?, &key)
}
