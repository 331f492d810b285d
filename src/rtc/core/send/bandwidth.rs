//! What the path to one subscriber carries: a send-side estimate from transport-wide feedback
//! (Google Congestion Control, draft-ietf-rmcat-gcc-02), bounded by loss, and by REMB where only
//! that comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::trend::{Trend, Usage};
use crate::rtc::core::prefetch::prefetch;
use crate::rtc::core::rtcp::TransportFeedback;

/// Until the path said something: what an ordinary line carries. Lower would pause the picture
/// of every publisher who sends only one layer.
const START_BPS: u64 = 2_500_000;
const MIN_BPS: u64 = 50_000;
const MAX_BPS: u64 = 50_000_000;

/// Packets remembered until their feedback comes: more than a second of 10 Mbit/s.
const MAX_SENT: usize = 1024;

/// A cache line of packets.
const PREFETCHED: usize = 4;

/// Packets sent within this are one group (draft §5.2).
const BURST_US: i64 = 5_000;

/// Groups of which the least delay tells a standing queue from jitter: a receiver whose machine
/// is busy takes some late, a full queue takes all late.
const RECENT_GROUPS: usize = 8;

/// A queue shorter than this harms nobody; where delays vary, it must be longer to be told from
/// bad luck by this many times their variation.
const QUEUE_US: i64 = 20_000;
const QUEUE_JITTERS: i64 = 2;

/// A queue this long is surely ours: what arrives now is all that the path carries.
const LONG_QUEUE_US: i64 = 150_000;

/// Else what arrived in this time shows what the path carries, though less is sent now.
const RECENT: Duration = Duration::from_secs(2);

/// The least delay ever is looked for over twice this, as clocks drift and paths change.
const BASELINE_US: i64 = 15_000_000;

/// What is acknowledged is measured over this.
const RATE_WINDOW_US: i64 = 500_000;

/// And a burst that fills the path, over this.
const BURST_WINDOW_US: i64 = 250_000;

/// Draft §5.5: after overuse, this share of what arrived; else this factor a second.
const DECREASE: f64 = 0.85;
const INCREASE: f64 = 1.08;

/// The share of an estimate that shows its worth.
const USED: f64 = 0.85;

/// How fast a burst goes out: near a capacity that was seen, little faster than it drains; else as
/// libwebrtc paces.
const PACE_KNOWN: f64 = 1.2;
const PACE_UNKNOWN: f64 = 2.5;

/// Draft §6.
const HIGH_LOSS: f64 = 0.10;
const LOW_LOSS: f64 = 0.02;
const LOSS_WINDOW: Duration = Duration::from_millis(1000);

/// Feedback this old says nothing of the path now.
const STALE: Duration = Duration::from_secs(5);

/// Small, for a connection has a thousand: what is not in the cache costs more than what is done
/// with it. Its number is its place.
#[derive(Debug, Clone, Copy)]
struct SentPacket {
    /// Since the epoch.
    sent_us: i64,
    len: u16,
    fate: Fate,
}

/// What was reported of a packet. Browsers report again all that came since a packet that came
/// late, as sound does that was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Missing,
    Arrived,
}

/// Packets of one burst.
#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent_us: i64,
    last_sent_us: i64,
    arrived_us: i64,
}

/// Packets by which a probe tells what the path carries; fewer, or closer together, tell nothing.
const PROBE_PACKETS: u32 = 5;
const PROBE_SPAN_US: i64 = 40_000;

/// What arrives of all that is sent while a probe lasts.
#[derive(Debug, Clone, Copy)]
struct Probe {
    first: u64,
    /// Once it ended.
    last: Option<u64>,
    /// The first packet's are not counted: it only starts the clock.
    bytes: u64,
    packets: u32,
    arrived_us: Option<(i64, i64)>,
}

#[derive(Debug)]
pub struct Bandwidth {
    /// The last is the one before `next`.
    sent: VecDeque<SentPacket>,
    next: u64,
    trend: Trend,
    group: Option<Group>,
    before: Option<Group>,
    /// One-way delays of the last groups, each with the offset of the two clocks; and the least
    /// of this baseline period and of the one before.
    delays_us: VecDeque<i64>,
    least_us: (Option<i64>, Option<i64>),
    /// Smoothed, as in RFC 3550 §6.4.1.
    jitter_us: i64,
    /// When the first packet was sent.
    epoch: Option<Instant>,
    baseline_since_us: Option<i64>,
    /// Arrival on the receiver's clock, and length.
    acknowledged: VecDeque<(i64, u16)>,
    acknowledged_bytes: u64,
    /// The most of what arrived lately, and when: falling.
    most_acknowledged: VecDeque<(Instant, f64)>,
    delay_bps: f64,
    loss_bps: f64,
    remb_bps: Option<u64>,
    probe: Option<Probe>,
    /// What a path that was overused carried.
    capacity_bps: Option<f64>,
    updated: Option<Instant>,
    decreased: Option<Instant>,
    lost: u32,
    reported: u32,
    /// The newest packet of which feedback came.
    reported_number: u64,
    loss_since: Option<Instant>,
    loss: f64,
    last_feedback: Option<Instant>,
    round_trip: Duration,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self {
            sent: VecDeque::new(),
            next: 1,
            trend: Trend::default(),
            group: None,
            before: None,
            delays_us: VecDeque::new(),
            least_us: (None, None),
            jitter_us: 0,
            most_acknowledged: VecDeque::new(),
            epoch: None,
            baseline_since_us: None,
            acknowledged: VecDeque::new(),
            acknowledged_bytes: 0,
            delay_bps: START_BPS as f64,
            loss_bps: MAX_BPS as f64,
            remb_bps: None,
            probe: None,
            capacity_bps: None,
            updated: None,
            decreased: None,
            lost: 0,
            reported: 0,
            reported_number: 0,
            loss_since: None,
            loss: 0.0,
            last_feedback: None,
            round_trip: Duration::from_millis(100),
        }
    }
}

impl Bandwidth {
    /// The number for the next packet's transport-wide extension.
    pub fn next_number(&self) -> u16 {
        self.next as u16
    }

    /// The packet with that number was sent.
    pub fn on_sent(&mut self, len: usize, now: Instant) {
        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        let sent_us = self.since_epoch_us(now);
        self.sent.push_back(SentPacket {
            sent_us,
            // What is longer is no datagram.
            len: len as u16,
            fate: Fate::Unknown,
        });
        self.next += 1;
    }

    /// Asks for the memory of the next packets, which take the place of the oldest.
    pub fn prefetch(&self) {
        for nth in [0, PREFETCHED] {
            self.sent.get(nth).into_iter().for_each(prefetch);
        }
    }

    fn since_epoch_us(&mut self, now: Instant) -> i64 {
        let epoch = *self.epoch.get_or_insert(now);
        now.saturating_duration_since(epoch).as_micros() as i64
    }

    pub fn estimate_bps(&self) -> u64 {
        let estimate = self.delay_bps.min(self.loss_bps) as u64;
        estimate
            .min(self.remb_bps.unwrap_or(MAX_BPS))
            .clamp(MIN_BPS, MAX_BPS)
    }

    /// How fast a burst may go out.
    pub fn pace_bps(&self) -> u64 {
        let factor = match self.capacity_bps {
            Some(_) => PACE_KNOWN,
            None => PACE_UNKNOWN,
        };
        (self.estimate_bps() as f64 * factor) as u64
    }

    /// What arrived in the last half second; `None` without feedback.
    pub fn acknowledged_bps(&self) -> Option<u64> {
        let (first, _) = self.acknowledged.front()?;
        let (last, _) = self.acknowledged.back()?;
        let span = (last - first).max(RATE_WINDOW_US / 5);
        (self.acknowledged.len() > 4)
            .then(|| (self.acknowledged_bytes * 8_000_000) / span.unsigned_abs())
    }

    /// The share of packets that the path lost in the last second, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    pub fn is_overused(&self) -> bool {
        self.usage() == Usage::Over
    }

    fn usage(&self) -> Usage {
        match self.trend.usage() {
            Usage::Over if self.standing_queue_us() < self.harmful_queue_us() => Usage::Normal,
            usage => usage,
        }
    }

    /// Whether what is sent now waits long.
    pub fn has_long_queue(&self) -> bool {
        self.standing_queue_us() >= LONG_QUEUE_US
    }

    fn harmful_queue_us(&self) -> i64 {
        QUEUE_US + QUEUE_JITTERS * self.jitter_us
    }

    /// Whether the path was too small a short while ago.
    pub fn decreased_within(&self, time: Duration, now: Instant) -> bool {
        self.decreased
            .is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// The path's, with the queue that stands in it, and until the peer reports.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    pub fn on_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// draft-alvestrand-rmcat-remb-03: taken where nothing better comes.
    pub fn on_remb(&mut self, bps: u64, now: Instant) {
        let has_better = self
            .last_feedback
            .is_some_and(|at| now.saturating_duration_since(at) < STALE);
        self.remb_bps = (!has_better).then_some(bps);
    }

    pub fn on_feedback(&mut self, feedback: &TransportFeedback, now: Instant) {
        self.last_feedback = Some(now);
        self.remb_bps = None;
        let mut last_sent_us = None;
        for (number, arrived_us) in feedback.packets() {
            let Some((number, sent, before)) = self.find(number, arrived_us.is_some()) else {
                continue;
            };
            self.reported_number = self.reported_number.max(number);
            self.reported += u32::from(before == Fate::Unknown);
            match (before, sent.fate) {
                (Fate::Unknown, Fate::Missing) => self.lost += 1,
                // It was late only, or came when it was sent again.
                (Fate::Missing, Fate::Arrived) => self.lost = self.lost.saturating_sub(1),
                _ => {}
            }
            let Some(arrived_us) = arrived_us else {
                continue;
            };
            last_sent_us = last_sent_us.max(Some(sent.sent_us));
            self.count_for_probe(number, sent.len, arrived_us);
            self.acknowledge(arrived_us, sent.len);
            self.on_arrival(sent.sent_us, arrived_us);
        }
        if let Some(sent_us) = last_sent_us {
            let elapsed_us = self.since_epoch_us(now) - sent_us;
            let sample = Duration::from_micros(elapsed_us.max(0).unsigned_abs());
            self.round_trip = (self.round_trip * 7 + sample) / 8;
        }
        self.update_loss(now);
        self.update_delay(now);
        self.conclude_probe(now);
    }

    /// The packet of which the feedback names the lower 16 bits, its whole number, and what was
    /// known of it; `None` when this is no news.
    fn find(&mut self, number: u16, has_arrived: bool) -> Option<(u64, SentPacket, Fate)> {
        let newest = self.next.checked_sub(1)?;
        let back = u64::from((newest as u16).wrapping_sub(number));
        let number = newest.checked_sub(back)?;
        let at = self
            .sent
            .len()
            .checked_sub(1 + usize::try_from(back).ok()?)?;
        let sent = self.sent.get_mut(at)?;
        let fate = match has_arrived {
            true => Fate::Arrived,
            false => Fate::Missing,
        };
        let before = sent.fate;
        if before == fate || before == Fate::Arrived {
            return None;
        }
        sent.fate = fate;
        Some((number, *sent, before))
    }

    fn acknowledge(&mut self, arrived_us: i64, len: u16) {
        self.acknowledged.push_back((arrived_us, len));
        self.acknowledged_bytes += u64::from(len);
        while let Some(&(first, len)) = self.acknowledged.front()
            && (arrived_us - first > RATE_WINDOW_US || self.acknowledged.len() > MAX_SENT)
        {
            self.acknowledged.pop_front();
            self.acknowledged_bytes -= u64::from(len);
        }
    }

    fn on_arrival(&mut self, sent_us: i64, arrived_us: i64) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group::new(sent_us, arrived_us));
            return;
        };
        if sent_us < group.first_sent_us {
            // Reordered.
            return;
        }
        if sent_us - group.first_sent_us <= BURST_US {
            group.last_sent_us = group.last_sent_us.max(sent_us);
            group.arrived_us = group.arrived_us.max(arrived_us);
            return;
        }
        let complete = *group;
        self.group = Some(Group::new(sent_us, arrived_us));
        self.note_delay(complete);
        if let Some(before) = self.before.replace(complete) {
            let sent_ms = (complete.last_sent_us - before.last_sent_us) as f64 / 1000.0;
            let arrived_ms = (complete.arrived_us - before.arrived_us) as f64 / 1000.0;
            let at_ms = complete.arrived_us as f64 / 1000.0;
            self.trend.on_group(sent_ms, arrived_ms, at_ms);
        }
    }

    fn note_delay(&mut self, group: Group) {
        let delay_us = group.arrived_us - group.last_sent_us;
        if let Some(before) = self.delays_us.back() {
            self.jitter_us += ((delay_us - before).abs() - self.jitter_us) / 16;
        }
        self.delays_us.push_back(delay_us);
        if self.delays_us.len() > RECENT_GROUPS {
            self.delays_us.pop_front();
        }
        let since_us = *self.baseline_since_us.get_or_insert(group.last_sent_us);
        if group.last_sent_us - since_us >= BASELINE_US {
            self.baseline_since_us = Some(group.last_sent_us);
            self.least_us = (None, self.least_us.0);
        }
        let least = self
            .least_us
            .0
            .map_or(delay_us, |least| least.min(delay_us));
        self.least_us.0 = Some(least);
    }

    /// How long even the luckiest of the last groups waited in a queue, in microseconds.
    fn standing_queue_us(&self) -> i64 {
        let recent = self.delays_us.iter().min();
        let (now, before) = self.least_us;
        let least = now.into_iter().chain(before).min();
        recent
            .zip(least)
            .map_or(0, |(recent, least)| recent - least)
    }

    fn update_loss(&mut self, now: Instant) {
        let since = *self.loss_since.get_or_insert(now);
        if now.saturating_duration_since(since) < LOSS_WINDOW || self.reported < 20 {
            return;
        }
        self.loss = f64::from(self.lost) / f64::from(self.reported);
        (self.lost, self.reported, self.loss_since) = (0, 0, Some(now));
        if self.loss > HIGH_LOSS {
            let from = self.loss_bps.min(self.delay_bps);
            // What comes through despite the loss is not too much.
            let floor = DECREASE * self.acknowledged_bps().unwrap_or(0) as f64;
            self.loss_bps = (from * (1.0 - 0.5 * self.loss))
                .max(floor)
                .max(MIN_BPS as f64);
            self.decreased = Some(now);
        } else if self.loss < LOW_LOSS {
            self.loss_bps = (self.loss_bps * INCREASE).min(MAX_BPS as f64);
        }
    }

    fn update_delay(&mut self, now: Instant) {
        let Some(acknowledged) = self.acknowledged_bps() else {
            return;
        };
        let acknowledged = acknowledged as f64;
        self.note_acknowledged(acknowledged, now);
        let elapsed = self
            .updated
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        match self.usage() {
            Usage::Over => {
                // One decrease a round trip: the queue needs that long to show it.
                let pause = self.round_trip.clamp(Duration::from_millis(150), STALE);
                if !self.decreased_within(pause, now) {
                    let carried = self.carried_bps(acknowledged);
                    self.capacity_bps = Some(carried);
                    self.delay_bps = (DECREASE * carried).min(self.delay_bps);
                    self.decreased = Some(now);
                }
            }
            Usage::Under => {}
            Usage::Normal => self.increase(acknowledged, elapsed.min(Duration::from_secs(1))),
        }
        self.delay_bps = self.delay_bps.clamp(MIN_BPS as f64, MAX_BPS as f64);
        self.updated = Some(now);
    }

    /// What arrived in the last `window_us`.
    fn acknowledged_within(&self, window_us: i64) -> Option<f64> {
        let (last, _) = self.acknowledged.back()?;
        let of_window = self.acknowledged.iter().rev();
        let of_window = of_window.take_while(|(at, _)| last - at <= window_us);
        let bytes: u64 = of_window.map(|(_, len)| u64::from(*len)).sum();
        Some((bytes * 8_000_000) as f64 / window_us as f64)
    }

    fn note_acknowledged(&mut self, acknowledged: f64, now: Instant) {
        let most = &mut self.most_acknowledged;
        while most.back().is_some_and(|(_, less)| *less <= acknowledged) {
            most.pop_back();
        }
        most.push_back((now, acknowledged));
        let is_old = |at: Instant| now.saturating_duration_since(at) > RECENT;
        while most.front().is_some_and(|(at, _)| is_old(*at)) {
            most.pop_front();
        }
    }

    /// What the path carries, when a queue stands in it.
    fn carried_bps(&self, acknowledged: f64) -> f64 {
        let lately = self.acknowledged_within(BURST_WINDOW_US).unwrap_or(0.0);
        match self.has_long_queue() {
            true => acknowledged,
            false => self
                .most_acknowledged
                .front()
                .map_or(acknowledged, |(_, most)| *most)
                .max(lately),
        }
    }

    /// Fast while far from what the path carried at its last overuse, slow near it. Only while the
    /// estimate is made use of: what is not sent is not known to arrive.
    fn increase(&mut self, acknowledged: f64, elapsed: Duration) {
        let ceiling = acknowledged / USED + 10_000.0;
        if self.delay_bps >= ceiling {
            return;
        }
        let near = self.capacity_bps.is_some_and(|capacity| {
            self.delay_bps > 0.8 * capacity && acknowledged < 1.3 * capacity
        });
        if acknowledged > self.capacity_bps.unwrap_or(f64::MAX) * 1.3 {
            self.capacity_bps = None;
        }
        let grown = if near {
            // A packet a round trip (draft §5.5).
            let response = self.round_trip.as_secs_f64() + 0.1;
            self.delay_bps + 9_600.0 / response * elapsed.as_secs_f64()
        } else {
            self.delay_bps * INCREASE.powf(elapsed.as_secs_f64())
        };
        self.delay_bps = grown.min(ceiling);
    }

    /// From now on more is sent than the estimate allows.
    pub fn begin_probe(&mut self) {
        self.probe = Some(Probe {
            first: self.next,
            last: None,
            bytes: 0,
            packets: 0,
            arrived_us: None,
        });
    }

    /// The feedback on what was sent until now will tell.
    pub fn end_probe(&mut self) {
        let last = self.next.saturating_sub(1);
        if let Some(probe) = &mut self.probe {
            probe.last.get_or_insert(last);
        }
    }

    fn count_for_probe(&mut self, number: u64, len: u16, arrived_us: i64) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        if number < probe.first || probe.last.is_some_and(|last| number > last) {
            return;
        }
        let (since, until) = probe.arrived_us.get_or_insert((arrived_us, arrived_us));
        (*since, *until) = ((*since).min(arrived_us), (*until).max(arrived_us));
        if probe.packets > 0 {
            probe.bytes += u64::from(len);
        }
        probe.packets += 1;
    }

    /// What arrived of a probe is a floor of what the path carries, also if it was too much.
    fn conclude_probe(&mut self, now: Instant) {
        let Some(probe) = self.probe else {
            return;
        };
        let newest = self.reported_number;
        if probe.last.is_none_or(|last| newest < last) {
            return;
        }
        self.probe = None;
        let Some((since, until)) = probe.arrived_us else {
            return;
        };
        // Jitter may have brought its ends together.
        let span = until - since + 2 * self.jitter_us;
        if probe.packets < PROBE_PACKETS || span < PROBE_SPAN_US {
            return;
        }
        let carried = (probe.bytes * 8_000_000 / span.unsigned_abs()) as f64;
        let was_too_much =
            self.is_overused() || self.decreased_within(Duration::from_millis(500), now);
        let share = if was_too_much { DECREASE } else { 0.95 };
        let floor = share * carried;
        self.delay_bps = self.delay_bps.max(floor).min(MAX_BPS as f64);
        if self.loss < LOW_LOSS {
            self.loss_bps = self.loss_bps.max(floor);
        }
    }
}

impl Group {
    fn new(sent_us: i64, arrived_us: i64) -> Self {
        Self {
            first_sent_us: sent_us,
            last_sent_us: sent_us,
            arrived_us,
        }
    }
}

#[cfg(test)]
#[path = "bandwidth/tests.rs"]
mod tests;
