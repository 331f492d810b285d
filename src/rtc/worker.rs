//! A thread's loop over many connections: datagrams, timers and the house's commands in;
//! datagrams and what the sinks are told, out. In [`forwarding`], publishers' packets go to their
//! subscribers.

mod forwarding;
mod peer;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket as StdSocket};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::core::connection::{Connection, ConnectionStats};
use super::core::dtls::Identity;
use super::core::ice::{self, Path, Place, Transport, check};
use super::core::outbox::Outbox;
use super::core::sdp::agreement::{Agreement, IceCredentials};
use super::core::send::track::Slot;
use super::core::turn::{self, Turn};
use super::core::{CloseReason, Event, LayerInfo, ReceivedRtp, SenderReport, Sink};
use super::crew::{Crew, Shared, Source};
use super::demux::{ConnectionId, Demux};
use super::handle::Error;
use super::origin::Local;
use super::socket::Socket;
use super::switchboard::Switchboard;
use super::tcp::{self, Stream};
use forwarding::Round;
use peer::Peer;

/// Socket calls before timers and commands get their turn: up to a few thousand datagrams.
const MAX_RECEIVES: usize = 16;

/// Commands before datagrams get their turn.
const MAX_COMMANDS: usize = 256;

/// Timers further ahead than twice this fire at multiples of it, so that the thread wakes once for
/// many.
const COARSE: Duration = Duration::from_millis(10);

/// Addresses remembered of peers that other workers have; all are forgotten at once.
const MAX_FOREIGN: usize = 100_000;

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
    /// A message beside the media.
    SendData(ConnectionId, String),
    /// Of a source in this process.
    Rtp(Source, Vec<ReceivedRtp>),
    SenderReport(Source, SenderReport),
    Stats(ConnectionId, oneshot::Sender<Option<ConnectionStats>>),
    /// Of all.
    Survey(oneshot::Sender<Vec<(ConnectionId, ConnectionStats)>>),
    /// One that came elsewhere: by TCP, or to another worker's socket.
    Datagram(Path, Vec<u8>),
    /// A peer's datagrams go there from now on.
    TcpOpened(SocketAddr, Stream),
    TcpClosed(SocketAddr),
    /// A message to our TURN, that came by TCP.
    Turn(Path, Vec<u8>),
    /// What another worker's connection sends to a peer whose relay is ours.
    Relayed(Path, Vec<u8>),
}

/// What a worker is given.
pub struct Duty {
    pub number: usize,
    pub socket: StdSocket,
    pub listener: Option<TcpListener>,
    pub identity: Arc<Identity>,
    pub crew: Arc<Crew>,
    pub ice: ice::Settings,
    pub turn: turn::Settings,
    pub max_connections: usize,
    pub commands: mpsc::Receiver<Command>,
}

pub struct Worker {
    number: usize,
    socket: Socket,
    identity: Arc<Identity>,
    crew: Arc<Crew>,
    shared: Arc<Shared>,
    ice: ice::Settings,
    max_connections: usize,
    demux: Demux,
    /// Whose peers the kernel sends to our socket, though they are other workers'.
    foreign: HashMap<Place, usize>,
    streams: HashMap<SocketAddr, Stream>,
    turn: Turn,
    peers: BTreeMap<ConnectionId, Peer>,
    /// Sources in this process, which have no peer.
    locals: BTreeMap<ConnectionId, Local>,
    switchboard: Switchboard,
    timers: BTreeSet<(Instant, ConnectionId)>,
    /// Connections to drain before the loop waits again.
    touched: BTreeSet<ConnectionId>,
    round: Round,
    /// Empty between rounds; kept for its memory.
    held: Vec<(Source, Arc<ReceivedRtp>)>,
    outbox: Outbox,
    /// From here the moments are counted that timers have in common.
    began: Instant,
}

/// The thread's whole life.
pub fn run(duty: Duty) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        if let Some(listener) = duty.listener {
            tokio::spawn(tcp::serve(
                listener,
                duty.crew.clone(),
                duty.max_connections,
            ));
        }
        let Some(member) = duty.crew.worker(duty.number) else {
            return Ok(());
        };
        let worker = Worker {
            number: duty.number,
            socket: Socket::new(duty.socket)?,
            identity: duty.identity,
            shared: member.shared.clone(),
            crew: duty.crew.clone(),
            ice: duty.ice,
            max_connections: duty.max_connections,
            demux: Demux::default(),
            foreign: HashMap::new(),
            streams: HashMap::new(),
            turn: Turn::new(duty.turn, duty.number, duty.crew.len(), Instant::now()),
            peers: BTreeMap::new(),
            locals: BTreeMap::new(),
            switchboard: Switchboard::default(),
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
            round: Round::default(),
            held: Vec::new(),
            outbox: Outbox::default(),
            began: Instant::now(),
        };
        worker.serve(duty.commands).await
    })
}

impl Worker {
    async fn serve(mut self, mut commands: mpsc::Receiver<Command>) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut batch = Vec::with_capacity(MAX_COMMANDS);
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let due = self.poll_timeout();
            if let Some(at) = due.map(tokio::time::Instant::from)
                && alarm.deadline() != at
            {
                alarm.as_mut().reset(at);
            }
            tokio::select! {
                biased;
                () = shared.wake.notified() => {}
                _ = commands.recv_many(&mut batch, MAX_COMMANDS) => {
                    let now = Instant::now();
                    batch.drain(..).for_each(|command| self.handle_command(command, now));
                }
                ready = self.socket.readable() => {
                    ready?;
                    self.receive();
                }
                () = alarm.as_mut(), if due.is_some() => {}
            }
            let now = Instant::now();
            self.handle_wishes(now);
            self.fire_timers(now);
            self.turn.handle_timeout(now);
            self.relay(now);
            self.drain(now);
            if shared.is_stopped() {
                let (unsent, calls) = (self.socket.unsent, self.socket.calls);
                debug!(worker = self.number, unsent, calls, "transport stopped");
                return Ok(());
            }
        }
    }

    /// When there is something to do without being asked.
    fn poll_timeout(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let due = [timer, self.turn.poll_timeout(), self.held_until()];
        due.into_iter().flatten().min()
    }

    fn receive(&mut self) {
        for _ in 0..MAX_RECEIVES {
            let now = Instant::now();
            let Self {
                socket,
                demux,
                peers,
                touched,
                crew,
                foreign,
                number,
                turn,
                ..
            } = self;
            let more = socket.receive(|path, datagram| {
                if turn::is_turn(datagram) {
                    turn.handle_client(path, datagram, unix_s(), now);
                    return;
                }
                match demux.route(path.place(), datagram) {
                    Some(id) => take(id, path, datagram, (demux, peers, touched), now),
                    None if crew.len() > 1 => hand_over(path, datagram, crew, foreign, *number),
                    None => {}
                }
            });
            if !more {
                return;
            }
        }
    }

    fn handle_command(&mut self, command: Command, now: Instant) {
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
            Command::SendData(id, text) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.guard(id, |peer| {
                        peer.connection.send_data(text, now);
                    });
                    self.touched.insert(id);
                }
            }
            Command::Rtp(source, packets) => {
                if self.switchboard.has_subscribers(source) {
                    let packets = packets.into_iter().map(|packet| (source, Arc::new(packet)));
                    self.round.packets.extend(packets);
                }
            }
            Command::SenderReport(source, report) => {
                if self.switchboard.has_subscribers(source) {
                    self.round.reports.push((source, report));
                }
            }
            Command::Stats(id, answer) => {
                let peer = self.peers.get_mut(&id);
                let _ = answer.send(peer.map(|peer| peer.connection.stats(now)));
            }
            Command::Survey(answer) => {
                let peers = self.peers.iter_mut();
                let all = peers.map(|(id, peer)| (*id, peer.connection.stats(now)));
                let _ = answer.send(all.collect());
            }
            Command::Datagram(path, datagram) => {
                self.take_handed(path, &datagram, now);
            }
            Command::TcpOpened(remote, stream) => {
                self.streams.insert(remote, stream);
            }
            Command::TcpClosed(remote) => {
                self.streams.remove(&remote);
                self.turn.forget((Transport::Tcp, remote));
            }
            Command::Turn(path, message) => {
                self.turn.handle_client(path, &message, unix_s(), now);
            }
            Command::Relayed(path, datagram) => {
                self.turn.handle_connection(path, &datagram, now);
            }
        }
    }

    /// A datagram that came otherwise than by our socket; whether it is of a peer of ours.
    fn take_handed(&mut self, path: Path, datagram: &[u8], now: Instant) -> bool {
        let Self {
            demux,
            peers,
            touched,
            ..
        } = self;
        let id = demux.route(path.place(), datagram);
        if let Some(id) = id {
            take(id, path, datagram, (demux, peers, touched), now);
        }
        id.is_some()
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
        let id = self.crew.new_id(self.number);
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
        // A renegotiation repeats the credentials that are in use.
        if peer.connection.has_credentials(&local, &remote) {
            return Ok(());
        }
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
        self.locals.extend(wishes.locals);
        for (id, track) in wishes.key_frames {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.request_key_frame(track, None, now);
                self.touched.insert(id);
            }
        }
        for (id, sends) in wishes.agreed {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.agree(sends);
            }
        }
        for ((id, slot), source) in wishes.sources {
            self.set_source(id, slot, source, now);
        }
        for ((id, slot), view) in wishes.views {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.set_view(slot, view, now);
                self.touched.insert(id);
            }
            if let Some(source) = self.switchboard.set_view(id, slot, view) {
                self.tell_demand(source);
            }
        }
        for (id, candidates) in wishes.candidates {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.connection.add_remote_candidates(candidates);
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
            } else {
                self.remove(id, now);
            }
        }
    }

    fn set_source(&mut self, id: ConnectionId, slot: Slot, source: Option<Source>, now: Instant) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let view = peer.connection.view(slot);
        let layers = source.and_then(|source| self.layers(source, now));
        // Of a source that is gone nothing comes.
        let source = source.filter(|_| layers.is_some());
        let before = match source {
            Some(source) => self.switchboard.connect(id, slot, source),
            None => self.switchboard.disconnect(id, slot),
        };
        if before == source && source.is_some() {
            return;
        }
        self.switchboard.set_view(id, slot, view);
        for changed in [before, source].into_iter().flatten() {
            self.tell_demand(changed);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.connection.set_source(slot, layers, now);
            self.touched.insert(id);
        }
    }

    /// `None` where the source is gone.
    fn layers(&mut self, (publisher, track): Source, now: Instant) -> Option<Vec<LayerInfo>> {
        if let Some(peer) = self.peers.get_mut(&publisher) {
            return Some(peer.connection.layers(track, now));
        }
        let local = self.locals.get(&publisher)?;
        local.layers.get(&track).cloned()
    }

    /// Tells a publisher who gets their track, where that is news.
    fn tell_demand(&mut self, source: Source) {
        let Some(demand) = self.switchboard.news(source) else {
            return;
        };
        let (publisher, track) = source;
        if let Some(peer) = self.peers.get_mut(&publisher) {
            peer.sink.event(Event::Demand(track, demand));
        } else if let Some(local) = self.locals.get_mut(&publisher) {
            local.origin.subscribers(track, demand.subscribers);
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

    /// Tells the sinks, forwards, sends, and sets the timers of the connections touched.
    fn drain(&mut self, now: Instant) {
        let mut touched = std::mem::take(&mut self.touched);
        for &id in &touched {
            if let Some(peer) = self.peers.get_mut(&id) {
                let (round, board) = (&mut self.round, &self.switchboard);
                peer.guard(id, |peer| peer.tell(id, round, board));
            }
        }
        self.forward(&mut touched, now);
        for id in touched {
            self.settle(id, now);
        }
        self.send(now);
        // What went to relayed addresses comes out of their clients' side.
        if self.relay(now) {
            self.send(now);
        }
        self.shared
            .calls
            .store(self.socket.calls, Ordering::Relaxed);
    }

    fn send(&mut self, now: Instant) {
        let Self {
            socket,
            outbox,
            streams,
            turn,
            crew,
            number,
            ..
        } = self;
        socket.send(outbox, |path, datagrams, len| {
            if path.transport == Transport::Tcp {
                if let Some(stream) = streams.get(&path.remote) {
                    stream.send(datagrams, len);
                }
                return;
            }
            let owner = Turn::worker_of(path.remote, crew.len());
            for datagram in datagrams.chunks(len.max(1)) {
                if owner == *number {
                    turn.handle_connection(path, datagram, now);
                } else if let Some(member) = crew.worker(owner) {
                    // Full: lost, as in any queue.
                    let relayed = Command::Relayed(path, datagram.to_vec());
                    let _ = member.commands.try_send(relayed);
                }
            }
        });
        outbox.clear();
    }

    /// What our TURN has for its clients and for connections; whether it had anything.
    fn relay(&mut self, now: Instant) -> bool {
        let mut had = false;
        while let Some(output) = self.turn.poll_output() {
            had = true;
            match output {
                turn::Output::ToClient(path, message) => self.outbox.push(path, &message),
                turn::Output::Close(remote) => {
                    self.streams.remove(&remote);
                }
                turn::Output::ToConnection(path, datagram) => {
                    if !self.take_handed(path, &datagram, now) {
                        let (crew, foreign) = (&self.crew, &mut self.foreign);
                        hand_over(path, &datagram, crew, foreign, self.number);
                    }
                }
            }
        }
        had
    }

    /// What a connection still has to send, and when it wants to be asked again; or its end.
    fn settle(&mut self, id: ConnectionId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let (round, outbox, board) = (&mut self.round, &mut self.outbox, &self.switchboard);
        peer.guard(id, |peer| {
            peer.connection.flush(outbox, now);
            // What closing it told.
            peer.tell(id, round, board);
        });
        if peer.is_faulty {
            // As if its network were gone: its place is kept for a while, and it may come back.
            let lost = Event::Closed(CloseReason::ConsentLost);
            peer.guard(id, |peer| peer.sink.event(lost));
        }
        if peer.is_faulty || peer.connection.is_closed() {
            self.remove(id, now);
            return;
        }
        let next = peer.connection.poll_timeout();
        // An instant in the past would fire at once, without end; time must pass between.
        let next = next.map(|(at, _)| put_off(at.max(now), now, self.began));
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

    fn remove(&mut self, id: ConnectionId, now: Instant) {
        if let Some(peer) = self.peers.remove(&id) {
            if let Some(at) = peer.deadline {
                self.timers.remove(&(at, id));
            }
            self.demux.remove(id);
        } else if self.locals.remove(&id).is_none() {
            return;
        }
        let left = self.switchboard.remove(id);
        for source in left.sources {
            self.tell_demand(source);
        }
        for (subscriber, slot) in left.slots {
            if let Some(peer) = self.peers.get_mut(&subscriber) {
                peer.connection.set_source(slot, None, now);
            }
        }
    }
}

/// What is far ahead comes a little later, at one of the moments that all have in common.
fn put_off(at: Instant, now: Instant, began: Instant) -> Instant {
    if at.saturating_duration_since(now) < COARSE * 2 {
        return at;
    }
    let since = at.saturating_duration_since(began).as_nanos();
    let put_off = since.next_multiple_of(COARSE.as_nanos());
    began + Duration::from_nanos(put_off as u64)
}

/// The time of day, by which TURN's credentials end.
fn unix_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// One datagram of a peer that is ours.
fn take(
    id: ConnectionId,
    path: Path,
    datagram: &[u8],
    (demux, peers, touched): (
        &mut Demux,
        &mut BTreeMap<ConnectionId, Peer>,
        &mut BTreeSet<ConnectionId>,
    ),
    now: Instant,
) {
    let Some(peer) = peers.get_mut(&id) else {
        return;
    };
    peer.guard(id, |peer| {
        peer.connection.handle_datagram(path, datagram, now)
    });
    if check::is_stun(datagram) && peer.connection.is_valid(path) {
        demux.add_address(id, path.place());
    }
    touched.insert(id);
}

/// One that the kernel gave to the wrong worker. A check tells whose its peer is; what follows
/// from there goes the same way.
fn hand_over(
    path: Path,
    datagram: &[u8],
    crew: &Crew,
    foreign: &mut HashMap<Place, usize>,
    own: usize,
) {
    let owner = match check::is_stun(datagram) {
        true => {
            let ufrag = check::peek_ufrag(datagram);
            let Some(owner) = ufrag.and_then(|ufrag| crew.number_of(ufrag)) else {
                return;
            };
            if foreign.len() >= MAX_FOREIGN {
                foreign.clear();
            }
            foreign.insert(path.place(), owner);
            owner
        }
        false => match foreign.get(&path.place()) {
            Some(owner) => *owner,
            None => return,
        },
    };
    if owner != own
        && let Some(member) = crew.worker(owner)
    {
        // Full: lost, as in any queue.
        let handed = Command::Datagram(path, datagram.to_vec());
        let _ = member.commands.try_send(handed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_ahead_is_put_off_to_a_common_moment() {
        let began = Instant::now();
        let put_off_ms = |at: u64, now: u64| {
            let [at, now] = [at, now].map(|ms| began + Duration::from_millis(ms));
            put_off(at, now, began).duration_since(began).as_millis()
        };
        assert_eq!([put_off_ms(1251, 1001), put_off_ms(1259, 1009)], [1260; 2]);
        // Once put off, it stays where it is.
        assert_eq!(put_off_ms(1260, 1001), 1260);
        // What is near may be a picture's packet that is paced.
        assert_eq!(put_off_ms(1003, 1001), 1003);
    }
}
