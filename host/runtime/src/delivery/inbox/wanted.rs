//! How many more deliveries of a workload are wanted, and of how many bytes.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Demand, Held, Inbox};
use crate::config::HOSTS_AHEAD;

/// For how long workers should have work that is fetched ahead.
const AHEAD: Duration = Duration::from_millis(100);

/// The most deliveries that wait or are asked for. The client library drops messages of a subscription that holds
/// 65,536 already. Half of that is left for the server's status messages about pulls.
pub(super) const MOST: usize = 1 << 15;

/// How many deliveries to hold, waiting and asked for: enough for 100 ms of work, at most `batch` a worker or `ahead`
/// for all of them, and never more than the client library can.
///
/// Without workers it is 1, the parked pull. Before any message was handled it is 1 a worker: a hundred messages should
/// not wait behind the first one of a handler that takes seconds.
pub fn capacity(workers: usize, (batch, ahead): (usize, usize), service_time: Option<Duration>) -> usize {
    let each = service_time
        .map_or(1, |time| usize::try_from(AHEAD.as_nanos() / time.as_nanos().max(1)).unwrap_or(usize::MAX).max(1));
    let most = workers.saturating_mul(batch.max(1)).max(ahead);
    workers.saturating_mul(each).min(most).clamp(1, MOST)
}

/// The part of `bytes` that `some` of `all` messages may have.
fn share(bytes: usize, some: usize, all: usize) -> usize {
    let share = (bytes as u128).saturating_mul(some as u128) / (all as u128).max(1);
    usize::try_from(share).unwrap_or(usize::MAX)
}

impl<D: Held> Inbox<D> {
    /// How many more deliveries to ask for while `asked` may still come, and of how many bytes together.
    pub(in crate::delivery) fn wanted(&self, asked: usize) -> Option<(usize, usize)> {
        self.wants(self.len(), asked)
    }

    /// How many deliveries are missing, once half of the capacity is missing and half of the bytes are free.
    pub(super) fn wants(&self, waiting: usize, asked: usize) -> Option<(usize, usize)> {
        let wanted = self.workers_want(waiting, asked);
        if let Some(per_key) = &self.per_key {
            return per_key.fits(wanted?, asked);
        }
        let Some(order) = &self.order else { return wanted };
        // Asked with each delivery that is taken, so without a lock where nothing is wanted.
        if wanted.is_none() && order.is_complete() {
            return None;
        }
        match order.missing(asked) {
            Some(missing) => missing.filter(|_| self.may_ask()),
            None => order.fits(wanted?, asked),
        }
    }

    fn may_ask(&self) -> bool {
        self.fetching.load(Relaxed) && !self.is_suspended() && !self.paused.load(Relaxed)
    }

    fn workers_want(&self, waiting: usize, asked: usize) -> Option<(usize, usize)> {
        let capacity = match (self.capacity(), &self.starts) {
            (Some(capacity), None) => capacity,
            (Some(capacity), Some(starts)) => starts.capacity(Demand { capacity, waiting, asked }),
            (None, starts) => {
                starts.iter().for_each(|starts| starts.nothing_wanted());
                return None;
            }
        };
        let missing = capacity.saturating_sub(waiting + asked);
        // Deliveries that are asked for already have their share of the bytes.
        let wants = missing > 0 && missing * 2 >= capacity;
        wants.then(|| (missing, share(self.max_bytes / 2, missing, capacity)))
    }

    /// How many deliveries to hold, waiting and asked for, by what the workers can use; `None` while nothing is to be
    /// asked for.
    pub(super) fn capacity(&self) -> Option<usize> {
        let may_not = self.is_suspended() || self.paused.load(Relaxed);
        if !self.fetching.load(Relaxed) || may_not || self.bytes.load(Relaxed) > self.max_bytes / 2 {
            return None;
        }
        let workers = self.workers.load(Relaxed);
        if workers == 0 && !self.parks.load(Relaxed) {
            return None;
        }
        let service_time = Some(self.service_ns.load(Relaxed)).filter(|ns| *ns > 0).map(Duration::from_nanos);
        let least = workers.saturating_mul(self.least.load(Relaxed)).min(MOST);
        Some(capacity(workers, (self.batch, self.ahead()), service_time).max(least))
    }

    /// How many deliveries few workers may hold together: a part of what may be unsettled, for other hosts do the same.
    fn ahead(&self) -> usize {
        let Some((ahead, consumer)) = &self.ahead else { return 0 };
        consumer.max_ack_pending().map_or(*ahead, |most| (*ahead).min(most / HOSTS_AHEAD))
    }
}
