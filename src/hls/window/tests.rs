//! Who waits is woken; who asks for the impossible is not kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use uuid::Uuid;

use super::super::core::codecs::tests::{audio_init, video_init};
use super::super::core::reload::{Wanted, parse_query};
use super::*;

/// A broadcast of two renditions with their init segments and no part.
pub fn live(max_waiting: usize) -> Arc<Live> {
    live_with(Settings {
        max_waiting,
        ..Settings::default()
    })
}

fn live_with(settings: Settings) -> Arc<Live> {
    let renditions = vec![
        Rendition::video("720p", 1280, 720, 30.0, 2_500_000),
        Rendition::audio("audio", 128_000),
    ];
    let broadcast = BroadcastId(Uuid::nil());
    let live = Live::new(settings, broadcast, DateTime::UNIX_EPOCH, renditions);
    for (name, bytes) in [("720p", video_init()), ("audio", audio_init())] {
        let init = Init {
            rendition: name.into(),
            bytes: bytes.into(),
        };
        live.push_init(init).unwrap();
    }
    Arc::new(live)
}

/// Pushes the `number`th part of 200 ms of both renditions; 10 make a segment.
pub fn push(live: &Live, number: u64) -> Vec<ClosedSegment> {
    let both = ["720p", "audio"].map(|name| {
        let part = Part {
            rendition: name.into(),
            decode_time: Duration::from_millis(200 * number),
            duration: Duration::from_millis(200),
            independent: number.is_multiple_of(10) || name == "audio",
            segment: number / 10,
            ends_segment: number % 10 == 9,
            discontinuity: false,
            bytes: Bytes::from(format!("[{name} {number}]")),
        };
        live.push_part(part).unwrap()
    });
    both.concat()
}

fn ask(
    live: &Arc<Live>,
    query: &str,
) -> tokio::task::JoinHandle<Result<Arc<Playlist>, Unavailable>> {
    let (live, directives) = (live.clone(), parse_query(query).unwrap());
    tokio::spawn(async move { live.playlist("720p", directives).await })
}

#[tokio::test]
async fn who_waits_gets_the_part_with_everyone_else() {
    let live = live(10);
    push(&live, 0);
    let waiting = [1, 2].map(|_| ask(&live, "_HLS_msn=0&_HLS_part=1"));
    tokio::task::yield_now().await;
    assert_eq!(live.waiting(), 2);
    push(&live, 1);
    let mut got = Vec::new();
    for answer in waiting {
        got.push(answer.await.unwrap().unwrap());
    }
    assert!(Arc::ptr_eq(&got[0], &got[1]), "rendered once");
    assert!(got[0].full.plain.ends_with(b"LAST-PART=0\n"));
    assert_eq!(live.waiting(), 0);
}

#[tokio::test]
async fn nobody_waits_longer_than_three_target_durations() {
    let live = live_with(Settings {
        segment: Duration::from_millis(500),
        ..Settings::default()
    });
    push(&live, 0);
    let since = std::time::Instant::now();
    let answer = ask(&live, "_HLS_msn=1").await.unwrap();
    assert_eq!(answer.unwrap_err(), Unavailable::TooLate);
    assert!((3..5).contains(&since.elapsed().as_secs()));
}

#[tokio::test]
async fn the_hinted_part_comes_and_others_do_not() {
    let live = live(10);
    push(&live, 0);
    let hinted = {
        let live = live.clone();
        tokio::spawn(async move { live.part("720p", 0, 1).await })
    };
    tokio::task::yield_now().await;
    push(&live, 1);
    assert_eq!(hinted.await.unwrap().unwrap(), "[720p 1]");
    assert_eq!(live.part("720p", 0, 9).await, Err(Unavailable::NotFound));
    assert_eq!(live.part("4k", 0, 0).await, Err(Unavailable::NotFound));
}

#[tokio::test]
async fn a_hint_that_is_never_kept_is_let_go() {
    let live = live(10);
    push(&live, 0);
    let hinted = {
        let live = live.clone();
        tokio::spawn(async move { live.part("720p", 0, 1).await })
    };
    tokio::task::yield_now().await;
    live.discontinuity();
    live.end();
    assert_eq!(hinted.await.unwrap(), Err(Unavailable::NotFound));
}

#[tokio::test]
async fn there_is_room_for_so_many() {
    let live = live(1);
    push(&live, 0);
    let first = ask(&live, "_HLS_msn=0&_HLS_part=1");
    tokio::task::yield_now().await;
    let second = ask(&live, "_HLS_msn=0&_HLS_part=1").await.unwrap();
    assert_eq!(second.unwrap_err(), Unavailable::Full);
    live.end();
    assert!(first.await.unwrap().unwrap().over, "the end wakes all");
    assert!(live.is_over());
}

#[tokio::test]
async fn a_far_off_part_is_refused() {
    let live = live(1);
    push(&live, 0);
    let directives = Directives {
        wanted: Some(Wanted { msn: 3, part: None }),
        skip: false,
    };
    let answer = live.playlist("720p", directives).await.unwrap_err();
    let expect = BadRequest::MsnTooFar { msn: 3, edge: 0 };
    assert_eq!(answer, Unavailable::BadRequest(expect));
}

#[tokio::test]
async fn a_segment_is_its_parts_once_closed() {
    let live = live(1);
    assert!(!live.is_playable());
    for number in 0..9 {
        assert!(push(&live, number).is_empty());
    }
    assert!(live.is_playable());
    assert_eq!(live.segment("720p", 0), Err(Unavailable::NotFound));
    let closed = push(&live, 9);
    assert_eq!(closed.len(), 2);
    assert_eq!(live.segment("720p", 0).unwrap(), closed[0].parts);
    assert_eq!(live.latest_part("720p"), Some((0, 9)));
}

#[tokio::test]
async fn a_part_that_is_too_long_is_told_of_only_while_it_is_listed() {
    let live = live(10);
    let part_target = async || {
        let playlist = ask(&live, "").await.unwrap().unwrap();
        let text = String::from_utf8(playlist.full.plain.to_vec()).unwrap();
        let (_, rest) = text.split_once("PART-TARGET=").unwrap();
        rest.lines().next().unwrap().to_owned()
    };
    for number in 0..8 {
        push(&live, number);
    }
    assert_eq!(part_target().await, "0.2");
    let long = Part {
        rendition: "720p".into(),
        decode_time: Duration::from_millis(1600),
        duration: Duration::from_millis(400),
        independent: false,
        segment: 0,
        ends_segment: true,
        discontinuity: false,
        bytes: Bytes::from_static(b"long"),
    };
    live.push_part(long).unwrap();
    assert_eq!(part_target().await, "0.4");
    for number in 10..40 {
        push(&live, number);
    }
    assert_eq!(part_target().await, "0.2");
}
