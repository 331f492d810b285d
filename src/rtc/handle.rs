//! The handle by which the house uses the transport.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::core::connection::ConnectionStats;
use super::core::dtls::Identity;
use super::core::ice;
use super::core::sdp::agreement::{Agreement, Fingerprint, IceCredentials};
use super::core::{Sink, TrackId};
use super::demux::ConnectionId;
use super::socket;
use super::worker::{self, Command};

/// Commands that wait for the worker; one takes it microseconds, so more is an overload.
const MAX_COMMANDS: usize = 256;

/// Key frame requests that wait; the worker takes all at once, and each peer has few tracks.
const MAX_KEY_FRAMES: usize = 10_000;

#[derive(Debug, Clone)]
pub struct Settings {
    /// The UDP address for all connections; port 0 takes a free one.
    pub bind: SocketAddr,
    /// An IPv6 `bind` takes IPv4 peers too.
    pub dual_stack: bool,
    /// The addresses that clients are told, where they differ from the bound one (NAT).
    pub public_addresses: Vec<IpAddr>,
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
            dual_stack: false,
            public_addresses: Vec::new(),
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
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    fingerprint: Fingerprint,
    local: SocketAddr,
    public_addresses: Arc<[IpAddr]>,
    dual_stack: bool,
    loopback: bool,
}

impl Rtc {
    /// Binds the port and starts the worker's thread.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let socket = socket::bind(settings.bind, settings.dual_stack)?;
        let local = socket.local_addr()?;
        let identity = Arc::new(Identity::generate().map_err(io::Error::other)?);
        let fingerprint = identity.fingerprint.clone();
        let shared = Arc::new(Shared::default());
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let ice = ice::Settings {
            connect_timeout: settings.connect_timeout,
            consent_timeout: settings.consent_timeout,
            vanish_timeout: settings.vanish_timeout,
        };
        let (for_worker, max) = (shared.clone(), settings.max_connections);
        std::thread::Builder::new()
            .name("rtc".to_owned())
            .spawn(move || {
                if let Err(error) = worker::run(socket, identity, for_worker, ice, max, receiver) {
                    tracing::error!(%error, "the transport's thread ended");
                }
            })?;
        Ok(Self {
            commands,
            shared,
            fingerprint,
            local,
            public_addresses: settings.public_addresses.into(),
            dual_stack: settings.dual_stack,
            loopback: settings.loopback,
        })
    }

    /// The address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The addresses to write into answers, best first.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        let port = self.local.port();
        let told = |ips: Vec<IpAddr>| {
            ips.into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect()
        };
        if !self.public_addresses.is_empty() {
            return told(self.public_addresses.to_vec());
        }
        if !self.local.ip().is_unspecified() {
            return vec![self.local];
        }
        let takes = |ip: &IpAddr| match (ip, self.local.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
            (IpAddr::V4(_), IpAddr::V6(_)) => self.dual_stack,
            (IpAddr::V6(_), IpAddr::V4(_)) => false,
        };
        let mut ips: Vec<IpAddr> = interface_addresses().into_iter().filter(takes).collect();
        if self.loopback || ips.is_empty() {
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            ips.extend(loopback.iter().filter(|ip| takes(ip)));
        }
        told(ips)
    }

    /// Of our certificate, for `a=fingerprint`; one for the life of the process.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    /// Expects the peer that `agreement` describes. Its media goes to `sink`, of which the last
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
        self.command(Command::Open(Box::new(agreement), sink, answer))?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// New ICE credentials (RFC 9725 §4.3.2). Media goes on meanwhile.
    pub async fn restart_ice(
        &self,
        id: ConnectionId,
        local: IceCredentials,
        remote: IceCredentials,
    ) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::RestartIce {
            id,
            local,
            remote,
            answer,
        })?;
        answered.await.map_err(|_| Error::Stopped)?
    }

    /// Measurements; `None` once it is closed.
    pub async fn stats(&self, id: ConnectionId) -> Option<ConnectionStats> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Stats(id, answer)).ok()?;
        answered.await.ok()?
    }

    /// Ends a connection; never lost, never waits.
    pub fn close(&self, id: ConnectionId) {
        self.shared.wish(|wishes| {
            wishes.closes.insert(id);
        });
    }

    /// Asks the publisher of `track` for a key frame, at most one every 500 ms.
    pub fn request_key_frame(&self, id: ConnectionId, track: TrackId) {
        self.shared.wish(|wishes| {
            if wishes.key_frames.len() < MAX_KEY_FRAMES {
                wishes.key_frames.insert((id, track));
            }
        });
    }

    /// Says goodbye to every peer and ends the thread.
    pub fn shutdown(&self) {
        self.shared.stop();
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        self.commands
            .try_send(command)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Error::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Error::Stopped,
            })
    }
}

/// What the handles tell the worker without waiting.
#[derive(Default)]
pub struct Shared {
    pub(super) wake: Notify,
    stopped: AtomicBool,
    wishes: Mutex<Wishes>,
}

#[derive(Default)]
pub(super) struct Wishes {
    /// At most the connections that are open, and those just closed.
    pub closes: BTreeSet<ConnectionId>,
    pub key_frames: BTreeSet<(ConnectionId, TrackId)>,
}

impl Shared {
    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    pub(super) fn take_wishes(&self) -> Wishes {
        std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
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
