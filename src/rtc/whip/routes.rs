//! `/whip/{room}` and the sessions below it: RFC 9725's methods, statuses and headers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{options, post};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use uuid::Uuid;

use super::body::read;
use super::problems::{
    bad_request, expect_type, no_session, no_such, not_here, refused, transport,
};
use super::sessions::{Session, SessionSink, Sessions};
use super::{Admission, PublishRequest, Settings};
use crate::problem::Problem;
use crate::room::{MediaKind, RoomId};
use crate::rtc::Rtc;
use crate::rtc::core::sdp::agreement::IceCredentials;
use crate::rtc::core::sdp::{self, AnswerSettings, Fragment, Offer, fragment, offer};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

#[derive(Clone)]
struct Whip {
    admission: Arc<dyn Admission>,
    rtc: Rtc,
    settings: Arc<Settings>,
    sessions: Sessions,
}

pub fn routes(admission: Arc<dyn Admission>, rtc: Rtc, settings: Settings) -> Router {
    let settings = Arc::new(settings);
    let whip = Whip {
        admission,
        rtc,
        settings,
        sessions: Sessions::default(),
    };
    let endpoint = post(publish)
        .merge(options(describe))
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

    let local_ice = new_credentials();
    let settings = AnswerSettings {
        codecs: whip.settings.codecs.clone(),
        start_bitrate_kbps: whip.settings.start_bitrate_kbps,
        candidates: whip.rtc.candidates(),
        fingerprint: whip.rtc.fingerprint(),
    };
    let (answer, agreement) = sdp::answer(&offer, local_ice, &settings).map_err(bad_request)?;
    let bundle: Vec<_> = agreement
        .media
        .iter()
        .map(|media| media.mid.clone())
        .collect();
    let (media, mid) = agreement
        .media
        .first()
        .map(|m| {
            (
                if m.kind == MediaKind::Audio {
                    "audio"
                } else {
                    "video"
                },
                m.mid.clone(),
            )
        })
        .unwrap_or_default();
    let remote_ice = agreement.remote_ice.clone();

    let request = PublishRequest {
        room: room.clone(),
        bearer,
        name: visitor.name,
        identity: visitor.identity,
    };
    let admitted = whip.admission.admit(request).map_err(refused)?;
    let key = Uuid::new_v4().simple().to_string();
    let sink = SessionSink::new(admitted.sink, whip.sessions.clone(), key.clone());
    let over = sink.over();
    let connection = whip
        .rtc
        .open(agreement, Box::new(sink))
        .await
        .map_err(|e| transport(&e))?;
    let etag = new_etag();
    let session = Session {
        room: room.clone(),
        connection,
        etag: etag.clone(),
        remote_ice,
        media: media.to_owned(),
        mid,
        bundle: bundle.join(" "),
    };
    whip.sessions.insert(&key, session);
    if over.load(Ordering::Acquire) {
        whip.sessions.remove(&key);
    }
    (admitted.on_open)(connection);

    let mut response = (StatusCode::CREATED, answer).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    put(out, header::LOCATION, &format!("/whip/{room}/{key}"));
    put(out, header::ETAG, &etag);
    add_ice_servers(out, &whip.settings);
    Ok(response)
}

/// RFC 9725 §4.3: trickled candidates, or an ICE restart.
async fn patch(
    State(whip): State<Whip>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (key, session) = find(&whip, path)?;
    expect_type(&headers, FRAGMENT, "accept-patch")?;
    let condition = headers
        .get(header::IF_MATCH)
        .and_then(|v| v.to_str().ok())
        .ok_or_else(|| {
            let detail = "send If-Match with the ETag of the last 201 or 200, or * to restart ICE";
            Problem::new(StatusCode::PRECONDITION_REQUIRED, detail)
        })?;
    // The RFC's own example puts the asterisk in quotes.
    let any = matches!(condition.trim(), "*" | "\"*\"");
    if !any && condition.split(',').all(|etag| etag.trim() != session.etag) {
        let detail = "this ICE session is over: a restart has given out a new ETag since";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
    }
    let text = read(body, fragment::MAX_FRAGMENT_LEN).await?;
    let fragment = Fragment::parse(&text).map_err(bad_request)?;
    match fragment.ice {
        Some(remote) if remote != session.remote_ice => {
            restart(&whip, &key, &session, remote).await
        }
        // The peer's checks tell its addresses: there is nothing to do.
        _ => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

async fn restart(
    whip: &Whip,
    key: &str,
    session: &Session,
    remote: IceCredentials,
) -> Result<Response, Problem> {
    let local = new_credentials();
    whip.rtc
        .restart_ice(session.connection, local.clone(), remote.clone())
        .await
        .map_err(|e| transport(&e))?;
    let etag = new_etag();
    whip.sessions.renew(key, etag.clone(), remote);
    let text = fragment::restart_answer(
        &session.media,
        &session.mid,
        &session.bundle,
        &local,
        &whip.rtc.candidates(),
    );
    let mut response = text.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
    put(out, header::ETAG, &etag);
    add_ice_servers(out, &whip.settings);
    Ok(response)
}

/// RFC 9725 §4.2: the publisher ends the session.
async fn leave(
    State(whip): State<Whip>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (key, session) = find(&whip, path)?;
    whip.sessions.remove(&key);
    whip.rtc.close(session.connection);
    Ok(StatusCode::OK)
}

/// The session that a URL names.
fn find(
    whip: &Whip,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(String, Session), Problem> {
    let Path((room, key)) = path.map_err(|e| no_such(e.body_text()))?;
    let session = whip.sessions.find(&room_id(&room)?, &key);
    Ok((key, session.ok_or_else(no_session)?))
}

/// RFC 9725 §4.2 asks for 200.
async fn describe() -> Response {
    (
        StatusCode::OK,
        [("accept-post", SDP), ("accept-patch", FRAGMENT)],
    )
        .into_response()
}

/// Pages of any origin may publish here if they hold a token: WHIP uses no cookies.
async fn allow_every_origin(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        (
            "access-control-allow-methods",
            "POST, PATCH, DELETE, OPTIONS",
        ),
        (
            "access-control-allow-headers",
            "authorization, content-type, if-match",
        ),
        (
            "access-control-expose-headers",
            "location, etag, link, accept-post, accept-patch",
        ),
        ("access-control-max-age", "86400"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

/// RFC 9725 §4.6.
fn add_ice_servers(headers: &mut HeaderMap, settings: &Settings) {
    for server in &settings.ice_servers {
        let mut link = format!("<{}>; rel=\"ice-server\"", server.url);
        if let Some((user, password)) = &server.credential {
            link += &format!(
                "; username=\"{user}\"; credential=\"{password}\"; credential-type=\"password\""
            );
        }
        if let Ok(value) = HeaderValue::from_str(&link) {
            headers.append(header::LINK, value);
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// RFC 8839 §5.4 asks for 24 and 128 bits of randomness; a version 4 UUID has 122, so two.
fn new_credentials() -> IceCredentials {
    let random = || Uuid::new_v4().simple().to_string();
    IceCredentials {
        ufrag: random()[..16].to_owned(),
        pwd: random() + &random(),
    }
}

fn new_etag() -> String {
    format!("\"{}\"", Uuid::new_v4().simple())
}

fn room_id(text: &str) -> Result<RoomId, Problem> {
    text.parse()
        .map_err(|e: crate::room::id::InvalidRoomId| no_such(e.to_string()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
