//! Several calls of one instance at a time: begins them as deliveries come, and settles each by its own answer.
//!
//! An instance that ends does not say which of its calls is to blame. So the deliveries that were in them go back to
//! the inbox, as those of a batch that failed do. Each then gets a call with no other beside it, and that call's
//! outcome is the delivery's.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::{Worker, WorkerMode, WorkerShared, checked, failure, hold_back, settle_untried, untried};
use crate::config::Isolation;
use crate::contract::{Answer, Author, Fault, Outcome};
use crate::delivery::attempts::key;
use crate::delivery::counters::Stats;
use crate::delivery::inbox::{BatchRoom, Company, Waiting};
use crate::delivery::keep::keep;
use crate::delivery::settle::{Answerer, Remaining, give_back, settle};
use crate::delivery::start_limits::{Permit, Told};
use crate::ports::{ConcurrentCall, Handler, Handlers, Held, PublicationIds};

/// How the calls of an instance ended.
enum End {
    /// All have been answered, and nothing more is to be taken.
    Answered,
    /// The deliveries have to be given back.
    GiveBack,
    /// The instance has ended.
    Fault(Fault),
}

/// A delivery whose call has ended: with an answer, or with its instance.
struct Ended<D> {
    waiting: Waiting<D>,
    began: Instant,
    answer: Option<Answer>,
}

/// The calls of one instance, and the deliveries that were answered and are not settled yet.
struct Calls<D> {
    shared: Arc<WorkerShared<D>>,
    stats: Arc<Stats>,
    mode: watch::Receiver<WorkerMode>,
    author: Author,
    begin: UnboundedSender<ConcurrentCall>,
    running: FuturesUnordered<BoxFuture<'static, Ended<D>>>,
    /// Deliveries whose calls have ended with their instance, and how long these have run.
    lost: Vec<(Waiting<D>, Duration)>,
    settling: FuturesUnordered<BoxFuture<'static, (u64, Remaining)>>,
    /// When a call last began while none ran, or ended.
    since: Instant,
}

impl<D: Held> Calls<D> {
    fn len(&self) -> usize {
        self.running.len() + self.settling.len()
    }

    /// Begins the call of a delivery, unless the handler must not be called with it.
    fn begin(&mut self, mut waiting: Waiting<D>) {
        if let Some(untried) = untried(&waiting, &self.stats, &self.shared.rules) {
            let (rules, author) = (self.shared.rules.clone(), self.author.clone());
            let sequence = waiting.held.delivery().stream_sequence;
            self.settling.push(Box::pin(async move {
                (sequence, Remaining::Done(settle_untried(waiting, untried, &author, &rules).await))
            }));
            return;
        }
        waiting.held.call_begins();
        Permit::begin(&mut waiting.permit);
        let (answer, answered) = oneshot::channel();
        // An error means that the instance has ended. Then the call ends without an answer.
        let _ = self.begin.send(ConcurrentCall { delivery: waiting.held.delivery().clone(), answer });
        let (rules, began) = (self.shared.rules.clone(), Instant::now());
        self.running.push(Box::pin(async move {
            let mut waiting = waiting;
            let Waiting { held, since, .. } = &mut waiting;
            let answer = keep(held, since, &rules.consumer, pin!(answered)).await.ok();
            Ended { waiting, began, answer }
        }));
        if self.running.len() == 1 {
            self.since = began;
        }
        self.stats.calls_now(self.running.len(), began);
    }

    /// Notes that a call has ended, and settles its delivery if there is an answer.
    fn end(&mut self, Ended { waiting, began, answer }: Ended<D>) {
        let now = Instant::now();
        self.stats.calls_now(self.running.len(), now);
        self.shared.inbox.took(now - self.since);
        self.since = now;
        match answer {
            Some(answer) => {
                self.stats.handled(now - began, answer.is_ok());
                self.settle(waiting, Ok(answer), String::new());
            }
            None => self.lost.push((waiting, now - began)),
        }
    }

    /// Settles a delivery by the outcome of its call.
    fn settle(&mut self, mut waiting: Waiting<D>, outcome: Outcome, last_words: String) {
        let outcome = checked(outcome, &self.shared.rules.bounds);
        waiting.held.call_ended(failure(&outcome), &self.author);
        if let Err(fault) = &outcome {
            self.stats.faulted(fault.kind());
        }
        if let Some(permit) = waiting.permit.take() {
            permit.ended(Told::by(&outcome));
        }
        let (rules, author, mut mode) = (self.shared.rules.clone(), self.author.clone(), self.mode.clone());
        let sequence = waiting.held.delivery().stream_sequence;
        let give_up = move || async move {
            // An error means that the supervisor is gone.
            let _ = mode.wait_for(|mode| *mode == WorkerMode::GiveBack).await;
        };
        self.settling.push(Box::pin(async move {
            let by = Answerer { author: &author, last_words: &last_words, ids: PublicationIds::OfPlace };
            (sequence, settle(waiting, outcome, by, &rules, give_up).await)
        }));
    }

    /// Gives a delivery back to the server.
    fn give_back(&mut self, waiting: Waiting<D>) {
        let (rules, sequence) = (self.shared.rules.clone(), waiting.held.delivery().stream_sequence);
        self.settling.push(Box::pin(async move { (sequence, Remaining::Done(give_back(waiting, &rules).await)) }));
    }

    /// Ends all calls: their instance has ended. Those that were answered in the same moment are settled. Returns the
    /// deliveries of the others, and whether there was only one call.
    async fn end_all(&mut self) -> (Vec<(Waiting<D>, Duration)>, bool) {
        let only = self.running.len() + self.lost.len() == 1;
        while let Some(ended) = self.running.next().await {
            self.end(ended);
        }
        (std::mem::take(&mut self.lost), only)
    }
}

impl<D: Held, H: Handlers> Worker<D, H> {
    /// Handles deliveries beginning with this one, several at a time, until there is none. Returns whether the instance
    /// may handle another.
    pub(super) async fn handle_concurrently(&mut self, instance: &mut H::Instance, mut first: Waiting<D>) -> bool {
        // A newer generation may have come since the last check.
        let outdated = self.handlers.is_newer() && !self.swap(instance, &mut first).await;
        if !instance.handles_concurrently() {
            return Box::pin(self.handle(instance, first)).await && !outdated;
        }
        let alone = first.company != Company::Any || self.shared.isolation == Isolation::Message;
        let most = if alone { 1 } else { self.shared.concurrency };
        let (begin, coming) = unbounded_channel();
        let mut calls = Calls {
            shared: self.shared.clone(),
            stats: self.stats.clone(),
            mode: self.mode.clone(),
            author: instance.author().clone(),
            begin,
            running: FuturesUnordered::new(),
            lost: Vec::new(),
            settling: FuturesUnordered::new(),
            since: Instant::now(),
        };
        calls.begin(first);
        let mut running = Box::pin(instance.run(coming));
        let mut end = self.run_calls(&mut calls, running.as_mut(), most, alone || outdated).await;
        if matches!(end, End::Answered) {
            // No call can come any more and none runs, so this ends at once.
            calls.begin = unbounded_channel().0;
            if let Err(fault) = running.await {
                end = End::Fault(fault);
            }
        } else {
            drop(running);
        }
        let (lost, only) = calls.end_all().await;
        let well = matches!(end, End::Answered);
        match end {
            End::Answered => {}
            End::GiveBack => lost.into_iter().for_each(|(waiting, _)| calls.give_back(waiting)),
            End::Fault(fault) => {
                self.respawn_at = hold_back(&self.shared);
                self.after_fault(&mut calls, lost, only, &fault, instance.last_words().to_owned());
            }
        }
        loop {
            let settled = self.settlements.meanwhile(pin!(calls.settling.next())).await;
            let Some((sequence, step)) = settled else { break };
            self.settled(sequence, step);
        }
        well && self.shared.isolation == Isolation::Worker && !outdated
    }

    /// Begins calls as deliveries come and settles those that are answered, until there is nothing to do, the instance
    /// ends, or the deliveries have to be given back. Where `last`, none is taken.
    async fn run_calls(
        &mut self,
        calls: &mut Calls<D>,
        mut running: Pin<&mut impl Future<Output = Result<(), Fault>>>,
        most: usize,
        mut last: bool,
    ) -> End {
        let mut supervised = true;
        while calls.len() > 0 {
            let free = if last || self.settlements.pending.is_full() { 0 } else { most.saturating_sub(calls.len()) };
            tokio::select! {
                biased;
                changed = self.mode.changed(), if supervised => {
                    supervised = changed.is_ok();
                    last |= *self.mode.borrow() > WorkerMode::Work;
                    if *self.mode.borrow() == WorkerMode::GiveBack {
                        return End::GiveBack;
                    }
                }
                Some(ended) = calls.running.next() => calls.end(ended),
                // The guest runs only while a call of it does.
                ended = &mut running, if !calls.running.is_empty() => {
                    return End::Fault(ended.err().unwrap_or_else(|| Fault::Start("it ended by itself".into())));
                }
                Some((sequence, step)) = calls.settling.next() => self.settled(sequence, step),
                () = self.settlements.next() => {}
                // Before more is taken: what comes next is the newer one's.
                () = self.handlers.newer(), if !last => last = true,
                (more, full) = self.shared.inbox.take_more(BatchRoom { deliveries: free, bytes: usize::MAX }),
                    if free > 0 =>
                {
                    // What waits next must have no other beside it.
                    last = more.is_empty() && full;
                    more.into_iter().for_each(|waiting| calls.begin(waiting));
                }
            }
        }
        End::Answered
    }

    fn settled(&mut self, sequence: u64, step: Remaining) {
        match step {
            Remaining::Done(how) => self.settlements.record(sequence, how),
            Remaining::Unconfirmed(bytes, rest) => self.settlements.pending.push(sequence, bytes, rest),
        }
    }

    /// Settles the delivery that is to blame for the end of its instance, or puts back those of which one is.
    fn after_fault(
        &mut self,
        calls: &mut Calls<D>,
        mut lost: Vec<(Waiting<D>, Duration)>,
        only: bool,
        fault: &Fault,
        last_words: String,
    ) {
        lost.iter().for_each(|(_, took)| self.stats.handled(*took, false));
        if only && let Some((waiting, _)) = lost.pop() {
            self.shared.rules.attempts.suspect(key(waiting.held.delivery()));
            calls.settle(waiting, Err(fault.clone()), last_words);
            return;
        }
        self.stats.faulted(fault.kind());
        let Author { plugin, generation } = &calls.author;
        if lost.is_empty() {
            tracing::warn!(%plugin, %generation, problem = %fault,
                "an instance failed after it had answered all of its deliveries; it is made anew");
            return;
        }
        self.stats.failed_together(lost.len());
        for permit in lost.iter_mut().filter_map(|(waiting, _)| waiting.permit.take()) {
            permit.ended(Told::by_fault(fault));
        }
        let lost: Vec<_> = lost.into_iter().map(|(waiting, _)| waiting).collect();
        tracing::warn!(%plugin, %generation, deliveries = lost.len(), problem = %fault,
            "an instance failed with several deliveries; each of them is tried by itself, without a new attempt");
        let left = self.shared.inbox.put_back(lost);
        left.into_iter().for_each(|waiting| calls.give_back(waiting));
    }
}
