//! Offers of real clients, answered; and strangers' text, survived.

use proptest::prelude::*;

use super::agreement::{Fingerprint, IceCredentials};
use super::*;
use crate::room::{Codec, MediaKind};
use crate::rtc::core::ice::Transport;

const OFFER: &str = "v=0\r\n\
o=- 4611731400430051336 2 IN IP4 127.0.0.1\r\n\
s=-\r\n\
t=0 0\r\n\
a=group:BUNDLE 0 1\r\n\
a=extmap-allow-mixed\r\n\
a=msid-semantic: WMS stream\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n\
c=IN IP4 0.0.0.0\r\n\
a=rtcp:9 IN IP4 0.0.0.0\r\n\
a=ice-ufrag:EsAw\r\n\
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
a=ice-options:trickle\r\n\
a=fingerprint:sha-256 DA:7B:57:DC:28:CE:04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:AE:ED:AD:30:BC:BD:F1:9C:02\r\n\
a=setup:actpass\r\n\
a=mid:0\r\n\
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
a=sendonly\r\n\
a=rtcp-mux\r\n\
a=rtcp-rsize\r\n\
a=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:63 red/48000/2\r\n\
a=fmtp:63 111/111\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 102 103 96 97\r\n\
c=IN IP4 0.0.0.0\r\n\
a=ice-ufrag:EsAw\r\n\
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
a=fingerprint:sha-256 DA:7B:57:DC:28:CE:04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:AE:ED:AD:30:BC:BD:F1:9C:02\r\n\
a=setup:actpass\r\n\
a=mid:1\r\n\
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
a=sendonly\r\n\
a=rtcp-mux\r\n\
a=rtpmap:102 H264/90000\r\n\
a=rtcp-fb:102 nack\r\n\
a=rtcp-fb:102 nack pli\r\n\
a=rtcp-fb:102 transport-cc\r\n\
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
a=rtpmap:103 rtx/90000\r\n\
a=fmtp:103 apt=102\r\n\
a=rtpmap:96 VP8/90000\r\n\
a=rtpmap:97 rtx/90000\r\n\
a=fmtp:97 apt=96\r\n\
a=ssrc-group:FID 2231627014 632943048\r\n\
a=ssrc:2231627014 cname:x\r\n\
a=ssrc:632943048 cname:x\r\n";

fn settings() -> AnswerSettings {
    AnswerSettings {
        codecs: vec![Codec::H264, Codec::Vp8, Codec::Opus],
        start_bitrate_kbps: 2500,
        candidates: vec![Candidate {
            transport: Transport::Udp,
            address: "192.0.2.1:8189".parse().expect("an address"),
        }],
        fingerprint: Fingerprint([0xAB; 32]),
    }
}

fn local() -> IceCredentials {
    IceCredentials {
        ufrag: "ours".into(),
        pwd: "x".repeat(24),
    }
}

fn answered(offer: &str) -> Result<(String, Agreement), OfferError> {
    answer(&Offer::parse(offer)?, local(), &settings())
}

#[test]
fn a_browsers_offer_is_agreed_on() {
    let (text, agreement) = answered(OFFER).expect("answered");
    assert_eq!(agreement.remote_ice.ufrag, "EsAw");
    assert_eq!(agreement.remote_fingerprint.0[..2], [0xDA, 0x7B]);
    let [audio, video] = &agreement.media[..] else {
        panic!("two sections")
    };
    assert_eq!(
        (audio.codecs[0].codec, audio.codecs[0].payload_type),
        (Codec::Opus, 111)
    );
    assert_eq!(audio.extensions.audio_level, Some(1));
    let codec = &video.codecs[0];
    assert_eq!(
        (codec.codec, codec.payload_type, codec.rtx_payload_type),
        (Codec::H264, 102, Some(103))
    );
    assert!(codec.nack && codec.pli && codec.transport_cc);
    assert_eq!(video.ssrcs.len(), 1);
    assert_eq!(
        (video.ssrcs[0].media, video.ssrcs[0].rtx),
        (2231627014, Some(632943048))
    );
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "a=setup:passive",
        "a=recvonly",
        "a=rtcp-rsize",
        "m=video 9 UDP/TLS/RTP/SAVPF 102 103",
        "a=rtpmap:111 opus/48000/2",
        "a=end-of-candidates",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host",
        "a=rtcp-fb:102 nack pli",
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f;x-google-start-bitrate=2500;x-google-min-bitrate=1000",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    assert!(Offer::parse(&text).is_ok(), "our own answer is SDP");
}

#[test]
fn the_offers_order_decides_the_codec() {
    let vp8_first = OFFER.replace("SAVPF 102 103 96 97", "SAVPF 96 97 102 103");
    let (_, agreement) = answered(&vp8_first).expect("answered");
    assert_eq!(agreement.media[1].codecs[0].codec, Codec::Vp8);
}

#[test]
fn the_descriptor_of_layers_is_agreed_on() {
    let extmap = "a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
    let with = OFFER.replace("a=mid:1\r\n", &format!("a=mid:1\r\n{extmap}\r\n"));
    let (_, agreement) = answered(&with).expect("answered");
    assert_eq!(agreement.media[1].codecs[0].codec, Codec::H264);
    assert_eq!(
        agreement.media[1].extensions.dependency_descriptor,
        Some(12)
    );
    let vp8 = with.replace("SAVPF 102 103 96 97", "SAVPF 96 97 102 103");
    let (text, _) = answered(&vp8).expect("answered");
    assert!(!text.contains(extmap), "VP8 says it in the payload");
    let av1 = with.replace("VP8/90000", "AV1/90000");
    let av1 = av1.replace("SAVPF 102 103 96 97", "SAVPF 96 97");
    let mut settings = settings();
    settings.codecs.push(Codec::Av1);
    let answered = |text: &str| {
        let offer = Offer::parse(text).expect("an offer");
        answer(&offer, local(), &settings).expect("answered")
    };
    let (text, agreement) = answered(&av1);
    assert_eq!(
        agreement.media[1].extensions.dependency_descriptor,
        Some(12)
    );
    // The descriptor of a key frame is longer than the short form of extensions.
    for line in [extmap, "a=extmap-allow-mixed"] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    let (text, _) = answered(&av1.replace("a=extmap-allow-mixed\r\n", ""));
    assert!(!text.contains("a=extmap-allow-mixed"));
}

#[test]
fn what_does_not_send_is_rejected_in_its_place() {
    let receiving = OFFER.replacen("a=sendonly", "a=recvonly", 1);
    let (text, agreement) = answered(&receiving).expect("the video is taken");
    assert_eq!(agreement.media.len(), 1);
    assert!(
        text.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111 63\r\n"),
        "{text}"
    );
    assert!(text.contains("a=group:BUNDLE 1\r\n"));
    let all = OFFER.replace("a=sendonly", "a=recvonly");
    assert_eq!(answered(&all).map(drop), Err(OfferError::SendsNothing));
}

/// RFC 9725 §4.4.3: no partial success.
#[test]
fn what_is_sent_and_cannot_be_taken_fails_the_whole() {
    let check = |from: &str, to: &str, expect: &str| {
        let error = answered(&OFFER.replace(from, to)).expect_err("refused");
        let is_it = matches!(&error, OfferError::NotTaken { media, .. } if media == expect);
        assert!(is_it, "{from} → {to}: {error}");
        assert!(error.to_string().contains("H264, VP8"), "{error}");
    };
    check("opus/48000", "G722/8000", "audio");
    check("opus/48000", "opus/44100", "audio");
    check("SAVPF 102 103 96 97", "SAVPF 98 99", "video");
    check("m=video 9 UDP/TLS/", "m=video 9 ", "video");
    check("a=rtcp-mux\r\na=rtcp-rsize\r\n", "", "audio");
}

/// RFC 9725 §4.4.1: one transport for all.
#[test]
fn all_that_is_sent_is_bundled() {
    let apart = OFFER.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0");
    assert_eq!(
        answered(&apart).map(drop),
        Err(OfferError::NotBundled("1".to_owned()))
    );
    let without = OFFER.replace("a=group:BUNDLE 0 1\r\n", "");
    assert_eq!(
        answered(&without).map(drop),
        Err(OfferError::NotBundled("0".to_owned()))
    );
    let (audio, _) = without.split_once("m=video").expect("a video section");
    let (text, _) = answered(audio).expect("one section needs no group");
    assert!(!text.contains("BUNDLE"), "{text}");
}

#[test]
fn the_fingerprint_of_sha_256_is_found_among_others() {
    let line = "a=fingerprint:sha-256 DA";
    let two = OFFER.replace(line, &format!("a=fingerprint:sha-1 AB:CD\r\n{line}"));
    let (_, agreement) = answered(&two).expect("answered");
    assert_eq!(agreement.remote_fingerprint.0[0], 0xDA);
}

#[test]
fn a_bad_offer_is_an_error_that_says_why() {
    let check = |text: &str, expect: &str| {
        let error = Offer::parse(text).expect_err("bad").to_string();
        assert!(error.contains(expect), "{error}");
    };
    check("", "not SDP");
    check("hello", "not SDP");
    check(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        "no media section",
    );
    check(&OFFER.replace("a=ice-ufrag:EsAw\r\n", ""), "a=ice-ufrag");
    check(
        &OFFER.replace("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "a=ice-pwd:short"),
        "a=ice-pwd",
    );
    check(&OFFER.replace("sha-256 DA:", "sha-1 DA:"), "sha-256");
    check(&OFFER.replace("DA:7B", "DA:7"), "sha-256");
    check(
        &OFFER.replace("useinbandfec=1", "x\ra=y"),
        "carriage return",
    );
    check(&"a".repeat(300_000), "longer");
}

#[test]
fn sends_tells_audio_from_video() {
    let offer = Offer::parse(OFFER).expect("good");
    assert!(offer.sends(MediaKind::Audio) && offer.sends(MediaKind::Video));
}

/// RFC 9725 §4.3.1 and §4.3.2, the examples.
#[test]
fn fragments() {
    let restart = "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=mid:0\r\na=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n";
    let parsed = Fragment::parse(restart).expect("good");
    assert_eq!(parsed.ice.map(|ice| ice.ufrag).as_deref(), Some("ysXw"));
    assert_eq!(parsed.candidates, 1);
    for bad in [
        "",
        "hello",
        "a=ice-ufrag:ysXw\r\n",
        "aa=b\r\n",
        "a=ice-ufrag:\r\na=ice-pwd:\r\n",
    ] {
        assert!(Fragment::parse(bad).is_err(), "{bad:?}");
    }
    let ours = fragment::restart_answer("audio", "0", "0 1", &local(), &settings().candidates);
    assert_eq!(Fragment::parse(&ours).expect("good").ice, Some(local()));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,400}") {
        let _ = Offer::parse(&text);
        let _ = Fragment::parse(&text);
    }

    /// A real offer with some bytes changed is answered or refused.
    #[test]
    fn no_damaged_offer_panics(at in 0..OFFER.len(), with in "[ -~\r\n]{0,6}", cut in 0..40usize) {
        let mut text = OFFER.to_owned();
        text.replace_range(at..(at + cut).min(OFFER.len()), &with);
        let _ = answered(&text);
    }
}
