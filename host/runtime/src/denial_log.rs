//! Says in the log what a handler reached for without a grant, or who asks without the right token: they can try
//! without end.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The shortest time between two lines of one thing.
const BETWEEN: Duration = Duration::from_secs(1);
/// Lines in that time, each of another thing.
const MOST: usize = 8;

/// Of one who tries: at most one line a second of one thing, and a few of different things.
#[derive(Debug, Default)]
pub(crate) struct DenialLog {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// What was told within the last second, and when.
    lately: Vec<(String, Instant)>,
    /// Denials since the last line that nothing was said of.
    more: u64,
}

impl DenialLog {
    /// Whether something is to be said of this denial, where all are of one thing, and how many before it nothing was
    /// said of.
    pub(crate) fn admit(&self) -> Option<u64> {
        self.admit_of("")
    }

    /// The same where they are of different things.
    pub(crate) fn admit_of(&self, thing: &str) -> Option<u64> {
        let mut told = self.told.lock();
        told.lately.retain(|(_, at)| at.elapsed() < BETWEEN);
        if told.lately.len() >= MOST || told.lately.iter().any(|(known, _)| known == thing) {
            told.more = told.more.saturating_add(1);
            return None;
        }
        told.lately.push((thing.to_owned(), Instant::now()));
        Some(std::mem::take(&mut told.more))
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

    #[tokio::test(start_paused = true)]
    async fn each_thing_is_told_beside_the_others_and_what_was_left_out_with_the_next_line() {
        let log = DenialLog::default();
        assert_eq!([log.admit_of("a"), log.admit_of("a"), log.admit_of("a")], [Some(0), None, None]);
        assert_eq!([log.admit_of("b"), log.admit_of("c"), log.admit_of("b")], [Some(2), Some(0), None]);
        tokio::time::advance(BETWEEN).await;
        assert_eq!([log.admit_of("b"), log.admit_of("a")], [Some(1), Some(0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn names_without_end_are_a_few_lines_a_second() {
        let log = DenialLog::default();
        let told =
            |from: usize| (from..from + 1000).filter_map(|name| log.admit_of(&name.to_string())).collect::<Vec<_>>();
        assert_eq!(told(0), [0; MOST]);
        tokio::time::advance(BETWEEN).await;
        let left_out = 1000 - MOST as u64;
        assert_eq!(told(1000), [left_out, 0, 0, 0, 0, 0, 0, 0]);
    }
}
