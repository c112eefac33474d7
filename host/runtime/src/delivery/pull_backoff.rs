//! When a consumer that refuses, or does not answer, is asked for deliveries again. No IO.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// How long to wait after a pull failed, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// This many failures in a row are a second apart: most causes pass soon.
const QUICK: u32 = 5;

/// A consumer without a failure for this long works again.
const CALM: Duration = Duration::from_secs(3);

/// The least time between pulls, after a few that ended at once without a delivery.
const APART: Duration = Duration::from_millis(100);
const BARREN: u32 = 3;

/// How the last pulls on one consumer ended.
#[derive(Debug)]
pub(crate) struct PullBackoff {
    until: Option<Instant>,
    /// Grows with each failure since the last delivery.
    backoff: Backoff,
    /// The last failure, until pulls work again.
    failed: Option<Instant>,
    asked: Option<Instant>,
    /// Pulls that ended since the last delivery.
    barren: u32,
}

impl Default for PullBackoff {
    fn default() -> Self {
        let backoff = Backoff::new(PAUSE, LONGEST).steady(QUICK);
        Self { until: None, backoff, failed: None, asked: None, barren: 0 }
    }
}

impl PullBackoff {
    /// When the consumer may be asked again; `None` if it may be asked now.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends the wait: the time of [`PullBackoff::until`] has come, or the connection is there again.
    pub(crate) fn is_over(&mut self) {
        self.until = None;
    }

    /// Notes that a pull was sent.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Notes that a pull could not be sent.
    pub(crate) fn unable(&mut self, now: Instant) {
        self.until = Some(now + PAUSE);
    }

    /// Notes that the consumer refused a pull, or did not answer.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.until = Some(now + self.backoff.pause());
        self.failed = Some(now);
    }

    /// Notes that a delivery came. Returns whether that ends a series of failures.
    pub(crate) fn delivered(&mut self, now: Instant) -> bool {
        self.backoff.reset();
        self.barren = 0;
        self.works_again(now)
    }

    /// Notes that a pull ended in an ordinary way. Returns whether that ends a series of failures.
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
            self.failed = None;
            self.backoff.reset();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_refuses_each_pull_is_asked_ever_less_often() {
        let (mut pulls, mut now) = (PullBackoff::default(), Instant::now());
        let begin = now;
        let mut asked = 0;
        while now < begin + Duration::from_secs(600) {
            pulls.asked(now);
            pulls.failed(now);
            asked += 1;
            now = pulls.until().unwrap_or(now);
            pulls.is_over();
        }
        assert!((60..=70).contains(&asked), "{asked}");
    }

    #[test]
    fn pulls_that_end_at_once_do_not_spin() {
        let (mut pulls, mut now) = (PullBackoff::default(), Instant::now());
        let begin = now;
        let mut asked = 0;
        while now < begin + Duration::from_secs(10) {
            pulls.asked(now);
            asked += 1;
            now += Duration::from_millis(1);
            pulls.ended(now);
            now = pulls.until().unwrap_or(now);
            pulls.is_over();
        }
        assert!(asked <= 105, "{asked}");
        // A pull that waits for its whole time is followed by the next at once.
        pulls.asked(now);
        now += Duration::from_secs(5);
        pulls.ended(now);
        assert_eq!(pulls.until(), None);
    }

    #[test]
    fn it_works_again_when_nothing_has_failed_for_a_while() {
        let (mut pulls, now) = (PullBackoff::default(), Instant::now());
        assert!(!pulls.delivered(now));
        pulls.failed(now);
        assert!(!pulls.delivered(now + CALM / 2));
        pulls.failed(now + CALM);
        assert!(!pulls.ended(now + CALM * 3 / 2));
        assert!(pulls.ended(now + CALM * 2));
        assert!(!pulls.delivered(now + CALM * 3));
    }
}
