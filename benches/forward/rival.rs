//! The same load through str0m, as an SFU of one thread: a table by address before it, and the
//! same socket calls after it, with as many packets a call as it gives.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use amphi::rtc::core::ice::Path;
use amphi::rtc::core::outbox::Outbox;
use amphi::rtc::socket::{self, Socket};
use str0m::change::SdpOffer;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::sync::oneshot;

/// An offer, whether it publishes, and where the answer goes.
type Visit = (String, bool, oneshot::Sender<String>);

/// The way to the thread; it ends when this is gone.
pub struct Rival {
    visits: mpsc::Sender<Visit>,
    pub calls: Arc<AtomicU64>,
}

impl Rival {
    pub fn start() -> Self {
        let (visits, waiting) = mpsc::channel();
        let calls = Arc::new(AtomicU64::new(0));
        let count = calls.clone();
        std::thread::Builder::new()
            .name("rival".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(serve(&waiting, &count));
            })
            .expect("a thread");
        Self { visits, calls }
    }

    pub async fn answer(&self, offer: &str, publishes: bool) -> String {
        let (answer, answered) = oneshot::channel();
        let visit = (offer.to_owned(), publishes, answer);
        self.visits.send(visit).expect("it runs");
        answered.await.expect("answered")
    }
}

struct Peer {
    rtc: Rtc,
    video: Option<Mid>,
    due: Instant,
    publishes: bool,
}

async fn serve(visits: &mpsc::Receiver<Visit>, calls: &AtomicU64) {
    let bound = socket::bind(([127, 0, 0, 1], 0).into(), false, 1).expect("a port");
    let bound = bound.into_iter().next().expect("one");
    let local = bound.local_addr().expect("an address");
    let mut socket = Socket::new(bound).expect("a socket");
    let mut peers: Vec<Peer> = Vec::new();
    let mut by_address: HashMap<SocketAddr, usize> = HashMap::new();
    let mut timers: BTreeSet<(Instant, usize)> = BTreeSet::new();
    let mut touched: BTreeSet<usize> = BTreeSet::new();
    let mut outbox = Outbox::default();
    let mut packets = Vec::new();
    let crypto = Arc::new(str0m::crypto::from_feature_flags());
    loop {
        let now = Instant::now();
        loop {
            match visits.try_recv() {
                Ok((offer, publishes, answer)) => {
                    let mut rtc = RtcConfig::new()
                        .set_crypto_provider(crypto.clone())
                        .set_rtp_mode(true)
                        .set_ice_lite(true)
                        .build(now);
                    let candidate = Candidate::host(local, "udp").expect("a candidate");
                    rtc.add_local_candidate(candidate);
                    let offer = SdpOffer::from_sdp_string(&offer).expect("our own offer");
                    let text = rtc.sdp_api().accept_offer(offer).expect("answered");
                    let _ = answer.send(text.to_sdp_string());
                    peers.push(Peer {
                        rtc,
                        video: None,
                        due: now,
                        publishes,
                    });
                    touched.insert(peers.len() - 1);
                }
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let due = timers.first().map_or(now, |(at, _)| *at);
        let wait = due.min(now + Duration::from_millis(20));
        tokio::select! {
            biased;
            _ = socket.readable() => {
                for _ in 0..16 {
                    let now = Instant::now();
                    let more = socket.receive(|path, datagram| {
                        let Ok(contents) = datagram.try_into() else { return };
                        let received = Receive {
                            proto: Protocol::Udp,
                            source: path.remote,
                            destination: local,
                            contents,
                        };
                        let input = Input::Receive(now, received);
                        let known = by_address.get(&path.remote).copied();
                        let at = known.or_else(|| peers.iter().position(|peer| peer.rtc.accepts(&input)));
                        if let Some(at) = at {
                            by_address.insert(path.remote, at);
                            let _ = peers[at].rtc.handle_input(input);
                            // It wants to be asked after each input.
                            drain(&mut peers[at], at, &mut timers, &mut outbox, &mut packets);
                        }
                    });
                    if !more {
                        break;
                    }
                }
            }
            () = tokio::time::sleep_until(wait.into()) => {}
        }
        let now = Instant::now();
        while let Some(&(at, peer)) = timers.first().filter(|(at, _)| *at <= now) {
            timers.remove(&(at, peer));
            let _ = peers[peer].rtc.handle_input(Input::Timeout(now));
            drain(
                &mut peers[peer],
                peer,
                &mut timers,
                &mut outbox,
                &mut packets,
            );
        }
        if !packets.is_empty() {
            forward(&mut peers, std::mem::take(&mut packets), &mut touched, now);
        }
        while let Some(at) = touched.pop_first() {
            drain(&mut peers[at], at, &mut timers, &mut outbox, &mut packets);
        }
        socket.send(&outbox, |_, _, _| {});
        outbox.clear();
        calls.store(socket.calls, Ordering::Relaxed);
    }
}

/// What a peer has to send and to tell, until it waits.
fn drain(
    peer: &mut Peer,
    at: usize,
    timers: &mut BTreeSet<(Instant, usize)>,
    outbox: &mut Outbox,
    packets: &mut Vec<str0m::rtp::RtpPacket>,
) {
    while peer.rtc.is_alive() {
        match peer.rtc.poll_output() {
            Ok(Output::Transmit(sent)) => {
                outbox.push(Path::udp(sent.destination, None), &sent.contents);
            }
            Ok(Output::Event(Event::MediaAdded(media))) if media.kind.is_video() => {
                peer.video = Some(media.mid);
            }
            Ok(Output::Event(Event::RtpPacket(packet))) if peer.publishes => packets.push(packet),
            Ok(Output::Event(_)) => {}
            Ok(Output::Timeout(due)) => {
                timers.remove(&(peer.due, at));
                peer.due = due;
                timers.insert((due, at));
                return;
            }
            Err(_) => return,
        }
    }
}

/// All that came of one burst, a subscriber at a time, so that it goes out in one run.
fn forward(
    peers: &mut [Peer],
    packets: Vec<str0m::rtp::RtpPacket>,
    touched: &mut BTreeSet<usize>,
    now: Instant,
) {
    for (at, peer) in peers
        .iter_mut()
        .enumerate()
        .filter(|(_, peer)| !peer.publishes)
    {
        let Some(mid) = peer.video else {
            continue;
        };
        let mut api = peer.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            continue;
        };
        for packet in &packets {
            let write = RtpWrite::new(
                packet.header.payload_type,
                packet.seq_no,
                packet.header.timestamp,
                now,
                packet.payload.clone(),
            );
            stream.write_rtp(write.marker(packet.header.marker).nackable(true));
        }
        touched.insert(at);
    }
}
