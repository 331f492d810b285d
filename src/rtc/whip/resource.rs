//! What a session is once its offer was answered: PATCH, DELETE, the headers. The same for who
//! publishes (RFC 9725 §4.3) and for who plays (draft-ietf-wish-whep §4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use uuid::Uuid;

use super::Settings;
use super::body::read;
use super::problems::{bad_request, expect_type, no_session, no_such, transport};
use super::sessions::{Session, Sessions};
use crate::problem::Problem;
use crate::room::{MediaKind, RoomId};
use crate::rtc::core::sdp::agreement::{Agreement, IceCredentials};
use crate::rtc::core::sdp::{AnswerSettings, Fragment, fragment};
use crate::rtc::{ConnectionId, IceServer, Rtc};

pub const SDP: &str = "application/sdp";
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The sessions of one door.
#[derive(Clone)]
pub struct Resources {
    pub rtc: Rtc,
    pub settings: Arc<Settings>,
    pub sessions: Sessions,
}

/// A session about to be entered.
pub struct Entry<'a> {
    pub room: &'a RoomId,
    pub connection: ConnectionId,
    pub remote_ice: IceCredentials,
    pub transport: TransportSection,
    /// Where its own URL begins.
    pub endpoint: String,
    pub key: String,
    /// The connection may be over already.
    pub over: Arc<AtomicBool>,
    pub answer: String,
}

/// The section that carries the bundle's transport: its `m=` word and mid, and all mids.
#[derive(Debug, Clone, Default)]
pub struct TransportSection {
    pub media: String,
    pub mid: String,
    pub bundle: String,
}

impl TransportSection {
    pub fn of(agreement: &Agreement) -> Self {
        let received = agreement.media.iter().map(|media| (media.kind, &media.mid));
        let sent = agreement.sends.iter().map(|media| (media.kind, &media.mid));
        let all: Vec<_> = received.chain(sent).collect();
        let Some((kind, mid)) = all.first() else {
            return Self::default();
        };
        let mids: Vec<&str> = all.iter().map(|(_, mid)| mid.as_str()).collect();
        Self {
            media: match kind {
                MediaKind::Audio => "audio".to_owned(),
                MediaKind::Video => "video".to_owned(),
            },
            mid: (*mid).clone(),
            bundle: mids.join(" "),
        }
    }
}

impl Resources {
    pub fn new(rtc: Rtc, settings: Settings) -> Self {
        Self {
            rtc,
            settings: Arc::new(settings),
            sessions: Sessions::default(),
        }
    }

    pub fn answer_settings(&self) -> AnswerSettings {
        AnswerSettings {
            codecs: self.settings.codecs.clone(),
            start_bitrate_kbps: self.settings.start_bitrate_kbps,
            candidates: self.rtc.candidates(),
            fingerprint: self.rtc.fingerprint(),
        }
    }

    /// 201, with all that RFC 9725 §4.2 asks for.
    pub fn created(&self, entry: Entry<'_>) -> Response {
        let etag = new_etag();
        let session = Session {
            room: entry.room.clone(),
            connection: entry.connection,
            etag: etag.clone(),
            remote_ice: entry.remote_ice,
            transport: entry.transport,
        };
        self.sessions.insert(&entry.key, session);
        if entry.over.load(Ordering::Acquire) {
            self.sessions.remove(&entry.key);
        }
        let mut response = (StatusCode::CREATED, entry.answer).into_response();
        let out = response.headers_mut();
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
        put(
            out,
            header::LOCATION,
            &format!("{}/{}", entry.endpoint, entry.key),
        );
        put(out, header::ETAG, &etag);
        add_ice_servers(out, &self.rtc.ice_servers());
        response
    }

    /// RFC 9725 §4.3: trickled candidates, or an ICE restart.
    pub async fn patch(
        &self,
        room: &RoomId,
        key: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Response, Problem> {
        let session = self.find(room, key)?;
        expect_type(headers, FRAGMENT, "accept-patch")?;
        let condition = headers
            .get(header::IF_MATCH)
            .and_then(|v| v.to_str().ok())
            .ok_or_else(|| {
                let detail =
                    "send If-Match with the ETag of the last 201 or 200, or * to restart ICE";
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
        let candidates = fragment::candidates(&text);
        self.rtc
            .add_remote_candidates(session.connection, candidates);
        match fragment.ice {
            Some(remote) if remote != session.remote_ice => {
                self.restart(room, key, &session, remote).await
            }
            // The peer's checks tell its addresses: there is nothing to do.
            _ => Ok(StatusCode::NO_CONTENT.into_response()),
        }
    }

    async fn restart(
        &self,
        room: &RoomId,
        key: &str,
        session: &Session,
        remote: IceCredentials,
    ) -> Result<Response, Problem> {
        let local = self.rtc.credentials(room.as_str());
        self.rtc
            .restart_ice(session.connection, local.clone(), remote.clone())
            .await
            .map_err(|e| transport(&e))?;
        let etag = new_etag();
        self.sessions.renew(key, etag.clone(), remote);
        let TransportSection { media, mid, bundle } = &session.transport;
        let candidates = self.rtc.candidates();
        let text = fragment::restart_answer(media, mid, bundle, &local, &candidates);
        let mut response = text.into_response();
        let out = response.headers_mut();
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
        put(out, header::ETAG, &etag);
        add_ice_servers(out, &self.rtc.ice_servers());
        Ok(response)
    }

    /// RFC 9725 §4.2: the client ends the session.
    pub fn leave(&self, room: &RoomId, key: &str) -> Result<StatusCode, Problem> {
        let session = self.find(room, key)?;
        self.sessions.remove(key);
        self.rtc.close(session.connection);
        Ok(StatusCode::OK)
    }

    fn find(&self, room: &RoomId, key: &str) -> Result<Session, Problem> {
        self.sessions.find(room, key).ok_or_else(no_session)
    }
}

/// RFC 9725 §4.2 asks for 200.
pub async fn describe() -> Response {
    (
        StatusCode::OK,
        [("accept-post", SDP), ("accept-patch", FRAGMENT)],
    )
        .into_response()
}

pub fn with_ice_servers(mut response: Response, rtc: &Rtc) -> Response {
    add_ice_servers(response.headers_mut(), &rtc.ice_servers());
    response
}

/// Pages of any origin may come here if they hold a token: there are no cookies.
pub async fn allow_every_origin(mut response: Response) -> Response {
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
fn add_ice_servers(headers: &mut HeaderMap, servers: &[IceServer]) {
    for server in servers {
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

fn new_etag() -> String {
    format!("\"{}\"", Uuid::new_v4().simple())
}

pub fn new_key() -> String {
    Uuid::new_v4().simple().to_string()
}

pub fn room_id(text: &str) -> Result<RoomId, Problem> {
    text.parse()
        .map_err(|e: crate::room::id::InvalidRoomId| no_such(e.to_string()))
}

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
