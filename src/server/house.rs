//! What the API asks, answered from rooms and archive.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::failures::Failures;
use super::participants;
use super::rooms::Rooms;
use super::settings::of_room;
use crate::control::api::{self, Answer, KnownBy};
use crate::control::participants::ParticipantDetail;
use crate::control::rooms::{MadeRoom, MadeRooms, RoomSettings};
use crate::control::views::{
    BroadcastView, ParticipantView, PreviewView, RecordingView, RoomStats, RoomView,
};
use crate::room::{self, BroadcastId, Command, Direction, ParticipantId, Refused, RoomId};
use crate::rtc::Rtc;
use crate::vod::{self, Archive};

pub struct House {
    pub rooms: Arc<Rooms>,
    pub rtc: Rtc,
    pub failures: Arc<Failures>,
    pub archive: Option<Archive>,
    pub layouts: Vec<String>,
    pub ladders: Vec<String>,
    pub made: Arc<MadeRooms>,
    /// What holds for rooms that nothing was set for.
    pub defaults: room::Settings,
}

impl api::House for House {
    fn rooms(&self, live: bool, cursor: Option<&RoomId>, most: usize) -> Vec<RoomView> {
        if live {
            let is_after = |id: &RoomId| cursor.is_none_or(|cursor| id > cursor);
            let open = self.rooms.all().into_iter();
            let open = open.filter(|room| room.is_live() && is_after(room.id()));
            let views = open.filter_map(|room| self.room(room.id()));
            return views.filter(|view| view.live).take(most).collect();
        }
        let mut names: BTreeSet<RoomId> = self.rooms.after(cursor, most).into_iter().collect();
        names.extend(self.made.after(cursor, most));
        let names = names.iter().take(most);
        names.filter_map(|id| self.room(id)).collect()
    }

    fn room(&self, id: &RoomId) -> Option<RoomView> {
        let made = self.made.find(id);
        let Some(room) = self.rooms.find(id) else {
            return made.map(|made| unused(id, &made, &self.defaults));
        };
        let live = room
            .live()
            .is_some_and(|live| live.is_playable() && !live.is_over());
        let refused = room.refused();
        Some(room.show(|state, broadcast, last_recording| RoomView {
            id: id.clone(),
            live: broadcast.is_some() && live,
            refused,
            broadcast: broadcast.map(|b| BroadcastView {
                shed: b.is_shed(),
                id: b.id,
                started_at: b.started_at,
            }),
            participants: state.participants().len(),
            layout: state.stage().layout().to_owned(),
            pinned: state.stage().pinned(),
            transition: state.stage().transition(),
            passthrough: state.stage().passthrough(),
            slate: state.stage().slate().map(str::to_owned),
            created_at: made.as_ref().map(|made| made.created_at),
            settings: made.map_or_else(RoomSettings::default, |made| made.settings.clone()),
            last_recording,
        }))
    }

    fn close_room(&self, id: &RoomId) {
        self.rooms.remove(id);
    }

    fn configure(&self, id: &RoomId, settings: &RoomSettings) {
        if let Some(room) = self.rooms.find(id) {
            let settings = Box::new(of_room(&self.defaults, settings));
            room.tell(Command::Configure(settings));
        }
    }

    fn participants(&self, id: &RoomId) -> Vec<ParticipantView> {
        let Some(room) = self.rooms.find(id) else {
            return Vec::new();
        };
        room.show(|state, _, _| {
            state
                .participants()
                .into_iter()
                .map(|one| participants::view(one, state.stage().is_on(one.id)))
                .collect()
        })
    }

    fn participant(
        &self,
        room: RoomId,
        id: ParticipantId,
    ) -> Answer<'_, Option<ParticipantDetail>> {
        Box::pin(async move {
            let present = self.rooms.find(&room);
            let present = present.and_then(|room| room.participant(id));
            let failed = self.failures.of(&room, id);
            Ok(participants::detail(present, failed, &self.rtc).await)
        })
    }

    fn known_by(&self, room: &RoomId, id: ParticipantId) -> Option<KnownBy> {
        let present = self.rooms.find(room)?.participant(id)?;
        Some(KnownBy {
            identity: present.participant.identity,
            name: present.participant.name,
        })
    }

    fn direct(&self, id: &RoomId, commands: Vec<Command>) -> Result<(), Refused> {
        let room = self.rooms.find(id).ok_or(Refused::Unused)?;
        room.direct(commands)
    }

    fn preview(&self, id: &RoomId, directions: Vec<Direction>) -> Result<(), Refused> {
        let room = self.rooms.find(id).ok_or(Refused::NotLive)?;
        room.preview(directions)
    }

    fn previewed(&self, id: &RoomId) -> Option<PreviewView> {
        let room = self.rooms.find(id)?;
        room.show(|state, _, _| {
            let stage = state.preview()?;
            let participants = state.participants().into_iter();
            let on_stage = participants.map(|one| one.id).filter(|id| stage.is_on(*id));
            Some(PreviewView {
                layout: stage.layout().to_owned(),
                pinned: stage.pinned(),
                slate: stage.slate().map(str::to_owned),
                on_stage: on_stage.collect(),
                whep: format!("/whep/{id}/preview"),
            })
        })
    }

    fn stats(&self, id: &RoomId) -> Option<RoomStats> {
        let open = self.rooms.find(id).map(|room| room.stats());
        open.or_else(|| self.made.find(id).map(|_| RoomStats::default()))
    }

    fn ladders(&self) -> Vec<String> {
        self.ladders.clone()
    }

    fn layouts(&self) -> Vec<String> {
        self.layouts.clone()
    }

    fn start_broadcast(&self, id: &RoomId) -> Result<BroadcastId, Refused> {
        // Who runs the show may begin it before anybody is there.
        let made = || self.made.find(id).map(|_| self.rooms.find_or_open(id));
        let room = self.rooms.find(id).or_else(|| made()?.ok());
        room.ok_or(Refused::Unused)?.start_broadcast()
    }

    fn stop_broadcast(&self, id: &RoomId) -> Result<(), Refused> {
        self.rooms
            .find(id)
            .ok_or(Refused::NotLive)?
            .stop_broadcast()
    }

    fn recordings(
        &self,
        cursor: Option<BroadcastId>,
        most: usize,
    ) -> Answer<'_, Vec<RecordingView>> {
        Box::pin(async move {
            match &self.archive {
                None => Ok(Vec::new()),
                Some(archive) => {
                    let list = archive.list(cursor, most).await;
                    let list = list.map_err(|e| e.to_string())?.into_iter();
                    Ok(list.map(|summary| self.shown(summary)).collect())
                }
            }
        })
    }

    fn recording(&self, id: BroadcastId) -> Answer<'_, Option<RecordingView>> {
        Box::pin(async move {
            match &self.archive {
                None => Ok(None),
                Some(archive) => {
                    let found = archive.find(id).await.map_err(|e| e.to_string())?;
                    Ok(found.map(|summary| self.shown(summary)))
                }
            }
        })
    }

    fn delete_recording(&self, id: BroadcastId) -> Answer<'_, ()> {
        Box::pin(async move {
            match &self.archive {
                None => Ok(()),
                Some(archive) => archive.delete(id).await.map_err(|e| e.to_string()),
            }
        })
    }
}

/// A room that was made, and that nobody is in.
fn unused(id: &RoomId, made: &MadeRoom, defaults: &room::Settings) -> RoomView {
    let settings = of_room(defaults, &made.settings);
    RoomView {
        id: id.clone(),
        live: false,
        broadcast: None,
        refused: None,
        participants: 0,
        layout: settings.layout,
        pinned: None,
        transition: settings.transition,
        passthrough: settings.passthrough,
        slate: None,
        created_at: Some(made.created_at),
        settings: made.settings.clone(),
        last_recording: None,
    }
}

impl House {
    fn shown(&self, summary: vod::Summary) -> RecordingView {
        let made = self.made.find(&summary.room);
        let is_private = made.is_some_and(|made| made.settings.private);
        RecordingView {
            private: summary.private || is_private,
            id: summary.id,
            room: summary.room,
            started_at: summary.started_at,
            duration_s: summary.duration.as_secs_f64(),
            state: summary.state.to_string(),
        }
    }
}
