//! What the speakers send: sound, and cameras in three layers, perhaps of temporal layers.

use super::*;
use crate::rtc::core::receive::rate::Rate;
use crate::rtc::core::receive::temporal::{Opening, Temporal, TemporalLayers};

const PTIME: Duration = Duration::from_millis(20);
const FRAME: Duration = Duration::from_millis(33);

/// Height, bps, and how many frames' worth a key frame is.
const LAYERS: [(u16, u64, usize); 3] =
    [(180, 120_000, 10), (360, 500_000, 10), (720, 1_800_000, 8)];

/// Of each picture in turn, where there are temporal layers: which it is of, and its size in
/// percent of the mean.
const TEMPORAL: [(u8, usize); 4] = [(0, 160), (2, 80), (1, 80), (2, 80)];

/// Of a packet, in bytes.
const MAX_PAYLOAD: usize = 1100;
const HEADER_LEN: usize = 12;

/// The same in each run.
pub struct Dice(u32);

impl Dice {
    pub fn roll(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self(1)
    }
}

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

/// A moment of the simulation.
#[derive(Clone, Copy)]
pub struct Moment {
    pub now: Instant,
    pub elapsed: Duration,
}

impl Moment {
    pub fn is_time(self, every: Duration, shift: Duration) -> bool {
        let elapsed = self.elapsed + shift;
        elapsed.as_millis().is_multiple_of(every.as_millis())
    }

    fn packet(self, layer: u8, sequence: u64, len: usize, content: Content) -> ReceivedRtp {
        ReceivedRtp {
            arrival: self.now,
            packet: Bytes::from(vec![7; HEADER_LEN + len]),
            header_len: HEADER_LEN as u16,
            sequence,
            timestamp: self.elapsed.as_millis() as u32 * 90,
            marker: true,
            completes: true,
            layer,
            content,
            audio_level: Some(0x80 | 30),
            color_space: None,
            dependency_descriptor: None,
        }
    }
}

pub struct Speakers {
    cameras: Vec<[Encoder; 3]>,
    sound_sequence: u64,
    /// Of each of its packets.
    sound_bytes: usize,
    has_temporal: bool,
}

impl Speakers {
    pub fn new(count: usize, sound_bytes: usize, has_temporal: bool) -> Self {
        Self {
            cameras: (0..count).map(|_| Default::default()).collect(),
            sound_sequence: 70_000,
            sound_bytes,
            has_temporal,
        }
    }

    pub fn sound(&self) -> LayerInfo {
        LayerInfo {
            height_px: 0,
            bitrate_bps: (self.sound_bytes + HEADER_LEN) as u64 * 400,
            thinner_bps: Default::default(),
            running: true,
        }
    }

    pub fn layers(&mut self, speaker: usize, now: Instant) -> Vec<LayerInfo> {
        let encoders = self.cameras[speaker].iter_mut().zip(LAYERS);
        encoders
            .map(|(encoder, (height_px, _, _))| LayerInfo {
                height_px,
                bitrate_bps: encoder.rate.steady_bps(now),
                thinner_bps: encoder.temporal.thinner_bps(now),
                running: true,
            })
            .collect()
    }

    pub fn want_key_frame(&mut self, speaker: usize, layer: u8) {
        self.cameras[speaker][usize::from(layer)].key_wanted = true;
    }

    /// What they send in this millisecond, by slot.
    pub fn produce(&mut self, at: Moment, dice: &mut Dice) -> Vec<(Slot, Vec<Arc<ReceivedRtp>>)> {
        let mut all = Vec::new();
        if at.is_time(PTIME, Duration::ZERO) {
            self.sound_sequence += 1;
            for speaker in 0..self.cameras.len() {
                let content = Content {
                    starts_key_frame: true,
                    ..Content::default()
                };
                let packet = at.packet(0, self.sound_sequence, self.sound_bytes, content);
                all.push((sound(speaker), vec![Arc::new(packet)]));
            }
        }
        for (speaker, camera) in self.cameras.iter_mut().enumerate() {
            if !at.is_time(FRAME, Duration::from_millis(7 * speaker as u64)) {
                continue;
            }
            let mut packets = Vec::new();
            for (layer, encoder) in camera.iter_mut().enumerate() {
                packets.extend(encoder.picture(layer, self.has_temporal, at, dice));
            }
            all.push((picture(speaker), packets));
        }
        all
    }
}

impl Encoder {
    fn picture(
        &mut self,
        layer: usize,
        has_temporal: bool,
        at: Moment,
        dice: &mut Dice,
    ) -> Vec<Arc<ReceivedRtp>> {
        let (_, bps, key_frames) = LAYERS[layer];
        let throttle = Duration::from_millis(if layer == 0 { 500 } else { 1000 });
        let is_key = self.key_wanted
            && self
                .key_sent
                .is_none_or(|sent| at.now.duration_since(sent) >= throttle);
        let mean = bps as usize / 8 * FRAME.as_millis() as usize / 1000;
        let mut bytes = mean * (80 + dice.roll() as usize % 40) / 100;
        if is_key {
            self.pictures = 0;
        }
        let (id, percent) = TEMPORAL[self.pictures % TEMPORAL.len()];
        self.pictures += 1;
        let temporal = has_temporal.then_some(Temporal {
            id,
            opens: Some(Opening {
                from: id.saturating_sub(1),
                to: id,
            }),
        });
        if has_temporal {
            bytes = bytes * percent / 100;
        }
        if is_key {
            bytes *= key_frames;
            (self.key_wanted, self.key_sent) = (false, Some(at.now));
        }
        let count = bytes.div_ceil(MAX_PAYLOAD);
        let len = bytes + HEADER_LEN * count;
        self.rate.on_bytes(len, at.now);
        if has_temporal {
            self.temporal.on_packet(id, len, at.now);
        }
        let packets = (0..count).map(|nth| {
            self.sequence += 1;
            let content = Content {
                starts_key_frame: is_key && nth == 0,
                temporal,
                ..Content::default()
            };
            let sequence = 70_000 + self.sequence;
            let is_last = nth + 1 == count;
            Arc::new(ReceivedRtp {
                marker: is_last,
                completes: is_last,
                ..at.packet(layer as u8, sequence, bytes / count, content)
            })
        });
        packets.collect()
    }
}
