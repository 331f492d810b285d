//! What a receiver report says of one source: loss, jitter, and the delay since its last
//! sender report (RFC 3550 §6.4.1, Appendix A.3 and A.8).

use std::time::{Duration, Instant};

/// One report block, ready to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    pub fraction_lost: u8,
    pub total_lost: u32,
    pub highest_sequence: u32,
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's NTP time; 0 without one.
    pub last_sender_report: u32,
    /// Since then, in 1/65536 s; 0 without one.
    pub delay: u32,
}

/// Counts what the network brought of one source; what RTX brought back does not count.
#[derive(Debug, Default, Clone)]
pub struct Reception {
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    transit: Option<(Instant, u32)>,
    /// In clock ticks, times 16, as A.8 keeps it.
    jitter_q4: u64,
    last_report: Option<(Instant, u32)>,
}

impl Reception {
    pub fn on_packet(&mut self, sequence: u64, timestamp: u32, clock_rate: u32, now: Instant) {
        self.base = Some(self.base.map_or(sequence, |base| base.min(sequence)));
        self.highest = self.highest.max(sequence);
        self.received += 1;
        if let Some((before, timestamp_before)) = self.transit {
            // The packets of one frame share a timestamp and are paced: not jitter.
            if timestamp == timestamp_before {
                return;
            }
            let elapsed = now.saturating_duration_since(before);
            let ticks = elapsed.as_micros() as i64 * i64::from(clock_rate) / 1_000_000;
            let sent = i64::from(timestamp.wrapping_sub(timestamp_before) as i32);
            let deviation = (ticks - sent).unsigned_abs();
            self.jitter_q4 += deviation;
            self.jitter_q4 -= (self.jitter_q4 - deviation + 8) >> 4;
        }
        self.transit = Some((now, timestamp));
    }

    pub fn on_sender_report(&mut self, ntp: u64, now: Instant) {
        self.last_report = Some((now, (ntp >> 16) as u32));
    }

    /// Packets the network lost so far; retransmissions that healed it do not count.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    pub fn jitter(&self, clock_rate: u32) -> Duration {
        let micros = (self.jitter_q4 >> 4) * 1_000_000 / u64::from(clock_rate.max(1));
        Duration::from_micros(micros)
    }

    /// The block for the interval since the last call.
    pub fn report(&mut self, ssrc: u32, now: Instant) -> ReportBlock {
        let expected = self.expected();
        let interval_expected = expected - self.expected_before.min(expected);
        let interval_received = self.received - self.received_before;
        self.expected_before = expected;
        self.received_before = self.received;
        let interval_lost = interval_expected.saturating_sub(interval_received);
        let (last_sender_report, delay) = match self.last_report {
            None => (0, 0),
            Some((at, middle)) => {
                let micros = now.saturating_duration_since(at).as_micros() as u64;
                (
                    middle,
                    (micros * 65_536 / 1_000_000).min(u64::from(u32::MAX)) as u32,
                )
            }
        };
        ReportBlock {
            ssrc,
            fraction_lost: (interval_lost * 256)
                .checked_div(interval_expected)
                .unwrap_or(0)
                .min(255) as u8,
            // 24 bits on the wire.
            total_lost: self.lost().min(0x7F_FFFF) as u32,
            highest_sequence: self.highest.wrapping_sub(0x1_0000) as u32,
            jitter: (self.jitter_q4 >> 4).min(u64::from(u32::MAX)) as u32,
            last_sender_report,
            delay,
        }
    }

    fn expected(&self) -> u64 {
        self.base.map_or(0, |base| self.highest - base + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_by_interval_and_in_total() {
        let (mut reception, now) = (Reception::default(), Instant::now());
        for sequence in [100, 101, 103] {
            reception.on_packet(0x1_0000 + sequence, 0, 90_000, now);
        }
        let block = reception.report(7, now);
        assert_eq!((block.fraction_lost, block.total_lost), (64, 1));
        assert_eq!(block.highest_sequence, 103);
        reception.on_packet(0x1_0000 + 104, 0, 90_000, now);
        let block = reception.report(7, now);
        assert_eq!((block.fraction_lost, block.total_lost), (0, 1));
    }

    #[test]
    fn delay_since_the_last_sender_report() {
        let (mut reception, now) = (Reception::default(), Instant::now());
        reception.on_sender_report(0x1122_3344_5566_7788, now);
        let block = reception.report(7, now + Duration::from_millis(500));
        assert_eq!(
            (block.last_sender_report, block.delay),
            (0x3344_5566, 32_768)
        );
    }

    #[test]
    fn steady_packets_have_no_jitter_and_uneven_ones_some() {
        let start = Instant::now();
        let (mut steady, mut uneven) = (Reception::default(), Reception::default());
        for i in 0..200u64 {
            let at = start + Duration::from_millis(20 * i);
            steady.on_packet(i, (960 * i) as u32, 48_000, at);
            let late = Duration::from_millis(if i % 2 == 0 { 10 } else { 0 });
            uneven.on_packet(i, (960 * i) as u32, 48_000, at + late);
        }
        assert_eq!(steady.jitter(48_000), Duration::ZERO);
        let jitter = uneven.jitter(48_000).as_millis();
        assert!((8..=10).contains(&jitter), "{jitter} ms");
    }
}
