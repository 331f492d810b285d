//! Where clients will be told to connect to, and whether that can work: asked at start, while
//! somebody still reads.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Rtc;
use super::core::ice::check;
use super::core::verdict::is_private;

/// An answer that takes longer is none.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const TRIES: usize = 4;

/// This machine's address as a STUN server sees it (RFC 8489), `host:port`. Blocks for two
/// seconds at most, the name's resolution not counted.
///
/// # Errors
///
/// The server's name has no address, or it does not answer.
pub fn public_address(server: &str) -> io::Result<IpAddr> {
    let server = server.to_socket_addrs()?.next();
    let server = server.ok_or_else(|| io::Error::other("the name has no address"))?;
    let socket = UdpSocket::bind((unspecified(server), 0))?;
    ask(&socket, server).map(|seen| seen.ip())
}

/// Our address as the STUN server sees it.
fn ask(socket: &UdpSocket, server: SocketAddr) -> io::Result<SocketAddr> {
    let transaction: [u8; 12] = rand::random();
    let request = check::binding_request(&transaction);
    let mut answer = [0; 512];
    for _ in 0..TRIES {
        socket.send_to(&request, server)?;
        let until = Instant::now() + ANSWER_WITHIN;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let Ok((len, from)) = socket.recv_from(&mut answer) else {
                continue;
            };
            let seen = check::mapped_address(answer.get(..len).unwrap_or(&[]), &transaction);
            if let Some(seen) = seen.filter(|_| from == server) {
                return Ok(seen);
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "no answer came within two seconds",
    ))
}

fn unspecified(of_family: SocketAddr) -> IpAddr {
    match of_family {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// One address that clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub address: SocketAddr,
    pub answers_udp: bool,
    /// `None` where TCP is off.
    pub answers_tcp: Option<bool>,
}

/// Tries each address that clients are told, from here.
pub async fn test(rtc: &Rtc) -> Vec<Told> {
    let mut all = Vec::new();
    for address in rtc.addresses() {
        let udp = tokio::task::spawn_blocking(move || {
            let socket = UdpSocket::bind((unspecified(address), 0))?;
            ask(&socket, address)
        });
        let answers_udp = matches!(udp.await, Ok(Ok(_)));
        let answers_tcp = match rtc.has_tcp() {
            false => None,
            true => {
                let connect = tokio::time::timeout(ANSWER_WITHIN, TcpStream::connect(address));
                Some(matches!(connect.await, Ok(Ok(_))))
            }
        };
        all.push(Told {
            address,
            answers_udp,
            answers_tcp,
        });
    }
    all
}

/// What an operator must know of the addresses that clients are told. `dev` is for one machine
/// alone.
pub fn warnings(told: &[Told], dev: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let ip = |told: &Told| told.address.ip();
    if told.is_empty() {
        warnings.push(
            "clients are told no address at all: set rtc.public_addresses, or an address in rtc.listen".to_owned(),
        );
    } else if !dev && told.iter().all(|told| ip(told).is_loopback()) {
        warnings.push(
            "clients are told loopback addresses only, so none outside this machine can connect: set rtc.listen to 0.0.0.0:8189 or rtc.public_addresses".to_owned(),
        );
    } else if !dev && told.iter().all(|told| is_private(ip(told))) {
        warnings.push(
            "clients are told private addresses only, so those in other networks cannot connect: set rtc.public_addresses, or rtc.stun_server to find the address at each start".to_owned(),
        );
    }
    for told in told.iter().filter(|told| !told.answers_udp) {
        warnings.push(format!(
            "{} does not answer over UDP from this machine: it is not this server's, a firewall is before it, or the NAT does not lead back inside (then all may be well from outside)",
            told.address
        ));
    }
    for told in told.iter().filter(|told| told.answers_tcp == Some(false)) {
        warnings.push(format!(
            "{} does not answer over TCP from this machine: clients without UDP will not connect there",
            told.address
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn told(address: &str, answers_udp: bool) -> Told {
        Told {
            address: address.parse().unwrap(),
            answers_udp,
            answers_tcp: Some(true),
        }
    }

    #[test]
    fn warns_of_what_cannot_work() {
        let check = |all: &[Told], dev, expect: &[&str]| {
            let warnings = warnings(all, dev);
            assert_eq!(warnings.len(), expect.len(), "{warnings:?}");
            for (warning, expect) in warnings.iter().zip(expect) {
                assert!(warning.contains(expect), "{warning}");
            }
        };
        check(&[], false, &["no address"]);
        check(&[told("127.0.0.1:1", true)], true, &[]);
        check(&[told("127.0.0.1:1", true)], false, &["loopback"]);
        let private = [told("10.0.0.1:1", true), told("[fd00::1]:1", true)];
        check(&private, false, &["private"]);
        check(
            &[told("10.0.0.1:1", true), told("192.0.2.1:1", true)],
            false,
            &[],
        );
        check(
            &[told("192.0.2.1:1", false)],
            false,
            &["does not answer over UDP"],
        );
    }

    #[tokio::test]
    async fn a_server_answers_itself_and_others() {
        let rtc = Rtc::start(Settings {
            bind: "127.0.0.1:0".parse().unwrap(),
            workers: 2,
            ..Settings::default()
        });
        let rtc = rtc.expect("the transport");
        let all = test(&rtc).await;
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].answers_udp, all[0].answers_tcp), (true, Some(true)));
        let server = rtc.local_addr().to_string();
        let seen = tokio::task::spawn_blocking(move || public_address(&server)).await;
        let expect: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(seen.unwrap().unwrap(), expect);
        assert!(public_address("127.0.0.1:9").is_err());
    }
}
