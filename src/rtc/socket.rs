//! The one UDP socket: many datagrams a call where the kernel can (GRO in, GSO out).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::core::connection::Transmit;
use super::core::ice::Path;

/// GRO hands over up to 64 KiB of one peer's datagrams in one buffer.
const BUFFER_LEN: usize = 64 * 1024;
/// Buffers a call: half a megabyte in all.
const BATCH: usize = 8;

/// Bytes of one GSO call, below UDP's largest payload.
const MAX_SEND: usize = 60_000;

/// Asked of the kernel, which may give less: 100 ms of 150 Mbit/s.
const KERNEL_BUFFER: usize = 2 * 1024 * 1024;

/// Binds the port. `dual_stack` lets an IPv6 socket take IPv4 too.
pub fn bind(address: SocketAddr, dual_stack: bool) -> io::Result<StdSocket> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // Best effort: the kernel's limit (net.core.rmem_max) may be lower.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The bound socket within a runtime.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    is_ipv6: bool,
    buffers: Vec<Vec<u8>>,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
}

impl Socket {
    /// Must be called within a tokio runtime.
    pub fn new(socket: StdSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let is_ipv6 = socket.local_addr()?.is_ipv6();
        Ok(Self {
            io: UdpSocket::from_std(socket)?,
            state,
            is_ipv6,
            buffers: vec![vec![0; BUFFER_LEN]; BATCH],
            unsent: 0,
        })
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// One call's worth of datagrams. `false` when there were none.
    pub fn receive(&mut self, mut each: impl FnMut(Path, &[u8])) -> bool {
        let (io, state) = (&self.io, &self.state);
        let mut metas = [RecvMeta::default(); BATCH];
        let buffers = self.buffers.iter_mut();
        let mut slices: Vec<IoSliceMut> = buffers.map(|buffer| IoSliceMut::new(buffer)).collect();
        let received = io.try_io(Interest::READABLE, || {
            state.recv(io.into(), &mut slices, &mut metas)
        });
        // An ICMP error of some earlier datagram reads as an error too: the next call goes on.
        let Ok(count) = received else {
            return false;
        };
        for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
            let path = Path {
                remote: canonical(meta.addr),
                local: meta.dst_ip,
            };
            let stride = meta.stride.max(1);
            for datagram in buffer[..meta.len].chunks(stride) {
                each(path, datagram);
            }
        }
        true
    }

    /// Sends in order, runs of equal length to one peer in one call.
    pub fn send(&mut self, transmits: &[Transmit]) {
        let mut rest = transmits;
        let mut joined = Vec::new();
        while let Some(first) = rest.first() {
            let run = self.run_len(rest);
            let (now, later) = rest.split_at(run);
            rest = later;
            let contents = if run == 1 {
                &first.data
            } else {
                joined.clear();
                joined.extend(now.iter().flat_map(|transmit| &transmit.data));
                &joined
            };
            let transmit = quinn_udp::Transmit {
                destination: self.mapped(first.path.remote),
                ecn: None,
                contents,
                segment_size: (run > 1).then_some(first.data.len()),
                src_ip: first.path.local,
            };
            let (io, state) = (&self.io, &self.state);
            let sent = io.try_io(Interest::WRITABLE, || state.try_send(io.into(), &transmit));
            // Like any router with a full queue; whoever needs it repeats it.
            if sent.is_err() {
                self.unsent += run as u64;
            }
        }
    }

    /// How many of the first transmits go in one call: same path, same length, the last may be
    /// shorter.
    fn run_len(&self, transmits: &[Transmit]) -> usize {
        let Some(first) = transmits.first() else {
            return 0;
        };
        let len = first.data.len().max(1);
        let most = self.state.max_gso_segments().min(MAX_SEND / len).max(1);
        let mut run = 1;
        while run < most {
            let Some(next) = transmits.get(run) else {
                break;
            };
            if next.path != first.path || next.data.len() > len {
                break;
            }
            run += 1;
            if next.data.len() < len {
                break;
            }
        }
        run
    }

    fn mapped(&self, address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) if self.is_ipv6 => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), address.port())
            }
            _ => address,
        }
    }
}

/// An IPv4 peer of a dual-stack socket is an IPv4 peer.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Sends a datagram from `from`, and back what `lens` says; the lengths that arrive.
    async fn echo(bound: &str, from: &str, lens: &[usize]) -> (IpAddr, Vec<usize>) {
        let bound = bind(bound.parse().unwrap(), true).unwrap();
        let port = bound.local_addr().unwrap().port();
        let mut socket = Socket::new(bound).unwrap();
        let peer = UdpSocket::bind(from).await.unwrap();
        let to = SocketAddr::new(peer.local_addr().unwrap().ip(), port);
        peer.send_to(b"hello", to).await.unwrap();
        let mut came = Vec::new();
        while came.is_empty() {
            socket.readable().await.unwrap();
            socket.receive(|path, datagram| came.push((path, datagram.to_vec())));
        }
        assert_eq!(came[0].1, b"hello");
        let path = came[0].0;
        let transmit = |len: &usize| Transmit {
            path,
            data: vec![7; *len],
        };
        let transmits: Vec<Transmit> = lens.iter().map(transmit).collect();
        socket.send(&transmits);
        assert_eq!(socket.unsent, 0);
        let (mut got, mut buffer) = (Vec::new(), [0; 2000]);
        while got.len() < lens.len() {
            let next = tokio::time::timeout(Duration::from_secs(2), peer.recv(&mut buffer)).await;
            got.push(next.expect("all arrive").unwrap());
        }
        (path.remote.ip(), got)
    }

    #[tokio::test]
    async fn runs_of_datagrams_arrive_as_they_were() {
        let lens = [1200, 1200, 1200, 700, 700, 900, 1200, 30];
        let (_, got) = echo("127.0.0.1:0", "127.0.0.1:0", &lens).await;
        assert_eq!(got, lens);
    }

    #[tokio::test]
    async fn a_dual_stack_socket_has_peers_of_both_families() {
        for from in ["127.0.0.1:0", "[::1]:0"] {
            let (ip, got) = echo("[::]:0", from, &[100, 100]).await;
            assert_eq!(SocketAddr::new(ip, 0).to_string(), from);
            assert_eq!(got, [100, 100]);
        }
    }
}
