//! Says in the log what a handler reached for without a grant: a guest can try without end.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest time between two lines.
const BETWEEN: Duration = Duration::from_secs(1);

/// At most one line a second of one workload.
#[derive(Debug, Default)]
pub(crate) struct DenialLog {
    last: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// Denials since then that nothing was said of.
    more: u64,
}

impl DenialLog {
    /// Whether something is to be said of this denial, and how many before it nothing was said of.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut last = self.last.lock();
        if last.at.is_some_and(|at| at.elapsed() < BETWEEN) {
            last.more = last.more.saturating_add(1);
            return None;
        }
        last.at = Some(Instant::now());
        Some(std::mem::take(&mut last.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn denials_without_end_are_one_line_a_second_that_counts_the_others() {
        let log = DenialLog::default();
        assert_eq!(log.admit(), Some(0));
        assert_eq!([log.admit(), log.admit()], [None, None]);
        tokio::time::advance(BETWEEN).await;
        assert_eq!(log.admit(), Some(2));
        assert_eq!(log.admit(), None);
    }
}
