//! What it costs to forward a packet to a subscriber. `cargo bench --bench forward`.
//!
//! One publisher of 150 packets a second, [`PLAYERS`] players, all real connections (ICE, DTLS,
//! SRTP, feedback) over loopback. CPU is that of the transport's own thread, as the kernel counts
//! it. The floor is the same bytes through SRTP and the same socket calls, and nothing else, in
//! the same run: sealed for each player, with as many packets a call as the transport had. Beside
//! it, the same load through two rivals: str0m (an SFU of one thread) and Janus.
//!
//! Players take what one call sent as one (GRO), as a network card with UDP segmentation offload
//! does: else loopback takes it apart at the sender's cost, which no card asks of a server. Who
//! sends each packet by a call of its own has nothing of it.

#[path = "forward/janus.rs"]
mod janus;
#[path = "forward/rival.rs"]
mod rival;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amphi::client::load::peer::{Candidate, Counts, Peer, Picture};
use amphi::room::Codec;
use amphi::rtc::core::dtls::Identity;
use amphi::rtc::core::ice::Path;
use amphi::rtc::core::outbox::Outbox;
use amphi::rtc::core::sdp::client::Wish;
use amphi::rtc::core::sdp::{self, AnswerSettings, Offer, Published};
use amphi::rtc::core::send::packet::Head;
use amphi::rtc::core::send::track::Slot;
use amphi::rtc::core::srtp::Srtp;
use amphi::rtc::core::{Event, ReceivedRtp, SenderReport, Sink, TrackId};
use amphi::rtc::socket::{self, Socket};
use amphi::rtc::{ConnectionId, Rtc, Settings};
use rtc_srtp::protection_profile::ProtectionProfile;
use tokio::task::JoinSet;

const PLAYERS: usize = 100;
const IDLE: usize = 500;
const PICTURE: Picture = Picture {
    fps: 30,
    packets_per_frame: 5,
    payload_len: 1172,
};
const SETTLE: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    println!(
        "| {PLAYERS} players of {} packets/s | µs of CPU a packet | packets a socket call | kB of heap a player |",
        PICTURE.fps * PICTURE.packets_per_frame
    );
    println!("|---|---|---|---|");
    for _ in 0..ROUNDS {
        let forwarded = runtime.block_on(forward(PLAYERS, Some(PICTURE)));
        println!(
            "| forwarding | {:.2} | {:.1} | {:.0} |",
            forwarded.us_a_packet, forwarded.packets_a_call, forwarded.kb_a_player
        );
        let floor = runtime.block_on(floor(forwarded.packets_a_call));
        println!(
            "| floor: SRTP and socket calls alone | {floor:.2} | {:.1} | |",
            forwarded.packets_a_call
        );
        let ours = forwarded.us_a_packet;
        println!("| to the floor | **{:.2}** | | |", ours / floor);
        let (us, packets_a_call) = runtime.block_on(through_str0m(PLAYERS));
        println!("| str0m 0.25 | {us:.2} | {packets_a_call:.1} | |");
        println!("| to str0m | **{:.2}** | | |", ours / us);
        match runtime.block_on(janus::forward(PLAYERS, PICTURE, SETTLE, MEASURED)) {
            Some(janus) => {
                let arrived = janus.arrived * 100.0;
                println!(
                    "| Janus, of whose packets {arrived:.0} % arrived | {:.2} | | |",
                    janus.us_a_packet
                );
                println!("| to Janus | **{:.2}** | | |", ours / janus.us_a_packet);
            }
            None => println!("| Janus is not here: apt install janus | | | |"),
        }
    }
    let idle = runtime.block_on(forward(IDLE, None));
    println!("| {IDLE} idle players | | | {:.0} |", idle.kb_a_player);
}

struct Forwarded {
    us_a_packet: f64,
    packets_a_call: f64,
    kb_a_player: f64,
}

/// A publisher and players by our transport.
async fn forward(players: usize, picture: Option<Picture>) -> Forwarded {
    let rtc = Rtc::start(Settings {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        max_connections: players + 1,
        ..Settings::default()
    })
    .expect("the transport");
    let identity = Arc::new(Identity::generate().expect("a certificate"));
    let until = Instant::now() + SETTLE * 2 + MEASURED;
    let (peer, publisher) = connect(&rtc, Wish::Publish, &identity).await;
    let publishing = tokio::spawn(peer.run(picture, until));
    // It has answered, so it runs and has its name.
    let thread = thread_named("rtc-0");
    TRACKED.store(thread, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(500)).await;

    let before = HEAP.load(Ordering::Relaxed);
    let mut playing = JoinSet::new();
    for _ in 0..players {
        let (peer, player) = connect(&rtc, Wish::Play, &identity).await;
        rtc.set_source(player, Slot(0), Some((publisher, TrackId(1))));
        playing.spawn(peer.run(None, until));
    }
    tokio::time::sleep(SETTLE).await;
    let (cpu, calls) = (cpu_of(thread), rtc.socket_calls());
    tokio::time::sleep(MEASURED).await;
    let (cpu, calls) = (cpu_of(thread) - cpu, rtc.socket_calls() - calls);
    let heap = HEAP.load(Ordering::Relaxed) - before;

    publishing.await.expect("no panic").expect("published");
    let (mut connected, mut got) = (0, 0);
    while let Some(counts) = playing.join_next().await {
        let counts: Counts = counts.expect("no panic").expect("played");
        connected += usize::from(counts.connected.is_some());
        got += counts.packets;
    }
    rtc.shutdown();
    assert_eq!(connected, players, "all connect");
    let packets = picture.map_or(0.0, |picture| {
        let rate = f64::from(picture.fps * picture.packets_per_frame);
        rate * MEASURED.as_secs_f64() * players as f64
    });
    assert!(
        got as f64 >= packets,
        "all that is counted arrived: {got} of {packets}"
    );
    Forwarded {
        us_a_packet: cpu.as_secs_f64() * 1e6 / packets,
        packets_a_call: packets / calls as f64,
        kb_a_player: heap as f64 / 1000.0 / players as f64,
    }
}

/// The same publisher and players; µs a packet, and packets a call.
async fn through_str0m(players: usize) -> (f64, f64) {
    let rival = rival::Rival::start();
    let identity = Arc::new(Identity::generate().expect("a certificate"));
    let until = Instant::now() + SETTLE * 2 + MEASURED;
    let connect = async |wish: Wish| {
        let candidate = Candidate::new(wish, identity.clone());
        let answer = rival.answer(candidate.offer(), wish == Wish::Publish).await;
        candidate.answered(&answer).expect("an answer that reads")
    };
    let publishing = tokio::spawn(connect(Wish::Publish).await.run(Some(PICTURE), until));
    let thread = thread_named("rival");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut playing = JoinSet::new();
    for _ in 0..players {
        playing.spawn(connect(Wish::Play).await.run(None, until));
    }
    tokio::time::sleep(SETTLE).await;
    let (cpu, calls) = (cpu_of(thread), rival.calls.load(Ordering::Relaxed));
    tokio::time::sleep(MEASURED).await;
    let cpu = cpu_of(thread) - cpu;
    let calls = rival.calls.load(Ordering::Relaxed) - calls;
    publishing.await.expect("no panic").expect("published");
    let mut got = 0;
    while let Some(counts) = playing.join_next().await {
        got += counts.expect("no panic").expect("played").packets;
    }
    let rate = f64::from(PICTURE.fps * PICTURE.packets_per_frame);
    let packets = rate * MEASURED.as_secs_f64() * players as f64;
    assert!(
        got as f64 >= packets,
        "all that is counted arrived: {got} of {packets}"
    );
    (cpu.as_secs_f64() * 1e6 / packets, packets / calls as f64)
}

/// Offer and answer, without HTTP between.
async fn connect(rtc: &Rtc, wish: Wish, identity: &Arc<Identity>) -> (Peer, ConnectionId) {
    let candidate = Candidate::new(wish, identity.clone());
    let offer = Offer::parse(candidate.offer()).expect("our own offer");
    let settings = AnswerSettings {
        codecs: vec![Codec::Opus, Codec::Vp8],
        start_bitrate_kbps: 0,
        candidates: rtc.candidates(),
        fingerprint: rtc.fingerprint(),
    };
    let ice = rtc.credentials("bench");
    let (text, agreement) = match wish {
        Wish::Publish => sdp::answer(&offer, ice, &settings).expect("answered"),
        Wish::Play => {
            let track = Published {
                kind: Codec::Vp8.kind(),
                codec: Codec::Vp8,
                fmtp: String::new(),
                stream: "bench".to_owned(),
                track: "bench".to_owned(),
                ssrcs: (rand::random(), rand::random()),
            };
            let answered = sdp::answer_subscriber(&offer, ice, &settings, &[track]);
            let (text, agreement, _) = answered.expect("answered");
            (text, agreement)
        }
    };
    let id = rtc.open(agreement, Box::new(Deaf)).await.expect("opened");
    (candidate.answered(&text).expect("our own answer"), id)
}

/// Nobody listens but the players.
struct Deaf;

impl Sink for Deaf {
    fn event(&mut self, _: Event) {}
    fn rtp(&mut self, _: TrackId, _: ReceivedRtp) {}
    fn sender_report(&mut self, _: TrackId, _: SenderReport) {}
}

/// Counts what comes of all publishers.
struct Counter(Arc<AtomicU64>);

impl Sink for Counter {
    fn event(&mut self, _: Event) {}
    fn rtp(&mut self, _: TrackId, _: ReceivedRtp) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn sender_report(&mut self, _: TrackId, _: SenderReport) {}
}

/// The CPU time of sealing and sending alone, in µs a packet: the same packets, to as many
/// sockets, with as many packets a call.
async fn floor(packets_a_call: f64) -> f64 {
    let run = packets_a_call.round().max(1.0) as usize;
    // Read as the players read: the kernel wakes the reader at the sender's cost.
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut reading = JoinSet::new();
    let mut receivers = Vec::new();
    for _ in 0..PLAYERS {
        let bound = socket::bind(loopback, false, 1).expect("a port").remove(0);
        receivers.push(bound.local_addr().expect("an address"));
        let mut socket = Socket::of_one_peer(bound).expect("a socket");
        reading.spawn(async move {
            while socket.readable().await.is_ok() {
                while socket.receive(|_, _| {}) {}
            }
        });
    }
    let measuring = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let bound = socket::bind(loopback, false, 1).expect("a port");
            let mut socket = Socket::new(bound.into_iter().next().expect("one")).expect("a socket");
            let profile = ProtectionProfile::AeadAes128Gcm;
            let identity = Identity::generate().expect("a certificate");
            let keys = [7; 64];
            let len = amphi::rtc::core::srtp::keying_material_len(profile);
            let mut players: Vec<(Srtp, Path)> = receivers
                .iter()
                .map(|receiver| {
                    let crypto = identity.provider.crypto();
                    let srtp = Srtp::new(profile, &keys[..len], false, crypto).expect("keys");
                    (srtp, Path::udp(*receiver, None))
                })
                .collect();
            let payload = vec![0xA5; PICTURE.payload_len];
            let (mut outbox, mut sequence, mut sent) = (Outbox::default(), 0x1000u64, 0u64);
            let thread = nix::unistd::gettid().as_raw() as u64;
            let cpu = cpu_of(thread);
            let begin = Instant::now();
            let mut frame = 0;
            while begin.elapsed() < MEASURED / 2 {
                for (srtp, path) in &mut players {
                    for nth in 0..u64::from(PICTURE.packets_per_frame) {
                        let head = Head {
                            payload_type: 96,
                            marker: false,
                            sequence: (sequence + nth) as u16,
                            timestamp: 0,
                            ssrc: 7,
                            transport_cc: Some((2, 7)),
                            audio_level: None,
                            color_space: None,
                            dependency_descriptor: None,
                        };
                        outbox.write(*path, |bytes, start| {
                            let header_len = head.write(bytes);
                            bytes.extend_from_slice(&payload);
                            srtp.seal_rtp(bytes, start, header_len, 7, sequence + nth)
                        });
                        if outbox.len() == run {
                            sent += outbox.len() as u64;
                            socket.send(&outbox, |_, _, _| {});
                            outbox.clear();
                        }
                    }
                    sent += outbox.len() as u64;
                    socket.send(&outbox, |_, _, _| {});
                    outbox.clear();
                }
                sequence += u64::from(PICTURE.packets_per_frame);
                frame += 1;
                // At the pace of the picture: a cold cache is part of the cost.
                let due = begin + Duration::from_secs(1) * frame / PICTURE.fps;
                tokio::time::sleep_until(due.into()).await;
            }
            (cpu_of(thread) - cpu).as_secs_f64() * 1e6 / sent as f64
        })
    });
    measuring.await.expect("no panic")
}

/// On-CPU time of a thread of this process (proc(5), schedstat).
fn cpu_of(thread: u64) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"));
    let text = text.expect("schedstat");
    let nanos = text.split(' ').next().expect("a number").parse();
    Duration::from_nanos(nanos.expect("a number"))
}

/// User and system time of another process (proc(5), stat).
fn cpu_of_process(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of_task = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    let nanos = tasks.filter_map(|task| of_task(task.ok()?.path()));
    Duration::from_nanos(nanos.sum())
}

/// The newest thread of this name.
fn thread_named(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
    let ids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let is_named = |id: &u64| {
        let comm = std::fs::read_to_string(format!("/proc/self/task/{id}/comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    };
    ids.filter(is_named).max().expect("the thread")
}

/// Counts the heap of one thread: what it took and has not given back.
struct Counting;

static TRACKED: AtomicU64 = AtomicU64::new(0);
static HEAP: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    let tracked = TRACKED.load(Ordering::Relaxed);
    if tracked == 0 {
        return;
    }
    let thread = THREAD.try_with(|thread| {
        if thread.get() == 0 {
            thread.set(nix::unistd::gettid().as_raw() as u64);
        }
        thread.get()
    });
    if thread == Ok(tracked) {
        HEAP.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
