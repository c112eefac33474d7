//! The number of workers that is desired, and the workers that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::delivery::by_generation::GenerationSums;
use crate::delivery::counters::{Stats, Tally};

/// The number of workers that is desired. The monitor sets it, and so does a message that finds no worker.
#[derive(Debug)]
pub(crate) struct Desired {
    pub(super) count: watch::Sender<Wanted>,
    /// Wakes the monitor: a message found no worker.
    pub woken: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub count: u32,
    /// Whether a message has started the first worker, and nothing was decided since.
    woken: bool,
    /// Whether that is still to be told.
    untold: bool,
}

/// What a decision came to.
pub(super) struct Settled {
    /// How many were wanted before it.
    pub from: u32,
    /// How many are wanted now.
    pub to: u32,
    /// Whether a message has started the first worker since the decision before.
    pub woken: bool,
}

impl Desired {
    /// Starts with this count.
    pub(crate) fn new(count: u32) -> Self {
        let wanted = Wanted { count, woken: false, untold: false };
        Self { count: watch::Sender::new(wanted), woken: Notify::new() }
    }

    /// The count now.
    pub(crate) fn get(&self) -> u32 {
        self.count.borrow().count
    }

    /// Sets the count and returns the one before.
    pub(crate) fn set(&self, count: u32) -> u32 {
        let mut before = count;
        self.count.send_if_modified(|now| {
            before = std::mem::replace(&mut now.count, count);
            now.woken = false;
            before != count
        });
        before
    }

    /// Wants one worker if none is wanted, for a message that waits. Returns whether none was.
    pub(super) fn wake(&self) -> bool {
        self.count.send_if_modified(|now| {
            let wakes = now.count == 0;
            if wakes {
                *now = Wanted { count: 1, woken: true, untold: true };
            }
            wakes
        })
    }

    /// Sets the count to what a decision makes of the one before and of whether a message has started the first worker
    /// since the last decision. No message comes between: a worker that it starts is not taken away unseen.
    pub(super) fn settle(&self, decide: impl FnOnce(u32, bool) -> u32) -> Settled {
        let mut settled = Settled { from: 0, to: 0, woken: false };
        self.count.send_if_modified(|now| {
            let woken = std::mem::take(&mut now.woken);
            let to = decide(now.count, woken);
            let before = std::mem::replace(&mut now.count, to);
            settled = Settled { from: before, to, woken };
            before != to
        });
        settled
    }

    /// Whether it is still to be told that a message has started the first worker. The one who asks tells it.
    pub(super) fn take_untold(&self) -> bool {
        let mut untold = false;
        self.count.send_if_modified(|now| {
            untold = std::mem::take(&mut now.untold);
            false
        });
        untold
    }
}

/// The workers of a workload, and the counters of all that it ever had.
#[derive(Debug, Default)]
pub struct Workers {
    pub(super) running: AtomicU32,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    ended: Tally,
    ended_by_generation: GenerationSums,
    alive: BTreeMap<u64, Arc<Stats>>,
    draining: BTreeSet<u64>,
}

impl Workers {
    /// Workers that run and do not drain.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    /// The counters of all workers, ended ones included.
    pub fn tally(&self) -> Tally {
        let counted = self.counted.lock();
        counted.alive.values().fold(counted.ended, |sum, stats| sum.plus(stats.tally()))
    }

    /// The workers that run or drain, each with its counters.
    pub(crate) fn alive(&self) -> Vec<(u64, Arc<Stats>)> {
        self.counted.lock().alive.iter().map(|(id, stats)| (*id, stats.clone())).collect()
    }

    /// The workers that run and do not drain, in ascending order, and what calls of all came to by generation.
    pub(crate) fn by_generation(&self) -> (Vec<u64>, GenerationSums) {
        let counted = self.counted.lock();
        let running = counted.alive.keys().filter(|id| !counted.draining.contains(id)).copied().collect();
        let mut sums = counted.ended_by_generation.clone();
        counted.alive.values().for_each(|stats| sums.add_all(&stats.by_generation()));
        (running, sums)
    }

    pub(super) fn drains(&self, id: u64) {
        self.counted.lock().draining.insert(id);
    }

    pub(super) fn add(&self, id: u64, stats: Arc<Stats>) {
        self.counted.lock().alive.insert(id, stats);
    }

    pub(super) fn remove(&self, id: u64) {
        let mut counted = self.counted.lock();
        if let Some(stats) = counted.alive.remove(&id) {
            counted.ended = counted.ended.plus(stats.tally());
            counted.ended_by_generation.add_all(&stats.by_generation());
            counted.draining.remove(&id);
        }
    }
}
