//! The handle by which the house uses the transport.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rand::RngExt;
use rand::distr::Alphanumeric;
use tokio::sync::{mpsc, oneshot};

use super::core::connection::ConnectionStats;
use super::core::dtls::Identity;
use super::core::ice::{self, Transport};
use super::core::sdp::Candidate;
use super::core::sdp::agreement::{Agreement, Fingerprint, IceCredentials, SendMedia};
use super::core::sdp::fragment::MAX_CANDIDATES;
use super::core::send::track::{Slot, View};
use super::core::turn::{self, credential::Secret};
use super::core::{LayerInfo, Sink, TrackId};
use super::crew::{Crew, MAX_WORKERS, Member, Shared, Source, Wishes};
use super::demux::ConnectionId;
use super::ice_server::IceServer;
use super::origin::{Local, LocalSource, Origin};
use super::worker::{self, Command, Duty};
use super::{socket, tcp};

/// Commands, and datagrams handed over, that wait for a worker; one takes it microseconds, so
/// more is an overload.
const MAX_COMMANDS: usize = 4096;

const SECRET_LEN: usize = 32;

/// Free ports that are tried.
const MAX_BINDS: usize = 16;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The address for all connections, of UDP and TCP; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Whether peers may connect by TCP too (RFC 6544).
    pub tcp: bool,
    /// Threads; the connections of one room share one.
    pub workers: usize,
    /// An IPv6 `bind` takes IPv4 peers too.
    pub dual_stack: bool,
    /// The addresses that clients are told, where they differ from the bound one (NAT).
    pub public_addresses: Vec<IpAddr>,
    /// Whether clients may use our own TURN, at the same port.
    pub turn: bool,
    /// What our TURN and others share with us, to know the credentials that we issue.
    pub turn_secret: String,
    /// Further STUN and TURN servers for clients.
    pub ice_servers: Vec<IceServer>,
    /// Whether clients are told the loopback address too, if `bind` is unspecified.
    pub loopback: bool,
    /// Connections at once; the next one is refused.
    pub max_connections: usize,
    /// How long a client may take until its first pair is nominated.
    pub connect_timeout: Duration,
    /// RFC 7675: the longest silence of a peer that is still there.
    pub consent_timeout: Duration,
    /// Silence of checks and media both, after which a peer is taken for gone.
    pub vanish_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let ice = ice::Settings::default();
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8189)),
            tcp: true,
            workers: 1,
            dual_stack: false,
            public_addresses: Vec::new(),
            turn: true,
            turn_secret: random_secret(),
            ice_servers: Vec::new(),
            loopback: false,
            max_connections: 2000,
            connect_timeout: ice.connect_timeout,
            consent_timeout: ice.consent_timeout,
            vanish_timeout: ice.vanish_timeout,
        }
    }
}

/// Why the transport did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("all {0} connections are taken: raise the limit, or try again later")]
    Full(usize),
    #[error("the answer's ice-ufrag is another connection's: generate a new one")]
    UfragTaken,
    #[error("connection {0} is closed")]
    NoConnection(ConnectionId),
    #[error("the transport is overloaded: try again later")]
    Overloaded,
    #[error("the transport has stopped")]
    Stopped,
}

/// A cheap handle; the transport runs until [`Rtc::shutdown`] or until the last one is gone.
#[derive(Clone)]
pub struct Rtc {
    crew: Arc<Crew>,
    /// Ends the workers when the last handle is gone.
    _life: Arc<Life>,
    fingerprint: Fingerprint,
    local: SocketAddr,
    has_tcp: bool,
    /// Of the candidates.
    ips: Arc<[IpAddr]>,
    secret: Secret,
    has_turn: bool,
    ice_servers: Arc<[IceServer]>,
}

struct Life(Vec<Arc<Shared>>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.iter().for_each(|shared| shared.stop());
    }
}

impl Rtc {
    /// Binds the port and starts the workers' threads.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let workers = settings.workers.clamp(1, MAX_WORKERS);
        let (sockets, mut listener) = bind(&settings, workers)?;
        let local = match sockets.first() {
            Some(socket) => socket.local_addr()?,
            None => settings.bind,
        };
        let has_tcp = listener.is_some();
        let identity = Arc::new(Identity::generate().map_err(io::Error::other)?);
        let fingerprint = identity.fingerprint.clone();
        let ips: Arc<[IpAddr]> = candidate_ips(&settings, local).into();
        let secret = Secret::new(&settings.turn_secret, identity.provider.clone());
        let turn = turn::Settings {
            secret: secret.clone(),
            addresses: ips.to_vec(),
            port: local.port(),
            max_clients: match settings.turn {
                true => settings.max_connections,
                false => 0,
            },
        };
        let ice = ice::Settings {
            candidates: ips
                .iter()
                .map(|ip| SocketAddr::new(*ip, local.port()))
                .collect(),
            connect_timeout: settings.connect_timeout,
            consent_timeout: settings.consent_timeout,
            vanish_timeout: settings.vanish_timeout,
        };
        let (mut members, mut receivers) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
            let shared = Arc::new(Shared::default());
            members.push(Member { commands, shared });
            receivers.push(receiver);
        }
        let life = members.iter().map(|member| member.shared.clone());
        let life = Arc::new(Life(life.collect()));
        let crew = Arc::new(Crew::new(members));
        for (number, (socket, commands)) in sockets.into_iter().zip(receivers).enumerate() {
            let duty = Duty {
                number,
                socket,
                // One of them listens for all.
                listener: listener.take(),
                identity: identity.clone(),
                crew: crew.clone(),
                ice: ice.clone(),
                turn: turn.clone(),
                max_connections: settings.max_connections,
                commands,
            };
            std::thread::Builder::new()
                .name(format!("rtc-{number}"))
                .spawn(move || {
                    if let Err(error) = worker::run(duty) {
                        tracing::error!(%error, "a thread of the transport ended");
                    }
                })?;
        }
        Ok(Self {
            crew,
            _life: life,
            fingerprint,
            local,
            has_tcp,
            ips,
            secret,
            has_turn: settings.turn,
            ice_servers: settings.ice_servers.into(),
        })
    }

    /// Our ICE credentials for a connection that belongs to `room`.
    pub fn credentials(&self, room: &str) -> IceCredentials {
        self.crew.credentials(room)
    }

    /// Whether peers can connect by TCP too, at the same addresses.
    pub fn has_tcp(&self) -> bool {
        self.has_tcp
    }

    /// The address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The candidates to write into answers and offers, best first.
    pub fn candidates(&self) -> Vec<Candidate> {
        let all = |transport| {
            let addresses = self.addresses().into_iter();
            addresses.map(move |address| Candidate { transport, address })
        };
        let tcp = self.has_tcp.then(|| all(Transport::Tcp));
        all(Transport::Udp)
            .chain(tcp.into_iter().flatten())
            .collect()
    }

    /// Where clients are told to connect to.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let port = self.local.port();
        let addresses = self.ips.iter().map(|ip| SocketAddr::new(*ip, port));
        addresses.collect()
    }

    /// The STUN and TURN servers for a client who comes now: credentials end after a while.
    pub fn ice_servers(&self) -> Vec<IceServer> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let credential = self.secret.issue(now.map_or(0, |since| since.as_secs()));
        let addresses = self.addresses();
        let first = |is_ipv4| addresses.iter().find(|at| at.is_ipv4() == is_ipv4).copied();
        let own = [first(true), first(false)].into_iter().flatten();
        let own = own.filter(|_| self.has_turn);
        let own = own.flat_map(|address| IceServer::relays(address, self.has_tcp));
        let with_credential = |server: IceServer| match server.needs_credential() {
            true => IceServer {
                credential: credential.clone(),
                ..server
            },
            false => server,
        };
        let all = self.ice_servers.iter().cloned().chain(own);
        all.map(with_credential).collect()
    }

    /// Of our certificate, for `a=fingerprint`; one for the life of the process.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    /// Expects the peer that `agreement` describes, with credentials of [`Rtc::credentials`].
    /// Its media goes to `sink`, of which the last
    /// event is [`Event::Closed`](super::core::Event::Closed).
    ///
    /// # Errors
    ///
    /// [`Error::Full`] at the limit of connections.
    pub async fn open(
        &self,
        agreement: Agreement,
        sink: Box<dyn Sink>,
    ) -> Result<ConnectionId, Error> {
        let (answer, answered) = oneshot::channel();
        let member = self.crew.of_ufrag(&agreement.local_ice.ufrag);
        let open = Command::Open(Box::new(agreement), sink, answer);
        command(member.ok_or(Error::UfragTaken)?, open)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// A source in this process: others of `room` may subscribe to its tracks, which have these
    /// layers.
    pub fn originate(
        &self,
        room: &str,
        layers: BTreeMap<TrackId, Vec<LayerInfo>>,
        origin: Box<dyn Origin>,
    ) -> LocalSource {
        let id = self.crew.new_id(self.crew.number_of_room(room));
        self.wish(id, |wishes| {
            wishes.locals.insert(id, Local { origin, layers });
        });
        LocalSource::new(self.clone(), id)
    }

    pub(super) fn command_to(&self, id: ConnectionId, sent: Command) -> Result<(), Error> {
        command(self.member(id)?, sent)
    }

    /// New ICE credentials (RFC 9725 §4.3.2). Media goes on meanwhile.
    pub async fn restart_ice(
        &self,
        id: ConnectionId,
        local: IceCredentials,
        remote: IceCredentials,
    ) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let restart = Command::RestartIce {
            id,
            local,
            remote,
            answer,
        };
        command(self.member(id)?, restart)?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// Sends a message beside the media, to who has a channel open for it.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] and [`Error::Stopped`].
    pub fn send_data(&self, id: ConnectionId, text: String) -> Result<(), Error> {
        command(self.member(id)?, Command::SendData(id, text))
    }

    /// Measurements; `None` once it is closed.
    pub async fn stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        let (answer, answered) = oneshot::channel();
        command(self.member(id).ok()?, Command::Stats(id, answer)).ok()?;
        answered.await.ok()?
    }

    /// Measurements of all connections.
    pub async fn survey(&self) -> Vec<(ConnectionId, ConnectionStats)> {
        let mut all = Vec::new();
        for member in self.crew.all() {
            let (answer, answered) = oneshot::channel();
            if command(member, Command::Survey(answer)).is_ok() {
                all.extend(answered.await.unwrap_or_default());
            }
        }
        all
    }

    /// Ends a connection; never lost, never waits. So with all that follow.
    pub fn close(&self, id: ConnectionId) {
        self.wish(id, |wishes| {
            wishes.closes.insert(id);
        });
    }

    /// Asks the publisher of `track` for key frames of all layers, as often as it is sensible.
    pub fn request_key_frame(&self, id: ConnectionId, track: TrackId) {
        self.wish(id, |wishes| wishes.key_frame((id, track)));
    }

    /// What is sent to a peer, after a negotiation.
    pub fn agree(&self, id: ConnectionId, sends: Vec<SendMedia>) {
        self.wish(id, |wishes| {
            wishes.agreed.insert(id, sends);
        });
    }

    /// What comes in one of the sections that are sent to a peer: a track of another connection
    /// of the same room, or nothing.
    pub fn set_source(&self, id: ConnectionId, slot: Slot, source: Option<Source>) {
        self.wish(id, |wishes| {
            wishes.sources.insert((id, slot), source);
        });
    }

    /// How a peer shows what it gets.
    pub fn set_view(&self, id: ConnectionId, slot: Slot, view: View) {
        self.wish(id, |wishes| {
            wishes.views.insert((id, slot), view);
        });
    }

    /// What a peer says of its addresses: for the verdict, should it not connect.
    pub fn add_remote_candidates(&self, id: ConnectionId, mut candidates: Vec<String>) {
        self.wish(id, |wishes| {
            let known = wishes.candidates.entry(id).or_default();
            candidates.truncate(MAX_CANDIDATES.saturating_sub(known.len()));
            known.append(&mut candidates);
        });
    }

    /// Calls of the kernel to send, so far: with GSO, each carries several packets.
    pub fn socket_calls(&self) -> u64 {
        let workers = self.crew.all().iter();
        workers
            .map(|member| member.shared.calls.load(Ordering::Relaxed))
            .sum()
    }

    /// Says goodbye to every peer and ends the threads.
    pub fn shutdown(&self) {
        self.crew
            .all()
            .iter()
            .for_each(|member| member.shared.stop());
    }

    fn member(&self, id: ConnectionId) -> Result<&Member, Error> {
        self.crew.of_connection(id).ok_or(Error::NoConnection(id))
    }

    fn wish(&self, id: ConnectionId, change: impl FnOnce(&mut Wishes)) {
        if let Ok(member) = self.member(id) {
            member.shared.wish(change);
        }
    }
}

/// The sockets of all workers, and TCP's at the same port.
fn bind(settings: &Settings, workers: usize) -> io::Result<(Vec<UdpSocket>, Option<TcpListener>)> {
    let mut tries = MAX_BINDS;
    loop {
        let sockets = socket::bind(settings.bind, settings.dual_stack, workers)?;
        let local = sockets.first().map(UdpSocket::local_addr).transpose()?;
        let Some(local) = local.filter(|_| settings.tcp) else {
            return Ok((sockets, None));
        };
        match tcp::bind(local, settings.dual_stack) {
            Ok(listener) => return Ok((sockets, Some(listener))),
            // A port that UDP had free may be taken for TCP: then take another.
            Err(_) if settings.bind.port() == 0 && tries > 0 => tries -= 1,
            Err(error) => return Err(error),
        }
    }
}

fn command(member: &Member, command: Command) -> Result<(), Error> {
    member
        .commands
        .try_send(command)
        .map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })
}

/// The addresses of our candidates, best first.
fn candidate_ips(settings: &Settings, local: SocketAddr) -> Vec<IpAddr> {
    if !settings.public_addresses.is_empty() {
        return settings.public_addresses.clone();
    }
    if !local.ip().is_unspecified() {
        return vec![local.ip()];
    }
    let takes = |ip: &IpAddr| match (ip, local.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
        (IpAddr::V4(_), IpAddr::V6(_)) => settings.dual_stack,
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
    };
    let mut ips: Vec<IpAddr> = interface_addresses().into_iter().filter(takes).collect();
    if settings.loopback || ips.is_empty() {
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        ips.extend(loopback.iter().filter(|ip| takes(ip)));
    }
    ips
}

fn random_secret() -> String {
    let letters = rand::rng().sample_iter(Alphanumeric).take(SECRET_LEN);
    letters.map(char::from).collect()
}

/// Addresses of this machine that others may reach.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    for interface in interfaces {
        let Some(address) = interface.address else {
            continue;
        };
        let ipv4 = address
            .as_sockaddr_in()
            .map(|address| IpAddr::V4(address.ip()));
        let ipv6 = address
            .as_sockaddr_in6()
            .map(|address| IpAddr::V6(address.ip()));
        addresses.extend(ipv4.or(ipv6));
    }
    let of_others = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    };
    addresses.into_iter().filter(of_others).collect()
}
