//! One peer's connection: ICE, DTLS, SRTP, the receiver and the sender, composed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::data::{Data, DataEvent};
use super::dtls::{self, Dtls, Identity};
use super::ice::{self, Ice, Path, check};
use super::outbox::Outbox;
use super::prefetch::{Depth, prefetch};
use super::receive::receiver::{self, Output, Receiver};
use super::receive::rtp;
use super::receive::stats::TrackStats;
use super::rtcp;
use super::sdp::agreement::{Agreement, IceCredentials, Media, SendMedia};
use super::sdp::fragment::MAX_CANDIDATES;
use super::send::sender::{SendEvent, Sender};
use super::send::track::{Slot, SlotStats, View, Wire};
use super::sink::{CloseReason, Event, LayerInfo, ReceivedRtp, SenderReport, TrackId};
use super::srtp::Srtp;
use super::verdict::{self, Seen};

/// A connected peer must finish DTLS in this time after its pair was nominated.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// After BYE on every track a peer that is silent this long has left. Silence it must be:
/// browsers say BYE for a muted track too, and go on with their checks, every 2.5 s.
const GOODBYE_SILENCE: Duration = Duration::from_secs(3);

/// One datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    pub path: Path,
    pub data: Vec<u8>,
}

/// Measurements of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionStats {
    /// The selected pair.
    pub path: Option<Path>,
    /// As reports or retransmissions measured it; `None` until then.
    pub round_trip: Option<Duration>,
    /// Datagrams that were no authentic packet of the peer.
    pub rejected: u64,
    pub tracks: Vec<TrackStats>,
    /// What the path to the peer carries, in bit/s; `None` where nothing is sent.
    pub estimate_bps: Option<u64>,
    pub slots: Vec<SlotStats>,
}

/// A sans-IO connection: fed datagrams and time, asked for datagrams and events.
pub struct Connection {
    identity: Arc<Identity>,
    ice: Ice,
    dtls: Dtls,
    srtp: Option<Box<Srtp>>,
    receiver: Receiver,
    sender: Sender,
    data: Option<Data>,
    handshake_deadline: Option<Instant>,
    handshake_datagrams: u64,
    /// As the peer wrote them; told, not used.
    remote_candidates: Vec<String>,
    rejected: u64,
    closed: bool,
    outputs: VecDeque<Output>,
    transmits: VecDeque<Transmit>,
}

impl Connection {
    /// `ssrc` is the one our RTCP carries; it should be random.
    pub fn new(
        identity: Arc<Identity>,
        agreement: Agreement,
        settings: ice::Settings,
        ssrc: u32,
        now: Instant,
    ) -> Self {
        let Agreement {
            local_ice,
            remote_ice,
            remote_fingerprint,
            dtls_role,
            media,
            sends,
            has_data,
        } = agreement;
        // RFC 7022 §4.2: a name for this session alone.
        let cname = format!("amphi-{ssrc:08x}");
        let mut sender = Sender::new(cname.clone());
        sender.agree(sends, rand::random);
        Self {
            dtls: Dtls::new(identity.clone(), remote_fingerprint, dtls_role),
            receiver: Receiver::new(media, ssrc, cname, now),
            sender,
            data: has_data.then(Data::default),
            ice: Ice::new(local_ice, remote_ice, settings, now),
            identity,
            srtp: None,
            handshake_deadline: None,
            handshake_datagrams: 0,
            remote_candidates: Vec::new(),
            rejected: 0,
            closed: false,
            outputs: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Takes a datagram (RFC 7983 §7). Data is looked at only from where a check came.
    pub fn handle_datagram(&mut self, path: Path, datagram: &[u8], now: Instant) {
        let Some(&first) = datagram.first() else {
            return;
        };
        if self.closed {
            return;
        }
        match first {
            0..=3 if check::is_stun(datagram) => {
                let crypto = self.identity.provider.clone();
                self.ice.handle_stun(path, datagram, crypto.crypto(), now);
            }
            _ if !self.ice.is_valid(path) => self.rejected += 1,
            20..=63 => {
                self.handshake_datagrams += 1;
                self.dtls.handle_datagram(datagram, now);
            }
            128..=191 => self.handle_srtp(datagram, now),
            _ => self.rejected += 1,
        }
        self.drain(now);
    }

    fn handle_srtp(&mut self, datagram: &[u8], now: Instant) {
        let Some(srtp) = &mut self.srtp else {
            // Media that overtook the end of the handshake; a retransmission brings it back.
            return;
        };
        let crypto = self.identity.provider.crypto();
        let authentic = if receiver::is_rtcp(datagram) {
            let packet = srtp.open_rtcp(datagram, crypto);
            packet.map(|packet| {
                for message in rtcp::parse(&packet) {
                    self.sender.handle_rtcp(&message, now);
                    self.receiver.handle_rtcp(message, now);
                }
            })
        } else {
            rtp::parse(datagram).and_then(|header| {
                let packet = srtp.open_rtp(datagram, &header, crypto)?;
                self.receiver.handle_rtp(packet, &header, now);
                Some(())
            })
        };
        match authentic {
            Some(()) => self.ice.on_authentic(now),
            None => self.rejected += 1,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.ice.handle_timeout(now);
        self.dtls.handle_timeout(now);
        if self.srtp.is_some() {
            self.receiver.handle_timeout(now);
            self.sender.handle_timeout(now);
        }
        if let Some(data) = &mut self.data {
            data.handle_timeout(now);
        }
        if self.handshake_deadline.is_some_and(|at| at <= now) {
            self.close(CloseReason::NeverConnected, now);
        }
        if self.goodbye_deadline().is_some_and(|at| at <= now) {
            self.close(CloseReason::PeerLeft, now);
        }
        self.drain(now);
    }

    /// Whether these ICE credentials are in use.
    pub fn has_credentials(&self, local: &IceCredentials, remote: &IceCredentials) -> bool {
        self.ice.has_credentials(local, remote)
    }

    /// New ICE credentials (RFC 8445 §9). Media goes on.
    pub fn restart_ice(&mut self, local: IceCredentials, remote: IceCredentials, now: Instant) {
        self.ice.restart(local, remote, now);
    }

    /// For a client of ours: its own check found the server on this path.
    pub fn select(&mut self, path: Path, now: Instant) {
        self.ice.select(path, now);
        self.drain(now);
    }

    /// Of one layer, or of all.
    pub fn request_key_frame(&mut self, track: TrackId, layer: Option<u8>, now: Instant) {
        self.receiver.request_key_frame(track, layer, now);
        self.drain(now);
    }

    /// What we send, after a negotiation.
    pub fn agree(&mut self, sends: Vec<SendMedia>) {
        self.sender.agree(sends, rand::random);
    }

    /// What the peer sends, after a negotiation.
    pub fn agree_to_receive(&mut self, media: Vec<Media>) {
        self.receiver.agree(media);
    }

    /// What comes in a slot from now on: a track with these layers, or nothing.
    pub fn set_source(&mut self, slot: Slot, layers: Option<Vec<LayerInfo>>, now: Instant) {
        self.sender.set_source(slot, layers, now);
    }

    pub fn set_layers(&mut self, slot: Slot, layers: &[LayerInfo], now: Instant) {
        self.sender.set_layers(slot, layers, now);
    }

    pub fn set_view(&mut self, slot: Slot, view: View, now: Instant) {
        self.sender.set_view(slot, view, now);
    }

    pub fn on_source_report(&mut self, slot: Slot, report: SenderReport) {
        self.sender.on_source_report(slot, report);
    }

    /// The layers of a track that the peer sends.
    pub fn layers(&mut self, track: TrackId, now: Instant) -> Vec<LayerInfo> {
        self.receiver.layers(track, now)
    }

    /// Sends a message beside the media; [`Event::DataUnsent`] brings it back when there is no open
    /// channel for it.
    pub fn send_data(&mut self, text: String, now: Instant) {
        match &mut self.data {
            Some(data) => data.send(text, now),
            None => self
                .outputs
                .push_back(Output::Event(Event::DataUnsent(text))),
        }
        self.drain(now);
    }

    /// How the subscriber shows what comes in the slot.
    pub fn view(&self, slot: Slot) -> View {
        self.sender.view(slot)
    }

    /// The layer whose key frame a slot waits for.
    pub fn awaits_key_frame(&self, slot: Slot) -> Option<u8> {
        self.sender.awaits_key_frame(slot)
    }

    /// Sends the next packets of a slot's source. Whether something is left of them, to send later
    /// or to tell; nearly always all is done, and nothing else of the connection changes by it.
    pub fn forward<'a>(
        &mut self,
        slot: Slot,
        packets: impl Iterator<Item = &'a Arc<ReceivedRtp>>,
        outbox: &mut Outbox,
        now: Instant,
    ) -> bool {
        // The end of the handshake goes first: without it a peer cannot read what follows.
        self.flush_own(outbox);
        if let (Some(srtp), Some(path)) = (&mut self.srtp, self.ice.selected()) {
            let mut wire = Wire { srtp, path, outbox };
            self.sender.forward(slot, packets, &mut wire, now);
        }
        self.sender.has_more()
    }

    /// Asks for the memory that [`Self::forward`] needs.
    pub fn prefetch(&self, slot: Slot, depth: Depth) {
        match (depth, &self.srtp) {
            (Depth::Own, _) => {
                prefetch(&self.transmits);
                prefetch(&self.srtp);
                self.ice.prefetch();
            }
            (_, Some(srtp)) => srtp.prefetch(depth),
            (_, None) => {}
        }
        self.sender.prefetch(slot, depth);
    }

    fn flush_own(&mut self, outbox: &mut Outbox) {
        while let Some(Transmit { path, data }) = self.transmits.pop_front() {
            outbox.push(path, &data);
        }
    }

    /// Puts all that is to be sent into `outbox`.
    pub fn flush(&mut self, outbox: &mut Outbox, now: Instant) {
        self.flush_own(outbox);
        if let (Some(srtp), Some(path)) = (&mut self.srtp, self.ice.selected()) {
            let mut wire = Wire { srtp, path, outbox };
            self.sender.flush(&mut wire, now);
        }
    }

    pub fn poll_send_event(&mut self) -> Option<SendEvent> {
        self.sender.poll_event()
    }

    /// Ends the connection; its last event is [`Event::Closed`].
    pub fn close(&mut self, reason: CloseReason, now: Instant) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.dtls.close(now);
        self.drain_dtls_transmits();
        if let Some(verdict) = verdict::judge(reason, self.seen()) {
            let failed = Event::Failed(Box::new(verdict));
            self.outputs.push_back(Output::Event(failed));
        }
        self.outputs.push_back(Output::Event(Event::Closed(reason)));
    }

    fn seen(&self) -> Seen {
        Seen {
            remote_candidates: self.remote_candidates.clone(),
            handshake_datagrams: self.handshake_datagrams,
            ..self.ice.seen()
        }
    }

    /// Remembers what the peer says of its addresses, for who must find out why it does not come.
    pub fn add_remote_candidates(&mut self, candidates: Vec<String>) {
        let room = MAX_CANDIDATES.saturating_sub(self.remote_candidates.len());
        self.remote_candidates
            .extend(candidates.into_iter().take(room));
    }

    /// Whether a check of the peer came over `path`.
    pub fn is_valid(&self, path: Path) -> bool {
        self.ice.is_valid(path)
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Moves what the children have to the outside, and their events between them.
    fn drain(&mut self, now: Instant) {
        while let Some((path, data)) = self.ice.poll_transmit() {
            self.transmits.push_back(Transmit { path, data });
        }
        while let Some(event) = self.ice.poll_event() {
            match event {
                ice::Event::Selected(_) => {
                    if self.srtp.is_none() {
                        self.handshake_deadline
                            .get_or_insert(now + HANDSHAKE_TIMEOUT);
                    }
                    self.dtls.start(now);
                }
                ice::Event::NeverConnected => self.close(CloseReason::NeverConnected, now),
                ice::Event::ConsentLost => self.close(CloseReason::ConsentLost, now),
            }
        }
        self.drain_dtls_transmits();
        while let Some(event) = self.dtls.poll_event() {
            match event {
                dtls::Event::Data(packet) => {
                    if let Some(data) = &mut self.data {
                        data.handle(packet, now);
                    }
                }
                dtls::Event::Connected(srtp) => {
                    self.srtp = Some(srtp);
                    self.handshake_deadline = None;
                    self.sender.on_connected(now);
                    self.outputs.push_back(Output::Event(Event::Connected));
                }
                dtls::Event::PeerLeft => self.close(CloseReason::PeerLeft, now),
                dtls::Event::Refused => self.close(CloseReason::Refused, now),
            }
        }
        self.drain_data(now);
        while let Some(output) = self.receiver.poll_event() {
            self.outputs.push_back(output);
        }
        while let Some(packet) = self
            .receiver
            .poll_transmit()
            .or_else(|| self.sender.poll_transmit())
        {
            let sealed = self.srtp.as_mut().and_then(|srtp| srtp.seal_rtcp(&packet));
            let (Some(path), Some(sealed)) = (self.ice.selected(), sealed) else {
                continue;
            };
            let data = sealed.to_vec();
            self.transmits.push_back(Transmit { path, data });
        }
    }

    fn drain_data(&mut self, now: Instant) {
        let Some(data) = &mut self.data else {
            return;
        };
        while let Some(event) = data.poll_event() {
            let event = match event {
                DataEvent::Opened => Event::DataOpen(true),
                DataEvent::Closed => Event::DataOpen(false),
                DataEvent::Message(text) => Event::Data(text),
                DataEvent::Unsent(text) => Event::DataUnsent(text),
            };
            self.outputs.push_back(Output::Event(event));
        }
        while let Some(packet) = data.poll_transmit() {
            self.dtls.send(&packet, now);
        }
        self.drain_dtls_transmits();
    }

    fn drain_dtls_transmits(&mut self) {
        while let Some(data) = self.dtls.poll_transmit() {
            // Before a nomination (which Chromium makes with its first check or soon after)
            // nothing is sent: the client repeats its hello.
            if let Some(path) = self.ice.selected() {
                let data = data.to_vec();
                self.transmits.push_back(Transmit { path, data });
            }
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.closed {
            return None;
        }
        let of_media = |at| self.srtp.as_ref().and(at);
        let receiver = of_media(self.receiver.poll_timeout());
        let sender = of_media(self.sender.poll_timeout());
        let handshake = self.handshake_deadline.map(|at| (at, "DTLS unfinished"));
        let goodbye = self.goodbye_deadline().map(|at| (at, "said goodbye"));
        [
            self.ice.poll_timeout(),
            self.dtls.poll_timeout(),
            self.data.as_ref().and_then(Data::poll_timeout),
            receiver,
            sender,
            handshake,
            goodbye,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    fn goodbye_deadline(&self) -> Option<Instant> {
        let left = self.receiver.all_said_goodbye();
        left.then(|| self.ice.last_heard() + GOODBYE_SILENCE)
    }

    pub fn stats(&mut self, now: Instant) -> ConnectionStats {
        ConnectionStats {
            path: self.ice.selected(),
            round_trip: self.sender.round_trip().or(self.receiver.round_trip()),
            rejected: self.rejected + self.receiver.strangers(),
            tracks: self.receiver.stats(now),
            estimate_bps: (!self.sender.is_idle()).then(|| self.sender.estimate_bps()),
            slots: self.sender.stats(),
        }
    }
}

#[cfg(test)]
mod tests;
