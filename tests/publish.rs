//! `amphi publish` sends to our own door, over loopback, as a stranger's client would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amphi::client::publish::{Codec, PublishArgs, run};
use amphi::room::{Codec as RoomCodec, RoomId};
use amphi::rtc::core::{Event, ReceivedRtp, SenderReport, Sink, TrackId};
use amphi::rtc::whip::{Admission, Admitted, PublishRequest, Refused, Settings, routes};
use amphi::rtc::{ConnectionId, Rtc};

/// What the room was told.
#[derive(Default)]
struct Told {
    events: Vec<Event>,
    packets: BTreeMap<TrackId, usize>,
    bytes: usize,
    /// First packets of VP8 key frames.
    vp8_keys: usize,
    reports: usize,
    connection: Option<ConnectionId>,
}

#[derive(Clone, Default)]
struct House(Arc<Mutex<Told>>);

impl Sink for House {
    fn event(&mut self, event: Event) {
        self.0.lock().unwrap().events.push(event);
    }

    fn rtp(&mut self, track: TrackId, packet: ReceivedRtp) {
        let mut told = self.0.lock().unwrap();
        *told.packets.entry(track).or_default() += 1;
        told.bytes += packet.packet.len();
        told.vp8_keys += usize::from(begins_vp8_key_frame(&packet.packet));
    }

    fn sender_report(&mut self, _: TrackId, _: SenderReport) {
        self.0.lock().unwrap().reports += 1;
    }
}

/// Whether the packet starts a VP8 frame that needs no other (RFC 7741 §4.2, §4.3).
fn begins_vp8_key_frame(packet: &bytes::Bytes) -> bool {
    use rtc::shared::marshal::Unmarshal;
    let packet = rtc::rtp::Packet::unmarshal(&mut packet.clone()).unwrap();
    let begins = |payload: &[u8]| payload.len() > 3 && payload[0] == 0x10 && payload[1] & 1 == 0;
    packet.header.payload_type == 102 && begins(&packet.payload)
}

impl Admission for House {
    fn authorize(&self, _: &RoomId, bearer: Option<&str>) -> Result<(), Refused> {
        match bearer {
            Some("sesame") => Ok(()),
            _ => Err(Refused::Unauthorized("Say the word.".to_owned())),
        }
    }

    fn admit(&self, request: PublishRequest<'_>) -> Result<Admitted, Refused> {
        assert_eq!(request.name.as_deref(), Some("Ann"));
        let told = self.0.clone();
        Ok(Admitted {
            sink: Box::new(self.clone()),
            on_open: Box::new(move |id| told.lock().unwrap().connection = Some(id)),
        })
    }
}

/// A house with a door, and the door's URL.
async fn open() -> (House, Rtc, String) {
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let rtc = Rtc::start(amphi::rtc::Settings {
        bind,
        ..Default::default()
    })
    .unwrap();
    let house = House::default();
    let settings = Settings {
        codecs: vec![RoomCodec::H264, RoomCodec::Vp8, RoomCodec::Opus],
        ..Settings::default()
    };
    let door = routes(Arc::new(house.clone()), rtc.clone(), settings);
    let listener = tokio::net::TcpListener::bind(bind).await.unwrap();
    let url = format!("http://{}/whip/lobby", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, door).await });
    (house, rtc, url)
}

fn arguments(url: &str, codec: Codec, token: &str) -> PublishArgs {
    PublishArgs {
        source: "test".to_owned(),
        whip: url.parse().unwrap(),
        token: Some(token.to_owned()),
        name: Some("Ann".to_owned()),
        codec,
        length: Some(Duration::from_secs(5)),
        once: false,
        size: (640, 360),
        bitrate: 500,
        rehearse: None,
    }
}

async fn check(codec: Codec) {
    let (house, rtc, url) = open().await;
    let publishing = tokio::task::spawn_blocking(move || run(arguments(&url, codec, "sesame")));
    publishing.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = house.0.lock().unwrap();
    println!(
        "{:?} {:?} {} reports",
        told.events, told.packets, told.reports
    );
    assert!(told.events.contains(&Event::Connected));
    assert!(
        matches!(told.events.last(), Some(Event::Closed(_))),
        "not deleted"
    );
    assert_eq!(told.packets.len(), 2);
    assert!(told.packets.values().all(|count| *count > 100));
    let kbps = told.bytes * 8 / 5000;
    assert!((150..1000).contains(&kbps), "{kbps} kbit/s");
    assert!(told.reports > 0, "no sender reports");
    rtc.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_and_opus_arrive_and_the_end_is_told() {
    check(Codec::H264).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vp8_and_opus_arrive_and_the_end_is_told() {
    check(Codec::Vp8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_frames_come_when_the_server_asks() {
    let (house, rtc, url) = open().await;
    let publishing =
        tokio::task::spawn_blocking(move || run(arguments(&url, Codec::Vp8, "sesame")));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let (connection, before) = {
        let told = house.0.lock().unwrap();
        (told.connection.unwrap(), told.vp8_keys)
    };
    rtc.request_key_frame(connection, TrackId(0));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let after = house.0.lock().unwrap().vp8_keys;
    assert!(before >= 1, "none to begin with");
    assert_eq!(after, before + 1);
    publishing.await.unwrap().unwrap();
    rtc.shutdown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_final_and_says_why() {
    let (_, rtc, url) = open().await;
    let publishing =
        tokio::task::spawn_blocking(move || run(arguments(&url, Codec::H264, "mellon")));
    let error = publishing.await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("401") && error.contains("Say the word."),
        "{error}"
    );
    rtc.shutdown();
}
