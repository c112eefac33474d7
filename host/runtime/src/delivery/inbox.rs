//! The deliveries of one workload that were fetched and wait for a worker, and how many more are wanted.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::contract::Delivery;
use crate::delivery::attempts::Attempts;
use crate::ports::Held;

mod batches;

pub use batches::BatchRoom;

/// How much work is fetched ahead.
const AHEAD: Duration = Duration::from_millis(100);

/// The most deliveries that wait or are asked for. The client library drops what comes to a subscription that holds
/// 65,536 messages; half of that is left for the server's status messages about pulls.
const MOST: usize = 1 << 15;

/// How many deliveries, from the oldest on, are looked at for one that a newer takes the place of.
const LOOK: usize = 4_096;

/// A delivery, and since when the server waits for its settlement.
#[derive(Debug)]
pub struct Waiting<D> {
    /// The delivery.
    pub held: D,
    /// When it came, or when the server was last told that it is in progress.
    pub since: Instant,
    /// With which others it may be in a batch.
    pub company: Company,
}

/// With which others a delivery may be in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// With any.
    Any,
    /// With none: its message was to blame for a call that failed.
    Suspect,
    /// With none: a worker has had it, in a batch that was not handled, and has put it back.
    PutBack,
}

/// Where the fetching task puts deliveries and workers take them, oldest first.
#[derive(Debug)]
pub struct Inbox<D> {
    waiting: Mutex<VecDeque<Waiting<D>>>,
    /// The size of the payloads and headers that wait.
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
    /// A moving mean of the time that a message takes; 0 before the first.
    service_ns: AtomicU64,
    /// How many deliveries a worker should find, however long they take: 1, or a batch.
    least: AtomicUsize,
    /// The fetching task has ended: what is put from now on nobody would give back.
    ended: AtomicBool,
    batch: usize,
    max_bytes: usize,
    attempts: Option<Arc<Attempts>>,
}

/// How many deliveries to hold, waiting and asked for: enough for 100 ms of work, at most `batch` a worker, and never
/// more than the client library can.
///
/// Without workers it is 1, the parked pull. Before any message was handled it is 1 a worker, for a handler that takes
/// seconds should not find a hundred messages waiting behind its first.
pub fn capacity(workers: usize, batch: usize, service_time: Option<Duration>) -> usize {
    let each = match service_time {
        None => 1,
        Some(time) => {
            usize::try_from(AHEAD.as_nanos() / time.as_nanos().max(1)).unwrap_or(usize::MAX).clamp(1, batch.max(1))
        }
    };
    workers.saturating_mul(each).clamp(1, MOST)
}

/// The part of `bytes` that `some` of `all` messages may have.
fn share(bytes: usize, some: usize, all: usize) -> usize {
    let share = (bytes as u128).saturating_mul(some as u128) / (all as u128).max(1);
    usize::try_from(share).unwrap_or(usize::MAX)
}

fn bytes<D: Held>(of: &[Waiting<D>]) -> usize {
    of.iter().map(|waiting| waiting.held.delivery().size()).sum()
}

fn sequence(held: &impl Held) -> u64 {
    held.delivery().stream_sequence
}

impl<D: Held> Inbox<D> {
    /// An empty inbox. Nothing is fetched before [`Inbox::set_workers`].
    pub fn new(batch: usize, max_bytes: usize) -> Self {
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
            service_ns: AtomicU64::new(0),
            least: AtomicUsize::new(1),
            ended: AtomicBool::new(false),
            batch,
            max_bytes,
            attempts: None,
        }
    }

    /// With a memory of attempts, so that a message that is delivered again before it was tried uses up no attempt.
    #[must_use]
    pub fn remembering(self, attempts: Arc<Attempts>) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// Sets how many workers take from the inbox, and lets fetching begin.
    pub fn set_workers(&self, workers: usize) {
        self.workers.store(workers, Relaxed);
        self.fetching.store(true, Relaxed);
        self.room.notify_one();
    }

    /// No worker can start: nothing more is asked for.
    pub fn suspend(&self) {
        self.suspended.store(true, Relaxed);
        self.room.notify_one();
    }

    /// A worker has started: goes on after [`Inbox::suspend`].
    pub fn resume(&self) {
        self.suspended.store(false, Relaxed);
        self.room.notify_one();
    }

    /// Waits until the inbox is suspended, no pull is open and deliveries wait. Only then can they be given back: while
    /// a pull is open, it would bring them right back. Cancel-safe.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Takes all deliveries that match, oldest first.
    pub fn take_those(&self, these: impl Fn(&D) -> bool) -> Vec<Waiting<D>> {
        let mut all = self.waiting.lock();
        let (taken, left): (Vec<_>, _) =
            std::mem::take(&mut *all).into_iter().partition(|waiting| these(&waiting.held));
        *all = left.into();
        drop(all);
        self.bytes.fetch_sub(bytes(&taken), Relaxed);
        taken
    }

    /// Takes all deliveries. From now on none can be put back.
    pub(super) fn take_last(&self) -> Vec<Waiting<D>> {
        let taken: Vec<_> = {
            let mut all = self.waiting.lock();
            self.ended.store(true, Relaxed);
            all.drain(..).collect()
        };
        self.bytes.fetch_sub(bytes(&taken), Relaxed);
        taken
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended.load(Relaxed)
    }

    /// Stops fetching and taking, or lets both go on. What waits stays announced.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
        if !paused {
            self.arrived.notify_waiters();
            self.room.notify_one();
        }
    }

    /// Says how long a message took a worker, so that no more is fetched ahead than is useful.
    pub fn took(&self, time: Duration) {
        let new = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let old = self.service_ns.load(Relaxed);
        // Two workers may overwrite each other's value; the mean is an estimate anyway.
        let mean = if old == 0 { new } else { old - old / 8 + new / 8 };
        self.service_ns.store(mean, Relaxed);
    }

    /// Waits for a delivery. Cancel-safe.
    pub async fn take(&self) -> Waiting<D> {
        self.take_by(|| self.try_take()).await
    }

    async fn take_by<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            if let Some(waiting) = look() {
                return waiting;
            }
            let mut arrived = pin!(self.arrived.notified());
            // Armed before the second look: each delivery wakes one that is armed. Those that are not have one wake-up
            // between them, however many deliveries come meanwhile.
            arrived.as_mut().enable();
            if let Some(waiting) = look() {
                return waiting;
            }
            arrived.await;
        }
    }

    /// Takes a delivery that is there already.
    pub fn try_take(&self) -> Option<Waiting<D>> {
        if self.paused.load(Relaxed) {
            return None;
        }
        let (waiting, left) = {
            let mut all = self.waiting.lock();
            (all.pop_front()?, all.len())
        };
        self.bytes.fetch_sub(waiting.held.delivery().size(), Relaxed);
        self.has_room(left);
        Some(waiting)
    }

    /// Something was taken, and so much is left.
    fn has_room(&self, left: usize) {
        if self.wants(left, self.asked.load(Relaxed)).is_some() {
            self.room.notify_one();
        }
    }

    /// Waits until a delivery arrives while there is no worker. It may have been taken since.
    pub async fn arrived_without_worker(&self) {
        self.arrived_without_worker.notified().await;
    }

    /// How many deliveries wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether no delivery waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more to ask for where `asked` may still come, and of how many bytes together.
    pub(super) fn wanted(&self, asked: usize) -> Option<(usize, usize)> {
        self.wants(self.len(), asked)
    }

    /// How many may still come. Where that is none, what waits at a suspended inbox can be given back.
    pub(super) fn set_asked(&self, asked: usize) {
        self.asked.store(asked, Relaxed);
        if self.is_suspended() && asked == 0 && !self.is_empty() {
            self.closed.notify_one();
        }
    }

    /// Waits until more may be wanted than before. Cancel-safe.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Nothing more is wanted, ever.
    pub(super) fn end(&self) {
        self.fetching.store(false, Relaxed);
    }

    /// What is missing, once half of the capacity is and half of the bytes are free.
    fn wants(&self, waiting: usize, asked: usize) -> Option<(usize, usize)> {
        let may_not = self.is_suspended() || self.paused.load(Relaxed);
        if !self.fetching.load(Relaxed) || may_not || self.bytes.load(Relaxed) > self.max_bytes / 2 {
            return None;
        }
        let service_time = Some(self.service_ns.load(Relaxed)).filter(|ns| *ns > 0).map(Duration::from_nanos);
        let workers = self.workers.load(Relaxed);
        let least = workers.saturating_mul(self.least.load(Relaxed)).min(MOST);
        let capacity = capacity(workers, self.batch, service_time).max(least);
        let missing = capacity.saturating_sub(waiting + asked);
        // What is asked for already may bring its share too.
        (missing * 2 >= capacity).then(|| (missing, share(self.max_bytes / 2, missing, capacity)))
    }

    /// Puts a delivery that came at `since`.
    pub(crate) fn put(&self, held: D, since: Instant) {
        self.add(held, since);
        self.arrived.notify_one();
        if self.workers.load(Relaxed) == 0 {
            self.arrived_without_worker.notify_one();
        }
    }

    /// Puts a delivery, and wakes nobody.
    pub(super) fn add(&self, held: D, since: Instant) {
        self.bytes.fetch_add(held.delivery().size(), Relaxed);
        // Only what is delivered again may be here already, or be known.
        let again = held.delivery().attempt > 1;
        let suspect = again && self.attempts.as_ref().is_some_and(|attempts| attempts.is_suspect(held.delivery()));
        let company = if suspect { Company::Suspect } else { Company::Any };
        let (message, mut waiting) = (sequence(&held), Waiting { held, since, company });
        let mut all = self.waiting.lock();
        match all.iter_mut().take(if again { LOOK } else { 0 }).find(|old| sequence(&old.held) == message) {
            Some(old) => {
                if old.company != Company::Any {
                    waiting.company = Company::Suspect;
                }
                let old = std::mem::replace(old, waiting).held;
                drop(all);
                self.supersede(old.delivery());
            }
            None => all.push_back(waiting),
        }
    }

    /// The server was not told for so long that a delivery is in progress that it has delivered the message again, and
    /// no worker has taken it.
    fn supersede(&self, old: &Delivery) {
        self.bytes.fetch_sub(old.size(), Relaxed);
        tracing::debug!(
            stream_sequence = old.stream_sequence,
            attempt = old.attempt,
            "delivered again before it was tried"
        );
        if let Some(attempts) = &self.attempts {
            attempts.excuse(old);
        }
    }

    /// Tells the server of every delivery that has waited a quarter of its ack wait. Called every quarter, so no
    /// delivery waits for more than half of it unannounced.
    pub(super) async fn announce(&self, quarter: Duration) {
        let announcements: Vec<_> = {
            let mut all = self.waiting.lock();
            let stale = all.iter_mut().filter(|waiting| waiting.since.elapsed() >= quarter);
            stale
                .map(|waiting| {
                    waiting.since = Instant::now();
                    waiting.held.in_progress()
                })
                .collect()
        };
        for announcement in announcements {
            announcement.await;
        }
    }
}

#[cfg(test)]
mod tests;
