//! ICE over TCP (RFC 6544, passive): where UDP is blocked, peers connect to the same port by TCP,
//! and every datagram is a frame with its length before it (RFC 4571).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::debug;

use super::core::ice::{Path, check};
use super::crew::Crew;
use super::worker::Command;

/// Who connects must say who it is at once: ICE's check is the first frame.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(10);

/// Checks come every 15 s at least (RFC 7675).
const SILENT_FOR: Duration = Duration::from_secs(60);

/// Frames that wait for a slow peer: two seconds of video. What is more is lost, as on any path.
const MAX_WAITING: usize = 512;

/// The longest datagram that peers send.
const MAX_FRAME: usize = 8 * 1024;

/// Binds the TCP port beside UDP's.
pub fn bind(address: SocketAddr, dual_stack: bool) -> io::Result<StdListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(256)?;
    Ok(socket.into())
}

/// Takes connections for as long as the crew works.
pub async fn serve(listener: StdListener, crew: Arc<Crew>, max_connections: usize) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: the ones that are open go on.
                debug!(%error, "ICE over TCP: not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let crew = crew.clone();
        tokio::spawn(async move {
            if let Err(error) = carry(stream, canonical(remote), crew, place).await {
                debug!(%remote, %error, "ICE over TCP: closed");
            }
        });
    }
}

async fn carry(
    stream: TcpStream,
    remote: SocketAddr,
    crew: Arc<Crew>,
    _place: OwnedSemaphorePermit,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, writer) = stream.into_split();
    let path = Path::tcp(remote);
    let mut frame = Vec::new();
    tokio::time::timeout(FIRST_FRAME_WITHIN, read(&mut reader, &mut frame)).await??;
    let stranger = || io::Error::other("the first frame is no check of a peer");
    let ufrag = check::peek_ufrag(&frame).ok_or_else(stranger)?;
    let worker = &crew.of_ufrag(ufrag).ok_or_else(stranger)?.commands;

    let (frames, waiting) = mpsc::channel(MAX_WAITING);
    worker
        .send(Command::TcpOpened(remote, frames))
        .await
        .map_err(|_| stranger())?;
    let writing = tokio::spawn(write(writer, waiting));
    let result = loop {
        let datagram = std::mem::take(&mut frame);
        if worker
            .send(Command::Datagram(path, datagram))
            .await
            .is_err()
        {
            break Ok(());
        }
        match tokio::time::timeout(SILENT_FOR, read(&mut reader, &mut frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => break Err(error),
            Err(silent) => break Err(silent.into()),
        }
    };
    writing.abort();
    let _ = worker.send(Command::TcpClosed(remote)).await;
    result
}

async fn read(reader: &mut (impl AsyncReadExt + Unpin), frame: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::from(reader.read_u16().await?);
    if len > MAX_FRAME {
        return Err(io::Error::other("a frame is too long"));
    }
    frame.resize(len, 0);
    reader.read_exact(frame).await?;
    Ok(())
}

async fn write(mut writer: OwnedWriteHalf, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(frames) = waiting.recv().await {
        if writer.write_all(&frames).await.is_err() {
            return;
        }
    }
}

/// Datagrams of `len` bytes each (the last may be shorter), framed.
pub fn frames(datagrams: &[u8], len: usize) -> Bytes {
    let mut framed = Vec::with_capacity(datagrams.len() + 16);
    for datagram in datagrams.chunks(len.max(1)) {
        framed.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
        framed.extend_from_slice(datagram);
    }
    framed.into()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}
