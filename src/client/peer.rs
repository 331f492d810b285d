//! One WebRTC connection that sends a picture and a sound.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::future::BoxFuture;
use rand::RngExt;
use rtc::interceptor::Slot;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::codec::opus::OpusPayloader;
use rtc::rtp::codec::vp8::Vp8Payloader;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp::{Header, Packet};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
    RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::watch;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCPeerConnectionState, RTCSessionDescription, Registry, register_default_interceptors,
};

use super::key_frames::KeyFrameRequests;
use super::publish::Codec;
use super::whip::{Endpoint, Session, WhipError};

/// Of one packet of RTP, so that it fits every path with SRTP, UDP and IP around it.
const MTU: usize = 1200;
/// Behind all interceptors of the crate, so that they see the whole RTCP first.
const LAST_SLOT: usize = 14_000;

/// A connection over which media can be sent once it is connected.
pub(super) struct Peer {
    connection: Box<dyn PeerConnection>,
    session: Session,
    pub state: watch::Receiver<RTCPeerConnectionState>,
    pub video: Stream,
    pub audio: Stream,
}

impl Peer {
    /// Offers, posts, and takes the answer; the connection may still come.
    pub async fn open(endpoint: &Endpoint, codec: Codec) -> Result<Self, WhipError> {
        let (connection, tracks, state) = offerer(codec, bind_addresses(endpoint)).await?;
        let senders = add(&*connection, &tracks).await?;
        let offer = offer(&*connection).await?;
        let (session, answer) = endpoint.post(offer).await?;
        let types = async {
            let answer = RTCSessionDescription::answer(answer)?;
            connection.set_remote_description(answer).await?;
            anyhow::Ok([
                senders[0].payload_type().await?,
                senders[1].payload_type().await?,
            ])
        };
        let types = match types.await.context("the server's answer makes no sense") {
            Ok(types) => types,
            Err(error) => {
                let _ = session.delete().await;
                let _ = connection.close().await;
                return Err(error.into());
            }
        };
        let [video, audio] = tracks;
        let payloader: Box<dyn Payloader> = match codec {
            Codec::H264 => Box::<H264Payloader>::default(),
            Codec::Vp8 => Box::<Vp8Payloader>::default(),
        };
        Ok(Self {
            video: Stream::new(video, types[0], 90_000, payloader),
            audio: Stream::new(audio, types[1], 48_000, Box::<OpusPayloader>::default()),
            connection,
            session,
            state,
        })
    }

    /// Says goodbye to the server, and closes.
    pub async fn close(self) {
        if let Err(error) = self.session.delete().await {
            tracing::debug!(%error, etag = self.session.etag, "the session was gone already");
        }
        let _ = self.connection.close().await;
    }
}

/// Packetizes and sends one track. Timestamps come of the media's own times.
pub(super) struct Stream {
    pub track: Track,
    payload_type: u8,
    clock_rate: u64,
    payloader: Box<dyn Payloader>,
    sequence: u16,
    /// Random, as RFC 3550 §5.1 wants it.
    first_timestamp: u32,
    pub sent_bytes: Arc<AtomicU64>,
}

impl Stream {
    fn new(track: Track, payload_type: u8, clock_rate: u64, payloader: Box<dyn Payloader>) -> Self {
        Self {
            track,
            payload_type,
            clock_rate,
            payloader,
            sequence: rand::random(),
            first_timestamp: rand::random(),
            sent_bytes: Arc::default(),
        }
    }

    /// Sends what was captured at `at`, with some bytes changed if it `corrupts`.
    pub async fn send(&mut self, at: Duration, data: &Bytes, corrupts: bool) -> anyhow::Result<()> {
        let ticks = at.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        let timestamp = self.first_timestamp.wrapping_add(ticks as u32);
        let payloads = self.payloader.payload(MTU, data)?;
        let count = payloads.len();
        for (index, mut payload) in payloads.into_iter().enumerate() {
            if corrupts {
                payload = corrupt(&payload);
            }
            let header = Header {
                version: 2,
                // Of sound the marker means the start of a talk spurt (RFC 7587 §4.1).
                marker: self.clock_rate == 90_000 && index + 1 == count,
                payload_type: self.payload_type,
                sequence_number: self.sequence,
                timestamp,
                ssrc: self.track.ssrc,
                ..Header::default()
            };
            self.sequence = self.sequence.wrapping_add(1);
            self.sent_bytes
                .fetch_add(payload.len() as u64, Ordering::Relaxed);
            self.track
                .local
                .write_rtp(Packet { header, payload })
                .await?;
        }
        Ok(())
    }
}

/// A few bytes are others, half of the time; headers of payloads as well as pictures.
fn corrupt(payload: &[u8]) -> Bytes {
    let mut payload = payload.to_vec();
    let mut dice = rand::rng();
    let within = match dice.random_range(0..4) {
        0 => payload.len().min(8),
        1 => payload.len(),
        _ => 0,
    };
    for _ in 0..within.min(4) {
        payload[dice.random_range(0..within)] = dice.random();
    }
    payload.into()
}

/// A track of the crate, and the SSRC we gave it.
#[derive(Clone)]
pub(super) struct Track {
    pub local: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
}

impl Track {
    fn new(kind: RtpCodecKind, codec: RTCRtpCodec) -> Self {
        let ssrc = rand::random();
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec,
            ..Default::default()
        };
        // One stream id for both, so that a receiver plays them in step.
        let stream = "amphi".to_owned();
        let name = kind.to_string();
        let track = MediaStreamTrack::new(stream, name.clone(), name, kind, vec![coding]);
        Self {
            local: Arc::new(TrackLocalStaticRTP::new(track)),
            ssrc,
        }
    }
}

struct Sender(Arc<dyn webrtc::rtp_transceiver::RtpSender>);

impl Sender {
    async fn payload_type(&self) -> anyhow::Result<u8> {
        let parameters = self.0.get_parameters().await?.rtp_parameters;
        let first = parameters.codecs.first().context("a track was refused")?;
        Ok(first.payload_type)
    }
}

struct States(watch::Sender<RTCPeerConnectionState>);

impl PeerConnectionEventHandler for States {
    fn on_connection_state_change<'a, 'b>(
        &'a self,
        state: RTCPeerConnectionState,
    ) -> BoxFuture<'b, ()>
    where
        'a: 'b,
        Self: 'b,
    {
        self.0.send_replace(state);
        Box::pin(std::future::ready(()))
    }
}

type Offerer = (
    Box<dyn PeerConnection>,
    [Track; 2],
    watch::Receiver<RTCPeerConnectionState>,
);

async fn offerer(codec: Codec, addresses: Vec<SocketAddr>) -> anyhow::Result<Offerer> {
    let video = video_codec(codec);
    let audio = audio_codec();
    let mut media = MediaEngine::default();
    let retransmission = RTCRtpCodec {
        mime_type: "video/rtx".to_owned(),
        clock_rate: 90_000,
        sdp_fmtp_line: "apt=102".to_owned(),
        ..Default::default()
    };
    for (payload_type, rtp_codec, kind) in [
        (111, audio.clone(), RtpCodecKind::Audio),
        (102, video.clone(), RtpCodecKind::Video),
        (103, retransmission, RtpCodecKind::Video),
    ] {
        let parameters = RTCRtpCodecParameters {
            rtp_codec,
            payload_type,
        };
        media.register_codec(parameters, kind)?;
    }
    let registry = register_default_interceptors(Registry::new(), &mut media)?
        .with(Slot::from(LAST_SLOT), KeyFrameRequests::default());
    let (sender, state) = watch::channel(RTCPeerConnectionState::New);
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(States(sender)))
        .with_udp_addrs(addresses)
        .build()
        .await?;
    let tracks = [
        Track::new(RtpCodecKind::Video, video),
        Track::new(RtpCodecKind::Audio, audio),
    ];
    Ok((Box::new(connection), tracks, state))
}

async fn add(connection: &dyn PeerConnection, tracks: &[Track; 2]) -> anyhow::Result<Vec<Sender>> {
    let mut senders = Vec::new();
    for track in tracks {
        let track = track.local.clone() as Arc<dyn TrackLocal>;
        senders.push(Sender(connection.add_track(track).await?));
    }
    Ok(senders)
}

/// The offer, as soon as it is written: a server with a public address needs no candidates of ours.
async fn offer(connection: &dyn PeerConnection) -> anyhow::Result<String> {
    let offer = connection.create_offer(None).await?;
    let text = offer.sdp.clone();
    connection.set_local_description(offer).await?;
    // RFC 9725 §4.2: what is sent is only sent.
    Ok(text.replace("a=sendrecv\r\n", "a=sendonly\r\n"))
}

fn video_codec(codec: Codec) -> RTCRtpCodec {
    let (mime_type, sdp_fmtp_line) = match codec {
        Codec::H264 => (
            "video/H264",
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        Codec::Vp8 => ("video/VP8", ""),
    };
    let feedback = |(typ, parameter): (&str, &str)| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: 90_000,
        sdp_fmtp_line: sdp_fmtp_line.to_owned(),
        rtcp_feedback: [("ccm", "fir"), ("nack", ""), ("nack", "pli")]
            .map(feedback)
            .into(),
        ..Default::default()
    }
}

fn audio_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "audio/opus".to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        ..Default::default()
    }
}

/// All interfaces, and the loopback if that is how to reach the server.
fn bind_addresses(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let port = endpoint.url.port_or_known_default().unwrap_or(80);
    let local = endpoint.url.host_str().and_then(|host| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect((host.trim_matches(['[', ']']), port)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    match local {
        Some(ip @ IpAddr::V4(_)) if ip.is_loopback() => vec![SocketAddr::new(ip, 0), any],
        _ => vec![any],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_offer_is_one_that_a_browser_could_make() {
        for (codec, name) in [(Codec::H264, "H264/90000"), (Codec::Vp8, "VP8/90000")] {
            let loopback = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
            let (connection, tracks, _) = offerer(codec, loopback).await.unwrap();
            add(&*connection, &tracks).await.unwrap();
            let offer = offer(&*connection).await.unwrap();
            for line in [
                &format!("a=rtpmap:102 {name}"),
                "a=rtpmap:103 rtx/90000",
                "a=rtpmap:111 opus/48000/2",
                "a=rtcp-fb:102 nack pli",
                "a=sendonly",
                "a=setup:actpass",
                "a=group:BUNDLE 0 1",
                "a=rtcp-mux",
            ] {
                assert!(offer.contains(line), "{line} is not in\n{offer}");
            }
            assert!(!offer.contains("a=sendrecv"));
            connection.close().await.unwrap();
        }
    }
}
