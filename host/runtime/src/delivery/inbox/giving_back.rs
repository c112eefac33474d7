//! What waits is given back: when no worker can start, and when the host stops.

use std::sync::atomic::Ordering::Relaxed;

use super::{Inbox, Waiting, bytes, sequence};
use crate::ports::Held;

impl<D: Held> Inbox<D> {
    /// Asks for nothing more, because no worker can start.
    pub(crate) fn suspend(&self) {
        self.suspended.store(true, Relaxed);
        self.lets_pin_go(true);
        self.room.notify_one();
    }

    /// Goes on after [`Inbox::suspend`], because a worker has started.
    pub(crate) fn resume(&self) {
        self.suspended.store(false, Relaxed);
        self.lets_pin_go(false);
        self.room.notify_one();
    }

    /// Where one of several hosts is given the messages of an order: whether that may be another one.
    fn lets_pin_go(&self, lets: bool) {
        self.order.iter().for_each(|order| order.consumer.lets_pin_go(lets));
    }

    /// Takes all that no worker has begun, because another host is given the messages of the order from now on.
    pub(in crate::delivery) fn take_unpinned(&self) -> Vec<Waiting<D>> {
        let taken = self.take_those(|_| true);
        self.order.iter().for_each(|order| order.unpinned());
        self.excused(taken)
    }

    /// Waits until the inbox is suspended, no pull is open and deliveries wait. Only then can they be given back: while
    /// a pull is open, it would bring them right back. Cancel-safe.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Takes all deliveries that match, oldest first.
    pub(crate) fn take_those(&self, these: impl Fn(&D) -> bool) -> Vec<Waiting<D>> {
        // First: what waits for a place may get into the queue meanwhile.
        let for_place = self.per_key.as_ref().map(|per_key| per_key.take_those(&these));
        let mut all = self.waiting.lock();
        let (taken, left): (Vec<_>, _) =
            std::mem::take(&mut *all).into_iter().partition(|waiting| these(&waiting.held));
        *all = left.into();
        drop(all);
        self.bytes.fetch_sub(bytes(&taken), Relaxed);
        let waited = self.order.as_ref().map(|order| order.take_those(these));
        in_stream_order(taken, waited.or(for_place))
    }

    /// Takes all deliveries. From now on none can be put back.
    pub(in crate::delivery) fn take_last(&self) -> Vec<Waiting<D>> {
        // First, so that nothing gets into the queue any more.
        let waited = self.order.as_ref().map(|order| order.end());
        let for_place = self.per_key.as_ref().map(|per_key| per_key.take_those(|_| true));
        let taken: Vec<_> = {
            let mut all = self.waiting.lock();
            self.ended.store(true, Relaxed);
            all.drain(..).collect()
        };
        self.bytes.fetch_sub(bytes(&taken), Relaxed);
        self.excused(in_stream_order(taken, waited.or(for_place)))
    }

    /// They are given back, and no worker has begun them: that uses up no attempt.
    fn excused(&self, taken: Vec<Waiting<D>>) -> Vec<Waiting<D>> {
        if let Some(attempts) = &self.attempts {
            taken.iter().for_each(|one| attempts.give_back(one.held.delivery(), one.server_attempt()));
        }
        taken
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Relaxed)
    }
}

/// What was in the queue, with what waited for its turn.
fn in_stream_order<D: Held>(mut queue: Vec<Waiting<D>>, waited: Option<Vec<Waiting<D>>>) -> Vec<Waiting<D>> {
    if let Some(waited) = waited {
        queue.extend(waited);
        queue.sort_by_key(|waiting| sequence(&waiting.held));
    }
    queue
}
