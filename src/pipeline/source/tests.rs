//! The source makes what a browser would send.

use super::*;
use crate::room::MediaKind;

/// What came in two seconds, of pictures and of sound.
async fn two_seconds(codec: VideoCodec) -> (Vec<AccessUnit>, Vec<AccessUnit>) {
    let settings = SourceSettings {
        codec,
        size: (640, 360),
        ..SourceSettings::default()
    };
    let mut source = Source::start(settings).unwrap();
    let began = Instant::now();
    let mut asked = false;
    let mut all = Vec::new();
    while began.elapsed() < Duration::from_secs(2) {
        all.push(source.next().await.expect("goes on"));
        if !asked && began.elapsed() > Duration::from_secs(1) {
            source.control().force_key_frame();
            asked = true;
        }
    }
    source.finish().unwrap();
    all.into_iter()
        .partition(|unit| unit.kind == MediaKind::Video)
}

async fn check(codec: VideoCodec) {
    let (pictures, sounds) = two_seconds(codec).await;
    // A busy machine leaves pictures out; never more than there are moments.
    assert!((20..=62).contains(&pictures.len()), "{}", pictures.len());
    assert!((80..=102).contains(&sounds.len()), "{}", sounds.len());
    assert!(pictures[0].key);
    let keys = pictures.iter().filter(|unit| unit.key).count();
    assert_eq!(keys, 2, "the first, and the one that was asked for");
    for units in [&pictures, &sounds] {
        assert!(units.is_sorted_by(|one, next| one.at < next.at));
        assert!(
            units[0].at < Duration::from_millis(300),
            "{:?}",
            units[0].at
        );
    }
}

#[tokio::test]
async fn h264_comes_in_real_time_with_key_frames_on_request() {
    check(VideoCodec::H264).await;
}

#[tokio::test]
async fn vp8_comes_in_real_time_with_key_frames_on_request() {
    check(VideoCodec::Vp8).await;
}

#[tokio::test]
async fn a_file_that_is_none_is_said_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "no media").unwrap();
    let input = Input::File {
        path: file.path().to_owned(),
        looped: true,
    };
    let mut source = Source::start(SourceSettings {
        input,
        ..SourceSettings::default()
    })
    .unwrap();
    assert!(source.next().await.is_none());
    assert!(source.finish().is_err());
}

#[tokio::test]
async fn a_file_plays_in_real_time_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.mkv");
    let write = format!(
        "videotestsrc num-buffers=25 ! video/x-raw,framerate=25/1,width=320,height=240 ! \
         x264enc ! h264parse ! matroskamux name=mux ! filesink location={} \
         audiotestsrc num-buffers=47 ! opusenc ! mux.",
        path.display()
    );
    gst::init().unwrap();
    let pipeline = gst::parse::launch(&write).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    use gst::prelude::*;
    pipeline.set_state(gst::State::Playing).unwrap();
    let control = Control::default();
    watch(&pipeline, &control, || {
        std::thread::sleep(LOOK);
        true
    })
    .unwrap();

    let input = Input::File { path, looped: true };
    let mut source = Source::start(SourceSettings {
        input,
        size: (320, 240),
        ..SourceSettings::default()
    })
    .unwrap();
    let began = Instant::now();
    let mut all = Vec::new();
    while began.elapsed() < Duration::from_secs(4) {
        all.push(source.next().await.expect("goes on"));
    }
    source.finish().unwrap();
    for (kind, a_second) in [(MediaKind::Video, 25), (MediaKind::Audio, 50)] {
        let units: Vec<_> = all.iter().filter(|unit| unit.kind == kind).collect();
        assert!(units.is_sorted_by(|one, next| one.at < next.at), "{kind:?}");
        let most = 5 * a_second;
        assert!(
            (most / 4..most).contains(&units.len()),
            "{} {kind:?}",
            units.len()
        );
        assert!(units[units.len() - 1].at > Duration::from_secs(2));
    }
}
