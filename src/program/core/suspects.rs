//! Which inputs the child has to do without: one that crashes it twice for good, one whose stream
//! is broken for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::wire::InputId;

/// Crashes, after which an input is kept out of the mix.
const STRIKES: u32 = 2;

/// A crash that names no input is put down to the newest one, if that came, or if the child
/// began, no longer ago.
const SOON: Duration = Duration::from_secs(5);

/// The rest of an input that failed, doubled each time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Suspects {
    strikes: BTreeMap<InputId, u32>,
    newest: Option<(InputId, Instant)>,
    kept_out: BTreeSet<InputId>,
    resting: BTreeMap<InputId, Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    is_over: bool,
    next: Duration,
}

impl Suspects {
    /// These inputs are wanted from now on.
    pub fn handle_inputs(&mut self, inputs: &BTreeSet<InputId>, now: Instant) {
        self.resting.retain(|id, _| inputs.contains(id));
        self.kept_out.retain(|id| inputs.contains(id));
        // Inputs are numbered as they come.
        let newest = inputs.last().copied();
        if self.newest.map(|(id, _)| id) != newest {
            self.newest = newest.map(|id| (id, now));
        }
    }

    /// A child that `began` then has crashed, perhaps in an input's own thread. The input that is
    /// to be kept out, if one is.
    pub fn handle_crash(
        &mut self,
        named: Option<InputId>,
        began: Instant,
        now: Instant,
    ) -> Option<InputId> {
        let is_soon = |at: Instant| now.saturating_duration_since(at) <= SOON;
        let newest = self.newest.filter(|(_, at)| is_soon(*at) || is_soon(began));
        let suspect = named.or(newest.map(|(id, _)| id))?;
        let strikes = self.strikes.entry(suspect).or_default();
        *strikes += 1;
        (*strikes >= STRIKES).then(|| {
            self.strikes.remove(&suspect);
            self.kept_out.insert(suspect);
            suspect
        })
    }

    /// An input's stream is broken. How long it is left out now; `None` while it already is.
    pub fn handle_failure(&mut self, input: InputId, now: Instant) -> Option<Duration> {
        let rest = self.resting.entry(input).or_insert(Rest {
            until: now,
            is_over: true,
            next: FIRST_REST,
        });
        if !std::mem::replace(&mut rest.is_over, false) {
            return None;
        }
        let pause = rest.next;
        rest.until = now + pause;
        rest.next = (pause * 2).min(LONGEST_REST);
        Some(pause)
    }

    /// Whether an input may come back.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for rest in self.resting.values_mut() {
            if !rest.is_over && rest.until <= now {
                rest.is_over = true;
                changed = true;
            }
        }
        changed
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.resting.values().filter(|rest| !rest.is_over);
        waiting.map(|rest| rest.until).min()
    }

    /// Whether the child has to do without.
    pub fn is_out(&self, input: InputId) -> bool {
        let rests = self.resting.get(&input).is_some_and(|rest| !rest.is_over);
        rests || self.kept_out.contains(&input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InputId = InputId(1);
    const B: InputId = InputId(2);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_is_named_twice_is_kept_out() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.handle_inputs(&[A, B].into(), now);
        assert_eq!(suspects.handle_crash(Some(A), now, now + LONG), None);
        assert_eq!(suspects.handle_crash(Some(B), now, now + LONG), None);
        assert_eq!(suspects.handle_crash(Some(A), now, now + LONG), Some(A));
        assert!(suspects.is_out(A) && !suspects.is_out(B));
        // Published anew it is another input.
        suspects.handle_inputs(&[B].into(), now);
        assert!(!suspects.is_out(A));
    }

    #[test]
    fn a_broken_stream_rests_longer_each_time() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.handle_inputs(&[A].into(), now);
        assert_eq!(suspects.handle_failure(A, now), Some(FIRST_REST));
        // It says so several times.
        assert_eq!(suspects.handle_failure(A, now), None);
        assert!(suspects.is_out(A));
        let end = suspects.poll_timeout().expect("an end");
        assert!(!suspects.handle_timeout(end - Duration::from_millis(1)));
        assert!(suspects.handle_timeout(end));
        assert!(!suspects.is_out(A) && suspects.poll_timeout().is_none());
        assert_eq!(suspects.handle_failure(A, end), Some(FIRST_REST * 2));
    }

    #[test]
    fn a_crash_without_a_name_is_the_newcomers() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.handle_inputs(&[A].into(), now);
        let later = now + LONG;
        suspects.handle_inputs(&[A, B].into(), later);
        assert_eq!(suspects.handle_crash(None, now, later + SOON), None);
        // The next child begins with both.
        assert_eq!(
            suspects.handle_crash(None, later + SOON, later + SOON),
            Some(B)
        );
    }

    #[test]
    fn a_crash_out_of_nothing_is_nobodys() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.handle_inputs(&[A].into(), now);
        for minute in 1..10 {
            let at = now + LONG * minute;
            assert_eq!(suspects.handle_crash(None, at - LONG / 2, at), None);
        }
    }
}
