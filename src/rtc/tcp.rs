//! The port over TCP, where UDP is blocked: ICE (RFC 6544, passive), every datagram a frame with
//! its length before it (RFC 4571), and TURN (RFC 8656 §3.1), whose messages tell their length.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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

/// The type of TURN's first message, an Allocate request (RFC 8656 §18.1). A check of ICE is
/// longer than this, so it is no length of one.
const ALLOCATE: u16 = 0x0003;

const STUN_HEADER_LEN: usize = 20;

/// The worker whose TURN serves all streams.
const TURN_WORKER: usize = 0;

/// The way to a peer's stream.
pub struct Stream {
    frames: mpsc::Sender<Bytes>,
    is_turn: bool,
}

impl Stream {
    /// Datagrams of `len` bytes each; the last may be shorter.
    pub fn send(&self, datagrams: &[u8], len: usize) {
        let framed = match self.is_turn {
            true => Bytes::copy_from_slice(datagrams),
            false => frames(datagrams, len),
        };
        // Full: the peer is slow, and this is lost as on any path.
        let _ = self.frames.try_send(framed);
    }
}

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
    let mut message = Vec::new();
    let first = async {
        let head = reader.read_u16().await?;
        let is_turn = head == ALLOCATE;
        match is_turn {
            true => read_turn(head, &mut reader, &mut message).await?,
            false => read_frame(head, &mut reader, &mut message).await?,
        }
        io::Result::Ok(is_turn)
    };
    let is_turn = tokio::time::timeout(FIRST_FRAME_WITHIN, first).await??;
    let stranger = || io::Error::other("the first frame is no check of a peer");
    let worker = match is_turn {
        true => crew.worker(TURN_WORKER),
        false => check::peek_ufrag(&message).and_then(|ufrag| crew.of_ufrag(ufrag)),
    };
    let worker = &worker.ok_or_else(stranger)?.commands;

    let (frames, waiting) = mpsc::channel(MAX_WAITING);
    let opened = Command::TcpOpened(remote, Stream { frames, is_turn });
    worker.send(opened).await.map_err(|_| stranger())?;
    let mut writing = tokio::spawn(write(writer, waiting));
    let result = loop {
        let message_now = std::mem::take(&mut message);
        let command = match is_turn {
            true => Command::Turn(Path::tcp(remote), message_now),
            false => Command::Datagram(Path::tcp(remote), message_now),
        };
        if worker.send(command).await.is_err() {
            break Ok(());
        }
        let next = next(is_turn, &mut reader, &mut message);
        tokio::select! {
            next = tokio::time::timeout(SILENT_FOR, next) => match next {
                Ok(Ok(())) => {}
                Ok(Err(error)) => break Err(error),
                Err(silent) => break Err(silent.into()),
            },
            // The worker let go of it, or the peer takes nothing any more.
            _ = &mut writing => break Ok(()),
        }
    };
    writing.abort();
    let _ = worker.send(Command::TcpClosed(remote)).await;
    result
}

async fn next(is_turn: bool, reader: &mut OwnedReadHalf, message: &mut Vec<u8>) -> io::Result<()> {
    let head = reader.read_u16().await?;
    match is_turn {
        true => read_turn(head, reader, message).await,
        false => read_frame(head, reader, message).await,
    }
}

/// The rest of a frame of RFC 4571.
async fn read_frame(len: u16, reader: &mut OwnedReadHalf, frame: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::from(len);
    if len > MAX_FRAME {
        return Err(io::Error::other("a frame is too long"));
    }
    frame.resize(len, 0);
    reader.read_exact(frame).await?;
    Ok(())
}

/// The rest of a STUN message, or of ChannelData without its padding (RFC 8656 §12.5).
async fn read_turn(kind: u16, reader: &mut OwnedReadHalf, message: &mut Vec<u8>) -> io::Result<()> {
    let len = reader.read_u16().await?;
    let is_channel = kind >= 0x4000;
    let (rest, padding) = match is_channel {
        true => (
            usize::from(len),
            usize::from(len).next_multiple_of(4) - usize::from(len),
        ),
        false => (STUN_HEADER_LEN - 4 + usize::from(len), 0),
    };
    if rest > MAX_FRAME {
        return Err(io::Error::other("a message is too long"));
    }
    message.clear();
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&len.to_be_bytes());
    message.resize(4 + rest + padding, 0);
    reader.read_exact(&mut message[4..]).await?;
    message.truncate(4 + rest);
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
fn frames(datagrams: &[u8], len: usize) -> Bytes {
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
