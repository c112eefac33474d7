//! Counts the deliveries that were asked for on one inbox and may still come. No IO.
//!
//! Each pull has a subject of its own under the inbox, so a status of the server is known to be about that pull. A
//! delivery does not say which pull brings it, so it only lowers the sum.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The pulls of one inbox.
#[derive(Debug)]
pub(super) struct PendingPulls {
    /// How long after it was sent a pull can bring nothing any more.
    life: Duration,
    /// The newest pulls, oldest first, with their numbers in a row up to `next`.
    pulls: VecDeque<PendingPull>,
    next: u64,
    left: usize,
    /// Since when deliveries have been expected without a break.
    since: Instant,
    worn: bool,
}

#[derive(Debug)]
struct PendingPull {
    at: Instant,
    expires: Duration,
    /// How many deliveries it asked for; 0 once it has ended.
    batch: usize,
}

/// What is known of a pull that the server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndedPull {
    /// The pull brought nothing.
    pub(super) whole: bool,
    /// The pull lasted for less than half of its time.
    pub(super) early: bool,
}

impl PendingPulls {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, pulls: VecDeque::new(), next: 0, left: 0, since: Instant::now(), worn: false }
    }

    /// How many deliveries may still come.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Counts a pull, and gives its number.
    pub(super) fn ask(&mut self, batch: usize, expires: Duration, now: Instant) -> u64 {
        while self.pulls.front().is_some_and(|pull| pull.at + self.life <= now) {
            self.pulls.pop_front();
        }
        if self.left == 0 {
            (self.since, self.worn) = (now, false);
        }
        self.left += batch;
        self.pulls.push_back(PendingPull { at: now, expires, batch });
        self.next += 1;
        self.next - 1
    }

    /// Counts a delivery that came.
    pub(super) fn came(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Ends a pull of which this many deliveries were not sent; without a number none was. `None` if the pull is not
    /// known any more.
    pub(super) fn end(&mut self, number: u64, unanswered: Option<usize>, now: Instant) -> Option<EndedPull> {
        let first = self.next - self.pulls.len() as u64;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        let pull = self.pulls.get_mut(index)?;
        let batch = std::mem::take(&mut pull.batch);
        let unanswered = unanswered.unwrap_or(batch).min(batch);
        self.left = self.left.saturating_sub(unanswered);
        Some(EndedPull { whole: batch > 0 && unanswered == batch, early: now < pull.at + pull.expires / 2 })
    }

    /// When nothing can come any more; `None` if nothing is expected.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.pulls.back().filter(|_| self.left > 0).map(|pull| pull.at + self.life)
    }

    /// Forgets all pulls: nothing comes on this inbox any more.
    pub(super) fn forget(&mut self) {
        self.pulls.clear();
        self.left = 0;
    }

    /// Whether another inbox should be used: deliveries have been expected for longer than any pull lasts. A pull that
    /// was lost on its way to the server would otherwise count as pending for as long as other pulls follow on this
    /// inbox.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.left > 0 && (self.worn || self.since + self.life <= now)
    }

    /// From now on [`PendingPulls::is_old`], as long as deliveries may still come on this inbox.
    pub(super) fn wear(&mut self) {
        self.worn = true;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const LIFE: Duration = Duration::from_secs(6);

    #[test]
    fn one_refusal_ends_one_pull() {
        let (mut asked, now) = (PendingPulls::new(LIFE), Instant::now());
        let (first, second) = (asked.ask(100, LIFE, now), asked.ask(50, LIFE, now));
        assert_eq!(asked.end(second, None, now), Some(EndedPull { whole: true, early: true }));
        assert_eq!(asked.left(), 100);
        // A pull whose end is told twice ends once.
        assert_eq!(asked.end(second, Some(50), now).map(|ended| ended.whole), Some(false));
        asked.came();
        assert_eq!(asked.end(first, Some(99), now + LIFE / 2), Some(EndedPull { whole: false, early: false }));
        assert_eq!((asked.left(), asked.ends()), (0, None));
    }

    #[test]
    fn a_pull_that_is_not_known_ends_nothing() {
        let (mut asked, now) = (PendingPulls::new(LIFE), Instant::now());
        assert_eq!(asked.end(0, None, now), None);
        asked.ask(5, LIFE, now);
        asked.ask(7, LIFE, now + LIFE);
        assert_eq!(asked.end(0, None, now), None);
        assert_eq!(asked.end(2, None, now), None);
        assert_eq!(asked.left(), 12);
    }

    #[test]
    fn another_inbox_is_due_when_something_was_on_its_way_for_too_long() {
        let (mut asked, now) = (PendingPulls::new(LIFE), Instant::now());
        asked.ask(1, LIFE, now);
        assert!(!asked.is_old(now + LIFE / 2));
        assert!(asked.is_old(now + LIFE));
        asked.came();
        assert!(!asked.is_old(now + LIFE));
        asked.ask(1, LIFE, now + LIFE);
        assert!(!asked.is_old(now + LIFE));
    }

    proptest! {
        #[test]
        fn no_more_comes_than_was_asked_for(
            steps in prop::collection::vec((0u8..3, 0u64..20, prop::option::of(0usize..9)), 0..200),
        ) {
            let (mut asked, mut now) = (PendingPulls::new(LIFE), Instant::now());
            let mut all = 0;
            for (step, number, count) in steps {
                match step {
                    0 => {
                        let batch = count.unwrap_or(1);
                        all += batch;
                        asked.ask(batch, LIFE, now);
                    }
                    1 => asked.came(),
                    _ => {
                        asked.end(number, count, now);
                    }
                }
                now += Duration::from_millis(700);
                prop_assert!(asked.left() <= all);
            }
        }
    }
}
