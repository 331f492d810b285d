//! The agent by script, its messages written and read by another STUN.

use super::check::{peek_ufrag, sign, write_attribute};
use super::*;
use proptest::prelude::*;
use rtc_crypto::RTCCryptoProvider;
use rtc_stun::attributes::{ATTR_ERROR_CODE, ATTR_XORMAPPED_ADDRESS};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_SUCCESS, Message};
use rtc_stun::xoraddr::XorMappedAddress;
use std::sync::Arc;

const USE_CANDIDATE: u16 = 0x0025;
const CONTROLLED: u16 = 0x8029;
const CONTROLLING: u16 = 0x802A;

struct Peer {
    ice: Ice,
    provider: Arc<dyn RTCCryptoProvider>,
    local: IceCredentials,
    remote: IceCredentials,
    start: Instant,
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: format!("{name}ufrag"),
        pwd: format!("{name}-password-of-22-characters"),
    }
}

fn path(port: u16) -> Path {
    Path::udp(SocketAddr::from(([192, 0, 2, 1], port)), None)
}

impl Peer {
    fn new() -> Self {
        let start = Instant::now();
        let (local, remote) = (credentials("our"), credentials("their"));
        Self {
            ice: Ice::new(local.clone(), remote.clone(), Settings::default(), start),
            provider: rtc_crypto::default_provider().unwrap(),
            local,
            remote,
            start,
        }
    }

    fn request(&self, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        message.extend_from_slice(&[7; 12]);
        let name = format!("{}:{}", self.local.ufrag, self.remote.ufrag);
        write_attribute(0x0006, name.as_bytes(), &mut message);
        for (kind, value) in attributes {
            write_attribute(*kind, value, &mut message);
        }
        sign(&mut message, &self.local.pwd, self.provider.crypto()).unwrap();
        message
    }

    fn check(&mut self, port: u16, attributes: &[(u16, &[u8])], at: Duration) -> Option<Message> {
        let request = self.request(attributes);
        let crypto = self.provider.crypto();
        self.ice
            .handle_stun(path(port), &request, crypto, self.start + at);
        let (to, answer) = self.ice.poll_transmit()?;
        assert_eq!(to, path(port));
        let mut message = Message::new();
        message.unmarshal_binary(&answer).unwrap();
        FINGERPRINT.check(&message).unwrap();
        MessageIntegrity::check(&mut message, self.local.pwd.as_bytes(), crypto).unwrap();
        Some(message)
    }
}

const SECOND: Duration = Duration::from_secs(1);
const NOMINATE: &[(u16, &[u8])] = &[(CONTROLLING, &[0; 8]), (USE_CANDIDATE, &[])];
const PROBE: &[(u16, &[u8])] = &[(CONTROLLING, &[0; 8])];

#[test]
fn answers_and_follows_the_first_nomination_at_once() {
    let mut peer = Peer::new();
    let answer = peer.check(1000, PROBE, SECOND).unwrap();
    assert_eq!(answer.typ, BINDING_SUCCESS);
    let mut mapped = XorMappedAddress::default();
    mapped.get_from_as(&answer, ATTR_XORMAPPED_ADDRESS).unwrap();
    assert_eq!((mapped.ip, mapped.port), (path(1000).remote.ip(), 1000));
    assert_eq!(peer.ice.poll_event(), None);
    assert!(peer.ice.is_valid(path(1000)) && !peer.ice.is_valid(path(1001)));
    peer.check(1000, NOMINATE, SECOND);
    assert_eq!(peer.ice.poll_event(), Some(Event::Selected(path(1000))));
}

#[test]
fn follows_a_roaming_peer() {
    let mut peer = Peer::new();
    peer.check(1000, NOMINATE, SECOND);
    peer.check(2000, NOMINATE, 2 * SECOND);
    peer.check(2000, NOMINATE, 3 * SECOND);
    assert_eq!(peer.ice.poll_event(), Some(Event::Selected(path(1000))));
    assert_eq!(peer.ice.poll_event(), Some(Event::Selected(path(2000))));
    assert_eq!(peer.ice.poll_event(), None);
}

#[test]
fn role_conflict_is_487_and_nominates_nothing() {
    let mut peer = Peer::new();
    let attributes: &[(u16, &[u8])] = &[(CONTROLLED, &[0; 8]), (USE_CANDIDATE, &[])];
    let answer = peer.check(1000, attributes, SECOND).unwrap();
    assert_eq!(answer.typ, BINDING_ERROR);
    assert_eq!(answer.get(ATTR_ERROR_CODE).unwrap()[2..4], [4, 87]);
    assert_eq!(peer.ice.selected(), None);
}

#[test]
fn unknown_attribute_is_420() {
    let mut peer = Peer::new();
    let answer = peer.check(1000, &[(0x7001, &[1])], SECOND).unwrap();
    assert_eq!(answer.get(ATTR_ERROR_CODE).unwrap()[2..4], [4, 20]);
}

#[test]
fn forgeries_are_silence() {
    let mut peer = Peer::new();
    let good = peer.request(NOMINATE);
    assert_eq!(peek_ufrag(&good), Some("ourufrag"));
    let crypto = peer.provider.clone();
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 1;
        peer.ice
            .handle_stun(path(1000), &forged, crypto.crypto(), peer.start);
        assert_eq!(peer.ice.poll_transmit(), None, "byte {at}");
    }
    let mut long = good.clone();
    long.extend_from_slice(&[0; 4]);
    peer.ice
        .handle_stun(path(1000), &long, crypto.crypto(), peer.start);
    assert_eq!(peer.ice.poll_transmit(), None);
    assert_eq!(peer.ice.selected(), None);
}

#[test]
fn never_nominated() {
    let mut peer = Peer::new();
    let (at, _) = peer.ice.poll_timeout().unwrap();
    assert_eq!(at, peer.start + 20 * SECOND);
    peer.ice.handle_timeout(at);
    assert_eq!(peer.ice.poll_event(), Some(Event::NeverConnected));
    assert_eq!(peer.ice.poll_timeout(), None);
}

#[test]
fn vanished_after_five_seconds_of_silence() {
    let mut peer = Peer::new();
    peer.check(1000, NOMINATE, SECOND);
    peer.ice.poll_event();
    peer.ice.on_authentic(peer.start + 2 * SECOND);
    let (at, _) = peer.ice.poll_timeout().unwrap();
    assert_eq!(at, peer.start + 7 * SECOND);
    peer.ice.handle_timeout(at);
    assert_eq!(peer.ice.poll_event(), Some(Event::ConsentLost));
}

#[test]
fn a_peer_with_rare_checks_gets_more_time() {
    let mut peer = Peer::new();
    peer.check(1000, NOMINATE, SECOND);
    peer.check(1000, NOMINATE, 5 * SECOND);
    let (at, _) = peer.ice.poll_timeout().unwrap();
    assert_eq!(at, peer.start + 13 * SECOND);
    peer.check(1000, NOMINATE, 15 * SECOND);
    let (at, _) = peer.ice.poll_timeout().unwrap();
    assert_eq!(at, peer.start + 30 * SECOND);
}

#[test]
fn restart_keeps_the_pair_until_the_new_credentials_nominate() {
    let mut peer = Peer::new();
    peer.check(1000, NOMINATE, SECOND);
    peer.ice.poll_event();
    let new = (credentials("ournew"), credentials("theirnew"));
    peer.ice
        .restart(new.0.clone(), new.1.clone(), peer.start + SECOND);
    assert_eq!(peer.ice.selected(), Some(path(1000)));
    // The old checks are still answered …
    assert!(peer.check(1000, NOMINATE, 2 * SECOND).is_some());
    let old = peer.request(NOMINATE);
    (peer.local, peer.remote) = new;
    assert!(peer.check(3000, NOMINATE, 3 * SECOND).is_some());
    assert_eq!(peer.ice.poll_event(), Some(Event::Selected(path(3000))));
    // … until the new ones came.
    let crypto = peer.provider.clone();
    peer.ice
        .handle_stun(path(1000), &old, crypto.crypto(), peer.start + 4 * SECOND);
    assert_eq!(peer.ice.poll_transmit(), None);
}

proptest! {
    #[test]
    fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), shaped in any::<bool>()) {
        if shaped && bytes.len() >= 20 {
            let len = (bytes.len() - 20) as u16;
            bytes[..2].copy_from_slice(&[0, 1]);
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        }
        peek_ufrag(&bytes);
        let mut peer = Peer::new();
        let crypto = peer.provider.clone();
        peer.ice.handle_stun(path(1), &bytes, crypto.crypto(), peer.start);
        prop_assert_eq!(peer.ice.poll_transmit(), None);
    }
}
