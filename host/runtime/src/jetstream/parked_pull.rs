//! Whether a pull waits at the server and has brought nothing. Then no message has arrived, and the server need not be
//! asked. No IO.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

/// What the pulls of a workload say about the consumer, beside the deliveries that they bring. Only the puller's task
/// writes here.
#[derive(Debug, Default)]
pub(super) struct ParkedPull {
    /// Grows with each delivery, and each time that a pull ends before its time.
    disturbances: AtomicU64,
    /// Until when the newest pull waits at the server.
    until: Mutex<Option<Instant>>,
}

/// The number of disturbances at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl ParkedPull {
    /// Notes that a pull waits at the server until this time.
    pub(super) fn waits(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }

    /// Notes that a pull has ended and brought nothing.
    pub(super) fn ended(&self) {
        *self.until.lock() = None;
    }

    /// Notes that a delivery came, or that a pull was lost or refused. Cheap.
    pub(super) fn disturbed(&self) {
        // One task writes, so no other update is lost.
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
