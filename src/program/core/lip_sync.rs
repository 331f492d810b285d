//! Which inputs of a participant must wait for the others, so that lips and voice go together.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wire::{InputId, InputSpec};

/// No camera is this much later than its microphone: such reports are of unrelated clocks.
const MAX_DELAY: Duration = Duration::from_millis(800);
/// Differences below this are not seen, and each change of a delay is a small jump.
const TOLERANCE_NS: i64 = 8_000_000;

/// A busy sender's reports are some frames off: each counts for a part.
const SMOOTHING: i64 = 4;
/// This far off, it is another clock than before.
const JUMP: Duration = Duration::from_millis(500);

/// Holds what sender reports (RFC 3550 §6.4.1) say of each input.
#[derive(Debug, Default)]
pub struct LipSync {
    inputs: BTreeMap<InputId, Input>,
}

#[derive(Debug)]
struct Input {
    group: u64,
    clock_rate: u32,
    /// Running time minus the publisher's clock, for the same moment.
    offset_ns: Option<i64>,
    delay_ns: i64,
}

/// A sender report's two times, of the same moment.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// 64-bit NTP time, seconds since 1900 in the upper half.
    pub ntp: u64,
    pub rtp: u32,
}

/// A packet's RTP timestamp, and its running time without any delay of ours.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub rtp: u32,
    pub running_time: Duration,
}

impl LipSync {
    pub fn add(&mut self, spec: &InputSpec) {
        let input = Input {
            group: spec.group,
            clock_rate: spec.clock_rate.max(1),
            offset_ns: None,
            delay_ns: 0,
        };
        self.inputs.insert(spec.id, input);
    }

    pub fn remove(&mut self, id: InputId) {
        self.inputs.remove(&id);
    }

    /// Takes a report with a packet seen about then; returns the inputs whose delay changes.
    pub fn report(&mut self, id: InputId, report: Report, seen: Seen) -> Vec<(InputId, Duration)> {
        let Some(input) = self.inputs.get_mut(&id) else {
            return Vec::new();
        };
        let ticks = i64::from(seen.rtp.wrapping_sub(report.rtp) as i32);
        let since_report = ticks * 1_000_000_000 / i64::from(input.clock_rate);
        let running_time = i64::try_from(seen.running_time.as_nanos()).unwrap_or(i64::MAX);
        let offset_ns = running_time.wrapping_sub(ntp_ns(report.ntp)) - since_report;
        input.offset_ns = Some(match input.offset_ns {
            Some(known) if offset_ns.abs_diff(known) < JUMP.as_nanos() as u64 => {
                known + (offset_ns - known) / SMOOTHING
            }
            _ => offset_ns,
        });
        let group = input.group;
        self.settle(group)
    }

    /// All wait for the latest.
    fn settle(&mut self, group: u64) -> Vec<(InputId, Duration)> {
        let members = || self.inputs.values().filter(|input| input.group == group);
        let offsets: Vec<i64> = members().filter_map(|input| input.offset_ns).collect();
        let (Some(latest), Some(soonest)) = (offsets.iter().max(), offsets.iter().min()) else {
            return Vec::new();
        };
        let (latest, related) = (
            *latest,
            latest.abs_diff(*soonest) <= nanos(MAX_DELAY) as u64,
        );
        let mut changed = Vec::new();
        for (id, input) in self.inputs.iter_mut().filter(|(_, i)| i.group == group) {
            let wanted_ns = match input.offset_ns {
                Some(offset_ns) if related => latest - offset_ns,
                _ => 0,
            };
            if (wanted_ns - input.delay_ns).abs() > TOLERANCE_NS {
                input.delay_ns = wanted_ns;
                changed.push((*id, Duration::from_nanos(wanted_ns.unsigned_abs())));
            }
        }
        changed
    }
}

fn nanos(duration: Duration) -> i64 {
    duration.as_nanos() as i64
}

/// Since 1900; until 2036 that is below 2^62.
fn ntp_ns(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) as i64;
    let fraction = ((ntp & 0xFFFF_FFFF) * 1_000_000_000) >> 32;
    seconds * 1_000_000_000 + fraction as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Codec;

    const VOICE: InputId = InputId(1);
    const FACE: InputId = InputId(2);

    fn lip_sync() -> LipSync {
        let mut sync = LipSync::default();
        for (id, codec, clock_rate) in [(VOICE, Codec::Opus, 48_000), (FACE, Codec::Vp8, 90_000)] {
            sync.add(&InputSpec {
                id,
                group: 9,
                codec,
                payload_type: 96,
                clock_rate,
                fmtp: String::new(),
                color_space: None,
            });
        }
        sync
    }

    /// Of a moment that was captured at `captured_ms` and would be shown at `shown_ms`.
    fn heard(
        sync: &mut LipSync,
        id: InputId,
        captured_ms: u64,
        shown_ms: u64,
    ) -> Vec<(InputId, u64)> {
        let (clock_rate, start) = if id == VOICE {
            (48, 7)
        } else {
            (90, u32::MAX - 50)
        };
        // The report is of an earlier moment than the packet.
        let at = |ms: u64| (clock_rate * ms as u32).wrapping_add(start);
        let seconds = 4_000_000_000 + (captured_ms - 100) / 1000;
        let fraction = (((captured_ms - 100) % 1000) << 32) / 1000;
        let report = Report {
            ntp: seconds << 32 | fraction,
            rtp: at(captured_ms - 100),
        };
        let seen = Seen {
            rtp: at(captured_ms),
            running_time: Duration::from_millis(shown_ms),
        };
        let changed = sync.report(id, report, seen);
        changed
            .into_iter()
            .map(|(id, delay)| (id, (delay.as_micros() as f64 / 1000.0).round() as u64))
            .collect()
    }

    #[test]
    fn the_voice_waits_for_the_face() {
        let mut sync = lip_sync();
        assert_eq!(heard(&mut sync, VOICE, 5_000, 1_000), []);
        assert_eq!(heard(&mut sync, FACE, 5_200, 1_260), [(VOICE, 60)]);
        assert_eq!(heard(&mut sync, FACE, 6_200, 2_264), [], "4 ms are nothing");
        assert_eq!(
            heard(&mut sync, FACE, 7_200, 3_340),
            [(VOICE, 81)],
            "a quarter of 80 ms and 1 ms"
        );
    }

    #[test]
    fn clocks_that_have_nothing_in_common_tie_nothing() {
        let mut sync = lip_sync();
        heard(&mut sync, VOICE, 5_000, 1_000);
        assert_eq!(heard(&mut sync, FACE, 90_000, 1_000), []);
    }

    #[test]
    fn who_left_is_not_waited_for() {
        let mut sync = lip_sync();
        heard(&mut sync, VOICE, 5_000, 1_000);
        heard(&mut sync, FACE, 5_000, 1_300);
        sync.remove(FACE);
        assert_eq!(heard(&mut sync, VOICE, 6_000, 2_000), [(VOICE, 0)]);
        assert_eq!(heard(&mut sync, FACE, 6_000, 2_000), []);
    }
}
