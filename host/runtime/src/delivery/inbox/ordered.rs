//! The inbox of a workload that keeps an order: a delivery gets into the queue when it may begin, and not before.
//!
//! What may not begin yet is here, announced as all that waits. Whoever takes a delivery from the queue has its
//! [`Turn`](super::turn::Turn), and says by it what became of the message.
//!
//! The order is locked before the queue, and never the other way round. What has a turn is never dropped under a lock.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::order_state::Ordered;
use super::{Arc, Company, Delivery, Held, Inbox, Instant, Relaxed, Waiting, attempt, sequence};
use crate::config::OrderKey;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::order::seen::KeysSeen;
use crate::delivery::order::{Asked, KeyHasher, Limits, Unsettled};

/// What to do next about an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderNext {
    /// When a message is due.
    pub(crate) due: Option<Instant>,
    /// Whether deliveries may be elsewhere: then what is held, to be told with the server's answer.
    pub(crate) asks: Option<Asked>,
    /// Whether the server is to be asked at once.
    pub(crate) at_once: bool,
    /// Whether messages wait.
    pub(crate) waits: bool,
}

impl<D: Held> Inbox<D> {
    /// The same inbox, which keeps the order of each key. No more than `limits` wait for earlier messages of their key.
    pub(crate) fn in_order(self, by: OrderKey, limits: Limits, consumer: Arc<Effective>) -> Arc<Self> {
        Arc::new_cyclic(|inbox| {
            let hasher = KeyHasher::new(by, self.workload.clone());
            let order = Ordered::new(hasher, limits, consumer, inbox.clone());
            Self { order: Some(Box::new(order)), ..self }
        })
    }

    /// What can be seen of the order, if one is kept.
    pub(crate) fn order_seen(&self) -> Option<Arc<KeysSeen>> {
        self.order.as_ref().map(|order| order.seen.clone())
    }

    /// A delivery came at `since`. It gets into the queue if it may begin.
    pub(super) fn arrive(&self, order: &Ordered<D>, held: D, since: Instant) {
        let (key, sequence, bytes) = (order.hasher.hash(held.delivery()), sequence(&held), held.delivery().size());
        let (number, company, attempt) = (held.number(), self.company(held.delivery()), attempt(&held));
        let mut state = order.state.lock();
        let turn = order.turn(&mut state, key, sequence, since);
        let mut arrived = Waiting { held, since, company, turn: Some(turn), permit: None };
        let was_complete = state.here.is_complete();
        state.here.arrived(number, since);
        state.came(key, sequence, attempt);
        if attempt > 1 {
            order.consumer.is_here_again(sequence);
        }
        if was_complete && !state.here.is_complete() {
            order.seen.missed();
            state.ask = true;
            order.changed.notify_one();
        }
        if attempt > 1 && state.late.take(sequence) {
            arrived.leaves();
            state.again.push(arrived);
            order.tell(&state);
            order.changed.notify_one();
            return;
        }
        let mut begun = 0;
        let replaced = match state.dispatch.find(key, sequence) {
            Some(old) => {
                arrived.follows(old);
                Some(std::mem::replace(old, arrived))
            }
            None => {
                let may_begin = state.may_begin();
                begun = self.begin(state.dispatch.arrive(key, sequence, bytes, arrived, may_begin));
                None
            }
        };
        let known = state.here.missing(state.dispatch.held() as u64);
        if !state.here.is_complete() && known.is_none_or(|missing| missing == 0) {
            state.ask = true;
            order.changed.notify_one();
        }
        order.tell(&state);
        drop(state);
        self.wake(begun);
        if let Some(mut old) = replaced {
            old.leaves();
            self.superseded(old.held.delivery());
        }
    }

    /// Begins what is due, and says what comes next; `None` where no order is kept.
    pub(crate) fn begin_due(&self) -> Option<OrderNext> {
        let order = self.order.as_ref()?;
        let mut state = order.state.lock();
        let may_begin = state.may_begin();
        let begun = self.begin(state.dispatch.due(Instant::now(), may_begin));
        order.tell(&state);
        let asks = !state.here.is_complete() && !state.ended;
        let next = OrderNext {
            due: state.dispatch.next_due(),
            asks: asks.then(|| order.asked(&mut state)),
            at_once: std::mem::take(&mut state.ask),
            waits: state.dispatch.waiting() > 0,
        };
        drop(state);
        self.wake(begun);
        Some(next)
    }

    /// Takes deliveries of messages that were settled already, to be given back.
    pub(crate) fn take_settled(&self) -> Vec<D> {
        let again = self.order.as_ref().map(|order| std::mem::take(&mut order.state.lock().again));
        let excused = |waiting: Waiting<D>| {
            if let Some(attempts) = &self.attempts {
                attempts.excuse(waiting.held.delivery());
            }
            waiting.held
        };
        again.into_iter().flatten().map(excused).collect()
    }

    /// This host is given the messages from now on, and others may have some still.
    pub(crate) fn is_pinned(&self) {
        let Some(order) = &self.order else { return };
        let mut state = order.state.lock();
        state.here.unknown(Instant::now());
        order.tell(&state);
    }

    /// Waits until [`Inbox::begin_due`] may say something else; for ever where no order is kept.
    pub(crate) async fn order_changed(&self) {
        match &self.order {
            Some(order) => order.changed.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The server has answered what is unsettled. Returns how many deliveries are elsewhere, and for how long some have
    /// been; `None` if none are, so that all that waits for them begins.
    pub(crate) fn unsettled(&self, asked: Asked, unsettled: Unsettled) -> Option<(u64, Duration)> {
        let order = self.order.as_ref()?;
        let mut state = order.state.lock();
        let is_patient =
            state.here.missing_for(Instant::now()).is_none_or(|since| since < order.consumer.ack_wait() * 2);
        let asked = Asked { held: asked.held.saturating_sub(order.in_doubt(&state)), ..asked };
        state.here.answered(asked, unsettled, order.settled.load(SeqCst), is_patient);
        let begun = if state.may_begin() { self.begin(state.dispatch.begin_all()) } else { 0 };
        order.tell(&state);
        let held = state.dispatch.held() as u64;
        let missing =
            state.here.missing_for(Instant::now()).map(|since| (state.here.missing(held).unwrap_or(0), since));
        drop(state);
        self.wake(begun);
        self.room.notify_one();
        missing
    }

    /// Deliveries of an order get into the queue. Returns how many, for [`Inbox::wake`].
    pub(super) fn begin(&self, deliveries: impl IntoIterator<Item = Waiting<D>>) -> usize {
        let enqueue = |waiting: Waiting<D>| {
            let bytes = waiting.held.delivery().size();
            self.enqueue(waiting, bytes);
        };
        deliveries.into_iter().map(enqueue).count()
    }

    pub(super) fn company(&self, delivery: &Delivery) -> Company {
        let suspect = self.attempts.as_ref().is_some_and(|attempts| attempts.comes(delivery));
        if suspect { Company::Suspect } else { Company::Any }
    }
}

impl<D> Inbox<D> {
    /// A delivery of so many bytes gets into the queue. Nobody is woken yet: that takes longer, and the order may be
    /// locked.
    pub(super) fn enqueue(&self, waiting: Waiting<D>, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.waiting.lock().push_back(waiting);
    }

    /// Wakes workers for so many deliveries that got into the queue.
    pub(super) fn wake(&self, deliveries: usize) {
        if deliveries == 0 {
            return;
        }
        (0..deliveries).for_each(|_| self.arrived.notify_one());
        if self.workers.load(Relaxed) == 0 {
            self.arrived_without_worker.notify_one();
        }
        if self.starts.is_some() {
            // It may not begin yet, and the fetching task waits until it may.
            self.room.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
