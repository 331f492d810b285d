//! Whether what somebody sends arrives well enough to be shown: what producers are warned of. Pure.

use std::time::Duration;

/// Of the packets, so many are lost for good before a picture breaks visibly and often.
const TOO_MUCH_LOSS: f64 = 0.05;
/// A conversation is hard, and retransmission too late, from here on.
const TOO_SLOW: Duration = Duration::from_millis(600);
/// What is measured so often in a row is no accident.
const IN_A_ROW: u32 = 2;

/// What was measured over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Of the packets, 0 to 1: lost, and not got by retransmission.
    pub loss: f64,
    pub round_trip: Option<Duration>,
}

/// Why it is poor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Loss,
    Delay,
}

impl Measured {
    fn trouble(&self) -> Option<Trouble> {
        if self.loss >= TOO_MUCH_LOSS {
            return Some(Trouble::Loss);
        }
        let is_slow = self.round_trip.is_some_and(|time| time >= TOO_SLOW);
        is_slow.then_some(Trouble::Delay)
    }
}

/// Of one connection, over time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quality {
    told: Option<Trouble>,
    /// How often in a row it was otherwise.
    otherwise: u32,
}

impl Quality {
    /// `Some` when it changed: what the trouble is, or that there is none any more.
    pub fn see(&mut self, measured: &Measured) -> Option<Option<Trouble>> {
        let trouble = measured.trouble();
        if trouble.is_some() == self.told.is_some() {
            self.otherwise = 0;
            return None;
        }
        self.otherwise += 1;
        if self.otherwise < IN_A_ROW {
            return None;
        }
        self.otherwise = 0;
        self.told = trouble;
        Some(trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_it_lasts_and_once_it_is_over() {
        let loss = |loss| Measured {
            loss,
            round_trip: Some(Duration::from_millis(40)),
        };
        let (good, bad) = (loss(0.01), loss(0.08));
        let slow = Measured {
            round_trip: Some(TOO_SLOW),
            ..good
        };
        let told = |all: &[Measured]| -> Vec<Option<Trouble>> {
            let mut quality = Quality::default();
            all.iter().filter_map(|one| quality.see(one)).collect()
        };
        assert_eq!(told(&[good, bad, good, bad, good]), []);
        assert_eq!(told(&[good, bad, bad, bad]), [Some(Trouble::Loss)]);
        assert_eq!(told(&[slow, slow, bad]), [Some(Trouble::Delay)]);
        assert_eq!(
            told(&[bad, bad, good, bad, good, good]),
            [Some(Trouble::Loss), None]
        );
    }
}
