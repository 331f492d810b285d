//! Who asks a route: their token is read once, before it, and says what they may.

use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::auth::{Authority, Caller, Denied};
use crate::problem::Problem;
use crate::room::{Role, RoomId};

/// Around all routes of the API.
pub async fn identify(
    State(authority): State<Authority>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = authority.identify(bearer(request.headers()));
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Caller {
    /// Whether they direct this room; with `None`, all rooms.
    pub fn directs(&self, room: Option<&RoomId>) -> Result<(), Problem> {
        let claims = match room {
            Some(room) => self.check(room, Role::may_direct),
            None => self.check_everywhere(Role::may_direct),
        };
        claims.map(drop).map_err(denied)
    }

    /// Who directs no room learns nothing of what there is.
    pub fn directs_some(&self) -> Result<(), Problem> {
        let claims = self.check_anywhere(Role::may_direct);
        claims.map(drop).map_err(denied)
    }

    /// Whether they may enter this room at all.
    pub fn enters(&self, room: &RoomId) -> Result<(), Problem> {
        self.check(room, |_| true).map(drop).map_err(denied)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get().cloned();
        caller.ok_or_else(|| denied(Denied::NoToken))
    }
}

/// The room of the path, for who directs it.
pub struct Directed(pub RoomId);

impl<S: Send + Sync> FromRequestParts<S> for Directed {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.directs_some()?;
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters =
            parameters.map_err(|e| Problem::new(StatusCode::NOT_FOUND, e.body_text()))?;
        let mut parameters = parameters.iter();
        let room = parameters.find(|(name, _)| *name == "room");
        let room = room_id(room.map_or("", |(_, value)| value))?;
        caller.directs(Some(&room))?;
        Ok(Self(room))
    }
}

pub fn room_id(text: &str) -> Result<RoomId, Problem> {
    text.parse().map_err(|e: crate::room::id::InvalidRoomId| {
        Problem::new(StatusCode::NOT_FOUND, e.to_string())
    })
}

pub fn denied(denied: Denied) -> Problem {
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
