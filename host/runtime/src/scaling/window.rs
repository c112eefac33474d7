//! Rates of counters over a sliding window.

use std::collections::VecDeque;
use std::time::Duration;

/// Samples of `N` counters that only grow, kept as long as a window.
///
/// Times are durations since any fixed moment and never go back.
#[derive(Debug, Clone)]
pub(crate) struct Window<const N: usize> {
    length: Duration,
    samples: VecDeque<(Duration, [u64; N])>,
}

/// How much each counter grew, and in which time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Growth<const N: usize> {
    /// What each counter gained.
    pub by: [u64; N],
    /// Seconds between the samples compared; 0 for the first sample.
    pub seconds: f64,
}

impl<const N: usize> Window<N> {
    /// An empty window of this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self { length, samples: VecDeque::new() }
    }

    /// Adds a sample and compares it with the youngest that is at least a window old, or else with the oldest.
    pub(crate) fn push(&mut self, now: Duration, counters: [u64; N]) -> Growth<N> {
        self.samples.push_back((now, counters));
        let start = now.saturating_sub(self.length);
        while self.samples.get(1).is_some_and(|(at, _)| *at <= start) {
            self.samples.pop_front();
        }
        let (at, base) = self.samples.front().copied().unwrap_or((now, counters));
        let mut by = [0; N];
        for ((gained, now), then) in by.iter_mut().zip(counters).zip(base) {
            *gained = now.saturating_sub(then);
        }
        Growth { by, seconds: now.saturating_sub(at).as_secs_f64() }
    }
}

/// Events per second; 0 where no time has passed.
pub(crate) fn per_second(events: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { events as f64 / seconds } else { 0.0 }
}

/// A share between 0 and 1; 0 where the whole is nothing.
pub(crate) fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_burst_is_seen_and_then_forgotten() {
        let mut window = Window::new(ms(5000));
        for second in 0..3600 {
            window.push(ms(second * 1000), [0]);
        }
        let burst = window.push(ms(3_600_000), [500]);
        assert_eq!(per_second(burst.by[0], burst.seconds), 100.0);
        let mut last = burst;
        for second in 3601..3607 {
            last = window.push(ms(second * 1000), [500]);
        }
        assert_eq!(last.by[0], 0);
    }

    #[test]
    fn the_first_sample_has_no_rate() {
        let growth = Window::new(ms(1000)).push(ms(77), [1_000_000]);
        assert_eq!(per_second(growth.by[0], growth.seconds), 0.0);
    }

    #[test]
    fn a_counter_that_falls_gains_nothing() {
        let mut window = Window::new(ms(1000));
        window.push(ms(0), [10]);
        assert_eq!(window.push(ms(500), [4]).by, [0]);
    }

    proptest! {
        #[test]
        fn a_steady_rate_is_measured_exactly(
            rate in 0u64..10_000, step in 1u64..2000, window in 1u64..20_000, n in 1u64..200
        ) {
            let mut w = Window::new(ms(window));
            let mut last = w.push(ms(0), [0]);
            for i in 1..=n {
                last = w.push(ms(i * step), [i * step * rate]);
            }
            let measured = per_second(last.by[0], last.seconds);
            prop_assert!((measured - 1000.0 * rate as f64).abs() <= 1e-6 * (1.0 + measured));
        }

        #[test]
        fn it_looks_back_one_window_and_at_most_one_step_more(
            step in 1u64..2000, window in 1u64..20_000, n in 1u64..200
        ) {
            let mut w = Window::new(ms(window));
            let mut last = w.push(ms(0), [0]);
            for i in 1..=n {
                last = w.push(ms(i * step), [0]);
            }
            let looked_back = (last.seconds * 1000.0).round() as u64;
            prop_assert!(looked_back < window + step);
            prop_assert!(looked_back >= window.min(n * step));
        }

        #[test]
        fn shares_stay_within_bounds(part in -1e12f64..1e12, whole in -1e12f64..1e12) {
            prop_assert!((0.0..=1.0).contains(&share(part, whole)));
        }
    }
}
