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
        let bytes: usize = taken.iter().map(|waiting| waiting.held.delivery().size()).sum();
        self.bytes.fetch_sub(bytes, Relaxed);
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

    async fn take_by(&self, mut look: impl FnMut() -> Option<Waiting<D>>) -> Waiting<D> {
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
        if self.wants(left, self.asked.load(Relaxed)).is_some() {
            self.room.notify_one();
        }
        Some(waiting)
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
        let capacity = capacity(self.workers.load(Relaxed), self.batch, service_time);
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
        let (message, waiting) = (sequence(&held), Waiting { held, since });
        let mut all = self.waiting.lock();
        // Only what is delivered again may be here already.
        let look = if waiting.held.delivery().attempt > 1 { LOOK } else { 0 };
        match all.iter_mut().take(look).find(|old| sequence(&old.held) == message) {
            Some(old) => {
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::cell::{Cell, RefCell};

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::test_delivery::TestDelivery;

    #[test]
    fn what_waits_is_looked_at_only_for_what_is_delivered_again() {
        let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
        let put = |stream_sequence, attempt| {
            let delivery = Delivery { stream_sequence, attempt, ..Delivery::default() };
            inbox.put(TestDelivery::of(delivery), Instant::now());
        };
        (1..=100).for_each(|sequence| put(sequence, 1));
        let looks = |waiting: &Waiting<TestDelivery>| waiting.held.looks.load(Relaxed);
        assert!(inbox.waiting.lock().iter().all(|waiting| looks(waiting) < 10));
        put(50, 2);
        assert_eq!((inbox.len(), inbox.waiting.lock()[49].held.delivery.attempt), (100, 2));
    }

    #[test]
    fn two_deliveries_wake_two_workers_that_have_just_looked() {
        let inbox = Inbox::<TestDelivery>::new(10, usize::MAX);
        inbox.set_workers(2);
        let looks = Cell::new(0);
        let look = || {
            let found = inbox.try_take();
            looks.set(looks.get() + 1);
            found
        };
        // Both have looked for the last time before they wait when both deliveries come.
        let second = RefCell::new(Box::pin(inbox.take_by(|| {
            let found = look();
            if looks.get() == 4 {
                inbox.put(TestDelivery::default(), Instant::now());
                inbox.put(TestDelivery::default(), Instant::now());
            }
            found
        })));
        let second_has_one = Cell::new(false);
        let mut first = Box::pin(inbox.take_by(|| {
            let found = look();
            if looks.get() == 2 {
                second_has_one.set(second.borrow_mut().as_mut().now_or_never().is_some());
            }
            found
        }));
        let first_has_one = first.as_mut().now_or_never().is_some();
        let second_has_one = second_has_one.get() || second.borrow_mut().as_mut().now_or_never().is_some();
        assert!(first_has_one && second_has_one, "{first_has_one} {second_has_one}");
    }

    #[test]
    fn a_quick_handler_gets_a_batch_and_a_slow_one_a_message() {
        assert_eq!(capacity(4, 100, Some(Duration::from_micros(3))), 400);
        assert_eq!(capacity(4, 100, Some(Duration::from_millis(10))), 40);
        assert_eq!(capacity(4, 100, Some(Duration::from_secs(2))), 4);
        assert_eq!(capacity(4, 100, Some(Duration::ZERO)), 400);
        assert_eq!(capacity(4, 100, None), 4);
    }

    #[test]
    fn without_workers_one_pull_stays_parked() {
        assert_eq!(capacity(0, 100, Some(Duration::from_micros(3))), 1);
    }

    #[test]
    fn no_more_is_asked_for_than_the_client_library_holds() {
        assert_eq!(capacity(2_000, 1_000, Some(Duration::from_micros(3))), MOST);
    }

    proptest! {
        #[test]
        fn no_worker_holds_more_than_a_batch(workers in 1usize..10_000, batch in 0usize..10_000, ns in 0u64..u64::MAX) {
            let capacity = capacity(workers, batch, Some(Duration::from_nanos(ns)));
            prop_assert!(capacity >= workers && capacity <= MOST);
            prop_assert!(capacity <= workers * batch.max(1));
        }
    }
}
