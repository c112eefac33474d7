//! Carries out a disposition: effects first, the settlement last.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

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

/// How long to wait before a dead letter that could not be stored is tried again, where its message would be lost
/// otherwise.
const AGAIN: Duration = Duration::from_secs(1);

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
mod tests {
    #![allow(clippy::panic)]
    use tokio::time::Instant;

    use super::*;
    use crate::config::Grants;
    use crate::contract::{Delivery, Failure};
    use crate::delivery::attempts::Untried;
    use crate::delivery::inbox::Company;
    use crate::delivery::test_delivery::TestDelivery;
    use crate::ports::Excused;

    /// Of a workload of which a message may have this many attempts.
    fn rules(max_attempts: u32) -> Arc<Rules> {
        let bounds = ResponseBounds { max_payload: 100, own_headers: 0, publications: 1, grants: Grants::default() };
        let retry = Retry { max_attempts, backoff: vec![Duration::ZERO] };
        let consumer = Effective::with_ack_wait(Duration::from_secs(30));
        Rules::new(retry, 16, consumer, bounds, (Arc::default(), &Conditions::new("orders".into())))
    }

    /// A delivery of message 7, at whose consumer this stands by now.
    fn waiting(attempt: u32, text: &str) -> Waiting<TestDelivery> {
        let delivery = Delivery { stream_sequence: 7, attempt, ..Delivery::default() };
        let excused = Some(Excused::read(text, "made", 0));
        let held = TestDelivery { excused, ..TestDelivery::of(delivery) };
        Waiting { held, since: Instant::now(), company: Company::Any, turn: None, permit: None }
    }

    fn author() -> Author {
        Author { plugin: "receipts".into(), generation: "2ea2".into() }
    }

    /// Of a message whose dead letter is stored, and is there still if `there`, this delivery.
    async fn delivered_again(there: bool, attempt: u32) -> (Arc<Rules>, Waiting<TestDelivery>) {
        let (rules, first) = (rules(3), waiting(1, ""));
        let letters = first.held.letters.clone();
        let death = Death::new(Cause::Rejected, "no good".to_owned());
        assert_eq!(dead_letter(first, death, &author(), &rules).await, Settled::Dead(Cause::Rejected));
        letters.lock().iter_mut().for_each(|letter| *letter = there);
        let mut again = waiting(attempt, "");
        again.held.letters = letters;
        (rules, again)
    }

    #[tokio::test]
    async fn a_message_that_comes_again_is_termed_only_while_its_dead_letter_is_there() {
        for (there, ends) in [(true, Settled::DeadBefore), (false, Settled::GivenBack)] {
            let (rules, again) = delivered_again(there, 2).await;
            let delivery = again.held.delivery.clone();
            let Some(Untried::Term(kept)) = rules.attempts.untried(&delivery, &rules.retry) else {
                panic!("it is tried")
            };
            let (letters, given_back) = (again.held.letters.clone(), again.held.given_back.clone());
            assert_eq!(term_again(again, kept, &rules).await, ends);
            assert_eq!((letters.lock().len(), given_back.lock().len()), (1, usize::from(!there)));
            // Then it is tried, and that it was given back uses up no attempt.
            let next = Delivery { attempt: 3, ..delivery };
            assert_eq!(rules.attempts.untried(&next, &rules.retry).is_none(), !there);
            assert_eq!(rules.attempts.used(&next), if there { 3 } else { 2 });
        }
    }

    #[tokio::test]
    async fn a_second_death_of_a_message_makes_a_second_letter_only_where_the_first_is_gone() {
        for (there, ends, count) in [(true, Settled::DeadBefore, 1), (false, Settled::Dead(Cause::Retries), 2)] {
            let (rules, again) = delivered_again(there, 1).await;
            let letters = again.held.letters.clone();
            let death = Death::new(Cause::Retries, "no good".to_owned());
            assert_eq!(dead_letter(again, death, &author(), &rules).await, ends);
            assert_eq!(letters.lock().len(), count);
        }
    }

    #[tokio::test]
    async fn what_seems_to_have_been_delivered_too_often_is_given_back_where_hosts_that_stopped_have_done_so_too() {
        let death = || Death::new(Cause::Exhausted, "delivered too often".to_owned());
        for (text, ends) in [("made 7:1", Settled::GivenBack), ("made 8:1", Settled::Dead(Cause::Exhausted))] {
            let (rules, waiting) = (rules(1), waiting(4, text));
            let given_back = waiting.held.given_back.clone();
            assert_eq!(exhausted(waiting, death(), &author(), &rules).await, ends, "{text}");
            assert_eq!(given_back.lock().len(), usize::from(ends == Settled::GivenBack));
        }
    }

    #[tokio::test]
    async fn a_failure_is_the_last_only_if_no_host_that_stopped_has_given_the_message_back() {
        for (text, ends) in [("made 7:1", Settled::Retried), ("", Settled::Dead(Cause::Retries))] {
            let failed = Ok(Err(Failure::Retry(None)));
            let by = author();
            let step = settle(waiting(2, text), failed, (&by).into(), &rules(2), std::future::pending).await;
            assert!(matches!(step, Remaining::Done(how) if how == ends), "{text}");
        }
    }
}
