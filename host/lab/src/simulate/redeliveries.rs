//! Messages that failed and are delivered again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// A message that failed. Times are nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Redelivery {
    /// When it is delivered again.
    pub(super) ready: u64,
    /// Its number, from 0.
    pub(super) message: u64,
    /// When it arrived.
    pub(super) arrival: u64,
    /// How often it was delivered.
    pub(super) delivered: u32,
}

/// All messages that failed and have not begun again.
#[derive(Debug, Default)]
pub(super) struct Redeliveries {
    due: BinaryHeap<Reverse<Redelivery>>,
    /// All of them, oldest first. Some may be due no more, and wait for others of their key.
    all: BTreeSet<(u64, u64)>,
    /// How many of them were delivered more than once.
    repeated: u64,
}

impl Redeliveries {
    pub(super) fn add(&mut self, failed: Redelivery) {
        self.due.push(Reverse(failed));
        self.all.insert((failed.arrival, failed.message));
        self.repeated += u64::from(failed.delivered > 1);
    }

    /// When the next one is delivered again.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.peek().map(|Reverse(failed)| failed.ready)
    }

    /// The next one is delivered again.
    pub(super) fn deliver(&mut self) -> Option<Redelivery> {
        self.due.pop().map(|Reverse(failed)| failed)
    }

    /// One that was delivered again begins.
    pub(super) fn begins(&mut self, message: u64, arrival: u64, attempt: u32) {
        self.all.remove(&(arrival, message));
        self.repeated -= u64::from(attempt > 2);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them were delivered more than once.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// When the oldest arrived.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.all.first().map(|(arrival, _)| *arrival)
    }
}
