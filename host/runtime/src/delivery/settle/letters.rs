//! Stores dead letters, and terms their messages. A message is termed only while its letter is there.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::{Rules, Settled, is_last, last_delivery, no_author, try_again};
use crate::contract::{Author, Death};
use crate::delivery::inbox::{Waiting, settled, settling};
use crate::delivery::keep::keep;
use crate::ports::{EffectError, Held, Kept};

/// How long to wait before a dead letter that could not be stored is tried again, where its message would be lost
/// otherwise.
const AGAIN: Duration = Duration::from_secs(1);

/// Stores a message that must not be tried again as a dead letter, then terms it.
pub(crate) async fn dead_letter<D: Held>(
    mut waiting: Waiting<D>,
    death: Death,
    author: &Author,
    rules: &Rules,
) -> Settled {
    // The server may deliver it again before its letter is stored.
    let before = rules.attempts.dying(waiting.held.delivery(), &death, author);
    let held = &waiting.held;
    let Author { plugin, generation } = author;
    let (stream_sequence, attempt) = (held.delivery().stream_sequence, held.delivery().attempt);
    let cause = death.cause.as_str();
    loop {
        let Waiting { held, since, .. } = &mut waiting;
        let kept = keep(held, since, &rules.consumer, pin!(letter(held, before.as_ref(), &death, author))).await;
        let error = match kept {
            Ok((kept, Stored::Before)) => {
                rules.letters.succeeded();
                return termed_again(waiting, kept).await;
            }
            Ok((kept, Stored::Now)) => {
                rules.letters.succeeded();
                rules.attempts.kept(held.delivery(), kept.clone());
                tracing::warn!(%plugin, %generation, stream_sequence, attempt, cause, reason = death.reason,
                    "dead letter");
                let Waiting { held, mut turn, .. } = waiting;
                settling(turn.as_deref_mut());
                held.term(kept, &death.reason).await;
                settled(turn);
                return Settled::Dead(death.cause);
            }
            Err(error) => error,
        };
        rules.letters.failed(&error);
        if is_last(&waiting, rules) {
            wait_for_letters(&mut waiting, rules).await;
            continue;
        }
        tracing::error!(%plugin, %generation, stream_sequence, attempt, cause, reason = death.reason, %error,
            "the dead letter could not be kept, so the message stays in its stream");
        return not_kept(waiting, rules).await;
    }
}

/// When a dead letter was stored.
enum Stored {
    Before,
    Now,
}

/// The message's dead letter: the one that was stored `before` if it is there still, otherwise one that is stored now.
async fn letter<D: Held>(
    held: &D,
    before: Option<&Kept>,
    death: &Death,
    author: &Author,
) -> Result<(Kept, Stored), EffectError> {
    if let Some(kept) = before
        && held.has_letter(kept).await?
    {
        return Ok((kept.clone(), Stored::Before));
    }
    Ok((Kept::letter(held, death, author).await?, Stored::Now))
}

/// Waits before a dead letter is tried again of a message that the server would not deliver again: it is held until
/// then.
async fn wait_for_letters<D: Held>(waiting: &mut Waiting<D>, rules: &Rules) {
    let Waiting { held, since, .. } = waiting;
    keep(held, since, &rules.consumer, pin!(sleep(AGAIN))).await;
}

/// Has a message come again whose dead letter is not known to be stored, through no fault of its own.
async fn not_kept<D: Held>(waiting: Waiting<D>, rules: &Rules) -> Settled {
    let delivery = waiting.held.delivery();
    rules.attempts.excuse(delivery);
    let delay = rules.retry.delay(delivery.attempt);
    try_again(waiting, delay, &rules.consumer).await;
    Settled::Unconfirmed
}

/// Terms a message whose dead letter is stored already. If somebody has deleted that since, nothing is left of the
/// message but what its stream has, so it is tried again.
pub(crate) async fn term_again<D: Held>(mut waiting: Waiting<D>, kept: Kept, rules: &Rules) -> Settled {
    loop {
        let Waiting { held, since, .. } = &mut waiting;
        let there = keep(held, since, &rules.consumer, pin!(held.has_letter(&kept))).await;
        let stream_sequence = waiting.held.delivery().stream_sequence;
        match there {
            Ok(true) => {
                rules.letters.succeeded();
                return termed_again(waiting, kept).await;
            }
            Ok(false) => {
                rules.letters.succeeded();
                tracing::info!(stream_sequence, "delivered again, and its dead letter is gone: tried again");
                rules.attempts.letter_is_gone(waiting.held.delivery());
                if is_last(&waiting, rules) {
                    let death = last_delivery("its dead letter is not there any more");
                    return dead_letter(waiting, death, &no_author(), rules).await;
                }
                rules.attempts.excuse(waiting.held.delivery());
                try_again(waiting, Duration::ZERO, &rules.consumer).await;
                return Settled::GivenBack;
            }
            Err(error) => {
                rules.letters.failed(&error);
                if !is_last(&waiting, rules) {
                    tracing::error!(stream_sequence, %error, "delivered again though it is a dead letter: not termed");
                    return not_kept(waiting, rules).await;
                }
                wait_for_letters(&mut waiting, rules).await;
            }
        }
    }
}

/// Terms a message whose dead letter is there.
async fn termed_again<D: Held>(waiting: Waiting<D>, kept: Kept) -> Settled {
    let Waiting { held, mut turn, .. } = waiting;
    let stream_sequence = held.delivery().stream_sequence;
    tracing::info!(stream_sequence, "delivered again though it is a dead letter: termed again");
    settling(turn.as_deref_mut());
    held.term(kept, "it is a dead letter").await;
    settled(turn);
    Settled::DeadBefore
}
