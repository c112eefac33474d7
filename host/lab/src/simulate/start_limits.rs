//! When a simulated message may begin, and for how long limits kept messages waiting. Times are nanoseconds and do not
//! go back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tidegate_runtime::config::StartLimits;

/// A duration as the simulation has it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The limits of a simulated workload.
#[derive(Debug)]
pub(super) struct SimulatedLimits {
    /// From one start to the next, and how many may be made up for.
    rate: Option<(u64, u64)>,
    /// When the burst is whole again.
    full_at: u64,
    most: Option<usize>,
    /// When the messages that are with workers end; kept where their number is limited.
    ends: BinaryHeap<Reverse<u64>>,
    /// Until when it is counted for how long limits bound, and for how long that was since it was asked last.
    counted: u64,
    bound: u64,
    asked: u64,
}

impl SimulatedLimits {
    pub(super) fn new(limits: &StartLimits) -> Self {
        Self {
            rate: limits.rate.map(|rate| (nanos(rate.every), u64::from(rate.burst))),
            full_at: 0,
            most: limits.max_in_flight,
            ends: BinaryHeap::new(),
            counted: 0,
            bound: 0,
            asked: 0,
        }
    }

    /// When a message may begin that could begin at this time.
    pub(super) fn permitted(&mut self, at: u64) -> u64 {
        let at = match self.rate {
            Some((every, burst)) => at.max(self.full_at.saturating_sub(every.saturating_mul(burst - 1))),
            None => at,
        };
        let Some(most) = self.most else { return at };
        while self.ends.peek().is_some_and(|Reverse(end)| *end <= at) {
            self.ends.pop();
        }
        match self.ends.peek() {
            Some(Reverse(end)) if self.ends.len() >= most => *end,
            _ => at,
        }
    }

    /// A message begins and ends at these times.
    pub(super) fn begin(&mut self, start: u64, end: u64) {
        if let Some((every, _)) = self.rate {
            self.full_at = self.full_at.max(start).saturating_add(every);
        }
        if let Some(most) = self.most {
            if self.ends.len() >= most {
                self.ends.pop();
            }
            self.ends.push(Reverse(end));
        }
    }

    /// Notes that a message that could have begun at `available` had to wait for its limits, as far as `until`.
    pub(super) fn waited(&mut self, available: u64, until: u64) {
        let permitted = self.permitted(available).min(until);
        let since = available.max(self.counted);
        if permitted > since {
            self.bound += permitted - since;
            self.counted = permitted;
        }
    }

    /// Whether limits, and not the number of workers, mostly kept messages waiting since this was asked last.
    pub(super) fn limited(&mut self, pending: bool, now: u64) -> bool {
        let (bound, time) = (std::mem::take(&mut self.bound), now.saturating_sub(self.asked));
        self.asked = now;
        pending && time > 0 && bound as f64 >= StartLimits::BINDS * time as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_runtime::config::Rate;

    #[test]
    fn a_burst_begins_at_once_and_then_one_after_the_other() {
        let rate = Rate { every: Duration::from_nanos(10), burst: 2 };
        let mut limits = SimulatedLimits::new(&StartLimits { rate: Some(rate), ..StartLimits::default() });
        let mut begin = |at| {
            let start = limits.permitted(at);
            limits.begin(start, start);
            start
        };
        assert_eq!([begin(100), begin(100), begin(100), begin(100), begin(200)], [100, 100, 110, 120, 200]);
    }

    #[test]
    fn one_begins_when_one_of_the_most_has_ended() {
        let mut limits = SimulatedLimits::new(&StartLimits { max_in_flight: Some(2), ..StartLimits::default() });
        limits.begin(0, 30);
        limits.begin(0, 20);
        assert_eq!(limits.permitted(5), 20);
        limits.begin(20, 90);
        assert_eq!((limits.permitted(20), limits.permitted(31)), (30, 31));
        limits.waited(10, 25);
        assert!(!limits.limited(true, 25), "it bound for a while at most");
    }
}
