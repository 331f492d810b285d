//! A subscriber that is sent media, and answers what it likes: RTCP, decrypted, over time.
//! The script: for each message the milliseconds before it, its length, and itself.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use amphi::room::{Codec, MediaKind};
use amphi::rtc::core::dtls::Identity;
use amphi::rtc::core::ice::Path;
use amphi::rtc::core::outbox::Outbox;
use amphi::rtc::core::receive::payload::Content;
use amphi::rtc::core::rtcp;
use amphi::rtc::core::sdp::agreement::{Rtx, SendMedia};
use amphi::rtc::core::send::sender::Sender;
use amphi::rtc::core::send::track::{Slot, Wire};
use amphi::rtc::core::srtp::{Srtp, keying_material_len};
use amphi::rtc::core::{LayerInfo, ReceivedRtp};
use libfuzzer_sys::fuzz_target;
use rtc_srtp::protection_profile::ProtectionProfile;

const PROFILE: ProtectionProfile = ProtectionProfile::AeadAes128Gcm;

/// Datagrams of one round: what was forwarded, what is sent again, a probe.
const MAX_SENT: usize = 1000;

fuzz_target!(|script: &[u8]| {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Identity::generate().expect("a certificate"));
    let keys: Vec<u8> = (0..keying_material_len(PROFILE) as u8).collect();
    let crypto = identity.provider.crypto();
    let mut srtp = Srtp::new(PROFILE, &keys, false, crypto).expect("keys");
    let mut now = Instant::now();
    let mut sender = Sender::new("fuzz".to_owned());
    let media = |kind, ssrc| SendMedia {
        mid: "0".to_owned(),
        kind,
        codec: match kind {
            MediaKind::Audio => Codec::Opus,
            MediaKind::Video => Codec::Vp8,
        },
        payload_type: 96,
        clock_rate: 90_000,
        nack: true,
        rtx: (kind == MediaKind::Video).then_some(Rtx {
            payload_type: 97,
            ssrc: ssrc + 1,
        }),
        ssrc,
        transport_cc: Some(2),
        audio_level: None,
        color_space: None,
        dependency_descriptor: None,
    };
    sender.agree(vec![media(MediaKind::Video, 1), media(MediaKind::Audio, 3)], || 5);
    sender.on_connected(now);
    let layer = LayerInfo {
        height_px: 360,
        bitrate_bps: 500_000,
        thinner_bps: Default::default(),
        running: true,
    };
    sender.set_source(Slot(0), Some(vec![layer; 3]), now);
    sender.set_source(Slot(1), Some(vec![]), now);
    let mut outbox = Outbox::default();
    let mut rest = script;
    let mut sequence = 70_000;
    while let [wait_ms, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (message, after) = tail.split_at(len);
        now += Duration::from_millis((*wait_ms).into());
        for message in rtcp::parse(message) {
            sender.handle_rtcp(&message, now);
        }
        sender.handle_timeout(now);
        sequence += 1;
        let packet = Arc::new(ReceivedRtp {
            arrival: now,
            packet: vec![7; 200].into(),
            header_len: 12,
            sequence,
            timestamp: sequence as u32 * 90,
            marker: true,
            completes: true,
            layer: *wait_ms % 3,
            content: Content {
                starts_key_frame: *low % 2 == 0,
                ..Content::default()
            },
            audio_level: None,
            color_space: None,
            dependency_descriptor: None,
        });
        let mut wire = Wire {
            srtp: &mut srtp,
            path: Path::udp(([192, 0, 2, 1], 9).into(), None),
            outbox: &mut outbox,
        };
        sender.forward(Slot(0), [&packet].into_iter(), &mut wire, now);
        sender.forward(Slot(1), [&packet].into_iter(), &mut wire, now);
        sender.flush(&mut wire, now);
        assert!(outbox.iter().count() < MAX_SENT, "a message makes us send without end");
        outbox.clear();
        while sender.poll_transmit().is_some() {}
        while sender.poll_event().is_some() {}
        rest = after;
    }
    let _ = sender.stats();
});
