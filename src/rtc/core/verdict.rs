//! Why a connection failed, judged from what was seen of it, and what to change.

use std::net::{IpAddr, SocketAddr};

use super::ice::Path;
use super::sink::CloseReason;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nothing of the client ever came.
    Unreachable,
    /// The same, and the client could not know better: it was told private addresses only.
    PrivateAddresses,
    /// Checks came with other credentials than those agreed on.
    WrongCredentials,
    /// Checks came and were answered, and the client never chose a pair.
    AnswersLost,
    /// A pair was chosen, and DTLS did not come to its end.
    HandshakeUnfinished,
    /// The client's certificate is not the one that its description promised, or DTLS failed.
    HandshakeRefused,
    /// It was connected and fell silent.
    Vanished,
}

impl Failure {
    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::PrivateAddresses => "private-addresses",
            Self::WrongCredentials => "wrong-credentials",
            Self::AnswersLost => "answers-lost",
            Self::HandshakeUnfinished => "handshake-unfinished",
            Self::HandshakeRefused => "handshake-refused",
            Self::Vanished => "vanished",
        }
    }

    /// The likely reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "nothing of the client arrived: a firewall drops it on the way, or the client was told addresses that are not this server's"
            }
            Self::PrivateAddresses => {
                "nothing of the client arrived: it was told private addresses only, and it is in another network"
            }
            Self::WrongCredentials => {
                "the client's checks carry other credentials than those agreed on: something changed the descriptions on the way, or mixed up two of them"
            }
            Self::AnswersLost => {
                "the client's checks arrive and the answers to them do not: a firewall or NAT drops what this server sends"
            }
            Self::HandshakeUnfinished => {
                "a path was found, and the DTLS handshake over it was not finished: long datagrams are dropped on the way, or the client stopped"
            }
            Self::HandshakeRefused => {
                "the client's certificate is not the one its description promised, or it speaks no DTLS that this server takes: something changed the description on the way"
            }
            Self::Vanished => {
                "it was connected and fell silent: the client lost its network, or was closed without a word"
            }
        }
    }

    /// What to change.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "open the port of rtc.listen for UDP and TCP, keep rtc.tcp and rtc.turn on, and see that rtc.public_addresses are this server's"
            }
            Self::PrivateAddresses => {
                "set rtc.public_addresses to the address that clients reach this server at, or rtc.stun_server to find it at each start"
            }
            Self::WrongCredentials => {
                "let proxies pass descriptions as they are, and take each answer for the offer it belongs to"
            }
            Self::AnswersLost => {
                "let this server send UDP from the port of rtc.listen, and keep rtc.tcp on"
            }
            Self::HandshakeUnfinished => {
                "let UDP datagrams of 1,500 bytes pass; where a tunnel is on the way, keep rtc.tcp on"
            }
            Self::HandshakeRefused => {
                "let proxies pass descriptions as they are; if it is no browser, it must take DTLS 1.2"
            }
            Self::Vanished => {
                "nothing here; whoever comes back within room.away_for has their place again"
            }
        }
    }
}

/// What was seen of a connection until it failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// What the client was told.
    pub local_candidates: Vec<SocketAddr>,
    /// As the client wrote them.
    pub remote_candidates: Vec<String>,
    /// The client's checks with the right credentials.
    pub checks_received: u64,
    pub checks_refused: u64,
    /// Answers to checks: an ICE-lite agent sends no checks of its own.
    pub answers_sent: u64,
    /// Where checks came from.
    pub paths: Vec<Path>,
    pub selected: Option<Path>,
    pub handshake_datagrams: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub failure: Failure,
    pub seen: Seen,
}

/// `None` for an end that is no failure.
pub fn judge(reason: CloseReason, seen: Seen) -> Option<Verdict> {
    let failure = match reason {
        CloseReason::Asked | CloseReason::PeerLeft => return None,
        CloseReason::ConsentLost => Failure::Vanished,
        CloseReason::Refused => Failure::HandshakeRefused,
        CloseReason::NeverConnected if seen.selected.is_some() => Failure::HandshakeUnfinished,
        CloseReason::NeverConnected if seen.checks_received > 0 => Failure::AnswersLost,
        CloseReason::NeverConnected if seen.checks_refused > 0 => Failure::WrongCredentials,
        CloseReason::NeverConnected => {
            let only_private = seen.local_candidates.iter().all(|at| is_private(at.ip()));
            let is_elsewhere = seen.remote_candidates.iter().any(|line| is_public(line));
            match only_private && is_elsewhere {
                true => Failure::PrivateAddresses,
                false => Failure::Unreachable,
            }
        }
    };
    Some(Verdict { failure, seen })
}

/// Whether only those in the same network, or on the same machine, can reach an address.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // RFC 6598: a provider's own NAT.
            let is_shared = first == 100 && (64..128).contains(&second);
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || is_shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether a candidate (RFC 8839 §5.1) has a public address; a name of mDNS hides a private one.
fn is_public(line: &str) -> bool {
    let address = line.split_ascii_whitespace().nth(4);
    let ip = address.and_then(|address| address.parse().ok());
    ip.is_some_and(|ip| !is_private(ip))
}

/// As operators read it.
pub fn describe(path: Path) -> String {
    format!("{} {}", path.transport.name(), path.remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_told_from_the_others() {
        let path = Path::udp("198.51.100.7:4000".parse().unwrap(), None);
        let private = vec!["10.0.0.1:8189".parse().unwrap()];
        let public = vec!["192.0.2.1:8189".parse().unwrap()];
        let abroad = vec!["candidate:1 1 udp 1 198.51.100.7 4000 typ srflx".to_owned()];
        let at_home = vec!["candidate:1 1 udp 1 0f0e.local 4000 typ host".to_owned()];
        let nothing = |local: &Vec<SocketAddr>, remote: &Vec<String>| Seen {
            local_candidates: local.clone(),
            remote_candidates: remote.clone(),
            ..Seen::default()
        };
        let check = |reason, seen, expect| {
            assert_eq!(judge(reason, seen).map(|v| v.failure), expect);
        };
        let never = CloseReason::NeverConnected;
        check(never, nothing(&public, &abroad), Some(Failure::Unreachable));
        check(
            never,
            nothing(&private, &at_home),
            Some(Failure::Unreachable),
        );
        let misled = Some(Failure::PrivateAddresses);
        check(never, nothing(&private, &abroad), misled);
        let refused = Seen {
            checks_refused: 3,
            ..nothing(&public, &abroad)
        };
        check(never, refused.clone(), Some(Failure::WrongCredentials));
        let unheard = Seen {
            checks_received: 20,
            answers_sent: 20,
            paths: vec![path],
            ..refused
        };
        check(never, unheard.clone(), Some(Failure::AnswersLost));
        let chosen = Seen {
            selected: Some(path),
            ..unheard
        };
        let unfinished = Some(Failure::HandshakeUnfinished);
        check(never, chosen.clone(), unfinished);
        let refused = Some(Failure::HandshakeRefused);
        check(CloseReason::Refused, chosen.clone(), refused);
        check(
            CloseReason::ConsentLost,
            chosen.clone(),
            Some(Failure::Vanished),
        );
        check(CloseReason::PeerLeft, chosen.clone(), None);
        check(CloseReason::Asked, chosen, None);
    }
}
