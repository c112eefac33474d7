//! One workload under one policy, from the first arrival to the last message handled.
//!
//! Between two decisions nothing changes but which worker has which message. So there is no queue of events: messages
//! are begun in the order they came, each by the worker that is free first, until the next would begin after the next
//! decision. A message costs a logarithm of the number of workers and no allocation.

use std::time::Duration;

use super::arrivals::{ArrivalCounter, Arrivals};
use super::coming::{Coming, ReadyMessage};
use super::key_turns::KeyTurns;
use super::keys::KeyModel;
use super::outage::Outage;
use super::outcome::{OutcomeRecorder, SimulationOutcome};
use super::random::{Attempt, RetryModel, ServiceTime};
use super::redeliveries::Redelivery;
use super::start_limits::{SimulatedLimits, nanos};
use super::worker_pool::{HeldMessage, WorkerPool};
use tidegate_runtime::config::{Retry, Scale, StartLimits};
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
    /// When each attempt fails, because what is behind the handler does not work.
    pub outage: Option<Outage>,
    /// When messages may begin.
    pub limits: StartLimits,
    /// The keys of messages, if it matters which has which.
    pub keys: Option<KeyModel>,
    /// How many messages of a key are handled at once, in any order. `None` is one after the other, in order.
    pub per_key: Option<usize>,
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

struct Simulation<'a> {
    model: &'a Model,
    length: u64,
    coming: Coming<'a>,
    counter: ArrivalCounter<'a>,
    pool: WorkerPool,
    limits: SimulatedLimits,
    keys: Option<KeyTurns>,
    /// After which delays failed attempts are tried again, where the model does not say.
    backoff: Retry,
    observer: ObservationBuilder,
    now: u64,
    /// Messages that have begun, and when the last of all attempts ends.
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
            coming: Coming::new(arrivals, (&model.service, model.retry), model.seed),
            counter: ArrivalCounter::new(arrivals, model.seed),
            pool: WorkerPool::default(),
            limits: SimulatedLimits::new(&model.limits),
            keys: model.keys.map(|keys| KeyTurns::new(keys, model.per_key, model.seed)),
            backoff: Retry::default(),
            observer: ObservationBuilder::new(model.scale.window),
            now: 0,
            started: 0,
            last_end: 0,
            mean: 0,
            work: Totals::default(),
            record: OutcomeRecorder::new(arrivals.length(), model.objective, model.outage)?,
        };
        simulation.pool.set(model.scale.min, 0, model.start_delay);
        simulation.record.starts_with(model.scale.min);
        Ok(simulation)
    }

    /// When the next message can be begun: it has arrived, or its retry delay is over.
    fn available(&self) -> Option<u64> {
        let turn = self.keys.as_ref().and_then(KeyTurns::available);
        self.coming.arrival().into_iter().chain(turn).chain(self.coming.again.next()).min()
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
            if let Some(keys) = &mut self.keys {
                keys.take_in(&mut self.coming, free, limit);
            }
            if let Some(available) = self.available() {
                self.limits.waited(available, limit);
            }
            let Some(ready) = self.next_again().into_iter().chain(self.next_turn()).min() else { return };
            let Some(start) = self.limits.permitted(ready.max(free), limit) else { return };
            self.begin(start);
        }
    }

    /// When the next message that failed may begin again, where that is no matter of keys.
    fn next_again(&self) -> Option<u64> {
        let by_keys = self.keys.as_ref().is_some_and(KeyTurns::take_again);
        self.coming.again.next().filter(|_| !by_keys)
    }

    /// When the next of all others may begin.
    fn next_turn(&self) -> Option<u64> {
        match &self.keys {
            Some(keys) => keys.next(),
            None => self.coming.arrival(),
        }
    }

    fn begin(&mut self, start: u64) {
        let Some(ReadyMessage { message, arrival, attempt, time, fails, .. }) = self.take(start) else { return };
        if attempt > 1 {
            self.coming.again.begins(message, arrival, attempt);
        } else {
            self.record.waited(start, start - arrival);
            self.started += 1;
        }
        let fails = fails || self.model.outage.is_some_and(|outage| outage.has(start));
        self.give(message, HeldMessage { arrival, attempt, outcome: Attempt { time, fails } }, start);
    }

    fn take(&mut self, start: u64) -> Option<ReadyMessage> {
        // JetStream delivers again before it delivers what is new.
        if self.next_again().is_some_and(|ready| ready <= start) {
            return self.coming.take_again();
        }
        match &mut self.keys {
            Some(keys) => keys.begin(start),
            None => self.coming.take_new(),
        }
    }

    fn give(&mut self, message: u64, held: HeldMessage, start: u64) {
        let end = self.pool.give(held, start);
        let HeldMessage { arrival, attempt, outcome: Attempt { time, fails } } = held;
        self.limits.begin(start, end, fails);
        self.last_end = self.last_end.max(end);
        self.mean = if self.mean == 0 { time.max(1) } else { self.mean - self.mean / 8 + time / 8 };
        self.work.attempts += 1;
        self.work.busy += u128::from(time);
        self.record.called(held, start, end);
        if fails {
            self.work.failed += 1;
            let ready = end.saturating_add(self.delay(attempt));
            self.coming.again.add(Redelivery { ready, message, arrival, delivered: attempt });
        }
        if let Some(keys) = &mut self.keys {
            keys.ends(message, end, fails);
        }
    }

    /// After which time a message is tried again that has failed so often.
    fn delay(&self, attempt: u32) -> u64 {
        self.model.retry.map_or_else(|| nanos(self.backoff.delay(attempt)), |retry| retry.delay)
    }

    /// What the policy is told at `now`. An attempt counts when it has ended; of one that runs, the time counts, as the
    /// host counts.
    fn observe(&mut self, now: u64) -> Observation {
        self.now = now;
        self.pool.count(now);
        let (mut work, mut handled_now, mut redelivered, mut oldest) =
            (self.work, 0_u64, self.coming.again.repeated(), None::<u64>);
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
        let ahead = if self.limits.may_begin(now) { self.fetched_ahead() } else { 0 };
        // What waits for its turn is fetched, as far as there is room.
        let blocked = self.keys.as_mut().map_or(0, |keys| count(keys.blocked(now)));
        let fetched = waiting.min(ahead + blocked);
        let new = self.keys.as_ref().and_then(KeyTurns::oldest).or_else(|| self.coming.arrival());
        let waits = new.filter(|arrival| *arrival < now);
        let oldest = oldest.into_iter().chain(waits).chain(self.coming.again.oldest()).min();
        let sample = Sample {
            arrivals: arrived,
            pending: waiting - fetched,
            ack_pending: fetched + handled_now + count(self.coming.again.len()),
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
        let limited =
            self.limits.limited(sample.pending > 0, now) || self.keys.as_ref().is_some_and(|keys| keys.bind(now));
        let unknown = self.coming.arrival().is_some_and(|arrival| arrival < now);
        let keys_waiting = self.keys.as_mut().and_then(|keys| keys.waiting(unknown, sample.pending > 0, now));
        let seen = self.observer.observe(at, sample, work, self.pool.running(), &self.model.scale);
        Observation { limited, keys_waiting, ..seen }
    }

    /// How many deliveries the inbox holds where enough messages wait.
    fn fetched_ahead(&self) -> u64 {
        let mean = (self.mean > 0).then(|| Duration::from_nanos(self.mean));
        let workers = usize::try_from(self.pool.running()).unwrap_or(usize::MAX);
        count(inbox::capacity(workers, (self.model.batch, 0), mean))
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
        let (again, untried) = (count(self.coming.again.len()), self.keys.iter().flat_map(KeyTurns::untried));
        for arrival in untried.chain(self.coming.arrivals()) {
            self.record.gave_up(end.saturating_sub(arrival));
        }
        let (mut handling, mut left) = (0, 0);
        for (held, time) in self.pool.handling(end) {
            left += u128::from(time);
            // One that will fail is among those that will be delivered again.
            handling += u64::from(!held.outcome.fails);
        }
        let unfinished = again + handling;
        self.record.outcome(end, unfinished, self.pool.alive(), self.work.busy - left)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn micros(nanos: u128) -> u64 {
    u64::try_from(nanos / 1000).unwrap_or(u64::MAX)
}
