//! A listener of three speakers behind a simulated network: what of the sound is concealed, and
//! how the pictures fare. Time is simulated too, so each run gives the same figures.

use std::collections::{BTreeMap, VecDeque};

use super::playout::Playout;
use super::*;
use crate::rtc::core::receive::rate::Rate;
use crate::rtc::core::receive::temporal::{Opening, Temporal, TemporalLayers};

const SPEAKERS: usize = 3;
const TICK: Duration = Duration::from_millis(1);
const PTIME: Duration = Duration::from_millis(20);
const FRAME: Duration = Duration::from_millis(33);
const FEEDBACK: Duration = Duration::from_millis(50);
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

/// Of each picture in turn, where there are temporal layers: which it is of, and its size in
/// percent of the mean.
const TEMPORAL: [(u8, usize); 4] = [(0, 160), (2, 80), (1, 80), (2, 80)];

/// One camera's layer.
#[derive(Default)]
struct Encoder {
    sequence: u64,
    pictures: usize,
    temporal: TemporalLayers,
    key_wanted: bool,
    key_sent: Option<Instant>,
    rate: Rate,
}

#[derive(Debug, Default, Clone)]
struct Figures {
    concealed_percent: f64,
    video_bps: u64,
    /// Of all speakers.
    pictures_per_second: u64,
    pauses: u32,
    switches: u32,
    estimate_bps: (u64, u64),
}

/// On its way.
struct Flying {
    arrives: Instant,
    number: u16,
    ssrc: u32,
    sequence: u16,
    len: usize,
    ends_picture: bool,
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
    /// Of each of its packets.
    sound_bytes: usize,
    flying: VecDeque<Flying>,
    feedback_due: Instant,
    reports: VecDeque<(Instant, Incoming)>,
    feedback_from: Option<u64>,
    seen: BTreeMap<u64, Instant>,
    highest_number: u64,
    playouts: Vec<Playout>,
    figures: Figures,
    video_bytes: u64,
    pictures: u64,
    has_temporal: bool,
}

/// As in a session, sound comes first.
fn sound(speaker: usize) -> Slot {
    Slot((2 * speaker) as u16)
}

fn picture(speaker: usize) -> Slot {
    Slot((2 * speaker + 1) as u16)
}

fn audio_ssrc(speaker: usize) -> u32 {
    0x3000 + speaker as u32
}

impl Network {
    fn new(sound_bytes: usize, has_temporal: bool) -> Self {
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
                ssrc: audio_ssrc(speaker),
                ..media(MediaKind::Audio)
            });
            sends.push(SendMedia {
                ssrc: 0x1000 + at,
                rtx: Some(Rtx {
                    payload_type: 97,
                    ssrc: 0x2000 + at,
                }),
                ..media(MediaKind::Video)
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
            sound_bytes,
            flying: VecDeque::new(),
            feedback_due: now,
            reports: VecDeque::new(),
            feedback_from: None,
            seen: BTreeMap::new(),
            highest_number: 0,
            playouts: (0..SPEAKERS).map(|_| Playout::default()).collect(),
            figures: Figures::default(),
            video_bytes: 0,
            pictures: 0,
            has_temporal,
        };
        for speaker in 0..SPEAKERS {
            let layers = network.layers(speaker);
            network
                .sender
                .set_source(picture(speaker), Some(layers), now);
            network.sender.set_source(
                sound(speaker),
                Some(vec![LayerInfo {
                    height_px: 0,
                    bitrate_bps: (sound_bytes as u64 + 12) * 400,
                    thinner_bps: Default::default(),
                    running: true,
                }]),
                now,
            );
            let view = View {
                shown_px: 360,
                is_speaking: speaker == 0,
            };
            network.sender.set_view(picture(speaker), view, now);
        }
        network
    }

    fn layers(&mut self, speaker: usize) -> Vec<LayerInfo> {
        let encoders = self.encoders[speaker].iter_mut().zip(LAYERS);
        encoders
            .map(|(encoder, (height_px, _, _))| LayerInfo {
                height_px,
                bitrate_bps: encoder.rate.steady_bps(self.now),
                thinner_bps: encoder.temporal.thinner_bps(self.now),
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

    fn packet(
        &self,
        layer: u8,
        sequence: u64,
        key: bool,
        len: usize,
        ends: bool,
        temporal: Option<Temporal>,
    ) -> Arc<ReceivedRtp> {
        let mut bytes = vec![0; 12];
        bytes.resize(12 + len, 7);
        Arc::new(ReceivedRtp {
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
                temporal,
                ..Content::default()
            },
            audio_level: Some(0x80 | 30),
            color_space: None,
            dependency_descriptor: None,
        })
    }

    fn is_time(&self, every: Duration, shift: Duration) -> bool {
        let elapsed = self.now.duration_since(self.start) + shift;
        elapsed.as_millis().is_multiple_of(every.as_millis())
    }

    /// What the speakers send in this millisecond, by slot.
    fn produce(&mut self) -> Vec<(Slot, Vec<Arc<ReceivedRtp>>)> {
        let mut all = Vec::new();
        if self.is_time(PTIME, Duration::ZERO) {
            self.sound_sequence += 1;
            for speaker in 0..SPEAKERS {
                let packet =
                    self.packet(0, self.sound_sequence, true, self.sound_bytes, true, None);
                all.push((sound(speaker), vec![packet]));
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
                    encoder.pictures = 0;
                }
                let (id, percent) = TEMPORAL[encoder.pictures % TEMPORAL.len()];
                encoder.pictures += 1;
                let temporal = self.has_temporal.then_some(Temporal {
                    id,
                    opens: Some(Opening {
                        from: id.saturating_sub(1),
                        to: id,
                    }),
                });
                if self.has_temporal {
                    left = left * percent / 100;
                }
                if is_key {
                    left *= key_frames;
                    (encoder.key_wanted, encoder.key_sent) = (false, Some(now));
                }
                encoder.rate.on_bytes(left + 12 * left.div_ceil(1100), now);
                if self.has_temporal {
                    let len = left + 12 * left.div_ceil(1100);
                    encoder.temporal.on_packet(id, len, now);
                }
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
                        temporal,
                    ));
                }
            }
            all.push((picture(speaker), packets));
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
                self.sender.set_layers(picture(speaker), &layers, now);
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
            self.flying.push_back(Flying {
                arrives: out + ONE_WAY,
                number,
                ssrc: header.ssrc,
                sequence: header.sequence,
                len: datagram.len(),
                ends_picture: header.marker,
            });
        }
        self.outbox = outbox;
        self.outbox.clear();
    }

    fn arrive(&mut self) {
        while let Some(packet) = self
            .flying
            .pop_front_if(|packet| packet.arrives <= self.now)
        {
            let Flying {
                arrives: at,
                number,
                ssrc,
                sequence,
                len,
                ends_picture,
            } = packet;
            let behind = (self.highest_number as u16).wrapping_sub(number) as i16;
            let number = self.highest_number.wrapping_add_signed(-i64::from(behind));
            self.highest_number = self.highest_number.max(number);
            self.seen.entry(number).or_insert(at);
            // As Chromium: what comes late, for it was sent again, and all since, is reported again.
            let from = self.feedback_from.get_or_insert(number);
            *from = number.min(*from);
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
                _ => {
                    self.video_bytes += len as u64;
                    self.pictures += u64::from(ends_picture && (0x1000..0x2000).contains(&ssrc));
                }
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
        self.seen = self
            .seen
            .split_off(&self.highest_number.saturating_sub(100));
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
        (self.video_bytes, self.pictures) = (0, 0);
        for playout in &mut self.playouts {
            (playout.played, playout.concealed) = (0, 0);
        }
        for _ in 0..seconds * 1000 {
            self.tick();
        }
        let sum = |of: fn(&Playout) -> u64| self.playouts.iter().map(of).sum::<u64>() as f64;
        Figures {
            concealed_percent: 100.0 * sum(|p| p.concealed) / sum(|p| p.played).max(1.0),
            video_bps: self.video_bytes * 8 / seconds,
            pictures_per_second: self.pictures / seconds,
            ..self.figures.clone()
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
    least_pictures: u64,
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
    let jittery = Shape {
        jitter: Duration::from_millis(60),
        ..both
    };
    let bounds = |at_first, then, (kbps, least_pictures): (u64, u64), pauses, switches| Bounds {
        concealed_percent: (at_first, then),
        least_video_bps: kbps * 1000,
        least_pictures,
        pauses,
        switches,
    };
    let mut violations = Vec::new();
    for (sound_bytes, has_temporal) in [
        (40, false),
        (80, false),
        (120, false),
        (40, true),
        (80, true),
        (120, true),
    ] {
        let mut network = Network::new(sound_bytes, has_temporal);
        for (name, settle, shape, bounds) in [
            ("clean", 5, narrow(0), bounds(0.0, 0.0, (1400, 90), 0, 0)),
            (
                "5 % loss, 30 ms jitter",
                5,
                LOSSY,
                bounds(3.0, 0.3, (1300, 80), 0, 0),
            ),
            // A tenth for some seconds: until the first report, the path gets ten times what it
            // carries.
            (
                "300 kbit/s",
                8,
                narrow(NARROW),
                bounds(13.0, 0.1, (0, 0), 2, 2),
            ),
            ("both", 8, both, bounds(0.2, 0.2, (0, 0), 1, 1)),
            ("more jitter", 8, jittery, bounds(0.3, 0.3, (0, 0), 2, 2)),
            (
                "400 kbit/s",
                8,
                narrow(400_000),
                bounds(0.1, 0.1, (75, 12), 2, 3),
            ),
            (
                "600 kbit/s",
                20,
                narrow(600_000),
                bounds(0.1, 0.4, (240, 55), 2, 3),
            ),
            (
                "1 Mbit/s",
                20,
                narrow(1_000_000),
                bounds(0.6, 0.4, (350, 85), 0, 10),
            ),
            (
                "300 kbit/s again",
                8,
                narrow(NARROW),
                bounds(12.0, 0.1, (0, 0), 2, 2),
            ),
            (
                "clean again",
                20,
                narrow(0),
                bounds(0.3, 0.1, (1400, 85), 0, 4),
            ),
        ] {
            let at_first = network.run(settle, shape);
            let then = network.run(30, shape);
            let Bounds {
                concealed_percent: (most_at_first, most),
                least_video_bps,
                least_pictures,
                pauses,
                switches,
            } = bounds;
            let is_well = at_first.concealed_percent <= most_at_first
                && then.concealed_percent <= most
                && then.video_bps >= least_video_bps
                && then.pictures_per_second >= least_pictures
                && then.pauses <= pauses
                && then.switches <= switches;
            if !is_well {
                violations.push(format!(
                    "{sound_bytes} bytes of sound, temporal layers {has_temporal}, {name}: {at_first:?}, then {then:?}"
                ));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}
