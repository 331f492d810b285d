//! A real peer of another stack (the `webrtc` crate) publishes to the transport over loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amphi::room::{Codec, MediaKind};
use amphi::rtc::core::sdp::agreement::*;
use amphi::rtc::core::{CloseReason, Event, ReceivedRtp, SenderReport, Sink, TrackId};
use amphi::rtc::{ConnectionId, Rtc, Settings};
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::net::UdpSocket;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCSessionDescription, Registry, register_default_interceptors,
};

const PACKETS: u16 = 400;

/// What a sink was told.
#[derive(Default)]
struct Told {
    events: Vec<Event>,
    sequences: BTreeMap<TrackId, Vec<u16>>,
    payloads: BTreeMap<TrackId, Vec<Bytes>>,
    reports: usize,
    /// The sink is to fail at the next packet.
    faulty: bool,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Told>>);

impl Sink for Recorder {
    fn event(&mut self, event: Event) {
        self.0.lock().unwrap().events.push(event);
    }

    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp) {
        let faulty = self.0.lock().unwrap().faulty;
        assert!(!faulty, "a fault of the server");
        let mut told = self.0.lock().unwrap();
        told.sequences
            .entry(track)
            .or_default()
            .push(packet.sequence as u16);
        told.payloads.entry(track).or_default().push(packet.packet);
    }

    fn sender_report(&mut self, _: TrackId, _: SenderReport) {
        self.0.lock().unwrap().reports += 1;
    }
}

/// The sink tells all that a test wants to know.
struct Quiet;

impl PeerConnectionEventHandler for Quiet {}

struct Publisher {
    connection: Box<dyn PeerConnection>,
    video: Arc<TrackLocalStaticRTP>,
    audio: Arc<TrackLocalStaticRTP>,
    id: ConnectionId,
    told: Recorder,
    payload_types: [u8; 2],
}

const VIDEO: u32 = 0x1234;
const AUDIO: u32 = 0x5678;

fn track(kind: RtpCodecKind, mime: &str, clock_rate: u32, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            ..Default::default()
        },
        codec: RTCRtpCodec {
            mime_type: mime.to_owned(),
            clock_rate,
            channels: if clock_rate == 48_000 { 2 } else { 0 },
            ..Default::default()
        },
        ..Default::default()
    };
    let name = mime.replace('/', "-");
    let track = MediaStreamTrack::new(name.clone(), name.clone(), name, kind, vec![coding]);
    Arc::new(TrackLocalStaticRTP::new(track))
}

impl Publisher {
    /// Publishes to `rtc`, told that it is at `address`.
    async fn connect(rtc: &Rtc, address: SocketAddr) -> Self {
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Quiet))
            .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
            .build()
            .await
            .unwrap();
        let video = track(RtpCodecKind::Video, "video/VP8", 90_000, VIDEO);
        let audio = track(RtpCodecKind::Audio, "audio/opus", 48_000, AUDIO);
        connection
            .add_track(video.clone() as Arc<dyn TrackLocal>)
            .await
            .unwrap();
        connection
            .add_track(audio.clone() as Arc<dyn TrackLocal>)
            .await
            .unwrap();
        let offer = connection.create_offer(None).await.unwrap();
        let offer_text = offer.sdp.clone();
        connection.set_local_description(offer).await.unwrap();

        let (agreement, answer) = agree(&offer_text, rtc, address);
        let payload_types =
            [&agreement.media[0], &agreement.media[1]].map(|media| media.codecs[0].payload_type);
        let told = Recorder::default();
        let id = rtc.open(agreement, Box::new(told.clone())).await.unwrap();
        let answer = RTCSessionDescription::answer(answer).unwrap();
        connection.set_remote_description(answer).await.unwrap();
        let publisher = Self {
            connection: Box::new(connection),
            video,
            audio,
            id,
            told,
            payload_types,
        };
        publisher
            .until("connected", |told| told.events.contains(&Event::Connected))
            .await;
        publisher
    }

    async fn until(&self, what: &str, done: impl Fn(&Told) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&self.told.0.lock().unwrap()) {
            if Instant::now() > deadline {
                let told = self.told.0.lock().unwrap();
                let counts: Vec<_> = told.sequences.iter().map(|(t, s)| (t, s.len())).collect();
                panic!("never {what}: {:?}, {counts:?}", told.events);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn send(&self, packets: std::ops::Range<u16>) {
        for sequence in packets {
            let packet = |ssrc, payload_type, step: u32| rtc_rtp::Packet {
                header: rtc_rtp::Header {
                    version: 2,
                    payload_type,
                    sequence_number: sequence,
                    timestamp: u32::from(sequence) * step,
                    ssrc,
                    ..Default::default()
                },
                payload: Bytes::from(vec![sequence as u8; 900]),
            };
            let [video, audio] = self.payload_types;
            self.video
                .write_rtp(packet(VIDEO, video, 900))
                .await
                .unwrap();
            self.audio
                .write_rtp(packet(AUDIO, audio, 480))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
}

/// Reads the few lines of this one kind of offer, and answers it.
fn agree(offer: &str, rtc: &Rtc, address: SocketAddr) -> (Agreement, String) {
    let find = |section: &str, prefix: &str| -> Option<String> {
        section
            .lines()
            .find_map(|line| Some(line.trim().strip_prefix(prefix)?.to_owned()))
    };
    let fingerprint = find(offer, "a=fingerprint:sha-256 ").unwrap();
    let bytes: Vec<u8> = fingerprint
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let ours: Vec<String> = rtc
        .fingerprint()
        .0
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let ufrag = format!("a{:08x}", rand::random::<u32>());
    let local_ice = IceCredentials {
        ufrag,
        pwd: "a-password-of-24-letters".to_owned(),
    };
    let remote_ice = IceCredentials {
        ufrag: find(offer, "a=ice-ufrag:").unwrap(),
        pwd: find(offer, "a=ice-pwd:").unwrap(),
    };

    let mut answer =
        String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n");
    let sections: Vec<&str> = offer.split("\r\nm=").skip(1).collect();
    let mids: Vec<String> = sections
        .iter()
        .map(|s| find(s, "a=mid:").unwrap())
        .collect();
    answer += &format!("a=group:BUNDLE {}\r\n", mids.join(" "));
    let mut media = Vec::new();
    for (index, (section, mid)) in sections.iter().zip(&mids).enumerate() {
        let (kind, codec) = match section.starts_with("video") {
            true => (MediaKind::Video, Codec::Vp8),
            false => (MediaKind::Audio, Codec::Opus),
        };
        let named = format!(" {}/{}", codec.encoding_name(), codec.clock_rate()).to_lowercase();
        let payload_type = section.lines().find_map(|line| {
            let line = line.to_lowercase();
            let rest = line.strip_prefix("a=rtpmap:")?;
            rest.contains(&named)
                .then(|| rest.split(' ').next().unwrap().parse::<u8>().unwrap())
        });
        let payload_type = payload_type.unwrap();
        let rtx = section.lines().find_map(|line| {
            let (rtx, apt) = line.trim().strip_prefix("a=fmtp:")?.split_once(" apt=")?;
            (apt.parse::<u8>() == Ok(payload_type)).then(|| rtx.parse::<u8>().unwrap())
        });
        let extension = |uri: &str| {
            section.lines().find_map(|line| {
                let rest = line.trim().strip_prefix("a=extmap:")?;
                rest.ends_with(uri)
                    .then(|| rest.split([' ', '/']).next().unwrap().parse().unwrap())
            })
        };
        let extensions = Extensions {
            mid: extension("sdes:mid"),
            transport_cc: extension("transport-wide-cc-extensions-01"),
            ..Extensions::default()
        };
        let channels = if kind == MediaKind::Audio { "/2" } else { "" };
        let name = &section[..5];
        let list = rtx.map_or(String::new(), |rtx| format!(" {rtx}"));
        answer += &format!(
            "m={name} 9 UDP/TLS/RTP/SAVPF {payload_type}{list}\r\nc=IN IP4 0.0.0.0\r\n\
             a=mid:{mid}\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=setup:passive\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\n\
             a=rtpmap:{payload_type} {}/{}{channels}\r\n\
             a=rtcp-fb:{payload_type} nack\r\na=rtcp-fb:{payload_type} nack pli\r\n",
            local_ice.ufrag,
            local_ice.pwd,
            ours.join(":"),
            codec.encoding_name(),
            codec.clock_rate(),
        );
        if let Some(rtx) = rtx {
            answer += &format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
        }
        if let Some(id) = extensions.mid {
            answer += &format!("a=extmap:{id} urn:ietf:params:rtp-hdrext:sdes:mid\r\n");
        }
        answer += &format!(
            "a=candidate:1 1 udp 2130706431 {} {} typ host\r\na=end-of-candidates\r\n",
            address.ip(),
            address.port()
        );
        media.push(Media {
            index: index as u8,
            mid: mid.clone(),
            kind,
            is_screen: false,
            codecs: vec![CodecParameters {
                codec,
                payload_type,
                clock_rate: codec.clock_rate(),
                fmtp: String::new(),
                rtx_payload_type: rtx,
                nack: true,
                pli: true,
                transport_cc: true,
            }],
            rids: Vec::new(),
            ssrcs: Vec::new(),
            extensions,
        });
    }
    let agreement = Agreement {
        local_ice,
        remote_ice,
        remote_fingerprint: Fingerprint(bytes.try_into().unwrap()),
        dtls_role: DtlsRole::Server,
        media,
        sends: Vec::new(),
        has_data: false,
    };
    (agreement, answer)
}

fn start() -> Rtc {
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    Rtc::start(Settings {
        bind,
        ..Settings::default()
    })
    .unwrap()
}

/// Forwards between one peer and `server`; of the packets of media (both directions, RTCP too)
/// it loses one in `one_in`, by a seeded dice.
async fn lossy_relay(server: SocketAddr, one_in: u64) -> SocketAddr {
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 2000], [0; 2000]);
        let (mut peer, mut dice) = (None, 7u64);
        let mut lost = |datagram: &[u8]| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            datagram[0] >= 128 && (dice >> 33) % one_in == 0
        };
        loop {
            tokio::select! {
                Ok((len, from)) = front.recv_from(&mut up) => {
                    peer = Some(from);
                    if !lost(&up[..len]) {
                        let _ = back.send_to(&up[..len], server).await;
                    }
                }
                Ok((len, _)) = back.recv_from(&mut down) => {
                    if let (Some(peer), false) = (peer, lost(&down[..len])) {
                        let _ = front.send_to(&down[..len], peer).await;
                    }
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_a_good_network() {
    let rtc = start();
    let began = Instant::now();
    let publisher = Publisher::connect(&rtc, rtc.local_addr()).await;
    println!("connected after {:?}", began.elapsed());
    publisher.send(1000..1000 + PACKETS).await;
    let all = |told: &Told| told.sequences.values().map(Vec::len).sum::<usize>() >= 800;
    publisher.until("all packets", all).await;
    {
        let told = publisher.told.0.lock().unwrap();
        let expected: Vec<u16> = (1000..1000 + PACKETS).collect();
        for (track, sequences) in &told.sequences {
            assert_eq!(*sequences, expected, "{track:?}");
        }
        for packets in told.payloads.values() {
            assert!(
                packets
                    .iter()
                    .zip(&expected)
                    .all(|(p, s)| p.ends_with(&[*s as u8; 900]))
            );
        }
        assert_eq!(told.sequences.len(), 2);
        assert!(told.reports > 0, "no sender reports");
    }
    let stats = rtc.stats(publisher.id).await.unwrap();
    println!("{stats:?}");
    assert!(
        stats
            .tracks
            .iter()
            .all(|track| track.lost == 0 && track.packets == 400)
    );
    publisher.connection.close().await.unwrap();
    let closed = |told: &Told| matches!(told.events.last(), Some(Event::Closed(_)));
    publisher.until("closed", closed).await;
    println!("{:?}", publisher.told.0.lock().unwrap().events.last());
    rtc.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_ends_one_connection_alone() {
    let rtc = start();
    let unlucky = Publisher::connect(&rtc, rtc.local_addr()).await;
    let other = Publisher::connect(&rtc, rtc.local_addr()).await;
    unlucky.told.0.lock().unwrap().faulty = true;
    unlucky.send(0..10).await;
    let lost = |told: &Told| {
        told.events
            .contains(&Event::Closed(CloseReason::ConsentLost))
    };
    unlucky.until("closed", lost).await;
    other.send(0..PACKETS).await;
    let all = |told: &Told| told.sequences.values().map(Vec::len).sum::<usize>() >= 800;
    other.until("all packets", all).await;
    rtc.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retransmissions_heal_ten_percent_loss() {
    let rtc = start();
    let relay = lossy_relay(rtc.local_addr(), 10).await;
    let publisher = Publisher::connect(&rtc, relay).await;
    publisher.send(65_400..65_500).await;
    publisher.send(65_500..65_535).await;
    // Across the wrap, and a little tail that shows what was lost at the end.
    publisher.send(0..300).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let stats = rtc.stats(publisher.id).await.unwrap();
    println!("{stats:?}");
    let told = publisher.told.0.lock().unwrap();
    let video = &told.sequences[&TrackId(0)];
    let mut unique = video.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), video.len(), "each once");
    let lost = stats.tracks[0].lost;
    assert!(lost > 20, "the network was meant to lose more than {lost}");
    // 65535 was never sent, and is missed; the very first and the very last may be lost unseen.
    assert!(unique.len() >= 433, "{} of 435, {lost} lost", unique.len());
    drop(told);
    rtc.shutdown();
}
