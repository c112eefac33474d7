//! The deliveries of one workload that were fetched and wait for a worker, and how many more are wanted.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::contract::Delivery;
use crate::delivery::attempts::Attempts;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::start_limits::{Demand, Permit, StartGate};
use crate::ports::Held;

mod batches;
mod full_buffer;
mod giving_back;
mod order_state;
mod ordered;
mod per_key;
mod turn;
mod wanted;

pub(crate) use batches::BatchRoom;
pub(crate) use full_buffer::{Blocks, FullBuffer};
pub(crate) use order_state::Ordered;
pub(crate) use per_key::PerKey;
pub(crate) use turn::{Turn, settled, settling};
pub use wanted::capacity;

/// Announcements that wait in the connection's queue at once.
const ANNOUNCED_AT_ONCE: usize = 1_000;

/// How many deliveries, from the oldest on, are searched for an earlier delivery of the same message.
const LOOK: usize = 4_096;

/// A delivery, and since when the server waits for its settlement.
#[derive(Debug)]
pub(crate) struct Waiting<D> {
    /// The delivery.
    pub held: D,
    /// When the delivery came, or when the server was last told that it is in progress.
    pub since: Instant,
    /// With which other deliveries it may be in a batch.
    pub company: Company,
    /// Its turn among the messages of its key, where an order is kept or few of a key are handled at once.
    pub turn: Option<Box<Turn<D>>>,
    /// That it may begin, where that is limited. There is none before a worker takes it, nor once its call has ended.
    pub permit: Option<Permit>,
}

/// With which others a delivery may be in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// With any delivery.
    Any,
    /// With none: its message has made a call fail.
    Suspect,
    /// With none: a worker took it in a batch that was not handled, and has put it back.
    PutBack,
}

/// The queue into which the fetching task puts deliveries, and from which workers take them, oldest first.
#[derive(Debug)]
pub(crate) struct Inbox<D> {
    waiting: Mutex<VecDeque<Waiting<D>>>,
    /// Bytes of the payloads and headers that wait.
    bytes: AtomicUsize,
    arrived: Notify,
    room: Notify,
    arrived_without_worker: Notify,
    closed: Notify,
    /// Deliveries asked for that may still come.
    asked: AtomicUsize,
    workers: AtomicUsize,
    fetching: AtomicBool,
    /// Whether no worker can start.
    suspended: AtomicBool,
    /// Nothing is fetched or taken for now.
    paused: AtomicBool,
    /// Whether a delivery is asked for while there is no worker.
    parks: AtomicBool,
    /// A moving mean of the time that a message takes; 0 before the first.
    service_ns: AtomicU64,
    /// How many deliveries a worker should find, however long they take: 1, or a batch.
    least: AtomicUsize,
    /// How many deliveries a worker takes at once: 1, or a batch.
    at_once: AtomicUsize,
    /// The fetching task has ended: nobody would give back what is put from now on.
    ended: AtomicBool,
    batch: usize,
    /// How many deliveries few workers may hold together, of a consumer; `None` where each has `batch` at most.
    ahead: Option<(usize, Arc<Effective>)>,
    max_bytes: usize,
    /// The workload, as what is told of messages without a key.
    workload: Arc<str>,
    attempts: Option<Arc<Attempts>>,
    /// `None` where no order is kept.
    order: Option<Box<Ordered<D>>>,
    /// `None` where any number of a key may be handled at once.
    per_key: Option<Box<PerKey<D>>>,
    /// What lets deliveries begin; `None` where nothing is limited.
    starts: Option<Arc<StartGate>>,
}

fn bytes<D: Held>(of: &[Waiting<D>]) -> usize {
    of.iter().map(|waiting| waiting.held.delivery().size()).sum()
}

fn sequence(held: &impl Held) -> u64 {
    held.delivery().stream_sequence
}

fn attempt(held: &impl Held) -> u32 {
    held.delivery().attempt
}

impl<D: Held> Inbox<D> {
    /// An empty inbox. Nothing is fetched before [`Inbox::set_workers`].
    pub(crate) fn new(batch: usize, max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            bytes: AtomicUsize::new(0),
            arrived: Notify::new(),
            room: Notify::new(),
            arrived_without_worker: Notify::new(),
            closed: Notify::new(),
            asked: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            fetching: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            parks: AtomicBool::new(true),
            service_ns: AtomicU64::new(0),
            least: AtomicUsize::new(1),
            at_once: AtomicUsize::new(1),
            ended: AtomicBool::new(false),
            batch,
            ahead: None,
            max_bytes,
            workload: Arc::from(""),
            attempts: None,
            order: None,
            per_key: None,
            starts: None,
        }
    }

    /// The same inbox of this workload.
    #[must_use]
    pub(crate) fn of_workload(self, workload: &str) -> Self {
        Self { workload: workload.into(), ..self }
    }

    /// The same inbox with a memory of attempts, so that a message that is delivered again before it was tried uses up
    /// no attempt.
    #[must_use]
    pub(crate) fn remembering(self, attempts: Arc<Attempts>) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// The same inbox, in which so many deliveries of the consumer may wait however few the workers are.
    #[must_use]
    pub(crate) fn ahead_by(self, ahead: usize, consumer: Arc<Effective>) -> Self {
        Self { ahead: Some((ahead, consumer)), ..self }
    }

    /// The same inbox, from which deliveries are taken, and asked for, only as far as they may begin.
    #[must_use]
    pub(crate) fn limited_by(self, starts: Option<Arc<StartGate>>) -> Self {
        Self { starts, ..self }
    }

    /// Sets how many workers take from the inbox, and lets fetching begin.
    pub(crate) fn set_workers(&self, workers: usize) {
        self.workers.store(workers, Relaxed);
        self.fetching.store(true, Relaxed);
        self.room.notify_one();
    }

    /// Stops fetching and taking, or lets both go on. Deliveries that wait stay announced.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
        if !paused {
            self.arrived.notify_waiters();
            self.room.notify_one();
        }
    }

    /// Sets whether one delivery is asked for while there is no worker. What was asked for before may still come.
    pub(crate) fn park(&self, parks: bool) {
        if self.parks.swap(parks, Relaxed) != parks {
            self.room.notify_one();
        }
    }

    /// Whether deliveries wait, or may still come.
    pub(crate) fn expects(&self) -> bool {
        let aside = || self.per_key.as_ref().is_some_and(|per_key| per_key.has_waiting());
        self.asked.load(Relaxed) > 0 || !self.is_empty() || aside()
    }

    /// Notes how long a message took a worker, so that no more is fetched ahead than is useful.
    pub(crate) fn took(&self, time: Duration) {
        let new = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let old = self.service_ns.load(Relaxed);
        // Two workers may overwrite each other's value; the mean is an estimate anyway.
        let mean = if old == 0 { new } else { old - old / 8 + new / 8 };
        self.service_ns.store(mean, Relaxed);
    }

    /// Waits for a delivery. Cancel-safe.
    pub(crate) async fn take(&self) -> Waiting<D> {
        self.take_by(|| self.try_take()).await
    }

    async fn take_by<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(waiting) = look() {
                return waiting;
            }
            let mut arrived = pin!(self.arrived.notified());
            // Armed before the second check: each delivery wakes one waiter that is armed. All waiters that are not
            // armed share one wake-up, however many deliveries come meanwhile.
            arrived.as_mut().enable();
            if let Some(waiting) = look() {
                return waiting;
            }
            arrived.await;
        }
    }

    /// Takes a delivery that is there already.
    pub(crate) fn try_take(&self) -> Option<Waiting<D>> {
        loop {
            let waiting = self.try_take_first()?;
            match &self.order {
                Some(order) if order.consumer.has_lapsed(waiting.since) => order.lapsed(waiting),
                _ => return Some(waiting),
            }
        }
    }

    fn try_take_first(&self) -> Option<Waiting<D>> {
        if self.paused.load(Relaxed) {
            return None;
        }
        let (waiting, left) = {
            let mut all = self.waiting.lock();
            let permit = match &self.starts {
                // Nothing begins where nothing waits.
                Some(starts) if !all.is_empty() => Some(starts.reserve_one()?),
                _ => None,
            };
            (Waiting { permit, ..all.pop_front()? }, all.len())
        };
        self.bytes.fetch_sub(waiting.held.delivery().size(), Relaxed);
        self.has_room(left);
        Some(waiting)
    }

    /// Lets more be fetched after deliveries were taken and this many are left.
    fn has_room(&self, left: usize) {
        // Where starts are limited, what has begun changes when the fetching task has to look again.
        if self.starts.is_some() || self.wants(left, self.asked.load(Relaxed)).is_some() {
            self.room.notify_one();
        }
    }

    /// Waits until more deliveries may begin or be asked for than before, and wakes workers if deliveries wait. Where
    /// nothing is limited, it waits for ever. Cancel-safe.
    pub(super) async fn more_may_begin(&self) {
        let Some(starts) = &self.starts else { return std::future::pending().await };
        let (waiting, asked) = (self.len(), self.asked.load(Relaxed));
        starts.more(Demand { capacity: self.capacity().unwrap_or(0), waiting, asked }).await;
        for _ in 0..starts.startable().min(self.len()) {
            self.arrived.notify_one();
        }
    }

    /// Waits until a delivery arrives while there is no worker. It may have been taken since.
    pub(crate) async fn arrived_without_worker(&self) {
        self.arrived_without_worker.notified().await;
    }

    /// How many deliveries wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether no delivery waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes how many deliveries may still come. If none may, the deliveries of a suspended inbox can be given back.
    pub(super) fn set_asked(&self, asked: usize) {
        self.asked.store(asked, Relaxed);
        let waits = || {
            let aside = self.per_key.as_ref().is_some_and(|per_key| per_key.has_waiting());
            aside || !self.is_empty() || self.order.as_ref().is_some_and(|order| order.waits())
        };
        if self.is_suspended() && asked == 0 && waits() {
            self.closed.notify_one();
        }
    }

    /// Waits until more deliveries may be wanted than before. Cancel-safe.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Ends fetching: nothing more is wanted, ever.
    pub(super) fn end(&self) {
        self.fetching.store(false, Relaxed);
    }

    /// Puts a delivery that came at `since`.
    pub(crate) fn put(&self, held: D, since: Instant) {
        if let Some(order) = &self.order {
            return self.arrive(order, held, since);
        }
        if let Some(per_key) = &self.per_key {
            return self.arrive_at_place(per_key, held, since);
        }
        let is_alone = self.add_unordered(held, since);
        // Whoever takes a batch passes on what is left. One worker for each delivery would find nothing, or little.
        if is_alone || self.at_once.load(Relaxed) == 1 {
            self.arrived.notify_one();
        }
        if self.workers.load(Relaxed) == 0 {
            self.arrived_without_worker.notify_one();
        }
    }

    /// Wakes another worker if deliveries are left by one that takes several at once.
    pub(crate) fn pass_on(&self) {
        if self.at_once.load(Relaxed) > 1 && !self.is_empty() {
            self.arrived.notify_one();
        }
    }

    /// Puts a delivery, and wakes nobody.
    pub(super) fn add(&self, held: D, since: Instant) {
        if let Some(order) = &self.order {
            return self.arrive(order, held, since);
        }
        if let Some(per_key) = &self.per_key {
            return self.arrive_at_place(per_key, held, since);
        }
        self.add_unordered(held, since);
    }

    /// Returns whether no other delivery waits.
    fn add_unordered(&self, held: D, since: Instant) -> bool {
        self.bytes.fetch_add(held.delivery().size(), Relaxed);
        // Only a message that is delivered again can be here already.
        let again = held.delivery().attempt > 1;
        let company = self.company(held.delivery());
        let message = sequence(&held);
        let mut waiting = Waiting { held, since, company, turn: None, permit: None };
        let mut all = self.waiting.lock();
        match all.iter_mut().take(if again { LOOK } else { 0 }).find(|old| sequence(&old.held) == message) {
            Some(old) => {
                if old.company != Company::Any {
                    waiting.company = Company::Suspect;
                }
                let old = std::mem::replace(old, waiting).held;
                drop(all);
                self.supersede(old.delivery());
                false
            }
            None => {
                all.push_back(waiting);
                all.len() == 1
            }
        }
    }

    /// Notes that a delivery that waited was replaced, because its message was delivered again: the server was not told
    /// in time that it is in progress. No attempt is used up, because no worker has taken it.
    fn supersede(&self, old: &Delivery) {
        self.bytes.fetch_sub(old.size(), Relaxed);
        self.superseded(old);
    }

    /// The same of one that was not in the queue.
    fn superseded(&self, old: &Delivery) {
        tracing::debug!(
            stream_sequence = old.stream_sequence,
            attempt = old.attempt,
            "delivered again before it was tried"
        );
        if let Some(attempts) = &self.attempts {
            attempts.excuse(old);
        }
    }

    /// Tells the server that deliveries are in progress which have waited for a quarter of their ack wait. It is called
    /// every quarter, so no delivery waits for more than half of the ack wait unannounced.
    pub(super) async fn announce(&self, quarter: Duration) {
        // First: what waits there may get into the queue meanwhile, where it would not be seen behind it.
        if let Some(order) = &self.order {
            send_all(order.announcements(quarter)).await;
        }
        if let Some(per_key) = &self.per_key {
            send_all(per_key.announcements(quarter)).await;
        }
        let announcements: Vec<_> = {
            let mut all = self.waiting.lock();
            let stale = all.iter_mut().filter(|waiting| waiting.since.elapsed() >= quarter);
            let stale =
                stale.filter(|waiting| self.order.as_ref().is_none_or(|o| o.consumer.may_announce(waiting.since)));
            stale
                .map(|waiting| {
                    waiting.since = Instant::now();
                    waiting.held.in_progress()
                })
                .collect()
        };
        send_all(announcements).await;
    }
}

/// Many stand in the connection's queue at once: one after the other, each would wait behind what all workers publish.
async fn send_all(announcements: impl IntoIterator<Item = impl Future<Output = ()>>) {
    stream::iter(announcements).for_each_concurrent(ANNOUNCED_AT_ONCE, |announcement| announcement).await;
}

#[cfg(test)]
mod tests;
