//! The number of workers that a person has set in place of the policy's.

use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::clock::time_of_day;
use crate::duration::{millis, rfc3339_seconds, unix_millis};

/// What a person wants of a workload's workers, if one has said so. The policy is asked all the same.
#[derive(Debug)]
pub(crate) struct CountOverride(watch::Sender<Option<SetCount>>);

/// A number of workers that a person has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SetCount {
    /// How many.
    pub(crate) count: u32,
    until: Option<Instant>,
    /// Until when, in milliseconds since the Unix epoch; `None` until somebody ends it.
    pub(crate) until_ms: Option<u64>,
}

/// Tells when another number is set, or none any more.
pub(crate) type OverrideNews = watch::Receiver<Option<SetCount>>;

impl Default for CountOverride {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl CountOverride {
    /// Sets so many workers, for a time or until it is ended. What lasts longer than can be told lasts until then.
    pub(crate) fn set(&self, count: u32, last: Option<Duration>) -> SetCount {
        let until = last.and_then(|last| Instant::now().checked_add(last));
        let until_ms = last.filter(|_| until.is_some());
        let until_ms = until_ms.map(|last| unix_millis(time_of_day()).saturating_add(millis(last)));
        let set = SetCount { count, until, until_ms };
        self.0.send_replace(Some(set));
        set
    }

    /// The policy decides again. Returns whether it did not.
    pub(crate) fn end(&self) -> bool {
        self.0.send_if_modified(|set| set.take().is_some())
    }

    /// What holds now.
    pub(crate) fn get(&self) -> Option<SetCount> {
        self.0.borrow().filter(|set| !set.is_over())
    }

    /// The news from now on; what holds already is news.
    pub(crate) fn news(&self) -> OverrideNews {
        let mut news = self.0.subscribe();
        if news.borrow().is_some() {
            news.mark_changed();
        }
        news
    }

    /// Waits for news. What ends by itself ends here, for `workload`. Cancel-safe.
    pub(crate) async fn changed(&self, news: &mut OverrideNews, workload: &str) {
        loop {
            let until = self.0.borrow().and_then(|set| set.until);
            tokio::select! {
                // An error would mean that this is gone.
                _ = news.changed() => return,
                () = reached(until) => {
                    if self.0.send_if_modified(|set| set.take_if(|set| set.is_over()).is_some()) {
                        tell_over(workload);
                    }
                }
            }
        }
    }
}

/// The time is over for which a person set the workers.
pub(crate) fn tell_over(workload: &str) {
    tracing::info!(workload, "the time is over for which a person set the workers: the policy decides again");
}

impl SetCount {
    /// What is known of a number that holds for all hosts of a fleet.
    pub(crate) fn of(count: u32, until_ms: Option<u64>) -> Self {
        Self { count, until: None, until_ms }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// Why there are so many workers.
    pub(crate) fn reason(&self) -> String {
        let until = self.until_ms.and_then(|until| rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(until)));
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        format!("a person has set {} workers{until}", self.count)
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_a_person_sets_holds_until_it_is_ended_or_its_time_is_over() {
        let set = CountOverride::default();
        let mut news = set.news();
        assert_eq!((set.get(), set.end()), (None, false));
        set.set(3, None);
        set.changed(&mut news, "work").await;
        assert_eq!(set.get().map(|set| set.count), Some(3));
        assert!(set.end());
        set.changed(&mut news, "work").await;
        set.set(5, Some(Duration::from_secs(60)));
        set.changed(&mut news, "work").await;
        assert_eq!(set.get().map(|set| set.count), Some(5));
        let began = Instant::now();
        // By itself: it is told, and nothing holds.
        set.changed(&mut news, "work").await;
        assert_eq!((set.get(), began.elapsed().as_secs()), (None, 60));
    }

    #[test]
    fn a_time_that_cannot_be_shown_is_left_out() {
        let reason = |until_ms| SetCount::of(3, Some(until_ms)).reason();
        assert_eq!(reason(1_769_860_800_000), "a person has set 3 workers until 2026-01-31T12:00:00Z");
        assert_eq!(reason(u64::MAX), "a person has set 3 workers");
    }

    #[test]
    fn a_time_that_cannot_be_told_has_no_end() {
        let set = CountOverride::default();
        assert_eq!(set.set(1, Some(Duration::MAX)).until_ms, None);
        assert!(set.get().is_some() && set.news().has_changed().unwrap_or_default());
    }
}
