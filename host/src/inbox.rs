//! The deliveries of one workload that were fetched and wait for a worker.
//!
//! One task fetches for all workers of a workload, instead of each for itself. So a worker that drains has nothing
//! to give back but the message it runs, a new worker finds messages at once, no worker hoards messages that others
//! could run, and the pull that stays parked at zero workers is the same pull as any other.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::attempts::Attempts;
use crate::delivery::Delivery;
use crate::effective::Effective;
use crate::patience::Patience;
use crate::ports::{Held, Notice, Pull, Pulled};
use crate::settle::give_back_untaken;

/// How much work is fetched ahead.
const AHEAD: Duration = Duration::from_millis(100);

/// The most that is held, waiting and asked for. The client library drops what comes to a subscription that holds 65,536;
/// half of it is left for what the server says about pulls.
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
    /// Of the payloads and headers that wait.
    bytes: AtomicUsize,
    arrived: Notify,
    room: Notify,
    unattended: Notify,
    closed: Notify,
    /// Deliveries asked for that may still come.
    asked: AtomicUsize,
    workers: AtomicUsize,
    fetching: AtomicBool,
    /// Whether no worker can start.
    suspended: AtomicBool,
    /// Nothing is fetched or taken for now.
    held: AtomicBool,
    /// A moving mean of the time that a message takes; 0 before the first.
    service_ns: AtomicU64,
    batch: usize,
    max_bytes: usize,
    attempts: Option<Arc<Attempts>>,
}

/// How many deliveries to hold, waiting and asked for: enough for 100 ms of work, at most `batch` a worker, and never more
/// than the client library can.
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
    /// An empty inbox. Nothing is fetched before [`Inbox::attend`].
    pub fn new(batch: usize, max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            bytes: AtomicUsize::new(0),
            arrived: Notify::new(),
            room: Notify::new(),
            unattended: Notify::new(),
            closed: Notify::new(),
            asked: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            fetching: AtomicBool::new(false),
            suspended: AtomicBool::new(false),
            held: AtomicBool::new(false),
            service_ns: AtomicU64::new(0),
            batch,
            max_bytes,
            attempts: None,
        }
    }

    /// Has what is delivered again before it was tried use up no attempt.
    #[must_use]
    pub fn remembering(self, attempts: Arc<Attempts>) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// Sets how many workers take from the inbox, and lets fetching begin.
    pub fn attend(&self, workers: usize) {
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

    /// Waits until deliveries wait, [`Inbox::suspend`] holds and nothing can come any more: what is given back while a pull is
    /// open comes right back by that pull.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Takes all of these, oldest first.
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

    /// Lets nothing be fetched or taken, or all again. What waits stays announced.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Relaxed);
        if !held {
            self.arrived.notify_waiters();
            self.room.notify_one();
        }
    }

    /// Says how long a message took a worker, so that no more is fetched ahead than is useful.
    pub fn took(&self, time: Duration) {
        let new = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let old = self.service_ns.load(Relaxed);
        // Two workers may overwrite each other's; the mean is a guess anyway.
        let mean = if old == 0 { new } else { old - old / 8 + new / 8 };
        self.service_ns.store(mean, Relaxed);
    }

    /// Waits for a delivery. Nothing is lost if the future is dropped.
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
        if self.held.load(Relaxed) {
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

    /// Waits until a delivery arrives that finds no worker. Whether it waits still is for the caller to look.
    pub async fn unattended(&self) {
        self.unattended.notified().await;
    }

    /// How many deliveries wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether no delivery waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many to ask for, and of how many bytes together: what is missing, once half of the capacity is and half of
    /// the bytes are free.
    fn wants(&self, waiting: usize, asked: usize) -> Option<(usize, usize)> {
        let may_not = self.is_suspended() || self.held.load(Relaxed);
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
            self.unattended.notify_one();
        }
    }

    fn add(&self, held: D, since: Instant) {
        self.bytes.fetch_add(held.delivery().size(), Relaxed);
        let (message, waiting) = (sequence(&held), Waiting { held, since });
        let mut all = self.waiting.lock();
        let again = waiting.held.delivery().attempt > 1;
        let same = |old: &&mut Waiting<D>| sequence(&old.held) == message;
        match all.iter_mut().take(LOOK).find(same).filter(|_| again) {
            Some(old) => {
                let old = std::mem::replace(old, waiting).held;
                drop(all);
                self.supersede(old.delivery());
            }
            None => all.push_back(waiting),
        }
    }

    /// The server could not hear of a delivery for so long that it has delivered the message again, and nobody has touched it.
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
    async fn keep(&self, quarter: Duration) {
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

/// Fetches until `stop` ends, then gives back (nak, no delay) what no worker has taken and what still comes.
///
/// `tell` hears why a pull failed, each time, and `None` when pulls do not fail any more. It ends when no pull can bring
/// anything any more, which takes up to the pull's `expires`.
pub async fn fetch<P: Pull>(
    inbox: &Inbox<P::Held>,
    mut pull: P,
    consumer: &Effective,
    mut tell: impl FnMut(Option<Notice>) + Send,
    stop: impl Future<Output = ()> + Send,
) {
    tokio::pin!(stop);
    let mut keep = Announcer::new(consumer);
    let mut patience = Patience::default();
    loop {
        // A consumer may let one pull ask for less than is wanted.
        while patience.until().is_none()
            && let asked = pull.asked()
            && let Some((count, bytes)) = inbox.wants(inbox.len(), asked)
        {
            match pull.ask(count, bytes).await {
                Ok(()) if pull.asked() > asked => patience.asked(Instant::now()),
                Ok(()) => break,
                Err(_) => patience.unable(Instant::now()),
            }
        }
        inbox.asked.store(pull.asked(), Relaxed);
        if inbox.is_suspended() && pull.asked() == 0 && !inbox.is_empty() {
            inbox.closed.notify_one();
        }
        let until = patience.until();
        tokio::select! {
            biased;
            () = &mut stop => break,
            pulled = pull.next() => {
                let (mut pulled, now) = (Some(pulled), Instant::now());
                while let Some(one) = pulled {
                    match one {
                        Pulled::Delivery(delivery) => {
                            inbox.put(delivery, now);
                            if patience.delivered(now) { tell(None) }
                        }
                        Pulled::Ended => if patience.ended(now) { tell(None) },
                        Pulled::Lost => {}
                        Pulled::Connected => patience.is_over(),
                        Pulled::Failed(why) => {
                            patience.failed(now);
                            tell(Some(why));
                        }
                    }
                    pulled = pull.ready();
                }
            }
            () = inbox.room.notified() => {}
            quarter = keep.due() => inbox.keep(quarter).await,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => patience.is_over(),
        }
    }
    give_all_back(inbox, pull, &mut keep).await;
}

/// Says when deliveries that wait have to be announced, each quarter of the ack wait, whatever that is by now.
struct Announcer<'a> {
    consumer: &'a Effective,
    quarter: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<'a> Announcer<'a> {
    fn new(consumer: &'a Effective) -> Self {
        let quarter = consumer.announce_after();
        Self { consumer, quarter, sleep: Box::pin(sleep(quarter)) }
    }

    /// Waits until it is time, and says after how long. Nothing is lost if the future is dropped.
    async fn due(&mut self) -> Duration {
        loop {
            // Armed before the look, so that an edit in between is not missed.
            let edited = self.consumer.ack_wait_edited();
            let quarter = self.consumer.announce_after();
            if quarter != self.quarter {
                self.quarter = quarter;
                let soonest = self.sleep.deadline().min(Instant::now() + quarter);
                self.sleep.as_mut().reset(soonest);
            }
            tokio::select! {
                () = &mut self.sleep => {
                    self.sleep.as_mut().reset(Instant::now() + quarter);
                    return quarter;
                }
                () = edited => {}
            }
        }
    }
}

/// Gives back all at the end: what is given back while a pull is open comes right back by that pull, and each time
/// costs the message one of its attempts.
async fn give_all_back<P: Pull>(inbox: &Inbox<P::Held>, mut pull: P, keep: &mut Announcer<'_>) {
    inbox.fetching.store(false, Relaxed);
    while pull.asked() > 0 {
        let pulled = tokio::select! {
            pulled = pull.next() => pulled,
            quarter = keep.due() => {
                inbox.keep(quarter).await;
                continue;
            }
        };
        if let Pulled::Delivery(delivery) = pulled {
            inbox.add(delivery, Instant::now());
        }
    }
    while let Some(pulled) = pull.ready() {
        if let Pulled::Delivery(delivery) = pulled {
            inbox.add(delivery, Instant::now());
        }
    }
    let waiting: Vec<_> = inbox.waiting.lock().drain(..).collect();
    for waiting in waiting {
        give_back_untaken(waiting.held, keep.consumer).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use parking_lot::Mutex;
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::confirmed::{Confirmed, Kept};
    use crate::delivery::{Death, Delivery, Publication};
    use crate::ports::{Author, EffectError};

    /// A delivery that notes when it is given back.
    #[derive(Debug, Default)]
    struct Given(Delivery, Arc<Mutex<Vec<u64>>>);

    impl Held for Given {
        fn delivery(&self) -> &Delivery {
            &self.0
        }

        async fn publish(
            &self,
            _: Vec<Publication>,
        ) -> Result<impl Future<Output = Result<(), EffectError>> + Send + use<>, EffectError> {
            Ok(std::future::ready(Ok(())))
        }

        async fn reply(&self, _: Vec<u8>) -> Result<(), EffectError> {
            Ok(())
        }

        async fn dead_letter(&self, _: &Death, _: &Author) -> Result<(), EffectError> {
            Ok(())
        }

        fn in_progress(&self) -> impl Future<Output = ()> + Send + use<> {
            std::future::ready(())
        }

        async fn ack(self, _: Confirmed) {}

        async fn nak(self, _: Duration) {
            self.1.lock().push(self.0.stream_sequence);
        }

        async fn term(self, _: Kept, _: &str) {}
    }

    #[test]
    fn two_deliveries_wake_two_workers_that_have_just_looked() {
        let inbox = Inbox::<Given>::new(10, usize::MAX);
        inbox.attend(2);
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
                inbox.put(Given::default(), Instant::now());
                inbox.put(Given::default(), Instant::now());
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

    /// A pull that brings what it is told to, as soon as it is asked.
    struct Brings {
        deliveries: Vec<Given>,
        asked: usize,
    }

    impl Pull for Brings {
        type Held = Given;

        fn asked(&self) -> usize {
            self.asked
        }

        async fn ask(&mut self, count: usize, _: usize) -> anyhow::Result<()> {
            self.asked += count;
            Ok(())
        }

        async fn next(&mut self) -> Pulled<Given> {
            match self.ready() {
                Some(pulled) => pulled,
                None if self.asked > 0 => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    self.asked = 0;
                    Pulled::Ended
                }
                None => std::future::pending().await,
            }
        }

        fn ready(&mut self) -> Option<Pulled<Given>> {
            self.asked = self.asked.checked_sub(1)?;
            match self.deliveries.pop() {
                Some(delivery) => Some(Pulled::Delivery(delivery)),
                None => {
                    self.asked += 1;
                    None
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_worker_can_start_nothing_more_is_asked_for_and_what_waits_can_be_given_back() {
        let given_back = Arc::new(Mutex::new(Vec::new()));
        let deliveries = (1..=9)
            .rev()
            .map(|stream_sequence| Given(Delivery { stream_sequence, ..Delivery::default() }, given_back.clone()));
        let pull = Brings { deliveries: deliveries.collect(), asked: 0 };
        let inbox = Arc::new(Inbox::<Given>::new(10, usize::MAX));
        inbox.attend(3);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let fetching = inbox.clone();
        let fetching = tokio::spawn(async move {
            let stop = async { stopped.await.unwrap() };
            let consumer = Effective::with_ack_wait(Duration::from_secs(30));
            fetch(&fetching, pull, &consumer, |_| {}, stop).await;
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((inbox.len(), given_back.lock().len()), (3, 0));
        inbox.suspend();
        tokio::time::timeout(Duration::from_secs(60), inbox.closed()).await.unwrap();
        let number = |waiting: &Waiting<Given>| waiting.held.0.stream_sequence;
        let taken = inbox.take_those(|held| held.0.stream_sequence != 2);
        assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(inbox.try_take().as_ref().map(number), Some(2));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(inbox.is_empty());
        inbox.resume();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(inbox.len(), 3);
        stop.send(()).unwrap();
        fetching.await.unwrap();
        assert_eq!(given_back.lock().clone(), [4, 5, 6]);
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
