//! When a consumer that refuses, or does not answer, is asked again. No IO.

use std::time::Duration;

use tokio::time::Instant;

/// How long to wait after a pull failed, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// So many failures in a row are a second apart: most causes pass.
const QUICK: u32 = 5;

/// A consumer without a failure for so long works again.
const CALM: Duration = Duration::from_secs(3);

/// Pulls that end at once without a delivery are sent so far apart, after the first few.
const APART: Duration = Duration::from_millis(100);
const BARREN: u32 = 3;

/// What came of asking one consumer lately.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    until: Option<Instant>,
    /// Failures since the last delivery.
    failures: u32,
    /// The last failure that was told and did not end yet.
    failed: Option<Instant>,
    asked: Option<Instant>,
    /// Pulls that ended since the last delivery.
    barren: u32,
}

impl Patience {
    /// When it may be asked again; `None` if it may now.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The time of [`Patience::until`] has come, or what it waited for.
    pub(crate) fn is_over(&mut self) {
        self.until = None;
    }

    /// It was asked.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// It could not be asked.
    pub(crate) fn unable(&mut self, now: Instant) {
        self.until = Some(now + PAUSE);
    }

    /// It refused, or did not answer.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(QUICK).min(8);
        self.until = Some(now + PAUSE.saturating_mul(1 << doublings).min(LONGEST));
        self.failed = Some(now);
    }

    /// A delivery came. Whether that ends a time of failures.
    pub(crate) fn delivered(&mut self, now: Instant) -> bool {
        (self.failures, self.barren) = (0, 0);
        self.works_again(now)
    }

    /// A pull ended as pulls do. Whether that ends a time of failures.
    pub(crate) fn ended(&mut self, now: Instant) -> bool {
        self.barren = self.barren.saturating_add(1);
        if let Some(asked) = self.asked
            && self.barren >= BARREN
            && now < asked + APART
        {
            self.until = Some(self.until.unwrap_or(now).max(asked + APART));
        }
        self.works_again(now)
    }

    fn works_again(&mut self, now: Instant) -> bool {
        let over = self.failed.is_some_and(|failed| failed + CALM <= now);
        if over {
            (self.failed, self.failures) = (None, 0);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_refuses_each_pull_is_asked_ever_less_often() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        let begin = now;
        let mut asked = 0;
        while now < begin + Duration::from_secs(600) {
            patience.asked(now);
            patience.failed(now);
            asked += 1;
            now = patience.until().unwrap_or(now);
            patience.is_over();
        }
        assert!((60..=70).contains(&asked), "{asked}");
    }

    #[test]
    fn pulls_that_end_at_once_do_not_spin() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        let begin = now;
        let mut asked = 0;
        while now < begin + Duration::from_secs(10) {
            patience.asked(now);
            asked += 1;
            now += Duration::from_millis(1);
            patience.ended(now);
            now = patience.until().unwrap_or(now);
            patience.is_over();
        }
        assert!(asked <= 105, "{asked}");
        // One that waits for its whole time is followed at once.
        patience.asked(now);
        now += Duration::from_secs(5);
        patience.ended(now);
        assert_eq!(patience.until(), None);
    }

    #[test]
    fn it_works_again_when_nothing_has_failed_for_a_while() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        assert!(!patience.delivered(now));
        patience.failed(now);
        assert!(!patience.delivered(now + CALM / 2));
        patience.failed(now + CALM);
        assert!(!patience.ended(now + CALM * 3 / 2));
        assert!(patience.ended(now + CALM * 2));
        assert!(!patience.delivered(now + CALM * 3));
    }
}
