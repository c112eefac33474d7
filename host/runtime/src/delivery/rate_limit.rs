//! A rate limit in events a second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Gives out the moments at which events may happen. After a pause, the events of one second may happen at once; then
/// they are evenly spread.
#[derive(Debug)]
pub struct RateLimit {
    every: Duration,
    /// The earliest moment for the event after the last one.
    next: Mutex<Option<Instant>>,
    held: AtomicU64,
}

impl RateLimit {
    /// Allows `per_second` events, at least 1, and as many at once after a second without any.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(None), held: AtomicU64::new(0) }
    }

    /// How many events had to wait.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// When the next event may happen. A time that is not in the future means now.
    pub(crate) fn next(&self, now: Instant) -> Instant {
        let mut next = self.next.lock();
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let given = next.map_or(earliest, |next| next.max(earliest));
        *next = Some(given + self.every);
        if given > now {
            self.held.fetch_add(1, Relaxed);
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_no_more_than_it_may_after_the_first() {
        let (pace, start) = (RateLimit::new(10), Instant::now() + Duration::from_secs(10));
        let moments: Vec<Instant> = (0..40).map(|_| pace.next(start)).collect();
        let at_once = moments.iter().filter(|moment| **moment <= start).count();
        assert_eq!(at_once, 11);
        let within_a_second =
            moments.iter().filter(|moment| **moment > start && **moment <= start + Duration::from_secs(1));
        assert_eq!(within_a_second.count(), 10);
        assert_eq!(pace.held(), 29);
    }

    #[test]
    fn what_was_not_used_does_not_add_up() {
        let (pace, start) = (RateLimit::new(10), Instant::now() + Duration::from_secs(10));
        pace.next(start);
        let much_later = start + Duration::from_secs(3600);
        let at_once = (0..40).filter(|_| pace.next(much_later) <= much_later).count();
        assert_eq!(at_once, 11);
    }
}
