//! A peer that opens the association, over packets that are lost at will.

use proptest::prelude::*;
use rtc_sctp::ClientConfig;

use super::*;

struct Peer {
    association: Association,
    handle: AssociationHandle,
    endpoint: Endpoint,
    got: Vec<String>,
    acknowledged: usize,
}

struct World {
    ours: Data,
    peer: Peer,
    now: Instant,
    events: Vec<DataEvent>,
    /// Whether the next packet is lost, in turn.
    losses: VecDeque<bool>,
}

impl World {
    fn new(losses: Vec<bool>) -> Self {
        let now = Instant::now();
        let config = Arc::new(EndpointConfig::new());
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, config, None);
        let timers = TimerConfig {
            max_t3_rtx_retrans: usize::MAX,
            ..TimerConfig::default()
        };
        let transport = TransportConfig::default().with_timer_config(timers);
        let client = ClientConfig::new(transport);
        let (handle, association) = endpoint.connect(now, client, PEER).expect("begins");
        Self {
            ours: Data::default(),
            peer: Peer {
                association,
                handle,
                endpoint,
                got: Vec::new(),
                acknowledged: 0,
            },
            now,
            events: Vec::new(),
            losses: losses.into(),
        }
    }

    fn is_lost(&mut self) -> bool {
        self.losses.pop_front().unwrap_or(false)
    }

    /// Lets packets and time go by.
    fn run(&mut self, seconds: u64) {
        let until = self.now + std::time::Duration::from_secs(seconds);
        while self.now < until {
            while let Some(transmit) = self.peer.association.poll_transmit(self.now) {
                let Payload::RawEncode(packets) = transmit.message else {
                    continue;
                };
                for packet in packets {
                    if !self.is_lost() {
                        self.ours.handle(packet, self.now);
                    }
                }
            }
            while let Some(packet) = self.ours.poll_transmit() {
                if self.is_lost() {
                    continue;
                }
                let came = self.peer.endpoint.handle(self.now, PEER, None, packet);
                if let Some((handle, DatagramEvent::AssociationEvent(event))) = came
                    && handle == self.peer.handle
                {
                    self.peer.association.handle_event(event);
                }
            }
            self.events
                .extend(std::iter::from_fn(|| self.ours.poll_event()));
            self.peer.read();
            self.now += std::time::Duration::from_millis(20);
            self.peer.association.handle_timeout(self.now);
            self.ours.handle_timeout(self.now);
        }
    }
}

impl Peer {
    fn read(&mut self) {
        while self.association.poll().is_some() {}
        let Ok(mut stream) = self.association.stream(CHANNEL) else {
            return;
        };
        while let Ok(Some(message)) = stream.read() {
            let payload = message.to_payload(1 << 20).expect("short");
            match message.ppi {
                Ppi::Dcep => self.acknowledged += 1,
                _ => self
                    .got
                    .push(String::from_utf8(payload.to_vec()).expect("text")),
            }
        }
    }

    fn say(&mut self, ppi: Ppi, payload: &[u8], now: Instant) {
        if self.association.stream(CHANNEL).is_err() {
            let _ = self.association.open_stream(CHANNEL, Ppi::String);
        }
        let mut stream = self.association.stream(CHANNEL).expect("open");
        stream.write_with_ppi(now, payload, ppi).expect("sent");
    }
}

#[test]
fn both_sides_are_heard_and_a_channel_that_the_peer_opens_is_acknowledged() {
    let mut world = World::new(Vec::new());
    world.ours.send("too early".into(), world.now);
    world.run(1);
    let unsent = DataEvent::Unsent("too early".into());
    assert_eq!(world.events, [unsent, DataEvent::Opened]);
    let open = [&[OPEN, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0][..], b"room"].concat();
    world.peer.say(Ppi::Dcep, &open, world.now);
    world.peer.say(Ppi::String, b"hello", world.now);
    world.ours.send("who is there?".into(), world.now);
    world.run(1);
    assert_eq!(world.events[2..], [DataEvent::Message("hello".into())]);
    assert_eq!(world.peer.got, ["who is there?"]);
    assert_eq!(world.peer.acknowledged, 1);
}

#[test]
fn a_peer_that_takes_nothing_cannot_make_it_grow() {
    let mut world = World::new(Vec::new());
    world.run(1);
    world.losses = vec![true; 100_000].into();
    let text = "x".repeat(10_000);
    for _ in 0..1000 {
        world.ours.send(text.clone(), world.now);
    }
    let unsent = std::iter::from_fn(|| world.ours.poll_event()).count();
    assert!(unsent > 960, "{unsent}");
}

#[test]
fn what_is_too_long_or_no_text_is_left_out() {
    let mut world = World::new(Vec::new());
    world.run(1);
    let long = vec![b'x'; MAX_MESSAGE as usize + 1];
    world.peer.say(Ppi::String, &long, world.now);
    world.peer.say(Ppi::Binary, &[0xFF, 0xFE], world.now);
    world.peer.say(Ppi::String, b"short", world.now);
    world.run(1);
    assert_eq!(world.events[1..], [DataEvent::Message("short".into())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn messages_come_through_loss_in_their_order(losses in proptest::collection::vec(proptest::bool::weighted(0.2), 0..60)) {
        let mut world = World::new(losses);
        // Before the association is made, each loss doubles the wait.
        world.run(200);
        prop_assert_eq!(&world.events, &[DataEvent::Opened]);
        for n in 0..5 {
            let now = world.now;
            world.peer.say(Ppi::String, format!("theirs {n}").as_bytes(), now);
            world.ours.send(format!("ours {n}"), now);
        }
        // And then: five in a row are a minute.
        world.run(600);
        let theirs: Vec<_> = (0..5).map(|n| DataEvent::Message(format!("theirs {n}"))).collect();
        prop_assert_eq!(&world.events[1..], &theirs[..]);
        let ours: Vec<_> = (0..5).map(|n| format!("ours {n}")).collect();
        prop_assert_eq!(&world.peer.got, &ours);
    }

    #[test]
    fn survives(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut data = Data::default();
        for packet in packets {
            data.handle(Bytes::from(packet), Instant::now());
        }
    }
}
