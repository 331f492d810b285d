//! The estimate against a simulated link: a rate, a queue, a loss.

use super::*;

/// Sends `offer(estimate)` bps of 1200-byte packets over a link of `link_bps` for `seconds`.
struct Link {
    bandwidth: Bandwidth,
    now: Instant,
    start: Instant,
    free_at_us: i64,
    waiting: Vec<(u16, Option<i64>)>,
    dice: u32,
    /// Delays each packet, without reordering.
    jitter_us: i64,
    last_us: i64,
}

impl Link {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            bandwidth: Bandwidth::default(),
            now,
            start: now,
            free_at_us: 0,
            waiting: Vec::new(),
            dice: 1,
            jitter_us: 0,
            last_us: 0,
        }
    }

    fn run(&mut self, seconds: u64, link_bps: u64, loss_percent: u32, offer: impl Fn(u64) -> u64) {
        self.run_for(Duration::from_secs(seconds), link_bps, loss_percent, offer);
    }

    fn run_for(
        &mut self,
        time: Duration,
        link_bps: u64,
        loss_percent: u32,
        offer: impl Fn(u64) -> u64,
    ) {
        let until = self.now + time;
        let mut feedback_at = self.now;
        while self.now < until {
            let number = self.bandwidth.next_number();
            self.bandwidth.on_sent(1200, self.now);
            let sent_us = self.now.duration_since(self.start).as_micros() as i64;
            let took = (1200 * 8 * 1_000_000 / link_bps) as i64;
            let queued = self.free_at_us.max(sent_us) - sent_us;
            self.dice = self
                .dice
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            // A queue of half a second, then the tail is dropped.
            let lost = (self.dice >> 8) % 100 < loss_percent || queued > 500_000;
            let arrives = self.free_at_us.max(sent_us) + took;
            if !lost {
                self.free_at_us = arrives;
            }
            let jitter = i64::from(self.dice >> 12) % (self.jitter_us + 1);
            let seen = (arrives + 20_000 + jitter).max(self.last_us);
            if !lost {
                self.last_us = seen;
            }
            self.waiting.push((number, (!lost).then_some(seen)));
            let bps = offer(self.bandwidth.estimate_bps()).max(10_000);
            self.now += Duration::from_micros(1200 * 8 * 1_000_000 / bps);
            if self.now >= feedback_at {
                feedback_at = self.now + Duration::from_millis(50);
                let horizon = self.now.duration_since(self.start).as_micros() as i64;
                let come = |arrival: &Option<i64>| arrival.is_none_or(|at| at <= horizon);
                let ready = self.waiting.iter().take_while(|(_, at)| come(at)).count();
                let packets: Vec<_> = self.waiting.drain(..ready).collect();
                self.bandwidth
                    .on_feedback(&TransportFeedback::new(packets), self.now);
            }
        }
    }
}

#[test]
fn a_narrow_link_is_found_within_seconds_and_not_overrun() {
    let mut link = Link::new();
    link.run(6, 300_000, 0, |estimate| estimate);
    let estimate = link.bandwidth.estimate_bps();
    assert!((120_000..330_000).contains(&estimate), "{estimate}");
}

#[test]
fn it_comes_back_when_the_link_does() {
    let mut link = Link::new();
    link.run(5, 300_000, 0, |estimate| estimate);
    link.run(60, 3_000_000, 0, |estimate| estimate);
    let estimate = link.bandwidth.estimate_bps();
    assert!(estimate > 1_200_000, "{estimate}");
}

#[test]
fn random_loss_below_a_tenth_is_no_congestion() {
    let mut link = Link::new();
    link.run(20, 10_000_000, 5, |estimate| estimate.min(2_000_000));
    assert!(link.bandwidth.estimate_bps() >= 2_000_000);
    assert!((0.01..0.12).contains(&link.bandwidth.loss()));
}

#[test]
fn what_is_not_sent_proves_nothing_until_it_is_probed() {
    let mut link = Link::new();
    link.run(4, 300_000, 0, |estimate| estimate);
    link.run(20, 3_000_000, 0, |_| 100_000);
    let before = link.bandwidth.estimate_bps();
    assert!(before < 400_000, "{before}");
    link.bandwidth.begin_probe();
    link.run_for(Duration::from_millis(150), 3_000_000, 0, |_| 900_000);
    link.bandwidth.end_probe();
    link.run(1, 3_000_000, 0, |_| 100_000);
    let after = link.bandwidth.estimate_bps();
    assert!((600_000..1_000_000).contains(&after), "{after}");
}

#[test]
fn a_probe_that_is_too_much_tells_what_the_path_carries() {
    let mut link = Link::new();
    link.run(4, 100_000, 0, |estimate| estimate);
    link.run(20, 300_000, 0, |_| 100_000);
    link.bandwidth.begin_probe();
    link.run_for(Duration::from_millis(150), 300_000, 0, |_| 600_000);
    link.bandwidth.end_probe();
    link.run(1, 300_000, 0, |_| 100_000);
    let after = link.bandwidth.estimate_bps();
    assert!((200_000..310_000).contains(&after), "{after}");
}

#[test]
fn jitter_is_no_queue() {
    let mut link = Link::new();
    link.jitter_us = 30_000;
    link.run(60, 10_000_000, 5, |estimate| estimate.min(400_000));
    let estimate = link.bandwidth.estimate_bps();
    assert!(estimate >= 400_000, "{estimate}");
}

#[test]
fn remb_counts_only_where_nothing_better_comes() {
    let now = Instant::now();
    let mut bandwidth = Bandwidth::default();
    bandwidth.on_remb(400_000, now);
    assert_eq!(bandwidth.estimate_bps(), 400_000);
    bandwidth.on_feedback(&TransportFeedback::new(Vec::new()), now);
    bandwidth.on_remb(400_000, now);
    assert!(bandwidth.estimate_bps() > 400_000);
}

#[test]
fn what_is_reported_again_is_not_counted_again() {
    let mut link = Link::new();
    let sent_us = |link: &Link| link.now.duration_since(link.start).as_micros() as i64;
    let mut packets = Vec::new();
    for n in 0..50 {
        let number = link.bandwidth.next_number();
        link.bandwidth.on_sent(250, link.now);
        packets.push((number, (n != 0).then(|| sent_us(&link) + 10_000)));
        link.now += Duration::from_millis(20);
    }
    link.bandwidth
        .on_feedback(&TransportFeedback::new(packets.clone()), link.now);
    assert_eq!((link.bandwidth.lost, link.bandwidth.reported), (1, 50));
    // The first comes at last, for it was sent again.
    packets[0].1 = Some(sent_us(&link));
    for _ in 0..5 {
        link.bandwidth
            .on_feedback(&TransportFeedback::new(packets.clone()), link.now);
    }
    assert_eq!((link.bandwidth.lost, link.bandwidth.reported), (0, 50));
    let heard = link.bandwidth.acknowledged_bps().expect("feedback came");
    assert!((90_000..115_000).contains(&heard), "{heard}");
}
