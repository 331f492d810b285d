//! Whose datagram: checks by ufrag, all else by remote address. Strangers are nobody's.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::core::ice::{Place, check};

/// Addresses one peer may send from at once; its oldest is forgotten for the next.
const MAX_ADDRESSES: usize = 16;

/// The current ufrag, and the one before an ICE restart.
const MAX_UFRAGS: usize = 2;

/// A connection of this process; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What leads to one connection, oldest first.
#[derive(Debug, Default)]
struct Ways {
    addresses: Vec<Place>,
    ufrags: Vec<String>,
}

/// The table of all ways to all connections.
#[derive(Debug, Default)]
pub struct Demux {
    by_address: HashMap<Place, ConnectionId>,
    by_ufrag: HashMap<String, ConnectionId>,
    ways: BTreeMap<ConnectionId, Ways>,
}

impl Demux {
    /// The connection a datagram belongs to. Costs a stranger's datagram one look-up.
    pub fn route(&self, from: Place, datagram: &[u8]) -> Option<ConnectionId> {
        if check::is_stun(datagram) {
            // The ufrag first: a peer's next connection may come from the same address.
            let ufrag = check::peek_ufrag(datagram)?;
            return self.by_ufrag.get(ufrag).copied();
        }
        self.by_address.get(&from).copied()
    }

    /// Whether a ufrag is a connection's already.
    pub fn knows_ufrag(&self, ufrag: &str) -> bool {
        self.by_ufrag.contains_key(ufrag)
    }

    /// Our ufrag of a connection that begins, or after its ICE restart.
    pub fn add_ufrag(&mut self, id: ConnectionId, ufrag: String) {
        let ways = self.ways.entry(id).or_default();
        if ways.ufrags.len() == MAX_UFRAGS {
            self.by_ufrag.remove(&ways.ufrags.remove(0));
        }
        ways.ufrags.push(ufrag.clone());
        self.by_ufrag.insert(ufrag, id);
    }

    /// A check of the connection's peer came from `address`.
    pub fn add_address(&mut self, id: ConnectionId, address: Place) {
        let before = self.by_address.insert(address, id);
        if before == Some(id) {
            return;
        }
        if let Some(ways) = before.and_then(|before| self.ways.get_mut(&before)) {
            ways.addresses.retain(|known| *known != address);
        }
        let ways = self.ways.entry(id).or_default();
        if ways.addresses.len() == MAX_ADDRESSES {
            self.by_address.remove(&ways.addresses.remove(0));
        }
        ways.addresses.push(address);
    }

    pub fn remove(&mut self, id: ConnectionId) {
        let Some(ways) = self.ways.remove(&id) else {
            return;
        };
        for address in ways.addresses {
            self.by_address.remove(&address);
        }
        for ufrag in ways.ufrags {
            self.by_ufrag.remove(&ufrag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::core::ice::Transport;
    use super::*;
    use std::net::SocketAddr;

    const A: ConnectionId = ConnectionId(1);
    const B: ConnectionId = ConnectionId(2);
    const RTP: &[u8] = &[0x80; 20];

    fn address(port: u16) -> Place {
        (Transport::Udp, SocketAddr::from(([192, 0, 2, 1], port)))
    }

    fn binding_request(username: &str) -> Vec<u8> {
        let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
        message.extend_from_slice(&[0; 12]);
        message.extend_from_slice(&[0, 6, 0, username.len() as u8]);
        message.extend_from_slice(username.as_bytes());
        message
    }

    #[test]
    fn by_ufrag_then_by_address() {
        let mut demux = Demux::default();
        demux.add_ufrag(A, "aaaa".into());
        assert_eq!(demux.route(address(1), RTP), None);
        assert_eq!(demux.route(address(1), &binding_request("aaaa:x")), Some(A));
        assert_eq!(demux.route(address(1), &binding_request("bbbb:x")), None);
        demux.add_address(A, address(1));
        assert_eq!(demux.route(address(1), RTP), Some(A));
    }

    #[test]
    fn an_address_goes_to_who_proved_it_last() {
        let mut demux = Demux::default();
        demux.add_address(A, address(1));
        demux.add_address(B, address(1));
        assert_eq!(demux.route(address(1), RTP), Some(B));
        demux.remove(A);
        assert_eq!(demux.route(address(1), RTP), Some(B));
        demux.remove(B);
        assert_eq!(demux.route(address(1), RTP), None);
    }

    #[test]
    fn one_peer_holds_no_more_than_its_share() {
        let mut demux = Demux::default();
        for port in 0..100 {
            demux.add_address(A, address(port));
            demux.add_ufrag(A, format!("ufrag{port}"));
        }
        assert_eq!(demux.by_address.len(), MAX_ADDRESSES);
        assert_eq!(demux.by_ufrag.len(), MAX_UFRAGS);
        demux.remove(A);
        assert!(demux.by_address.is_empty() && demux.by_ufrag.is_empty());
    }
}
