//! Sequence numbers: 16 bits unwrapped to 64, and which of the last ones came.

/// How many numbers back a packet may come late and still be told from a duplicate: more than
/// a second of 720p video, and longer than any retransmission takes.
pub const WINDOW: u64 = 2048;

const WORDS: usize = (WINDOW / 64) as usize;

/// What a packet's number says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The newest so far; `gap` numbers before it did not come yet.
    New {
        gap: u64,
    },
    /// An older one that was missing.
    Late,
    Duplicate,
    /// Too old to say.
    TooOld,
}

/// Unwraps the sequence numbers of one source and remembers which came.
#[derive(Debug, Default, Clone)]
pub struct Sequence {
    highest: Option<u64>,
    /// Bit `n % WINDOW` says whether `n` came, for `n` in the window below `highest`.
    received: [u64; WORDS],
}

impl Sequence {
    /// The 64-bit number nearest to the highest one so far whose lower half is `number`
    /// (RFC 3550 Appendix A.1). Changes nothing.
    pub fn unwrap(&self, number: u16) -> u64 {
        match self.highest {
            // One cycle up, so that packets that overtook the first one have a number too.
            None => u64::from(number) + 0x1_0000,
            Some(highest) => {
                let ahead = number.wrapping_sub(highest as u16) as i16;
                highest.saturating_add_signed(i64::from(ahead))
            }
        }
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Notes that `number`, from [`Self::unwrap`], came.
    pub fn insert(&mut self, number: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.set(number, true);
            return Arrival::New { gap: 0 };
        };
        if number > highest {
            let gap = number - highest - 1;
            for skipped in (highest + 1..number).rev().take(WINDOW as usize) {
                self.set(skipped, false);
            }
            self.set(number, true);
            self.highest = Some(number);
            return Arrival::New { gap };
        }
        if highest - number >= WINDOW {
            return Arrival::TooOld;
        }
        if self.get(number) {
            return Arrival::Duplicate;
        }
        self.set(number, true);
        Arrival::Late
    }

    /// Forgets which packets came, for a source that starts anew: its numbers go on above all
    /// that were given out.
    pub fn restart(&mut self, first: u16) {
        if let Some(highest) = self.highest {
            let cycle = (highest >> 16) + 2;
            // The one before `first`, so that `first` unwraps to the new cycle.
            self.highest = Some(((cycle << 16) | u64::from(first)) - 1);
            self.received = [u64::MAX; WORDS];
        }
    }

    fn get(&self, number: u64) -> bool {
        let bit = number % WINDOW;
        self.received[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    fn set(&mut self, number: u64, came: bool) {
        let bit = number % WINDOW;
        let word = &mut self.received[(bit / 64) as usize];
        *word = *word & !(1 << (bit % 64)) | u64::from(came) << (bit % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(numbers: &[u16], expect: &[Arrival]) {
        let mut sequence = Sequence::default();
        let got: Vec<Arrival> = numbers
            .iter()
            .map(|n| sequence.insert(sequence.unwrap(*n)))
            .collect();
        assert_eq!(got, expect, "{numbers:?}");
    }

    #[test]
    fn boundaries() {
        use Arrival::*;
        check(&[65535, 0], &[New { gap: 0 }, New { gap: 0 }]);
        check(&[0, 65535], &[New { gap: 0 }, Late]);
        check(&[5, 5], &[New { gap: 0 }, Duplicate]);
        check(
            &[5, 8, 6, 6],
            &[New { gap: 0 }, New { gap: 2 }, Late, Duplicate],
        );
        check(&[3000, 952], &[New { gap: 0 }, TooOld]);
        check(&[3000, 953], &[New { gap: 0 }, Late]);
    }

    #[test]
    fn restart_goes_on_above() {
        let mut sequence = Sequence::default();
        sequence.insert(sequence.unwrap(60_000));
        sequence.restart(5);
        let next = sequence.unwrap(5);
        assert_eq!(next & 0xFFFF, 5);
        assert!(next > 0x1_0000 + 60_000);
        assert_eq!(sequence.insert(next), Arrival::New { gap: 0 });
    }

    proptest! {
        /// Whatever order and loss within half a cycle: unwrapping gives back the true number,
        /// and each number is new or late exactly once.
        #[test]
        fn unwraps_and_counts_once(
            start in any::<u16>(),
            steps in proptest::collection::vec(-40i64..60, 1..400),
        ) {
            let base = u64::from(start) + 0x1_0000;
            let (mut sequence, mut seen, mut at) = (Sequence::default(), BTreeSet::new(), base);
            for (i, step) in steps.into_iter().enumerate() {
                if i > 0 { at = at.saturating_add_signed(step).max(0x1_0000); }
                let unwrapped = sequence.unwrap(at as u16);
                prop_assert_eq!(unwrapped, at);
                let highest = sequence.highest().unwrap_or(at);
                let arrival = sequence.insert(unwrapped);
                if at + WINDOW <= highest {
                    prop_assert_eq!(arrival, Arrival::TooOld);
                } else {
                    prop_assert_eq!(arrival == Arrival::Duplicate, !seen.insert(at));
                }
            }
        }
    }
}
