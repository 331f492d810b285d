//! How many watch: who plays at the live edge always waits for the next part.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Players that wait for one kind of rendition, over the time of a segment: each has its answer, and asks
/// anew, several times in that.
#[derive(Debug, Default)]
pub struct Audience {
    waiting: AtomicUsize,
    /// The most at once, of this segment and of the one before.
    most: AtomicUsize,
    before: AtomicUsize,
}

/// One who waits, until it is dropped.
#[derive(Debug)]
pub struct Watching(Arc<Audience>);

impl Audience {
    pub fn watch(self: &Arc<Self>) -> Watching {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(waiting, Ordering::Relaxed);
        Watching(self.clone())
    }

    /// A segment is over.
    pub fn next_segment(&self) {
        let most = self.most.swap(0, Ordering::Relaxed);
        self.before.store(most, Ordering::Relaxed);
    }

    pub fn count(&self) -> usize {
        let most = self.most.load(Ordering::Relaxed);
        most.max(self.before.load(Ordering::Relaxed))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn who_asks_again_and_again_is_one() {
    let audience = Arc::new(Audience::default());
    for _ in 0..5 {
        let waiting = [audience.watch(), audience.watch()];
        assert_eq!(audience.count(), 2);
        drop(waiting);
    }
    audience.next_segment();
    assert_eq!(audience.count(), 2, "nobody has asked again yet");
    drop(audience.watch());
    audience.next_segment();
    assert_eq!(audience.count(), 1);
    audience.next_segment();
    assert_eq!(audience.count(), 0);
}
