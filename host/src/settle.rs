//! Carries out a disposition: effects first, the settlement last.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::config::Retry;
use crate::delivery::{Bounds, Cause, Death, Disposition, Fault, Outcome, Response, dispose};
use crate::effective::Effective;
use crate::inbox::Waiting;
use crate::ports::{Author, EffectError, Held};

/// How long to wait before a dead letter is tried to be kept again whose message would be lost otherwise.
const AGAIN: Duration = Duration::from_secs(1);

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Acknowledged.
    Acked,
    /// To be delivered again.
    Retried,
    /// Kept as a dead letter.
    Dead(Cause),
}

/// What settling needs to know of a workload.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How often and when to try again.
    pub retry: Retry,
    /// The consumer's settings.
    pub consumer: Arc<Effective>,
    /// What a response has to keep to.
    pub bounds: Bounds,
}

/// What remains to be awaited after the effects of a delivery were sent.
pub enum Step {
    /// Nothing: it is settled.
    Done(Settled),
    /// Publications that are not confirmed yet, with the bytes of the delivery and of them.
    Unconfirmed(usize, BoxFuture<'static, Settled>),
}

/// Sends the effects of an outcome, and settles the delivery unless publications have to be confirmed first.
///
/// What most messages do not need is boxed: a future that is moved for each message is better small.
pub async fn settle<D: Held>(waiting: Waiting<D>, outcome: Outcome, author: &Author, rules: &Rules) -> Step {
    match dispose(outcome, waiting.held.delivery().attempt, &rules.retry) {
        Disposition::Complete(Response { reply, publications }) if publications.is_empty() => {
            Step::Done(complete(waiting, reply, author, rules).await)
        }
        Disposition::Complete(response) => {
            let out: usize = response.publications.iter().map(|publication| publication.payload.len()).sum();
            let bytes = waiting.held.delivery().payload.len() + out;
            Step::Unconfirmed(bytes, Box::pin(publish(waiting, response, author, rules)).await)
        }
        other => Step::Done(Box::pin(carry_out(waiting, other, author, rules)).await),
    }
}

/// Sends the publications of a response, and returns what waits until they are stored and does the rest.
async fn publish<D: Held>(
    mut waiting: Waiting<D>,
    response: Response,
    author: &Author,
    rules: &Rules,
) -> BoxFuture<'static, Settled> {
    let Response { reply, publications } = response;
    let sent = waiting.held.publish(publications).await;
    let (author, rules) = (author.clone(), rules.clone());
    Box::pin(async move {
        let Waiting { held, since } = &mut waiting;
        let confirmed = match sent {
            Ok(confirmations) => keep(held, since, &rules.consumer, confirmations).await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(()) => complete(waiting, reply, &author, &rules).await,
            Err(error) => fail(waiting, error, &author, &rules).await,
        }
    })
}

/// Keeps a message that is not to be tried as a dead letter.
pub async fn bury<D: Held>(waiting: Waiting<D>, death: Death, author: &Author, rules: &Rules) -> Settled {
    carry_out(waiting, Disposition::Dead(death), author, rules).await
}

/// Awaits a future, and tells the server that the delivery is in progress each quarter of its ack wait until then.
///
/// `since` is when the server last heard of it, before and after.
pub async fn keep<D: Held, T>(held: &D, since: &mut Instant, consumer: &Effective, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    // Most work is done at its first poll, and needs no timer.
    if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
        return done;
    }
    loop {
        // Armed before the look, so that an edit in between is not missed.
        let edited = consumer.ack_wait_edited();
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(consumer.announce_after().saturating_sub(since.elapsed())) => {
                *since = Instant::now();
                held.in_progress().await;
            }
            () = edited => {}
        }
    }
}

/// Replies and acks: all other effects are confirmed.
async fn complete<D: Held>(waiting: Waiting<D>, reply: Option<Vec<u8>>, author: &Author, rules: &Rules) -> Settled {
    if let Some(payload) = reply
        && let Err(error) = waiting.held.reply(payload).await
    {
        return Box::pin(fail(waiting, error, author, rules)).await;
    }
    waiting.held.ack().await;
    Settled::Acked
}

/// An effect that is not confirmed is a failure like any other.
async fn fail<D: Held>(waiting: Waiting<D>, error: EffectError, author: &Author, rules: &Rules) -> Settled {
    let attempt = waiting.held.delivery().attempt;
    let disposition = dispose(Err(Fault::Answer(error.to_string())), attempt, &rules.retry);
    carry_out(waiting, disposition, author, rules).await
}

async fn carry_out<D: Held>(waiting: Waiting<D>, disposition: Disposition, author: &Author, rules: &Rules) -> Settled {
    let Waiting { held, mut since } = waiting;
    let Author { plugin, generation } = author;
    let (stream_sequence, attempt) = (held.delivery().stream_sequence, held.delivery().attempt);
    let disposition = match disposition {
        Disposition::Retry { reason, .. } if rules.consumer.is_last(attempt) => Disposition::Dead(last(&reason)),
        other => other,
    };
    let death = match disposition {
        Disposition::Complete(_) => {
            held.ack().await;
            return Settled::Acked;
        }
        Disposition::Retry { delay, reason } => {
            tracing::warn!(%plugin, %generation, stream_sequence, attempt, reason, ?delay, "to be tried again");
            rules.consumer.gave_back(stream_sequence, attempt);
            held.nak(delay).await;
            return Settled::Retried;
        }
        Disposition::Dead(death) => death,
    };
    let (cause, reason, mut failures) = (death.cause.as_str(), death.reason.as_str(), 0u32);
    while let Err(error) = keep(&held, &mut since, &rules.consumer, held.bury(&death, author)).await {
        if failures == 0 {
            tracing::error!(%plugin, %generation, stream_sequence, attempt, cause, reason, %error,
                "the dead letter could not be kept, so the message stays in its stream");
        }
        if !rules.consumer.is_last(attempt) {
            rules.consumer.gave_back(stream_sequence, attempt);
            held.nak(rules.retry.delay(attempt)).await;
            return Settled::Retried;
        }
        // The server would not deliver it again, so it is held until there is room for its letter.
        failures = failures.saturating_add(1);
        keep(&held, &mut since, &rules.consumer, sleep(AGAIN)).await;
    }
    tracing::warn!(%plugin, %generation, stream_sequence, attempt, cause, reason, "dead letter");
    held.term(&death.reason).await;
    Settled::Dead(death.cause)
}

/// Why a message is not tried again that the server would not deliver again.
fn last(reason: &str) -> Death {
    let reason = format!("{reason}; the consumer's max_deliver lets the server deliver it no more");
    Death { cause: Cause::Exhausted, reason }
}

/// Gives back a delivery that is not finished: the server delivers it again at once, here or elsewhere. One that it would not
/// deliver again is kept as a dead letter.
pub async fn give_back<D: Held>(held: D, author: &Author, consumer: &Effective) {
    if consumer.is_last(held.delivery().attempt) {
        let death = last("given back unfinished");
        match held.bury(&death, author).await {
            Ok(()) => return held.term(&death.reason).await,
            Err(error) => {
                let stream_sequence = held.delivery().stream_sequence;
                tracing::error!(stream_sequence, %error, "neither finished nor kept as a dead letter, and the server delivers \
                    it no more: it stays in its stream");
            }
        }
    }
    held.nak(Duration::ZERO).await;
}
