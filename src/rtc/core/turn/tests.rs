//! Our TURN against a client of another author.

use super::*;
use crate::rtc::core::dtls::Identity;
use proptest::prelude::*;
use std::sync::OnceLock;
use turn_client_proto::api::{TurnClientApi, TurnConfig, TurnRecvRet};
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::udp::TurnClientUdp;

const OURS: &str = "192.0.2.1:8189";
const CLIENT: &str = "198.51.100.7:4000";
const NOW_S: u64 = 1_700_000_000;

fn secret() -> Secret {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Identity::generate().expect("a certificate"));
    Secret::new("north", identity.provider.clone())
}

fn settings() -> Settings {
    Settings {
        secret: secret(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
        port: 8189,
        max_clients: 1000,
    }
}

/// A client of another author, and our side of it.
struct World {
    turn: Turn,
    client: TurnClientUdp,
    path: Path,
    start: Instant,
    now: Instant,
    to_connections: Vec<(Path, Vec<u8>)>,
    to_client: Vec<Vec<u8>>,
}

impl World {
    fn new(path: Path, username: &str, password: &str) -> Self {
        let now = Instant::now();
        let credentials = TurnCredentials::new(username, password);
        let server = OURS.parse().unwrap();
        let client = TurnClientUdp::allocate(path.remote, server, TurnConfig::new(credentials));
        Self {
            turn: Turn::new(settings(), 1, 3, now),
            client,
            path,
            start: now,
            now,
            to_connections: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn instant(&self) -> ProtoInstant {
        ProtoInstant::from_nanos((self.now - self.start).as_nanos() as i64)
    }

    /// A second of both.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.now += Duration::from_millis(10);
            let instant = self.instant();
            self.client.poll(instant);
            while let Some(transmit) = self.client.poll_transmit(instant) {
                self.turn
                    .handle_client(self.path, &transmit.data, NOW_S, self.now);
            }
            self.drain();
        }
    }

    fn drain(&mut self) {
        let instant = self.instant();
        while let Some(output) = self.turn.poll_output() {
            match output {
                Output::ToConnection(path, data) => self.to_connections.push((path, data)),
                Output::Close(remote) => panic!("{remote} is turned away"),
                Output::ToClient(path, data) => {
                    assert_eq!(path, self.path);
                    let from = OURS.parse().unwrap();
                    let transmit = Transmit::new(data, TransportType::Udp, from, path.remote);
                    if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, instant) {
                        self.to_client.push(data.data().to_vec());
                    }
                }
            }
        }
    }

    fn relayed(&self) -> Option<SocketAddr> {
        self.client.relayed_addresses().next().map(|(_, at)| at)
    }

    fn permit(&mut self, peer: SocketAddr) {
        let instant = self.instant();
        let permitted = self
            .client
            .create_permission(TransportType::Udp, peer.ip(), instant);
        permitted.expect("asked once");
        self.settle();
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let instant = self.instant();
        let sent = self.client.send_to(TransportType::Udp, peer, data, instant);
        let sent = sent.expect("permitted").expect("at once").build();
        self.turn
            .handle_client(self.path, &sent.data, NOW_S, self.now);
        self.drain();
    }
}

fn paths() -> [Path; 2] {
    let remote = CLIENT.parse().unwrap();
    [Path::udp(remote, None), Path::tcp(remote)]
}

#[test]
fn a_client_reaches_our_connections_and_they_reach_it() {
    for path in paths() {
        let (username, password) = secret().issue(NOW_S).unwrap();
        let mut world = World::new(path, &username, &password);
        world.settle();
        let relayed = world.relayed().expect("allocated");
        assert_eq!(Turn::worker_of(relayed, 3), 1);
        let ours = OURS.parse().unwrap();
        world.permit(ours);
        for bind in [false, true] {
            if bind {
                let instant = world.instant();
                let bound = world.client.bind_channel(TransportType::Udp, ours, instant);
                bound.expect("asked once");
                world.settle();
            }
            world.send(ours, b"hello");
            let (back, data) = world.to_connections.pop().expect("relayed");
            assert_eq!((back.transport, back.remote), (Transport::Relay, relayed));
            assert_eq!(data, b"hello");
            world.turn.handle_connection(back, b"good day", world.now);
            world.drain();
            assert_eq!(world.to_client.pop().as_deref(), Some(&b"good day"[..]));
        }
    }
}

#[test]
fn nobody_else_is_reached() {
    let (username, password) = secret().issue(NOW_S).unwrap();
    let mut world = World::new(paths()[0], &username, &password);
    world.settle();
    for other in ["10.0.0.1:80", "192.0.2.1:22", "127.0.0.1:8189"] {
        let other = other.parse().unwrap();
        world.permit(other);
        world.send(other, b"let me in");
        assert_eq!(world.to_connections, []);
    }
}

#[test]
fn credentials_are_asked_for() {
    let (username, password) = secret().issue(NOW_S).unwrap();
    let (late, of_late) = secret()
        .issue(NOW_S - 2 * credential::VALID_FOR.as_secs())
        .unwrap();
    for (username, password) in [
        (username.as_str(), "guessed"),
        (late.as_str(), of_late.as_str()),
        ("9999999999:amphi", password.as_str()),
        ("", ""),
    ] {
        let mut world = World::new(paths()[0], username, password);
        world.settle();
        assert_eq!(world.relayed(), None, "{username}");
    }
}

#[test]
fn strangers_are_forgotten() {
    let start = Instant::now();
    let mut turn = Turn::new(settings(), 0, 1, start);
    let allocate = [
        &[0, 3, 0, 8, 0x21, 0x12, 0xA4, 0x42][..],
        &[7; 12],
        &[0, 0x19, 0, 4, 17, 0, 0, 0],
    ]
    .concat();
    for port in 1000..3000 {
        let path = Path::tcp(SocketAddr::from(([203, 0, 113, 1], port)));
        turn.handle_client(path, &allocate, NOW_S, start);
    }
    let (mut answers, mut closed) = (0, 0);
    while let Some(output) = turn.poll_output() {
        match output {
            Output::ToClient(..) => answers += 1,
            Output::Close(_) => closed += 1,
            Output::ToConnection(..) => panic!("nothing is relayed"),
        }
    }
    assert_eq!((answers, closed), (2000, 2000 - MAX_STRANGERS));
    assert_eq!(turn.clients.len(), MAX_STRANGERS);
    let later = start + STRANGER_FOR;
    assert!(turn.poll_timeout().is_some_and(|at| at <= later));
    turn.handle_timeout(later);
    assert_eq!(turn.clients.len(), 0);
    assert_eq!(turn.poll_timeout(), None);
}

#[test]
fn strangers_learn_their_address() {
    let mut turn = Turn::new(settings(), 0, 1, Instant::now());
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    assert!(is_turn(&request));
    turn.handle_client(paths()[0], &request, NOW_S, Instant::now());
    let Some(Output::ToClient(_, answer)) = turn.poll_output() else {
        panic!("an answer");
    };
    assert_eq!(answer[..2], [1, 1]);
    // RFC 8489 §14.2: XORed with the magic cookie.
    let port = 4000_u16 ^ 0x2112;
    let value = [
        &[0, 1][..],
        &port.to_be_bytes(),
        &[198 ^ 0x21, 51 ^ 0x12, 100 ^ 0xA4, 7 ^ 0x42],
    ];
    assert_eq!(answer[24..32], value.concat());
    assert!(turn.clients.is_empty());
}

proptest! {
    #[test]
    fn survives(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..20)) {
        let (username, password) = secret().issue(NOW_S).unwrap();
        let mut world = World::new(paths()[0], &username, &password);
        world.settle();
        for message in messages {
            is_turn(&message);
            world.turn.handle_client(world.path, &message, NOW_S, world.now);
        }
        world.turn.handle_timeout(world.now + STRANGER_FOR);
    }
}
