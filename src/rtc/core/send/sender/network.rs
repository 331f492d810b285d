//! A listener of three speakers behind a simulated network: what of the sound is concealed, and
//! how the pictures fare. Time is simulated too, so each run gives the same figures.

use std::collections::{BTreeMap, VecDeque};

mod speakers;

use speakers::{Dice, Moment, Speakers};

use super::playout::Playout;
use super::*;

const SPEAKERS: usize = 3;
const TICK: Duration = Duration::from_millis(1);
const FEEDBACK: Duration = Duration::from_millis(50);
const ONE_WAY: Duration = Duration::from_millis(10);
/// What waits longer in the bottleneck is dropped.
const QUEUE: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    /// 0: as wide as can be.
    bps: u64,
    loss_percent: u32,
    jitter: Duration,
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
    dice: Dice,
    free_at: Instant,
    last_out: Instant,
    speakers: Speakers,
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
            dice: Dice::default(),
            free_at: now,
            last_out: now,
            speakers: Speakers::new(SPEAKERS, sound_bytes, has_temporal),
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
        };
        for speaker in 0..SPEAKERS {
            let layers = network.speakers.layers(speaker, now);
            network
                .sender
                .set_source(picture(speaker), Some(layers), now);
            let layers = vec![network.speakers.sound()];
            network.sender.set_source(sound(speaker), Some(layers), now);
            let view = View {
                shown_px: 360,
                is_speaking: speaker == 0,
            };
            network.sender.set_view(picture(speaker), view, now);
        }
        network
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            elapsed: self.now.duration_since(self.start),
        }
    }

    fn tick(&mut self) {
        self.now += TICK;
        let now = self.now;
        for (slot, packets) in self.speakers.produce(self.moment(), &mut self.dice) {
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
        if self
            .moment()
            .is_time(Duration::from_secs(1), Duration::from_millis(500))
        {
            for speaker in 0..SPEAKERS {
                let layers = self.speakers.layers(speaker, now);
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
                    self.speakers.want_key_frame(usize::from(slot) / 2, layer);
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
            let is_lost = self.dice.roll() % 100 < self.shape.loss_percent;
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
            let jitter = Duration::from_micros(u64::from(self.dice.roll() % (jitter + 1)));
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
