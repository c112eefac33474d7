//! What came of a simulation.

use anyhow::Context as _;
use hdrhistogram::Histogram;

use super::outage::Outage;
use super::worker_pool::HeldMessage;

/// Parts of the time line for which waits are kept.
pub const PARTS: usize = 480;

/// What came of a simulation. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationOutcome {
    /// When the trace was over and the last message handled, or given up.
    pub end: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// Messages that were not handled to their end, because it was given up.
    pub unfinished: u64,
    /// The lives of all workers until `end`: from their start until they were told to end and had handled what they
    /// had.
    pub worker_time: u128,
    /// The time of all attempts.
    pub busy_time: u128,
    /// From each message's arrival to its first attempt, in microseconds, within a thousandth.
    pub waits: Histogram<u64>,
    /// The longest of them.
    pub longest_wait: u64,
    /// Messages that waited longer than the objective.
    pub over: u64,
    /// The most messages that waited for their first attempt when the policy was asked.
    pub peak_backlog: u64,
    /// The most workers that ran at once, without those that drained.
    pub peak_workers: u32,
    /// Times the number of workers was raised.
    pub up: u64,
    /// Times the number of workers was lowered.
    pub down: u64,
    /// Times the policy was asked.
    pub decisions: u64,
    /// Times it did not answer.
    pub failures: u64,
    /// From when on how many workers ran.
    pub workers: Vec<(u64, u32)>,
    /// The waits of what began in each of [`PARTS`] equal parts of the trace. What began later is in the last.
    pub wait_parts: Vec<WaitPart>,
    /// What an outage did, if there was one.
    pub outage: Option<OutageOutcome>,
}

/// What an outage did.
#[derive(Debug, Clone, PartialEq)]
pub struct OutageOutcome {
    /// Attempts that began in it.
    pub calls: u64,
    /// The most attempts that a message took, in the whole run.
    pub most_attempts: u32,
    /// From the arrival of each message to the end of the attempt that did not fail, in microseconds, within a
    /// thousandth; of the whole run.
    pub handled: Histogram<u64>,
}

/// The waits of a part of the time line, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitPart {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The longest.
    pub longest: u64,
}

impl WaitPart {
    fn add(&mut self, wait: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(wait);
        self.longest = self.longest.max(wait);
    }
}

impl SimulationOutcome {
    /// What all workers cost, in seconds.
    pub fn worker_seconds(&self) -> f64 {
        self.worker_time as f64 / 1e9
    }

    /// The share of the workers' time that went into handling: 0 to 1.
    pub fn utilisation(&self) -> f64 {
        share(self.busy_time as f64, self.worker_time as f64)
    }

    /// The share of messages that waited longer than the objective.
    pub fn over_share(&self) -> f64 {
        share(self.over as f64, self.messages as f64)
    }

    /// The wait that so many of all messages did not exceed, in milliseconds. `quantile` is 0 to 1.
    pub fn wait_ms(&self, quantile: f64) -> f64 {
        let bucket = self.waits.value_at_quantile(quantile) as f64 / 1e3;
        bucket.min(self.longest_wait as f64 / 1e6)
    }

    /// Whether everything was handled, and at least this share of messages within the objective.
    pub fn meets(&self, share: f64) -> bool {
        self.unfinished == 0 && self.over <= allowed(self.messages, share)
    }
}

/// How many of `messages` may wait longer than the objective, where a share of 0 to 1 may not.
pub fn allowed(messages: u64, share: f64) -> u64 {
    // A little slack, for a hundredth is no number that floating point has.
    ((1.0 - share) * messages as f64 + 1e-6).floor() as u64
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// Keeps what becomes an outcome.
#[derive(Debug)]
pub(super) struct OutcomeRecorder {
    objective: u64,
    part: u64,
    outage: Option<Outage>,
    outcome: SimulationOutcome,
}

impl OutcomeRecorder {
    pub(super) fn new(length: u64, objective: u64, outage: Option<Outage>) -> anyhow::Result<Self> {
        let nothing = || anyhow::Ok(OutageOutcome { calls: 0, most_attempts: 0, handled: histogram()? });
        let outcome = SimulationOutcome {
            end: 0,
            messages: 0,
            unfinished: 0,
            worker_time: 0,
            busy_time: 0,
            waits: histogram()?,
            longest_wait: 0,
            over: 0,
            peak_backlog: 0,
            peak_workers: 0,
            up: 0,
            down: 0,
            decisions: 0,
            failures: 0,
            workers: Vec::new(),
            wait_parts: vec![WaitPart::default(); PARTS],
            outage: outage.map(|_| nothing()).transpose()?,
        };
        Ok(Self { objective, part: length.div_ceil(PARTS as u64).max(1), outage, outcome })
    }

    pub(super) fn starts_with(&mut self, workers: u32) {
        self.outcome.workers.push((0, workers));
        self.outcome.peak_workers = workers;
    }

    /// A message that began at `start` had waited so long.
    pub(super) fn waited(&mut self, start: u64, wait: u64) {
        let part = usize::try_from(start / self.part).unwrap_or(usize::MAX).min(PARTS - 1);
        if let Some(part) = self.outcome.wait_parts.get_mut(part) {
            part.add(wait);
        }
        self.count(wait);
    }

    /// An attempt began at `start` and ends at `end`.
    pub(super) fn called(&mut self, HeldMessage { arrival, attempt, outcome }: HeldMessage, start: u64, end: u64) {
        let (Some(outage), Some(of)) = (&mut self.outcome.outage, self.outage) else { return };
        outage.calls += u64::from(of.has(start));
        outage.most_attempts = outage.most_attempts.max(attempt);
        if !outcome.fails {
            record(&mut outage.handled, end.saturating_sub(arrival) / 1000);
        }
    }

    /// A message never began.
    pub(super) fn gave_up(&mut self, wait: u64) {
        self.outcome.unfinished += 1;
        if let Some(part) = self.outcome.wait_parts.last_mut() {
            part.add(wait);
        }
        self.count(wait);
    }

    fn count(&mut self, wait: u64) {
        let outcome = &mut self.outcome;
        outcome.messages += 1;
        outcome.over += u64::from(wait > self.objective);
        outcome.longest_wait = outcome.longest_wait.max(wait);
        record(&mut outcome.waits, wait / 1000);
    }

    pub(super) fn backlog(&mut self, waiting: u64) {
        self.outcome.peak_backlog = self.outcome.peak_backlog.max(waiting);
    }

    pub(super) fn decided(&mut self, answered: bool) {
        self.outcome.decisions += 1;
        self.outcome.failures += u64::from(!answered);
    }

    pub(super) fn scaled(&mut self, at: u64, from: u32, to: u32) {
        let outcome = &mut self.outcome;
        outcome.up += u64::from(to > from);
        outcome.down += u64::from(to < from);
        outcome.peak_workers = outcome.peak_workers.max(to);
        outcome.workers.push((at, to));
    }

    pub(super) fn outcome(self, end: u64, unfinished: u64, worker_time: u128, busy_time: u128) -> SimulationOutcome {
        let unfinished = self.outcome.unfinished + unfinished;
        SimulationOutcome { end, unfinished, worker_time, busy_time, ..self.outcome }
    }
}

/// Counts microseconds. The histogram grows as it needs to, and keeps at its end what is too long even for that.
pub(super) fn record(histogram: &mut Histogram<u64>, micros: u64) {
    if histogram.record(micros).is_err() {
        histogram.saturating_record(micros);
    }
}

/// Of microseconds, within a thousandth.
pub(super) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new(3).context("a histogram of waits")
}
