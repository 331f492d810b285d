//! Which addresses a webhook may reach, for who may make one is not to reach what only this server can
//! (SSRF); and which one a request comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of the Internet, as the IANA special-purpose registries have it
/// (RFC 6890); also where it is wrapped in another.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

/// The other end of the connection that a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Whom a request comes from: the last in `X-Forwarded-For` that is none of our own proxies. What
/// others write there is not believed.
pub fn client(peer: IpAddr, forwarded_for: Option<&str>, trusted: &[IpAddr]) -> IpAddr {
    let is_ours = |address: &IpAddr| trusted.contains(&address.to_canonical());
    if !is_ours(&peer) {
        return peer.to_canonical();
    }
    let named = forwarded_for.unwrap_or_default().rsplit(',');
    let mut addresses = named.map_while(|name| name.trim().parse::<IpAddr>().ok());
    let client = addresses.find(|address| !is_ours(address));
    client.unwrap_or(peer).to_canonical()
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocols = (a, b, c) == (192, 0, 0);
    let benchmarks = a == 198 && (18..20).contains(&b);
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || shared
        || protocols
        || benchmarks)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [first, second, ..] = v6.segments();
    let is_global_unicast = first & 0xE000 == 0x2000;
    let documentation = (first, second) == (0x2001, 0x0DB8);
    is_global_unicast && !documentation
}

/// The IPv4 address in a mapped one, or one of NAT64 (RFC 6052), 6to4 (RFC 3056) or Teredo.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
            Some(of(high, low))
        }
        [0x2002, high, low, ..] => Some(of(high, low)),
        [0x2001, 0, .., high, low] => Some(of(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expect: bool) {
        let parsed = address.parse().expect("an address");
        assert_eq!(is_public(parsed), expect, "{address}");
    }

    #[test]
    fn only_our_own_proxies_are_believed() {
        let of = |peer: &str, forwarded: Option<&str>| {
            let proxies = ["10.0.0.1", "10.0.0.2"].map(|p| p.parse().expect("an address"));
            client(peer.parse().expect("an address"), forwarded, &proxies).to_string()
        };
        assert_eq!(of("1.2.3.4", None), "1.2.3.4");
        assert_eq!(of("1.2.3.4", Some("9.9.9.9")), "1.2.3.4");
        assert_eq!(of("::ffff:1.2.3.4", None), "1.2.3.4");
        assert_eq!(of("10.0.0.1", Some("9.9.9.9, 5.6.7.8")), "5.6.7.8");
        assert_eq!(of("10.0.0.1", Some("5.6.7.8, 10.0.0.2")), "5.6.7.8");
        assert_eq!(of("::ffff:10.0.0.1", Some("5.6.7.8")), "5.6.7.8");
        for nothing in [None, Some(""), Some("unknown"), Some("10.0.0.2")] {
            assert_eq!(of("10.0.0.1", nothing), "10.0.0.1");
        }
    }

    #[test]
    fn only_the_internet_is_public() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
        ] {
            check(address, true);
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001:0:1:2:3:4:80ff:fffe",
        ] {
            check(address, false);
        }
    }
}
