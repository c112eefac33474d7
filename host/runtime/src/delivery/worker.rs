//! Takes deliveries, calls its handler instance, settles.

use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use crate::config::Isolation;
use crate::delivery::attempts::Before;
use crate::delivery::inbox::{Inbox, Waiting};
use crate::delivery::pending_publications::Unconfirmed;
use crate::delivery::rate_limit::Pace;
use crate::delivery::settle::{Rules, Settled, Step, bury, give_back, keep, settle, term_again};
use crate::delivery::slow_lane::Call;
use crate::delivery::{Bounds, Fault, Outcome, check};
use crate::events::{Event, Observer};
use crate::ports::{Author, Handler, Handlers, Held};
use crate::status::conditions::Conditions;
use crate::status::counters::Stats;

/// What all workers of a workload share.
pub struct Shop<D> {
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
    /// How often an instance is made anew after a call that did not end well.
    pub respawns: Arc<Pace>,
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

/// Runs with its first instance until it is told to end, or until no other can be made.
///
/// # Errors
/// The fault that kept an instance from starting. No delivery is held then.
pub async fn run<D: Held, H: Handlers>(
    id: u64,
    shop: Arc<Shop<D>>,
    mut handlers: H,
    instance: H::Instance,
    stats: Arc<Stats>,
    mut wish: tokio::sync::watch::Receiver<Wish>,
) -> Result<(), Fault> {
    let mut instance = Some(instance);
    let mut usable = true;
    let mut respawn_at = None;
    let mut unconfirmed = Unconfirmed::default();
    let result = loop {
        while unconfirmed.is_full() {
            if let Some((sequence, how)) = unconfirmed.next().await {
                tell(&shop, &stats, sequence, how);
            }
        }
        if *wish.borrow() > Wish::Work {
            break Ok(());
        }
        if let Some(at) = respawn_at {
            tokio::select! {
                biased;
                _ = wish.changed() => continue,
                Some((sequence, how)) = unconfirmed.next(), if !unconfirmed.is_empty() => {
                    tell(&shop, &stats, sequence, how);
                    continue;
                }
                () = sleep_until(at) => respawn_at = None,
            }
        }
        if !usable || handlers.is_newer() {
            if !usable {
                // The room that it has is for the next.
                instance = None;
            }
            match meanwhile(pin!(handlers.instantiate(id)), &mut unconfirmed, &shop, &stats).await {
                Ok(made) => (instance, usable) = (Some(made), true),
                Err(Fault::Room(_)) if usable => {
                    // Both do not fit at once.
                    usable = false;
                    continue;
                }
                Err(fault) if usable => instance.iter().for_each(|instance| keep_old(instance, &fault)),
                Err(fault) => break Err(fault),
            }
        }
        let Some(owned) = &mut instance else {
            usable = false;
            continue;
        };
        let mut outdated = false;
        let at_once = if unconfirmed.is_empty() { shop.inbox.try_take() } else { None };
        let mut waiting = match at_once {
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
            let Waiting { held, since } = &mut waiting;
            let made = keep(held, since, &shop.rules.consumer, handlers.instantiate(id));
            match meanwhile(pin!(made), &mut unconfirmed, &shop, &stats).await {
                Ok(made) => *owned = made,
                // It has this message, and then makes room.
                Err(Fault::Room(_)) => outdated = true,
                Err(fault) => keep_old(owned, &fault),
            }
        }
        let sequence = waiting.held.delivery().stream_sequence;
        let handled = {
            let handling = pin!(handle(&shop, &stats, owned, waiting, &mut wish));
            meanwhile(handling, &mut unconfirmed, &shop, &stats).await
        };
        let Some((step, well)) = handled else {
            usable = false;
            continue;
        };
        match step {
            Step::Done(how) => tell(&shop, &stats, sequence, how),
            Step::Unconfirmed(bytes, rest) => unconfirmed.push(sequence, bytes, rest),
        }
        usable = well && shop.isolation == Isolation::Worker && !outdated;
        if !well {
            respawn_at = hold_back(&shop);
        }
    };
    while let Some((sequence, how)) = unconfirmed.next().await {
        tell(&shop, &stats, sequence, how);
    }
    result
}

/// Awaits something. Those handled before are settled, and announced, however long it takes.
async fn meanwhile<T, D>(
    mut work: Pin<&mut impl Future<Output = T>>,
    unconfirmed: &mut Unconfirmed,
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

/// When an instance may be made anew after a call that did not end well, if that is not at once.
fn hold_back<D>(shop: &Shop<D>) -> Option<Instant> {
    let now = Instant::now();
    let at = shop.respawns.next(now);
    if at <= now {
        return None;
    }
    let held = shop.respawns.held();
    // Each time would be a flood of its own.
    if held.is_power_of_two() {
        tracing::warn!(workload = %shop.workload, held,
            "workers wait to make an instance anew: its calls end badly more often than limits.respawns allows in a second");
    }
    Some(at)
}

/// A newer generation passed its trial and does not start here, as under narrower limits: what runs stays.
fn keep_old(instance: &impl Handler, fault: &Fault) {
    let Author { plugin, generation } = instance.author();
    tracing::warn!(%plugin, %generation, problem = %fault, "the newest generation does not start here; the one before goes on");
}

fn tell<D>(shop: &Shop<D>, stats: &Stats, stream_sequence: u64, how: Settled) {
    stats.settled(how);
    if !matches!(how, Settled::Acked | Settled::GivenBack | Settled::DeadBefore) {
        let workload = shop.workload.clone();
        shop.observer.tell(Event::Failed { workload, stream_sequence, dead: matches!(how, Settled::Dead(_)) });
    }
}

/// Handles one delivery: what remains to be awaited, and whether the call ended well, so that the instance can be used
/// again. `None` if the delivery was given back.
async fn handle<D: Held, I: Handler>(
    shop: &Shop<D>,
    stats: &Stats,
    instance: &mut I,
    waiting: Waiting<D>,
    wish: &mut tokio::sync::watch::Receiver<Wish>,
) -> Option<(Step, bool)> {
    let rules = &shop.rules;
    if waiting.held.delivery().attempt > 1 {
        stats.redelivered();
        rules.consumer.came_back(waiting.held.delivery().stream_sequence);
        match rules.attempts.before(waiting.held.delivery(), &rules.retry) {
            Before::Try => {}
            Before::Bury(death, author) => {
                let author = author.as_ref().unwrap_or(instance.author());
                let how = Box::pin(bury(waiting, death, author, rules)).await;
                return Some((Step::Done(how), true));
            }
            Before::Term(kept) => return Some((Step::Done(term_again(waiting, kept).await), true)),
        }
    }
    let Waiting { held, mut since } = waiting;
    let call = Call::begin();
    let start = Instant::now();
    stats.call_begins(start);
    let mut waited = false;
    let outcome = tokio::select! {
        biased;
        outcome = keep(&held, &mut since, &rules.consumer, instance.handle(held.delivery())) => Some(outcome),
        // Not polled where the call is done at once.
        _ = async { waited = true; wish.wait_for(|wish| *wish == Wish::GiveBack).await } => None,
    };
    let time = start.elapsed();
    stats.call_ended(time);
    if !waited {
        call.make_way(time).await;
    }
    shop.inbox.took(time);
    let Some(outcome) = outcome else {
        stats.settled(give_back(Waiting { held, since }, rules).await);
        return None;
    };
    let well = outcome.is_ok();
    let outcome = checked(outcome, &rules.bounds);
    stats.handled(time, matches!(outcome, Ok(Ok(_))));
    if let Err(fault) = &outcome {
        stats.faulted(fault.kind());
    }
    let give_up = move || async move {
        // An error means that nobody wants anything of this worker any more.
        let _ = wish.wait_for(|wish| *wish == Wish::GiveBack).await;
    };
    Some((settle(Waiting { held, since }, outcome, instance.author(), rules, give_up).await, well))
}

/// An answer that cannot be carried out is a fault.
fn checked(outcome: Outcome, bounds: &Bounds) -> Outcome {
    let answer = outcome?;
    if let Ok(response) = &answer {
        check(response, bounds)?;
    }
    Ok(answer)
}
