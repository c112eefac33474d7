//! The simulation against formulas, against itself and against the bound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;

use super::arrivals::{ArrivalRow, Arrivals};
use super::generate::Generator;
use super::*;
use tidegate_runtime::config::{Scale, SignalSource, StartLimits};
use tidegate_runtime::contract::Observation;

mod keys;
mod limits;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

fn model(min: u32, max: u32, service: ServiceTime) -> Model {
    let second = Duration::from_secs(1);
    Model {
        scale: Scale { min, max, interval: second, window: 5 * second, source: SignalSource::Info },
        start_delay: 0,
        batch: 100,
        service,
        retry: None,
        outage: None,
        limits: StartLimits::default(),
        keys: None,
        per_key: None,
        seed: 11,
        objective: SECOND,
    }
}

/// So many workers all the time.
fn fixed(workers: u32, service: ServiceTime) -> Model {
    model(workers, workers, service)
}

/// Rows of a second.
fn rows(counts: &[u64]) -> Arrivals {
    let row =
        |(second, count): (usize, &u64)| ArrivalRow { start: second as u64 * SECOND, step: SECOND, count: *count };
    Arrivals::new(counts.iter().enumerate().map(row).collect())
}

fn simulate(model: &Model, arrivals: &Arrivals, mut decide: impl FnMut(&Observation) -> u32) -> SimulationOutcome {
    run(model, arrivals, &mut |seen| Some(decide(seen)), &mut |_| {}).unwrap()
}

/// The mean wait in seconds and the half width of its 99 % confidence interval, from the means of 20 batches, the first
/// of which is left out.
fn mean_wait(outcome: &SimulationOutcome) -> (f64, f64) {
    /// Student's t for 18 degrees of freedom.
    const T: f64 = 2.878;
    let batch = |parts: &[WaitPart]| {
        let (count, sum) = parts.iter().fold((0, 0), |(count, sum), part| (count + part.count, sum + part.sum));
        sum as f64 / count as f64 / 1e9
    };
    let batches: Vec<f64> = outcome.wait_parts.chunks(PARTS / 20).skip(1).map(batch).collect();
    let count = batches.len() as f64;
    let mean = batches.iter().sum::<f64>() / count;
    let variance = batches.iter().map(|batch| (batch - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, T * (variance / count).sqrt())
}

#[track_caller]
fn agrees(outcome: &SimulationOutcome, formula: f64) {
    let (mean, half) = mean_wait(outcome);
    assert!((mean - formula).abs() <= half, "a mean wait of {mean} +- {half} s, where the formula says {formula}");
    assert!(half < 0.06 * formula, "+- {half} of {formula} says too little");
}

/// Erlang's C: the probability that a message waits where `load` workers' work is offered to `workers`.
fn erlang_c(workers: u32, load: f64) -> f64 {
    let blocked = (1..=workers).fold(1.0, |blocked, count| load * blocked / (f64::from(count) + load * blocked));
    let utilisation = load / f64::from(workers);
    blocked / (1.0 - utilisation * (1.0 - blocked))
}

#[test]
fn erlang_c_has_its_published_values() {
    // An M/M/1 queue waits with the probability of its utilisation; an M/M/2 queue of utilisation 0.5 with 1/3.
    assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-12 && (erlang_c(2, 1.0) - 1.0 / 3.0).abs() < 1e-12);
}

#[test]
fn waits_under_a_fixed_count_are_those_of_erlang_c() {
    for (workers, rate, length) in [(1, 7.0, 200_000), (4, 34.0, 100_000), (40, 370.0, 50_000)] {
        let arrivals = Generator::Poisson(rate).arrivals(Duration::from_secs(length), 3);
        let model = Model { objective: 50 * MS, ..fixed(workers, ServiceTime::Exponential(100 * MS)) };
        let outcome = simulate(&model, &arrivals, |seen| seen.running);
        let (spare, waits) = (f64::from(workers) * 10.0 - rate, erlang_c(workers, rate / 10.0));
        agrees(&outcome, waits / spare);
        let over = waits * (-spare * 0.05).exp();
        assert!((outcome.over_share() - over).abs() < 0.05 * over, "{} and {over}", outcome.over_share());
        // One of twenty waits longer than this.
        let p95 = (waits / 0.05).ln() / spare * 1000.0;
        assert!((outcome.wait_ms(0.95) - p95).abs() < 0.06 * p95, "{} and {p95}", outcome.wait_ms(0.95));
        let utilisation = rate / 10.0 / f64::from(workers);
        assert!((outcome.utilisation() - utilisation).abs() < 0.01, "{}", outcome.utilisation());
    }
}

#[test]
fn waits_for_one_worker_are_those_of_pollaczek_and_khinchine() {
    let arrivals = Generator::Poisson(7.0).arrivals(Duration::from_secs(400_000), 4);
    for (service, variation) in [
        (ServiceTime::Constant(100 * MS), 0.0_f64),
        (ServiceTime::LogNormal(100 * MS, 0.5), 0.5),
        (ServiceTime::LogNormal(100 * MS, 1.2), 1.2),
        (ServiceTime::Measured([50 * MS, 150 * MS].into()), 0.5),
    ] {
        let outcome = simulate(&fixed(1, service), &arrivals, |seen| seen.running);
        agrees(&outcome, 0.7 * 0.1 * (1.0 + variation * variation) / (2.0 * 0.3));
    }
}

#[test]
fn the_same_seed_gives_the_same_and_another_seed_does_not() {
    let arrivals = Generator::Diurnal { low: 0.0, high: 30.0, period: Duration::from_secs(600) };
    let with_seed = |seed| {
        let retry = Some(RetryModel { share: 0.1, delay: 3 * SECOND });
        let model = Model { seed, retry, ..model(0, 50, ServiceTime::LogNormal(100 * MS, 2.0)) };
        let arrivals = arrivals.arrivals(Duration::from_secs(1200), seed);
        simulate(&model, &arrivals, |seen| (seen.pending + seen.ack_pending).div_ceil(3) as u32)
    };
    assert_eq!(with_seed(5), with_seed(5));
    assert_ne!(with_seed(5).waits, with_seed(6).waits);
}

#[test]
fn the_observation_is_what_a_host_would_see() {
    let (mut seen, arrivals) = (Vec::new(), rows(&[4, 0, 0]));
    let model = fixed(1, ServiceTime::Constant(900 * MS));
    simulate(&model, &arrivals, |observation| {
        seen.push(*observation);
        1
    });
    assert_eq!((seen[0].pending, seen[0].ack_pending, seen[0].idle_ms, seen[0].oldest_pending_ms), (0, 0, None, None));
    // After a second one of the four is done at most, one is handled, and the inbox holds one more.
    let done = 4 - seen[1].pending - seen[1].ack_pending;
    assert!(done <= 1 && seen[1].ack_pending == 2, "{:?}", seen[1]);
    assert_eq!((seen[1].arrival_rate, seen[1].idle_ms, seen[1].running), (4.0, Some(0), 1));
    assert_eq!(seen[1].completion_rate, done as f64);
    // The worker is busy all the time, whether what it is at has ended or not.
    assert_eq!(seen[3].service_time_ms, 900.0);
    assert!((seen[3].busy_ratio - (seen[2].busy_ratio * 2.0 + 1.0) / 3.0).abs() < 2e-6, "{:?}", seen[3]);
    assert_eq!(seen[2].now_ms - seen[1].now_ms, 1000);
    assert!(seen[1].oldest_pending_ms.is_some_and(|age| age <= 1000));
}

#[test]
fn a_message_that_is_handled_is_pending_still_and_redelivered_if_it_is() {
    let arrivals = rows(&[1]);
    let mut again = 0;
    for seed in 0..20 {
        let retry = Some(RetryModel { share: 0.5, delay: 0 });
        let model = Model { seed, retry, ..fixed(1, ServiceTime::Constant(1500 * MS)) };
        let arrived = arrivals::Cursor::new(&arrivals, seed).peek().unwrap() / MS;
        simulate(&model, &arrivals, |seen| {
            let age = (seen.now_ms - MIDNIGHT_MS).saturating_sub(arrived);
            if seen.ack_pending == 1 && age % 1500 > 1 {
                assert!(seen.oldest_pending_ms.is_some_and(|oldest| oldest.abs_diff(age) <= 1), "{seen:?}, {age}");
                assert_eq!(seen.redelivered, u64::from(age > 1500), "{seen:?}, {age}");
                again += seen.redelivered;
            }
            1
        });
    }
    assert!(again > 0);
}

#[test]
fn what_is_delivered_again_goes_before_what_is_new() {
    let model = Model { retry: Some(RetryModel { share: 0.97, delay: 0 }), ..fixed(1, ServiceTime::Constant(SECOND)) };
    let outcome = simulate(&model, &rows(&[3]), |_| 1);
    // In turns, each of the three would have begun within three seconds.
    assert!(outcome.longest_wait > 5 * SECOND, "{}", outcome.longest_wait);
}

#[test]
fn a_wait_as_long_as_the_objective_is_within_it() {
    let model = Model { objective: 0, ..fixed(5, ServiceTime::Constant(MS)) };
    let outcome = simulate(&model, &rows(&[3]), |_| 5);
    assert_eq!((outcome.messages, outcome.longest_wait, outcome.over), (3, 0, 0));
}

#[test]
fn a_message_that_meets_no_worker_starts_one_and_the_policy_is_asked_5_ms_later() {
    let (mut asked, arrivals) = (Vec::new(), rows(&[0, 1, 0, 0]));
    let model = Model { start_delay: 40 * MS, ..model(0, 8, ServiceTime::Constant(100 * MS)) };
    let outcome = simulate(&model, &arrivals, |seen| {
        asked.push((seen.now_ms, seen.running));
        u32::from(seen.pending + seen.ack_pending > 0)
    });
    assert_eq!(outcome.longest_wait, 40 * MS);
    let (began, _) = outcome.workers[1];
    let since: Vec<u64> = asked.iter().map(|(at, _)| at - asked[0].0).collect();
    // The last two ticks before the trace ends have moved to where the message put them.
    let woken = (began / MS) + 5;
    assert_eq!(since, [0, 1000, woken, woken + 1000, woken + 2000]);
    assert_eq!(asked[2].1, 1);
    assert_eq!((outcome.up, outcome.down, outcome.peak_workers), (1, 1, 1));
    assert_eq!(outcome.worker_time, 1005 * u128::from(MS));
}

#[test]
fn a_worker_that_drains_finishes_its_message_and_costs_until_then() {
    let model = model(0, 8, ServiceTime::Constant(2500 * MS));
    let arrivals = rows(&[1, 0, 0, 0]);
    let outcome = simulate(&model, &arrivals, |_| 0);
    // Woken by the message, told to end 5 ms later.
    assert_eq!((outcome.worker_time, outcome.busy_time), (2500 * u128::from(MS), 2500 * u128::from(MS)));
    assert_eq!(outcome.utilisation(), 1.0);
}

#[test]
fn a_policy_that_fails_leaves_the_number_as_it_is() {
    let model = model(2, 8, ServiceTime::Constant(MS));
    let outcome = run(&model, &rows(&[5; 10]), &mut |_| None, &mut |_| {}).unwrap();
    assert_eq!((outcome.peak_workers, outcome.up + outcome.down, outcome.failures), (2, 0, outcome.decisions));
}

#[test]
fn what_cannot_be_worked_off_is_given_up_and_counted() {
    let model = fixed(1, ServiceTime::Constant(3600 * SECOND));
    let outcome = simulate(&model, &rows(&[5]), |_| 1);
    // Of the five one has been handled, and one is.
    assert_eq!((outcome.messages, outcome.unfinished, outcome.over), (5, 4, 4));
    assert!(!outcome.meets(0.1));
}

/// A rule that wants what the last second brought and what waits.
fn reactive(seen: &Observation) -> u32 {
    (seen.arrival_rate * 0.2 + (seen.pending + seen.ack_pending) as f64 * 0.2).ceil() as u32
}

#[test]
fn every_message_that_may_be_late_can_be_left_to_the_workers_that_are_there_anyway() {
    let mut counts = [0; 200];
    counts[0] = 100;
    let model = Model { objective: 0, ..model(1, 100, ServiceTime::Constant(SECOND)) };
    let bound_of = |share| bound(&model, &rows(&counts), share).unwrap() as f64 / SECOND as f64;
    let (all, most) = (bound_of(1.0), bound_of(0.8));
    // Workers live 200 s anyway, and of the 100 s of work all but some 2 s is due at once; or all but 20 s more.
    assert!((297.0..=299.0).contains(&all), "{all}");
    assert!((all - most - 20.0).abs() < 0.1, "{all} and {most}");
}

proptest! {
    #[test]
    fn every_message_is_handled_and_all_attempts_do_the_same_work_under_every_policy(
        counts in proptest::collection::vec(0_u64..30, 1..30),
        seed: u64,
        share in 0.0..0.6,
        workers in 1_u32..6,
        start in 0_u64..3000,
    ) {
        let arrivals = rows(&counts);
        let model = Model {
            seed,
            start_delay: start * MS,
            retry: Some(RetryModel { share, delay: 700 * MS }),
            ..model(0, 20, ServiceTime::Exponential(200 * MS))
        };
        let one = simulate(&model, &arrivals, |_| workers);
        let other = simulate(&model, &arrivals, reactive);
        prop_assert_eq!((one.messages, one.unfinished), (arrivals.total(), 0));
        prop_assert_eq!((other.messages, other.unfinished), (arrivals.total(), 0));
        prop_assert_eq!(one.busy_time, other.busy_time);
        prop_assert!(one.busy_time <= one.worker_time && other.busy_time <= other.worker_time);
        let from_zero = Model { scale: Scale { min: 0, ..model.scale.clone() }, ..model.clone() };
        prop_assert_eq!(bound(&from_zero, &arrivals, 0.99).unwrap(), one.busy_time);
    }

    #[test]
    fn no_run_that_meets_the_objective_costs_less_than_the_bound(
        counts in proptest::collection::vec(prop_oneof![Just(0_u64), 0_u64..40], 1..40),
        seed: u64,
        min in 0_u32..6,
        more in 0_u32..30,
        objective in 0_u64..3000, retries in any::<bool>(), share in prop_oneof![Just(0.99), Just(0.8), Just(1.0)],
        outage in proptest::option::of((0_u64..30, 1_u64..30)),
    ) {
        let arrivals = rows(&counts);
        let retry = retries.then_some(RetryModel { share: 0.2, delay: 300 * MS });
        let service = ServiceTime::Exponential(200 * MS);
        let outage = outage.map(|(from, length)| Outage { from: from * SECOND, to: (from + length) * SECOND });
        let model = Model { seed, retry, outage, objective: objective * MS, ..model(min, min + more, service) };
        let bound = bound(&model, &arrivals, share).unwrap();
        prop_assert!(bound >= u128::from(min) * u128::from(arrivals.length()));
        let fixed = simulate(&model, &arrivals, |_| min + more);
        prop_assert!(outage.is_some() || bound >= fixed.busy_time);
        for outcome in [fixed, simulate(&model, &arrivals, reactive), simulate(&model, &arrivals, |_| 0)] {
            prop_assert!(!outcome.meets(share) || outcome.worker_time >= bound, "{} < {bound}", outcome.worker_time);
        }
    }

    #[test]
    fn no_sequence_of_counts_for_a_tiny_trace_costs_less_than_the_bound(
        counts in proptest::collection::vec(0_u64..6, 3..4), seed: u64, min in 0_u32..2, objective in 0_u64..1500,
    ) {
        let arrivals = rows(&counts);
        let model = Model { seed, objective: objective * MS, ..model(min, 3, ServiceTime::Exponential(300 * MS)) };
        let bound = bound(&model, &arrivals, 0.99).unwrap();
        for sequence in 0..256_u32 {
            let mut tick = 0;
            let outcome = simulate(&model, &arrivals, |_| {
                tick += 1;
                // Four counts, the last of which stays until all is done.
                if tick > 4 { 1 } else { sequence >> (2 * (tick - 1)) & 3 }
            });
            prop_assert!(!outcome.meets(0.99) || outcome.worker_time >= bound, "{} < {bound}", outcome.worker_time);
        }
    }
}

#[test]
fn a_policy_that_wants_nobody_keeps_the_worker_that_a_message_started_while_messages_wait() {
    let arrivals = rows(&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let outcome = simulate(&model(0, 9, ServiceTime::Constant(300 * MS)), &arrivals, |_| 0);
    assert_eq!((outcome.unfinished, outcome.messages, outcome.peak_workers), (0, 20, 1));
    // One that a message starts, until nothing waits; and the questions of the ten seconds, and one for the message.
    assert_eq!((outcome.up, outcome.down), (1, 1));
    assert!(outcome.decisions <= 12, "{}", outcome.decisions);
}

#[test]
fn of_a_run_that_is_given_up_only_what_was_done_counts() {
    let arrivals = rows(&[1, 1, 1]);
    let model = model(0, 2, ServiceTime::Constant(100_000 * SECOND));
    let outcome = simulate(&model, &arrivals, |_| 2);
    assert_eq!((outcome.messages, outcome.unfinished), (3, 3));
    assert!(outcome.utilisation() <= 1.0 && outcome.utilisation() > 0.99, "{}", outcome.utilisation());
}
