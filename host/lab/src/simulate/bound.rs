//! A lower bound: what no run that meets the objective can cost less than. No policy may be able to cost as little.
//!
//! It holds for every run of [`run`](super::run()) that handles all messages and begins all but a share of them in
//! time, whatever counts it runs and whenever it changes them. Chance gives the k-th message the same times under every
//! policy, so the work `W` of all attempts is known. In such a run let `m` be the least number of workers, `H` the
//! trace's length and, at each moment, `busy` of the workers that live have a message. Those that live are at least
//! `max(m, busy)`. Call `f` the work done by up to `m` of the busy ones and `x` that of the others, both until some
//! moment:
//!
//! - cost ≥ ∫ max(m, busy) ≥ m·H + x(H) + (W - f(H) - x(H)) = m·H + W - f(H): what is left after `H` costs at least
//!   itself;
//! - f grows by at most m a second, and f + x never exceeds the work that has arrived;
//! - f + x is at least the work that is due, which is that of the messages whose arrival, objective and first attempt
//!   have passed, but for the messages that may be late: at most the dearest ones.
//!
//! So the bound is m·H + W less the largest f(H) that these allow. The largest f grows as fast as it may while x grows
//! only when it must: whoever has less x at some moment has missed what is due, and whoever has more left less to f.
//! Between two ticks the work of the whole step is taken to be there from its begin and to be due at its end, which
//! allows more.
//!
//! With `m` = 0 it is `W`. No more can be said there, for counts are whole but lives are not: a worker that is told to
//! end lives just as long as its message takes, and a message that meets no worker starts one at any moment.
//!
//! An outage only adds attempts: those that the seed gives a message are all made with it too, and `busy`, `f` and `x`
//! count those alone.
//!
//! What a start delay costs is left out. Whoever has to start workers before each of many peaks, or to keep them
//! through the lulls, pays for one of both; but the messages that may be late could be all those of some peaks, so no
//! single peak proves any start, and all of them together would be a problem of its own.

use super::arrivals::{Arrivals, Cursor};
use super::outcome::{allowed, histogram, record};
use super::random::{Attempt, RandomAttempts};
use super::run::Model;

/// The bound in nanoseconds of workers' lives, where a share (0 to 1) of the messages may not wait longer than the
/// objective.
///
/// # Errors
/// If there is no memory for the times of the messages.
pub fn bound(model: &Model, arrivals: &Arrivals, share: f64) -> anyhow::Result<u128> {
    let least = u128::from(model.scale.min);
    let step = u64::try_from(model.scale.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let length = arrivals.length();
    let steps = if least == 0 { 0 } else { usize::try_from(length.div_ceil(step)).unwrap_or(usize::MAX) };
    let (mut arrived, mut due) = (vec![0_u128; steps], vec![0_u128; steps]);
    let add = |to: &mut [u128], at: u64, work: u64| {
        if let Some(sum) = to.get_mut(usize::try_from(at / step).unwrap_or(usize::MAX)) {
            *sum += u128::from(work);
        }
    };

    let mut attempts = RandomAttempts::new(&model.service, model.retry, model.seed);
    let mut times = histogram()?;
    let mut work = 0_u128;
    let mut messages = 0_u64;
    let total = arrivals.total();
    let mut cursor = (steps > 0).then(|| Cursor::new(arrivals, model.seed));
    while messages < total {
        let Attempt { time, fails } = attempts.first();
        let rest = if fails { attempts.rest(messages) } else { 0 };
        work += u128::from(time) + u128::from(rest);
        messages += 1;
        if let Some(cursor) = &mut cursor
            && let Some(arrival) = cursor.peek()
        {
            add(&mut arrived, arrival, time.saturating_add(rest));
            let done_by = arrival.saturating_add(model.objective).saturating_add(time);
            add(&mut due, done_by.saturating_sub(1), time);
            record(&mut times, time / 1000 + 1);
            cursor.advance();
        }
    }
    let late = dearest(&times, allowed(messages, share));
    let floor = floor_work(&arrived, &due, late, least * u128::from(step));
    Ok((least * u128::from(length) + work).saturating_sub(floor))
}

/// No less than the work of the `count` messages that take longest, in nanoseconds.
fn dearest(times: &hdrhistogram::Histogram<u64>, count: u64) -> u128 {
    let (mut left, mut sum) = (count, 0_u128);
    let buckets: Vec<(u64, u64)> =
        times.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value())).collect();
    for (time, many) in buckets.into_iter().rev() {
        let some = left.min(many);
        sum += u128::from(some) * u128::from(times.highest_equivalent(time)) * 1000;
        left -= some;
    }
    sum
}

/// The most work that the least number of workers can have done in the end, if they do `capacity` a step.
fn floor_work(arrived: &[u128], due: &[u128], late: u128, capacity: u128) -> u128 {
    let (mut there, mut must, mut floor, mut extra) = (0_u128, 0_u128, 0_u128, 0_u128);
    for (arrived, due) in arrived.iter().zip(due) {
        there += arrived;
        must += due;
        floor = (floor + capacity).min(there.saturating_sub(extra));
        extra = extra.max(must.saturating_sub(late).saturating_sub(floor));
    }
    floor
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    /// The same by trying everything: each step the floor does some of its capacity, and others do any amount.
    fn tried(arrived: &[u128], due: &[u128], late: u128, capacity: u128) -> u128 {
        fn go(
            left: &[(u128, u128)],
            sums: (u128, u128),
            done: (u128, u128),
            late: u128,
            capacity: u128,
        ) -> Option<u128> {
            let [(arrived, due), rest @ ..] = left else { return Some(done.0) };
            let (there, must) = (sums.0 + arrived, sums.1 + due);
            let mut most = None;
            for floor in done.0..=(done.0 + capacity).min(there - done.1) {
                let needed = must.saturating_sub(late).saturating_sub(floor).max(done.1);
                for extra in needed..=(there - floor) {
                    most = most.max(go(rest, (there, must), (floor, extra), late, capacity));
                }
            }
            most
        }
        let steps: Vec<(u128, u128)> = arrived.iter().copied().zip(due.iter().copied()).collect();
        go(&steps, (0, 0), (0, 0), late, capacity).unwrap()
    }

    proptest! {
        #[test]
        fn the_floor_does_the_most_that_any_way_allows(
            arrived in proptest::collection::vec(0_u128..5, 1..5),
            delay in 0_usize..3,
            late in 0_u128..4,
            capacity in 0_u128..4,
        ) {
            let mut due = vec![0; delay.min(arrived.len())];
            due.extend(arrived.iter().take(arrived.len() - due.len()));
            prop_assert_eq!(floor_work(&arrived, &due, late, capacity), tried(&arrived, &due, late, capacity));
        }
    }
}
