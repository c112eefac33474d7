//! The inbox of a workload that keeps an order: a delivery gets into the queue when it may begin, and not before.
//!
//! What may not begin yet is here, announced as all that waits. Whoever takes a delivery from the queue has its
//! [`Turn`], and says by it what became of the message.
//!
//! The order is locked before the queue, and never the other way round. What has a turn is never dropped under a lock.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::turn::Turn;
use super::{Arc, Company, Delivery, Held, Inbox, Instant, Mutex, Notify, Relaxed, Waiting, sequence};
use crate::config::OrderKey;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::order::seen::OrderSeen;
use crate::delivery::order::{Asked, Completeness, Dispatch, KeyHash, KeyHasher, Limits, Unsettled};

/// What a workload that keeps an order has beside its queue.
#[derive(Debug)]
pub(crate) struct Ordered<D> {
    pub(super) hasher: KeyHasher,
    limits: Limits,
    consumer: Arc<Effective>,
    pub(super) state: Mutex<OrderState<D>>,
    /// Messages that were begun to be settled for good, ever.
    settled: AtomicU64,
    /// Those among them that still count as held.
    settling: AtomicU64,
    pub(super) changed: Notify,
    seen: Arc<OrderSeen>,
    inbox: Weak<Inbox<D>>,
}

#[derive(Debug)]
pub(super) struct OrderState<D> {
    pub(super) dispatch: Dispatch<Waiting<D>>,
    here: Completeness,
    /// The server is to be asked at once what is unsettled.
    ask: bool,
    /// All that waits was given back, and nothing waits any more.
    pub(super) ended: bool,
}

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

impl<D> OrderState<D> {
    pub(super) fn may_begin(&self) -> bool {
        self.here.is_complete() && !self.ended
    }
}

impl<D> Ordered<D> {
    pub(super) fn tell(&self, state: &OrderState<D>) {
        self.seen.set(state.dispatch.keys(), state.dispatch.waiting());
    }

    /// What may wait: the consumer may let fewer be unsettled than the configuration says.
    pub(super) fn limits(&self) -> Limits {
        let most = self.consumer.max_ack_pending().unwrap_or(usize::MAX);
        Limits { messages: self.limits.messages.min(most), ..self.limits }
    }

    /// A delivery is elsewhere.
    fn lost(&self, state: &mut OrderState<D>) {
        if state.here.is_complete() && !state.ended {
            self.seen.missed();
            state.ask = true;
            state.here.lost(Instant::now());
            self.changed.notify_one();
        }
    }

    /// A message is about to be settled for good.
    pub(super) fn begins_settling(&self) {
        // In this order, so that one that is not in the second is in the first for whoever reads the second first.
        self.settling.fetch_add(1, SeqCst);
        self.settled.fetch_add(1, SeqCst);
    }

    /// It is settled, and does not count as held any more.
    pub(super) fn ends_settling(&self) {
        self.settling.fetch_sub(1, SeqCst);
    }

    /// What is held for sure: the server may have heard already of what is being settled.
    fn asked(&self, state: &OrderState<D>) -> Asked {
        let settled = self.settled.load(SeqCst);
        let held = (state.dispatch.held() as u64).saturating_sub(self.settling.load(SeqCst));
        Asked { held, settled }
    }

    pub(super) fn gone(&self, key: KeyHash, sequence: u64) {
        let mut state = self.state.lock();
        state.dispatch.gone(key, sequence);
        self.lost(&mut state);
        self.tell(&state);
    }

    /// How many more to ask for while deliveries are elsewhere, and of how many bytes together; `None` if none are.
    pub(super) fn missing(&self, asked: usize) -> Option<Option<(usize, usize)>> {
        let state = self.state.lock();
        let since = state.here.missing_for(Instant::now())?;
        let missing = state.here.missing(state.dispatch.held() as u64).unwrap_or(0);
        let missing = usize::try_from(missing).unwrap_or(usize::MAX).saturating_sub(asked);
        let room = state.dispatch.room(self.limits());
        // New ones come as well, as long as what is missing is not due. When it is, it comes before all new ones.
        let may = room.messages > asked && room.bytes > 0 || since > self.consumer.ack_wait();
        Some((missing > 0 && may).then_some((missing, self.limits.bytes)))
    }

    /// What of this may be asked for, so that all of it may wait. If little may, nothing is: else each message that
    /// ends would be one request.
    pub(super) fn fits(&self, (count, bytes): (usize, usize), asked: usize) -> Option<(usize, usize)> {
        let limits = self.limits();
        let room = self.state.lock().dispatch.room(limits);
        let may = room.messages.saturating_sub(asked);
        let enough = may >= count || may * 4 >= limits.messages;
        (may > 0 && enough && room.bytes > limits.bytes / 4).then(|| (count.min(may), bytes.min(room.bytes)))
    }

    /// All that waits must be given back, and nothing waits from now on.
    pub(super) fn end(&self) -> Vec<Waiting<D>> {
        let mut state = self.state.lock();
        state.ended = true;
        self.take_waiting(&mut state)
    }

    fn take_waiting(&self, state: &mut OrderState<D>) -> Vec<Waiting<D>> {
        let mut taken = state.dispatch.take_waiting();
        taken.iter_mut().for_each(Waiting::leaves);
        self.tell(state);
        taken
    }

    /// Whether deliveries wait.
    pub(super) fn waits(&self) -> bool {
        self.state.lock().dispatch.waiting() > 0
    }
}

impl<D: Held> Ordered<D> {
    /// Takes what matches of what waits, to be given back. It is elsewhere from then on.
    pub(super) fn take_those(&self, these: impl Fn(&D) -> bool) -> Vec<Waiting<D>> {
        let mut state = self.state.lock();
        let (taken, left): (Vec<_>, _) =
            state.dispatch.take_waiting().into_iter().partition(|waiting| these(&waiting.held));
        for waiting in left {
            let Some(turn) = &waiting.turn else { continue };
            let (key, sequence, bytes) = (turn.key, turn.sequence, waiting.held.delivery().size());
            // Nothing begins, so it waits again.
            drop(state.dispatch.arrive(key, sequence, bytes, waiting, false));
        }
        if !taken.is_empty() {
            self.lost(&mut state);
        }
        self.tell(&state);
        drop(state);
        let mut taken = taken;
        taken.iter_mut().for_each(Waiting::leaves);
        taken
    }

    /// The announcements that are due of what waits.
    pub(super) fn announcements(&self, quarter: Duration) -> Vec<impl Future<Output = ()> + Send + use<D>> {
        let mut state = self.state.lock();
        let stale = state.dispatch.iter_mut().filter(|waiting| waiting.since.elapsed() >= quarter);
        stale
            .map(|waiting| {
                waiting.since = Instant::now();
                waiting.held.in_progress()
            })
            .collect()
    }
}

impl<D: Held> Inbox<D> {
    /// The same inbox, which keeps the order of each key. No more than `limits` wait for earlier messages of their key.
    pub(crate) fn in_order(self, by: OrderKey, limits: Limits, consumer: Arc<Effective>) -> Arc<Self> {
        let state = OrderState {
            dispatch: Dispatch::default(),
            here: Completeness::new(Instant::now()),
            ask: true,
            ended: false,
        };
        Arc::new_cyclic(|inbox| {
            let order = Ordered {
                hasher: KeyHasher::new(by),
                limits,
                consumer,
                state: Mutex::new(state),
                settled: AtomicU64::new(0),
                settling: AtomicU64::new(0),
                changed: Notify::new(),
                seen: Arc::default(),
                inbox: inbox.clone(),
            };
            Self { order: Some(Box::new(order)), ..self }
        })
    }

    /// What can be seen of the order, if one is kept.
    pub(crate) fn order_seen(&self) -> Option<Arc<OrderSeen>> {
        self.order.as_ref().map(|order| order.seen.clone())
    }

    /// A delivery came at `since`. It gets into the queue if it may begin.
    pub(super) fn arrive(&self, order: &Ordered<D>, held: D, since: Instant) {
        let (key, sequence, bytes) = (order.hasher.hash(held.delivery()), sequence(&held), held.delivery().size());
        let turn = Turn::new(order.inbox.clone(), key, sequence);
        let (number, company) = (held.number(), self.company(held.delivery()));
        let mut arrived = Waiting { held, since, company, turn: Some(Box::new(turn)), permit: None };
        let mut state = order.state.lock();
        let was_complete = state.here.is_complete();
        state.here.arrived(number, since);
        if was_complete && !state.here.is_complete() {
            order.seen.missed();
            state.ask = true;
            order.changed.notify_one();
        }
        let replaced = match state.dispatch.find(key, sequence) {
            Some(old) => {
                arrived.follows(old);
                Some(std::mem::replace(old, arrived))
            }
            None => {
                let may_begin = state.may_begin();
                let begins = state.dispatch.arrive(key, sequence, bytes, arrived, may_begin);
                begins.into_iter().for_each(|waiting| self.begins(waiting));
                None
            }
        };
        if state.here.missing(state.dispatch.held() as u64) == Some(0) {
            state.ask = true;
            order.changed.notify_one();
        }
        order.tell(&state);
        drop(state);
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
        state.dispatch.due(Instant::now(), may_begin).into_iter().for_each(|waiting| self.begins(waiting));
        order.tell(&state);
        let asked = order.asked(&state);
        Some(OrderNext {
            due: state.dispatch.next_due(),
            asks: (!state.here.is_complete() && !state.ended).then_some(asked),
            at_once: std::mem::take(&mut state.ask),
            waits: state.dispatch.waiting() > 0,
        })
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
        state.here.answered(asked, unsettled, order.settled.load(SeqCst));
        if state.may_begin() {
            state.dispatch.begin_all().into_iter().for_each(|waiting| self.begins(waiting));
        }
        order.tell(&state);
        let held = state.dispatch.held() as u64;
        let missing =
            state.here.missing_for(Instant::now()).map(|since| (state.here.missing(held).unwrap_or(0), since));
        drop(state);
        self.room.notify_one();
        missing
    }

    /// A delivery of an order gets into the queue.
    pub(super) fn begins(&self, waiting: Waiting<D>) {
        self.bytes.fetch_add(waiting.held.delivery().size(), Relaxed);
        self.waiting.lock().push_back(waiting);
        self.arrived.notify_one();
        if self.workers.load(Relaxed) == 0 {
            self.arrived_without_worker.notify_one();
        }
        if self.starts.is_some() {
            // It may not begin yet, and the fetching task waits until it may.
            self.room.notify_one();
        }
    }

    pub(super) fn company(&self, delivery: &Delivery) -> Company {
        let suspect = self.attempts.as_ref().is_some_and(|attempts| attempts.is_suspect(delivery));
        if suspect { Company::Suspect } else { Company::Any }
    }
}

#[cfg(test)]
mod tests;
