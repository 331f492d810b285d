//! Messages beside the media: SCTP over the connection's DTLS (RFC 8261, RFC 8831).
//!
//! One data channel is of use, of stream 0: both sides know of it from the start (`negotiated` in
//! the W3C's API), or the peer opens it (RFC 8832). Messages are text.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, EndpointEvent,
    Event as SctpEvent, Payload, PayloadProtocolIdentifier as Ppi, ServerConfig, StreamEvent,
    StreamId, TimerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;

/// The longest message either way, in bytes (`a=max-message-size`, RFC 8841 §6).
///
/// A message to the room has 4,000 bytes of text, of which JSON may make six times as many.
pub const MAX_MESSAGE: u32 = 32 * 1024;

/// The port both sides write into their packets (`a=sctp-port`, RFC 8841 §5).
pub const SCTP_PORT: u16 = 5000;

/// The one channel.
const CHANNEL: StreamId = 0;

/// What a peer may send before we took it, and streams, which browsers ask for by the thousand.
const RECEIVE_BUFFER: u32 = 64 * 1024;
const MAX_STREAMS: u16 = 16;

/// What may wait for a peer that does not take it.
const MAX_BUFFERED: usize = 256 * 1024;

/// A DTLS record with it fits each path that carries video.
const MAX_PACKET: u32 = 1150;

/// RFC 8832 §5: the type of a message that opens a channel, and the whole of the one that
/// acknowledges it.
const OPEN: u8 = 3;
const ACKNOWLEDGED: [u8; 1] = [2];

/// Within its DTLS association a peer has one address.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), SCTP_PORT);

/// What became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataEvent {
    /// Messages may be sent.
    Opened,
    /// No more of them; the media goes on.
    Closed,
    Message(String),
    /// It could not be sent.
    Unsent(String),
}

/// The association of one connection. The peer begins it, as browsers do.
pub struct Data {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    is_open: bool,
    transmits: VecDeque<Bytes>,
    events: VecDeque<DataEvent>,
}

impl Default for Data {
    fn default() -> Self {
        // A message is sent again until the connection ends, which ICE's consent sees to: by default it is
        // given up after five times, without a word, and with it all that follow.
        let timers = TimerConfig {
            max_t3_rtx_retrans: usize::MAX,
            ..TimerConfig::default()
        };
        let transport = TransportConfig::default()
            .with_timer_config(timers)
            .with_sctp_port(SCTP_PORT)
            .with_max_message_size(MAX_MESSAGE)
            .with_max_receive_buffer_size(RECEIVE_BUFFER)
            .with_max_num_inbound_streams(MAX_STREAMS)
            .with_max_num_outbound_streams(MAX_STREAMS);
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_PACKET);
        let server = ServerConfig::new(transport);
        Self {
            endpoint: Endpoint::new(
                PEER,
                TransportProtocol::UDP,
                Arc::new(config),
                Some(Arc::new(server)),
            ),
            association: None,
            is_open: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }
}

impl Data {
    /// Takes what came by DTLS.
    pub fn handle(&mut self, packet: Bytes, now: Instant) {
        let Some((handle, event)) = self.endpoint.handle(now, PEER, None, packet) else {
            return;
        };
        match (event, &mut self.association) {
            // A peer has one; it begins again when our first answer was lost.
            (DatagramEvent::NewAssociation(new), known) => {
                let unused = match known {
                    Some((_, association)) if !association.is_handshaking() => Some(handle),
                    _ => known.replace((handle, new)).map(|(old, _)| old),
                };
                if let Some(unused) = unused {
                    self.endpoint.handle_event(unused, EndpointEvent::drained());
                }
            }
            (DatagramEvent::AssociationEvent(event), Some((known, association)))
                if *known == handle =>
            {
                association.handle_event(event);
            }
            _ => {}
        }
        self.drain(now);
    }

    /// Sends a message; it comes back as [`DataEvent::Unsent`] when the channel is not open, or the
    /// peer does not take what it was sent before.
    pub fn send(&mut self, text: String, now: Instant) {
        let open = self.association.as_mut().filter(|_| self.is_open);
        let mut stream = open.and_then(|(_, association)| association.stream(CHANNEL).ok());
        let is_sent = stream.as_mut().is_some_and(|stream| {
            let has_room = stream
                .buffered_amount()
                .is_ok_and(|len| len <= MAX_BUFFERED);
            has_room
                && stream
                    .write_with_ppi(now, text.as_bytes(), Ppi::String)
                    .is_ok()
        });
        if !is_sent {
            self.events.push_back(DataEvent::Unsent(text));
        }
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
            self.drain(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll() {
            match event {
                SctpEvent::Connected => {
                    // Where the peer opens it by a message, it exists by then.
                    let _ = association.open_stream(CHANNEL, Ppi::String);
                    self.is_open = true;
                    self.events.push_back(DataEvent::Opened);
                }
                SctpEvent::Stream(StreamEvent::Readable { id }) => {
                    read(association, id, now, &mut self.events);
                }
                SctpEvent::HandshakeFailed { .. } | SctpEvent::AssociationLost { .. } => {
                    self.is_open = false;
                    self.events.push_back(DataEvent::Closed);
                }
                _ => {}
            }
        }
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                self.transmits.extend(packets);
            }
        }
    }

    /// The next packet for DTLS.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<DataEvent> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let (_, association) = self.association.as_ref()?;
        Some((association.poll_timeout()?, "SCTP"))
    }
}

/// All messages of a stream.
fn read(
    association: &mut Association,
    id: StreamId,
    now: Instant,
    events: &mut VecDeque<DataEvent>,
) {
    loop {
        let Ok(mut stream) = association.stream(id) else {
            return;
        };
        let Ok(Some(message)) = stream.read() else {
            return;
        };
        let Ok(payload) = message.to_payload(MAX_MESSAGE as usize) else {
            continue;
        };
        match message.ppi {
            Ppi::Dcep if payload.first() == Some(&OPEN) => {
                let _ = stream.write_with_ppi(now, &ACKNOWLEDGED, Ppi::Dcep);
            }
            Ppi::String | Ppi::Binary => {
                let text = std::str::from_utf8(&payload).ok();
                events.extend(text.map(|text| DataEvent::Message(text.to_owned())));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "data/tests.rs"]
mod tests;
