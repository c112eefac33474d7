//! From counters to observations.

use std::time::Duration;

use super::window::{Window, per_second, share};
use crate::config::Scale;
use crate::contract::Observation;
use crate::delivery::counters::Work;
use crate::duration::millis;
use crate::ports::Sample;

/// The moment of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the host started to watch. Never goes back.
    pub elapsed: Duration,
    /// The time that a policy is told, in milliseconds since the Unix epoch. Never goes back.
    pub now_ms: u64,
    /// The wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// Makes observations, and keeps the earlier counters that rates are made of.
#[derive(Debug, Clone)]
pub struct ObservationBuilder {
    window: Window<7>,
    last_arrival: Option<(u64, Duration)>,
}

impl ObservationBuilder {
    /// Starts with nothing seen.
    pub fn new(window: Duration) -> Self {
        Self { window: Window::new(window), last_arrival: None }
    }

    /// Makes the observation of a moment, from what the consumer says (`sample`) and what the workers have done
    /// (`work`).
    pub fn observe(&mut self, at: Moment, sample: Sample, work: Work, running: u32, scale: &Scale) -> Observation {
        if sample.arrivals > self.last_arrival.map_or(0, |(arrivals, _)| arrivals) {
            self.last_arrival = Some((sample.arrivals, sample.last_arrival.unwrap_or(at.elapsed)));
        }
        let counters =
            [sample.arrivals, work.settled, work.handled, work.failed, work.busy_us, work.calls_us, work.alive_us];
        let growth = self.window.push(at.elapsed, counters);
        let [arrivals, settled, handled, failed, busy_us, calls_us, alive_us] = growth.by;
        Observation {
            now_ms: at.now_ms,
            running,
            min: scale.min,
            max: scale.max,
            idle_ms: self.last_arrival.map(|(_, then)| millis(at.elapsed.saturating_sub(then))),
            arrival_rate: rounded(per_second(arrivals, growth.seconds)),
            mean_arrival_rate: rounded(per_second(sample.arrivals, at.elapsed.as_secs_f64())),
            completion_rate: rounded(per_second(settled, growth.seconds)),
            pending: sample.pending,
            ack_pending: sample.ack_pending,
            redelivered: sample.redelivered,
            oldest_pending_ms: sample.oldest_ms.map(|then| sample.now_ms.unwrap_or(at.wall_ms).saturating_sub(then)),
            failure_ratio: rounded(share(failed as f64, handled as f64)),
            busy_ratio: rounded(share(busy_us as f64, alive_us as f64)),
            service_time_ms: rounded(service_time_us((handled, calls_us), &work) / 1000.0),
            limited: false,
            keys_waiting: None,
        }
    }
}

/// The mean time of a handler call, in microseconds: of the `handled` calls that ended within the window, which took
/// `calls_us` together. If none ended, of the calls that run, as far as they have come: a call that takes longer than
/// the window must not count as no time.
fn service_time_us((handled, calls_us): (u64, u64), work: &Work) -> f64 {
    match (handled, work.calling) {
        (0, 0) => 0.0,
        (0, calling) => work.busy_us.saturating_sub(work.calls_us) as f64 / calling as f64,
        _ => calls_us as f64 / handled as f64,
    }
}

/// Rounds to the nearest millionth, so that a number is short when it is written down and the same when it is read. Up
/// to 15 digits every reader of decimal numbers gives back the same number.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::SignalSource;

    const SCALE: Scale = Scale {
        min: 0,
        max: 8,
        interval: Duration::from_secs(1),
        window: Duration::from_secs(5),
        source: SignalSource::Info,
    };

    fn at(ms: u64) -> Moment {
        let now_ms = 1_700_000_000_000 + ms;
        Moment { elapsed: Duration::from_millis(ms), now_ms, wall_ms: now_ms }
    }

    fn arrivals(arrivals: u64) -> Sample {
        Sample { arrivals, ..Sample::default() }
    }

    #[test]
    fn nothing_ever_arrived_is_not_the_same_as_idle() {
        let mut observer = ObservationBuilder::new(SCALE.window);
        assert_eq!(observer.observe(at(9000), arrivals(0), Work::default(), 0, &SCALE).idle_ms, None);
        assert_eq!(observer.observe(at(10_000), arrivals(1), Work::default(), 0, &SCALE).idle_ms, Some(0));
        assert_eq!(observer.observe(at(12_500), arrivals(1), Work::default(), 0, &SCALE).idle_ms, Some(2500));
    }

    #[test]
    fn a_message_is_as_old_as_its_server_says_or_else_the_wall_clock_whatever_a_policy_is_told_of_the_time() {
        let mut observer = ObservationBuilder::new(SCALE.window);
        let sample = Sample { pending: 1, oldest_ms: Some(1_700_000_000_000), ..Sample::default() };
        let moment = Moment { wall_ms: 1_700_000_002_000, ..at(3_600_000) };
        assert_eq!(observer.observe(moment, sample, Work::default(), 0, &SCALE).oldest_pending_ms, Some(2000));
        let sample = Sample { now_ms: Some(1_700_000_000_700), ..sample };
        assert_eq!(observer.observe(moment, sample, Work::default(), 0, &SCALE).oldest_pending_ms, Some(700));
    }

    #[test]
    fn the_window_sees_a_burst_that_the_mean_hides() {
        let mut observer = ObservationBuilder::new(SCALE.window);
        for second in 0..=3600 {
            observer.observe(at(second * 1000), arrivals(0), Work::default(), 0, &SCALE);
        }
        let seen = observer.observe(at(3_601_000), arrivals(5000), Work::default(), 0, &SCALE);
        assert_eq!(seen.arrival_rate, 1000.0);
        assert!(seen.mean_arrival_rate < 2.0);
    }

    #[test]
    fn shares_and_times_are_those_of_the_window() {
        let mut observer = ObservationBuilder::new(SCALE.window);
        observer.observe(at(0), arrivals(0), Work::default(), 2, &SCALE);
        let (busy_us, calls_us, alive_us) = (1_200_000, 1_000_000, 4_800_000);
        let work = Work { settled: 90, handled: 100, failed: 10, busy_us, calls_us, calling: 1, alive_us };
        let seen = observer.observe(at(2000), arrivals(100), work, 2, &SCALE);
        assert_eq!((seen.completion_rate, seen.failure_ratio), (45.0, 0.1));
        assert_eq!((seen.busy_ratio, seen.service_time_ms), (0.25, 10.0));
    }

    #[test]
    fn workers_in_calls_longer_than_the_window_are_busy_and_their_calls_take_time() {
        let mut observer = ObservationBuilder::new(SCALE.window);
        let (mut last, second) = (Observation::default(), 1_000_000);
        for seconds in 0..=12 {
            let busy_us = 2 * seconds * second;
            let work = Work { busy_us, alive_us: busy_us, calling: 2, ..Work::default() };
            last = observer.observe(at(seconds * 1000), arrivals(0), work, 2, &SCALE);
        }
        assert_eq!((last.busy_ratio, last.service_time_ms), (1.0, 12_000.0));
    }

    proptest! {
        #[test]
        fn every_number_is_finite_and_in_range(
            steps in proptest::collection::vec((0u64..100_000, 0u64..1000, 0u64..1000, 0u64..10_000_000), 1..40)
        ) {
            let (mut observer, mut now) = (ObservationBuilder::new(SCALE.window), 0);
            let (mut sample, mut work) = (Sample::default(), Work::default());
            for (step, arrived, failed, busy) in steps {
                now += step;
                sample.arrivals += arrived;
                work.handled += arrived;
                work.failed += failed;
                work.busy_us += busy;
                work.calls_us += busy / 3;
                work.calling = busy % 3;
                work.alive_us += busy / 2;
                let seen = observer.observe(at(now), sample, work, 3, &SCALE);
                for ratio in [seen.failure_ratio, seen.busy_ratio] {
                    prop_assert!((0.0..=1.0).contains(&ratio));
                }
                for rate in [seen.arrival_rate, seen.mean_arrival_rate, seen.completion_rate, seen.service_time_ms] {
                    prop_assert!(rate.is_finite() && rate >= 0.0);
                }
            }
        }
    }
}
