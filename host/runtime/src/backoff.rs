//! The pause before something that failed is tried again.

use std::time::Duration;

/// Pauses of which each is twice the one before, up to a bound.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    /// How many pauses are as long as the first one.
    steady: u32,
    failures: u32,
}

impl Backoff {
    /// Begins with `first`, and ends at `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, steady: 1, failures: 0 }
    }

    /// So many pauses are as long as the first one, before they double.
    pub(crate) const fn steady(self, pauses: u32) -> Self {
        Self { steady: pauses, ..self }
    }

    /// The pause now.
    pub(crate) fn pause(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(self.steady).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// It worked: the next pause is the first one again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(backoff: &mut Backoff, pauses: u32) -> Vec<u64> {
        (0..pauses).map(|_| backoff.pause().as_secs()).collect()
    }

    #[test]
    fn a_pause_doubles_up_to_its_bound_until_it_worked() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!(seconds(&mut backoff, 5), [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_secs(1));
    }

    #[test]
    fn the_first_pauses_may_be_equal_and_no_number_of_failures_is_too_large() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5)).steady(3);
        assert_eq!(seconds(&mut backoff, 6), [1, 1, 1, 2, 4, 5]);
        assert_eq!(seconds(&mut backoff, 100).last(), Some(&5));
    }
}
