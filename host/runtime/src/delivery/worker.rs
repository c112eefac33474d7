//! A worker: takes deliveries, calls its handler instance, settles.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::conditions::Conditions;
use crate::config::{Batching, Isolation};
use crate::contract::Author;
use crate::contract::{Answer, Cause, Failure, Fault, Outcome};
use crate::delivery::attempts::Untried;
use crate::delivery::counters::Stats;
use crate::delivery::hops;
use crate::delivery::inbox::{Company, Inbox, Waiting};
use crate::delivery::keep::keep;
use crate::delivery::pending_publications::PendingPublications;
use crate::delivery::rate_limit::RateLimit;
use crate::delivery::settle::{
    Answerer, Remaining, Rules, Settled, dead_letter, exhausted, give_back, settle, term_again,
};
use crate::delivery::slow_lane::Call;
use crate::delivery::start_limits::{Permit, Told};
use crate::delivery::{ResponseBounds, check};
use crate::events::{Event, Observer};
use crate::ports::{Handler, Handlers, Held};

mod batch;
mod concurrent;

/// What all workers of a workload share.
pub(crate) struct WorkerShared<D> {
    /// The workload's name.
    pub workload: Arc<str>,
    /// What keeps the workload from flowing.
    pub conditions: Arc<Conditions>,
    /// Where deliveries come from.
    pub inbox: Arc<Inbox<D>>,
    /// How deliveries are settled.
    pub rules: Arc<Rules>,
    /// How long an instance lives.
    pub isolation: Isolation,
    /// How many deliveries an instance that handles batches is given at once.
    pub batching: Batching,
    /// How many deliveries an instance that handles several at a time has at once.
    pub concurrency: usize,
    /// How often an instance is made anew after a call that did not end well.
    pub respawns: Arc<RateLimit>,
    /// Where events go.
    pub observer: Observer,
}

impl<D: Held> WorkerShared<D> {
    /// A worker has this instance from now on: the inbox fetches as many deliveries as that has at once, and what is
    /// counted is that of its generation.
    fn uses(&self, instance: &impl Handler, stats: &Stats) {
        stats.runs(&instance.author().generation);
        let (least, at_once) = if instance.handles_concurrently() {
            (self.concurrency, 1)
        } else if instance.handles_batches() {
            (self.batching.size, self.batching.size)
        } else {
            (1, 1)
        };
        self.inbox.set_least(least, at_once);
    }

    /// Lets the instance that was made take the place of the old one, which goes on if the new one does not start.
    /// `false` if there was no room for both.
    fn take_the_place<I: Handler>(&self, instance: &mut I, made: Result<I, Fault>, stats: &Stats) -> bool {
        match made {
            Ok(made) => {
                self.uses(&made, stats);
                *instance = made;
            }
            Err(Fault::Room(_)) => return false,
            Err(fault) => keep_old(instance, &fault),
        }
        true
    }
}

/// What the supervisor wants of a worker. A later one is stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WorkerMode {
    /// Go on.
    Work,
    /// Finish the deliveries at hand, then end.
    Drain,
    /// Give back the deliveries at hand, then end.
    GiveBack,
}

/// A loop that owns one handler instance.
pub(crate) struct Worker<D, H> {
    id: u64,
    shared: Arc<WorkerShared<D>>,
    handlers: H,
    stats: Arc<Stats>,
    mode: watch::Receiver<WorkerMode>,
    settlements: Settlements<D>,
    /// When the rate limit lets the next instance be made; `None` if it may be made now.
    respawn_at: Option<Instant>,
}

/// A place for the instance of a worker.
struct Slot<I> {
    instance: Option<I>,
    /// Whether it may handle another delivery.
    usable: bool,
}

impl<D: Held, H: Handlers> Worker<D, H> {
    /// A worker that takes nothing before [`Worker::run`].
    pub(crate) fn new(
        id: u64,
        shared: Arc<WorkerShared<D>>,
        handlers: H,
        stats: Arc<Stats>,
        mode: watch::Receiver<WorkerMode>,
    ) -> Self {
        let settlements =
            Settlements { shared: shared.clone(), stats: stats.clone(), pending: PendingPublications::default() };
        Self { id, shared, handlers, stats, mode, settlements, respawn_at: None }
    }

    /// Runs until the mode is not [`WorkerMode::Work`], or an instance cannot be made. It begins with `first`.
    ///
    /// # Errors
    /// The fault that kept an instance from starting. No delivery is held then.
    pub(crate) async fn run(mut self, first: H::Instance) -> Result<(), Fault> {
        self.shared.uses(&first, &self.stats);
        let result = self.work(Slot { instance: Some(first), usable: true }).await;
        self.settlements.finish().await;
        result
    }

    async fn work(&mut self, mut slot: Slot<H::Instance>) -> Result<(), Fault> {
        loop {
            self.settlements.make_room().await;
            if *self.mode.borrow() > WorkerMode::Work {
                return Ok(());
            }
            if let Some(at) = self.respawn_at
                && !self.may_respawn(at).await
            {
                continue;
            }
            if !slot.usable || self.handlers.is_newer() {
                self.renew(&mut slot).await?;
            }
            let Some(instance) = slot.instance.as_mut().filter(|_| slot.usable) else { continue };
            let waiting = match self.take_now() {
                Some(waiting) => waiting,
                None => match self.take().await {
                    Some(waiting) => waiting,
                    None => continue,
                },
            };
            let takes_several = self.shared.batching.size > 1 && instance.handles_batches();
            if !takes_several {
                self.shared.inbox.pass_on();
            }
            slot.usable = if instance.handles_concurrently() {
                Box::pin(self.handle_concurrently(instance, waiting)).await
            } else if takes_several {
                Box::pin(self.handle_batch(instance, waiting)).await
            } else {
                pin!(self.handle(instance, waiting)).await
            };
        }
    }

    /// Waits until an instance may be made anew. `false` if the mode changed or a delivery was settled first.
    async fn may_respawn(&mut self, at: Instant) -> bool {
        tokio::select! {
            biased;
            _ = self.mode.changed() => false,
            () = self.settlements.next() => false,
            () = sleep_until(at) => {
                self.respawn_at = None;
                true
            }
        }
    }

    /// Makes the next instance. An old instance that can still be used is kept until the new one is there, and is kept
    /// if the new one does not start. Where there is no room for both, the old instance is dropped first.
    async fn renew(&mut self, slot: &mut Slot<H::Instance>) -> Result<(), Fault> {
        if !slot.usable {
            // Its room is needed for the next instance.
            slot.instance = None;
        }
        match (self.settlements.meanwhile(pin!(self.handlers.instantiate(self.id))).await, &slot.instance) {
            (Ok(made), _) => {
                self.shared.uses(&made, &self.stats);
                *slot = Slot { instance: Some(made), usable: true };
            }
            (Err(Fault::Room(_)), Some(_)) => slot.usable = false,
            (Err(fault), Some(instance)) => keep_old(instance, &fault),
            (Err(fault), None) => return Err(fault),
        }
        Ok(())
    }

    /// Takes a delivery that is there already.
    fn take_now(&self) -> Option<Waiting<D>> {
        if self.settlements.pending.is_empty() { self.shared.inbox.try_take() } else { None }
    }

    /// Waits for a delivery. `None` if the mode or the generation changed, or a delivery was settled, first.
    async fn take(&mut self) -> Option<Waiting<D>> {
        tokio::select! {
            biased;
            _ = self.mode.changed() => None,
            () = self.settlements.next() => None,
            waiting = self.shared.inbox.take() => Some(waiting),
            () = self.handlers.newer() => None,
        }
    }

    /// Handles one delivery. Returns whether the instance may handle another.
    async fn handle(&mut self, instance: &mut H::Instance, mut waiting: Waiting<D>) -> bool {
        // A newer generation may have come since the last check.
        let outdated = self.handlers.is_newer() && !self.swap(instance, &mut waiting).await;
        let sequence = waiting.held.delivery().stream_sequence;
        let handling = pin!(handle(&self.shared, &self.stats, instance, waiting, &mut self.mode));
        let Some((step, well)) = self.settlements.meanwhile(handling).await else { return false };
        match step {
            Remaining::Done(how) => self.settlements.record(sequence, how),
            Remaining::Unconfirmed(bytes, rest) => self.settlements.pending.push(sequence, bytes, rest),
        }
        if !well {
            self.respawn_at = hold_back(&self.shared);
        }
        well && self.shared.isolation == Isolation::Worker && !outdated
    }

    /// Makes an instance of the newest generation for a delivery that is taken already. `false` if there is no room for
    /// both instances: then the old instance handles this delivery, and is dropped after it.
    async fn swap(&mut self, instance: &mut H::Instance, waiting: &mut Waiting<D>) -> bool {
        let Waiting { held, since, .. } = waiting;
        let making = pin!(self.handlers.instantiate(self.id));
        let made = keep(held, since, &self.shared.rules.consumer, making);
        let made = self.settlements.meanwhile(pin!(made)).await;
        self.shared.take_the_place(instance, made, &self.stats)
    }
}

/// The deliveries that a worker has handled: counts what became of them, and keeps those that wait for their
/// publications.
struct Settlements<D> {
    shared: Arc<WorkerShared<D>>,
    stats: Arc<Stats>,
    pending: PendingPublications,
}

impl<D> Settlements<D> {
    /// Waits until the worker may take another delivery.
    async fn make_room(&mut self) {
        while self.pending.is_full() {
            self.next().await;
        }
    }

    /// Waits until no delivery waits for its publications.
    async fn finish(&mut self) {
        while !self.pending.is_empty() {
            self.next().await;
        }
    }

    /// Waits until a delivery that waits for its publications is settled; for ever if none waits. Cancel-safe.
    async fn next(&mut self) {
        if self.pending.is_empty() {
            return std::future::pending().await;
        }
        if let Some((sequence, how)) = self.pending.next().await {
            self.record(sequence, how);
        }
    }

    /// Awaits something. Meanwhile deliveries that were handled before are settled and announced, however long it
    /// takes.
    async fn meanwhile<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.next() => {}
            }
        }
    }

    fn record(&self, stream_sequence: u64, how: Settled) {
        self.stats.settled(how);
        if !matches!(how, Settled::Acked | Settled::GivenBack | Settled::DeadBefore) {
            let workload = self.shared.workload.clone();
            self.shared.observer.tell(Event::Failed {
                workload,
                stream_sequence,
                dead: matches!(how, Settled::Dead(_)),
            });
        }
    }
}

/// When an instance may be made anew after a call that did not end well; `None` if at once.
fn hold_back<D>(shared: &WorkerShared<D>) -> Option<Instant> {
    let now = Instant::now();
    let at = shared.respawns.next(now);
    if at <= now {
        return None;
    }
    let held = shared.respawns.held();
    // Logging each time would be a flood of its own.
    if held.is_power_of_two() {
        tracing::warn!(workload = %shared.workload, held,
            "workers wait to make an instance anew: \
            its calls end badly more often than limits.respawns allows in a second");
    }
    Some(at)
}

/// Logs that a newer generation passed its trial and does not start here, as under narrower limits. The old instance
/// stays.
fn keep_old(instance: &impl Handler, fault: &Fault) {
    let Author { plugin, generation } = instance.author();
    tracing::warn!(%plugin, %generation, problem = %fault,
        "the newest generation does not start here; the one before goes on");
}

/// Handles one delivery. Returns what remains to be awaited and whether the call ended well, so that the instance can
/// be used again; `None` if the delivery was given back.
async fn handle<D: Held, I: Handler>(
    shared: &WorkerShared<D>,
    stats: &Stats,
    instance: &mut I,
    mut waiting: Waiting<D>,
    mode: &mut watch::Receiver<WorkerMode>,
) -> Option<(Remaining, bool)> {
    let rules = &shared.rules;
    if let Some(untried) = untried(&waiting, stats, rules) {
        let how = Box::pin(settle_untried(waiting, untried, instance.author(), rules)).await;
        return Some((Remaining::Done(how), true));
    }
    let ids = instance.publication_ids();
    let Some((outcome, well)) = pin!(call(shared, stats, instance, &mut waiting, mode)).await else {
        stats.settled(give_back(waiting, rules).await);
        return None;
    };
    let give_up = move || async move {
        // An error means that the supervisor is gone.
        let _ = mode.wait_for(|mode| *mode == WorkerMode::GiveBack).await;
    };
    let by = Answerer { author: instance.author(), last_words: instance.last_words(), ids };
    Some((pin!(settle(waiting, outcome, by, rules, give_up)).await, well))
}

/// Whether the handler is called for a delivery, without a look at what is known of its message.
fn is_tried<D: Held>(held: &D, rules: &Rules) -> bool {
    held.delivery().attempt <= 1 && hops::beyond(held.delivery(), rules.max_hops).is_none()
}

/// What has to be done instead of calling the handler, if anything.
fn untried<D: Held>(waiting: &Waiting<D>, stats: &Stats, rules: &Rules) -> Option<Untried> {
    let delivery = waiting.held.delivery();
    let known = if delivery.attempt > 1 {
        // A delivery that was put back was counted before.
        if waiting.company != Company::PutBack {
            stats.redelivered();
            rules.consumer.came_back(delivery.stream_sequence);
        }
        rules.attempts.untried(delivery, &rules.retry)
    } else {
        None
    };
    known.or_else(|| hops::beyond(delivery, rules.max_hops).map(|death| Untried::DeadLetter(death, None)))
}

async fn settle_untried<D: Held>(waiting: Waiting<D>, untried: Untried, newest: &Author, rules: &Rules) -> Settled {
    match untried {
        Untried::DeadLetter(death, None) if death.cause == Cause::Exhausted => {
            exhausted(waiting, death, newest, rules).await
        }
        Untried::DeadLetter(death, author) => {
            dead_letter(waiting, death, author.as_ref().unwrap_or(newest), rules).await
        }
        Untried::Term(kept) => term_again(waiting, kept, rules).await,
    }
}

/// Calls the handler, and keeps the delivery announced meanwhile. Returns the outcome and whether the call ended well;
/// `None` if the delivery has to be given back before the call has ended.
async fn call<D: Held, I: Handler>(
    shared: &WorkerShared<D>,
    stats: &Stats,
    instance: &mut I,
    Waiting { held, since, permit, .. }: &mut Waiting<D>,
    mode: &mut watch::Receiver<WorkerMode>,
) -> Option<(Outcome, bool)> {
    held.call_begins();
    Permit::begin(permit.iter_mut());
    let call = Call::begin();
    let start = Instant::now();
    stats.call_begins(start);
    let (outcome, waited) = {
        let handling = pin!(instance.handle(held.delivery()));
        unless_given_back(keep(held, since, &shared.rules.consumer, handling), mode).await
    };
    let time = start.elapsed();
    stats.call_ended(time);
    if !waited {
        call.make_way(time).await;
    }
    shared.inbox.took(time);
    let outcome = outcome?;
    let well = outcome.is_ok();
    let outcome = checked(outcome, &shared.rules.bounds);
    held.call_ended(failure(&outcome), instance.author());
    stats.handled(time, matches!(outcome, Ok(Ok(_))));
    if let Err(fault) = &outcome {
        stats.faulted(fault.kind());
    }
    if let Some(permit) = permit.take() {
        permit.ended(Told::by(&outcome));
    }
    Some((outcome, well))
}

/// Awaits a call, unless its deliveries have to be given back first: then there is no outcome. Tells also whether it
/// had to wait: most calls are done at their first poll.
async fn unless_given_back<T>(
    call: impl Future<Output = T>,
    mode: &mut watch::Receiver<WorkerMode>,
) -> (Option<T>, bool) {
    let mut waited = false;
    let outcome = tokio::select! {
        biased;
        outcome = call => Some(outcome),
        // Not polled if the call is done at its first poll.
        _ = async { waited = true; mode.wait_for(|mode| *mode == WorkerMode::GiveBack).await } => None,
    };
    (outcome, waited)
}

/// What kind of failure an outcome is, for a trace.
fn failure(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Ok(answer) => refusal(answer),
        Err(fault) => Some(fault.kind().as_str()),
    }
}

fn refusal(answer: &Answer) -> Option<&'static str> {
    match answer {
        Ok(_) => None,
        Err(Failure::Retry(_) | Failure::Failed(_)) => Some("retry"),
        Err(Failure::Reject(_)) => Some("reject"),
    }
}

/// Makes a fault of an answer that cannot be carried out.
fn checked(outcome: Outcome, bounds: &ResponseBounds) -> Outcome {
    let answer = outcome?;
    if let Ok(response) = &answer {
        check(response, bounds)?;
    }
    Ok(answer)
}
