//! The inbox of a workload that keeps an order: a delivery gets into the queue when it may begin, and not before.
//!
//! What may not begin yet is here, announced as all that waits. Whoever takes a delivery from the queue has its
//! [`Turn`], and says by it what became of the message. A turn that is dropped without a word, as by a worker that
//! panics, counts as a message that is elsewhere.
//!
//! The order is locked before the queue, and never the other way round. What has a turn is never dropped under a lock.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::{Arc, Company, Delivery, Held, Inbox, Instant, Mutex, Notify, Relaxed, Waiting, sequence};
use crate::config::OrderKey;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::order::seen::OrderSeen;
use crate::delivery::order::{Asked, Completeness, Dispatch, KeyHash, KeyHasher, Limits, Unsettled};

/// What a workload that keeps an order has beside its queue.
#[derive(Debug)]
pub(crate) struct Ordered<D> {
    hasher: KeyHasher,
    limits: Limits,
    consumer: Arc<Effective>,
    state: Mutex<OrderState<D>>,
    /// Messages that were begun to be settled for good.
    settled: AtomicU64,
    changed: Notify,
    seen: Arc<OrderSeen>,
    inbox: Weak<Inbox<D>>,
}

#[derive(Debug)]
struct OrderState<D> {
    dispatch: Dispatch<Waiting<D>>,
    here: Completeness,
    /// The server is to be asked at once what is unsettled.
    ask: bool,
    /// All that waits was given back, and nothing waits any more.
    ended: bool,
}

/// The turn of a message of a key. It is the next one's when this one is settled.
#[derive(Debug)]
pub(crate) struct Turn<D> {
    inbox: Weak<Inbox<D>>,
    key: KeyHash,
    sequence: u64,
    /// How often this host tried the message again by itself.
    retries: u32,
    is_over: bool,
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

/// Why nothing more is fetched: the messages of a key that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FullBuffer {
    /// The key, or nothing where the message has none.
    pub(crate) key: String,
    /// The message that the others wait for.
    pub(crate) sequence: u64,
    /// Whether it failed and waits to be tried again.
    pub(crate) failed: bool,
    /// How many messages may wait.
    pub(crate) messages: usize,
}

impl<D> OrderState<D> {
    fn may_begin(&self) -> bool {
        self.here.is_complete() && !self.ended
    }
}

impl<D> Ordered<D> {
    fn tell(&self, state: &OrderState<D>) {
        self.seen.set(state.dispatch.keys(), state.dispatch.waiting());
    }

    /// What may wait: the consumer may let fewer be unsettled than the configuration says.
    fn limits(&self) -> Limits {
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

    fn gone(&self, key: KeyHash, sequence: u64) {
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
        let turn = Turn { inbox: order.inbox.clone(), key, sequence, retries: 0, is_over: false };
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
        let asked = Asked { held: state.dispatch.held() as u64, settled: order.settled.load(SeqCst) };
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

    /// The key to blame, if nothing more is fetched because too many messages wait for earlier ones of their key.
    pub(crate) fn full_buffer(&self) -> Option<FullBuffer> {
        let order = self.order.as_ref()?;
        let state = order.state.lock();
        let limits = order.limits();
        let room = state.dispatch.room(limits);
        if room.messages * 4 >= limits.messages && room.bytes > limits.bytes / 4 {
            return None;
        }
        let fullest = state.dispatch.fullest()?;
        let first = fullest.first.held.delivery();
        Some(FullBuffer {
            key: order.hasher.text(first).unwrap_or_default().to_owned(),
            sequence: fullest.begun.unwrap_or(first.stream_sequence),
            failed: fullest.until.is_some(),
            messages: limits.messages,
        })
    }

    /// A delivery of an order gets into the queue.
    fn begins(&self, waiting: Waiting<D>) {
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

    /// Tries a message again after the delay, before all others of its key. Returns it if nothing waits here any more.
    fn retry(&self, order: &Ordered<D>, mut waiting: Waiting<D>, delay: Duration) -> Option<Waiting<D>> {
        let mut state = order.state.lock();
        let Some(turn) = waiting.turn.as_mut().filter(|_| !state.ended) else {
            drop(state);
            return Some(waiting);
        };
        turn.retries = turn.retries.saturating_add(1);
        let (key, sequence) = (turn.key, turn.sequence);
        waiting.held.count_attempts(1);
        waiting.company = self.company(waiting.held.delivery());
        waiting.permit = None;
        // It may have been delivered again meanwhile.
        let (waiting, replaced) = match state.dispatch.take(key, sequence) {
            Some(mut again) => {
                again.follows(&waiting);
                (again, Some(waiting))
            }
            None => (waiting, None),
        };
        let bytes = waiting.held.delivery().size();
        state.dispatch.retry(key, sequence, bytes, waiting, Instant::now() + delay);
        if delay.is_zero() {
            let may_begin = state.may_begin();
            state.dispatch.due(Instant::now(), may_begin).into_iter().for_each(|waiting| self.begins(waiting));
        }
        order.tell(&state);
        drop(state);
        order.changed.notify_one();
        if self.is_suspended() {
            // The fetching task lets it be given back.
            self.room.notify_one();
        }
        if let Some(mut old) = replaced {
            old.leaves();
            self.superseded(old.held.delivery());
        }
        None
    }

    fn company(&self, delivery: &Delivery) -> Company {
        let suspect = self.attempts.as_ref().is_some_and(|attempts| attempts.is_suspect(delivery));
        if suspect { Company::Suspect } else { Company::Any }
    }
}

impl<D> Waiting<D> {
    /// It leaves the order without its turn having come, or with it in the hands of another delivery.
    fn leaves(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.is_over = true;
        }
    }

    /// How often the server has delivered the message, this time included. Where an order is kept, its attempts are
    /// more than that.
    pub(crate) fn server_attempt(&self) -> u32
    where
        D: Held,
    {
        let retries = self.turn.as_ref().map_or(0, |turn| turn.retries);
        self.held.delivery().attempt.saturating_sub(retries)
    }
}

impl<D: Held> Waiting<D> {
    /// Has the message tried again by this host after the delay, where an order is kept. Otherwise it is returned, and
    /// the server has to deliver it again.
    pub(crate) fn try_again(self, delay: Duration) -> Option<Self> {
        let Some(inbox) = self.turn.as_ref().and_then(|turn| turn.inbox.upgrade()) else { return Some(self) };
        match &inbox.order {
            Some(order) => inbox.retry(order, self, delay),
            None => Some(self),
        }
    }

    /// Whether this host tries the message again by itself.
    pub(crate) fn is_tried_here(&self) -> bool {
        let inbox = self.turn.as_ref().and_then(|turn| turn.inbox.upgrade());
        let order = inbox.as_ref().and_then(|inbox| inbox.order.as_ref());
        order.is_some_and(|order| !order.state.lock().ended)
    }

    /// It is a later delivery of the same message as `old`, which this host has tried again by itself.
    fn follows(&mut self, old: &Self) {
        let retries = old.turn.as_ref().map_or(0, |turn| turn.retries);
        if let Some(turn) = &mut self.turn {
            turn.retries = retries;
        }
        if retries > 0 {
            self.held.count_attempts(retries);
        }
        self.company = old.company;
    }
}

/// The message is about to be settled for good.
pub(crate) fn settling<D>(turn: Option<&Turn<D>>) {
    let inbox = turn.and_then(|turn| turn.inbox.upgrade());
    if let Some(order) = inbox.as_ref().and_then(|inbox| inbox.order.as_ref()) {
        order.settled.fetch_add(1, SeqCst);
    }
}

/// The message is settled for good: the turn is the next one's.
pub(crate) fn settled<D: Held>(turn: Option<Box<Turn<D>>>) {
    let Some(mut turn) = turn else { return };
    turn.is_over = true;
    let Some(inbox) = turn.inbox.upgrade() else { return };
    let Some(order) = &inbox.order else { return };
    let mut state = order.state.lock();
    let may_begin = state.may_begin();
    let (again, next) = state.dispatch.settled(turn.key, turn.sequence, may_begin);
    let fewer_wait = again.is_some() || next.is_some();
    next.into_iter().for_each(|waiting| inbox.begins(waiting));
    order.tell(&state);
    drop(state);
    // Another delivery of it is settled with it.
    again.into_iter().for_each(|mut again| again.leaves());
    if fewer_wait {
        inbox.has_room(inbox.len());
    }
}

impl<D> Drop for Turn<D> {
    fn drop(&mut self) {
        let inbox = if self.is_over { None } else { self.inbox.upgrade() };
        if let Some(order) = inbox.as_ref().and_then(|inbox| inbox.order.as_ref()) {
            order.gone(self.key, self.sequence);
        }
    }
}
