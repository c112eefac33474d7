//! An hour of a workload as numbers, in bounded memory. Pure.

use std::collections::VecDeque;

use serde::Serialize;

use crate::delivery::counters::{TIMES_US, Times};

/// What a workload did at one moment, or over one span of time up to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sample<T = Numbers> {
    /// The end of the span: milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// Its numbers.
    pub(crate) of: T,
}

/// The numbers of a [`Sample`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Numbers {
    /// Messages that arrived, a second.
    pub(crate) arrivals: f32,
    /// Messages settled for good, a second.
    pub(crate) completions: f32,
    /// Handler calls that failed, a second.
    pub(crate) failures: f32,
    /// Messages that are not delivered yet.
    pub(crate) pending: u32,
    /// Deliveries that are not settled yet.
    pub(crate) ack_pending: u32,
    /// The age of the oldest message that is not settled, in milliseconds; `None` if there is none.
    pub(crate) oldest_ms: Option<u32>,
    /// Workers wanted.
    pub(crate) desired: u32,
    /// Workers that run and do not drain.
    pub(crate) running: u32,
    /// Workers that drain.
    pub(crate) draining: u32,
    /// Workers that the shadow would have.
    pub(crate) shadow: Option<u32>,
    /// The time that half of the handler calls of the span stayed within, in microseconds; `None` if none ended.
    pub(crate) p50_us: Option<u32>,
    /// The same for 99 of 100.
    pub(crate) p99_us: Option<u32>,
}

/// Samples, oldest first. What stays the same takes two of them, however long.
#[derive(Debug)]
pub(crate) struct Ring<T = Numbers> {
    samples: VecDeque<Sample<T>>,
    most: usize,
    /// How old a sample may be, in milliseconds.
    age_ms: u64,
}

impl<T: Copy + PartialEq> Ring<T> {
    /// Of as many samples at most, none older than this.
    pub(crate) fn new(most: usize, age_ms: u64) -> Self {
        Self { samples: VecDeque::new(), most, age_ms }
    }

    /// Adds the newest.
    pub(crate) fn push(&mut self, sample: Sample<T>) {
        let mut newest = self.samples.iter_mut().rev();
        match (newest.next(), newest.next()) {
            (Some(last), Some(before)) if last.of == sample.of && before.of == sample.of => last.at_ms = sample.at_ms,
            _ => self.samples.push_back(sample),
        }
        let oldest = sample.at_ms.saturating_sub(self.age_ms);
        // The one before the span says what was so at its beginning.
        while self.samples.len() > self.most || self.samples.get(1).is_some_and(|second| second.at_ms <= oldest) {
            self.samples.pop_front();
        }
    }

    /// All of them, oldest first.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample<T>> {
        self.samples.iter()
    }

    /// The newest.
    pub(crate) fn newest(&self) -> Option<Sample<T>> {
        self.samples.back().copied()
    }
}

/// Makes one sample of several: the mean of rates, the worst of what waits, and of workers what is last.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    sum: Numbers,
    count: u16,
}

impl Merge {
    /// Adds one.
    pub(crate) fn add(&mut self, of: Numbers) {
        let sum = self.sum;
        self.count = self.count.saturating_add(1);
        self.sum = Numbers {
            arrivals: sum.arrivals + of.arrivals,
            completions: sum.completions + of.completions,
            failures: sum.failures + of.failures,
            pending: sum.pending.max(of.pending),
            ack_pending: sum.ack_pending.max(of.ack_pending),
            oldest_ms: sum.oldest_ms.max(of.oldest_ms),
            ..of
        };
    }

    /// What they come to, with the times of the handler calls of the whole span. It begins anew.
    pub(crate) fn take(&mut self, times: &Times) -> Numbers {
        let Self { sum, count } = std::mem::take(self);
        let count = f32::from(count.max(1));
        Numbers {
            arrivals: sum.arrivals / count,
            completions: sum.completions / count,
            failures: sum.failures / count,
            p50_us: quantile(times, 0.5),
            p99_us: quantile(times, 0.99),
            ..sum
        }
    }

    /// How many were added.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }
}

/// What was counted between two readings.
pub(crate) fn between(before: &Times, after: &Times) -> Times {
    let mut times = *after;
    times.iter_mut().zip(before).for_each(|(time, before)| *time = time.saturating_sub(*before));
    times
}

/// The time in microseconds that this part of the calls stayed within, as finely as the bounds tell it: between two of
/// them it is taken to grow evenly. `None` if there were none.
pub(crate) fn quantile(times: &Times, part: f64) -> Option<u32> {
    let all: u64 = times.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = part * to_f64(all);
    let (mut below, mut lower) = (0, 0);
    for (count, upper) in times.iter().zip(TIMES_US) {
        if *count > 0 && to_f64(below + count) >= wanted {
            let share = ((wanted - to_f64(below)) / to_f64(*count)).clamp(0.0, 1.0);
            return Some(to_u32(to_f64(lower) + share * to_f64(upper - lower)));
        }
        (below, lower) = (below + count, upper);
    }
    // It took longer than is told apart.
    Some(u32::try_from(lower).unwrap_or(u32::MAX))
}

fn to_f64(count: u64) -> f64 {
    count as f64
}

fn to_u32(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp)]
    use super::*;

    fn at(seconds: u64, pending: u32) -> Sample {
        Sample { at_ms: seconds * 1000, of: Numbers { pending, ..Numbers::default() } }
    }

    fn kept(ring: &Ring) -> Vec<(u64, u32)> {
        ring.samples().map(|sample| (sample.at_ms / 1000, sample.of.pending)).collect()
    }

    #[test]
    fn what_stays_the_same_takes_two_samples() {
        let mut ring = Ring::new(10, 3_600_000);
        (0..1000).for_each(|second| ring.push(at(second, 0)));
        assert_eq!(kept(&ring), [(0, 0), (999, 0)]);
        ring.push(at(1000, 5));
        ring.push(at(1001, 0));
        assert_eq!(kept(&ring), [(0, 0), (999, 0), (1000, 5), (1001, 0)]);
    }

    #[test]
    fn a_ring_keeps_no_more_than_it_may_and_nothing_that_is_too_old() {
        let mut ring = Ring::new(4, 100_000);
        (0..10).for_each(|second| ring.push(at(second, u32::try_from(second).unwrap())));
        assert_eq!(kept(&ring), [(6, 6), (7, 7), (8, 8), (9, 9)]);
        ring.push(at(108, 1));
        assert_eq!(kept(&ring), [(8, 8), (9, 9), (108, 1)]);
        ring.push(at(1000, 1));
        assert_eq!(kept(&ring), [(108, 1), (1000, 1)]);
    }

    #[test]
    fn several_become_one_with_the_mean_of_rates_and_the_worst_of_what_waits() {
        let mut merge = Merge::default();
        merge.add(Numbers { arrivals: 10.0, pending: 7, oldest_ms: Some(5), running: 1, ..Numbers::default() });
        merge.add(Numbers { arrivals: 20.0, pending: 3, oldest_ms: None, running: 4, ..Numbers::default() });
        assert_eq!(merge.count(), 2);
        let of = merge.take(&Times::default());
        assert_eq!((of.arrivals, of.pending, of.oldest_ms, of.running, of.p50_us), (15.0, 7, Some(5), 4, None));
        assert_eq!(merge.count(), 0);
    }

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_calls() {
        let mut times = Times::default();
        assert_eq!(quantile(&times, 0.5), None);
        // 98 calls of 10 to 25 us, one of 50 to 100 ms, and one of more than a minute.
        (times[1], times[12], times[18]) = (98, 1, 1);
        let half = quantile(&times, 0.5).unwrap();
        assert!((10..=25).contains(&half), "{half}");
        assert_eq!(quantile(&times, 0.99), Some(100_000));
        assert_eq!(quantile(&times, 1.0), Some(60_000_000));
        assert_eq!(quantile(&between(&times, &times), 0.5), None);
    }
}
