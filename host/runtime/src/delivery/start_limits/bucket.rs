//! A token bucket: so many at once after a pause, then one after each span of time. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// Longer than anybody waits.
const FAR: Duration = Duration::from_secs(1 << 32);

/// How many may begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    every: Duration,
    burst: u32,
    /// When as many as `burst` may begin at once, if none begins before.
    full_at: Instant,
}

impl Bucket {
    /// Full.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { every: rate.every.max(Duration::from_nanos(1)), burst: rate.burst.max(1), full_at: now }
    }

    /// With as many that may begin now as of `before`, the part of the next one too that has come already, and with
    /// what was [taken](Bucket::take) beyond that. Empty if there was none before.
    pub(super) fn after(before: Option<Self>, rate: Rate, now: Instant) -> Self {
        let full = Self::new(rate, now);
        let missing = |of: Self| of.full_at.saturating_duration_since(now).as_secs_f64() / of.every.as_secs_f64();
        let available = before.map_or(0.0, |of| f64::from(of.burst) - missing(of));
        let wait = full.every.as_secs_f64() * (f64::from(full.burst) - available).max(0.0);
        let full_at = Duration::try_from_secs_f64(wait).ok().and_then(|wait| now.checked_add(wait));
        // A rate of nothing is full some day.
        Self { full_at: full_at.unwrap_or(now + FAR), ..full }
    }

    /// The most at once.
    pub(super) fn burst(&self) -> usize {
        usize::try_from(self.burst).unwrap_or(usize::MAX)
    }

    /// How many come in this time, at least 1 and at most half of the burst.
    pub(super) fn of(&self, time: Duration) -> usize {
        let count = usize::try_from(time.as_nanos() / self.every.as_nanos()).unwrap_or(usize::MAX);
        count.min(self.burst() / 2).max(1)
    }

    /// How many may begin now.
    pub(super) fn available(&self, now: Instant) -> usize {
        let missing = self.full_at.saturating_duration_since(now).as_nanos().div_ceil(self.every.as_nanos());
        self.burst().saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX))
    }

    /// When so many may begin at once; `None` for more than ever may.
    pub(super) fn when(&self, count: usize, now: Instant) -> Option<Instant> {
        let spare = u32::try_from(self.burst().checked_sub(count)?).unwrap_or(u32::MAX);
        Some(self.full_at.checked_sub(self.every.saturating_mul(spare)).unwrap_or(now))
    }

    /// So many begin now. More than may, as where the rate is less than when they were taken, have to come first.
    pub(super) fn take(&mut self, count: usize, now: Instant) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.full_at = self.full_at.max(now) + self.every.saturating_mul(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(every_ms: u64, burst: u32, now: Instant) -> Bucket {
        Bucket::new(Rate { every: Duration::from_millis(every_ms), burst }, now)
    }

    #[test]
    fn after_a_pause_a_burst_begins_and_then_one_after_the_other() {
        let (now, ms) = (Instant::now(), Duration::from_millis);
        let mut bucket = bucket(200, 5, now);
        assert_eq!(bucket.available(now), 5);
        bucket.take(5, now);
        let available = |bucket: Bucket, after| bucket.available(now + ms(after));
        assert_eq!((available(bucket, 0), available(bucket, 199), available(bucket, 200)), (0, 0, 1));
        assert_eq!(bucket.when(1, now), Some(now + ms(200)));
        assert_eq!(bucket.when(5, now), Some(now + ms(1000)));
        assert_eq!(bucket.when(6, now), None);
        // What was not used does not add up.
        assert_eq!(bucket.available(now + ms(3_600_000)), 5);
    }

    #[test]
    fn a_slow_rate_that_changes_often_loses_nothing_of_what_has_come() {
        let (ms, mut now) = (Duration::from_millis, Instant::now());
        let rate = |every| Rate { every: ms(every), burst: 1 };
        let mut bucket = Bucket::after(None, rate(10_000), now);
        for change in 0..12 {
            assert_eq!(bucket.available(now), 0, "{change}");
            now += ms(1_000);
            bucket = Bucket::after(Some(bucket), rate(if change % 2 == 0 { 20_000 } else { 10_000 }), now);
        }
        now += ms(2_100);
        assert_eq!(bucket.available(now), 1);
        // No more than that, whatever it was before.
        assert_eq!(Bucket::after(Some(bucket), rate(1), now).available(now), 1);
    }

    proptest! {
        #[test]
        fn no_time_has_more_than_the_burst_and_what_the_rate_allows_in_it(
            every in 1u64..500, burst in 1u32..20, steps in proptest::collection::vec((0u64..400, 0usize..30), 1..80)
        ) {
            let begin = Instant::now();
            let (mut bucket, mut now, mut begun) = (bucket(every, burst, begin), begin, Vec::new());
            for (step, wanted) in steps {
                now += Duration::from_millis(step);
                let count = wanted.min(bucket.available(now));
                bucket.take(count, now);
                begun.extend(std::iter::repeat_n(now, count));
            }
            for (index, from) in begun.iter().enumerate() {
                for (later, to) in begun.iter().enumerate().skip(index) {
                    let allowed = u128::from(burst) + (*to - *from).as_millis() / u128::from(every);
                    prop_assert!((later - index + 1) as u128 <= allowed);
                }
            }
        }

        #[test]
        fn it_says_when_so_many_may_begin(
            every in 1u64..500, burst in 1u32..20, taken in 0usize..20, count in 1usize..20
        ) {
            let now = Instant::now();
            let mut bucket = bucket(every, burst, now);
            bucket.take(taken.min(bucket.available(now)), now);
            match bucket.when(count, now) {
                None => prop_assert!(count > bucket.burst()),
                Some(at) => {
                    prop_assert!(bucket.available(at.max(now)) >= count);
                    if at > now {
                        prop_assert!(bucket.available(at - Duration::from_nanos(1)) < count);
                    }
                }
            }
        }
    }
}
