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
    pub(super) count: watch::Sender<u32>,
    /// Wakes the monitor: a message found no worker.
    pub woken: Notify,
}

impl Desired {
    /// Starts with this count.
    pub(crate) fn new(count: u32) -> Self {
        Self { count: watch::Sender::new(count), woken: Notify::new() }
    }

    /// The count now.
    pub(crate) fn get(&self) -> u32 {
        *self.count.borrow()
    }

    /// Sets the count and returns the one before.
    pub(crate) fn set(&self, count: u32) -> u32 {
        let before = self.get();
        self.count.send_if_modified(|now| std::mem::replace(now, count) != count);
        before
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
