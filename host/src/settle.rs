//! Carries out a disposition: effects first, the settlement last.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::config::Retry;
use crate::delivery::{Bounds, Cause, Death, Disposition, Fault, Outcome, Response, dispose};
use crate::inbox::Waiting;
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
            Ok(confirmations) => keep(held, since, rules.ack_wait, confirmations).await,
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
pub async fn keep<D: Held, T>(held: &D, since: &mut Instant, ack_wait: Duration, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    // Most work is done at its first poll, and needs no timer.
    if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
        return done;
    }
    let quarter = ack_wait / 4;
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(quarter.saturating_sub(since.elapsed())) => {
                *since = Instant::now();
                held.in_progress().await;
            }
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
        Disposition::Dead(death) => match keep(&held, &mut since, rules.ack_wait, held.bury(&death, author)).await {
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
                held.nak(rules.retry.delay(attempt)).await;
                Settled::Retried
            }
        },
    }
}
