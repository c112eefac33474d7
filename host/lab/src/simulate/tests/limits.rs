//! Limits for what is behind the handler, and what it costs when that does not work.

use super::*;
use tidegate_runtime::config::{BreakerConfig, Rate};

#[test]
fn a_rate_stretches_a_burst_and_a_policy_that_reads_it_adds_no_workers() {
    let rate = Rate { every: Duration::from_millis(100), burst: 10 };
    let limits = StartLimits { rate: Some(rate), ..StartLimits::default() };
    let model = Model { limits, ..model(1, 50, ServiceTime::Constant(10 * MS)) };
    // Six hundred at once: ten begin, and then ten a second.
    let arrivals = rows(&[600]);
    let mut told = 0;
    let blind = simulate(&model, &arrivals, |seen| {
        told += u32::from(seen.limited);
        reactive(seen)
    });
    let reads = simulate(&model, &arrivals, |seen| {
        let wanted = reactive(seen);
        if seen.limited { wanted.min(seen.running) } else { wanted }
    });
    assert!((58 * SECOND..=61 * SECOND).contains(&blind.end), "{}", blind.end);
    assert_eq!(reads.end, blind.end, "more workers help nobody");
    assert!(told > 50, "{told}");
    assert!(blind.peak_workers == 50 && reads.peak_workers <= 2, "{} and {}", blind.peak_workers, reads.peak_workers);
    // Without limits it is never said.
    let free = Model { limits: StartLimits::default(), ..model.clone() };
    simulate(&free, &arrivals, |seen| {
        assert!(!seen.limited);
        reactive(seen)
    });
}

#[test]
fn no_more_are_in_flight_than_may_be_whatever_the_policy_wants() {
    let limits = StartLimits { max_in_flight: Some(3), ..StartLimits::default() };
    let model = Model { limits, ..fixed(20, ServiceTime::Constant(100 * MS)) };
    let mut told = 0;
    let outcome = simulate(&model, &rows(&[300]), |seen| {
        told += u32::from(seen.limited);
        20
    });
    // Three at once, of a tenth of a second each.
    assert!((10 * SECOND - 100 * MS..=11 * SECOND).contains(&outcome.end), "{}", outcome.end);
    assert!(told >= 7, "{told}");
}

#[test]
fn no_more_are_in_flight_than_may_be_while_some_are_tried_again() {
    let limits = StartLimits { max_in_flight: Some(1), ..StartLimits::default() };
    let retry = Some(RetryModel { share: 0.5, delay: 700 * MS });
    let model = Model { limits, retry, ..fixed(5, ServiceTime::Exponential(100 * MS)) };
    let outcome = simulate(&model, &rows(&[7; 100]), |_| 5);
    assert!(outcome.busy_time <= u128::from(outcome.end), "{} {}", outcome.busy_time, outcome.end);
}

fn with_breaker(model: Model) -> Model {
    let second = Duration::from_secs(1);
    let breaker = BreakerConfig { ratio: 0.5, window: 10 * second, min_calls: 20, probe_interval: second };
    let limits = StartLimits { breaker: Some(breaker), ..StartLimits::default() };
    Model { limits, ..model }
}

#[test]
fn a_breaker_spends_few_calls_on_an_outage_and_all_goes_on_after_it() {
    let outage = Outage { from: 60 * SECOND, to: 120 * SECOND };
    let model = Model { outage: Some(outage), ..model(5, 50, ServiceTime::Constant(100 * MS)) };
    let arrivals = Generator::Poisson(40.0).arrivals(Duration::from_secs(300), 3);
    let (mut open, mut wanted) = (0, 0);
    let with = simulate(&with_breaker(model.clone()), &arrivals, |seen| {
        open += u32::from(seen.limited);
        if seen.limited {
            wanted = wanted.max(seen.running);
        }
        if seen.limited { seen.running } else { reactive(seen) }
    });
    let without = simulate(&model, &arrivals, reactive);
    assert_eq!((with.unfinished, without.unfinished), (0, 0));
    let (spent, unguarded) = (with.outage.as_ref().unwrap(), without.outage.as_ref().unwrap());
    // Half of the calls of ten seconds until it opens, and a probe a second from then on.
    assert!((100..400).contains(&spent.calls) && unguarded.calls > 2_400, "{} {}", spent.calls, unguarded.calls);
    assert!(spent.most_attempts < unguarded.most_attempts, "{} {}", spent.most_attempts, unguarded.most_attempts);
    assert!((50..=62).contains(&open), "{open}");
    assert!(wanted < 50, "a policy that reads it adds no workers: {wanted}");
    // What waits meanwhile waits in the stream and not for its next attempt, and is handled as soon as it can be.
    assert!(with.longest_wait > 45 * SECOND && without.longest_wait < 20 * SECOND, "{with:?}");
    let longest = |of: &OutageOutcome| of.handled.value_at_quantile(1.0) / 1_000_000;
    assert!(longest(spent) < longest(unguarded), "{} {}", longest(spent), longest(unguarded));
}

#[test]
fn a_breaker_that_does_not_open_changes_nothing() {
    let retry = Some(RetryModel { share: 0.2, delay: 300 * MS });
    let model = Model { retry, ..model(0, 20, ServiceTime::Exponential(200 * MS)) };
    let arrivals = rows(&[20, 0, 35, 50, 5, 0, 0, 80]);
    assert_eq!(simulate(&with_breaker(model.clone()), &arrivals, reactive), simulate(&model, &arrivals, reactive));
}
