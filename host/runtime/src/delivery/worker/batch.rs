//! Several deliveries in one call: collects them, calls, and settles each by its own answer.
//!
//! A call that fails does not say which delivery is to blame. So the deliveries of a batch that failed go back to the
//! inbox. Each then gets a call of its own, by this worker or another, and that call's outcome is the delivery's. No
//! attempt is used up in between, because nothing was settled.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Worker, WorkerMode, checked, hold_back, is_tried, refusal, settle_untried, unless_given_back, untried};
use crate::config::Isolation;
use crate::contract::{Answer, Author, Delivery, Fault, Outcome, Response};
use crate::delivery::attempts::key;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::inbox::{BatchRoom, Company, Turn, Waiting};
use crate::delivery::keep::keep_all;
use crate::delivery::settle::{Answerer, Remaining, Settled, give_back, settle, settle_after};
use crate::delivery::slow_lane::Call;
use crate::delivery::start_limits::{Permit, Told};
use crate::ports::{Handler, Handlers, Held, PublicationIds};

/// Deliveries that are in one call, or wait for it to begin.
struct Batch<D> {
    held: Vec<D>,
    since: Vec<Instant>,
    company: Vec<Company>,
    turns: Vec<Option<Box<Turn<D>>>>,
    permits: Vec<Option<Permit>>,
}

impl<D: Held> Batch<D> {
    fn of(waiting: Vec<Waiting<D>>) -> Self {
        let mut batch = Self::empty();
        batch.add(waiting);
        batch
    }

    fn empty() -> Self {
        Self { held: Vec::new(), since: Vec::new(), company: Vec::new(), turns: Vec::new(), permits: Vec::new() }
    }

    fn add(&mut self, more: Vec<Waiting<D>>) {
        self.held.reserve(more.len());
        self.since.reserve(more.len());
        self.company.reserve(more.len());
        self.turns.reserve(more.len());
        self.permits.reserve(more.len());
        more.into_iter().for_each(|waiting| self.push(waiting));
    }

    fn push(&mut self, Waiting { held, since, company, turn, permit }: Waiting<D>) {
        self.held.push(held);
        self.since.push(since);
        self.company.push(company);
        self.turns.push(turn);
        self.permits.push(permit);
    }

    /// Takes the last delivery.
    fn pop(&mut self) -> Option<Waiting<D>> {
        let (held, since, company) = (self.held.pop()?, self.since.pop()?, self.company.pop()?);
        Some(Waiting { held, since, company, turn: self.turns.pop()?, permit: self.permits.pop()? })
    }

    fn into_waiting(self) -> Vec<Waiting<D>> {
        let all = self.held.into_iter().zip(self.since).zip(self.company).zip(self.turns).zip(self.permits);
        all.map(|((((held, since), company), turn), permit)| Waiting { held, since, company, turn, permit }).collect()
    }

    /// The same batch in reverse order.
    fn reversed(mut self) -> Self {
        self.held.reverse();
        self.since.reverse();
        self.company.reverse();
        self.turns.reverse();
        self.permits.reverse();
        self
    }

    fn len(&self) -> usize {
        self.held.len()
    }

    fn bytes(&self) -> usize {
        self.held.iter().map(|held| held.delivery().size()).sum()
    }

    /// The call of all has ended as told. Where starts are not limited, there is nothing to do.
    fn ended(&mut self, called: &Result<Vec<Answer>, Fault>) {
        for (index, permit) in self.permits.iter_mut().enumerate() {
            let Some(permit) = permit.take() else { continue };
            permit.ended(match called {
                Ok(answers) => answers.get(index).map_or(Told::Nothing, Told::by_answer),
                Err(fault) => Told::by_fault(fault),
            });
        }
    }

    /// Awaits something that does not need the deliveries, and keeps all of them announced.
    fn keep<T>(&mut self, consumer: &Effective, work: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = T> {
        keep_all(&self.held, &mut self.since, consumer, work)
    }
}

/// Whether all publications of a batch are stored. The value is for how many responses that is not known yet, and
/// whether a publication of one is known not to be stored.
#[derive(Clone)]
struct Stored(Arc<watch::Sender<(usize, bool)>>);

impl Stored {
    fn of(responses: usize) -> Self {
        Self(Arc::new(watch::Sender::new((responses, false))))
    }

    /// Notes how a delivery with publications ended.
    fn settled(&self, how: Settled) {
        self.0.send_modify(|(left, missing)| {
            *left = left.saturating_sub(1);
            *missing |= how != Settled::Acked;
        });
    }

    /// Waits until it is known whether all publications are stored.
    async fn all(self) -> bool {
        let mut known = self.0.subscribe();
        let known = known.wait_for(|(left, missing)| *left == 0 || *missing).await;
        known.is_ok_and(|known| !known.1)
    }
}

/// Whether an answer has publications, whatever becomes of them.
fn publishes(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|response| !response.publications.is_empty())
}

impl<D: Held, H: Handlers> Worker<D, H> {
    /// Handles a batch that begins with this delivery. Returns whether the instance may handle another.
    pub(super) async fn handle_batch(&mut self, instance: &mut H::Instance, first: Waiting<D>) -> bool {
        let batch = self.collect(first).await;
        self.shared.inbox.pass_on();
        let mut batch = self.untried(batch, instance.author()).await;
        if batch.len() == 0 {
            return true;
        }
        // A newer generation may have come since the last check, which may be long ago.
        let outdated = self.handlers.is_newer() && !self.swap_for(instance, &mut batch).await;
        if !instance.handles_batches() {
            // The newest generation does not handle batches. It is given the deliveries one by one.
            self.put_back(batch).await;
            return !outdated;
        }
        let Some(called) = self.call_batch(instance, &mut batch).await else {
            self.give_all_back(batch).await;
            return false;
        };
        let well = called.is_ok();
        if !well {
            self.respawn_at = hold_back(&self.shared);
        }
        let author = instance.author().clone();
        let by = Answerer { author: &author, last_words: instance.last_words(), ids: PublicationIds::OfContent };
        match called {
            Ok(answers) => self.settle_batch(batch, answers, by).await,
            Err(fault) if batch.len() == 1 => self.settle_alone(batch, fault, by).await,
            Err(fault) => {
                tracing::warn!(plugin = %author.plugin, generation = %author.generation,
                    deliveries = batch.len(), problem = %fault,
                    "a batch failed; each of its deliveries is tried by itself, without a new attempt");
                self.put_back(batch).await;
            }
        }
        well && self.shared.isolation == Isolation::Worker && !outdated
    }

    /// Collects a batch that begins with this delivery: takes what fits, and waits for more as long as `batching.wait`
    /// allows.
    async fn collect(&mut self, first: Waiting<D>) -> Batch<D> {
        let (shared, limits) = (self.shared.clone(), self.shared.batching);
        let alone = first.company != Company::Any;
        let mut batch = Batch::of(vec![first]);
        if alone {
            return batch;
        }
        let room = |batch: &Batch<D>| BatchRoom {
            deliveries: limits.size.saturating_sub(batch.len()),
            bytes: limits.max_bytes.saturating_sub(batch.bytes()),
        };
        let add = |batch: &mut Batch<D>, (more, is_full): (Vec<Waiting<D>>, bool)| {
            batch.add(more);
            is_full
        };
        let there = shared.inbox.try_take_more(room(&batch));
        let mut full = add(&mut batch, there);
        // The wait is at most half of the ack wait, although deliveries that wait are announced.
        let wait = limits.wait.min(shared.rules.consumer.announce_after() * 2);
        let until = Instant::now() + wait;
        while !full && !wait.is_zero() && !shared.inbox.is_used_up() {
            let taking = pin!(shared.inbox.take_more(room(&batch)));
            tokio::select! {
                biased;
                _ = self.mode.changed() => break,
                () = self.settlements.next() => {}
                more = batch.keep(&shared.rules.consumer, taking) => full = add(&mut batch, more),
                () = self.handlers.newer() => break,
                () = sleep_until(until) => break,
            }
        }
        batch
    }

    /// As [`Worker::swap`], for a batch.
    async fn swap_for(&mut self, instance: &mut H::Instance, batch: &mut Batch<D>) -> bool {
        let making = pin!(self.handlers.instantiate(self.id));
        let made = batch.keep(&self.shared.rules.consumer, making);
        let made = self.settlements.meanwhile(pin!(made)).await;
        self.shared.take_the_place(instance, made, &self.stats)
    }

    /// Settles the deliveries for which the handler must not be called, and returns the others.
    async fn untried(&mut self, batch: Batch<D>, newest: &Author) -> Batch<D> {
        if batch.held.iter().all(|held| is_tried(held, &self.shared.rules)) {
            return batch;
        }
        let rules = self.shared.rules.clone();
        let (mut rest, mut called) = (batch.reversed(), Batch::empty());
        while let Some(waiting) = rest.pop() {
            let Some(untried) = untried(&waiting, &self.stats, &rules) else {
                called.push(waiting);
                continue;
            };
            let sequence = waiting.held.delivery().stream_sequence;
            let settling = pin!(settle_untried(waiting, untried, newest, &rules));
            let settling = pin!(called.keep(&rules.consumer, settling));
            let how = self.settlements.meanwhile(pin!(rest.keep(&rules.consumer, settling))).await;
            self.settlements.record(sequence, how);
        }
        called
    }

    /// Calls the handler. `None` if the batch has to be given back before the call has ended.
    async fn call_batch(
        &mut self,
        instance: &mut H::Instance,
        batch: &mut Batch<D>,
    ) -> Option<Result<Vec<Answer>, Fault>> {
        let Self { shared, stats, mode, settlements, .. } = self;
        batch.held.iter_mut().for_each(Held::call_begins);
        Permit::begin(batch.permits.iter_mut().flatten());
        let deliveries: Vec<&Delivery> = batch.held.iter().map(Held::delivery).collect();
        let (call, start) = (Call::begin(), Instant::now());
        stats.batch_begins(start, deliveries.len());
        let (called, waited) = {
            let handling = pin!(instance.handle_batch(&deliveries));
            let calling = keep_all(&batch.held, &mut batch.since, &shared.rules.consumer, handling);
            settlements.meanwhile(pin!(unless_given_back(calling, mode))).await
        };
        let time = start.elapsed();
        stats.batch_ended(time);
        if !waited {
            call.make_way(time).await;
        }
        let each = time / u32::try_from(deliveries.len()).unwrap_or(u32::MAX).max(1);
        shared.inbox.took(each);
        let called = called?;
        if let Ok(answers) = &called {
            answers.iter().for_each(|answer| stats.handled(each, answer.is_ok()));
        } else {
            deliveries.iter().for_each(|_| stats.handled(each, false));
            if deliveries.len() > 1 {
                stats.failed_together(deliveries.len());
            }
        }
        if let Err(fault) = &called {
            stats.faulted(fault.kind());
        }
        for (index, held) in batch.held.iter().enumerate() {
            let kind = match &called {
                Ok(answers) => answers.get(index).and_then(refusal),
                Err(fault) => Some(fault.kind().as_str()),
            };
            held.call_ended(kind, instance.author());
        }
        batch.ended(&called);
        Some(called)
    }

    /// Settles each delivery by its own answer. Deliveries with publications go first, because the effects of others
    /// may be in them. Failures go last, because settling them may take long.
    async fn settle_batch(&mut self, batch: Batch<D>, answers: Vec<Answer>, by: Answerer<'_>) {
        let count = answers.iter().filter(|answer| publishes(answer)).count();
        let stored = (count > 0).then(|| Stored::of(count));
        let place = |answer: &Answer| (!publishes(answer), answer.is_err());
        let (mut batch, answers) = if answers.is_sorted_by_key(place) {
            (batch.reversed(), answers)
        } else {
            let mut all: Vec<_> = batch.into_waiting().into_iter().zip(answers).collect();
            all.sort_by_key(|(_, answer)| place(answer));
            let (waiting, answers): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            (Batch::of(waiting).reversed(), answers)
        };
        for answer in answers {
            let Some(waiting) = batch.pop() else { return };
            match (answer, stored.clone()) {
                (Ok(response), Some(stored)) if response.publications.is_empty() => {
                    self.make_room_for(&mut batch).await;
                    self.settle_after(waiting, response, by.author, stored);
                }
                (answer, stored) => {
                    let reports = stored.filter(|_| publishes(&answer));
                    let outcome = checked(Ok(answer), &self.shared.rules.bounds);
                    if let Err(fault) = &outcome {
                        self.stats.faulted(fault.kind());
                    }
                    pin!(self.settle_one(&mut batch, waiting, outcome, by, reports)).await;
                }
            }
        }
    }

    /// Settles the delivery of a call that failed and had no other: that one is to blame.
    async fn settle_alone(&mut self, mut batch: Batch<D>, fault: Fault, by: Answerer<'_>) {
        let Some(waiting) = batch.pop() else { return };
        self.shared.rules.attempts.suspect(key(waiting.held.delivery()));
        self.settle_one(&mut batch, waiting, Err(fault), by, None).await;
    }

    /// Settles one delivery while the rest of its batch waits. If it has publications, `reports` is told how it ended.
    async fn settle_one(
        &mut self,
        rest: &mut Batch<D>,
        waiting: Waiting<D>,
        outcome: Outcome,
        by: Answerer<'_>,
        reports: Option<Stored>,
    ) {
        self.make_room_for(rest).await;
        let Self { shared, mode, settlements, .. } = self;
        let rules = &shared.rules;
        let (message, sequence) = (key(waiting.held.delivery()), waiting.held.delivery().stream_sequence);
        let give_up = move || async move {
            // An error means that the supervisor is gone.
            let _ = mode.wait_for(|mode| *mode == WorkerMode::GiveBack).await;
        };
        let mut settling = pin!(settle(waiting, outcome, by, rules, give_up));
        let step = match futures_util::poll!(settling.as_mut()) {
            Poll::Ready(step) => step,
            Poll::Pending => settlements.meanwhile(pin!(rest.keep(&rules.consumer, settling))).await,
        };
        let reports = reports.map(|stored| (stored, rules.clone()));
        let report = move |how: Settled| {
            let Some((stored, rules)) = &reports else { return };
            // Its publications were refused because of the message itself. It must not be in a batch again, so that
            // others do not wait for that once more.
            if how == Settled::Retried {
                rules.attempts.suspect(message);
            }
            stored.settled(how);
        };
        match step {
            Remaining::Done(how) => {
                report(how);
                settlements.record(sequence, how);
            }
            Remaining::Unconfirmed(bytes, stored) => {
                let rest = async move {
                    let how = stored.await;
                    report(how);
                    how
                };
                settlements.pending.push(sequence, bytes, Box::pin(rest));
            }
        }
    }

    /// Settles a delivery without publications once those of its batch are stored.
    fn settle_after(&mut self, waiting: Waiting<D>, response: Response, author: &Author, stored: Stored) {
        let delivery = waiting.held.delivery();
        let (sequence, bytes) = (delivery.stream_sequence, delivery.size() + response.size());
        let rules = self.shared.rules.clone();
        let rest = settle_after(waiting, response, author.clone(), rules, stored.all());
        self.settlements.pending.push(sequence, bytes, Box::pin(rest));
    }

    /// Waits until one more delivery may wait for its publications. The rest of the batch is kept announced.
    async fn make_room_for(&mut self, rest: &mut Batch<D>) {
        while self.settlements.pending.is_full() {
            rest.keep(&self.shared.rules.consumer, pin!(self.settlements.next())).await;
        }
    }

    /// Puts the deliveries back, to be handled one by one.
    async fn put_back(&mut self, batch: Batch<D>) {
        let left = self.shared.inbox.put_back(batch.into_waiting());
        self.give_all_back(Batch::of(left)).await;
    }

    async fn give_all_back(&mut self, batch: Batch<D>) {
        let (mut rest, rules) = (batch.reversed(), self.shared.rules.clone());
        while let Some(waiting) = rest.pop() {
            let sequence = waiting.held.delivery().stream_sequence;
            let giving = pin!(give_back(waiting, &rules));
            let giving = rest.keep(&rules.consumer, giving);
            let how = self.settlements.meanwhile(pin!(giving)).await;
            self.settlements.record(sequence, how);
        }
    }
}
