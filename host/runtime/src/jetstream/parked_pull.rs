//! Whether a pull waits at the server and nothing has come: then nothing has arrived, and the server need not be asked.
//! No IO.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What the pulls of a workload tell, beside what they bring. One task writes it.
#[derive(Debug, Default)]
pub(super) struct ParkedPull {
    /// Grows with each delivery, and with whatever ends a pull before its time.
    disturbances: AtomicU64,
    /// Until when the newest pull waits at the server.
    until: Mutex<Option<Instant>>,
}

/// A moment of [`ParkedPull`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl ParkedPull {
    /// A pull waits at the server until then.
    pub(super) fn waits(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    /// A pull has ended and brought nothing.
    pub(super) fn ended(&self) {
        *self.until.lock() = None;
    }

    /// A delivery came, or a pull was lost or refused. Cheap.
    pub(super) fn disturbed(&self) {
        // Nobody else writes it.
        self.disturbances.store(self.disturbances.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.disturbances.load(Relaxed))
    }

    /// Whether a pull waits now, and nothing has come since.
    pub(super) fn is_silent_since(&self, mark: Mark, now: Instant) -> bool {
        self.until.lock().is_some_and(|until| now < until) && self.mark() == mark
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_silent_while_a_pull_waits_and_nothing_comes() {
        let (pull, now, second) = (ParkedPull::default(), Instant::now(), Duration::from_secs(1));
        let mark = pull.mark();
        assert!(!pull.is_silent_since(mark, now), "nobody asks");
        pull.waits(now + second);
        assert!(pull.is_silent_since(mark, now));
        assert!(!pull.is_silent_since(mark, now + second), "the pull has ended, told or not");
        pull.ended();
        assert!(!pull.is_silent_since(mark, now));
        pull.waits(now + second);
        assert!(pull.is_silent_since(mark, now), "one pull followed the other");
        pull.disturbed();
        pull.waits(now + second);
        assert!(!pull.is_silent_since(mark, now), "something came between");
        assert!(pull.is_silent_since(pull.mark(), now));
    }
}
