//! What the hosts of a fleet have done together, as if they were one. Pure.

use std::collections::BTreeMap;

use super::entries::Report;
use crate::delivery::counters::Work;

/// Adds up the counters of hosts that come and go. A sum never falls and never jumps: what a host did before it was
/// seen first does not count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    sum: Counters,
    seen: BTreeMap<(String, String), Counters>,
}

/// Counters that only grow.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    settled: u64,
    handled: u64,
    failed: u64,
    calls_us: u64,
    alive_us: u64,
    redelivered: u64,
}

/// What all hosts do and have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Together {
    /// Workers that run.
    pub(crate) running: u32,
    /// Workers that the hosts want now.
    pub(crate) wanted: u32,
    /// Whether deliveries wait for a worker somewhere.
    pub(crate) waiting: bool,
    /// Whether a limit keeps messages waiting at one of them.
    pub(crate) limited: bool,
    /// What the workers have done.
    pub(crate) work: Work,
    /// Deliveries of a second or later attempt.
    pub(crate) redelivered: u64,
}

impl Totals {
    /// Takes in what all hosts say now, each with its id and its boot.
    pub(crate) fn add_up<'a>(&mut self, hosts: impl Iterator<Item = (&'a str, &'a str, &'a Report)>) -> Together {
        let mut now = Together::default();
        let mut seen = BTreeMap::new();
        let mut unfinished_us: u64 = 0;
        for (id, boot, report) in hosts {
            let host = (id.to_owned(), boot.to_owned());
            let counters = Counters::of(report);
            if let Some(before) = self.seen.get(&host) {
                self.sum.grow(*before, counters);
            }
            seen.insert(host, counters);
            now.running = now.running.saturating_add(report.running);
            now.wanted = now.wanted.saturating_add(report.wanted);
            now.waiting |= report.waiting;
            now.limited |= report.limited;
            now.work.calling = now.work.calling.saturating_add(report.work.calling);
            unfinished_us = unfinished_us.saturating_add(report.work.busy_us.saturating_sub(report.work.calls_us));
        }
        self.seen = seen;
        let Counters { settled, handled, failed, calls_us, alive_us, redelivered } = self.sum;
        let busy_us = calls_us.saturating_add(unfinished_us);
        now.work = Work { settled, handled, failed, busy_us, calls_us, alive_us, ..now.work };
        Together { redelivered, ..now }
    }
}

impl Counters {
    fn of(report: &Report) -> Self {
        let Work { settled, handled, failed, calls_us, alive_us, .. } = report.work;
        Self { settled, handled, failed, calls_us, alive_us, redelivered: report.redelivered }
    }

    fn grow(&mut self, before: Self, now: Self) {
        let add = |sum: &mut u64, now: u64, before: u64| *sum = sum.saturating_add(now.saturating_sub(before));
        add(&mut self.settled, now.settled, before.settled);
        add(&mut self.handled, now.handled, before.handled);
        add(&mut self.failed, now.failed, before.failed);
        add(&mut self.calls_us, now.calls_us, before.calls_us);
        add(&mut self.alive_us, now.alive_us, before.alive_us);
        add(&mut self.redelivered, now.redelivered, before.redelivered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(settled: u64, calls_us: u64, busy_us: u64) -> Report {
        let (handled, alive_us) = (settled, busy_us);
        let work = Work { settled, handled, calls_us, busy_us, alive_us, calling: 1, ..Work::default() };
        Report { running: 2, wanted: 2, work, redelivered: settled, ..Report::default() }
    }

    #[test]
    fn hosts_that_come_and_go_make_no_jump_and_their_work_is_summed() {
        let mut totals = Totals::default();
        let (a, b) = (report(1000, 500, 700), report(10, 5, 5));
        let first = totals.add_up([("a", "1", &a), ("b", "1", &b)].into_iter());
        assert_eq!((first.work.settled, first.running, first.work.calling), (0, 4, 2));
        // A call that runs for long is seen, however many calls ended before.
        assert_eq!((first.work.calls_us, first.work.busy_us), (0, 200));
        let (a, b) = (report(1100, 600, 800), report(15, 9, 9));
        let second = totals.add_up([("a", "1", &a), ("b", "1", &b)].into_iter());
        assert_eq!((second.work.settled, second.redelivered), (105, 105));
        assert_eq!((second.work.calls_us, second.work.busy_us), (104, 304));
        // One leaves, and one starts again and counts anew.
        let b = report(3, 1, 1);
        let third = totals.add_up([("b", "2", &b)].into_iter());
        assert_eq!((third.work.settled, third.running), (105, 2));
        let b = report(4, 2, 2);
        assert_eq!(totals.add_up([("b", "2", &b)].into_iter()).work.settled, 106);
    }
}
