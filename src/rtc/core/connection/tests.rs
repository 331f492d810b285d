//! A whole connection against a peer of its own kind, over a seeded network with loss, delay
//! and reordering. No clock: time jumps to the next event.

use super::*;
use crate::room::{Codec, MediaKind};
use crate::rtc::core::dtls::Event as DtlsEvent;
use crate::rtc::core::ice::check::{sign, write_attribute};
use crate::rtc::core::receive::payload::Content;
use crate::rtc::core::sdp::agreement::*;
use crate::rtc::core::verdict::Failure;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::OnceLock;

const VIDEO_SSRC: u32 = 0xAAAA;
const RTX_SSRC: u32 = 0xBBBB;

/// The peer's certificates take a while to make; one pair does for all tests.
fn identities() -> &'static (Arc<Identity>, Arc<Identity>) {
    static BOTH: OnceLock<(Arc<Identity>, Arc<Identity>)> = OnceLock::new();
    BOTH.get_or_init(|| {
        let new = || Arc::new(Identity::generate().unwrap());
        (new(), new())
    })
}

#[derive(Clone, Copy)]
struct Network {
    /// In 256.
    loss: u64,
    delay: Duration,
    jitter: Duration,
    seed: u64,
}

const PERFECT: Network = Network {
    loss: 0,
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    seed: 1,
};

struct Peer {
    dtls: Dtls,
    srtp: Option<Box<Srtp>>,
    local: IceCredentials,
    remote: IceCredentials,
    sent: BTreeMap<u16, Vec<u8>>,
    transport_sequence: u16,
    rtx_sequence: u16,
    /// RTCP received: packet type and format.
    rtcp: BTreeMap<(u8, u8), usize>,
    rtx_sent: usize,
}

struct World {
    now: Instant,
    start: Instant,
    network: Network,
    dice: u64,
    wire: BTreeMap<(Instant, u64), (bool, Path, Vec<u8>)>,
    connection: Connection,
    peer: Peer,
    path: Path,
    told: Vec<Output>,
    /// What the peer does not do.
    chooses_nothing: bool,
    shakes_no_hands: bool,
    /// Is forwarded whenever the connection has done something.
    plays: Option<Arc<ReceivedRtp>>,
    /// The first bytes of all that came of that.
    played: Vec<u8>,
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: name.repeat(4),
        pwd: name.repeat(22),
    }
}

fn path(port: u16) -> Path {
    Path::udp(SocketAddr::from(([192, 0, 2, 9], port)), None)
}

impl World {
    fn new(network: Network, our_role: DtlsRole, promised: Option<Fingerprint>) -> Self {
        let now = Instant::now();
        let (ours, theirs) = identities().clone();
        let codec = CodecParameters {
            codec: Codec::Vp8,
            payload_type: 96,
            clock_rate: 90_000,
            fmtp: String::new(),
            rtx_payload_type: Some(97),
            nack: true,
            pli: true,
            transport_cc: true,
        };
        let agreement = Agreement {
            local_ice: credentials("a"),
            remote_ice: credentials("b"),
            remote_fingerprint: promised.unwrap_or(theirs.fingerprint.clone()),
            dtls_role: our_role,
            media: vec![Media {
                index: 0,
                mid: "0".into(),
                kind: MediaKind::Video,
                is_screen: false,
                codecs: vec![codec],
                rids: Vec::new(),
                ssrcs: Vec::new(),
                extensions: Extensions {
                    mid: Some(1),
                    transport_cc: Some(2),
                    ..Extensions::default()
                },
            }],
            sends: Vec::new(),
            has_data: false,
        };
        let their_role = match our_role {
            DtlsRole::Server => DtlsRole::Client,
            DtlsRole::Client => DtlsRole::Server,
        };
        let settings = ice::Settings {
            candidates: Arc::new([SocketAddr::from(([192, 0, 2, 1], 8189))]),
            ..ice::Settings::default()
        };
        let peer = Peer {
            dtls: Dtls::new(theirs, ours.fingerprint.clone(), their_role),
            srtp: None,
            local: credentials("b"),
            remote: credentials("a"),
            sent: BTreeMap::new(),
            transport_sequence: 65_000,
            rtx_sequence: 0,
            rtcp: BTreeMap::new(),
            rtx_sent: 0,
        };
        Self {
            now,
            start: now,
            network,
            dice: network.seed,
            wire: BTreeMap::new(),
            connection: Connection::new(ours, agreement, settings, 1, now),
            peer,
            path: path(1000),
            told: Vec::new(),
            chooses_nothing: false,
            shakes_no_hands: false,
            plays: None,
            played: Vec::new(),
        }
    }

    fn roll(&mut self) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.dice >> 33
    }

    fn send(&mut self, to_server: bool, path: Path, data: Vec<u8>) {
        let number = self.roll();
        if number % 256 < self.network.loss {
            return;
        }
        let jitter = self.network.jitter.as_micros() as u64;
        let jitter = Duration::from_micros(self.roll() % (jitter + 1));
        let at = self.now + self.network.delay + jitter;
        self.wire.insert((at, number), (to_server, path, data));
    }

    fn send_check(&mut self) {
        let mut check = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        check.extend_from_slice(&[3; 12]);
        let username = format!("{}:{}", self.peer.remote.ufrag, self.peer.local.ufrag);
        write_attribute(6, username.as_bytes(), &mut check);
        if !self.chooses_nothing {
            write_attribute(0x25, &[], &mut check);
        }
        let provider = identities().0.provider.clone();
        sign(&mut check, &self.peer.remote.pwd, provider.crypto()).unwrap();
        self.send(true, self.path, check);
    }

    /// Lets time pass. The peer checks every 500 ms, as long as it lives.
    fn run(&mut self, millis: u64, alive: bool) {
        let end = self.now + Duration::from_millis(millis);
        let mut check_at = self.now;
        loop {
            self.drain();
            let packet = self.wire.keys().next().map(|(at, _)| *at);
            let timer = self.connection.poll_timeout().map(|(at, _)| at);
            let peer = self
                .peer
                .dtls
                .poll_timeout()
                .map(|(at, _)| at)
                .filter(|_| alive);
            let check = alive.then_some(check_at);
            let next = [packet, timer, peer, check].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, (to_server, path, data)) = self.wire.pop_first().unwrap();
                match to_server {
                    true => self.connection.handle_datagram(path, &data, self.now),
                    false if alive => self.peer_takes(&data),
                    false => {}
                }
            } else if timer == Some(next) {
                self.connection.handle_timeout(self.now);
            } else if peer == Some(next) {
                self.peer.dtls.handle_timeout(self.now);
            } else {
                self.send_check();
                check_at = self.now + Duration::from_millis(500);
            }
        }
        self.now = end;
    }

    fn drain(&mut self) {
        if let Some(packet) = &self.plays {
            let mut outbox = Outbox::default();
            let packets = std::iter::once(packet);
            self.connection
                .forward(Slot(0), packets, &mut outbox, self.now);
            for (path, datagram) in outbox.iter() {
                self.played.push(datagram[0]);
                if datagram[0] < 0x80 {
                    self.send(false, path, datagram.to_vec());
                }
            }
        }
        while let Some(transmit) = self.connection.poll_transmit() {
            self.send(false, transmit.path, transmit.data);
        }
        while let Some(data) = self.peer.dtls.poll_transmit() {
            self.send(true, self.path, data.to_vec());
        }
        while let Some(event) = self.peer.dtls.poll_event() {
            if let DtlsEvent::Connected(srtp) = event {
                self.peer.srtp = Some(srtp);
            }
        }
        self.told
            .extend(std::iter::from_fn(|| self.connection.poll_event()));
    }

    fn peer_takes(&mut self, data: &[u8]) {
        match data[0] {
            0..=63 if self.shakes_no_hands => {}
            0..=3 => self.peer.dtls.start(self.now),
            20..=63 => self.peer.dtls.handle_datagram(data, self.now),
            _ => {
                let crypto = identities().0.provider.clone();
                let srtp = self.peer.srtp.as_mut().unwrap();
                let packet = srtp.open_rtcp(data, crypto.crypto()).expect("authentic");
                let kind = (packet[1], packet[0] & 0x1F);
                *self.peer.rtcp.entry(kind).or_default() += 1;
                if kind == (205, 1) {
                    self.retransmit(&packet);
                }
            }
        }
    }

    fn retransmit(&mut self, nack: &[u8]) {
        for pair in nack[12..].chunks(4) {
            let first = u16::from_be_bytes([pair[0], pair[1]]);
            let bits = u16::from_be_bytes([pair[2], pair[3]]);
            let more = (0..16u16)
                .filter(|bit| bits >> bit & 1 == 1)
                .map(|bit| first + bit + 1);
            for osn in std::iter::once(first).chain(more) {
                let original = self.peer.sent[&osn].clone();
                let mut rtx = original[..20].to_vec();
                rtx[1] = 97;
                self.peer.rtx_sequence += 1;
                rtx[2..4].copy_from_slice(&self.peer.rtx_sequence.to_be_bytes());
                rtx[8..12].copy_from_slice(&RTX_SSRC.to_be_bytes());
                rtx.extend_from_slice(&osn.to_be_bytes());
                rtx.extend_from_slice(&original[20..]);
                self.peer.rtx_sent += 1;
                self.send_rtp(rtx);
            }
        }
    }

    fn send_media(&mut self, sequence: u16) {
        let mut packet = vec![0x90, 96];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(sequence) * 90).to_be_bytes());
        packet.extend_from_slice(&VIDEO_SSRC.to_be_bytes());
        packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, 0x10, b'0', 0, 0]);
        packet.extend_from_slice(&sequence.to_be_bytes());
        self.peer.sent.insert(sequence, packet.clone());
        self.send_rtp(packet);
    }

    fn send_rtp(&mut self, packet: Vec<u8>) {
        self.peer.transport_sequence = self.peer.transport_sequence.wrapping_add(1);
        let sealed = self
            .peer
            .srtp
            .as_mut()
            .unwrap()
            .seal_test_rtp(&packet)
            .unwrap();
        self.send(true, self.path, sealed.to_vec());
    }

    fn sequences(&self) -> Vec<u16> {
        let rtp = |output: &Output| match output {
            Output::Rtp(_, rtp) => Some(rtp.sequence as u16),
            _ => None,
        };
        self.told.iter().filter_map(rtp).collect()
    }

    /// The verdict left aside.
    fn events(&self) -> Vec<Event> {
        let event = |output: &Output| match output {
            Output::Event(Event::Failed(_)) => None,
            Output::Event(event) => Some(event.clone()),
            _ => None,
        };
        self.told.iter().filter_map(event).collect()
    }
}

#[test]
fn media_as_server_and_as_client() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let mut world = World::new(PERFECT, role, None);
        world.run(300, true);
        assert_eq!(world.events(), [Event::Connected], "{role:?}");
        for sequence in 1..=50 {
            world.send_media(sequence);
            world.run(10, true);
        }
        world.run(1000, true);
        assert_eq!(world.sequences(), (1..=50).collect::<Vec<u16>>());
        assert!(
            world.peer.rtcp.contains_key(&(201, 1)),
            "{:?}",
            world.peer.rtcp
        );
    }
}

#[test]
fn the_handshake_ends_before_the_first_picture() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.connection.agree(vec![SendMedia {
        mid: "0".into(),
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        payload_type: 96,
        clock_rate: 90_000,
        nack: false,
        rtx: None,
        ssrc: 1,
        transport_cc: None,
        audio_level: None,
        color_space: None,
        dependency_descriptor: None,
    }]);
    let now = world.now;
    world
        .connection
        .set_source(Slot(0), Some(vec![LayerInfo::default()]), now);
    let packet = ReceivedRtp {
        arrival: now,
        packet: vec![0x80; 100].into(),
        header_len: 12,
        sequence: 1,
        timestamp: 0,
        marker: true,
        completes: true,
        layer: 0,
        content: Content {
            starts_key_frame: true,
            ..Content::default()
        },
        audio_level: None,
        color_space: None,
        dependency_descriptor: None,
    };
    world.plays = Some(Arc::new(packet));
    world.run(300, true);
    let first_picture = world.played.iter().position(|first| *first >= 0x80);
    let before = &world.played[..first_picture.expect("a picture")];
    assert!(before.iter().any(|first| (20..64).contains(first)));
    let after = &world.played[before.len()..];
    assert!(after.iter().all(|first| *first >= 0x80), "{after:?}");
}

#[test]
fn every_packet_through_ten_percent_loss_and_reordering() {
    for seed in 1..=8 {
        let network = Network {
            loss: 26,
            delay: Duration::from_millis(15),
            jitter: Duration::from_millis(8),
            seed,
        };
        let mut world = World::new(network, DtlsRole::Server, None);
        world.run(8_000, true);
        assert_eq!(world.events(), [Event::Connected], "seed {seed}");
        for sequence in 1..=600 {
            world.send_media(sequence);
            world.run(5, true);
        }
        world.run(1_000, true);
        // The first ones may be lost before the receiver knows of the track, and the last one
        // leaves no hole.
        let got = world.sequences();
        let unique: BTreeSet<u16> = got.iter().copied().collect();
        assert_eq!(unique.len(), got.len(), "seed {seed}: each once");
        let first = *got.iter().min().unwrap();
        let last = *got.iter().max().unwrap();
        assert!(first <= 4 && last >= 597, "seed {seed}: {first} to {last}");
        let missing: Vec<u16> = (first..=last).filter(|s| !unique.contains(s)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?}");
        // NACK knows what RTX brought back: not many more retransmissions than losses.
        let lost = world.connection.stats(world.now).tracks[0].lost;
        let rtx = world.peer.rtx_sent as u64;
        assert!(
            rtx <= lost * 3 / 2 + 10,
            "seed {seed}: {rtx} sent again for {lost}"
        );
    }
}

#[test]
fn the_handshake_survives_much_loss() {
    for seed in 1..=40 {
        let network = Network {
            loss: 51,
            seed,
            ..PERFECT
        };
        let mut world = World::new(network, DtlsRole::Server, None);
        world.run(10_000, true);
        assert_eq!(world.events(), [Event::Connected], "seed {seed}");
    }
}

#[test]
fn another_certificate_is_refused() {
    let mut world = World::new(PERFECT, DtlsRole::Server, Some(Fingerprint([7; 32])));
    world.run(500, true);
    assert_eq!(world.events(), [Event::Closed(CloseReason::Refused)]);
}

#[test]
fn vanished_is_noticed_in_five_seconds() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.run(300, true);
    world.run(4_500, false);
    assert_eq!(world.events(), [Event::Connected]);
    world.run(1_000, false);
    let closed = Event::Closed(CloseReason::ConsentLost);
    assert_eq!(world.events(), [Event::Connected, closed]);
    assert_eq!(world.connection.poll_timeout(), None);
}

#[test]
fn never_connected() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.run(25_000, false);
    assert_eq!(world.events(), [Event::Closed(CloseReason::NeverConnected)]);
    assert!(world.now.duration_since(world.start) >= Duration::from_secs(20));
}

#[test]
fn each_failure_has_its_verdict() {
    let check = |promised, spoil: &dyn Fn(&mut World), expect: Failure| {
        let mut world = World::new(PERFECT, DtlsRole::Server, promised);
        let remote = "candidate:1 1 udp 1 198.51.100.7 4000 typ srflx".to_owned();
        world.connection.add_remote_candidates(vec![remote.clone()]);
        spoil(&mut world);
        world.run(25_000, expect != Failure::Unreachable);
        world.run(16_000, false);
        let verdicts = world.told.iter().filter_map(|output| match output {
            Output::Event(Event::Failed(verdict)) => Some(verdict),
            _ => None,
        });
        let verdicts: Vec<_> = verdicts.collect();
        let [verdict] = verdicts[..] else {
            panic!("{expect:?}: {verdicts:?}");
        };
        assert_eq!(verdict.failure, expect);
        assert_eq!(verdict.seen.remote_candidates, [remote]);
        let last = world.events().pop();
        assert!(matches!(last, Some(Event::Closed(_))), "{last:?}");
    };
    check(None, &|_| {}, Failure::Unreachable);
    let wrong_password = |world: &mut World| world.peer.remote.pwd = "x".repeat(22);
    check(None, &wrong_password, Failure::WrongCredentials);
    check(
        None,
        &|world| world.chooses_nothing = true,
        Failure::AnswersLost,
    );
    check(
        None,
        &|world| world.shakes_no_hands = true,
        Failure::HandshakeUnfinished,
    );
    let other = Some(Fingerprint([7; 32]));
    check(other, &|_| {}, Failure::HandshakeRefused);
    check(None, &|_| {}, Failure::Vanished);
}

#[test]
fn a_peer_that_says_close_notify_left() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.run(300, true);
    world.peer.dtls.close(world.now);
    world.run(100, true);
    assert_eq!(
        world.events().last(),
        Some(&Event::Closed(CloseReason::PeerLeft))
    );
}

#[test]
fn a_roaming_peer_goes_on() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.run(300, true);
    world.send_media(1);
    world.run(100, true);
    world.path = path(2000);
    // Before its check from there, what comes from there is not looked at.
    world.send_media(2);
    world.run(1_000, true);
    world.send_media(3);
    world.run(1_000, true);
    assert_eq!(world.sequences(), [1, 3, 2]);
    assert_eq!(
        world
            .connection
            .stats(world.now)
            .path
            .map(|path| path.remote),
        Some(path(2000).remote)
    );
}

#[test]
fn an_ice_restart_does_not_interrupt() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.run(300, true);
    let (ours, theirs) = (credentials("c"), credentials("d"));
    world
        .connection
        .restart_ice(ours.clone(), theirs.clone(), world.now);
    world.send_media(1);
    world.run(50, false);
    (world.peer.remote, world.peer.local) = (ours, theirs);
    world.path = path(3000);
    world.run(600, true);
    world.send_media(2);
    world.run(100, true);
    assert_eq!(world.sequences(), [1, 2]);
    assert_eq!(world.events().len(), 2, "{:?}", world.events());
}

#[test]
fn forged_and_replayed_packets_are_nothing() {
    let mut world = World::new(PERFECT, DtlsRole::Server, None);
    world.run(300, true);
    world.send_media(1);
    let (_, _, packet) = world.wire.values().last().unwrap().clone();
    world.run(100, true);
    let (now, path) = (world.now, world.path);
    world.connection.handle_datagram(path, &packet, now);
    for at in 0..packet.len() {
        let mut forged = packet.clone();
        forged[at] ^= 1;
        world.connection.handle_datagram(path, &forged, now);
    }
    for ssrc in 0..1000u32 {
        let mut forged = packet.clone();
        forged[8..12].copy_from_slice(&ssrc.to_be_bytes());
        world.connection.handle_datagram(path, &forged, now);
    }
    world.send_media(2);
    world.run(100, true);
    assert_eq!(world.sequences(), [1, 2]);
}
