//! What broadcasts cost, as measured, and whether one more fits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::room::BroadcastId;

/// What has a child of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Costly {
    Broadcast(BroadcastId),
    /// Of what is to come in a broadcast.
    Preview(BroadcastId),
}

/// What all broadcasts of this server cost, in cores.
pub struct Costs {
    limit: f64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// `None` until it is measured.
    running: BTreeMap<Costly, Option<f64>>,
    /// Of the last broadcast that was measured.
    last: Option<f64>,
}

/// Why one more does not fit.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "one more broadcast needs about {needed:.2} cores, and of the {limit:.2} that program.max_cpu_percent allows {used:.2} are taken: end one, choose a smaller ladder, or use a larger machine"
)]
pub struct TooMuch {
    needed: f64,
    used: f64,
    limit: f64,
}

impl Costs {
    /// `max_cpu_percent` of this machine's cores.
    pub fn new(max_cpu_percent: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self {
            limit: cores as f64 * f64::from(max_cpu_percent) / 100.0,
            known: Mutex::default(),
        }
    }

    /// Refused by what others cost now: the dearest of them, or the last there was, says what one
    /// more needs. The first is never refused.
    pub fn admit(&self) -> Result<(), TooMuch> {
        let known = self.known();
        let measured = known.running.values().flatten().copied();
        let Some(needed) = measured.reduce(f64::max).or(known.last) else {
            return Ok(());
        };
        let cost = |cores: &Option<f64>| cores.unwrap_or(needed);
        let used: f64 = known.running.values().map(cost).sum();
        if known.running.is_empty() || used + needed <= self.limit {
            return Ok(());
        }
        Err(TooMuch {
            needed,
            used,
            limit: self.limit,
        })
    }

    pub fn begin(&self, id: Costly) {
        self.known().running.insert(id, None);
    }

    /// So much CPU time was used in so much time.
    pub fn measure(&self, id: Costly, cpu: Duration, time: Duration) {
        let cores = cpu.as_secs_f64() / time.as_secs_f64().max(0.001);
        let mut known = self.known();
        if let Some(running) = known.running.get_mut(&id) {
            *running = Some(cores);
            if let Costly::Broadcast(_) = id {
                known.last = Some(cores);
            }
        }
        known.tell();
    }

    /// In cores; `None` until it is measured.
    pub fn of(&self, id: Costly) -> Option<f64> {
        self.known().running.get(&id).copied().flatten()
    }

    pub fn end(&self, id: Costly) {
        let mut known = self.known();
        known.running.remove(&id);
        known.tell();
    }

    /// A panic elsewhere leaves numbers, and no half of one.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Known {
    fn tell(&self) {
        let used: f64 = self.running.values().flatten().sum();
        metrics::gauge!(crate::metrics::PROGRAM_CORES).set(used);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn one_more_fits_while_the_dearest_would() {
        let costs = Costs {
            limit: 1.8,
            known: Mutex::default(),
        };
        let id = |n| BroadcastId(Uuid::from_u128(n));
        let ids: Vec<Costly> = (0..4).map(|n| Costly::Broadcast(id(n))).collect();
        let second = Duration::from_secs(1);
        assert_eq!(costs.admit(), Ok(()));
        costs.begin(ids[0]);
        assert_eq!(costs.admit(), Ok(()), "nothing was measured yet");
        costs.measure(ids[0], second.mul_f64(0.7), second);
        costs.begin(ids[1]);
        // 0.7, and as much for the one that is not measured.
        let refused = costs.admit().expect_err("too much");
        assert!(refused.to_string().contains("0.70 cores"), "{refused}");
        costs.measure(ids[1], second.mul_f64(0.3), second);
        assert_eq!(costs.admit(), Ok(()));
        costs.begin(ids[2]);
        assert!(costs.admit().is_err());
        ids.iter().for_each(|id| costs.end(*id));
        assert_eq!(costs.admit(), Ok(()));
    }

    #[test]
    fn the_first_is_never_refused() {
        let costs = Costs {
            limit: 0.1,
            known: Mutex::default(),
        };
        let id = Costly::Broadcast(BroadcastId(Uuid::nil()));
        costs.begin(id);
        costs.measure(id, Duration::from_secs(1), Duration::from_secs(1));
        assert!(costs.admit().is_err());
        costs.end(id);
        assert_eq!(costs.admit(), Ok(()));
    }
}
