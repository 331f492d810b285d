//! Tracks come and go; what is offered stays an offer that another parser reads.

use proptest::prelude::*;

use super::*;

fn published(kind: MediaKind, participant: u8) -> (String, Published) {
    let codec = match kind {
        MediaKind::Audio => Codec::Opus,
        MediaKind::Video if participant.is_multiple_of(2) => Codec::Vp8,
        MediaKind::Video => Codec::H264,
    };
    let name = format!("{participant}/{kind:?}");
    let fmtp = match codec {
        Codec::H264 => "packetization-mode=1;profile-level-id=42e01f",
        _ => "",
    };
    let track = Published {
        kind,
        codec,
        fmtp: fmtp.to_owned(),
        stream: participant.to_string(),
        track: name.clone(),
        ssrcs: (0, 0),
    };
    (name, track)
}

fn subscription() -> Subscription {
    fn count() -> u32 {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
    let ice = IceCredentials {
        ufrag: "ours".into(),
        pwd: "x".repeat(24),
    };
    Subscription::new(ice, count)
}

fn offer(subscription: &mut Subscription) -> String {
    subscription.offer(&[], &Fingerprint([7; 32]))
}

/// What a browser would answer: the same sections, taken.
fn taken(offer: &str) -> String {
    offer
        .replace("a=sendonly", "a=recvonly")
        .replace("a=setup:actpass", "a=setup:active")
}

#[test]
fn it_connects_before_there_is_anything_to_send() {
    let mut subscription = subscription();
    let text = offer(&mut subscription);
    assert_eq!(text.matches("a=inactive").count(), 2, "{text}");
    let agreement = subscription.answered(&taken(&text)).expect("agreed");
    assert_eq!(agreement.sends.len(), 2);
    assert_eq!(agreement.dtls_role, DtlsRole::Server);
    assert!(subscription.carried().all(|track| track.is_none()));
}

#[test]
fn tracks_come_go_and_leave_their_place_to_others() {
    let mut subscription = subscription();
    let ann = published(MediaKind::Video, 1);
    let bob = published(MediaKind::Video, 2);
    assert!(subscription.set_tracks(&[ann.clone(), bob.clone()]));
    assert!(!subscription.set_tracks(&[ann.clone(), bob.clone()]));
    let text = offer(&mut subscription);
    let agreement = subscription.answered(&taken(&text)).expect("agreed");
    let [_, first, second] = &agreement.sends[..] else {
        panic!("three sections: {text}");
    };
    assert_eq!((first.codec, second.codec), (Codec::H264, Codec::Vp8));
    assert_ne!(first.payload_type, second.payload_type);
    assert!(first.rtx.is_some() && first.transport_cc.is_some());
    assert_eq!(
        subscription.carried().collect::<Vec<_>>(),
        [None, Some("1/Video"), Some("2/Video")]
    );

    let cleo = published(MediaKind::Video, 4);
    assert!(subscription.set_tracks(&[bob, cleo]));
    let before = first.ssrc;
    let text = offer(&mut subscription);
    let agreement = subscription.answered(&taken(&text)).expect("agreed");
    assert_eq!(
        agreement.sends.len(),
        3,
        "the place of who left is used again"
    );
    assert_eq!(agreement.sends[1].ssrc, before);
    assert_eq!(subscription.mid_of("4/Video"), Some("1"));
}

#[test]
fn the_layers_of_av1_need_a_subscriber_who_takes_long_extensions() {
    let mut subscription = subscription();
    let (name, track) = published(MediaKind::Video, 1);
    let (codec, fmtp) = (Codec::Av1, String::new());
    let track = Published {
        codec,
        fmtp,
        ..track
    };
    subscription.set_tracks(&[(name, track)]);
    let text = taken(&offer(&mut subscription));
    let mut agreed = |answer: &str| {
        let agreement = subscription.answered(answer).expect("agreed");
        let descriptors = agreement
            .sends
            .iter()
            .map(|send| send.dependency_descriptor);
        descriptors.collect::<Vec<_>>()
    };
    assert_eq!(agreed(&text), [None, Some(5)]);
    assert_eq!(
        agreed(&text.replace("a=extmap-allow-mixed\r\n", "")),
        [None, None]
    );
}

#[test]
fn what_the_subscriber_refuses_is_not_sent() {
    let mut subscription = subscription();
    subscription.set_tracks(&[published(MediaKind::Video, 1)]);
    let text = offer(&mut subscription);
    let refused = taken(&text).replace("m=video 9", "m=video 0");
    subscription.answered(&refused).expect("agreed");
    assert!(subscription.carried().all(|track| track.is_none()));
    assert!(subscription.answered("nonsense").is_err());
}

proptest! {
    #[test]
    fn any_coming_and_going_is_a_sound_offer(
        rooms in proptest::collection::vec(proptest::collection::btree_set((0u8..12, any::<bool>()), 0..16), 1..8)
    ) {
        let mut subscription = subscription();
        let mut ssrcs = std::collections::BTreeMap::new();
        for room in rooms {
            let wanted: Vec<_> = room.iter().map(|(participant, video)| {
                published(if *video { MediaKind::Video } else { MediaKind::Audio }, *participant)
            }).collect();
            subscription.set_tracks(&wanted);
            let text = offer(&mut subscription);
            let agreement = subscription.answered(&taken(&text)).expect("agreed");
            let carried: Vec<_> = subscription.carried().flatten().collect();
            prop_assert_eq!(carried.len(), wanted.len());
            for (name, _) in &wanted {
                prop_assert!(carried.contains(&name.as_str()));
            }
            for (at, send) in agreement.sends.iter().enumerate() {
                // A section's source never changes, and no two have the same.
                prop_assert_eq!(*ssrcs.entry(send.ssrc).or_insert(at), at);
            }
        }
    }
}
