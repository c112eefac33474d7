//! Takes deliveries, calls its handler instance, settles.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::config::Isolation;
use crate::delivery::{Fault, triage};
use crate::events::{Event, Observer};
use crate::inbox::{Inbox, Waiting};
use crate::ports::{Author, Handler, Handlers, Held};
use crate::scaling::observe::Work;
use crate::settle::{Rules, Settled, Step, bury, keep, settle};

/// How many deliveries may wait for their publications to be confirmed while the worker goes on.
const UNCONFIRMED: usize = 256;

/// What a worker has done so far, readable while it runs.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    handling: AtomicBool,
    acked: AtomicU64,
    settled: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    redelivered: AtomicU64,
    busy_ns: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            handling: AtomicBool::default(),
            acked: AtomicU64::default(),
            settled: AtomicU64::default(),
            handled: AtomicU64::default(),
            failed: AtomicU64::default(),
            redelivered: AtomicU64::default(),
            busy_ns: AtomicU64::default(),
        }
    }
}

impl Stats {
    /// Whether the worker is in its handler now.
    pub fn is_handling(&self) -> bool {
        self.handling.load(Relaxed)
    }

    /// Deliveries that it acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked.load(Relaxed)
    }

    /// Deliveries of a second or later attempt that it took.
    pub fn redelivered(&self) -> u64 {
        self.redelivered.load(Relaxed)
    }

    /// What it has done, for rates.
    pub fn work(&self) -> Work {
        Work {
            settled: self.settled.load(Relaxed),
            handled: self.handled.load(Relaxed),
            failed: self.failed.load(Relaxed),
            busy_us: self.busy_ns.load(Relaxed) / 1000,
            alive_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn settled(&self, how: Settled) {
        match how {
            Settled::Acked => {
                self.acked.fetch_add(1, Relaxed);
                self.settled.fetch_add(1, Relaxed);
            }
            Settled::Dead => {
                self.settled.fetch_add(1, Relaxed);
            }
            Settled::Retried => {}
        }
    }
}

/// What all workers of a workload share.
pub struct Shop<D> {
    /// The workload's name.
    pub workload: Arc<str>,
    /// Where deliveries come from.
    pub inbox: Arc<Inbox<D>>,
    /// How deliveries are settled.
    pub rules: Rules,
    /// How long an instance lives.
    pub isolation: Isolation,
    /// Who is told.
    pub observer: Observer,
}

/// What the supervisor wants of a worker. A later wish is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Go on.
    Work,
    /// Finish the message you have, then end.
    Drain,
    /// Give back the message you have, then end.
    GiveBack,
}

/// Runs until it is told to end, or until no handler instance can be made.
///
/// # Errors
/// The fault that kept an instance from starting. No delivery is held then.
pub async fn run<D: Held, H: Handlers>(
    id: u64,
    shop: Arc<Shop<D>>,
    mut handlers: H,
    stats: Arc<Stats>,
    mut wish: tokio::sync::watch::Receiver<Wish>,
) -> Result<(), Fault> {
    let mut instance = handlers.instantiate(id).await?;
    let mut usable = true;
    let mut unconfirmed = FuturesUnordered::new();
    let result = loop {
        while unconfirmed.len() >= UNCONFIRMED {
            if let Some((sequence, how)) = unconfirmed.next().await {
                tell(&shop, &stats, sequence, how);
            }
        }
        if *wish.borrow() > Wish::Work {
            break Ok(());
        }
        if !usable || handlers.is_newer() {
            match meanwhile(pin!(handlers.instantiate(id)), &mut unconfirmed, &shop, &stats).await {
                Ok(made) => (instance, usable) = (made, true),
                Err(fault) if usable => keep_old(&instance, &fault),
                Err(fault) => break Err(fault),
            }
        }
        let at_once = if unconfirmed.is_empty() { shop.inbox.try_take() } else { None };
        let waiting = match at_once {
            Some(waiting) => waiting,
            None => tokio::select! {
                biased;
                _ = wish.changed() => continue,
                Some((sequence, how)) = unconfirmed.next(), if !unconfirmed.is_empty() => {
                    tell(&shop, &stats, sequence, how);
                    continue;
                }
                waiting = shop.inbox.take() => waiting,
                () = handlers.newer() => continue,
            },
        };
        if handlers.is_newer() {
            // It came between the look above and this message.
            let made = keep(&waiting.held, waiting.since, shop.rules.ack_wait, handlers.instantiate(id));
            match meanwhile(pin!(made), &mut unconfirmed, &shop, &stats).await {
                Ok(made) => instance = made,
                Err(fault) => keep_old(&instance, &fault),
            }
        }
        let sequence = waiting.held.delivery().stream_sequence;
        let handled = {
            let handling = pin!(handle(&shop, &stats, &mut instance, waiting, &mut wish));
            meanwhile(handling, &mut unconfirmed, &shop, &stats).await
        };
        usable = match handled {
            Some((step, usable)) => {
                match step {
                    Step::Done(how) => tell(&shop, &stats, sequence, how),
                    Step::Unconfirmed(rest) => unconfirmed.push(async move { (sequence, rest.await) }),
                }
                usable && shop.isolation == Isolation::Worker
            }
            None => false,
        };
    };
    while let Some((sequence, how)) = unconfirmed.next().await {
        tell(&shop, &stats, sequence, how);
    }
    result
}

/// Awaits something. Those handled before are settled, and announced, however long it takes.
async fn meanwhile<T, D>(
    mut work: Pin<&mut impl Future<Output = T>>,
    unconfirmed: &mut FuturesUnordered<impl Future<Output = (u64, Settled)>>,
    shop: &Shop<D>,
    stats: &Stats,
) -> T {
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some((sequence, how)) = unconfirmed.next(), if !unconfirmed.is_empty() => tell(shop, stats, sequence, how),
        }
    }
}

/// A newer generation passed its trial and does not start here, as under narrower limits: what runs stays.
fn keep_old(instance: &impl Handler, fault: &Fault) {
    let Author { plugin, generation } = instance.author();
    tracing::warn!(%plugin, %generation, problem = %fault, "the newest generation does not start here; the one before goes on");
}

fn tell<D>(shop: &Shop<D>, stats: &Stats, stream_sequence: u64, how: Settled) {
    stats.settled(how);
    if how != Settled::Acked {
        let workload = shop.workload.clone();
        shop.observer.tell(Event::Failed { workload, stream_sequence, dead: how == Settled::Dead });
    }
}

/// Handles one delivery: what remains to be awaited, and whether the instance can be used again. `None` if the
/// delivery was given back.
async fn handle<D: Held, I: Handler>(
    shop: &Shop<D>,
    stats: &Stats,
    instance: &mut I,
    waiting: Waiting<D>,
    wish: &mut tokio::sync::watch::Receiver<Wish>,
) -> Option<(Step, bool)> {
    let Waiting { held, since } = waiting;
    let rules = &shop.rules;
    if held.delivery().attempt > 1 {
        stats.redelivered.fetch_add(1, Relaxed);
    }
    if let Some(death) = triage(held.delivery().attempt, &rules.retry) {
        let how = Box::pin(bury(held, since, death, instance.author(), rules)).await;
        return Some((Step::Done(how), true));
    }
    let start = Instant::now();
    stats.handling.store(true, Relaxed);
    let outcome = tokio::select! {
        biased;
        outcome = keep(&held, since, rules.ack_wait, instance.handle(held.delivery())) => Some(outcome),
        _ = wish.wait_for(|wish| *wish == Wish::GiveBack) => None,
    };
    stats.handling.store(false, Relaxed);
    let time = start.elapsed();
    shop.inbox.took(time);
    stats.busy_ns.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    let Some(outcome) = outcome else {
        let stream_sequence = held.delivery().stream_sequence;
        tracing::info!(stream_sequence, "given back: not finished within the grace time");
        held.nak(Duration::ZERO).await;
        return None;
    };
    stats.handled.fetch_add(1, Relaxed);
    let usable = outcome.is_ok();
    if !matches!(outcome, Ok(Ok(_))) {
        stats.failed.fetch_add(1, Relaxed);
    }
    Some((settle(held, outcome, instance.author(), rules).await, usable))
}
