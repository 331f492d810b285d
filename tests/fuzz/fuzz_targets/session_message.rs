//! What a client says in its session, and its answers to our offers.
#![no_main]

use amphi::room::{Codec, MediaKind};
use amphi::rtc::core::sdp::agreement::{Fingerprint, IceCredentials};
use amphi::rtc::core::sdp::{Offer, Published, Subscription, fragment};
use amphi::rtc::session::messages::ClientMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let sdp = match ClientMessage::read(text) {
        Ok(ClientMessage::Answer { sdp, .. }) => sdp,
        Ok(_) | Err(_) => text.to_owned(),
    };
    assert!(fragment::candidates(&sdp).len() <= 32);
    let ice = IceCredentials {
        ufrag: "abcd".to_owned(),
        pwd: "0123456789012345678901".to_owned(),
    };
    let mut subscription = Subscription::new(ice, || 7);
    let track = Published {
        kind: MediaKind::Video,
        codec: Codec::Vp8,
        fmtp: String::new(),
        stream: "ann".to_owned(),
        track: "ann/0".to_owned(),
        ssrcs: (1, 2),
    };
    subscription.set_tracks(&[("ann/0".to_owned(), track)]);
    let offer = subscription.offer(&[], &Fingerprint([7; 32]));
    assert!(Offer::parse(&offer).is_ok(), "our own offer does not read:\n{offer}");
    if let Ok(agreement) = subscription.answered(&sdp) {
        // A section of ours for each of theirs, whatever they say.
        assert_eq!(agreement.sends.len(), 2);
    }
});
