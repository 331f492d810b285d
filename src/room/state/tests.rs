//! Rooms by script, and the laws that hold for any script.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::room::{Codec, MediaKind, Role, Track, TrackNumber, TrackSource};

const AWAY: Duration = Duration::from_secs(30);
const VIDEO: TrackNumber = TrackNumber(1);

fn room() -> Room {
    let settings = Settings {
        max_participants: 3,
        away_for: AWAY,
        auto_broadcast: true,
        layouts: vec!["grid".to_owned(), "solo".to_owned()],
        layout: "grid".to_owned(),
        transition: Transition::default(),
        passthrough: false,
        ladder: None,
        record: true,
        private: false,
        keep_for: None,
    };
    Room::new("demo".parse().expect("a good name"), settings)
}

fn participant(n: u64) -> ParticipantId {
    ParticipantId(Uuid::from_u128(n.into()))
}

fn broadcast(n: u64) -> BroadcastId {
    BroadcastId(Uuid::from_u128(n.into()))
}

fn join(n: u64, identity: Option<&str>) -> Command {
    Command::Join {
        fresh: participant(n),
        visitor: Visitor {
            session: Session(n),
            identity: identity.map(str::to_owned),
            name: format!("guest {n}"),
            role: Role::Speaker,
            publish: TrackSource::ALL.into(),
        },
    }
}

fn camera() -> Track {
    Track {
        source: TrackSource::Camera,
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        muted: false,
        kept_out: false,
    }
}

fn started(n: u64) -> Command {
    Command::TrackStarted {
        session: Session(n),
        number: VIDEO,
        track: camera(),
    }
}

fn events(room: &mut Room) -> Vec<Event> {
    std::iter::from_fn(|| room.poll_event()).collect()
}

fn check(room: &mut Room, command: Command, now: Instant, expect: &[Event]) {
    let shown = format!("{command:?}");
    assert_eq!(room.handle(command, now), Ok(()), "{shown}");
    assert_eq!(events(room), expect, "{shown}");
}

#[test]
fn a_show_from_first_publisher_to_last() {
    let (mut room, now) = (room(), Instant::now());
    let p1 = participant(1);
    check(
        &mut room,
        join(1, None),
        now,
        &[Event::ParticipantJoined { participant: p1 }],
    );
    check(
        &mut room,
        Command::Connected(Session(1)),
        now,
        &[Event::BroadcastDue],
    );
    check(
        &mut room,
        Command::StartBroadcast(broadcast(9)),
        now,
        &[Event::BroadcastStarted(broadcast(9))],
    );
    check(
        &mut room,
        started(1),
        now,
        &[Event::TrackStarted {
            participant: p1,
            session: Session(1),
            number: VIDEO,
            track: camera(),
        }],
    );
    let muted = Command::TrackMuted {
        session: Session(1),
        number: VIDEO,
        muted: true,
    };
    check(
        &mut room,
        muted.clone(),
        now,
        &[Event::TrackMuted {
            participant: p1,
            session: Session(1),
            number: VIDEO,
            muted: true,
        }],
    );
    check(&mut room, muted, now, &[]);
    check(
        &mut room,
        Command::Left(Session(1)),
        now,
        &[
            Event::TrackEnded {
                participant: p1,
                session: Session(1),
                number: VIDEO,
            },
            Event::ParticipantLeft { participant: p1 },
            Event::BroadcastStopped(broadcast(9)),
        ],
    );
    assert!(room.is_idle());
}

#[test]
fn who_vanishes_keeps_the_place_for_a_while() {
    let (mut room, now) = (room(), Instant::now());
    for command in [
        join(1, Some("ada")),
        Command::Connected(Session(1)),
        started(1),
    ] {
        room.handle(command, now).expect("accepted");
    }
    room.handle(Command::StartBroadcast(broadcast(9)), now)
        .expect("accepted");
    events(&mut room);
    let p1 = participant(1);
    check(
        &mut room,
        Command::Lost(Session(1)),
        now,
        &[
            Event::TrackEnded {
                participant: p1,
                session: Session(1),
                number: VIDEO,
            },
            Event::ParticipantAway { participant: p1 },
        ],
    );
    check(
        &mut room,
        join(2, Some("ada")),
        now,
        &[Event::ParticipantReturned {
            participant: p1,
            replaced: None,
        }],
    );
    check(&mut room, Command::Connected(Session(2)), now, &[]);
    assert_eq!(room.handle(started(1), now), Err(Refused::StaleSession));

    room.handle(Command::Lost(Session(2)), now)
        .expect("accepted");
    events(&mut room);
    assert_eq!(room.poll_timeout().map(|(at, _)| at), Some(now + AWAY));
    room.handle_timeout(now + AWAY - Duration::from_millis(1));
    assert_eq!(events(&mut room), []);
    room.handle_timeout(now + AWAY);
    assert_eq!(
        events(&mut room),
        [
            Event::ParticipantLeft { participant: p1 },
            Event::BroadcastStopped(broadcast(9))
        ]
    );
}

#[test]
fn the_same_participant_at_a_second_window_replaces_the_first() {
    let (mut room, now) = (room(), Instant::now());
    for command in [
        join(1, Some("ada")),
        Command::Connected(Session(1)),
        started(1),
    ] {
        room.handle(command, now).expect("accepted");
    }
    events(&mut room);
    check(
        &mut room,
        join(2, Some("ada")),
        now,
        &[
            Event::TrackEnded {
                participant: participant(1),
                session: Session(1),
                number: VIDEO,
            },
            Event::ParticipantReturned {
                participant: participant(1),
                replaced: Some(Session(1)),
            },
        ],
    );
}

#[test]
fn who_never_connected_leaves_no_place() {
    let (mut room, now) = (room(), Instant::now());
    room.handle(join(1, Some("ada")), now).expect("accepted");
    room.handle(Command::Lost(Session(1)), now)
        .expect("accepted");
    assert!(room.is_idle());
}

#[test]
fn refusals() {
    let (mut room, now) = (room(), Instant::now());
    let viewer = Command::Join {
        fresh: participant(1),
        visitor: Visitor {
            session: Session(1),
            identity: None,
            name: String::new(),
            role: Role::Viewer,
            publish: TrackSource::ALL.into(),
        },
    };
    assert_eq!(
        room.handle(viewer, now),
        Err(Refused::MayNotPublish(Role::Viewer))
    );
    for n in 1..=3 {
        room.handle(join(n, None), now).expect("accepted");
    }
    assert_eq!(room.handle(join(4, None), now), Err(Refused::Full(3)));
    assert_eq!(
        room.handle(Command::StopBroadcast, now),
        Err(Refused::NotLive)
    );
    room.handle(Command::StartBroadcast(broadcast(1)), now)
        .expect("accepted");
    assert_eq!(
        room.handle(Command::StartBroadcast(broadcast(2)), now),
        Err(Refused::AlreadyLive)
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    let session = 0..12u64;
    prop_oneof![
        (0..8u64, 0..3u8)
            .prop_map(|(n, who)| join(n, (who > 0).then(|| ["", "ada", "bob"][who as usize]))),
        session.clone().prop_map(|n| Command::Connected(Session(n))),
        session.clone().prop_map(started),
        session.clone().prop_map(|n| Command::Left(Session(n))),
        session.prop_map(|n| Command::Lost(Session(n))),
        (0..9u64).prop_map(|n| Command::StartBroadcast(broadcast(n))),
        Just(Command::StopBroadcast),
    ]
}

proptest! {
    /// Whatever happens: each track that starts ends once, broadcasts never overlap, and when
    /// all have left or timed out, the room is idle but for a broadcast somebody started by hand.
    #[test]
    fn any_script_balances(script in prop::collection::vec(any_command(), 0..60)) {
        let (mut room, mut now) = (room(), Instant::now());
        let (mut open, mut live) = (std::collections::BTreeSet::new(), None);
        let connections = script.len() as u64;
        let goodbyes = (0..connections).map(|n| Command::Left(Session(n)));
        for (nth, mut command) in script.into_iter().chain(goodbyes).enumerate() {
            if let Command::Join { fresh, visitor } = &mut command {
                (*fresh, visitor.session) = (participant(nth as u64), Session(nth as u64));
            }
            now += Duration::from_secs(1);
            let _ = room.handle(command, now);
            room.handle_timeout(now);
            for event in events(&mut room) {
                match event {
                    Event::TrackStarted { session, number, .. } => prop_assert!(open.insert((session, number))),
                    Event::TrackEnded { session, number, .. } => prop_assert!(open.remove(&(session, number))),
                    Event::BroadcastStarted(id) => prop_assert_eq!(live.replace(id), None),
                    Event::BroadcastStopped(id) => prop_assert_eq!(live.take(), Some(id)),
                    _ => {}
                }
            }
        }
        room.handle_timeout(now + AWAY);
        prop_assert!(room.participants().is_empty());
        prop_assert!(open.is_empty());
    }
}

#[test]
fn a_slate_is_short_and_passthrough_is_told_once() {
    let (mut room, now) = (room(), Instant::now());
    for command in [
        Command::Direct(Direction::Slate(Some("Back soon".into()))),
        Command::Direct(Direction::Slate(Some("Back soon".into()))),
        Command::SetPassthrough(true),
        Command::SetPassthrough(true),
        Command::Direct(Direction::Slate(None)),
    ] {
        room.handle(command, now).expect("done");
    }
    assert_eq!(
        events(&mut room),
        [
            Event::SlateChanged(Some("Back soon".into())),
            Event::PassthroughChanged(true),
            Event::SlateChanged(None),
        ]
    );
    for bad in [String::new(), "  ".into(), "x".repeat(121)] {
        let refused = room.handle(Command::Direct(Direction::Slate(Some(bad))), now);
        assert_eq!(refused, Err(Refused::BadSlate));
    }
}

#[test]
fn a_producer_directs_layout_stage_and_order() {
    let (mut room, now) = (room(), Instant::now());
    for n in 1..=3 {
        room.handle(join(n, None), now).expect("joined");
        room.handle(Command::Connected(Session(n)), now)
            .expect("here");
    }
    events(&mut room);
    room.handle(Command::Direct(Direction::Layout("solo".into())), now)
        .expect("known");
    room.handle(Command::Direct(Direction::Layout("solo".into())), now)
        .expect("the same, which is no news");
    room.handle(Command::Direct(Direction::Pin(Some(participant(2)))), now)
        .expect("here");
    let off = Command::Direct(Direction::Put {
        participant: participant(3),
        on: false,
    });
    room.handle(off, now).expect("here");
    let to_the_front = Command::Move {
        participant: participant(3),
        place: 0,
    };
    room.handle(to_the_front, now).expect("here");
    assert_eq!(
        events(&mut room),
        [
            Event::LayoutChanged("solo".into()),
            Event::Pinned(Some(participant(2))),
            Event::StageChanged {
                participant: participant(3),
                on: false
            },
            Event::OrderChanged,
        ]
    );
    let order: Vec<_> = room.participants().iter().map(|p| p.id).collect();
    assert_eq!(order, [3, 1, 2].map(participant));
    assert!(!room.stage().is_on(participant(3)) && room.stage().is_on(participant(1)));
    assert_eq!(room.stage().featured(), Some(participant(2)));
    room.handle(Command::Left(Session(2)), now).expect("here");
    assert_eq!(
        (room.stage().pinned(), room.stage().featured()),
        (None, None)
    );
    assert!(events(&mut room).contains(&Event::Pinned(None)));
    let refused = [
        Command::Direct(Direction::Layout("none".into())),
        Command::Direct(Direction::Pin(Some(participant(9)))),
        Command::Direct(Direction::Put {
            participant: participant(9),
            on: true,
        }),
        Command::Move {
            participant: participant(9),
            place: 0,
        },
    ];
    assert!(
        refused
            .into_iter()
            .all(|command| room.handle(command, now).is_err())
    );
    assert_eq!(events(&mut room), []);
}

#[test]
fn a_producer_sees_what_would_be_and_takes_it_as_one_change() {
    let (mut room, now) = (room(), Instant::now());
    let solo = || Direction::Layout("solo".into());
    let preview = |directions: &[Direction]| Command::Preview(directions.to_vec());
    assert_eq!(
        room.handle(preview(&[solo()]), now),
        Err(Refused::NotLive),
        "nothing is shown that it could be compared to"
    );
    for n in 1..=2 {
        room.handle(join(n, None), now).expect("joined");
        room.handle(Command::Connected(Session(n)), now)
            .expect("here");
    }
    room.handle(Command::StartBroadcast(broadcast(1)), now)
        .expect("not live yet");
    events(&mut room);
    assert_eq!(room.handle(Command::Take, now), Err(Refused::NoPreview));
    let next = [
        solo(),
        Direction::Pin(Some(participant(2))),
        Direction::Put {
            participant: participant(1),
            on: false,
        },
    ];
    room.handle(preview(&next), now).expect("good");
    room.handle(preview(&next), now).expect("no news");
    assert_eq!(events(&mut room), [Event::PreviewChanged { on: true }]);
    let shown = room.preview().expect("there is one");
    assert_eq!((shown.layout(), room.stage().layout()), ("solo", "grid"));
    assert!(!shown.is_on(participant(1)) && room.stage().is_on(participant(1)));

    let bad = [solo(), Direction::Layout("none".into())];
    assert!(room.handle(preview(&bad), now).is_err());
    assert_eq!(room.preview(), Some(shown.clone()), "as it was");

    room.handle(Command::Take, now).expect("there is one");
    assert_eq!(
        events(&mut room),
        [
            Event::LayoutChanged("solo".into()),
            Event::Pinned(Some(participant(2))),
            Event::StageChanged {
                participant: participant(1),
                on: false
            },
        ]
    );
    assert_eq!(room.preview().as_ref(), Some(room.stage()));

    room.handle(preview(&[Direction::Pin(Some(participant(1)))]), now)
        .expect("here");
    room.handle(Command::Left(Session(1)), now).expect("here");
    assert_eq!(
        room.preview().and_then(|stage| stage.pinned()),
        Some(participant(2)),
        "nobody waits for who is gone"
    );
    events(&mut room);
    room.handle(Command::StopBroadcast, now).expect("live");
    assert_eq!(
        events(&mut room),
        [
            Event::PreviewChanged { on: false },
            Event::BroadcastStopped(broadcast(1)),
        ]
    );
    assert_eq!(room.preview(), None);
}

#[test]
fn who_spoke_last_stays_large_while_all_are_silent() {
    let (mut room, mut now) = (room(), Instant::now());
    for n in 1..=2 {
        room.handle(join(n, None), now).expect("joined");
    }
    assert_eq!(room.stage().featured(), None);
    for n in 0..100 {
        now += Duration::from_millis(100);
        // The second one speaks, and falls silent.
        let level = if n < 30 { 20 } else { 127 };
        for (session, level) in [(1, 127), (2, level)] {
            let level = Command::Level {
                session: Session(session),
                level,
            };
            room.handle(level, now).expect("here");
        }
    }
    assert_eq!(
        (room.speaking(), room.stage().featured()),
        (None, Some(participant(2)))
    );
}

#[test]
fn who_is_muted_is_not_heard_whatever_they_publish_and_after_they_came_back() {
    let (mut room, now) = (room(), Instant::now());
    let mute = |sources: &[TrackSource]| Command::Mute {
        participant: participant(1),
        sources: sources.iter().copied().collect::<BTreeSet<_>>(),
    };
    assert_eq!(
        room.handle(mute(&[TrackSource::Microphone]), now),
        Err(Refused::NoSuchParticipant)
    );
    room.handle(join(1, Some("ada")), now).expect("joins");
    room.handle(started(1), now).expect("publishes");
    let loud = |room: &mut Room, session: u64| {
        for ms in 0..100 {
            let level = Command::Level {
                session: Session(session),
                level: 10,
            };
            let at = now + Duration::from_millis(ms * 20);
            room.handle(level, at).expect("heard");
        }
        room.speaking()
    };
    assert_eq!(loud(&mut room, 1), Some(participant(1)));
    let silent = [TrackSource::Microphone, TrackSource::Camera];
    room.handle(mute(&silent), now).expect("muted");
    assert_eq!(room.speaking(), None);
    room.handle(join(2, Some("ada")), now).expect("comes back");
    assert_eq!(loud(&mut room, 2), None);
    room.handle(started(2), now).expect("publishes");
    let ada = room.participants()[0];
    assert!(ada.tracks.values().all(|track| ada.is_muted(track)));
    // Nor after they left.
    room.handle(Command::Left(Session(2)), now).expect("leaves");
    assert!(room.participants().is_empty());
    let again = Command::Join {
        fresh: participant(1),
        visitor: Visitor {
            session: Session(3),
            identity: Some("ada".to_owned()),
            name: "Ada".to_owned(),
            role: Role::Speaker,
            publish: TrackSource::ALL.into(),
        },
    };
    room.handle(again, now).expect("comes back");
    assert_eq!(loud(&mut room, 3), None);
    room.handle(started(3), now).expect("publishes");
    room.handle(mute(&[]), now).expect("heard again");
    assert_eq!(loud(&mut room, 3), Some(participant(1)));
    let ada = room.participants()[0];
    assert!(!ada.tracks.values().any(|track| ada.is_muted(track)));
}

#[test]
fn who_is_removed_is_gone_with_their_connections_and_the_broadcast_of_the_last() {
    let (mut room, now) = (room(), Instant::now());
    room.handle(join(1, None), now).expect("joins");
    room.handle(Command::Connected(Session(1)), now)
        .expect("connected");
    room.handle(Command::StartBroadcast(broadcast(1)), now)
        .expect("live");
    room.handle(started(1), now).expect("publishes");
    while room.poll_event().is_some() {}
    room.handle(Command::Remove(participant(1)), now)
        .expect("removed");
    let events: Vec<_> = std::iter::from_fn(|| room.poll_event()).collect();
    assert_eq!(
        events,
        [
            Event::ParticipantRemoved {
                participant: participant(1),
                publishing: Some(Session(1)),
            },
            Event::TrackEnded {
                participant: participant(1),
                session: Session(1),
                number: VIDEO,
            },
            Event::ParticipantLeft {
                participant: participant(1),
            },
            Event::BroadcastStopped(broadcast(1)),
        ]
    );
    // What their connection still says is ignored.
    assert_eq!(
        room.handle(Command::Left(Session(1)), now),
        Err(Refused::StaleSession)
    );
    assert_eq!(
        room.handle(Command::Remove(participant(1)), now),
        Err(Refused::NoSuchParticipant)
    );
}

#[test]
fn a_deleted_room_is_empty_and_nobody_comes_any_more() {
    let (mut room, now) = (room(), Instant::now());
    for n in [1, 2] {
        room.handle(join(n, None), now).expect("joins");
    }
    room.handle(Command::StartBroadcast(broadcast(1)), now)
        .expect("live");
    room.handle(Command::Delete, now).expect("deleted");
    assert!(room.is_idle());
    assert_eq!(room.handle(join(3, None), now), Err(Refused::Deleted));
    let again = Command::StartBroadcast(broadcast(2));
    assert_eq!(room.handle(again, now), Err(Refused::Deleted));
}

#[test]
fn settings_hold_at_once_and_what_a_program_begins_with_from_the_next() {
    let (mut room, now) = (room(), Instant::now());
    let settings = Settings {
        layout: "solo".to_owned(),
        auto_broadcast: false,
        max_participants: 1,
        ..room.settings().clone()
    };
    room.handle(Command::StartBroadcast(broadcast(1)), now)
        .expect("live");
    room.handle(Command::Configure(Box::new(settings)), now)
        .expect("set");
    assert_eq!(room.stage().layout(), "grid");
    room.handle(join(1, None), now).expect("joins");
    assert_eq!(room.handle(join(2, None), now), Err(Refused::Full(1)));
    // Manual: it goes on without anybody.
    room.handle(Command::Left(Session(1)), now).expect("leaves");
    assert_eq!(room.broadcast(), Some(broadcast(1)));
    room.handle(Command::StopBroadcast, now).expect("ends");
    assert_eq!(room.stage().layout(), "solo");
}
