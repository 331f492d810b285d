//! WHIP (RFC 9725): publish over HTTP. Who may is the house's decision, by [`Admission`].

pub(super) mod body;
pub(super) mod problems;
pub(super) mod resource;
mod routes;
pub(super) mod sessions;

use std::time::Duration;

use super::ConnectionId;
use super::core::Sink;
use crate::room::{Codec, RoomId};

pub use routes::routes;

/// Decides who publishes, and takes their media.
pub trait Admission: Send + Sync + 'static {
    /// Whether this token may publish into this room: asked before the offer is read.
    fn authorize(&self, room: &RoomId, bearer: Option<&str>) -> Result<(), Refused>;
    /// Takes the publisher in. If no connection comes of it, the sink is told so.
    fn admit(&self, request: PublishRequest<'_>) -> Result<Admitted, Refused>;
}

/// Someone at the door, with an offer that can be answered.
#[derive(Debug, Clone)]
pub struct PublishRequest<'a> {
    pub room: RoomId,
    pub bearer: Option<&'a str>,
    /// `?name=`: what others see, where no token says it.
    pub name: Option<String>,
    /// `?identity=`: the same at every visit, so that a publisher who comes back takes their
    /// place again, where no token says it.
    pub identity: Option<String>,
}

pub struct Admitted {
    pub sink: Box<dyn Sink>,
    /// Called once the connection has a name.
    pub on_open: Box<dyn FnOnce(ConnectionId) + Send>,
}

/// Why someone is not taken in; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// 401
    Unauthorized(String),
    /// 403
    Forbidden(String),
    /// 404
    NoRoom(String),
    /// 409
    Conflict(String),
    /// 429, with Retry-After
    TooOften {
        detail: String,
        retry_after: Duration,
    },
    /// 503, with Retry-After
    Full(String),
}

impl Refused {
    /// The HTTP status, and the text.
    pub fn told(self) -> (u16, String) {
        match self {
            Refused::Unauthorized(detail) => (401, detail),
            Refused::Forbidden(detail) => (403, detail),
            Refused::NoRoom(detail) => (404, detail),
            Refused::Conflict(detail) => (409, detail),
            Refused::TooOften { detail, .. } => (429, detail),
            Refused::Full(detail) => (503, detail),
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What the pipeline can decode.
    pub codecs: Vec<Codec>,
    pub start_bitrate_kbps: u32,
}
