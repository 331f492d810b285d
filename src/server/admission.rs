//! Who may publish: the token's word, a place in the room, and where the packets then go.

use std::sync::Arc;

use tokio::sync::watch;

use super::open_room::{OpenRoom, Route, Routes};
use super::rooms::{NoRoomLeft, Rooms};
use crate::control::auth::{Authority, Claims, Denied};
use crate::room::{Command, Refused as RoomRefused, Role, RoomId, Session, TrackNumber};
use crate::rtc::core::{CloseReason, Event, ReceivedRtp, SenderReport, Sink, TrackId};
use crate::rtc::whip::{Admission, Admitted, PublishRequest, Refused};

/// Names are shown to others; longer ones are cut.
const MAX_NAME_CHARS: usize = 80;

pub struct Door {
    pub rooms: Arc<Rooms>,
    pub authority: Authority,
}

impl Door {
    fn claims(&self, room: &RoomId, bearer: Option<&str>) -> Result<Option<Claims>, Refused> {
        self.authority
            .check(bearer, room, Role::may_publish)
            .map_err(|denied| match denied {
                Denied::NoToken | Denied::BadToken(_) => Refused::Unauthorized(denied.to_string()),
                Denied::OtherRoom | Denied::RoleMayNot(_) => Refused::Forbidden(denied.to_string()),
            })
    }
}

impl Admission for Door {
    fn authorize(&self, room: &RoomId, bearer: Option<&str>) -> Result<(), Refused> {
        self.claims(room, bearer).map(drop)
    }

    fn admit(&self, request: PublishRequest<'_>) -> Result<Admitted, Refused> {
        let (identity, name, role) = match self.claims(&request.room, request.bearer)? {
            Some(claims) => (claims.sub, claims.name.or(request.name), claims.role),
            None => (request.identity, request.name, Role::Host),
        };
        let name = name.unwrap_or_else(|| "Guest".to_owned());
        let name = name
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_NAME_CHARS)
            .collect();
        let identity = identity.map(|identity| identity.chars().take(MAX_NAME_CHARS).collect());

        let room = self
            .rooms
            .find_or_open(&request.room)
            .map_err(|NoRoomLeft| {
                let detail =
                    "this server holds as many rooms as it may: end one, or raise room.max_rooms";
                Refused::Full(detail.to_owned())
            })?;
        let session = self.rooms.new_session();
        let routes = room
            .join(session, identity, name, role)
            .map_err(|refused| match refused {
                RoomRefused::Full(_) => Refused::Full(refused.to_string()),
                other => Refused::Forbidden(other.to_string()),
            })?;
        let current = Routes::default();
        let publisher = Publisher {
            room: room.clone(),
            session,
            routes,
            current,
        };
        Ok(Admitted {
            sink: Box::new(publisher),
            on_open: Box::new(move |connection| room.connection_opened(session, connection)),
        })
    }
}

/// One publisher's media on its way into the program, and its news on the way into the room.
struct Publisher {
    room: Arc<OpenRoom>,
    session: Session,
    routes: watch::Receiver<Routes>,
    current: Routes,
}

impl Publisher {
    fn route(&mut self, track: TrackId) -> Option<&Route> {
        if self.routes.has_changed().unwrap_or(false) {
            self.current = self.routes.borrow_and_update().clone();
        }
        self.current.get(&TrackNumber(track.0))
    }
}

impl Sink for Publisher {
    fn event(&mut self, event: Event) {
        let session = self.session;
        let number = |track: TrackId| TrackNumber(track.0);
        match event {
            Event::Connected => self.room.tell(Command::Connected(session)),
            Event::TrackStarted(info) => self.room.track_started(session, info),
            Event::TrackStalled(track) => self.room.tell(Command::TrackMuted {
                session,
                number: number(track),
                muted: true,
            }),
            Event::TrackResumed(track) => self.room.tell(Command::TrackMuted {
                session,
                number: number(track),
                muted: false,
            }),
            Event::Closed(CloseReason::Asked | CloseReason::PeerLeft) => {
                self.room.tell(Command::Left(session))
            }
            Event::Closed(
                CloseReason::ConsentLost | CloseReason::NeverConnected | CloseReason::Refused,
            ) => self.room.tell(Command::Lost(session)),
        }
    }

    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp) {
        if let Some((feed, input)) = self.route(track) {
            feed.rtp(*input, packet.arrival, packet.packet);
        }
    }

    fn sender_report(&mut self, track: TrackId, report: SenderReport) {
        if let Some((feed, input)) = self.route(track) {
            feed.sender_report(*input, report.ntp, report.rtp);
        }
    }
}
