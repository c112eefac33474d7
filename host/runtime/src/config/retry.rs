//! What happens after a failure.

use std::time::Duration;

use super::keys::WORKLOAD;
use super::reader::Reader;

/// What happens after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often a handler tries a message before it becomes a dead letter; at least 1.
    pub max_attempts: u32,
    /// The delay after the first, second, ... attempt; the last one repeats.
    pub backoff: Vec<Duration>,
}

impl Retry {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        Self { max_attempts: keys.get("retry.max-attempts"), backoff: keys.get("retry.backoff") }
    }

    /// How often a message is delivered at most. Deliveries that no host saw the end of, for it was killed, count here
    /// alone.
    pub(crate) fn max_deliveries(&self) -> u32 {
        self.max_attempts.saturating_mul(3)
    }

    /// The delay after a failed attempt, which counts from 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff.get(index).or(self.backoff.last()).copied().unwrap_or_default()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Reader::of_nothing(WORKLOAD, Self::read)
    }
}
