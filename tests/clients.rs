//! A publisher of another stack, GStreamer's `whipsink`: what it sends is watched and recorded.
#![cfg(feature = "pipeline")]

mod support;

use std::path::Path;
use std::process::Command;

use gst::prelude::*;
use support::{SOON, Server, get, json, the_recording, wait_for};

/// Sound is cut where its frames end: of 21 ms each, at both ends of a segment.
const AAC_FRAMES_S: f32 = 0.045;

/// A running `whipsink`; it says goodbye when it is dropped.
struct WhipSink(gst::Pipeline);

impl WhipSink {
    fn start(endpoint: &str, video: &str) -> Self {
        gst::init().expect("GStreamer");
        gstwebrtchttp::plugin_register_static().expect("whipsink");
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=30/1 \
               ! {video} ! whip. \
             audiotestsrc is-live=true volume=0.1 ! audio/x-raw,rate=48000,channels=2 ! opusenc \
               ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! whip. \
             whipsink name=whip whip-endpoint={endpoint}"
        ));
        let pipeline = pipeline.expect("its elements are installed");
        let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
        // libnice leaves out the loopback interface unless it is told.
        let inside = pipeline.iterate_all_by_element_factory_name("webrtcbin");
        let webrtc = inside.into_iter().next().expect("one").expect("webrtcbin");
        let ice = webrtc.property::<gst::Object>("ice-agent");
        assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]));
        pipeline.set_state(gst::State::Playing).expect("it starts");
        Self(pipeline)
    }
}

impl Drop for WhipSink {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast bitrate=1000 key-int-max=60 \
     ! video/x-h264,profile=constrained-baseline \
     ! rtph264pay config-interval=-1 aggregate-mode=zero-latency \
     ! application/x-rtp,media=video,encoding-name=H264,payload=102";
const VP8: &str = "vp8enc deadline=1 cpu-used=8 target-bitrate=1000000 keyframe-max-dist=60 \
     ! rtpvp8pay picture-id-mode=2 ! application/x-rtp,media=video,encoding-name=VP8,payload=96";

fn check(video: &str) {
    let server = Server::start();
    let publisher = WhipSink::start(&server.url("/whip/show"), video);
    let live = server.url("/live/show/index.m3u8");
    let multivariant = wait_for("the stream is live", SOON, || {
        get(&live).filter(|text| text.contains("720p/index.m3u8"))
    });
    let name = multivariant
        .lines()
        .find(|line| line.ends_with("720p/index.m3u8"));
    let folder = server.url("/live/show/") + name.expect("720p").trim_end_matches("index.m3u8");
    wait_for("three segments", SOON, || {
        get(&format!("{folder}index.m3u8")).filter(|playlist| playlist.contains("\n2.m4s"))
    });
    assert_streams(&live, "1280,720");
    assert!(picture_moves(&live), "the ball is seen to move");
    check_segments(&folder.replace("720p/", ""), 3);

    drop(publisher);
    let id = the_recording(&server);
    assert_streams(&server.url(&format!("/vod/{id}/index.m3u8")), "1280,720");
    check_segments(&server.url(&format!("/vod/{id}/")), 3);
    let film = server.url(&format!("/vod/{id}/recording.mp4"));
    wait_for("recording.mp4 is made", SOON, || {
        reachable(&film).then_some(())
    });
    assert_streams(&film, "1280,720");
    let seconds = probe(&film, &["-show_entries", "format=duration"]);
    let listed = json(&server.url("/api/v1/recordings"))["items"][0]["duration_s"].as_f64();
    let (film_s, listed_s) = (
        seconds.trim().parse::<f64>().expect("seconds"),
        listed.expect("seconds"),
    );
    assert!(
        (film_s - listed_s).abs() < 0.2,
        "{film_s} s, and the list says {listed_s} s"
    );
}

#[test]
fn whipsink_publishes_h264() {
    check(H264);
}

#[test]
fn whipsink_publishes_vp8() {
    check(VP8);
}

/// Players join at any segment and change renditions at any: each begins with a key frame, and
/// all renditions have the same segments at the same times.
fn check_segments(folder: &str, at_least: usize) {
    let playlists = ["720p", "360p", "audio"].map(|rendition| {
        let text = bytes(&format!("{folder}{rendition}/index.m3u8"));
        m3u8_rs::parse_media_playlist_res(&text).expect("a media playlist")
    });
    let [of_picture, others @ ..] = &playlists;
    let shared = playlists.iter().map(|playlist| playlist.segments.len());
    let shared = shared.min().unwrap_or(0);
    assert!(shared >= at_least, "{shared} segments in {folder}");
    for (other, apart_s) in others.iter().zip([0.001, AAC_FRAMES_S]) {
        assert_eq!(other.media_sequence, of_picture.media_sequence);
        assert_eq!(other.target_duration, of_picture.target_duration);
        let pairs = other.segments.iter().zip(&of_picture.segments);
        for (nth, (one, picture)) in pairs.enumerate() {
            assert_eq!(one.uri, picture.uri);
            let began = |segment: &m3u8_rs::MediaSegment| segment.program_date_time;
            if let (Some(one), Some(picture)) = (began(one), began(picture)) {
                let apart = (one - picture).abs().as_seconds_f32();
                assert!(
                    apart < apart_s,
                    "{nth}: {one} beside {picture}, within {apart_s} s"
                );
            }
            // The last one ends where each encoder was when it was told to stop.
            if nth + 1 < shared {
                let apart = (one.duration - picture.duration).abs();
                assert!(
                    apart < apart_s,
                    "{nth}: {} s beside {} s, within {apart_s} s",
                    one.duration,
                    picture.duration
                );
            }
        }
    }
    let work = tempfile::tempdir().expect("a folder");
    for (rendition, playlist) in ["720p", "360p"].iter().zip(&playlists) {
        for segment in &playlist.segments {
            let init = bytes(&format!("{folder}{rendition}/init-0.mp4"));
            let media = bytes(&format!("{folder}{rendition}/{}", segment.uri));
            let file = work.path().join(format!("{rendition}-{}", segment.uri));
            std::fs::write(&file, [init, media].concat()).expect("written");
            assert!(begins_with_key_frame(&file), "{rendition}, {}", segment.uri);
        }
    }
}

fn bytes(url: &str) -> Vec<u8> {
    let url = url.to_owned();
    let fetched = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let fetch = async { reqwest::get(url).await?.error_for_status()?.bytes().await };
        runtime
            .expect("a runtime")
            .block_on(fetch)
            .expect("bytes")
            .to_vec()
    });
    fetched.join().expect("fetched")
}

fn reachable(url: &str) -> bool {
    get(&url.replace("recording.mp4", "thumbnails.vtt")).is_some()
}

fn probe(place: &str, arguments: &[&str]) -> String {
    let mut ffprobe = Command::new("ffprobe");
    let ffprobe = ffprobe
        .args(["-v", "error", "-of", "csv=p=0"])
        .args(arguments)
        .arg(place);
    let probed = ffprobe.output().expect("ffprobe");
    assert!(
        probed.status.success(),
        "{}",
        String::from_utf8_lossy(&probed.stderr)
    );
    String::from_utf8_lossy(&probed.stdout).into_owned()
}

/// H.264 of this size, and AAC.
fn assert_streams(url: &str, size: &str) {
    let streams = probe(url, &["-show_entries", "stream=codec_name,width,height"]);
    for wanted in [format!("h264,{size}"), "aac".to_owned()] {
        assert!(
            streams.lines().any(|line| line.starts_with(&wanted)),
            "no {wanted} in {url}: {streams}"
        );
    }
}

/// Its container says so, and a decoder that has seen nothing else agrees.
fn begins_with_key_frame(file: &Path) -> bool {
    let place = file.to_str().expect("a path");
    let first = |entries| {
        let arguments = ["-select_streams", "v", "-show_entries", entries];
        let all = probe(place, &arguments);
        all.lines().next().unwrap_or_default().to_owned()
    };
    first("packet=flags").starts_with('K') && first("frame=key_frame,pict_type").starts_with("1,I")
}

fn picture_moves(url: &str) -> bool {
    let decoded = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-live_start_index",
            "0",
            "-i",
            url,
            "-map",
            "0:v:0",
        ])
        .args([
            "-vf",
            "scale=64:36",
            "-frames:v",
            "90",
            "-f",
            "framemd5",
            "-",
        ])
        .output()
        .expect("ffmpeg");
    let text = String::from_utf8_lossy(&decoded.stdout).into_owned();
    let hashes: std::collections::BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit(',').next())
        .collect();
    hashes.len() > 20
}
