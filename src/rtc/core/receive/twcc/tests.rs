//! Feedback read back with another parser.

use super::*;
use proptest::prelude::*;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, SymbolTypeTcc, TransportLayerCc,
};
use rtc_shared::marshal::Unmarshal;

/// Arrival times in µs since the epoch, by full sequence number, of one message.
fn read(message: &[u8]) -> (u16, Vec<Option<i64>>) {
    let parsed = TransportLayerCc::unmarshal(&mut &message[..]).expect("well-formed feedback");
    let mut symbols = Vec::new();
    for chunk in &parsed.packet_chunks {
        match chunk {
            PacketStatusChunk::RunLengthChunk(run) => {
                symbols.extend((0..run.run_length).map(|_| run.packet_status_symbol));
            }
            PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(&vector.symbol_list),
        }
    }
    symbols.truncate(usize::from(parsed.packet_status_count));
    let mut at = i64::from(parsed.reference_time) * 64_000;
    let mut deltas = parsed.recv_deltas.iter();
    let arrivals = symbols
        .iter()
        .map(|symbol| {
            (*symbol != SymbolTypeTcc::PacketNotReceived).then(|| {
                at += deltas.next().expect("a delta for each received").delta;
                at
            })
        })
        .collect();
    (parsed.base_sequence_number, arrivals)
}

#[test]
fn one_lost_between() {
    let epoch = Instant::now();
    let mut twcc = Twcc::new(epoch);
    twcc.on_packet(65535, epoch + Duration::from_millis(100));
    twcc.on_packet(1, epoch + Duration::from_millis(101));
    let due = twcc.poll_timeout().unwrap();
    assert_eq!(due, epoch + Duration::from_millis(150));
    let messages = twcc.feedback(1, 2, due);
    assert_eq!(messages.len(), 1);
    assert_eq!(
        read(&messages[0]),
        (65535, vec![Some(100_000), None, Some(101_000)])
    );
    assert_eq!(twcc.poll_timeout(), None);
}

#[test]
fn lost_between_two_feedbacks() {
    let epoch = Instant::now();
    let mut twcc = Twcc::new(epoch);
    twcc.on_packet(10, epoch);
    twcc.feedback(1, 2, epoch + INTERVAL);
    let later = epoch + Duration::from_secs(30);
    twcc.on_packet(13, later);
    let messages = twcc.feedback(1, 2, later + INTERVAL);
    assert_eq!(read(&messages[0]), (11, vec![None, None, Some(30_000_000)]));
}

proptest! {
    /// Whatever comes, each arrival is told once, within a tick of its time.
    #[test]
    fn tells_every_arrival(
        start in any::<u16>(),
        packets in proptest::collection::vec((1u16..400, 0u64..20_000_000), 1..200),
    ) {
        let epoch = Instant::now();
        let mut twcc = Twcc::new(epoch);
        let (mut number, mut at, mut sent) = (start, 0u64, Vec::new());
        for (step, wait_us) in packets {
            number = number.wrapping_add(step);
            at += wait_us;
            twcc.on_packet(number, epoch + Duration::from_micros(at));
            sent.push((number, at as i64));
        }
        let mut told = Vec::new();
        for message in twcc.feedback(1, 2, epoch + Duration::from_secs(9_000)) {
            prop_assert!(message.len() < 1200, "{} bytes", message.len());
            let (base, arrivals) = read(&message);
            for (i, arrival) in arrivals.into_iter().enumerate() {
                told.extend(arrival.map(|at| (base.wrapping_add(i as u16), at)));
            }
        }
        prop_assert_eq!(told.len(), sent.len());
        for ((number, at), (sent_number, sent_at)) in told.into_iter().zip(sent) {
            prop_assert_eq!(number, sent_number);
            prop_assert!((0..250).contains(&(sent_at - at)), "{at} for {sent_at}");
        }
    }
}
