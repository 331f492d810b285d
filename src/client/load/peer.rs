//! One peer of many: the server's own transport, made a client by checks of its own. It costs so
//! little that one process can be a thousand of them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::room::{Codec, MediaKind};
use crate::rtc::core::connection::Connection;
use crate::rtc::core::dtls::Identity;
use crate::rtc::core::ice::{self, Path, check};
use crate::rtc::core::outbox::Outbox;
use crate::rtc::core::receive::payload::Content;
use crate::rtc::core::receive::receiver::Output;
use crate::rtc::core::sdp::OfferError;
use crate::rtc::core::sdp::agreement::{Agreement, IceCredentials, Media};
use crate::rtc::core::sdp::client::{ClientOffer, Wish};
use crate::rtc::core::send::track::Slot;
use crate::rtc::core::{CloseReason, Event, LayerInfo, ReceivedRtp, TrackId};
use crate::rtc::socket::{self, Socket};

/// Until the server answers one, and then for its consent (RFC 7675).
const CHECK_EVERY: Duration = Duration::from_millis(200);
const CONSENT_EVERY: Duration = Duration::from_secs(2);

/// STUN (RFC 8489, RFC 8445 §7.1).
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: u16 = 0x0006;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLING: u16 = 0x802A;

/// The sections of [`ClientOffer`].
const SOUND: Slot = Slot(0);
const PICTURE: Slot = Slot(1);

/// Negotiations that a peer has not heard of yet.
const MAX_CHANGES: usize = 16;

/// Where a packet of ours carries when it was sent, in microseconds of the process's clock; and
/// what tells it from others'.
const STAMP_AT: usize = 12;
const STAMP_MARK: u32 = 0xA3F1_1E7D;

/// How a test picture is made.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    pub fps: u32,
    pub packets_per_frame: u32,
    pub payload_len: usize,
}

impl Picture {
    pub fn bits_per_second(&self) -> u64 {
        u64::from(self.fps * self.packets_per_frame) * self.payload_len as u64 * 8
    }
}

/// What a peer counted.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    pub connected: Option<Instant>,
    pub first_frame: Option<Instant>,
    pub closed: Option<CloseReason>,
    pub packets: u64,
    pub bytes: u64,
    /// Lost on the way, whether or not they came again.
    pub lost: u64,
    /// Of some packets: from their sending to their arrival.
    pub latencies: Vec<Duration>,
}

impl Counts {
    /// What another connection of the same client counted, after this one.
    pub fn add(&mut self, later: Counts) {
        self.connected = self.connected.or(later.connected);
        self.first_frame = self.first_frame.or(later.first_frame);
        self.closed = later.closed;
        self.packets += later.packets;
        self.bytes += later.bytes;
        self.lost += later.lost;
        self.latencies.extend(later.latencies);
    }
}

/// An offer that waits for its answer.
pub struct Candidate {
    identity: Arc<Identity>,
    offer: ClientOffer,
}

impl Candidate {
    pub fn new(wish: Wish, identity: Arc<Identity>) -> Self {
        let ice = credentials();
        let ssrcs = [(); 2].map(|()| (rand::random(), rand::random()));
        let offer = ClientOffer::new(wish, ice, &identity.fingerprint, ssrcs);
        Self { identity, offer }
    }

    pub fn offer(&self) -> &str {
        &self.offer.text
    }

    /// # Errors
    ///
    /// When the answer cannot be used.
    pub fn answered(self, answer: &str) -> Result<Peer, OfferError> {
        let (agreement, server) = self.offer.answered(answer)?;
        Ok(Peer::new(self.identity, agreement, server))
    }
}

/// A connection to a server.
pub struct Peer {
    identity: Arc<Identity>,
    connection: Connection,
    local: IceCredentials,
    remote: IceCredentials,
    path: Path,
    is_selected: bool,
    counts: Counts,
    outbox: Outbox,
    pictures: BTreeSet<TrackId>,
    /// What the server sends after a later negotiation.
    changes: Option<mpsc::Receiver<Vec<Media>>>,
}

impl Peer {
    /// Holds to what was agreed on with the server at that address.
    pub fn new(identity: Arc<Identity>, agreement: Agreement, server: SocketAddr) -> Self {
        let settings = ice::Settings {
            candidates: Arc::default(),
            connect_timeout: Duration::from_secs(30),
            consent_timeout: Duration::from_secs(30),
            vanish_timeout: Duration::from_secs(30),
        };
        let (local, remote) = (agreement.local_ice.clone(), agreement.remote_ice.clone());
        let now = Instant::now();
        let sends = !agreement.sends.is_empty();
        let ssrc = rand::random();
        let mut connection = Connection::new(identity.clone(), agreement, settings, ssrc, now);
        if sends {
            let layer = LayerInfo {
                running: true,
                ..LayerInfo::default()
            };
            connection.set_source(SOUND, Some(vec![layer]), now);
            connection.set_source(PICTURE, Some(vec![layer]), now);
        }
        Self {
            identity,
            connection,
            local,
            remote,
            path: Path::udp(server, None),
            is_selected: false,
            counts: Counts::default(),
            outbox: Outbox::default(),
            pictures: BTreeSet::new(),
            changes: None,
        }
    }

    /// Where to tell what the server sends after later negotiations.
    pub fn changes(&mut self) -> mpsc::Sender<Vec<Media>> {
        let (sender, changes) = mpsc::channel(MAX_CHANGES);
        self.changes = Some(changes);
        sender
    }

    pub fn server(&self) -> SocketAddr {
        self.path.remote
    }

    /// Lives until `until`, publishing `picture` if there is one; what it counted by then.
    ///
    /// # Errors
    ///
    /// When there is no socket for it.
    pub async fn run(mut self, picture: Option<Picture>, until: Instant) -> io::Result<Counts> {
        let any: SocketAddr = match self.server().is_ipv6() {
            true => ([0u16; 8], 0).into(),
            false => ([0u8; 4], 0).into(),
        };
        // As a network card with segmentation offload would, it takes what came in one call as
        // one: on loopback the sender else pays for taking it apart.
        let bound = socket::bind(any, false, 1)?.remove(0);
        let mut socket = Socket::of_one_peer(bound)?;
        let mut check_at = Instant::now();
        let mut frame_at = Instant::now();
        let mut frame = 0u64;
        loop {
            let now = Instant::now();
            if now >= until || self.counts.closed.is_some() {
                break;
            }
            if now >= check_at {
                self.outbox.push(self.path, &self.check());
                check_at = now
                    + if self.is_selected {
                        CONSENT_EVERY
                    } else {
                        CHECK_EVERY
                    };
            }
            if let Some(picture) = picture.filter(|_| now >= frame_at) {
                self.send_frame(picture, frame, now);
                frame += 1;
                frame_at += Duration::from_secs(1) / picture.fps;
            }
            let timer = self.connection.poll_timeout().map(|(at, _)| at);
            if timer.is_some_and(|at| at <= now) {
                self.connection.handle_timeout(now);
            }
            self.flush(&mut socket, now);
            let frame_due = picture.map(|_| frame_at);
            let timer = self.connection.poll_timeout().map(|(at, _)| at);
            let next = [Some(check_at), Some(until), frame_due, timer];
            let next = next.into_iter().flatten().min().unwrap_or(until);
            tokio::select! {
                ready = socket.readable() => if ready.is_ok() {
                    let server = self.server();
                    let now = Instant::now();
                    while socket.receive(|path, datagram| if path.remote == server {
                        self.take(datagram, now);
                    }) {}
                },
                Some(media) = changed(&mut self.changes) => self.connection.agree_to_receive(media),
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
        let now = Instant::now();
        self.counts.lost = self
            .connection
            .stats(now)
            .tracks
            .iter()
            .map(|t| t.lost)
            .sum();
        self.connection.close(CloseReason::Asked, now);
        self.flush(&mut socket, now);
        Ok(self.counts)
    }

    fn check(&self) -> Vec<u8> {
        let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        check.extend_from_slice(&rand::random::<[u8; 12]>());
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        check::write_attribute(USERNAME, username.as_bytes(), &mut check);
        check::write_attribute(PRIORITY, &0x6E7F_00FFu32.to_be_bytes(), &mut check);
        check::write_attribute(ICE_CONTROLLING, &[7; 8], &mut check);
        check::write_attribute(USE_CANDIDATE, &[], &mut check);
        let crypto = self.identity.provider.crypto();
        // Unsigned it would be ignored, and the next one is due soon.
        let _ = check::sign(&mut check, &self.remote.pwd, crypto);
        check
    }

    fn take(&mut self, datagram: &[u8], now: Instant) {
        if check::is_stun(datagram) && datagram.starts_with(&BINDING_SUCCESS) {
            if !self.is_selected {
                self.is_selected = true;
                self.connection.select(self.path, now);
            }
            return;
        }
        self.connection.handle_datagram(self.path, datagram, now);
        while let Some(output) = self.connection.poll_event() {
            match output {
                Output::Rtp(track, packet) => self.count(track, &packet),
                Output::Event(Event::TrackStarted(track)) if track.kind == MediaKind::Video => {
                    self.pictures.insert(track.id);
                }
                Output::Event(Event::Connected) => self.counts.connected = Some(now),
                Output::Event(Event::Closed(reason)) => self.counts.closed = Some(reason),
                _ => {}
            }
        }
        // A test picture has a key frame each second anyway.
        while self.connection.poll_send_event().is_some() {}
    }

    fn count(&mut self, track: TrackId, packet: &ReceivedRtp) {
        self.counts.packets += 1;
        self.counts.bytes += packet.packet.len() as u64;
        if packet.content.starts_key_frame && self.pictures.contains(&track) {
            self.counts.first_frame.get_or_insert(packet.arrival);
        }
        if packet.marker
            && let Some(sent) = stamp_of(packet.payload())
        {
            let elapsed = clock_us().saturating_sub(sent);
            self.counts.latencies.push(Duration::from_micros(elapsed));
        }
    }

    fn send_frame(&mut self, picture: Picture, frame: u64, now: Instant) {
        let is_key = frame.is_multiple_of(u64::from(picture.fps));
        let count = u64::from(picture.packets_per_frame);
        let packets: Vec<Arc<ReceivedRtp>> = (0..count)
            .map(|nth| ReceivedRtp {
                arrival: now,
                packet: payload(picture.payload_len, nth == 0, is_key),
                header_len: 0,
                sequence: 0x1_0000 + frame * count + nth,
                timestamp: (frame * 90_000 / u64::from(picture.fps)) as u32,
                marker: nth + 1 == count,
                completes: nth + 1 == count,
                layer: 0,
                content: Content {
                    starts_key_frame: is_key && nth == 0,
                    ..Content::default()
                },
                audio_level: None,
                color_space: None,
                dependency_descriptor: None,
            })
            .map(Arc::new)
            .collect();
        let outbox = &mut self.outbox;
        self.connection
            .forward(PICTURE, packets.iter(), outbox, now);
    }

    fn flush(&mut self, socket: &mut Socket, now: Instant) {
        self.connection.flush(&mut self.outbox, now);
        socket.send(&self.outbox, |_, _, _| {});
        self.outbox.clear();
    }
}

/// Of a new agent (RFC 8445 §5.3).
pub fn credentials() -> IceCredentials {
    let random = || format!("{:016x}", rand::random::<u64>());
    IceCredentials {
        ufrag: random()[..8].to_owned(),
        pwd: random() + &random(),
    }
}

/// Pending where nothing changes any more.
async fn changed(changes: &mut Option<mpsc::Receiver<Vec<Media>>>) -> Option<Vec<Media>> {
    let media = match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    };
    if media.is_none() {
        *changes = None;
    }
    media
}

/// A VP8 payload (RFC 7741 §4.2) with the time of its sending.
fn payload(len: usize, is_first: bool, is_key: bool) -> Bytes {
    let mut payload = BytesMut::with_capacity(len);
    payload.put_u8(if is_first { 0x10 } else { 0 });
    // RFC 6386 §9.1: the frame tag's lowest bit, and a key frame's start code and size, 1280x720.
    payload.put_slice(match (is_first, is_key) {
        (true, true) => &[0, 0, 0, 0x9D, 0x01, 0x2A, 0x00, 0x05, 0xD0, 0x02, 0],
        _ => &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    });
    payload.put_u32(STAMP_MARK);
    payload.put_u64(clock_us());
    payload.resize(len.max(payload.len()), 0xA5);
    payload.freeze()
}

fn stamp_of(payload: &[u8]) -> Option<u64> {
    let mark = payload.get(STAMP_AT..STAMP_AT + 4)?;
    let sent = payload.get(STAMP_AT + 4..STAMP_AT + 12)?;
    (mark == STAMP_MARK.to_be_bytes())
        .then(|| u64::from_be_bytes(sent.try_into().unwrap_or([0; 8])))
}

/// The codec of the test picture.
pub const CODEC: Codec = Codec::Vp8;

fn clock_us() -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}
