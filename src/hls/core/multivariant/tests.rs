//! The multivariant playlist as players read it.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use m3u8_rs::MasterPlaylist;

use super::super::codecs::tests::{audio_init, video_init};
use super::super::rendition::Rendition;
use super::super::segment::{Init, Part};
use super::super::timeline::{Grid, Timeline};

fn timeline() -> Timeline {
    let grid = Grid {
        segment: Duration::from_secs(2),
        part: Duration::from_secs(1),
        window: Duration::from_secs(60),
    };
    let renditions = vec![
        Rendition::video("720p", 1280, 720, 30.0, 2_500_000),
        Rendition::video("360p", 640, 360, 29.97002997, 700_000),
        Rendition::audio("audio", 128_000),
    ];
    let mut timeline = Timeline::new(grid, DateTime::UNIX_EPOCH, renditions);
    for name in ["720p", "360p", "audio"] {
        let bytes = if name == "audio" {
            audio_init()
        } else {
            video_init()
        };
        let init = Init {
            rendition: name.into(),
            bytes: bytes.into(),
        };
        timeline.push_init(init).unwrap();
    }
    timeline
}

fn push(timeline: &mut Timeline, name: &str, second: u64, size: usize) {
    let part = Part {
        rendition: name.into(),
        decode_time: Duration::from_secs(second),
        duration: Duration::from_secs(1),
        independent: true,
        segment: second / 2,
        ends_segment: !second.is_multiple_of(2),
        discontinuity: false,
        bytes: Bytes::from(vec![0; size]),
    };
    timeline.push_part(part).unwrap();
}

fn parse(timeline: &Timeline) -> MasterPlaylist {
    let text = super::write(timeline.tracks(), "b/").unwrap();
    m3u8_rs::parse_master_playlist_res(&text).unwrap()
}

#[test]
fn there_is_a_choice_once_everything_plays() {
    let mut timeline = timeline();
    assert_eq!(super::write(timeline.tracks(), ""), None);
    push(&mut timeline, "720p", 0, 250_000);
    push(&mut timeline, "360p", 0, 50_000);
    assert_eq!(super::write(timeline.tracks(), ""), None);
    push(&mut timeline, "audio", 0, 16_000);

    let playlist = parse(&timeline);
    assert!(playlist.independent_segments);
    let [high, low, sound] = &playlist.variants[..] else {
        panic!("{playlist:?}")
    };
    assert_eq!(high.uri, "b/720p/index.m3u8");
    assert_eq!(high.codecs.as_deref(), Some("avc1.4d401f,mp4a.40.2"));
    assert_eq!(high.bandwidth, 2_628_000, "declared");
    assert_eq!(high.frame_rate, Some(30.0));
    assert_eq!(high.resolution.unwrap().height, 720);
    assert_eq!(low.frame_rate, Some(29.97));
    assert_eq!(sound.codecs.as_deref(), Some("mp4a.40.2"));
    assert_eq!(sound.uri, "b/audio/index.m3u8");
    assert_eq!(sound.resolution, None);
    let [group] = &playlist.alternatives[..] else {
        panic!("{playlist:?}")
    };
    assert_eq!(group.uri.as_deref(), Some("b/audio/index.m3u8"));
    assert!(group.default && high.audio.as_deref() == Some(&group.group_id));
}

#[test]
fn bandwidth_is_what_was_measured() {
    let mut timeline = timeline();
    for (second, size) in [(0, 300_000), (1, 200_000), (2, 100_000), (3, 100_000)] {
        push(&mut timeline, "720p", second, size);
        push(&mut timeline, "360p", second, 50_000);
        push(&mut timeline, "audio", second, 10_000);
    }
    let high = &parse(&timeline).variants[0];
    assert_eq!(high.bandwidth, 2_000_000 + 80_000);
    assert_eq!(high.average_bandwidth, Some(1_400_000 + 80_000));
}
