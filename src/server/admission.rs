//! Who may publish, play and attend: the token's word, and a place in the room.

use std::sync::Arc;

use tokio::sync::watch;

use super::open_room::OpenRoom;
use super::publisher::Publisher;
use super::rooms::{NotOpened, Rooms};
use crate::control::api::GUEST;
use crate::control::auth::{Authority, Claims, Denied};
use crate::control::bans::Bans;
use crate::control::origin::Pace;
use crate::room::{
    Command, ParticipantId, Refused as RoomRefused, Role, RoomId, Session, TrackSource, Visitor,
};
use crate::rtc::ConnectionId;
use crate::rtc::core::verdict::Verdict;
use crate::rtc::roster::Roster;
use crate::rtc::session::{EnterRequest, Entered, Lost, Said, Seat, Stage};
use crate::rtc::whep::Audience;
use crate::rtc::whip::{Admission, Admitted, PublishRequest, Refused};

/// Names are shown to others; longer ones are cut.
const MAX_NAME_CHARS: usize = 80;

pub const BANNED: &str = "you may not come back into this room";

pub struct Door {
    pub rooms: Arc<Rooms>,
    pub authority: Authority,
    pub bans: Arc<Bans>,
    /// Of joins, of one room.
    pub pace: Option<Pace<RoomId>>,
}

impl Door {
    fn claims(
        &self,
        room: &RoomId,
        bearer: Option<&str>,
        allowed: fn(Role) -> bool,
    ) -> Result<Option<Claims>, Refused> {
        let caller = self.authority.identify(bearer);
        caller
            .check(room, allowed)
            .map(|claims| {
                let role = caller.role_in(room);
                let claims = claims.cloned();
                claims.map(|claims| Claims {
                    role: role.unwrap_or(claims.role),
                    ..claims
                })
            })
            .map_err(|denied| match denied {
                Denied::NoToken | Denied::BadToken(_) => Refused::Unauthorized(denied.to_string()),
                Denied::OtherRoom | Denied::RoleMayNot(_) => Refused::Forbidden(denied.to_string()),
            })
    }

    fn roster_for(
        &self,
        room: &RoomId,
        bearer: Option<&str>,
        allowed: fn(Role) -> bool,
    ) -> Result<watch::Receiver<Arc<Roster>>, Refused> {
        let claims = self.claims(room, bearer, allowed)?;
        self.check_ban(
            room,
            claims.as_ref().and_then(|claims| claims.sub.as_deref()),
        )?;
        let open = self.rooms.find(room);
        let detail = || format!("nobody publishes in {room} now");
        let open = open.ok_or_else(|| Refused::NoRoom(detail()))?;
        Ok(open.roster())
    }

    /// Who comes, by the token's word before their own.
    fn visitor(
        &self,
        claims: Option<Claims>,
        name: Option<String>,
        identity: Option<String>,
    ) -> Visitor {
        let publish = claims.as_ref().and_then(|claims| claims.publish.clone());
        let (identity, name, role) = match claims {
            Some(Claims {
                sub: Some(sub),
                name: told,
                role,
                ..
            }) => (Some(sub), told.or(name), role),
            // Nobody can take a subject's place by claiming its name.
            Some(claims) => {
                let identity = identity.map(|identity| format!("{GUEST}{identity}"));
                (identity, claims.name.or(name), claims.role)
            }
            None => (identity, name, Role::Host),
        };
        let name = name.unwrap_or_else(|| "Guest".to_owned());
        let shown = name.chars().filter(|c| !c.is_control());
        Visitor {
            session: self.rooms.new_session(),
            identity: identity.map(|identity| identity.chars().take(MAX_NAME_CHARS).collect()),
            name: shown.take(MAX_NAME_CHARS).collect(),
            role,
            publish: publish.unwrap_or(TrackSource::ALL.into()),
        }
    }

    fn check_pace(&self, room: &RoomId) -> Result<(), Refused> {
        let taken = self.pace.as_ref().map_or(Ok(()), |pace| pace.take(room));
        taken.map_err(|retry_after| Refused::TooOften {
            detail: format!("too many join this room: wait {} s", retry_after.as_secs()),
            retry_after,
        })
    }

    fn check_ban(&self, room: &RoomId, identity: Option<&str>) -> Result<(), Refused> {
        match identity.is_some_and(|identity| self.bans.is_banned(room, identity)) {
            true => Err(Refused::Forbidden(BANNED.to_owned())),
            false => Ok(()),
        }
    }

    fn open_room(&self, id: &RoomId) -> Result<Arc<OpenRoom>, Refused> {
        self.rooms.find_or_open(id).map_err(|why| match why {
            NotOpened::NoRoomLeft => {
                let detail =
                    "this server holds as many rooms as it may: end one, or raise room.max_rooms";
                Refused::Full(detail.to_owned())
            }
            NotOpened::NotMade => Refused::NoRoom(format!(
                "there is no room {id}; who runs this server makes it (PUT /api/v1/rooms/{id})"
            )),
        })
    }
}

fn refused(refused: RoomRefused) -> Refused {
    match refused {
        RoomRefused::Full(_) => Refused::Full(refused.to_string()),
        other => Refused::Forbidden(other.to_string()),
    }
}

impl Admission for Door {
    fn authorize(&self, room: &RoomId, bearer: Option<&str>) -> Result<(), Refused> {
        self.claims(room, bearer, Role::may_publish).map(drop)
    }

    fn admit(&self, request: PublishRequest<'_>) -> Result<Admitted, Refused> {
        let claims = self.claims(&request.room, request.bearer, Role::may_publish)?;
        let visitor = self.visitor(claims, request.name, request.identity);
        self.check_ban(&request.room, visitor.identity.as_deref())?;
        self.check_pace(&request.room)?;
        let room = self.open_room(&request.room)?;
        let session = visitor.session;
        let routes = room.join(visitor).map_err(refused)?;
        let publisher = Publisher::new(room.clone(), session, routes);
        Ok(Admitted {
            sink: Box::new(publisher),
            on_open: Box::new(move |connection| room.connection_opened(session, connection)),
        })
    }
}

impl Audience for Door {
    fn roster(
        &self,
        room: &RoomId,
        bearer: Option<&str>,
    ) -> Result<watch::Receiver<Arc<Roster>>, Refused> {
        // Whoever may enter the room at all may play in it.
        self.roster_for(room, bearer, |_| true)
    }

    fn roster_of_director(
        &self,
        room: &RoomId,
        bearer: Option<&str>,
    ) -> Result<watch::Receiver<Arc<Roster>>, Refused> {
        self.roster_for(room, bearer, Role::may_direct)
    }
}

impl Stage for Door {
    fn enter(&self, request: EnterRequest<'_>) -> Result<Entered, Refused> {
        let claims = self.claims(&request.room, request.token, Role::may_attend)?;
        let visitor = self.visitor(claims, request.name, request.identity);
        self.check_ban(&request.room, visitor.identity.as_deref())?;
        self.check_pace(&request.room)?;
        let room = self.open_room(&request.room)?;
        let session = visitor.session;
        let participant = room.attend(visitor).map_err(refused)?;
        let (roster, said) = (room.roster(), room.said());
        let seat = Box::new(RoomSeat {
            room,
            session,
            participant,
        });
        Ok(Entered {
            participant,
            roster,
            said,
            seat,
        })
    }
}

/// A session's place in a room.
struct RoomSeat {
    room: Arc<OpenRoom>,
    session: Session,
    participant: ParticipantId,
}

impl Seat for RoomSeat {
    fn say(&self, said: Said) {
        self.room.say(said);
    }

    fn lost(&self) -> Option<Lost> {
        if self.room.is_attended_by(self.session) {
            return None;
        }
        match self.room.participant(self.participant) {
            Some(_) => Some(Lost::Taken),
            None => Some(Lost::Removed),
        }
    }

    fn connects(&self, connection: ConnectionId) {
        self.room.attends_by(self.session, connection);
    }

    fn failed(&self, verdict: Verdict) {
        self.room.connection_failed(self.session, verdict);
    }
}

impl Drop for RoomSeat {
    fn drop(&mut self) {
        self.room.tell(Command::Unattend(self.session));
    }
}
