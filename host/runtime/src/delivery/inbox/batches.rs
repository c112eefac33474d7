//! Batches: several deliveries are taken at once, and those of a batch that was not handled are put back.

use std::sync::atomic::Ordering::Relaxed;

use super::{Company, Inbox, LOOK, Waiting, attempt, bytes, sequence};
use crate::ports::Held;

/// How much more a batch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchRoom {
    /// Deliveries.
    pub deliveries: usize,
    /// Bytes of their payloads and headers.
    pub bytes: usize,
}

impl<D: Held> Inbox<D> {
    /// Sets how many deliveries a worker should find, however long they take, and how many it takes at once.
    pub(crate) fn set_least(&self, deliveries: usize, at_once: usize) {
        self.least.store(deliveries.max(1), Relaxed);
        if self.at_once.swap(at_once.max(1), Relaxed) > at_once {
            // Who takes fewer passes on nothing.
            self.arrived.notify_waiters();
        }
    }

    /// Waits until deliveries can be added to a batch that has this room. Returns them, and whether the batch can have
    /// no more. Cancel-safe.
    pub(crate) async fn take_more(&self, room: BatchRoom) -> (Vec<Waiting<D>>, bool) {
        self.take_by(|| {
            let (more, full) = self.try_take_more(room);
            (full || !more.is_empty()).then_some((more, full))
        })
        .await
    }

    /// Takes deliveries that are there already for a batch that has this room: the oldest, as long as they fit. Returns
    /// also whether the batch can have no more.
    pub(crate) fn try_take_more(&self, room: BatchRoom) -> (Vec<Waiting<D>>, bool) {
        if room.deliveries == 0 {
            return (Vec::new(), true);
        }
        if self.paused.load(Relaxed) {
            return (Vec::new(), false);
        }
        let (mut size, mut full) = (0, false);
        let mut all = self.waiting.lock();
        let fit = |waiting: &&Waiting<D>| {
            let bytes = size + waiting.held.delivery().size();
            full = waiting.company != Company::Any || bytes > room.bytes;
            size = if full { size } else { bytes };
            !full
        };
        let fitting = all.iter().take(room.deliveries).take_while(fit).count();
        let permits = self.starts.as_ref().map(|starts| starts.reserve(fitting));
        let count = permits.as_ref().map_or(fitting, Vec::len);
        let mut more: Vec<_> = all.drain(..count).collect();
        let left = all.len();
        drop(all);
        for (waiting, permit) in more.iter_mut().zip(permits.into_iter().flatten()) {
            waiting.permit = Some(permit);
        }
        if count > 0 {
            self.bytes.fetch_sub(bytes(&more), Relaxed);
            self.has_room(left);
        }
        if let Some(order) = &self.order {
            let lapsed = more.extract_if(.., |waiting| order.consumer.has_lapsed(waiting.since));
            lapsed.for_each(|waiting| order.lapsed(waiting));
        }
        (more, full || count == room.deliveries)
    }

    /// Whether a batch that waits for more waits in vain: all that may begin is collected, by it and by others.
    pub(crate) fn is_used_up(&self) -> bool {
        self.starts.as_ref().is_some_and(|starts| starts.is_used_up())
    }

    /// Puts back deliveries of a batch that was not handled, to be handled one by one before all others. Returns them
    /// if the inbox takes nothing any more: then the worker has to give them back to the server.
    pub(crate) fn put_back(&self, batch: Vec<Waiting<D>>) -> Vec<Waiting<D>> {
        let (size, mut superseded) = (bytes(&batch), Vec::new());
        let count = {
            let mut all = self.waiting.lock();
            if self.ended.load(Relaxed) {
                return batch;
            }
            self.bytes.fetch_add(size, Relaxed);
            let count = batch.len();
            for waiting in batch.into_iter().rev() {
                let waiting = Waiting { company: Company::PutBack, permit: None, ..waiting };
                // The server may have delivered the message again meanwhile, or an earlier attempt was put back first.
                let message = sequence(&waiting.held);
                let Some(other) = all.iter_mut().take(LOOK).find(|other| sequence(&other.held) == message) else {
                    all.push_front(waiting);
                    continue;
                };
                superseded.push(if attempt(&other.held) < attempt(&waiting.held) {
                    std::mem::replace(other, waiting)
                } else {
                    other.company = Company::Suspect;
                    waiting
                });
            }
            count - superseded.len()
        };
        superseded.iter().for_each(|waiting| self.supersede(waiting.held.delivery()));
        (0..count).for_each(|_| self.arrived.notify_one());
        if self.workers.load(Relaxed) == 0 {
            self.arrived_without_worker.notify_one();
        }
        // Wakes the fetching task: if no worker can start, it lets the deliveries be given back.
        self.room.notify_one();
        Vec::new()
    }
}
