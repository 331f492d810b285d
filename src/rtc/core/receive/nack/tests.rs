//! NACK by script, and under any loss and reorder.

use super::*;
use crate::rtc::core::receive::sequence::{Arrival, Sequence};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const RTT: Duration = Duration::from_millis(20);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn asks_after_the_grace_and_again_until_it_gives_up() {
    let (mut nack, start) = (Nack::default(), Instant::now());
    nack.on_new(13, 2, start);
    assert_eq!(nack.due(start + ms(9), RTT), Vec::<u64>::new());
    assert_eq!(nack.due(start + ms(10), RTT), [11, 12]);
    assert_eq!(
        nack.on_late(12, start + ms(30)),
        Some(Filled {
            asked: true,
            round_trip: Some(ms(20))
        })
    );
    assert_eq!(nack.due(start + ms(50), RTT), [11]);
    assert!(!nack.take_gave_up());
    assert_eq!(nack.due(start + ms(600), RTT), Vec::<u64>::new());
    assert!(nack.take_gave_up());
    assert_eq!((nack.abandoned(), nack.poll_timeout()), (1, None));
}

#[test]
fn only_one_request_measures_a_round_trip() {
    let (mut nack, start) = (Nack::default(), Instant::now());
    nack.on_new(12, 1, start);
    nack.due(start + ms(10), RTT);
    nack.due(start + ms(50), RTT);
    assert_eq!(
        nack.on_late(11, start + ms(55)),
        Some(Filled {
            asked: true,
            round_trip: None
        })
    );
}

#[test]
fn an_outage_is_not_asked_for() {
    let (mut nack, start) = (Nack::default(), Instant::now());
    nack.on_new(1000, MAX_GAP + 1, start);
    assert_eq!(nack.poll_timeout(), None);
    assert!(nack.take_gave_up());
}

proptest! {
    /// Any loss, duplication and reorder of the first sending; the sender answers a request
    /// after RTT, with `answer_loss` in 256. No packet is asked for that came, every lost one is
    /// asked for, at most MAX_TRIES times, and all end either filled or abandoned.
    #[test]
    fn under_any_loss_and_reorder(
        fates in proptest::collection::vec((any::<u8>(), 0u64..30), 50..300),
        answer_loss in 0u8..120,
        loss in 0u8..120,
    ) {
        let start = Instant::now();
        let mut wire: BTreeMap<(Duration, usize), u64> = BTreeMap::new();
        for (i, (fate, delay)) in fates.iter().enumerate() {
            // The first and the last always come: only holes between can be known.
            let edge = i == 0 || i + 1 == fates.len();
            if edge || *fate >= loss {
                let delay = if edge { 0 } else { *delay };
                wire.insert((ms(5 * i as u64 + delay), i), 100_000 + i as u64);
            }
        }
        let (mut nack, mut sequence) = (Nack::default(), Sequence::default());
        let (mut came, mut asked) = (BTreeSet::new(), BTreeMap::<u64, u32>::new());
        let mut dice = 0usize;
        while !wire.is_empty() || nack.poll_timeout().is_some() {
            let packet_at = wire.keys().next().map(|(at, _)| start + *at);
            let timer = nack.poll_timeout();
            let now = packet_at.into_iter().chain(timer).min().unwrap();
            if packet_at == Some(now) {
                let (_, number) = wire.pop_first().unwrap();
                came.insert(number);
                match sequence.insert(number) {
                    Arrival::New { gap } => nack.on_new(number, gap, now),
                    Arrival::Late => { nack.on_late(number, now); }
                    Arrival::Duplicate | Arrival::TooOld => {}
                }
            } else {
                for number in nack.due(now, RTT) {
                    prop_assert!(!came.contains(&number), "{number} came and was asked for");
                    *asked.entry(number).or_default() += 1;
                    dice += 1;
                    if fates[dice % fates.len()].0 >= answer_loss {
                        let at = now.duration_since(start) + RTT;
                        wire.insert((at, 1_000_000 + dice), number);
                    }
                }
            }
        }
        prop_assert!(asked.values().all(|tries| *tries <= u32::from(MAX_TRIES)));
        let first = 100_000;
        for number in first..first + fates.len() as u64 {
            prop_assert!(came.contains(&number) || asked.contains_key(&number));
        }
        let absent = fates.len() as u64 - came.len() as u64;
        prop_assert!(nack.abandoned() >= absent);
    }
}
