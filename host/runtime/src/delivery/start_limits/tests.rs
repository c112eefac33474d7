//! The gate as a whole, with random demands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::gate::{Demand, Gate, Kind};
use super::told::Told;
use crate::config::{BreakerConfig, Rate, StartLimits};
use crate::contract::{Failure, Fault, Response};

const MS: Duration = Duration::from_millis(1);

fn limits(rate: Option<(u64, u32)>, max_in_flight: Option<usize>, breaker: Option<f64>) -> StartLimits {
    StartLimits {
        rate: rate.map(|(every, burst)| Rate { every: MS * u32::try_from(every).unwrap(), burst }),
        max_in_flight,
        breaker: breaker.map(|ratio| BreakerConfig {
            ratio,
            window: MS * 10_000,
            min_calls: 4,
            probe_interval: MS * 1_000,
        }),
    }
}

fn gate(limits: StartLimits) -> (Gate, Instant) {
    let now = Instant::now();
    (Gate::new(&limits, now), now)
}

fn demand(capacity: usize, waiting: usize, asked: usize) -> Demand {
    Demand { capacity, waiting, asked }
}

#[test]
fn no_more_is_held_than_may_begin() {
    let (mut gate, now) = gate(limits(Some((200, 5)), None, None));
    assert_eq!(gate.capacity(demand(100, 0, 0), now), 5);
    assert_eq!(gate.begin(9, now).len(), 5);
    assert_eq!(gate.capacity(demand(100, 0, 0), now), 0);
    assert_eq!(gate.next(demand(100, 0, 0), now), Some(now + MS * 200));
    assert_eq!(gate.capacity(demand(100, 0, 0), now + MS * 200), 1);
}

#[test]
fn a_quick_rate_is_handed_out_together() {
    let (mut gate, now) = gate(limits(Some((2, 500)), None, None));
    gate.begin(500, now);
    assert_eq!(gate.capacity(demand(400, 0, 0), now + MS * 48), 0);
    assert_eq!(gate.next(demand(400, 0, 0), now), Some(now + MS * 50));
    assert_eq!(gate.capacity(demand(400, 0, 0), now + MS * 50), 25);
}

#[test]
fn one_in_flight_that_ends_makes_room_for_one() {
    let (mut gate, now) = gate(limits(None, Some(3), None));
    assert_eq!(gate.begin(9, now), [Kind::Ordinary; 3]);
    assert_eq!((gate.capacity(demand(8, 0, 0), now), gate.next(demand(8, 0, 0), now)), (0, None));
    gate.end(Kind::Ordinary);
    assert_eq!(gate.capacity(demand(8, 0, 0), now), 1);
    assert_eq!(gate.status().in_flight, 2);
}

#[test]
fn an_open_breaker_asks_for_one_when_a_probe_is_due() {
    let (mut gate, now) = gate(limits(None, None, Some(0.5)));
    assert_eq!(gate.capacity(demand(100, 0, 0), now), 100);
    for _ in 0..4 {
        gate.told(Told::Fails, Kind::Ordinary, now);
    }
    assert_eq!(gate.status().breaker_open, Some(true));
    assert!(gate.limited(false, now));
    assert_eq!(gate.capacity(demand(100, 0, 0), now), 0);
    assert_eq!(gate.next(demand(100, 0, 0), now), Some(now + MS * 1_000));
    assert_eq!(gate.next(demand(100, 7, 0), now), Some(now + MS * 1_000), "what waits is what tries");
    assert_eq!(gate.capacity(demand(100, 0, 0), now + MS * 1_000), 1);
    assert_eq!(gate.begin(9, now + MS * 1_000), [Kind::Probe]);
    gate.told(Told::Works, Kind::Probe, now + MS * 1_100);
    assert_eq!(gate.capacity(demand(100, 0, 0), now + MS * 1_100), 100);
}

#[test]
fn a_limit_binds_where_workers_would_take_more_and_not_where_they_are_what_is_missing() {
    // Ten a second, one by one, of which the workers could do a hundred.
    let (mut gate, mut now) = gate(limits(Some((100, 1)), None, None));
    for _ in 0..20 {
        gate.capacity(demand(10, 0, 0), now);
        gate.begin(1, now);
        gate.capacity(demand(10, 0, 0), now);
        now += MS * 100;
    }
    assert!(!gate.limited(false, now), "nothing is pending");
    gate.begin(1, now);
    gate.capacity(demand(10, 0, 0), now);
    now += MS * 100;
    assert!(gate.limited(true, now));
    // One worker does two a second: one waits for it, and may begin.
    for _ in 0..20 {
        gate.begin(1, now);
        gate.capacity(demand(2, 0, 0), now);
        now += MS * 100;
        gate.capacity(demand(2, 1, 0), now);
        now += MS * 400;
    }
    assert!(!gate.limited(true, now));
}

#[test]
fn as_many_workers_as_may_be_in_flight_are_enough() {
    let (mut gate, mut now) = gate(limits(None, Some(3), None));
    gate.begin(2, now);
    gate.capacity(demand(2, 1, 0), now);
    now += MS * 100;
    assert!(!gate.limited(true, now), "two workers are busy, and a third could be");
    gate.begin(1, now);
    gate.capacity(demand(3, 0, 0), now);
    now += MS * 100;
    assert!(gate.limited(true, now));
}

#[test]
fn what_a_call_says() {
    assert_eq!(Told::by(&Ok(Ok(Response::default()))), Told::Works);
    assert_eq!(Told::by(&Ok(Err(Failure::Reject("no".into())))), Told::Works);
    assert_eq!(Told::by(&Ok(Err(Failure::Retry(None)))), Told::Fails);
    assert_eq!(Told::by(&Err(Fault::Time(MS))), Told::Fails);
    assert_eq!(Told::by(&Err(Fault::Trap("x".into()))), Told::Nothing);
    assert_eq!(Told::by(&Err(Fault::Memory(1))), Told::Nothing);
}

proptest! {
    /// What the fetching task does: asks for what is missing, or waits until it may look again. Nothing of it may stall
    /// or go round without an end.
    #[test]
    fn a_backlog_is_worked_off_and_never_beyond_the_limits(
        rate in proptest::option::of((1u64..300, 1u32..40)), most in proptest::option::of(1usize..10),
        workers in 1usize..20, service in 0u64..500, backlog in 1usize..120,
    ) {
        let (mut gate, begin) = gate(limits(rate, most, None));
        let (mut now, mut left, mut waiting, mut looks) = (begin, backlog, 0_usize, 0);
        let (mut running, mut begun) = (Vec::<Instant>::new(), Vec::new());
        while left + waiting + running.len() > 0 {
            looks += 1;
            prop_assert!(looks < 20 * backlog + 100, "it goes round: {left} left, {waiting} wait");
            let done = running.extract_if(.., |ends| *ends <= now).count();
            (0..done).for_each(|_| gate.end(Kind::Ordinary));
            let capacity = gate.capacity(demand(workers, waiting, 0), now);
            let missing = capacity.saturating_sub(waiting);
            if missing > 0 && missing * 2 >= capacity {
                let came = missing.min(left);
                left -= came;
                waiting += came;
            }
            let free = workers - running.len();
            for _ in gate.begin(free.min(waiting), now) {
                waiting -= 1;
                running.push(now + MS * u32::try_from(service).unwrap());
                begun.push(now);
            }
            prop_assert!(running.len() <= most.unwrap_or(usize::MAX));
            let next = gate.next(demand(workers, waiting, 0), now);
            let ends = running.iter().copied().filter(|ends| *ends > now).min();
            let again = running.iter().any(|ends| *ends <= now);
            match next.into_iter().chain(ends).min() {
                Some(at) if !again => now = at,
                _ if again => {}
                _ => {
                    let over = left + waiting + running.len() == 0;
                    let more = gate.capacity(demand(workers, waiting, 0), now) > waiting && left > 0;
                    prop_assert!(over || more, "it stalls: {left} left, {waiting} wait");
                }
            }
        }
        prop_assert_eq!(begun.len(), backlog);
        if let Some((every, burst)) = rate {
            let allowed = u128::from(burst) + (now - begin).as_millis() / u128::from(every);
            prop_assert!(begun.len() as u128 <= allowed);
        }
    }
}

#[test]
fn a_host_of_a_fleet_has_its_part_of_the_limits_and_says_what_it_uses_beyond_it_until_that_has_ended() {
    let (mut gate, now) = gate(limits(None, Some(8), None));
    assert_eq!((gate.parts(), gate.uses(true)), (Some(8), Some(8)));
    assert_eq!(gate.begin(9, now).len(), 8);
    assert!(gate.divide(Some((3, 8)), now) && !gate.divide(Some((3, 8)), now));
    assert_eq!((gate.startable(now), gate.uses(true)), (0, Some(8)));
    (0..6).for_each(|_| gate.end(Kind::Ordinary));
    assert_eq!((gate.startable(now), gate.uses(true)), (1, Some(3)));
    // Nothing more is asked for, and what was asked for before may begin, one at a time.
    gate.divide(Some((0, 8)), now);
    assert_eq!((gate.startable(now), gate.uses(true)), (0, Some(2)));
    (0..2).for_each(|_| gate.end(Kind::Ordinary));
    assert_eq!((gate.startable(now), gate.uses(true), gate.uses(false)), (1, Some(1), Some(0)));
    assert_eq!(gate.capacity(demand(9, 0, 0), now), 0);
    assert_eq!(gate.capacity(demand(9, 2, 1), now), 3);
    gate.divide(None, now);
    assert_eq!((gate.startable(now), gate.uses(false)), (8, Some(8)));
}

#[test]
fn of_a_rate_that_is_divided_what_one_host_could_begin_at_once_is_not_had_twice() {
    let (mut one, now) = gate(limits(Some((100, 10)), None, None));
    let (mut other, _) = gate(limits(Some((100, 10)), None, None));
    other.divide(Some((0, 1)), now);
    let half = Some((one.parts().unwrap() / 2, one.parts().unwrap()));
    one.divide(half, now);
    other.divide(half, now);
    assert_eq!((one.startable(now), other.startable(now)), (5, 0));
    // Each begins one in twice the time.
    assert_eq!((other.startable(now + MS * 199), other.startable(now + MS * 200)), (0, 1));
    let begin = |gate: &mut Gate| {
        let after = (0..100).map(|tick| gate.begin(9, now + MS * 100 * tick).len());
        after.sum::<usize>()
    };
    assert_eq!((begin(&mut one), begin(&mut other)), (5 + 49, 49));
    one.divide(None, now + MS * 10_000);
    assert!(one.startable(now + MS * 10_000) <= 1);
}

proptest! {
    #[test]
    fn hosts_that_have_a_rate_one_after_the_other_begin_no_more_than_the_burst_and_the_rate_allow(
        every in 1u64..50, burst in 1u32..20,
        steps in proptest::collection::vec((0u64..200, 0u32..=10, any::<bool>()), 1..60)
    ) {
        let (mut one, mut now) = gate(limits(Some((every, burst)), None, None));
        let (mut other, _) = gate(limits(Some((every, burst)), None, None));
        other.divide(Some((0, 10)), now);
        let (begin, mut begun) = (now, 0);
        for (step, part, more) in steps {
            now += MS * u32::try_from(step).unwrap();
            // First one goes without, then the other has it.
            let (first, last) = if more { (&mut one, &mut other) } else { (&mut other, &mut one) };
            let before = first.status().part.map_or(10, |(part, _)| part);
            first.divide(Some((part.min(before), 10)), now);
            last.divide(Some((10 - part.min(before), 10)), now);
            for gate in [&mut one, &mut other] {
                // One that has no part would begin only what it has asked for before.
                if gate.status().part.is_none_or(|(part, _)| part > 0) {
                    begun += gate.begin(100, now).len();
                }
            }
            // Each of the two may begin one at once, however small its part is.
            let allowed = u128::from(burst) + 2 + (now - begin).as_millis() / u128::from(every);
            prop_assert!(begun as u128 <= allowed, "{begun} of {allowed}");
        }
    }
}

impl Gate {
    /// Takes and calls up to so many.
    fn begin(&mut self, most: usize, now: Instant) -> Vec<Kind> {
        (0..most).map_while(|_| self.begin_one(now)).collect()
    }
}

/// The most that begin in any time beyond what a rate of one each `every` allows in it.
fn burst_of(begun: &[Instant], every: Duration) -> u128 {
    let from = |(index, from): (usize, &Instant)| {
        let until = begun.iter().enumerate().skip(index);
        let beyond = until.map(move |(later, to)| {
            let count = (later - index + 1) as u128;
            count.saturating_sub((*to - *from).as_nanos() / every.as_nanos())
        });
        beyond.max().unwrap_or_default()
    };
    begun.iter().enumerate().map(from).max().unwrap_or_default()
}

#[test]
fn what_waits_in_a_batch_does_not_begin_together_with_what_the_rate_allows_meanwhile() {
    let (mut gate, now) = gate(limits(Some((10, 100)), None, None));
    assert_eq!(gate.reserve(90, now).len(), 90);
    let later = now + MS * 900;
    assert_eq!(
        (gate.startable(later), gate.when(10, later)),
        (10, Some(later)),
        "the burst is kept for those that wait"
    );
    assert_eq!((gate.reserve(110, later).len(), gate.startable(later), gate.when(1, later)), (10, 0, None));
    assert!(gate.called(100, later));
    assert_eq!((gate.startable(later), gate.when(1, later)), (0, Some(later + MS * 10)));
    // What is not called takes nothing of the rate.
    assert_eq!(gate.reserve(9, later + MS * 50).len(), 5);
    gate.free(5);
    assert_eq!(gate.startable(later + MS * 50), 5);
}

#[test]
fn a_batch_waits_for_more_only_while_more_may_be_taken_before_one_begins() {
    let (mut by_rate, now) = gate(limits(Some((10, 4)), None, None));
    assert!(!by_rate.is_used_up() && by_rate.reserve(3, now).len() == 3 && !by_rate.is_used_up());
    assert!(by_rate.reserve(3, now).len() == 1 && by_rate.is_used_up());
    by_rate.called(2, now);
    assert!(by_rate.startable(now) == 0 && !by_rate.is_used_up(), "time brings more");
    let (mut by_most, now) = gate(limits(None, Some(4), None));
    assert!(by_most.reserve(9, now).len() == 4 && by_most.is_used_up());
    by_most.called(1, now);
    assert!(by_most.startable(now) == 0 && !by_most.is_used_up(), "the end of a call brings more");
    let (mut probe, now) = gate(limits(None, None, Some(0.5)));
    assert!(probe.reserve(9, now).len() == 9 && !probe.is_used_up());
    for _ in 0..4 {
        probe.told(Told::Fails, Kind::Ordinary, now);
    }
    probe.called(9, now);
    assert_eq!(probe.reserve(9, now + MS * 1_000), [Kind::Probe]);
    assert!(probe.is_used_up());
}

#[test]
fn a_host_says_that_it_uses_of_a_rate_what_it_keeps_for_deliveries_whose_calls_have_not_begun() {
    let (mut gate, now) = gate(limits(Some((10, 100)), None, None));
    assert_eq!((gate.reserve(91, now).len(), gate.parts()), (91, Some(10_000)));
    gate.divide(Some((500, 10_000)), now);
    assert_eq!((gate.uses(false), gate.startable(now + MS * 60_000)), (Some(9_000), 0));
    // They begin, and what is beyond the part has to come before another one does: 86 in 200 ms each.
    gate.called(91, now);
    assert_eq!((gate.uses(false), gate.when(1, now)), (Some(500), Some(now + MS * 200 * 87)));
}

#[test]
fn a_run_that_begins_anew_has_of_a_rate_what_the_one_before_has_left() {
    let (mut before, now) = gate(limits(Some((100, 10)), None, None));
    assert_eq!(before.begin(99, now).len(), 10);
    let again = |limits, later| {
        let mut gate = Gate::new(&limits, later);
        gate.goes_on_from(before.bucket(), later);
        gate.begin(99, later).len()
    };
    let same = || limits(Some((100, 10)), None, None);
    let later = |ms| now + MS * ms;
    assert_eq!([0, 350, 5_000].map(|ms| again(same(), later(ms))), [0, 3, 10]);
    // By another rate.
    assert_eq!(again(limits(Some((10, 2)), None, None), later(700)), 2);
    let (unlimited, _) = gate(limits(None, Some(3), None));
    let mut limited = Gate::new(&same(), now);
    limited.goes_on_from(unlimited.bucket(), now);
    assert_eq!(limited.begin(99, now).len(), 10, "where nothing was limited nothing was counted");
}

proptest! {
    #[test]
    fn whatever_waits_between_the_taking_and_the_call_no_time_has_more_than_the_burst_and_what_the_rate_allows_in_it(
        every in 1u64..100, burst in 1u32..30, most in proptest::option::of(1usize..60),
        steps in proptest::collection::vec((0u64..400, 0usize..12, 0usize..12, 0usize..5), 1..40)
    ) {
        let (mut gate, mut now) = gate(limits(Some((every, burst)), most, None));
        let (mut waiting, mut begun) = (Vec::new(), Vec::new());
        for (step, taken, called, dropped) in steps {
            now += MS * u32::try_from(step).unwrap();
            waiting.extend(gate.reserve(taken, now));
            let called = called.min(waiting.len());
            gate.called(called, now);
            waiting.drain(..called).for_each(|kind| gate.end(kind));
            begun.extend(std::iter::repeat_n(now, called));
            let dropped = dropped.min(waiting.len());
            gate.free(dropped);
            waiting.drain(..dropped).for_each(|kind| gate.end(kind));
            // What may begin is said to, and when.
            if let Some(at) = gate.when(1, now) {
                prop_assert!(gate.startable(at.max(now)) > 0);
            }
        }
        let most = burst_of(&begun, MS * u32::try_from(every).unwrap());
        prop_assert!(most <= u128::from(burst), "{} at once beyond the rate", most);
    }
}
