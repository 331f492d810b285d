//! TURN (RFC 8656) to our own connections alone, on the port that they have: for clients who may
//! use nothing but a relay.
//!
//! Nothing is relayed to anybody else, so there is no relay to abuse, and no socket either: what a
//! client sends to one of our candidates is handed to the connection it is for, and its answer
//! comes back the same way. The protocol is `turn-server-proto`'s. Each client has a server of its
//! own: whatever strangers make it remember is gone with them.

pub mod credential;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use turn_server_proto::api::{
    SocketAllocateError, TcpConnectError, Transmit, TurnServerApi, TurnServerPollRet,
};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::Instant as ProtoInstant;
use turn_server_proto::stun::types::TransportType;
use turn_server_proto::types::AddressFamily;
use turn_server_proto::types::transmit::TransmitBuild;

use super::ice::{Path, Place, Transport, check};
use credential::Secret;

const REALM: &str = "amphi";

/// Who has not allocated anything after this time is forgotten.
const STRANGER_FOR: Duration = Duration::from_secs(10);

/// Who has not allocated anything yet: the oldest is forgotten for the next.
const MAX_STRANGERS: usize = 256;

/// Allocations and permissions last minutes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Relayed ports count from here, so that they look like others'.
const FIRST_PORT: u16 = 1024;

/// Whether a datagram is of TURN, or asks for its sender's address (RFC 8489): all that is no
/// check of ICE and nothing else that a connection takes (RFC 7983 §7).
pub fn is_turn(datagram: &[u8]) -> bool {
    match datagram.first() {
        Some(64..=79) => true,
        Some(0..=3) => check::is_stun(datagram) && !check::is_of_a_peer(datagram),
        _ => false,
    }
}

#[derive(Clone)]
pub struct Settings {
    pub secret: Secret,
    /// Of our candidates: what clients may reach through the relay.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub max_clients: usize,
}

/// What is to be done with a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    ToClient(Path, Vec<u8>),
    /// As if it came to us over this path.
    ToConnection(Path, Vec<u8>),
    /// A client's stream that nothing came of.
    Close(SocketAddr),
}

/// One worker's clients.
pub struct Turn {
    settings: Settings,
    /// Each relayed port says by its remainder whose it is.
    number: usize,
    workers: usize,
    ports: u16,
    start: Instant,
    swept: Instant,
    clients: HashMap<Place, Client>,
    relays: HashMap<SocketAddr, Place>,
    strangers: VecDeque<Place>,
    outputs: VecDeque<Output>,
}

struct Client {
    server: TurnServer,
    path: Path,
    /// Its server has a user to compare it with.
    is_known: bool,
    relayed: Option<SocketAddr>,
    since: Instant,
}

impl Turn {
    pub fn new(settings: Settings, number: usize, workers: usize, now: Instant) -> Self {
        Self {
            settings,
            number,
            workers: workers.max(1),
            ports: 0,
            start: now,
            swept: now,
            clients: HashMap::new(),
            relays: HashMap::new(),
            strangers: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The worker that a relayed address belongs to.
    pub fn worker_of(relayed: SocketAddr, workers: usize) -> usize {
        usize::from(relayed.port()) % workers.max(1)
    }

    /// Takes one message of a client. Credentials end by the time of day, `unix_s`.
    pub fn handle_client(&mut self, path: Path, message: &[u8], unix_s: u64, now: Instant) {
        let place = path.place();
        if check::is_anonymous_binding(message) {
            let answer = check::answer_stranger(message, path.remote);
            self.outputs
                .extend(answer.map(|answer| Output::ToClient(path, answer)));
            return;
        }
        if !self.clients.contains_key(&place) && !self.welcome(path, message, now) {
            return;
        }
        let instant = self.instant(now);
        let Some(client) = self.clients.get_mut(&place) else {
            return;
        };
        client.path = path;
        if !client.is_known {
            let secret = &self.settings.secret;
            let users = match check::peek_username(message) {
                Some(username) => secret
                    .password_of(username, unix_s)
                    .map(|password| (username.to_owned(), password))
                    .into_iter()
                    .collect(),
                None if check::has_user_hash(message) => secret.valid(unix_s).collect(),
                None => Vec::new(),
            };
            client.is_known = !users.is_empty();
            for (username, password) in users {
                client.server.add_user(username, password);
            }
        }
        let listen = client.server.listen_address();
        let transmit = Transmit::new(message, TransportType::Udp, path.remote, listen);
        let sent = client.server.recv(transmit, instant);
        if let Some(sent) = sent.map(TransmitBuild::build) {
            self.send(place, sent);
        }
        self.advance(place, now);
    }

    /// Takes what one of our connections sends to a relayed address.
    pub fn handle_connection(&mut self, path: Path, datagram: &[u8], now: Instant) {
        let instant = self.instant(now);
        let (Some(&place), Some(own)) = (self.relays.get(&path.remote), path.local) else {
            return;
        };
        let Some(client) = self.clients.get_mut(&place) else {
            return;
        };
        let from = SocketAddr::new(own, self.settings.port);
        let transmit = Transmit::new(datagram, TransportType::Udp, from, path.remote);
        let sent = client.server.recv(transmit, instant);
        if let Some(sent) = sent.map(TransmitBuild::build) {
            self.send(place, sent);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        self.swept = now;
        let all: Vec<Place> = self.clients.keys().copied().collect();
        for place in all {
            self.advance(place, now);
            let is_stranger = |client: &Client| {
                client.relayed.is_none()
                    && now.saturating_duration_since(client.since) >= STRANGER_FOR
            };
            if self.clients.get(&place).is_some_and(is_stranger) {
                self.turn_away(place);
            }
        }
    }

    /// A client is gone: its TCP connection ended.
    pub fn forget(&mut self, place: Place) {
        if let Some(relayed) = self.clients.remove(&place).and_then(|c| c.relayed) {
            self.relays.remove(&relayed);
        }
        self.strangers.retain(|stranger| *stranger != place);
    }

    fn turn_away(&mut self, place: Place) {
        self.forget(place);
        if place.0 == Transport::Tcp {
            self.outputs.push_back(Output::Close(place.1));
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.clients.is_empty()).then(|| self.swept + SWEEP_EVERY)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether someone new is let in, at the cost of the stranger who waited longest.
    fn welcome(&mut self, path: Path, message: &[u8], now: Instant) -> bool {
        if !check::is_stun(message) || self.clients.len() >= self.settings.max_clients {
            return false;
        }
        while self.strangers.len() >= MAX_STRANGERS {
            let Some(oldest) = self.strangers.pop_front() else {
                break;
            };
            self.turn_away(oldest);
        }
        let listen = match path.remote {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let listen = SocketAddr::new(listen, self.settings.port);
        // The crate's own framing of TCP is left aside: ours hands over whole messages.
        let server = TurnServer::new(TransportType::Udp, listen, REALM.to_owned());
        let client = Client {
            server,
            path,
            is_known: false,
            relayed: None,
            since: now,
        };
        self.strangers.push_back(path.place());
        self.clients.insert(path.place(), client);
        true
    }

    /// Does what a client's server asks for.
    fn advance(&mut self, place: Place, now: Instant) {
        let instant = self.instant(now);
        loop {
            let Some(client) = self.clients.get_mut(&place) else {
                return;
            };
            match client.server.poll(instant) {
                TurnServerPollRet::WaitUntil(_) => break,
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let relayed = self.allocate(place, allocation_transport, family);
                    if let Some(client) = self.clients.get_mut(&place) {
                        client.server.allocated_socket(
                            transport,
                            listen_addr,
                            client_addr,
                            allocation_transport,
                            family,
                            relayed,
                            instant,
                        );
                    }
                }
                TurnServerPollRet::TcpConnect {
                    relayed_addr,
                    peer_addr,
                    listen_addr,
                    client_addr,
                } => client.server.tcp_connected(
                    relayed_addr,
                    peer_addr,
                    listen_addr,
                    client_addr,
                    Err(TcpConnectError::Forbidden),
                    instant,
                ),
                TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.relays.remove(&listen_addr);
                    client.relayed = client.relayed.filter(|relayed| *relayed != listen_addr);
                    if client.relayed.is_none() {
                        client.since = now;
                    }
                }
            }
        }
        let client = self.clients.get_mut(&place);
        let Some(client) = client else { return };
        let mut unsent = Vec::new();
        while let Some(transmit) = client.server.poll_transmit(instant) {
            unsent.push(transmit);
        }
        for transmit in unsent {
            self.send(place, transmit);
        }
    }

    /// An address that looks like a relay's and is only a name.
    fn allocate(
        &mut self,
        place: Place,
        transport: TransportType,
        family: AddressFamily,
    ) -> Result<SocketAddr, SocketAllocateError> {
        let of_family = |ip: &&IpAddr| match family {
            AddressFamily::IPV4 => ip.is_ipv4(),
            AddressFamily::IPV6 => ip.is_ipv6(),
        };
        let ip = self.settings.addresses.iter().find(of_family).copied();
        let ip = ip.ok_or(SocketAllocateError::AddressFamilyNotSupported)?;
        let full = SocketAllocateError::InsufficientCapacity;
        let client = self.clients.get_mut(&place).ok_or(full)?;
        // One for each client: nobody needs more to reach us.
        if client.relayed.is_some() || transport != TransportType::Udp {
            return Err(full);
        }
        let relayed = (0..usize::from(u16::MAX)).find_map(|_| {
            let places = (usize::from(u16::MAX) - usize::from(FIRST_PORT)) / self.workers;
            self.ports = ((usize::from(self.ports) + 1) % places.max(1)) as u16;
            let base = usize::from(FIRST_PORT).next_multiple_of(self.workers);
            let port = base + usize::from(self.ports) * self.workers + self.number;
            let port = u16::try_from(port).ok()?;
            let relayed = SocketAddr::new(ip, port);
            let taken = port == self.settings.port || self.relays.contains_key(&relayed);
            (!taken).then_some(relayed)
        });
        let relayed = relayed.ok_or(full)?;
        client.relayed = Some(relayed);
        self.relays.insert(relayed, place);
        self.strangers.retain(|stranger| *stranger != place);
        Ok(relayed)
    }

    fn send(&mut self, place: Place, transmit: Transmit<Vec<u8>>) {
        let Transmit { data, from, to, .. } = transmit;
        let Some(client) = self.clients.get(&place) else {
            return;
        };
        if to == client.path.remote {
            let data = match place.0 {
                Transport::Tcp => padded(data),
                Transport::Udp | Transport::Relay => data,
            };
            self.outputs.push_back(Output::ToClient(client.path, data));
        } else if to.port() == self.settings.port && self.settings.addresses.contains(&to.ip()) {
            let path = Path {
                transport: Transport::Relay,
                remote: from,
                local: Some(to.ip()),
            };
            self.outputs.push_back(Output::ToConnection(path, data));
        }
    }

    fn instant(&self, now: Instant) -> ProtoInstant {
        let elapsed = now.saturating_duration_since(self.start);
        ProtoInstant::from_nanos(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// RFC 8656 §12.5: over a stream, ChannelData is padded to four bytes.
fn padded(mut data: Vec<u8>) -> Vec<u8> {
    if !check::is_stun(&data) {
        data.resize(data.len().next_multiple_of(4), 0);
    }
    data
}

#[cfg(test)]
mod tests;
