//! One connectivity check and its answer (RFC 8445 §7.3, RFC 8489).

use std::net::{IpAddr, SocketAddr};

use rtc_crypto::{HmacAlgorithm, RTCCrypto};
use rtc_stun::fingerprint::fingerprint_value;

use crate::rtc::core::sdp::agreement::IceCredentials;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_INDICATION: u16 = 0x0011;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const USERHASH: u16 = 0x001E;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
/// RFC 8489 §14: below this an attribute must be understood.
const OPTIONAL: u16 = 0x8000;

const INTEGRITY_LEN: usize = 20;

/// Attributes of one message looked at; a check has about eight.
const MAX_ATTRIBUTES: usize = 32;

/// Unknown attributes named in an answer.
const MAX_UNKNOWN: usize = 8;

/// Whether a datagram is STUN (RFC 7983 §7, RFC 8489 §5).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE
}

/// Whether a STUN message is between ICE agents: a check, or an answer to one of ours.
pub fn is_of_a_peer(message: &[u8]) -> bool {
    match u16_at(message, 0) {
        Some(BINDING_REQUEST) => peek_username(message).is_some(),
        Some(BINDING_SUCCESS | BINDING_ERROR | BINDING_INDICATION) => true,
        _ => false,
    }
}

/// Whether someone asks for nothing but their own address (RFC 8489 §2).
pub fn is_anonymous_binding(message: &[u8]) -> bool {
    is_stun(message) && u16_at(message, 0) == Some(BINDING_REQUEST) && !is_of_a_peer(message)
}

/// Tells a stranger their address, in an answer not longer than what it needs.
pub fn answer_stranger(message: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let transaction = message.get(8..HEADER_LEN)?.try_into().ok()?;
    let mut answer = begin(BINDING_SUCCESS, &transaction);
    let mapped = xor_mapped(from, &transaction);
    write_attribute(XOR_MAPPED_ADDRESS, &mapped, &mut answer);
    Some(answer)
}

/// Asks for one's own address (RFC 8489 §2).
pub fn binding_request(transaction: &[u8; 12]) -> Vec<u8> {
    let mut request = begin(BINDING_REQUEST, transaction);
    add_fingerprint(&mut request);
    request
}

/// The address that the answer to a [`binding_request`] tells.
pub fn mapped_address(answer: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    if !is_stun(answer)
        || u16_at(answer, 0)? != BINDING_SUCCESS
        || answer.get(8..HEADER_LEN)? != transaction
    {
        return None;
    }
    let mapped = attributes(answer).find(|attribute| attribute.kind == XOR_MAPPED_ADDRESS)?;
    let (head, address) = mapped.value.split_at_checked(4)?;
    let port = u16_at(head, 2)? ^ 0x2112;
    let mask = MAGIC_COOKIE.iter().chain(transaction);
    let plain: Vec<u8> = address.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    let ip = match head[1] {
        1 => IpAddr::from(<[u8; 4]>::try_from(plain).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(plain).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The USERNAME of a STUN message; nothing is verified.
pub fn peek_username(message: &[u8]) -> Option<&str> {
    if !is_stun(message) {
        return None;
    }
    let username = attributes(message).find(|attribute| attribute.kind == USERNAME)?;
    std::str::from_utf8(username.value).ok()
}

/// Whether a STUN message names its user by a hash (RFC 8489 §14.4).
pub fn has_user_hash(message: &[u8]) -> bool {
    is_stun(message) && attributes(message).any(|attribute| attribute.kind == USERHASH)
}

/// Our ufrag, the first half of a binding request's USERNAME; nothing is verified.
/// Cheap, and fit for strangers: this is how the first datagram of a peer finds its connection.
pub fn peek_ufrag(datagram: &[u8]) -> Option<&str> {
    if !is_stun(datagram) || u16_at(datagram, 0)? != BINDING_REQUEST {
        return None;
    }
    let (ours, _) = peek_username(datagram)?.split_once(':')?;
    Some(ours)
}

/// A check of the peer whose username, integrity and fingerprint are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    transaction: [u8; 12],
    pub use_candidate: bool,
    pub refusal: Option<Refusal>,
}

/// Why an authentic check is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// RFC 8445 §7.3.1.1: both say they are controlled. A lite agent cannot control a full one,
    /// so the peer must switch.
    RoleConflict,
    /// RFC 8489 §6.3.1: attributes that must be understood and are not.
    Unknown(Vec<u16>),
}

impl Check {
    /// Verifies `message` against our and the peer's credentials.
    pub fn read(
        message: &[u8],
        local: &IceCredentials,
        remote: &IceCredentials,
        crypto: &dyn RTCCrypto,
    ) -> Option<Self> {
        if !is_stun(message) || u16_at(message, 0)? != BINDING_REQUEST {
            return None;
        }
        if usize::from(u16_at(message, 2)?) + HEADER_LEN != message.len() {
            return None;
        }
        let (mut named, mut authentic, mut intact) = (false, false, false);
        let (mut use_candidate, mut controlled) = (false, false);
        let mut unknown = Vec::new();
        for Attribute { kind, value, at } in attributes(message) {
            match kind {
                // RFC 8489 §14.5: after the integrity only the fingerprint counts.
                FINGERPRINT => {
                    let expected = fingerprint_value(&message[..at]);
                    let last = at + 8 == message.len();
                    intact = last && value == expected.to_be_bytes();
                }
                _ if authentic => {}
                USERNAME => {
                    let parts = [remote.ufrag.as_bytes(), local.ufrag.as_bytes()];
                    named = value.len() == parts[0].len() + parts[1].len() + 1
                        && value.starts_with(parts[1])
                        && value[parts[1].len()] == b':'
                        && value.ends_with(parts[0]);
                }
                MESSAGE_INTEGRITY => authentic = is_authentic(message, at, value, local, crypto),
                USE_CANDIDATE => use_candidate = true,
                ICE_CONTROLLED => controlled = true,
                PRIORITY => {}
                kind if kind < OPTIONAL && unknown.len() < MAX_UNKNOWN => unknown.push(kind),
                _ => {}
            }
        }
        if !(named && authentic && intact) {
            return None;
        }
        let refusal = match (controlled, unknown.is_empty()) {
            (_, false) => Some(Refusal::Unknown(unknown)),
            (true, true) => Some(Refusal::RoleConflict),
            (false, true) => None,
        };
        Some(Self {
            transaction: message.get(8..HEADER_LEN)?.try_into().ok()?,
            use_candidate,
            refusal,
        })
    }

    /// The success or error response, signed with our password.
    pub fn answer(
        &self,
        peer: SocketAddr,
        local: &IceCredentials,
        crypto: &dyn RTCCrypto,
    ) -> Option<Vec<u8>> {
        let kind = match self.refusal {
            None => BINDING_SUCCESS,
            Some(_) => BINDING_ERROR,
        };
        let mut message = begin(kind, &self.transaction);
        match &self.refusal {
            None => {
                let mapped = xor_mapped(peer, &self.transaction);
                write_attribute(XOR_MAPPED_ADDRESS, &mapped, &mut message);
            }
            Some(Refusal::RoleConflict) => {
                write_attribute(ERROR_CODE, b"\0\0\x04\x57Role Conflict", &mut message);
            }
            Some(Refusal::Unknown(kinds)) => {
                write_attribute(ERROR_CODE, b"\0\0\x04\x14Unknown Attribute", &mut message);
                let kinds: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
                write_attribute(UNKNOWN_ATTRIBUTES, &kinds, &mut message);
            }
        }
        sign(&mut message, &local.pwd, crypto)?;
        Some(message)
    }
}

/// Appends MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 §14.5, §14.7).
pub fn sign(message: &mut Vec<u8>, password: &str, crypto: &dyn RTCCrypto) -> Option<()> {
    let end = message.len() + 4 + INTEGRITY_LEN;
    set_len(message, end);
    let mut digest = [0; INTEGRITY_LEN];
    let mut mac = crypto
        .new_hmac(HmacAlgorithm::Sha1, password.as_bytes())
        .ok()?;
    mac.sign(&[message], &mut digest).ok()?;
    write_attribute(MESSAGE_INTEGRITY, &digest, message);
    add_fingerprint(message);
    Some(())
}

fn add_fingerprint(message: &mut Vec<u8>) {
    let end = message.len() + 8;
    set_len(message, end);
    let crc = fingerprint_value(message);
    write_attribute(FINGERPRINT, &crc.to_be_bytes(), message);
}

/// A message without attributes.
fn begin(kind: u16, transaction: &[u8; 12]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&MAGIC_COOKIE);
    message.extend_from_slice(transaction);
    message
}

/// The MAC covers all before it, with a length field that ends after it (RFC 8489 §14.5).
fn is_authentic(
    message: &[u8],
    at: usize,
    value: &[u8],
    local: &IceCredentials,
    crypto: &dyn RTCCrypto,
) -> bool {
    let len = (at + 4 + INTEGRITY_LEN - HEADER_LEN) as u16;
    let parts = [&message[..2], &len.to_be_bytes()[..], &message[4..at]];
    value.len() == INTEGRITY_LEN
        && crypto
            .new_hmac(HmacAlgorithm::Sha1, local.pwd.as_bytes())
            .is_ok_and(|mut mac| mac.verify(&parts, value).is_ok())
}

fn xor_mapped(peer: SocketAddr, transaction: &[u8; 12]) -> Vec<u8> {
    let port = peer.port() ^ 0x2112;
    let mask = MAGIC_COOKIE.iter().chain(transaction);
    let (family, address) = match peer.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    value.extend_from_slice(&port.to_be_bytes());
    value.extend(address.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    value
}

fn set_len(message: &mut [u8], end: usize) {
    message[2..4].copy_from_slice(&((end - HEADER_LEN) as u16).to_be_bytes());
}

pub fn write_attribute(kind: u16, value: &[u8], message: &mut Vec<u8>) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let end = message.len();
    set_len(message, end);
}

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    /// Where its header begins in the message.
    at: usize,
}

/// The attributes of a message, up to the first malformed one.
fn attributes(message: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut at = HEADER_LEN;
    std::iter::from_fn(move || {
        let kind = u16_at(message, at)?;
        let len = usize::from(u16_at(message, at + 2)?);
        let value = message.get(at + 4..at + 4 + len)?;
        let attribute = Attribute { kind, value, at };
        at += 4 + len.next_multiple_of(4);
        Some(attribute)
    })
    .take(MAX_ATTRIBUTES)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
