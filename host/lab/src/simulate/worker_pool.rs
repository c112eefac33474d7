//! The workers of a simulated workload: which is free first, which ones drain, how long all have lived.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::random::Attempt;
use tidegate_runtime::scaling::plan::{Candidate, plan};

/// A message that a worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldMessage {
    /// When it arrived.
    pub(super) arrival: u64,
    /// How often it has been delivered.
    pub(super) attempt: u32,
    /// How long this attempt takes and whether it fails.
    pub(super) outcome: Attempt,
}

#[derive(Debug, Clone, Copy)]
struct SimulatedWorker {
    id: u64,
    /// When it has started, or will have handled what it has.
    free_at: u64,
    settled: u64,
    /// What it handled last; until `free_at` it still does.
    held: Option<HeldMessage>,
}

impl SimulatedWorker {
    fn handling(&self, now: u64) -> Option<&HeldMessage> {
        self.held.as_ref().filter(|_| self.free_at > now)
    }
}

/// All workers. The next message goes to the worker that is free first; among several, to the one started first.
#[derive(Debug, Default)]
pub(super) struct WorkerPool {
    running: Vec<SimulatedWorker>,
    /// When each of `running` is free.
    free: BinaryHeap<Reverse<(u64, u32)>>,
    draining: Vec<SimulatedWorker>,
    next: u64,
    /// Until when `alive` has been counted.
    counted: u64,
    alive: u128,
}

impl WorkerPool {
    /// Workers that are not draining.
    pub(super) fn running(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX)
    }

    /// The sum of the lifetimes of all workers up to the last [`WorkerPool::count`].
    pub(super) fn alive(&self) -> u128 {
        self.alive
    }

    /// Adds the time since the last call to the lifetimes of all workers. `now` does not go back.
    pub(super) fn count(&mut self, now: u64) {
        let since = self.counted;
        self.alive += u128::from(now.saturating_sub(since)) * u128::from(self.running());
        for worker in &self.draining {
            self.alive += u128::from(worker.free_at.min(now).saturating_sub(since));
        }
        self.draining.retain(|worker| worker.free_at > now);
        self.counted = now;
    }

    /// When the next worker is free, if there is one.
    pub(super) fn first_free(&self) -> Option<u64> {
        self.free.peek().map(|Reverse((at, _))| *at)
    }

    /// Gives the worker that is free first a message that it begins at `start`; returns when it ends.
    pub(super) fn give(&mut self, held: HeldMessage, start: u64) -> u64 {
        let end = start.saturating_add(held.outcome.time);
        if let Some(mut first) = self.free.peek_mut() {
            let place = usize::try_from(first.0.1).unwrap_or(usize::MAX);
            if let Some(worker) = self.running.get_mut(place) {
                worker.free_at = end;
                worker.held = Some(held);
                worker.settled += u64::from(!held.outcome.fails);
            }
            first.0.0 = end;
            // Put right in place: half the work of taking it out and putting it in again.
            drop::<PeekMut<'_, _>>(first);
        }
        end
    }

    /// Starts or drains workers at `now` until `desired` run. A worker takes `delay` to start.
    pub(super) fn set(&mut self, desired: u32, now: u64, delay: u64) {
        self.count(now);
        let missing = desired.saturating_sub(self.running());
        for _ in 0..missing {
            let place = self.running();
            let free_at = now.saturating_add(delay);
            self.running.push(SimulatedWorker { id: self.next, free_at, settled: 0, held: None });
            self.free.push(Reverse((free_at, place)));
            self.next += 1;
        }
        if desired < self.running() {
            self.drain(desired, now);
        }
    }

    fn drain(&mut self, desired: u32, now: u64) {
        let candidate = |worker: &SimulatedWorker| {
            let held = worker.handling(now);
            let unsettled = held.is_some_and(|held| !held.outcome.fails);
            Candidate {
                worker: worker.id,
                handling: held.is_some(),
                settled: worker.settled - u64::from(unsettled),
                draining: false,
            }
        };
        let candidates: Vec<Candidate> = self.running.iter().map(candidate).collect();
        let mut leaving = plan(&candidates, desired).drain;
        leaving.sort_unstable();
        let draining = &mut self.draining;
        self.running.retain(|worker| {
            let stays = leaving.binary_search(&worker.id).is_err();
            if !stays && worker.handling(now).is_some() {
                draining.push(*worker);
            }
            stays
        });
        self.free = (0..).zip(&self.running).map(|(place, worker)| Reverse((worker.free_at, place))).collect();
    }

    /// The messages that are being handled at `now`, each with the time that it will still take.
    pub(super) fn handling(&self, now: u64) -> impl Iterator<Item = (&HeldMessage, u64)> {
        let all = self.running.iter().chain(&self.draining);
        all.filter_map(move |worker| Some((worker.handling(now)?, worker.free_at.saturating_sub(now))))
    }
}
