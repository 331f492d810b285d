//! A listener of three speakers behind a simulated network: what of the sound is concealed, and
//! how the pictures fare. Time is simulated too, so each run gives the same figures.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use super::*;
use crate::rtc::core::receive::rate::Rate;

const SPEAKERS: usize = 3;
const TICK: Duration = Duration::from_millis(1);
const PTIME: Duration = Duration::from_millis(20);
const FRAME: Duration = Duration::from_millis(33);
const FEEDBACK: Duration = Duration::from_millis(50);
const SOUND_BYTES: usize = 120;
const ONE_WAY: Duration = Duration::from_millis(10);
/// What waits longer in the bottleneck is dropped.
const QUEUE: Duration = Duration::from_millis(300);

/// Height, bps, and how many frames' worth a key frame is.
const LAYERS: [(u16, u64, usize); 3] =
    [(180, 120_000, 10), (360, 500_000, 10), (720, 1_800_000, 8)];

#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    /// 0: as wide as can be.
    bps: u64,
    loss_percent: u32,
    jitter: Duration,
}

/// One camera's layer.
#[derive(Default)]
struct Encoder {
    sequence: u64,
    key_wanted: bool,
    key_sent: Option<Instant>,
    rate: Rate,
}

/// As a browser plays sound: late packets are concealed, and then waited for; the wait shrinks
/// again when it was not needed.
#[derive(Default)]
struct Playout {
    begin: Option<(Instant, u64)>,
    wait: Duration,
    got: BTreeSet<u64>,
    known: BTreeSet<u64>,
    highest: Option<u64>,
    /// The next to play, and how much earlier than it must the packets of late have come.
    next: u64,
    spare: VecDeque<Duration>,
    asked: BTreeMap<u64, Instant>,
    played: u64,
    concealed: u64,
}

#[derive(Debug, Default, Clone)]
struct Figures {
    concealed_percent: f64,
    worst_wait: Duration,
    video_bps: u64,
    pauses: u32,
    switches: u32,
    estimate_bps: (u64, u64),
    paused_share: f64,
}

struct Network {
    sender: Sender,
    srtp: Srtp,
    outbox: Outbox,
    start: Instant,
    now: Instant,
    shape: Shape,
    dice: u32,
    free_at: Instant,
    last_out: Instant,
    encoders: Vec<[Encoder; 3]>,
    sound_sequence: u64,
    /// On their way: the time of arrival, and the packet's kind.
    flying: BinaryHeap<std::cmp::Reverse<(Instant, u64, u16, u32, u16, usize)>>,
    order: u64,
    feedback_due: Instant,
    reports: VecDeque<(Instant, Incoming)>,
    feedback_from: Option<u64>,
    seen: BTreeMap<u64, Instant>,
    highest_number: u64,
    playouts: Vec<Playout>,
    figures: Figures,
    video_bytes: u64,
}

fn audio_ssrc(speaker: usize) -> u32 {
    0x3000 + speaker as u32
}

impl Network {
    fn new() -> Self {
        let World {
            mut sender,
            ours,
            outbox,
            now,
            ..
        } = World::new(ProtectionProfile::AeadAes128Gcm);
        let mut sends = Vec::new();
        for speaker in 0..SPEAKERS {
            let at = speaker as u32;
            sends.push(SendMedia {
                ssrc: 0x1000 + at,
                rtx: Some(Rtx {
                    payload_type: 97,
                    ssrc: 0x2000 + at,
                }),
                ..media(MediaKind::Video)
            });
            sends.push(SendMedia {
                ssrc: audio_ssrc(speaker),
                ..media(MediaKind::Audio)
            });
        }
        sender.agree(sends, || 5);
        let mut network = Self {
            sender,
            srtp: ours,
            outbox,
            start: now,
            now,
            shape: Shape::default(),
            dice: 1,
            free_at: now,
            last_out: now,
            encoders: (0..SPEAKERS).map(|_| Default::default()).collect(),
            sound_sequence: 70_000,
            flying: BinaryHeap::new(),
            order: 0,
            feedback_due: now,
            reports: VecDeque::new(),
            feedback_from: None,
            seen: BTreeMap::new(),
            highest_number: 0,
            playouts: (0..SPEAKERS).map(|_| Playout::default()).collect(),
            figures: Figures::default(),
            video_bytes: 0,
        };
        for speaker in 0..SPEAKERS {
            let layers = network.layers(speaker);
            let slot = |at| Slot((2 * speaker + at) as u16);
            network.sender.set_source(slot(0), Some(layers), now);
            network.sender.set_source(
                slot(1),
                Some(vec![LayerInfo {
                    height_px: 0,
                    bitrate_bps: 52_800,
                    running: true,
                }]),
                now,
            );
            let view = View {
                shown_px: 360,
                is_speaking: speaker == 0,
            };
            network.sender.set_view(slot(0), view, now);
        }
        network
    }

    fn layers(&mut self, speaker: usize) -> Vec<LayerInfo> {
        let encoders = self.encoders[speaker].iter_mut().zip(LAYERS);
        encoders
            .map(|(encoder, (height_px, _, _))| LayerInfo {
                height_px,
                bitrate_bps: encoder.rate.steady_bps(self.now),
                running: true,
            })
            .collect()
    }

    fn roll(&mut self) -> u32 {
        self.dice = self
            .dice
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        self.dice >> 8
    }

    fn packet(&self, layer: u8, sequence: u64, key: bool, len: usize, ends: bool) -> ReceivedRtp {
        let mut bytes = vec![0; 12];
        bytes.resize(12 + len, 7);
        ReceivedRtp {
            arrival: self.now,
            packet: Bytes::from(bytes),
            header_len: 12,
            sequence,
            timestamp: self.now.duration_since(self.start).as_millis() as u32 * 90,
            marker: ends,
            completes: ends,
            layer,
            content: Content {
                starts_key_frame: key,
                ..Content::default()
            },
            audio_level: Some(0x80 | 30),
        }
    }

    fn is_time(&self, every: Duration, shift: Duration) -> bool {
        let elapsed = self.now.duration_since(self.start) + shift;
        elapsed.as_millis().is_multiple_of(every.as_millis())
    }

    /// What the speakers send in this millisecond, by slot.
    fn produce(&mut self) -> Vec<(Slot, Vec<ReceivedRtp>)> {
        let mut all = Vec::new();
        if self.is_time(PTIME, Duration::ZERO) {
            self.sound_sequence += 1;
            for speaker in 0..SPEAKERS {
                let packet = self.packet(0, self.sound_sequence, true, SOUND_BYTES, true);
                all.push((Slot((2 * speaker + 1) as u16), vec![packet]));
            }
        }
        for speaker in 0..SPEAKERS {
            if !self.is_time(FRAME, Duration::from_millis(7 * speaker as u64)) {
                continue;
            }
            let mut packets = Vec::new();
            for (layer, (_, bps, key_frames)) in LAYERS.into_iter().enumerate() {
                let now = self.now;
                let throttle = Duration::from_millis(if layer == 0 { 500 } else { 1000 });
                let roll = self.roll() as usize % 40;
                let encoder = &mut self.encoders[speaker][layer];
                let is_key = encoder.key_wanted
                    && encoder
                        .key_sent
                        .is_none_or(|at| now.duration_since(at) >= throttle);
                let mut left =
                    (bps as usize / 8 * FRAME.as_millis() as usize / 1000) * (80 + roll) / 100;
                if is_key {
                    left *= key_frames;
                    (encoder.key_wanted, encoder.key_sent) = (false, Some(now));
                }
                encoder.rate.on_bytes(left + 12 * left.div_ceil(1100), now);
                let count = left.div_ceil(1100);
                for at in 0..count {
                    let encoder = &mut self.encoders[speaker][layer];
                    encoder.sequence += 1;
                    let sequence = 70_000 + encoder.sequence;
                    let starts = is_key && at == 0;
                    packets.push(self.packet(
                        layer as u8,
                        sequence,
                        starts,
                        left / count,
                        at + 1 == count,
                    ));
                }
            }
            all.push((Slot((2 * speaker) as u16), packets));
        }
        all
    }

    fn tick(&mut self) {
        self.now += TICK;
        let now = self.now;
        for (slot, packets) in self.produce() {
            let path = Path::udp(([192, 0, 2, 1], 9).into(), None);
            let mut wire = Wire {
                srtp: &mut self.srtp,
                path,
                outbox: &mut self.outbox,
            };
            self.sender.forward(slot, packets.iter(), &mut wire, now);
        }
        while self.reports.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, message)) = self.reports.pop_front() {
                self.sender.handle_rtcp(&message, now);
            }
        }
        if self.is_time(Duration::from_secs(1), Duration::from_millis(500)) {
            for speaker in 0..SPEAKERS {
                let layers = self.layers(speaker);
                self.sender
                    .set_layers(Slot((2 * speaker) as u16), &layers, now);
            }
        }
        if self.sender.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.sender.handle_timeout(now);
        }
        let path = Path::udp(([192, 0, 2, 1], 9).into(), None);
        let mut wire = Wire {
            srtp: &mut self.srtp,
            path,
            outbox: &mut self.outbox,
        };
        self.sender.flush(&mut wire, now);
        while self.sender.poll_transmit().is_some() {}
        while let Some(event) = self.sender.poll_event() {
            match event {
                SendEvent::KeyFrameWanted(Slot(slot), layer) => {
                    self.encoders[usize::from(slot) / 2][usize::from(layer)].key_wanted = true;
                }
                SendEvent::Layer(_, None) => self.figures.pauses += 1,
                SendEvent::Layer(..) => self.figures.switches += 1,
            }
        }
        self.carry();
        self.arrive();
        self.report();
        self.play();
        let estimate = self.sender.estimate_bps();
        let (least, most) = self.figures.estimate_bps;
        self.figures.estimate_bps = (least.min(estimate), most.max(estimate));
        let paused = self.sender.tracks.iter().filter(|t| t.is_paused).count();
        self.figures.paused_share += paused as f64 / SPEAKERS as f64;
    }

    /// Into the bottleneck.
    fn carry(&mut self) {
        let outbox = std::mem::take(&mut self.outbox);
        for (_, datagram) in outbox.iter() {
            let header = rtp::parse(datagram).expect("RTP");
            let number = header.extension(datagram, 2).expect("a number");
            let number = u16::from_be_bytes([number[0], number[1]]);
            let is_lost = self.roll() % 100 < self.shape.loss_percent;
            let begin = self.free_at.max(self.now);
            if is_lost || begin - self.now > QUEUE {
                continue;
            }
            let took = match self.shape.bps {
                0 => Duration::ZERO,
                bps => Duration::from_nanos(datagram.len() as u64 * 8_000_000_000 / bps),
            };
            self.free_at = begin + took;
            let jitter = self.shape.jitter.as_micros() as u32;
            let jitter = Duration::from_micros(u64::from(self.roll() % (jitter + 1)));
            let out = (self.free_at + jitter).max(self.last_out);
            self.last_out = out;
            self.order += 1;
            let packet = (
                out + ONE_WAY,
                self.order,
                number,
                header.ssrc,
                header.sequence,
                datagram.len(),
            );
            self.flying.push(std::cmp::Reverse(packet));
        }
        self.outbox = outbox;
        self.outbox.clear();
    }

    fn arrive(&mut self) {
        while let Some(std::cmp::Reverse((at, _, number, ssrc, sequence, len))) =
            self.flying.peek().copied()
        {
            if at > self.now {
                break;
            }
            self.flying.pop();
            let behind = (self.highest_number as u16).wrapping_sub(number) as i16;
            let number = self.highest_number.wrapping_add_signed(-i64::from(behind));
            self.highest_number = self.highest_number.max(number);
            self.seen.entry(number).or_insert(at);
            self.feedback_from.get_or_insert(number);
            match ssrc {
                0x3000.. => {
                    let speaker = (ssrc - 0x3000) as usize;
                    self.playouts[speaker].arrives(u64::from(sequence), at);
                    let lost = self.playouts[speaker].asks(self.now);
                    if !lost.is_empty() {
                        let numbers = lost.iter().map(|n| *n as u16).collect();
                        let nack = Incoming::Nack { ssrc, numbers };
                        self.reports.push_back((self.now + ONE_WAY, nack));
                    }
                }
                _ => self.video_bytes += len as u64,
            }
        }
    }

    fn report(&mut self) {
        let Some(from) = self.feedback_from.filter(|_| self.now >= self.feedback_due) else {
            return;
        };
        self.feedback_due = self.now + FEEDBACK;
        let packets = (from..=self.highest_number).map(|number| {
            let at = self.seen.get(&number);
            (
                number as u16,
                at.map(|at| at.duration_since(self.start).as_micros() as i64),
            )
        });
        let feedback = TransportFeedback::new(packets.collect());
        self.feedback_from = Some(self.highest_number + 1);
        self.seen = self.seen.split_off(&(self.highest_number + 1));
        let message = Incoming::TransportFeedback(feedback);
        self.reports.push_back((self.now + ONE_WAY, message));
    }

    fn play(&mut self) {
        for playout in &mut self.playouts {
            playout.play(self.now);
        }
    }

    fn run(&mut self, seconds: u64, shape: Shape) -> Figures {
        self.shape = shape;
        self.figures = Figures::default();
        self.figures.estimate_bps.0 = u64::MAX;
        self.video_bytes = 0;
        for playout in &mut self.playouts {
            (playout.played, playout.concealed) = (0, 0);
        }
        let mut worst = Duration::ZERO;
        for _ in 0..seconds * 1000 {
            self.tick();
            let waits = self.playouts.iter().map(|playout| playout.wait);
            worst = worst.max(waits.max().unwrap_or_default());
        }
        let sum = |of: fn(&Playout) -> u64| self.playouts.iter().map(of).sum::<u64>() as f64;
        Figures {
            concealed_percent: 100.0 * sum(|p| p.concealed) / sum(|p| p.played).max(1.0),
            worst_wait: worst,
            video_bps: self.video_bytes * 8 / seconds,
            paused_share: self.figures.paused_share / (seconds as f64 * 1000.0),
            ..self.figures.clone()
        }
    }
}

impl Playout {
    /// The longest that a browser waits for sound, with its NACKs.
    const MAX_WAIT: Duration = Duration::from_millis(500);
    const SHRINKS_AFTER: usize = 100;

    fn arrives(&mut self, sequence: u64, at: Instant) {
        if self.begin.is_none() {
            self.begin = Some((at, sequence));
            self.wait = Duration::from_millis(40);
            self.next = sequence;
        }
        self.highest = self.highest.max(Some(sequence));
        if sequence >= self.next {
            self.got.insert(sequence);
        }
        self.known.insert(sequence);
        self.asked.remove(&sequence);
        let due = self.due(sequence);
        if at > due {
            // It will be waited for this long, should it happen again.
            self.wait = (self.wait + (at - due)).min(Self::MAX_WAIT);
            self.spare.clear();
        }
        self.spare.push_back(due.saturating_duration_since(at));
        if self.spare.len() > Self::SHRINKS_AFTER {
            self.spare.pop_front();
            let spare = self.spare.iter().min().copied().unwrap_or_default();
            if spare > PTIME {
                self.wait = self.wait.saturating_sub(Duration::from_millis(5));
                self.spare.clear();
            }
        }
    }

    fn due(&self, sequence: u64) -> Instant {
        let (at, first) = self.begin.expect("it began");
        at + PTIME * (sequence.saturating_sub(first)) as u32 + self.wait
    }

    /// What a browser asks for: missing, and not asked for a moment ago.
    fn asks(&mut self, now: Instant) -> Vec<u64> {
        let (Some(highest), Some((_, first))) = (self.highest, self.begin) else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        for number in highest.saturating_sub(20).max(first)..highest {
            let is_due = self
                .asked
                .get(&number)
                .is_none_or(|at| now - *at > Duration::from_millis(40));
            if !self.known.contains(&number) && is_due {
                self.asked.insert(number, now);
                lost.push(number);
            }
        }
        lost
    }

    fn play(&mut self, now: Instant) {
        while self.begin.is_some() && self.due(self.next) <= now {
            self.played += 1;
            if !self.got.contains(&self.next) {
                self.concealed += 1;
            }
            self.got.remove(&self.next);
            self.next += 1;
        }
    }
}

const NARROW: u64 = 300_000;
const LOSSY: Shape = Shape {
    bps: 0,
    loss_percent: 5,
    jitter: Duration::from_millis(30),
};

/// What may happen while the path is so.
struct Bounds {
    /// Right after the path changed, and then.
    concealed_percent: (f64, f64),
    least_video_bps: u64,
    pauses: u32,
    switches: u32,
}

#[test]
fn three_voices_stay_whole_on_bad_networks_and_pictures_come_and_go_in_time() {
    let narrow = |bps| Shape {
        bps,
        ..Shape::default()
    };
    let both = Shape {
        bps: NARROW,
        ..LOSSY
    };
    let bounds = |at_first, then, kbps: u64, pauses, switches| Bounds {
        concealed_percent: (at_first, then),
        least_video_bps: kbps * 1000,
        pauses,
        switches,
    };
    let mut network = Network::new();
    for (name, settle, shape, bounds) in [
        ("clean", 5, narrow(0), bounds(0.0, 0.0, 1400, 0, 0)),
        (
            "5 % loss, 30 ms jitter",
            5,
            LOSSY,
            bounds(2.0, 0.3, 1300, 0, 0),
        ),
        // A tenth of it for some seconds: until the first report, the path gets ten times what it
        // carries.
        ("300 kbit/s", 8, narrow(NARROW), bounds(10.0, 0.1, 0, 2, 2)),
        ("both", 8, both, bounds(1.0, 0.1, 0, 2, 2)),
        ("400 kbit/s", 8, narrow(400_000), bounds(0.1, 0.1, 60, 6, 6)),
        (
            "600 kbit/s",
            20,
            narrow(600_000),
            bounds(0.1, 0.1, 200, 4, 6),
        ),
        (
            "1 Mbit/s",
            20,
            narrow(1_000_000),
            bounds(0.1, 0.1, 350, 0, 6),
        ),
        (
            "300 kbit/s again",
            8,
            narrow(NARROW),
            bounds(10.0, 0.1, 0, 2, 2),
        ),
        ("clean again", 20, narrow(0), bounds(0.0, 0.0, 1400, 0, 0)),
    ] {
        let at_first = network.run(settle, shape);
        let then = network.run(30, shape);
        println!("{name}: at first {at_first:?}\n    then {then:?}");
        let Bounds {
            concealed_percent: (most_at_first, most),
            least_video_bps,
            pauses,
            switches,
        } = bounds;
        assert!(at_first.concealed_percent <= most_at_first, "{name}");
        assert!(then.concealed_percent <= most, "{name}");
        assert!(then.video_bps >= least_video_bps, "{name}");
        assert!(then.pauses <= pauses && then.switches <= switches, "{name}");
        assert!(then.worst_wait <= Playout::MAX_WAIT, "{name}");
    }
}
