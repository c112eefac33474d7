//! Carries out a disposition: effects first, the settlement last.

mod letters;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::conditions::{Conditions, Part};
use crate::config::Retry;
use crate::contract::Author;
use crate::contract::{Cause, Death, Outcome, Response};
use crate::delivery::attempts::Attempts;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::inbox::{Waiting, settled, settling};
use crate::delivery::keep::keep;
use crate::delivery::outage::Outage;
use crate::delivery::{Disposition, ResponseBounds, Verdict, conflicted, dispose, is_counted, refused, triage};
use crate::ports::{EffectError, Held};
use crate::ports::{Kept, PublicationIds, Published};

pub(crate) use self::letters::{dead_letter, term_again};

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Acknowledged.
    Acked,
    /// To be delivered again, because its handler failed or asked for it.
    Retried,
    /// To be delivered again, because an effect was not confirmed, through no fault of the handler.
    Unconfirmed,
    /// Given back without an outcome.
    GivenBack,
    /// Stored as a dead letter, and termed.
    Dead(Cause),
    /// Termed again: its dead letter was stored before, and that term was lost.
    DeadBefore,
}

/// What settling needs to know of a workload.
#[derive(Debug)]
pub(crate) struct Rules {
    /// How often and when to try again.
    pub retry: Retry,
    /// How many workloads a message may have come through.
    pub max_hops: u32,
    /// The consumer's settings.
    pub consumer: Arc<Effective>,
    /// What a response must not exceed.
    pub bounds: ResponseBounds,
    /// What is known of earlier attempts.
    pub attempts: Arc<Attempts>,
    /// Whether publications and replies are confirmed now.
    pub effects: Outage,
    /// Whether dead letters are stored now.
    pub letters: Outage,
}

impl Rules {
    /// The rules of a workload that knows so much of earlier attempts.
    pub(crate) fn new(
        retry: Retry,
        max_hops: u32,
        consumer: Arc<Effective>,
        bounds: ResponseBounds,
        (attempts, conditions): (Arc<Attempts>, &Arc<Conditions>),
    ) -> Arc<Self> {
        let outage = |part| Outage::new(conditions.clone(), part);
        let (effects, letters) = (outage(Part::Effects), outage(Part::DeadLetters));
        Arc::new(Self { retry, max_hops, consumer, bounds, attempts, effects, letters })
    }
}

/// Who answered for a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answerer<'a> {
    /// The code that ran.
    pub author: &'a Author,
    /// What it wrote to standard error meanwhile.
    pub last_words: &'a str,
    /// What the message ids of its publications are made of.
    pub ids: PublicationIds,
}

impl<'a> From<&'a Author> for Answerer<'a> {
    fn from(author: &'a Author) -> Self {
        Self { author, last_words: "", ids: PublicationIds::default() }
    }
}

/// What has to be awaited after the effects of a delivery were sent.
pub(crate) enum Remaining {
    /// Nothing: the delivery is settled.
    Done(Settled),
    /// Publications that are not confirmed yet, with the bytes of the delivery and of its response.
    Unconfirmed(usize, BoxFuture<'static, Settled>),
}

/// Sends the effects of an outcome, and settles the delivery unless publications have to be confirmed first. If the
/// future that `give_up` makes ends while publications cannot be sent, the delivery is given back.
///
/// Futures that few messages need are boxed, so that the future of each message stays small. Those that each message
/// needs are pinned where they are made: to await one that is not would move it first, and it is some kilobytes.
pub(crate) async fn settle<D: Held, F: Future<Output = ()> + Send>(
    mut waiting: Waiting<D>,
    outcome: Outcome,
    from: Answerer<'_>,
    rules: &Arc<Rules>,
    give_up: impl FnOnce() -> F,
) -> Remaining {
    let attempt = if is_counted(&outcome) {
        Box::pin(attempts_used(&mut waiting, rules, rules.retry.max_attempts)).await
    } else {
        // Nothing is decided by it.
        1
    };
    let author = from.author;
    match dispose(outcome, attempt, &rules.retry) {
        Disposition::Complete(response) => match Published::at_once(response) {
            Ok(stored) => Remaining::Done(pin!(complete(waiting, stored, author, rules)).await),
            Err(response) => Box::pin(publish(waiting, response, from, rules, give_up())).await,
        },
        Disposition::Fail(verdict) => Remaining::Done(Box::pin(carry_out(waiting, verdict, from, rules)).await),
    }
}

/// Sends the publications of a response. Returns a future for the rest: to wait until they are stored, to reply, and to
/// settle.
async fn publish<D: Held>(
    mut waiting: Waiting<D>,
    response: Response,
    from: Answerer<'_>,
    rules: &Arc<Rules>,
    give_up: impl Future<Output = ()> + Send,
) -> Remaining {
    let bytes = waiting.held.delivery().size() + response.size();
    let Waiting { held, since, .. } = &mut waiting;
    let sent = {
        let sending = pin!(Published::send(held, response, from.ids));
        tokio::select! {
            biased;
            sent = keep(held, since, &rules.consumer, sending) => Some(sent),
            () = give_up => None,
        }
    };
    let Some(sent) = sent else { return Remaining::Done(give_back(waiting, rules).await) };
    let (author, rules) = (from.author.clone(), rules.clone());
    let rest = async move {
        let Waiting { held, since, .. } = &mut waiting;
        let stored = match sent {
            Ok(stored) => keep(held, since, &rules.consumer, pin!(stored)).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(stored) => {
                rules.effects.succeeded();
                complete(waiting, stored, &author, &rules).await
            }
            Err(error) => fail(waiting, error, &author, &rules).await,
        }
    };
    Remaining::Unconfirmed(bytes, Box::pin(rest))
}

/// Settles a delivery of a batch whose response has no publications: its effects may be in another response of the
/// batch. `stored` waits for the publications of the batch, and says whether all are stored.
pub(crate) async fn settle_after<D: Held>(
    mut waiting: Waiting<D>,
    response: Response,
    author: Author,
    rules: Arc<Rules>,
    stored: impl Future<Output = bool> + Send,
) -> Settled {
    let Waiting { held, since, .. } = &mut waiting;
    let stored = keep(held, since, &rules.consumer, pin!(stored)).await;
    match Published::at_once(response) {
        Ok(confirmed) if stored => complete(waiting, confirmed, &author, &rules).await,
        _ => unconfirmed(waiting, "a publication of its batch is not stored", &author, &rules).await,
    }
}

/// The attempts that a message has had, this one among them. Where they may be all that it may have, it is asked first
/// which of them hosts that have stopped say that do not count.
async fn attempts_used<D: Held>(waiting: &mut Waiting<D>, rules: &Rules, most: u32) -> u32 {
    let (attempts, Waiting { held, since, .. }) = (&rules.attempts, waiting);
    let used = attempts.used(held.delivery());
    if used < most || held.delivery().attempt <= 1 {
        return used;
    }
    let asking = pin!(attempts.refresh(*since, held.excused()));
    keep(held, since, &rules.consumer, asking).await;
    attempts.used(held.delivery())
}

/// Settles a delivery that is not tried, for its message seems to have had far more attempts than it may have. If it is
/// known by now that it has not, it is tried again at once.
pub(crate) async fn exhausted<D: Held>(
    mut waiting: Waiting<D>,
    death: Death,
    newest: &Author,
    rules: &Rules,
) -> Settled {
    let used = attempts_used(&mut waiting, rules, rules.retry.max_deliveries()).await;
    if triage(used, &rules.retry).is_some() || is_last(&waiting, rules) {
        return dead_letter(waiting, death, newest, rules).await;
    }
    rules.attempts.excuse(waiting.held.delivery());
    try_again(waiting, Duration::ZERO, &rules.consumer).await;
    Settled::GivenBack
}

/// Gives back a delivery that could not be finished within the grace time.
pub(crate) async fn give_back<D: Held>(waiting: Waiting<D>, rules: &Rules) -> Settled {
    let stream_sequence = waiting.held.delivery().stream_sequence;
    tracing::info!(stream_sequence, "given back: not finished within the grace time");
    if is_last(&waiting, rules) {
        return dead_letter(waiting, last_delivery("given back unfinished"), &no_author(), rules).await;
    }
    rules.attempts.give_back(waiting.held.delivery(), waiting.server_attempt());
    try_again(waiting, Duration::ZERO, &rules.consumer).await;
    Settled::GivenBack
}

/// Gives back a delivery that no worker of this host can take, which is not its handler's failure.
pub(crate) async fn hand_back<D: Held>(waiting: Waiting<D>, rules: &Rules) {
    rules.attempts.give_back(waiting.held.delivery(), waiting.server_attempt());
    nak(waiting, Duration::ZERO, &rules.consumer).await;
}

/// Replies and acks, after all publications were stored.
async fn complete<D: Held>(waiting: Waiting<D>, stored: Published, author: &Author, rules: &Rules) -> Settled {
    let replied = pin!(stored.reply(&waiting.held)).await;
    match replied {
        Ok(confirmed) => {
            rules.attempts.done(waiting.held.delivery());
            let Waiting { held, mut turn, .. } = waiting;
            settling(turn.as_deref_mut());
            pin!(held.ack(confirmed)).await;
            settled(turn);
            Settled::Acked
        }
        Err(error) => Box::pin(fail(waiting, error, author, rules)).await,
    }
}

/// Settles a delivery with an effect that is not confirmed. A refusal because of the message itself, and a conflict
/// with what was stored first, count as a failed attempt. An outage does not.
async fn fail<D: Held>(mut waiting: Waiting<D>, error: EffectError, author: &Author, rules: &Rules) -> Settled {
    let (verdict, reason): (fn(String, u32, &Retry) -> Verdict, _) = match &error {
        EffectError::Refused(reason) => (refused, reason.clone()),
        EffectError::Conflict(reason) => (conflicted, reason.clone()),
        EffectError::Denied(_) | EffectError::Unavailable(_) => {
            rules.effects.failed(&error);
            return unconfirmed(waiting, &error.to_string(), author, rules).await;
        }
    };
    let attempt = attempts_used(&mut waiting, rules, rules.retry.max_attempts).await;
    carry_out(waiting, verdict(reason, attempt, &rules.retry), author.into(), rules).await
}

/// Settles a delivery whose effects are not confirmed, through no fault of the message or its handler.
async fn unconfirmed<D: Held>(waiting: Waiting<D>, problem: &str, author: &Author, rules: &Rules) -> Settled {
    let delivery = waiting.held.delivery();
    rules.attempts.excuse(delivery);
    if is_last(&waiting, rules) {
        return dead_letter(waiting, last_delivery(problem), author, rules).await;
    }
    // The delay goes by the count of all tries, so that they become rarer while an outage lasts.
    let delay = rules.retry.delay(delivery.attempt);
    let Author { plugin, generation } = author;
    let (stream_sequence, attempt) = (delivery.stream_sequence, delivery.attempt);
    tracing::warn!(%plugin, %generation, stream_sequence, attempt, error = problem, ?delay,
        "an effect is not confirmed, so the message is to be tried again; no attempt is used up");
    try_again(waiting, delay, &rules.consumer).await;
    Settled::Unconfirmed
}

async fn carry_out<D: Held>(waiting: Waiting<D>, verdict: Verdict, from: Answerer<'_>, rules: &Rules) -> Settled {
    let Answerer { author, last_words, .. } = from;
    let wrote = |death| Death { stderr: last_words.to_owned(), ..death };
    match verdict {
        Verdict::Retry { reason, .. } if is_last(&waiting, rules) => {
            dead_letter(waiting, wrote(last_delivery(&reason)), author, rules).await
        }
        Verdict::Retry { delay, reason } => {
            let Author { plugin, generation } = author;
            let delivery = waiting.held.delivery();
            let (stream_sequence, attempt) = (delivery.stream_sequence, delivery.attempt);
            tracing::warn!(%plugin, %generation, stream_sequence, attempt, reason, ?delay, "to be tried again");
            try_again(waiting, delay, &rules.consumer).await;
            Settled::Retried
        }
        Verdict::Dead(death) => dead_letter(waiting, wrote(death), author, rules).await,
    }
}

/// The reason for a dead letter where the server would not deliver the message again.
fn last_delivery(reason: &str) -> Death {
    let reason = format!("{reason}; the consumer's max_deliver lets the server deliver it no more");
    Death::new(Cause::Exhausted, reason)
}

/// The author of a dead letter that no handler has decided about.
fn no_author() -> Author {
    Author { plugin: "".into(), generation: "".into() }
}

/// Naks a delivery, and remembers it: if the consumer's `max_deliver` is edited meanwhile, the server may drop the
/// message.
async fn nak<D: Held>(waiting: Waiting<D>, delay: Duration, consumer: &Effective) {
    consumer.gave_back(waiting.held.delivery().stream_sequence, waiting.server_attempt());
    waiting.held.nak(delay).await;
}

/// Has a message tried again after the delay: by this host where an order is kept, otherwise by whom the server
/// delivers it to.
async fn try_again<D: Held>(waiting: Waiting<D>, delay: Duration, consumer: &Effective) {
    if let Some(waiting) = waiting.try_again(delay) {
        // The next host of an order begins nothing before it is there.
        let in_order = waiting.turn.as_ref().is_some_and(|turn| turn.keeps_order());
        let delay = if in_order { Duration::ZERO } else { delay };
        nak(waiting, delay, consumer).await;
    }
}

/// Whether it needs the server to have a message tried again, and the server will not deliver it any more.
fn is_last<D: Held>(waiting: &Waiting<D>, rules: &Rules) -> bool {
    rules.consumer.is_last(waiting.server_attempt()) && !waiting.is_tried_here()
}

/// Gives back a delivery that no worker has taken: the server delivers it again at once, to this host or another. A
/// delivery that the server would not deliver again is stored as a dead letter.
pub(crate) async fn give_back_untaken<D: Held>(waiting: Waiting<D>, consumer: &Effective) {
    let is_last = consumer.is_last(waiting.server_attempt());
    let held = waiting.held;
    if is_last {
        let death = last_delivery("given back unfinished");
        match Kept::letter(&held, &death, &no_author()).await {
            Ok(kept) => return held.term(kept, &death.reason).await,
            Err(error) => {
                let stream_sequence = held.delivery().stream_sequence;
                tracing::error!(stream_sequence, %error,
                    "neither finished nor kept as a dead letter, and the server delivers it no more: \
                    it stays in its stream");
            }
        }
    }
    held.nak(Duration::ZERO).await;
}

#[cfg(test)]
mod tests;
