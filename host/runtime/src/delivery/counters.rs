//! Counts what workers have done, for rates, metrics and status. Each number only grows.

use std::array;
use std::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::contract::{Cause, FaultKind};
use crate::delivery::by_generation::{ByGeneration, CallSums, GenerationSums};
use crate::delivery::settle::Settled;
use crate::digest::Digest;

/// The upper bounds of the histogram of handler times, in microseconds.
pub(crate) const TIMES_US: [u64; 18] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    10_000_000, 60_000_000,
];

/// A histogram of handler times: one count for each bound of [`TIMES_US`], and one for calls that took longer.
pub(crate) type Times = [u64; TIMES_US.len() + 1];

/// What the workers have done since the host started. Only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Work {
    /// Deliveries settled for good: acknowledged or dead.
    pub settled: u64,
    /// Handler calls that ended. Here and below a batch counts as one call for each of its deliveries, of which each
    /// took an equal part of the time.
    pub handled: u64,
    /// Handler calls that ended in a failure.
    pub failed: u64,
    /// Microseconds that all workers spent in handlers, calls that still run included.
    pub busy_us: u64,
    /// Microseconds of the calls that ended.
    pub calls_us: u64,
    /// Calls that run now, a batch as one for each of its deliveries. The one number here that does not only grow.
    pub calling: u64,
    /// Microseconds that all workers have lived.
    pub alive_us: u64,
}

/// What one worker, or all workers that a workload ever had, have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// The counters that rates are made of.
    pub work: Work,
    /// Deliveries acknowledged.
    pub acked: u64,
    /// Deliveries that will be tried again because their handler failed or asked for it.
    pub retried: u64,
    /// Deliveries that will be tried again because an effect was not confirmed.
    pub unconfirmed: u64,
    /// Deliveries given back without an outcome, when a worker had to end.
    pub given_back: u64,
    /// Dead letters, in the order of [`Cause::ALL`].
    pub dead: [u64; Cause::ALL.len()],
    /// Deliveries of a second or later attempt that workers took.
    pub redelivered: u64,
    /// Calls without an answer that could be carried out, in the order of [`FaultKind::ALL`].
    pub faults: [u64; FaultKind::ALL.len()],
    /// How long handler calls took.
    pub times: Times,
    /// Microseconds of those calls, each counted whole: of calls that run together more than the worker's time.
    pub times_us: u64,
}

impl Tally {
    /// Deliveries by what became of them, each with the name that metrics and status give it.
    pub(crate) fn outcomes(&self) -> [(&'static str, u64); 5] {
        [
            ("acked", self.acked),
            ("retried", self.retried),
            ("unconfirmed", self.unconfirmed),
            ("dead", self.dead.iter().sum()),
            ("given_back", self.given_back),
        ]
    }

    /// The sums of both.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        let (a, b) = (self.work, other.work);
        Self {
            work: Work {
                settled: a.settled + b.settled,
                handled: a.handled + b.handled,
                failed: a.failed + b.failed,
                busy_us: a.busy_us + b.busy_us,
                calls_us: a.calls_us + b.calls_us,
                calling: a.calling + b.calling,
                alive_us: a.alive_us + b.alive_us,
            },
            acked: self.acked + other.acked,
            retried: self.retried + other.retried,
            unconfirmed: self.unconfirmed + other.unconfirmed,
            given_back: self.given_back + other.given_back,
            dead: each(self.dead, other.dead),
            redelivered: self.redelivered + other.redelivered,
            faults: each(self.faults, other.faults),
            times: each(self.times, other.times),
            times_us: self.times_us.saturating_add(other.times_us),
        }
    }
}

fn each<const N: usize>(a: [u64; N], b: [u64; N]) -> [u64; N] {
    let mut sums = a;
    sums.iter_mut().zip(b).for_each(|(sum, more)| *sum += more);
    sums
}

/// A row of counters.
#[derive(Debug)]
struct Counts<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Counts<N> {
    fn count(&self, which: usize) {
        if let Some(count) = self.0.get(which) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn get(&self) -> [u64; N] {
        array::from_fn(|which| self.0.get(which).map_or(0, |count| count.load(Relaxed)))
    }

    fn sum(&self) -> u64 {
        self.get().iter().sum()
    }
}

/// How long a worker was in its handler. Only the worker writes, so a call costs three plain stores. Readers see the
/// time of a call that still runs too.
#[derive(Debug, Default)]
struct Calls {
    /// Twice the nanoseconds of all calls that ended, plus 1 if a call runs. While one runs, the time when it began is
    /// subtracted. It is one number, so that no reader counts a call twice or not at all at the moment when it ends.
    spent: AtomicI64,
    /// Nanoseconds since the worker's start: when the last call began.
    began: AtomicI64,
}

/// The times of a worker's calls at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spent {
    ended: i64,
    running: Option<i64>,
}

impl Calls {
    fn begin(&self, at: Duration) {
        let at = nanos(at);
        self.began.store(at, Relaxed);
        self.spent.store(((self.spent.load(Relaxed) >> 1) - at) << 1 | 1, Release);
    }

    fn end(&self, took: Duration) {
        let began = self.began.load(Relaxed);
        self.spent.store(((self.spent.load(Relaxed) >> 1) + began + nanos(took)) << 1, Release);
    }

    fn is_running(&self) -> bool {
        self.spent.load(Relaxed) & 1 == 1
    }

    fn at(&self, now: Duration) -> Spent {
        let spent = self.spent.load(Acquire);
        if spent & 1 == 0 {
            return Spent { ended: spent >> 1, running: None };
        }
        let (all, began) = ((spent >> 1) + nanos(now), self.began.load(Relaxed));
        let running = (nanos(now) - began).max(0);
        Spent { ended: (all - running).max(0), running: Some(running) }
    }
}

fn nanos(duration: Duration) -> i64 {
    // At most seventy years, so that sums and doubled sums do not overflow.
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

fn micros(nanos: i64) -> u64 {
    u64::try_from(nanos / 1000).unwrap_or(0)
}

/// What one worker has done so far, readable while it runs.
///
/// Each worker has its own, so that no two write to the same place with each message.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    calls: Calls,
    /// Deliveries of the call that runs, if it is of a batch; otherwise 1.
    in_call: AtomicU64,
    acked: AtomicU64,
    retried: AtomicU64,
    unconfirmed: AtomicU64,
    given_back: AtomicU64,
    dead: Counts<{ Cause::ALL.len() }>,
    redelivered: AtomicU64,
    failed: AtomicU64,
    faults: Counts<{ FaultKind::ALL.len() }>,
    times: Counts<{ TIMES_US.len() + 1 }>,
    /// Nanoseconds of the calls in `times`. Only the worker writes.
    times_ns: AtomicU64,
    /// Deliveries of batches that failed as a whole, each of which has a call of its own later.
    of_failed_batches: AtomicU64,
    by_generation: Mutex<ByGeneration>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            calls: Calls::default(),
            in_call: AtomicU64::new(1),
            acked: AtomicU64::default(),
            retried: AtomicU64::default(),
            unconfirmed: AtomicU64::default(),
            given_back: AtomicU64::default(),
            dead: Counts::default(),
            redelivered: AtomicU64::default(),
            failed: AtomicU64::default(),
            faults: Counts::default(),
            times: Counts::default(),
            times_ns: AtomicU64::default(),
            of_failed_batches: AtomicU64::default(),
            by_generation: Mutex::default(),
        }
    }
}

impl Stats {
    /// Whether the worker is in its handler now.
    pub(crate) fn is_handling(&self) -> bool {
        self.calls.is_running()
    }

    /// For how long the call that runs now has run.
    pub(crate) fn handling_for(&self) -> Option<Duration> {
        let running = self.calls.at(self.started.elapsed()).running?;
        Some(Duration::from_nanos(u64::try_from(running).unwrap_or_default()))
    }

    /// Notes that the worker enters its handler.
    pub(crate) fn call_begins(&self, at: Instant) {
        self.calls.begin(at.saturating_duration_since(self.started));
    }

    /// Notes that the worker has left its handler after this time.
    pub(crate) fn call_ended(&self, took: Duration) {
        self.calls.end(took);
    }

    /// The worker enters its handler with so many deliveries.
    pub(crate) fn batch_begins(&self, at: Instant, deliveries: usize) {
        self.in_call.store(u64::try_from(deliveries).unwrap_or(u64::MAX).max(1), Relaxed);
        self.call_begins(at);
    }

    /// The worker has left its handler, in which it was for so long with a batch.
    pub(crate) fn batch_ended(&self, took: Duration) {
        self.call_ended(took);
        self.in_call.store(1, Relaxed);
    }

    /// So many deliveries are in calls of the worker's handler now, of which each is a call by itself; `at` is now. The
    /// time since the last change counts as one call that ended, so that each delivery takes the part of the worker's
    /// time that came between it and the one before.
    pub(crate) fn calls_now(&self, deliveries: usize, at: Instant) {
        if let Some(running) = self.handling_for() {
            self.calls.end(running);
        }
        if deliveries > 0 {
            self.batch_begins(at, deliveries);
        }
    }

    /// Deliveries that the worker acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.load(Relaxed)
    }

    /// Counts a delivery of a second or later attempt that was taken.
    pub(crate) fn redelivered(&self) {
        self.redelivered.fetch_add(1, Relaxed);
    }

    /// Counts a handler call that ended after this time, well or not.
    pub(crate) fn handled(&self, time: Duration, well: bool) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.times_ns.store(self.times_ns.load(Relaxed).saturating_add(nanos(time).unsigned_abs()), Relaxed);
        self.times.count(TIMES_US.iter().position(|bound| micros <= *bound).unwrap_or(TIMES_US.len()));
        if !well {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    /// Counts deliveries of a batch that failed as a whole, beside that each was handled.
    pub(crate) fn failed_together(&self, deliveries: usize) {
        self.of_failed_batches.fetch_add(u64::try_from(deliveries).unwrap_or(u64::MAX), Relaxed);
    }

    /// The worker has an instance of this generation from now on.
    pub(crate) fn runs(&self, generation: &Digest) {
        self.by_generation.lock().runs(generation, self.call_sums());
    }

    /// The generation that the worker runs; `None` before its first instance.
    pub(crate) fn generation(&self) -> Option<Digest> {
        self.by_generation.lock().running()
    }

    /// What calls came to, by generation.
    pub(crate) fn by_generation(&self) -> GenerationSums {
        let by_generation = self.by_generation.lock();
        by_generation.sums(self.call_sums())
    }

    /// What all calls came to. An instance that did not start is none.
    fn call_sums(&self) -> CallSums {
        let (timed, together) = (self.times.sum(), self.of_failed_batches.load(Relaxed));
        let faults = self.faults.get();
        let starts = faults.get(FaultKind::Start as usize).copied().unwrap_or_default();
        CallSums {
            calls: timed.saturating_sub(together),
            failed: self.failed.load(Relaxed).saturating_sub(together),
            faulted: faults.iter().sum::<u64>().saturating_sub(starts),
            timed,
            us: micros(self.calls.at(self.started.elapsed()).ended),
        }
    }

    /// Counts a call that ended without an answer that can be carried out.
    pub(crate) fn faulted(&self, kind: FaultKind) {
        self.faults.count(kind as usize);
    }

    /// Counts a delivery that was settled.
    pub(crate) fn settled(&self, how: Settled) {
        let count = match how {
            Settled::Acked => &self.acked,
            Settled::Retried => &self.retried,
            Settled::Unconfirmed => &self.unconfirmed,
            Settled::GivenBack => &self.given_back,
            Settled::Dead(cause) => return self.dead.count(cause as usize),
            Settled::DeadBefore => return,
        };
        count.fetch_add(1, Relaxed);
    }

    /// All counters, as they are now.
    pub(crate) fn tally(&self) -> Tally {
        let acked = self.acked();
        let alive = self.started.elapsed();
        let Spent { ended, running } = self.calls.at(alive);
        Tally {
            work: Work {
                settled: acked + self.dead.sum(),
                handled: self.times.sum(),
                failed: self.failed.load(Relaxed),
                busy_us: micros(ended + running.unwrap_or(0)),
                calls_us: micros(ended),
                calling: running.map_or(0, |_| self.in_call.load(Relaxed)),
                alive_us: u64::try_from(alive.as_micros()).unwrap_or(u64::MAX),
            },
            acked,
            retried: self.retried.load(Relaxed),
            unconfirmed: self.unconfirmed.load(Relaxed),
            given_back: self.given_back.load(Relaxed),
            dead: self.dead.get(),
            redelivered: self.redelivered.load(Relaxed),
            faults: self.faults.get(),
            times: self.times.get(),
            times_us: self.times_ns.load(Relaxed) / 1000,
        }
    }
}

/// What a workload has said to the server beside settlements. Each number only grows.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pulls: AtomicU64,
    in_progress: AtomicU64,
    replies_refused: AtomicU64,
}

impl Traffic {
    /// Counts a pull request that was sent.
    pub(crate) fn pulled(&self) {
        self.pulls.fetch_add(1, Relaxed);
    }

    /// Counts an in-progress signal that was sent.
    pub(crate) fn told_in_progress(&self) {
        self.in_progress.fetch_add(1, Relaxed);
    }

    /// Counts a reply that must not be sent to the subject that the requester names. Returns the new count.
    pub(crate) fn refused_reply(&self) -> u64 {
        self.replies_refused.fetch_add(1, Relaxed) + 1
    }

    /// Pull requests sent.
    pub(crate) fn pulls(&self) -> u64 {
        self.pulls.load(Relaxed)
    }

    /// In-progress signals sent.
    pub(crate) fn in_progress(&self) -> u64 {
        self.in_progress.load(Relaxed)
    }

    /// Deliveries whose requester named a subject for the reply that `grants.reply` does not allow.
    pub(crate) fn replies_refused(&self) -> u64 {
        self.replies_refused.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_did_adds_up() {
        let (one, other) = (Stats::default(), Stats::default());
        one.settled(Settled::Acked);
        one.settled(Settled::Dead(Cause::Time));
        other.settled(Settled::Dead(Cause::Time));
        other.settled(Settled::Retried);
        other.faulted(FaultKind::Trap);
        one.handled(Duration::from_micros(3), true);
        one.handled(Duration::from_secs(3600), false);
        let tally = one.tally().plus(other.tally());
        assert_eq!((tally.acked, tally.retried, tally.work.settled), (1, 1, 3));
        assert_eq!((tally.work.handled, tally.work.failed), (2, 1));
        assert_eq!(tally.dead.get(Cause::Time as usize), Some(&2));
        assert_eq!(tally.faults.iter().sum::<u64>(), 1);
        assert_eq!((tally.times.first(), tally.times.last()), (Some(&1), Some(&1)));
        assert_eq!(tally.times_us, 3_600_000_003);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_run_together_take_the_time_of_each_and_share_that_of_their_worker() {
        let (stats, second) = (Stats::default(), Duration::from_secs(1));
        stats.calls_now(2, Instant::now());
        tokio::time::advance(second).await;
        stats.calls_now(0, Instant::now());
        (0..2).for_each(|_| stats.handled(second, true));
        let tally = stats.tally();
        assert_eq!((tally.times_us, tally.work.calls_us), (2_000_000, 1_000_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_counts_while_it_runs() {
        let (stats, second) = (Stats::default(), Duration::from_secs(1));
        let work = |stats: &Stats| {
            let Work { busy_us, calls_us, calling, .. } = stats.tally().work;
            (busy_us / 1_000_000, calls_us / 1_000_000, calling)
        };
        tokio::time::advance(second).await;
        assert_eq!(work(&stats), (0, 0, 0));
        stats.call_begins(Instant::now());
        tokio::time::advance(second * 20).await;
        assert!(stats.is_handling());
        assert_eq!(work(&stats), (20, 0, 1));
        stats.call_ended(second * 20);
        tokio::time::advance(second).await;
        assert_eq!(work(&stats), (20, 20, 0));
        stats.call_begins(Instant::now());
        tokio::time::advance(second * 3).await;
        assert_eq!(work(&stats), (23, 20, 1));
        stats.call_ended(second * 3);
        stats.batch_begins(Instant::now(), 50);
        assert_eq!(work(&stats), (23, 23, 50));
        stats.batch_ended(Duration::ZERO);
        stats.call_begins(Instant::now());
        assert_eq!(work(&stats), (23, 23, 1));
    }

    #[test]
    fn causes_and_kinds_count_where_their_lists_have_them() {
        assert!(Cause::ALL.iter().enumerate().all(|(index, cause)| *cause as usize == index));
        assert!(FaultKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }
}
