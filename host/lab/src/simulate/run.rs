//! One workload under one policy, from the first arrival to the last message handled.
//!
//! Between two decisions nothing changes but which worker has which message. So there is no queue of events: messages
//! are begun in the order they came, each by the worker that is free first, until the next would begin after the next
//! decision. A message costs a logarithm of the number of workers and no allocation.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use super::arrivals::{ArrivalCounter, Arrivals, Cursor};
use super::keys::{KeyModel, NewMessage, SimulatedKeys};
use super::outcome::{OutcomeRecorder, SimulationOutcome};
use super::random::{Attempt, RandomAttempts, RetryModel, ServiceTime};
use super::start_limits::{SimulatedLimits, nanos};
use super::worker_pool::{HeldMessage, WorkerPool};
use tidegate_runtime::config::{Scale, StartLimits};
use tidegate_runtime::contract::Observation;
use tidegate_runtime::delivery::counters::Work;
use tidegate_runtime::delivery::inbox;
use tidegate_runtime::ports::Sample;
use tidegate_runtime::scaling::carried_out;
use tidegate_runtime::scaling::monitor::BURST;
use tidegate_runtime::scaling::observe::{Moment, ObservationBuilder};

/// The time of day when a simulation begins: a Monday's midnight, in milliseconds since the Unix epoch.
pub const MIDNIGHT_MS: u64 = 1_704_067_200_000;
/// For how long it goes on after the last row at least, if messages are left.
const PATIENCE: u64 = 3600 * 1_000_000_000;
/// How many messages may wait for their turn, as a host has it by default.
const ORDER_BUFFER: usize = 10_000;

/// What is simulated, besides arrivals and the policy. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The limits, the interval and the window.
    pub scale: Scale,
    /// From the start of a worker until it can have a message.
    pub start_delay: u64,
    /// The most deliveries that a worker holds at once.
    pub batch: usize,
    /// How long an attempt takes.
    pub service: ServiceTime,
    /// How attempts fail.
    pub retry: Option<RetryModel>,
    /// When messages may begin. A breaker is not simulated.
    pub limits: StartLimits,
    /// The keys of messages that are handled one after the other, if an order is kept.
    pub keys: Option<KeyModel>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The longest wait that is within the objective.
    pub objective: u64,
}

/// Runs it. `decide` gives the number of workers wanted, or `None` where the policy fails, which leaves the number as
/// it is. `progress` is told the time at each decision.
///
/// # Errors
/// If there is no memory for the waits.
pub fn run(
    model: &Model,
    arrivals: &Arrivals,
    decide: &mut dyn FnMut(&Observation) -> Option<u32>,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<SimulationOutcome> {
    let mut simulation = Simulation::new(model, arrivals)?;
    let interval = nanos(model.scale.interval).max(1);
    let give_up = arrivals.length().saturating_add(arrivals.length().max(PATIENCE));
    let mut tick = 0_u64;
    loop {
        let mut woken = false;
        if let Some(at) = simulation.unattended().filter(|at| *at < tick) {
            simulation.set(at, 1);
            // The monitor's own: what comes right behind the message that woke it counts too.
            tick = at.saturating_add(nanos(BURST));
            woken = true;
        }
        simulation.work_until(tick);
        if let Some(end) = simulation.end().filter(|end| *end <= tick) {
            return Ok(simulation.finish(end));
        }
        if tick >= give_up {
            return Ok(simulation.finish(tick));
        }
        let seen = simulation.observe(tick);
        let decided = decide(&seen);
        simulation.decided(tick, decided, woken);
        progress(tick);
        tick = tick.saturating_add(interval);
    }
}

/// A message that failed and will be delivered again: when, which, since when it is there, how often it was delivered.
type Redelivery = Reverse<(u64, u64, u64, u32)>;

struct Simulation<'a> {
    model: &'a Model,
    length: u64,
    cursor: Cursor<'a>,
    counter: ArrivalCounter<'a>,
    attempts: RandomAttempts,
    pool: WorkerPool,
    limits: SimulatedLimits,
    keys: Option<SimulatedKeys>,
    observer: ObservationBuilder,
    again: BinaryHeap<Redelivery>,
    /// The messages of `again`, oldest first.
    failed: BTreeSet<(u64, u64)>,
    /// How many of `again` were delivered more than once.
    redelivered: u64,
    now: u64,
    /// Messages that were given to their keys, those that have begun, and when the last of all attempts ends.
    arrived: u64,
    started: u64,
    last_end: u64,
    /// A moving mean of the time of an attempt, as the inbox keeps it.
    mean: u64,
    /// What all attempts come to that have begun.
    work: Totals,
    record: OutcomeRecorder,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    attempts: u64,
    failed: u64,
    busy: u128,
}

impl<'a> Simulation<'a> {
    fn new(model: &'a Model, arrivals: &'a Arrivals) -> anyhow::Result<Self> {
        let mut simulation = Self {
            model,
            length: arrivals.length(),
            cursor: Cursor::new(arrivals, model.seed),
            counter: ArrivalCounter::new(arrivals, model.seed),
            attempts: RandomAttempts::new(&model.service, model.retry, model.seed),
            pool: WorkerPool::default(),
            limits: SimulatedLimits::new(&model.limits),
            keys: model.keys.map(|keys| SimulatedKeys::new(keys, model.seed)),
            observer: ObservationBuilder::new(model.scale.window),
            again: BinaryHeap::new(),
            failed: BTreeSet::new(),
            redelivered: 0,
            now: 0,
            arrived: 0,
            started: 0,
            last_end: 0,
            mean: 0,
            work: Totals::default(),
            record: OutcomeRecorder::new(arrivals.length(), model.objective)?,
        };
        simulation.pool.set(model.scale.min, 0, model.start_delay);
        simulation.record.starts_with(model.scale.min);
        Ok(simulation)
    }

    /// When the next message can be begun: it has arrived, or its retry delay is over.
    fn available(&self) -> Option<u64> {
        let again = self.again.peek().map(|Reverse((ready, ..))| *ready);
        let turn = self.keys.as_ref().and_then(SimulatedKeys::next);
        self.cursor.peek().into_iter().chain(turn).chain(again).min()
    }

    /// When a message arrives while there is no worker.
    fn unattended(&self) -> Option<u64> {
        let at = self.available()?;
        (self.pool.running() == 0).then(|| at.max(self.now))
    }

    /// When the run ends: no message is left to begin, all attempts have ended, and so has the trace.
    fn end(&self) -> Option<u64> {
        self.available().is_none().then(|| self.length.max(self.last_end))
    }

    /// Begins all messages that can be begun before `limit`.
    fn work_until(&mut self, limit: u64) {
        while let Some(free) = self.pool.first_free() {
            self.take_in(free, limit);
            if let Some(available) = self.available() {
                self.limits.waited(available, limit);
            }
            let again = self.again.peek().map(|Reverse((ready, ..))| (*ready).max(free));
            let new = self.next_new().map(|ready| ready.max(free));
            let (again, new) = (again.map(|at| self.limits.permitted(at)), new.map(|at| self.limits.permitted(at)));
            match (again, new) {
                // JetStream delivers again before it delivers what is new.
                (Some(start), new) if start < limit && new.is_none_or(|new| start <= new) => self.begin_again(start),
                (_, Some(start)) if start < limit => self.begin(start),
                _ => return,
            }
        }
    }

    /// Gives each message that may begin before the next one of its key, or has to wait for it, to its key.
    fn take_in(&mut self, free: u64, limit: u64) {
        let Some(keys) = &mut self.keys else { return };
        while let Some(arrival) = self.cursor.peek().filter(|arrival| *arrival < limit) {
            if keys.next().is_some_and(|ready| ready.max(free) < arrival) {
                return;
            }
            self.cursor.advance();
            keys.arrive(self.arrived, arrival, self.attempts.first());
            self.arrived += 1;
        }
    }

    /// When the next message that was not tried yet may begin.
    fn next_new(&self) -> Option<u64> {
        match &self.keys {
            Some(keys) => keys.next(),
            None => self.cursor.peek(),
        }
    }

    fn begin(&mut self, start: u64) {
        let Some(NewMessage { message, arrival, time, fails, .. }) = self.take_new() else { return };
        self.record.waited(start, start - arrival);
        self.give(message, HeldMessage { arrival, attempt: 1, outcome: Attempt { time, fails } }, start);
        self.started += 1;
    }

    fn take_new(&mut self) -> Option<NewMessage> {
        if let Some(keys) = &mut self.keys {
            return keys.begin();
        }
        let arrival = self.cursor.peek()?;
        self.cursor.advance();
        let Attempt { time, fails } = self.attempts.first();
        Some(NewMessage { ready: arrival, message: self.started, arrival, time, fails })
    }

    fn begin_again(&mut self, start: u64) {
        let Some(Reverse((_, message, arrival, delivered))) = self.again.pop() else { return };
        self.failed.remove(&(arrival, message));
        self.redelivered -= u64::from(delivered > 1);
        let attempt = delivered.saturating_add(1);
        self.give(message, HeldMessage { arrival, attempt, outcome: self.attempts.again(message, attempt) }, start);
    }

    fn give(&mut self, message: u64, held: HeldMessage, start: u64) {
        let end = self.pool.give(held, start);
        self.limits.begin(start, end);
        let Attempt { time, fails } = held.outcome;
        self.last_end = self.last_end.max(end);
        self.mean = if self.mean == 0 { time.max(1) } else { self.mean - self.mean / 8 + time / 8 };
        self.work.attempts += 1;
        self.work.busy += u128::from(time);
        if fails {
            let delay = self.model.retry.map_or(0, |retry| retry.delay);
            self.work.failed += 1;
            self.again.push(Reverse((end.saturating_add(delay), message, held.arrival, held.attempt)));
            self.failed.insert((held.arrival, message));
            self.redelivered += u64::from(held.attempt > 1);
        } else if let Some(keys) = &mut self.keys {
            keys.ends(message, end);
        }
    }

    /// What the policy is told at `now`. An attempt counts when it has ended; of one that runs, the time counts, as the
    /// host counts.
    fn observe(&mut self, now: u64) -> Observation {
        self.now = now;
        self.pool.count(now);
        let (mut work, mut handled_now, mut redelivered, mut oldest) =
            (self.work, 0_u64, self.redelivered, None::<u64>);
        let (mut calling, mut running) = (0, 0_u128);
        for (held, left) in self.pool.handling(now) {
            work.attempts -= 1;
            work.busy -= u128::from(held.outcome.time);
            calling += 1;
            running += u128::from(held.outcome.time - left);
            oldest = Some(oldest.map_or(held.arrival, |oldest| oldest.min(held.arrival)));
            if held.outcome.fails {
                // It is among those that will be delivered again.
                work.failed -= 1;
            } else {
                handled_now += 1;
                redelivered += u64::from(held.attempt > 1);
            }
        }
        let arrived = self.counter.before(now);
        let waiting = arrived - self.started;
        self.record.backlog(waiting);
        // What may not begin yet stays in the stream.
        let may_begin = self.limits.permitted(now) <= now;
        let ahead = if may_begin { self.fetched_ahead() } else { 0 };
        // What waits for its turn is fetched, as far as there is room.
        let blocked = self.keys.as_ref().map_or(0, |keys| count(keys.blocked(now).min(ORDER_BUFFER)));
        let fetched = waiting.min(ahead + blocked);
        let new = self.keys.as_ref().and_then(SimulatedKeys::oldest).or_else(|| self.cursor.peek());
        let waits = new.filter(|arrival| *arrival < now);
        let failed = self.failed.first().map(|(arrival, _)| *arrival);
        let oldest = oldest.into_iter().chain(waits).chain(failed).min();
        let sample = Sample {
            arrivals: arrived,
            pending: waiting - fetched,
            ack_pending: fetched + handled_now + count(self.again.len()),
            redelivered,
            oldest_ms: oldest.map(|arrival| MIDNIGHT_MS + arrival / 1_000_000),
            now_ms: None,
            last_arrival: None,
        };
        let work = Work {
            settled: work.attempts - work.failed,
            handled: work.attempts,
            failed: work.failed,
            busy_us: micros(work.busy + running),
            calls_us: micros(work.busy),
            calling,
            alive_us: micros(self.pool.alive()),
        };
        let now_ms = MIDNIGHT_MS + now / 1_000_000;
        let at = Moment { elapsed: Duration::from_nanos(now), now_ms, wall_ms: now_ms };
        let limited = self.limits.limited(sample.pending > 0, now);
        let keys_waiting = self.keys_waiting(sample.pending > 0, now);
        let seen = self.observer.observe(at, sample, work, self.pool.running(), &self.model.scale);
        Observation { limited, keys_waiting, ..seen }
    }

    /// Of how many keys messages wait or are with workers. As in a host, it is not known while others may be fetched.
    fn keys_waiting(&mut self, pending: bool, now: u64) -> Option<u32> {
        let keys = self.keys.as_mut()?;
        let unknown = self.cursor.peek().is_some_and(|arrival| arrival < now);
        let may_fetch = pending && keys.blocked(now) * 4 <= ORDER_BUFFER * 3;
        (!unknown && !may_fetch).then(|| u32::try_from(keys.keys(now)).unwrap_or(u32::MAX))
    }

    /// How many deliveries the inbox holds where enough messages wait.
    fn fetched_ahead(&self) -> u64 {
        let mean = (self.mean > 0).then(|| Duration::from_nanos(self.mean));
        let workers = usize::try_from(self.pool.running()).unwrap_or(usize::MAX);
        count(inbox::capacity(workers, self.model.batch, mean))
    }

    /// `woken` is whether a message that met no worker has just started one.
    fn decided(&mut self, now: u64, decided: Option<u32>, woken: bool) {
        self.record.decided(decided.is_some());
        if let Some(desired) = decided {
            let needed = woken || self.available().is_some_and(|at| at < now);
            let limits = (self.model.scale.min, self.model.scale.max);
            self.set(now, carried_out(desired, limits, self.pool.running(), needed));
        }
    }

    fn set(&mut self, now: u64, workers: u32) {
        self.now = now;
        if self.pool.running() != workers {
            self.record.scaled(now, self.pool.running(), workers);
            self.pool.set(workers, now, self.model.start_delay);
        }
    }

    /// At the end nobody waits any more, or what waits has been given up.
    fn finish(mut self, end: u64) -> SimulationOutcome {
        self.pool.count(end);
        for arrival in self.keys.iter().flat_map(SimulatedKeys::arrivals) {
            self.record.gave_up(end.saturating_sub(arrival));
        }
        while let Some(arrival) = self.cursor.peek() {
            self.record.gave_up(end.saturating_sub(arrival));
            self.cursor.advance();
        }
        let (mut handling, mut left) = (0, 0);
        for (held, time) in self.pool.handling(end) {
            left += u128::from(time);
            // One that will fail is among those that will be delivered again.
            handling += u64::from(!held.outcome.fails);
        }
        let unfinished = count(self.again.len()) + handling;
        self.record.outcome(end, unfinished, self.pool.alive(), self.work.busy - left)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn micros(nanos: u128) -> u64 {
    u64::try_from(nanos / 1000).unwrap_or(u64::MAX)
}
