//! What happened when: arrivals and workers along one axis of time.

use std::time::Duration;

use crate::chart::{cover, spread};

/// Arrivals are counted in steps of this length.
const STEP: Duration = Duration::from_millis(10);

/// Arrivals and workers over time. Times count from the first request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    length: Duration,
    arrivals: Vec<u32>,
    workers: Vec<(Duration, u32)>,
}

impl Timeline {
    /// A message arrived.
    pub fn arrived(&mut self, at: Duration) {
        let step = usize::try_from(at.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX);
        if step >= self.arrivals.len() {
            self.arrivals.resize(step.saturating_add(1), 0);
        }
        if let Some(count) = self.arrivals.get_mut(step) {
            *count = count.saturating_add(1);
        }
        self.length = self.length.max(at);
    }

    /// From now on so many workers run. Times do not go back.
    pub fn workers(&mut self, at: Duration, count: u32) {
        self.workers.push((at, count));
        self.length = self.length.max(at);
    }

    /// Nothing more happens until then.
    pub fn end(&mut self, at: Duration) {
        self.length = self.length.max(at);
    }

    /// From zero to the last thing that happened.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// The most workers that ran at once.
    pub fn peak_workers(&self) -> u32 {
        self.workers.iter().map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// Arrivals per second in each of so many equal parts of the time line.
    pub fn rates(&self, parts: usize) -> Vec<f64> {
        let part = self.length.as_secs_f64() / parts.max(1) as f64;
        if part <= 0.0 {
            return vec![0.0; parts];
        }
        let mut sums = vec![0.0; parts];
        let step = STEP.as_secs_f64();
        for (index, count) in self.arrivals.iter().enumerate() {
            let from = index as f64 * step;
            // The last step reaches past the end of the time line; all of its arrivals are before that.
            let to = (from + step).min(self.length.as_secs_f64());
            spread(&mut sums, part, from, to, f64::from(*count));
        }
        sums.iter().map(|sum| sum / part).collect()
    }

    /// The most workers that ran in each of so many equal parts of the time line.
    pub fn worker_counts(&self, parts: usize) -> Vec<u32> {
        let part = self.length.as_secs_f64() / parts.max(1) as f64;
        let mut counts = vec![0; parts];
        let ends = self.workers.iter().skip(1).map(|(at, _)| *at).chain([self.length]);
        for ((from, count), to) in self.workers.iter().zip(ends) {
            let covered = cover(from.as_secs_f64(), to.as_secs_f64(), part, parts);
            counts
                .iter_mut()
                .take(covered.end)
                .skip(covered.start)
                .for_each(|most: &mut u32| *most = (*most).max(*count));
        }
        counts
    }

    /// The corners of the line that the number of workers draws: seconds and count.
    pub fn worker_steps(&self) -> Vec<(f64, u32)> {
        let mut corners = vec![(0.0, 0)];
        let mut current = 0;
        for (at, count) in &self.workers {
            corners.extend([(at.as_secs_f64(), current), (at.as_secs_f64(), *count)]);
            current = *count;
        }
        corners.push((self.length.as_secs_f64(), current));
        corners
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn rates_are_arrivals_per_second_of_each_part() {
        let mut timeline = Timeline::default();
        for at in 0..1000 {
            timeline.arrived(ms(at));
        }
        timeline.end(ms(4000));
        let rates: Vec<f64> = timeline.rates(4).into_iter().map(f64::round).collect();
        assert_eq!(rates, [1000.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_worker_that_lived_shortly_is_seen() {
        let mut timeline = Timeline::default();
        timeline.workers(ms(100), 1);
        timeline.workers(ms(510), 2);
        timeline.workers(ms(520), 1);
        timeline.workers(ms(900), 0);
        timeline.end(ms(2000));
        assert_eq!(timeline.worker_counts(4), [1, 2, 0, 0]);
        assert_eq!(timeline.peak_workers(), 2);
    }

    #[test]
    fn the_line_of_workers_has_a_corner_before_and_after_each_change() {
        let mut timeline = Timeline::default();
        timeline.workers(ms(1000), 1);
        timeline.end(ms(2000));
        assert_eq!(timeline.worker_steps(), [(0.0, 0), (1.0, 0), (1.0, 1), (2.0, 1)]);
    }

    #[test]
    fn an_empty_time_line_has_only_zeros() {
        assert_eq!(Timeline::default().rates(3), [0.0; 3]);
        assert_eq!(Timeline::default().worker_counts(3), [0; 3]);
        assert!(Timeline::default().rates(0).is_empty());
        assert!(Timeline::default().worker_counts(0).is_empty());
    }

    proptest! {
        #[test]
        fn no_arrival_is_lost_between_parts(at in prop::collection::vec(0_u64..20_000, 1..200), parts in 1_usize..200) {
            let mut timeline = Timeline::default();
            for at in &at {
                timeline.arrived(ms(*at));
            }
            let length = timeline.length().as_secs_f64();
            let sum: f64 = timeline.rates(parts).iter().map(|rate| rate * length / parts as f64).sum();
            if length > 0.0 {
                prop_assert!((sum - at.len() as f64).abs() < 1e-3, "{sum} of {}", at.len());
            }
        }
    }
}
