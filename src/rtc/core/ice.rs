//! The ICE-lite agent (RFC 8445 §2.5): answers checks, follows the nominated pair, and notices
//! when the peer is gone (RFC 7675).

pub mod check;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCrypto;

use super::prefetch::prefetch;
use super::sdp::agreement::IceCredentials;
use super::verdict::Seen;
use check::{Check, Refusal};

/// Addresses that checks succeeded from, remembered until one is nominated. A browser has a
/// few interfaces, each with IPv4, IPv6 and a relay.
const MAX_PAIRS: usize = 16;

/// What carries a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Udp,
    /// RFC 6544: the peer connects, datagrams are framed (RFC 4571).
    Tcp,
    /// By our own TURN, over whatever the peer reaches that by.
    Relay,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Relay => "relay",
        }
    }
}

/// Where a peer is: the same address over UDP and over TCP are two places.
pub type Place = (Transport, SocketAddr);

/// A datagram's two ends, as the socket sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    pub transport: Transport,
    pub remote: SocketAddr,
    /// Our address that the datagram came to, so that answers leave from it; `None` if unknown.
    pub local: Option<IpAddr>,
}

impl Path {
    pub fn udp(remote: SocketAddr, local: Option<IpAddr>) -> Self {
        let transport = Transport::Udp;
        Self {
            transport,
            remote,
            local,
        }
    }

    pub fn tcp(remote: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp,
            remote,
            local: None,
        }
    }

    /// The far end.
    pub fn place(self) -> Place {
        (self.transport, self.remote)
    }
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// What peers are told.
    pub candidates: Arc<[SocketAddr]>,
    /// Without a nominated pair for this long, the connection never comes.
    pub connect_timeout: Duration,
    /// RFC 7675 §5.1: the longest silence of a peer that is still there.
    pub consent_timeout: Duration,
    /// A peer whose checks come often enough is taken for gone after this silence of checks
    /// and media both; a peer with rarer checks gets twice its own interval.
    pub vanish_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            candidates: Arc::default(),
            connect_timeout: Duration::from_secs(20),
            consent_timeout: Duration::from_secs(15),
            vanish_timeout: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The pair to send on: the first one, or a new one after the peer roamed.
    Selected(Path),
    /// Nothing was nominated in time.
    NeverConnected,
    /// The peer is gone.
    ConsentLost,
}

/// The agent of one connection.
#[derive(Debug)]
pub struct Ice {
    settings: Settings,
    local: IceCredentials,
    remote: IceCredentials,
    /// Before a restart: checks with these go on to be answered until one comes with the new.
    previous: Option<(IceCredentials, IceCredentials)>,
    valid: Vec<Path>,
    selected: Option<Path>,
    started: Instant,
    last_heard: Instant,
    last_check: Option<Instant>,
    check_interval: Duration,
    ended: bool,
    checks_received: u64,
    checks_refused: u64,
    answers_sent: u64,
    events: VecDeque<Event>,
    transmits: VecDeque<(Path, Vec<u8>)>,
}

impl Ice {
    pub fn new(
        local: IceCredentials,
        remote: IceCredentials,
        settings: Settings,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            local,
            remote,
            previous: None,
            valid: Vec::new(),
            selected: None,
            started: now,
            last_heard: now,
            last_check: None,
            check_interval: Duration::ZERO,
            ended: false,
            checks_received: 0,
            checks_refused: 0,
            answers_sent: 0,
            events: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    pub fn has_credentials(&self, local: &IceCredentials, remote: &IceCredentials) -> bool {
        self.local == *local && self.remote == *remote
    }

    /// RFC 8445 §9: new credentials. Media goes on over the selected pair, until a check with
    /// the new credentials nominates one.
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials, now: Instant) {
        let before = (
            std::mem::replace(&mut self.local, local),
            std::mem::replace(&mut self.remote, remote),
        );
        self.previous = Some(before);
        self.valid.clear();
        self.last_heard = now;
    }

    /// The pair to send on.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Whether data from `path` may be looked at: a check of the peer came from there.
    pub fn is_valid(&self, path: Path) -> bool {
        self.selected
            .is_some_and(|selected| selected.place() == path.place())
            || self.valid.iter().any(|valid| valid.place() == path.place())
    }

    /// Sends on `path` from now on: for a client of ours, whose own check succeeded there.
    pub fn select(&mut self, path: Path, now: Instant) {
        self.last_heard = now;
        self.valid.push(path);
        self.selected = Some(path);
        self.events.push_back(Event::Selected(path));
    }

    /// Takes a STUN message. What is not a proper check of this peer is silence: an answer
    /// would only serve who wants to probe or to reflect.
    pub fn handle_stun(
        &mut self,
        path: Path,
        message: &[u8],
        crypto: &dyn RTCCrypto,
        now: Instant,
    ) {
        let current = Check::read(message, &self.local, &self.remote, crypto);
        let (check, local) = match (current, &self.previous) {
            (Some(check), _) => {
                self.previous = None;
                (check, &self.local)
            }
            (None, Some((local, remote))) => match Check::read(message, local, remote, crypto) {
                Some(check) => (check, local),
                None => return self.checks_refused += 1,
            },
            (None, None) => return self.checks_refused += 1,
        };
        let answer = check.answer(path.remote, local, crypto);
        self.checks_received += 1;
        self.answers_sent += u64::from(answer.is_some());
        let refused = matches!(
            check.refusal,
            Some(Refusal::RoleConflict | Refusal::Unknown(_))
        );
        let nominated = check.use_candidate;
        self.transmits.extend(answer.map(|answer| (path, answer)));
        if refused {
            return;
        }
        self.on_check(path, nominated, now);
    }

    fn on_check(&mut self, path: Path, nominated: bool, now: Instant) {
        self.last_heard = self.last_heard.max(now);
        if self
            .selected
            .is_some_and(|selected| selected.place() == path.place())
        {
            if let Some(last) = self.last_check {
                let interval = now.saturating_duration_since(last);
                // Slow to shrink: a burst of checks says nothing of the pauses to come.
                let fading = self.check_interval * 7 / 8 + interval / 8;
                self.check_interval = fading.max(interval);
            }
            self.last_check = Some(now);
        }
        if !self.is_valid(path) && self.valid.len() < MAX_PAIRS {
            self.valid.push(path);
        }
        // RFC 8445 §7.3.1.5: a lite agent follows the controlling side at once.
        let moved = self
            .selected
            .is_none_or(|selected| selected.place() != path.place());
        if nominated && moved {
            self.selected = Some(path);
            self.last_check = Some(now);
            self.events.push_back(Event::Selected(path));
        }
    }

    /// An authentic packet of the peer came: it is still there.
    pub fn on_authentic(&mut self, now: Instant) {
        self.last_heard = self.last_heard.max(now);
    }

    /// When the last check or authentic packet came.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// For who must find out why no connection comes of it.
    pub fn seen(&self) -> Seen {
        Seen {
            local_candidates: self.settings.candidates.to_vec(),
            checks_received: self.checks_received,
            checks_refused: self.checks_refused,
            answers_sent: self.answers_sent,
            paths: self.valid.clone(),
            selected: self.selected,
            ..Seen::default()
        }
    }

    /// Asks for the memory of [`Self::selected`].
    pub fn prefetch(&self) {
        prefetch(&self.selected);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended || self.deadline().0 > now {
            return;
        }
        self.ended = true;
        self.events.push_back(match self.selected {
            None => Event::NeverConnected,
            Some(_) => Event::ConsentLost,
        });
    }

    pub fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        (!self.ended).then(|| self.deadline())
    }

    fn deadline(&self) -> (Instant, &'static str) {
        match self.selected {
            None => (
                self.started + self.settings.connect_timeout,
                "no pair nominated",
            ),
            Some(_) => {
                let own = self.check_interval * 2;
                let silence = self.settings.vanish_timeout.max(own);
                let silence = silence.min(self.settings.consent_timeout);
                (self.last_heard + silence, "peer silent")
            }
        }
    }
}

#[cfg(test)]
mod tests;
