//! The program goes on: whatever happens to its process, and whatever its inputs send.

mod support;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;
use support::publisher::Publisher;
use support::{SOON, Server, child_of, get, json, signal, wait_for};

/// Encoders of several servers at once are too much for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const DISCONTINUITY: &str = "#EXT-X-DISCONTINUITY\n";
const SMALL: [&str; 4] = ["--size", "320x180", "--bitrate", "300"];

fn publish(server: &Server, name: &str, more: &[&str]) -> Publisher {
    let all = [&SMALL[..], &["--name", name], more].concat();
    Publisher::start(server, "show", &all)
}

/// A show that is on air with one publisher, and the media playlist of its best rendition.
fn on_air(environment: &[(&str, &str)]) -> (Server, Publisher, String) {
    let server = Server::start_with(&[], environment);
    let publisher = publish(&server, "good", &[]);
    let multivariant = wait_for("the stream is live", SOON, || {
        get(&server.url("/live/show/index.m3u8"))
    });
    let mut lines = multivariant.lines();
    let media = lines.find(|line| line.ends_with("720p/index.m3u8"));
    let playlist = server.url(&format!("/live/show/{}", media.expect("720p")));
    wait_for("parts", SOON, || {
        get(&playlist).filter(|text| text.contains("#EXT-X-PART:"))
    });
    (server, publisher, playlist)
}

/// Waits for parts after so many discontinuities; how long that took.
fn parts_after(playlist: &str, discontinuities: usize) -> Duration {
    let asked = Instant::now();
    wait_for("parts again", SOON, || {
        let text = get(playlist)?;
        let mut after = text.splitn(discontinuities + 1, DISCONTINUITY);
        after
            .nth(discontinuities)?
            .contains("#EXT-X-PART:")
            .then_some(())
    });
    asked.elapsed()
}

fn discontinuities(playlist: &str) -> usize {
    get(playlist).map_or(0, |text| text.matches(DISCONTINUITY).count())
}

fn newest_part(playlist: &str) -> Option<String> {
    let text = get(playlist)?;
    let part = text.lines().rfind(|line| line.starts_with("#EXT-X-PART:"));
    part.map(str::to_owned)
}

/// Of everybody's tracks: the publisher's name, and whether the track is kept out.
fn tracks(server: &Server) -> Vec<(String, bool)> {
    let participants = json(&server.url("/api/v1/rooms/show/participants"));
    let items = participants["items"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = |item: &serde_json::Value| {
        let name = item["name"].as_str().unwrap_or_default().to_owned();
        let tracks = item["tracks"].as_array().cloned().unwrap_or_default();
        tracks
            .into_iter()
            .map(move |track| (name.clone(), track["kept_out"] == true))
            .collect::<Vec<_>>()
    };
    items.iter().flat_map(of).collect()
}

#[test]
fn a_child_that_hangs_is_replaced_soon() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (server, _good, playlist) = on_air(&[]);
    let child = child_of(server.pid()).expect("the child");
    signal(child, Signal::SIGSTOP);
    let stopped = Instant::now();
    wait_for("it is found out", SOON, || {
        (child_of(server.pid())? != child).then_some(())
    });
    println!("SIGSTOP to its detection: {:?}", stopped.elapsed());
    println!(
        "from there to the next part: {:?}",
        parts_after(&playlist, 1)
    );
    assert_eq!(discontinuities(&playlist), 1);
}

/// An encoder of the operator's with an endless queue beside it: some forty megabytes a second.
#[test]
fn a_child_that_leaks_is_replaced() {
    const LEAKY: &str = r#"
element = "tee name=leak{bitrate_kbps} ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=0 ! identity sleep-time=100000 ! fakesink async=false leak{bitrate_kbps}. ! queue ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=600 option-string=scenecut=0 threads=1 bitrate={bitrate_kbps}"
caps = "video/x-h264,profile=constrained-baseline"
"#;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("encoders")).expect("a folder");
    std::fs::write(folder.path().join("encoders/leaky.toml"), LEAKY).expect("a file");
    let pipelines = folder.path().to_str().expect("a path");
    let (server, _good, playlist) = on_air(&[
        ("AMPHI_PROGRAM_PIPELINES", pipelines),
        ("AMPHI_PROGRAM_ENCODER", "leaky"),
        ("AMPHI_PROGRAM_MAX_MEMORY_MB", "300"),
    ]);
    let first = child_of(server.pid()).expect("the child");
    wait_for("the leak is found", Duration::from_secs(60), || {
        (child_of(server.pid())? != first).then_some(())
    });
    println!(
        "from there to the next part: {:?}",
        parts_after(&playlist, 1)
    );
    assert_eq!(discontinuities(&playlist), 1);
}

/// A segmentation fault in the thread of one publisher's input, twice.
#[test]
fn who_crashes_the_program_twice_is_kept_out_and_the_others_go_on() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (server, _good, playlist) = on_air(&[]);
    wait_for("two inputs", SOON, || {
        (tracks(&server).len() == 2).then_some(())
    });
    let _bad = publish(&server, "bad", &[]);
    wait_for("four inputs", SOON, || {
        (tracks(&server).len() == 4).then_some(())
    });
    for crash in 1..=2 {
        let child = child_of(server.pid()).expect("the child");
        crash_newest_input(child);
        println!(
            "crash {crash} to the next part: {:?}",
            parts_after(&playlist, crash)
        );
    }
    wait_for("it is kept out", SOON, || {
        tracks(&server)
            .iter()
            .any(|(_, kept_out)| *kept_out)
            .then_some(())
    });
    let tracks = tracks(&server);
    assert_eq!(tracks.len(), 4, "all are still there: {tracks:?}");
    let kept_out: Vec<_> = tracks.iter().filter(|(_, kept_out)| *kept_out).collect();
    assert_eq!(kept_out, [&("bad".to_owned(), true)]);
    let before = newest_part(&playlist);
    wait_for("the program goes on", SOON, || {
        (newest_part(&playlist)? != before.clone()?).then_some(())
    });
    assert_eq!(discontinuities(&playlist), 2);
}

/// Inputs are numbered as they come, and their threads are named after them.
fn crash_newest_input(child: u32) {
    let thread = wait_for("the input's thread", SOON, || {
        let threads = std::fs::read_dir(format!("/proc/{child}/task")).ok()?;
        let named = threads.flatten().filter_map(|thread| {
            let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
            let number = name.strip_prefix("in-")?.trim_end().strip_suffix(":src")?;
            let id: i64 = thread.file_name().to_str()?.parse().ok()?;
            Some((number.parse::<u32>().ok()?, id))
        });
        let (number, id) = named.max()?;
        (number >= 3).then_some(id)
    });
    // SAFETY: the call takes three numbers, and the process is not ours.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, i64::from(child), thread, libc::SIGSEGV) };
    assert_eq!(sent, 0, "no signal was sent");
}

/// Broken payloads of every codec, for a minute.
#[test]
fn nonsense_for_a_minute_brings_nothing_down() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (server, _good, playlist) = on_air(&[]);
    let first = child_of(server.pid()).expect("the child");
    let bad = ["h264", "vp8"].map(|codec| {
        let more = ["--codec", codec, "--rehearse", "corrupt@1s", "--for", "60s"];
        publish(&server, "bad", &more)
    });
    for publisher in bad {
        publisher.wait();
    }
    let before = newest_part(&playlist);
    wait_for("the program goes on", SOON, || {
        (newest_part(&playlist)? != before.clone()?).then_some(())
    });
    assert_eq!(child_of(server.pid()), Some(first), "the child lives");
    let room = json(&server.url("/api/v1/rooms/show"));
    assert_eq!(
        (&room["live"], &room["participants"]),
        (&true.into(), &1.into()),
        "{room}"
    );
}
