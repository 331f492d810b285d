//! The DTLS handshake over the selected pair: SRTP keys, and a peer that is who the offer said.

pub mod hello;
pub mod repeats;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_crypto::{HashAlgorithm, RTCCryptoProvider};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::sdp::agreement::{DtlsRole, Fingerprint};
use super::srtp::{self, Srtp};
use hello::HelloBuffer;
use repeats::Repeats;

/// The crate keys associations by address. Ours has one, whatever address the peer roams to.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A real-time handshake wants its lost flight again sooner than RFC 6347 §4.2.4.1's second.
/// The crate repeats seven times at this pace, so it must outlast a slow round trip too.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(300);

/// Datagrams of one handshake: a flight is a few, and the crate queues some of them.
const MAX_HANDSHAKE_DATAGRAMS: u32 = 300;

/// The profiles we take, best first (RFC 7714 §14.2, RFC 5764 §4.1.2): AES-GCM costs a third of
/// AES-CM with HMAC-SHA1.
const PROFILES: [(SrtpProtectionProfile, ProtectionProfile); 3] = [
    (
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        ProtectionProfile::AeadAes128Gcm,
    ),
    (
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        ProtectionProfile::AeadAes256Gcm,
    ),
    (
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
    ),
];

/// Our certificate, and the handshakes' settings made of it. One for the life of the process.
pub struct Identity {
    pub provider: Arc<dyn RTCCryptoProvider>,
    pub fingerprint: Fingerprint,
    /// One for each of [`PROFILES`]: the crate follows the client's order, we follow ours.
    servers: [Arc<HandshakeConfig>; PROFILES.len()],
    client: Arc<HandshakeConfig>,
}

impl Identity {
    /// A new self-signed certificate (RFC 8827 §6.5 asks for no authority).
    pub fn generate() -> Result<Self, Error> {
        let provider =
            rtc_crypto::default_provider().map_err(|error| Error::Crypto(error.to_string()))?;
        let names = vec!["amphi".to_owned()];
        let certificate = Certificate::generate_self_signed(names, provider.crypto())?;
        let fingerprint = certificate
            .certificate
            .first()
            .and_then(|der| fingerprint(provider.as_ref(), der))
            .ok_or_else(|| Error::Crypto("SHA-256 is not available".to_owned()))?;
        let config = |profiles: Vec<SrtpProtectionProfile>, is_client| {
            ConfigBuilder::default()
                .with_crypto_provider(provider.clone())
                .with_certificates(vec![certificate.clone()])
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                // The fingerprint is checked when the handshake is complete.
                .with_insecure_skip_verify(true)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_srtp_protection_profiles(profiles)
                .with_flight_interval(FLIGHT_INTERVAL)
                .build(is_client, None)
                .map(Arc::new)
        };
        let [first, second, third] = PROFILES.map(|(profile, _)| config(vec![profile], false));
        let all = PROFILES.map(|(profile, _)| profile).to_vec();
        Ok(Self {
            servers: [first?, second?, third?],
            client: config(all, true)?,
            fingerprint,
            provider,
        })
    }
}

/// What the handshake came to, and what comes after it.
pub enum Event {
    Connected(Box<Srtp>),
    /// What the peer sent beside the media.
    Data(Bytes),
    /// The peer said close_notify.
    PeerLeft,
    /// The handshake failed, or the certificate is another's.
    Refused,
}

/// One connection's association.
pub struct Dtls {
    identity: Arc<Identity>,
    expected: Fingerprint,
    role: DtlsRole,
    endpoint: Endpoint,
    hello: Option<HelloBuffer>,
    repeats: Repeats,
    started: bool,
    connected: bool,
    ended: bool,
    datagrams: u32,
    events: VecDeque<Event>,
}

impl Dtls {
    pub fn new(identity: Arc<Identity>, expected: Fingerprint, role: DtlsRole) -> Self {
        Self {
            identity,
            expected,
            role,
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, None),
            hello: Some(HelloBuffer::default()),
            repeats: Repeats::default(),
            started: false,
            connected: false,
            ended: false,
            datagrams: 0,
            events: VecDeque::new(),
        }
    }

    /// A pair is selected: as client, say hello.
    pub fn start(&mut self, now: Instant) {
        if self.started || self.role == DtlsRole::Server {
            return;
        }
        self.started = true;
        let config = self.identity.client.clone();
        if self.endpoint.connect(now, PEER, config, None).is_err() {
            self.end(Event::Refused);
        }
    }

    /// Takes a datagram that came over a valid pair.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        if self.ended {
            return;
        }
        if !self.connected {
            self.datagrams += 1;
            if self.datagrams > MAX_HANDSHAKE_DATAGRAMS {
                self.end(Event::Refused);
                return;
            }
        }
        match self.role {
            DtlsRole::Server if !self.started => self.handle_hello(datagram, now),
            DtlsRole::Client if !self.started => {}
            _ => self.read(datagram, now),
        }
    }

    /// Holds the ClientHello, which may come in fragments, until its use_srtp is known.
    fn handle_hello(&mut self, datagram: &[u8], now: Instant) {
        let Some(buffer) = &mut self.hello else {
            return;
        };
        let Some(offered) = buffer.push(datagram) else {
            return;
        };
        let chosen = PROFILES
            .iter()
            .position(|(profile, _)| offered.contains(&(*profile as u16)));
        let Some(config) = chosen.and_then(|index| self.identity.servers.get(index)) else {
            self.end(Event::Refused);
            return;
        };
        self.started = true;
        self.endpoint.set_server_config(Some(config.clone()));
        let held = self.hello.take().map(HelloBuffer::into_datagrams);
        for datagram in held.unwrap_or_default() {
            self.read(&datagram, now);
        }
    }

    fn read(&mut self, datagram: &[u8], now: Instant) {
        // Once connected, the peer's repeats ask for our last flight again.
        if self.ended || (!self.connected && self.repeats.is_repeat(datagram)) {
            return;
        }
        let events = match self
            .endpoint
            .read(now, PEER, None, BytesMut::from(datagram))
        {
            Ok(events) => events,
            // Once connected, an unreadable record is no reason to end (RFC 6347 §4.1.2.7).
            Err(_) if self.connected => return,
            Err(_) => {
                self.end(Event::Refused);
                return;
            }
        };
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => {
                    self.connected = true;
                    match self.keys() {
                        Some(srtp) => self.events.push_back(Event::Connected(Box::new(srtp))),
                        None => self.end(Event::Refused),
                    }
                }
                EndpointEvent::PeerClosed => self.end(Event::PeerLeft),
                EndpointEvent::ApplicationData(data) if self.connected => {
                    self.events.push_back(Event::Data(data.freeze()));
                }
                _ => {}
            }
        }
    }

    /// The SRTP contexts, if the peer's certificate is the one promised (RFC 5763 §5).
    fn keys(&self) -> Option<Srtp> {
        let state = self.endpoint.get_connection_state(PEER)?;
        let provider = self.identity.provider.as_ref();
        let der = state.peer_certificates.first()?;
        if fingerprint(provider, der)? != self.expected {
            return None;
        }
        let negotiated = state.srtp_protection_profile();
        let (_, profile) = PROFILES.iter().find(|(dtls, _)| *dtls == negotiated)?;
        let len = srtp::keying_material_len(*profile);
        let material = state
            .export_keying_material(srtp::EXPORTER_LABEL, &[], len)
            .ok()?;
        Srtp::new(
            *profile,
            material.as_ref(),
            state.is_client(),
            provider.crypto(),
        )
        .ok()
    }

    /// Sends beside the media.
    pub fn send(&mut self, data: &[u8], now: Instant) {
        if self.connected && !self.ended {
            // It fails when the association is gone, of which an event tells.
            let _ = self.endpoint.write(now, PEER, data);
        }
    }

    /// Says close_notify, if there is somebody to say it to.
    pub fn close(&mut self, now: Instant) {
        self.ended = true;
        if self.connected {
            self.endpoint.stop(now, PEER);
        }
    }

    fn end(&mut self, event: Event) {
        self.ended = true;
        self.events.push_back(event);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.poll_timeout().is_some_and(|(at, _)| at <= now);
        if due && self.endpoint.handle_timeout(PEER, now).is_err() {
            self.end(Event::Refused);
        }
    }

    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        Some(self.endpoint.poll_transmit()?.message)
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        // What a connected peer did not get of our last flight, it asks for (RFC 6347 §4.2.4).
        if self.ended || self.connected {
            return None;
        }
        let at = self.endpoint.poll_timeout(&PEER)?;
        Some((at, "DTLS flight to repeat"))
    }
}

fn fingerprint(provider: &dyn RTCCryptoProvider, der: &[u8]) -> Option<Fingerprint> {
    let hash = provider.crypto().hash(HashAlgorithm::Sha256, der).ok()?;
    Some(Fingerprint(hash.try_into().ok()?))
}
