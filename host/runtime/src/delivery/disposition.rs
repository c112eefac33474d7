//! Decides what the host does about a delivery, by what the handler answered: plain data and pure functions.

use std::time::Duration;

use crate::config::Retry;
use crate::contract::{Cause, Death, Failure, Fault, Outcome, Response};

/// The most characters of a reason that are kept.
const REASON: usize = 1000;
/// The longest delay that a handler can ask for: meanwhile the message is unsettled, and holds up its key where an
/// order is kept.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the host does about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Publish, reply, ack.
    Complete(Response),
    /// Nak, or keep as a dead letter: the attempt failed.
    Fail(Verdict),
}

/// What the host does about a delivery whose attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nak with this delay.
    Retry {
        /// How long the server waits before it delivers again.
        delay: Duration,
        /// Why, for the log.
        reason: String,
    },
    /// Keep as a dead letter, then term.
    Dead(Death),
}

/// What to do about a delivery before its handler is called. It dies if it had far more attempts than it may have, and
/// no host saw how some of them ended. `attempts` counts this one.
pub(crate) fn triage(attempts: u32, retry: &Retry) -> Option<Death> {
    let most = retry.max_deliveries();
    (attempts > most).then(|| {
        let reason = format!(
            "delivered {attempts} times and never finished, and {most} times are allowed: it may kill its hosts"
        );
        Death::new(Cause::Exhausted, reason)
    })
}

/// Whether an outcome is a failure of which the number of attempts decides what is done.
pub(crate) fn is_counted(outcome: &Outcome) -> bool {
    !matches!(outcome, Ok(Ok(_) | Err(Failure::Reject(_))))
}

/// What to do about a delivery after its handler was called for the `attempt`th time.
pub(crate) fn dispose(outcome: Outcome, attempt: u32, retry: &Retry) -> Disposition {
    Disposition::Fail(match outcome {
        Ok(Ok(response)) => return Disposition::Complete(response),
        Ok(Err(Failure::Reject(reason))) => Verdict::Dead(Death::new(Cause::Rejected, cut(reason))),
        Ok(Err(Failure::Retry(delay))) => judge(Cause::Retries, asked(delay), delay, attempt, retry),
        Ok(Err(Failure::Failed(reason))) => {
            judge(Cause::Retries, format!("the handler failed: {reason}"), None, attempt, retry)
        }
        Err(fault) => judge(fault.cause(), fault.to_string(), None, attempt, retry),
    })
}

/// What to do about a response that cannot be carried out.
pub fn refused(problem: String, attempt: u32, retry: &Retry) -> Verdict {
    let fault = Fault::Answer(problem);
    judge(fault.cause(), fault.to_string(), None, attempt, retry)
}

/// What to do about a response with a publication that expected another last message in its stream.
pub(crate) fn conflicted(problem: String, attempt: u32, retry: &Retry) -> Verdict {
    judge(Cause::Conflict, problem, None, attempt, retry)
}

fn judge(cause: Cause, reason: String, delay: Option<Duration>, attempt: u32, retry: &Retry) -> Verdict {
    let reason = cut(reason);
    if attempt >= retry.max_attempts {
        return Verdict::Dead(Death::new(cause, reason));
    }
    Verdict::Retry { delay: delay.map_or_else(|| retry.delay(attempt), |delay| delay.min(LONGEST)), reason }
}

/// That a handler asked to retry, and after what if that is longer than it can be.
fn asked(delay: Option<Duration>) -> String {
    match delay.filter(|delay| *delay > LONGEST) {
        Some(delay) => format!("the handler asked to retry after {} s, and a day is the most", delay.as_secs()),
        None => "the handler asked to retry".to_owned(),
    }
}

/// Cuts a reason: it is a guest's text, and is kept and logged.
fn cut(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(REASON) {
        reason.truncate(end);
    }
    reason
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn retry(max_attempts: u32) -> Retry {
        Retry { max_attempts, backoff: vec![Duration::from_secs(1), Duration::from_secs(5)] }
    }

    #[test]
    fn success_completes_on_any_attempt() {
        let response = Response { reply: Some(vec![]), publications: vec![] };
        assert_eq!(dispose(Ok(Ok(response.clone())), 9, &retry(3)), Disposition::Complete(response));
    }

    #[test]
    fn a_rejection_is_dead_at_once() {
        let outcome = Ok(Err(Failure::Reject("no such customer".into())));
        let death = Death::new(Cause::Rejected, "no such customer".into());
        assert_eq!(dispose(outcome, 1, &retry(3)), Disposition::Fail(Verdict::Dead(death)));
    }

    #[test]
    fn a_retry_uses_the_handlers_delay_or_the_backoff_of_the_attempt() {
        let delay = |outcome, attempt| match dispose(outcome, attempt, &retry(9)) {
            Disposition::Fail(Verdict::Retry { delay, .. }) => delay,
            other => panic!("{other:?}"),
        };
        assert_eq!(delay(Ok(Err(Failure::Retry(Some(Duration::from_millis(7))))), 1), Duration::from_millis(7));
        assert_eq!(delay(Ok(Err(Failure::Retry(None))), 1), Duration::from_secs(1));
        assert_eq!(delay(Ok(Err(Failure::Retry(None))), 2), Duration::from_secs(5));
        assert_eq!(delay(Err(Fault::Trap("unreachable".into())), 8), Duration::from_secs(5));
    }

    #[test]
    fn a_handler_cannot_put_a_message_off_for_longer_than_a_day() {
        let day = Duration::from_secs(86_400);
        let asked = |delay| match dispose(Ok(Err(Failure::Retry(Some(delay)))), 1, &retry(9)) {
            Disposition::Fail(Verdict::Retry { delay, reason }) => (delay, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(asked(day), (day, "the handler asked to retry".to_owned()));
        let cut = (day, "the handler asked to retry after 86401 s, and a day is the most".to_owned());
        assert_eq!(asked(day + Duration::from_secs(1)), cut);
        assert_eq!(asked(Duration::from_millis(u64::MAX)).0, day);
    }

    #[test]
    fn a_failure_in_the_handlers_words_is_retried_and_at_last_the_reason_of_a_letter() {
        let failed = || Ok(Err(Failure::Failed("no stock".into())));
        let Disposition::Fail(Verdict::Retry { delay, reason }) = dispose(failed(), 1, &retry(3)) else {
            panic!("it is tried again");
        };
        assert_eq!((delay, reason.as_str()), (Duration::from_secs(1), "the handler failed: no stock"));
        let death = Death::new(Cause::Retries, "the handler failed: no stock".into());
        assert_eq!(dispose(failed(), 3, &retry(3)), Disposition::Fail(Verdict::Dead(death)));
    }

    #[test]
    fn a_delivery_that_never_finished_is_dead_without_a_call() {
        assert_eq!(triage(9, &retry(3)), None);
        assert_eq!(triage(10, &retry(3)).unwrap().cause, Cause::Exhausted);
        assert_eq!(triage(u32::MAX, &retry(u32::MAX)), None);
    }

    #[test]
    fn a_reason_is_as_long_as_a_letter_keeps_it() {
        let Disposition::Fail(Verdict::Dead(death)) = dispose(Ok(Err(Failure::Reject("é".repeat(9999)))), 1, &retry(3))
        else {
            panic!("it is rejected");
        };
        assert_eq!(death.reason.chars().count(), REASON);
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Ok(Ok(Response::default()))),
            proptest::option::of(0u64..100_000).prop_map(|ms| Ok(Err(Failure::Retry(ms.map(Duration::from_millis))))),
            ".*".prop_map(|reason| Ok(Err(Failure::Failed(reason)))),
            ".*".prop_map(|reason| Ok(Err(Failure::Reject(reason)))),
            ".*".prop_map(|text| Err(Fault::Trap(text))),
            Just(Err(Fault::Time(Duration::from_secs(1)))),
            Just(Err(Fault::Memory(1))),
            ".*".prop_map(|text| Err(Fault::Answer(text))),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_retried_on_the_last_attempt(outcome in outcomes(), max in 1u32..20, past in 0u32..5) {
            let disposition = dispose(outcome, max + past, &retry(max));
            let retried = matches!(disposition, Disposition::Fail(Verdict::Retry { .. }));
            prop_assert!(!retried);
        }

        #[test]
        fn only_rejections_die_before_the_last_attempt(outcome in outcomes(), max in 2u32..20) {
            let rejected = matches!(outcome, Ok(Err(Failure::Reject(_))));
            let dead = matches!(dispose(outcome, max - 1, &retry(max)), Disposition::Fail(Verdict::Dead(_)));
            prop_assert_eq!(dead, rejected);
        }

    }
}
