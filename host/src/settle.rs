//! Carries out a disposition: effects first, the settlement last.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::config::Retry;
use crate::delivery::{Bounds, Cause, Death, Disposition, Fault, Outcome, Response, dispose};
use crate::ports::{Author, EffectError, Held};

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
    /// The consumer's ack wait.
    pub ack_wait: Duration,
    /// What a response has to keep to.
    pub bounds: Bounds,
}

/// What remains to be awaited after the effects of a delivery were sent.
pub enum Step {
    /// Nothing: it is settled.
    Done(Settled),
    /// Publications that are not confirmed yet.
    Unconfirmed(BoxFuture<'static, Settled>),
}

/// Sends the effects of an outcome, and settles the delivery unless publications have to be confirmed first.
///
/// What most messages do not need is boxed: a future that is moved for each message is better small.
pub async fn settle<D: Held>(held: D, outcome: Outcome, author: &Author, rules: &Rules) -> Step {
    let attempt = held.delivery().attempt;
    match dispose(outcome, attempt, &rules.retry) {
        Disposition::Complete(Response { reply, publications }) if publications.is_empty() => {
            Step::Done(complete(held, reply, author, rules).await)
        }
        Disposition::Complete(response) => Step::Unconfirmed(Box::pin(publish(held, response, author, rules)).await),
        other => Step::Done(Box::pin(carry_out(held, other, author, rules.retry.delay(attempt))).await),
    }
}

/// Sends the publications of a response, and returns what waits until they are stored and does the rest.
async fn publish<D: Held>(held: D, response: Response, author: &Author, rules: &Rules) -> BoxFuture<'static, Settled> {
    let Response { reply, publications } = response;
    let sent = held.publish(publications).await;
    let (author, rules) = (author.clone(), rules.clone());
    Box::pin(async move {
        let confirmed = match sent {
            Ok(confirmations) => keep(&held, Instant::now(), rules.ack_wait, confirmations).await,
            Err(error) => Err(error),
        };
        match confirmed {
            Ok(()) => complete(held, reply, &author, &rules).await,
            Err(error) => fail(held, error, &author, &rules).await,
        }
    })
}

/// Keeps a message that is not to be tried as a dead letter.
pub async fn bury<D: Held>(held: D, death: Death, author: &Author, rules: &Rules) -> Settled {
    let delay = rules.retry.delay(held.delivery().attempt);
    carry_out(held, Disposition::Dead(death), author, delay).await
}

/// Awaits a future, and tells the server that the delivery is in progress each quarter of its ack wait until then.
///
/// `since` is when the server last heard of it.
pub async fn keep<D: Held, T>(held: &D, since: Instant, ack_wait: Duration, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    // Most work is done at its first poll, and needs no timer.
    if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
        return done;
    }
    let quarter = ack_wait / 4;
    let mut due = quarter.saturating_sub(since.elapsed());
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(due) => held.in_progress().await,
        }
        due = quarter;
    }
}

/// Replies and acks: all other effects are confirmed.
async fn complete<D: Held>(held: D, reply: Option<Vec<u8>>, author: &Author, rules: &Rules) -> Settled {
    if let Some(payload) = reply
        && let Err(error) = held.reply(payload).await
    {
        return Box::pin(fail(held, error, author, rules)).await;
    }
    held.ack().await;
    Settled::Acked
}

/// An effect that is not confirmed is a failure like any other.
async fn fail<D: Held>(held: D, error: EffectError, author: &Author, rules: &Rules) -> Settled {
    let attempt = held.delivery().attempt;
    let disposition = dispose(Err(Fault::Answer(error.to_string())), attempt, &rules.retry);
    carry_out(held, disposition, author, rules.retry.delay(attempt)).await
}

async fn carry_out<D: Held>(held: D, disposition: Disposition, author: &Author, backoff: Duration) -> Settled {
    let Author { plugin, generation } = author;
    let (stream_sequence, attempt) = (held.delivery().stream_sequence, held.delivery().attempt);
    match disposition {
        Disposition::Complete(_) => {
            held.ack().await;
            Settled::Acked
        }
        Disposition::Retry { delay, reason } => {
            tracing::warn!(%plugin, %generation, stream_sequence, attempt, reason, ?delay, "to be tried again");
            held.nak(delay).await;
            Settled::Retried
        }
        Disposition::Dead(death) => match held.bury(&death, author).await {
            Ok(()) => {
                let cause = death.cause.as_str();
                tracing::warn!(%plugin, %generation, stream_sequence, attempt, cause, reason = death.reason, "dead letter");
                held.term(&death.reason).await;
                Settled::Dead(death.cause)
            }
            Err(error) => {
                let cause = death.cause.as_str();
                tracing::error!(%plugin, %generation, stream_sequence, attempt, cause, reason = death.reason, %error,
                    "the dead letter could not be kept, so the message stays in its stream");
                held.nak(backoff).await;
                Settled::Retried
            }
        },
    }
}
