//! A thread's loop over many connections: datagrams, timers and the house's commands in;
//! datagrams and what the sinks are told, out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::UdpSocket as StdSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::core::connection::{Connection, ConnectionStats, Transmit};
use super::core::dtls::Identity;
use super::core::ice;
use super::core::receive::receiver::Output;
use super::core::sdp::agreement::{Agreement, IceCredentials};
use super::core::{CloseReason, Event, Sink};
use super::demux::{ConnectionId, Demux};
use super::handle::{Error, Shared};
use super::socket::Socket;

/// Socket calls before timers and commands get their turn: up to a few thousand datagrams.
const MAX_RECEIVES: usize = 16;

/// What waits for the worker, each with its answer.
pub enum Command {
    Open(
        Box<Agreement>,
        Box<dyn Sink>,
        oneshot::Sender<Result<ConnectionId, Error>>,
    ),
    RestartIce {
        id: ConnectionId,
        local: IceCredentials,
        remote: IceCredentials,
        answer: oneshot::Sender<Result<(), Error>>,
    },
    Stats(ConnectionId, oneshot::Sender<Option<ConnectionStats>>),
}

struct Peer {
    connection: Connection,
    sink: Box<dyn Sink>,
    /// Its entry in the timers.
    deadline: Option<Instant>,
    is_faulty: bool,
}

pub struct Worker {
    socket: Socket,
    identity: Arc<Identity>,
    shared: Arc<Shared>,
    ice: ice::Settings,
    max_connections: usize,
    next_id: u64,
    demux: Demux,
    peers: BTreeMap<ConnectionId, Peer>,
    timers: BTreeSet<(Instant, ConnectionId)>,
    /// Connections to drain before the loop waits again.
    touched: BTreeSet<ConnectionId>,
}

/// The thread's whole life.
pub fn run(
    socket: StdSocket,
    identity: Arc<Identity>,
    shared: Arc<Shared>,
    ice: ice::Settings,
    max_connections: usize,
    commands: mpsc::Receiver<Command>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let worker = Worker {
            socket: Socket::new(socket)?,
            identity,
            shared,
            ice,
            max_connections,
            next_id: 1,
            demux: Demux::default(),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
        };
        worker.serve(commands).await
    })
}

impl Worker {
    async fn serve(mut self, mut commands: mpsc::Receiver<Command>) -> io::Result<()> {
        let shared = self.shared.clone();
        loop {
            let wake = async {
                match self.timers.first() {
                    Some((at, _)) => tokio::time::sleep_until((*at).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shared.wake.notified() => {}
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    // Every handle is gone.
                    None => shared.stop(),
                },
                ready = self.socket.readable() => {
                    ready?;
                    self.receive();
                }
                () = wake => {}
            }
            let now = Instant::now();
            self.handle_wishes(now);
            self.fire_timers(now);
            self.drain(now);
            if shared.is_stopped() {
                debug!(unsent = self.socket.unsent, "transport stopped");
                return Ok(());
            }
        }
    }

    fn receive(&mut self) {
        for _ in 0..MAX_RECEIVES {
            let now = Instant::now();
            let (demux, peers, touched) = (&mut self.demux, &mut self.peers, &mut self.touched);
            let more = self.socket.receive(|path, datagram| {
                let Some(id) = demux.route(path.remote, datagram) else {
                    return;
                };
                let Some(peer) = peers.get_mut(&id) else {
                    return;
                };
                peer.guard(id, |peer| {
                    peer.connection.handle_datagram(path, datagram, now)
                });
                if datagram[0] < 4 && peer.connection.is_valid(path) {
                    demux.add_address(id, path.remote);
                }
                touched.insert(id);
            });
            if !more {
                return;
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Open(agreement, sink, answer) => {
                let opened = self.open(*agreement, sink, now);
                let id = opened.as_ref().ok().copied();
                // Nobody waits for it any more: then nobody would ever close it.
                if answer.send(opened).is_err()
                    && let Some(peer) = id.and_then(|id| self.peers.get_mut(&id))
                {
                    peer.connection.close(CloseReason::Asked, now);
                }
            }
            Command::RestartIce {
                id,
                local,
                remote,
                answer,
            } => {
                let _ = answer.send(self.restart_ice(id, local, remote, now));
            }
            Command::Stats(id, answer) => {
                let peer = self.peers.get_mut(&id);
                let _ = answer.send(peer.map(|peer| peer.connection.stats(now)));
            }
        }
    }

    fn open(
        &mut self,
        agreement: Agreement,
        sink: Box<dyn Sink>,
        now: Instant,
    ) -> Result<ConnectionId, Error> {
        if self.peers.len() >= self.max_connections {
            return Err(Error::Full(self.max_connections));
        }
        if self.demux.knows_ufrag(&agreement.local_ice.ufrag) {
            return Err(Error::UfragTaken);
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.demux.add_ufrag(id, agreement.local_ice.ufrag.clone());
        let (identity, ice) = (self.identity.clone(), self.ice.clone());
        let connection = Connection::new(identity, agreement, ice, rand::random(), now);
        let peer = Peer {
            connection,
            sink,
            deadline: None,
            is_faulty: false,
        };
        self.peers.insert(id, peer);
        self.touched.insert(id);
        debug!(connection = %id, "opened");
        Ok(id)
    }

    fn restart_ice(
        &mut self,
        id: ConnectionId,
        local: IceCredentials,
        remote: IceCredentials,
        now: Instant,
    ) -> Result<(), Error> {
        let peer = self.peers.get_mut(&id).ok_or(Error::NoConnection(id))?;
        if self.demux.knows_ufrag(&local.ufrag) {
            return Err(Error::UfragTaken);
        }
        self.demux.add_ufrag(id, local.ufrag.clone());
        peer.connection.restart_ice(local, remote, now);
        self.touched.insert(id);
        Ok(())
    }

    /// What the house wishes without waiting for an answer.
    fn handle_wishes(&mut self, now: Instant) {
        let wishes = self.shared.take_wishes();
        for (id, track) in wishes.key_frames {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.request_key_frame(track, now);
                self.touched.insert(id);
            }
        }
        let stopped = self.shared.is_stopped();
        let closing: Vec<ConnectionId> = match stopped {
            true => self.peers.keys().copied().collect(),
            false => wishes.closes.into_iter().collect(),
        };
        for id in closing {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.close(CloseReason::Asked, now);
                self.touched.insert(id);
            }
        }
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            peer.deadline = None;
            peer.guard(id, |peer| peer.connection.handle_timeout(now));
            self.touched.insert(id);
        }
    }

    /// Tells the sinks, sends, and sets the timers of the connections touched.
    fn drain(&mut self, now: Instant) {
        let mut transmits: Vec<Transmit> = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            peer.guard(id, |peer| {
                while let Some(output) = peer.connection.poll_event() {
                    tell(id, peer.sink.as_mut(), output);
                }
                transmits.extend(std::iter::from_fn(|| peer.connection.poll_transmit()));
            });
            if peer.is_faulty {
                // As if its network were gone: its place is kept for a while, and it may come back.
                let lost = Output::Event(Event::Closed(CloseReason::ConsentLost));
                peer.guard(id, |peer| tell(id, peer.sink.as_mut(), lost));
            }
            if peer.is_faulty || peer.connection.is_closed() {
                if let Some(at) = peer.deadline {
                    self.timers.remove(&(at, id));
                }
                self.peers.remove(&id);
                self.demux.remove(id);
                continue;
            }
            let next = peer.connection.poll_timeout();
            // An instant in the past would fire at once, without end; time must pass between.
            let next = next.map(|(at, _)| at.max(now));
            // A later deadline may keep its early entry: firing too early costs little, and
            // moving the entry with each packet would cost more.
            if let Some(at) = next
                && peer.deadline.is_none_or(|before| at < before)
            {
                if let Some(before) = peer.deadline.replace(at) {
                    self.timers.remove(&(before, id));
                }
                self.timers.insert((at, id));
            }
        }
        self.socket.send(&transmits);
    }
}

impl Peer {
    /// A fault of ours that one peer's bytes bring about ends that connection alone.
    fn guard(&mut self, id: ConnectionId, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            error!(connection = %id, "a fault of the server; the connection is closed");
            self.is_faulty = true;
        }
    }
}

fn tell(id: ConnectionId, sink: &mut dyn Sink, output: Output) {
    match output {
        Output::Rtp(track, packet) => sink.rtp(track, packet),
        Output::SenderReport(track, report) => sink.sender_report(track, report),
        Output::Event(event) => {
            match &event {
                Event::Closed(reason @ CloseReason::Refused) => {
                    warn!(connection = %id, ?reason, "closed");
                }
                event => info!(connection = %id, ?event, "peer"),
            }
            sink.event(event);
        }
    }
}
