//! The one UDP socket: many datagrams a call where the kernel can (GRO in, GSO out).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::core::ice::{Path, Transport};
use super::core::outbox::Outbox;

/// GRO hands over up to 64 KiB of one peer's datagrams in one buffer.
const BUFFER_LEN: usize = 64 * 1024;
/// Buffers a call: half a megabyte in all.
const BATCH: usize = 8;

/// Bytes of one GSO call, below UDP's largest payload.
const MAX_SEND: usize = 60_000;

/// Asked of the kernel, which may give less: 100 ms of 150 Mbit/s.
const KERNEL_BUFFER: usize = 2 * 1024 * 1024;

/// Binds the port, once for each of `count` workers: the kernel spreads the peers over them.
/// `dual_stack` lets an IPv6 socket take IPv4 too.
pub fn bind(address: SocketAddr, dual_stack: bool, count: usize) -> io::Result<Vec<StdSocket>> {
    // Alone first: a port that is shared would also be shared with another server.
    let first = bind_one(address, dual_stack, false)?;
    if count <= 1 {
        return Ok(vec![first]);
    }
    let address = first.local_addr()?;
    drop(first);
    let bind = |_| bind_one(address, dual_stack, true);
    (0..count).map(bind).collect()
}

fn bind_one(address: SocketAddr, dual_stack: bool, shared: bool) -> io::Result<StdSocket> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.set_reuse_port(shared)?;
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
    /// To one address, from which all leaves: none need be looked up for it.
    is_of_one_address: bool,
    buffers: Vec<Vec<u8>>,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    /// Calls of the kernel to send.
    pub calls: u64,
}

impl Socket {
    /// Must be called within a tokio runtime.
    pub fn new(socket: StdSocket) -> io::Result<Self> {
        Self::with_batch(socket, BATCH)
    }

    /// For one peer alone, of whom a call brings all there is. Must be called within a tokio
    /// runtime.
    pub fn of_one_peer(socket: StdSocket) -> io::Result<Self> {
        Self::with_batch(socket, 1)
    }

    fn with_batch(socket: StdSocket, batch: usize) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self {
            io: UdpSocket::from_std(socket)?,
            state,
            is_ipv6: local.is_ipv6(),
            is_of_one_address: !local.ip().is_unspecified(),
            buffers: vec![vec![0; BUFFER_LEN]; batch],
            unsent: 0,
            calls: 0,
        })
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// One call's worth of datagrams. `false` when there are no more: the next one makes the socket
    /// readable.
    pub fn receive(&mut self, mut each: impl FnMut(Path, &[u8])) -> bool {
        let (io, state) = (&self.io, &self.state);
        let mut metas = [RecvMeta::default(); BATCH];
        let buffers = self.buffers.iter_mut();
        let mut slices: Vec<IoSliceMut> = buffers.map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut count = 0;
        // An ICMP error of some earlier datagram reads as an error too: then the socket stays readable.
        let received = io.try_io(Interest::READABLE, || {
            count = state.recv(io.into(), &mut slices, &mut metas)?;
            match count < slices.len() {
                // That was all. The runtime is told so here, instead of by one more call.
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
            let path = Path::udp(canonical(meta.addr), meta.dst_ip);
            let stride = meta.stride.max(1);
            for datagram in buffer[..meta.len].chunks(stride) {
                each(path, datagram);
            }
        }
        received.is_ok()
    }

    /// Sends in order, runs of equal length to one peer in one call. What goes another way than
    /// by UDP is for `other`.
    pub fn send(&mut self, outbox: &Outbox, mut other: impl FnMut(Path, &[u8], usize)) {
        let (io, state, is_ipv6) = (&self.io, &self.state, self.is_ipv6);
        let is_of_one_address = self.is_of_one_address;
        let (mut unsent, mut calls) = (0, 0);
        outbox.runs(
            state.max_gso_segments(),
            MAX_SEND,
            |path, contents, len, count| {
                if path.transport != Transport::Udp {
                    other(path, contents, len);
                    return;
                }
                let transmit = quinn_udp::Transmit {
                    destination: mapped(path.remote, is_ipv6),
                    ecn: None,
                    contents,
                    segment_size: (count > 1).then_some(len),
                    src_ip: path.local.filter(|_| !is_of_one_address),
                };
                let sent = io.try_io(Interest::WRITABLE, || state.try_send(io.into(), &transmit));
                // Like any router with a full queue; whoever needs it repeats it.
                if sent.is_err() {
                    unsent += count as u64;
                }
                calls += 1;
            },
        );
        self.unsent += unsent;
        self.calls += calls;
    }
}

fn mapped(address: SocketAddr, is_ipv6: bool) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if is_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
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
        let bound = bind(bound.parse().unwrap(), true, 1).unwrap().remove(0);
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
        let mut outbox = Outbox::default();
        for len in lens {
            outbox.push(path, &vec![7; *len]);
        }
        socket.send(&outbox, |_, _, _| unreachable!("all goes over UDP"));
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
