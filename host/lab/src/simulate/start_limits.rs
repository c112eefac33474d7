//! When a simulated message may begin, by the host's own limits, and for how long they kept messages waiting. Times are
//! nanoseconds and do not go back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use tidegate_runtime::config::StartLimits;
use tidegate_runtime::delivery::start_limits::{Gate, Kind, Told};

/// A duration as the simulation has it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The limits of a simulated workload.
#[derive(Debug)]
pub(super) struct SimulatedLimits {
    /// `None` where nothing is limited.
    gate: Option<SimulatedGate>,
    /// Until when it is counted for how long limits bound, and for how long that was since it was asked last.
    counted: u64,
    bound: u64,
    asked: u64,
}

impl SimulatedLimits {
    pub(super) fn new(limits: &StartLimits) -> Self {
        let gate = (!limits.is_none()).then(|| SimulatedGate::new(limits));
        Self { gate, counted: 0, bound: 0, asked: 0 }
    }

    /// When a message may begin that could begin at this time, if it may before `limit`.
    pub(super) fn permitted(&mut self, at: u64, limit: u64) -> Option<u64> {
        match &mut self.gate {
            Some(gate) => gate.permitted(at, limit),
            None => Some(at).filter(|at| *at < limit),
        }
    }

    /// A message begins, when it is [permitted](SimulatedLimits::permitted), and ends at `end`.
    pub(super) fn begin(&mut self, start: u64, end: u64, fails: bool) {
        if let Some(gate) = &mut self.gate {
            gate.begin(start, end, fails);
        }
    }

    /// Notes that a message that could have begun at `available` had to wait for its limits, as far as `until`.
    pub(super) fn waited(&mut self, available: u64, until: u64) {
        let Some(gate) = &mut self.gate else { return };
        // Until then it is counted, or it waited for a worker.
        let from = available.max(gate.now);
        let permitted = gate.permitted(from, until).unwrap_or(until);
        let since = from.max(self.counted);
        if permitted > since {
            self.bound += permitted - since;
            self.counted = permitted;
        }
    }

    /// Whether a message may begin now.
    pub(super) fn may_begin(&mut self, now: u64) -> bool {
        self.permitted(now, now.saturating_add(1)).is_some()
    }

    /// Whether limits, and not the number of workers, mostly kept messages waiting since this was asked last, or the
    /// breaker is open.
    pub(super) fn limited(&mut self, pending: bool, now: u64) -> bool {
        let Some(gate) = &mut self.gate else { return false };
        let (bound, time) = (std::mem::take(&mut self.bound), now.saturating_sub(self.asked));
        self.asked = now;
        gate.is_open(now) || (pending && time > 0 && bound as f64 >= StartLimits::BINDS * time as f64)
    }
}

/// The host's own limits, told the simulated time.
#[derive(Debug)]
struct SimulatedGate {
    gate: Gate,
    begin: Instant,
    /// Until when the gate knows what has ended.
    now: u64,
    /// What is with workers, by its end.
    running: BinaryHeap<Reverse<Call>>,
}

/// A call that runs: when it ends, how it began, and what it will say.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    end: u64,
    kind: Kind,
    fails: bool,
}

impl SimulatedGate {
    fn new(limits: &StartLimits) -> Self {
        let begin = Instant::now();
        Self { gate: Gate::new(limits, begin), begin, now: 0, running: BinaryHeap::new() }
    }

    fn instant(&self, at: u64) -> Instant {
        self.begin + Duration::from_nanos(at)
    }

    fn permitted(&mut self, at: u64, limit: u64) -> Option<u64> {
        let mut at = at.max(self.now);
        while at < limit {
            self.end_until(at);
            let now = self.instant(at);
            if self.gate.startable(now) > 0 {
                return Some(at);
            }
            // Either time alone brings it, or the end of a call.
            let by_time = self.gate.when(1, now).map(|when| nanos(when.saturating_duration_since(self.begin)));
            let by_end = self.running.peek().map(|Reverse(call)| call.end);
            at = by_time.into_iter().chain(by_end).filter(|next| *next > at).min()?;
        }
        None
    }

    /// Tells the gate what has ended until then.
    fn end_until(&mut self, at: u64) {
        while self.running.peek().is_some_and(|Reverse(call)| call.end <= at) {
            let Some(Reverse(Call { end, kind, fails })) = self.running.pop() else { return };
            self.gate.told(if fails { Told::Fails } else { Told::Works }, kind, self.instant(end));
            self.gate.end(kind);
        }
        self.now = self.now.max(at);
    }

    fn begin(&mut self, start: u64, end: u64, fails: bool) {
        if let Some(kind) = self.gate.begin_one(self.instant(start)) {
            self.running.push(Reverse(Call { end, kind, fails }));
        }
    }

    fn is_open(&mut self, now: u64) -> bool {
        self.end_until(now);
        self.gate.status().breaker_open == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_runtime::config::{BreakerConfig, Rate};

    const EVER: u64 = u64::MAX;

    #[test]
    fn a_burst_begins_at_once_and_then_one_after_the_other() {
        let rate = Rate { every: Duration::from_nanos(10), burst: 2 };
        let mut limits = SimulatedLimits::new(&StartLimits { rate: Some(rate), ..StartLimits::default() });
        let mut begin = |at| {
            let start = limits.permitted(at, EVER).unwrap();
            limits.begin(start, start, false);
            start
        };
        assert_eq!([begin(100), begin(100), begin(100), begin(100), begin(200)], [100, 100, 110, 120, 200]);
        assert_eq!((limits.permitted(200, 205), limits.permitted(205, 300)), (Some(200), Some(205)));
    }

    #[test]
    fn one_begins_when_one_of_the_most_has_ended() {
        let mut limits = SimulatedLimits::new(&StartLimits { max_in_flight: Some(2), ..StartLimits::default() });
        limits.begin(0, 30, false);
        limits.begin(0, 20, true);
        assert_eq!((limits.permitted(5, 20), limits.permitted(5, EVER)), (None, Some(20)));
        limits.begin(20, 90, false);
        assert_eq!(limits.permitted(20, EVER), Some(30));
        limits.waited(10, 35);
        assert!(!limits.limited(true, 35), "it bound for no time since something began");
    }

    #[test]
    fn with_an_open_breaker_one_call_an_interval_begins_until_one_works() {
        let nanos = Duration::from_nanos;
        let breaker = BreakerConfig { ratio: 0.5, window: nanos(1000), min_calls: 2, probe_interval: nanos(100) };
        let mut limits = SimulatedLimits::new(&StartLimits { breaker: Some(breaker), ..StartLimits::default() });
        limits.begin(0, 10, true);
        limits.begin(0, 20, true);
        assert!(limits.may_begin(19) && !limits.limited(true, 19));
        assert!(limits.limited(true, 20) && !limits.may_begin(20));
        assert_eq!(limits.permitted(20, EVER), Some(120));
        limits.begin(120, 130, true);
        assert_eq!(limits.permitted(120, EVER), Some(220));
        // A probe that takes longer than the interval is followed by nothing.
        limits.begin(220, 400, false);
        assert!(limits.limited(true, 399));
        assert_eq!(limits.permitted(399, EVER), Some(400));
        assert!(!limits.limited(true, 400));
    }
}
