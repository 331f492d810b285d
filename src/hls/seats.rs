//! How many may wait at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of places to wait in.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    total: usize,
}

/// One of them; free again when dropped.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

impl Seats {
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            total,
        })
    }

    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.total {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Seat(self.clone()))
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_seat_is_free_again() {
    let seats = Seats::new(1);
    let seat = seats.take();
    assert!(seat.is_some() && seats.take().is_none());
    drop(seat);
    assert_eq!(seats.taken(), 0);
    assert!(seats.take().is_some());
}
