//! What a handler is given, what it answers, and what the host then does: plain data and one pure function.

use std::time::Duration;

use bytes::Bytes;

use crate::config::Retry;

mod check;

pub use check::{Bounds, MAX_HEADERS, check};
pub(crate) use check::{check_subject, shown};

/// The most characters of a reason that are kept.
const REASON: usize = 1000;

/// One message as JetStream delivered it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivery {
    /// The subject it was published on.
    pub subject: String,
    /// Its headers, as published.
    pub headers: Vec<(String, String)>,
    /// Its payload, as published.
    pub payload: Bytes,
    /// Its position in the stream, from 1.
    pub stream_sequence: u64,
    /// How often it has been delivered, this time included.
    pub attempt: u32,
    /// When the stream stored it: milliseconds since the Unix epoch, by the server's clock.
    pub published_at_ms: u64,
    /// Where a requester waits for a reply, if one does.
    pub reply_to: Option<String>,
}

impl Delivery {
    /// Bytes of what was published.
    pub fn size(&self) -> usize {
        self.payload.len() + size(&self.headers)
    }
}

fn size(headers: &[(String, String)]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// A message that a handler wants published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    /// A literal subject.
    pub subject: String,
    /// Headers without the `Nats-` prefix.
    pub headers: Vec<(String, String)>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What a handler answers when it succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The reply to the requester; `None` sends none.
    pub reply: Option<Vec<u8>>,
    /// What to publish, in order.
    pub publications: Vec<Publication>,
}

impl Response {
    /// Bytes of the reply and of what is published.
    pub fn size(&self) -> usize {
        let publication = |publication: &Publication| {
            publication.payload.len() + publication.subject.len() + size(&publication.headers)
        };
        self.reply.as_ref().map_or(0, Vec::len) + self.publications.iter().map(publication).sum::<usize>()
    }
}

/// What a handler answers when it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Try again, after this delay or after the workload's backoff.
    Retry(Option<Duration>),
    /// Never try again, for this reason.
    Reject(String),
}

/// A call that did not come back with an answer. The instance it happened in is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest trapped: `unreachable`, a panic, a stack overflow, an index out of bounds.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call took longer than the workload's `limits.time`.
    #[error("took longer than the {} that limits.time allows", humantime::format_duration(*.0))]
    Time(Duration),
    /// The guest wanted more memory than the workload's `limits.memory`, in bytes, and gave up.
    #[error("needed more than the {0} bytes of memory that limits.memory allows")]
    Memory(u64),
    /// The guest wanted more table elements than the workload's `limits.table-elements`, and trapped.
    #[error("needed more than the {limit} table elements that limits.table-elements allows: {trap}")]
    Table {
        /// The limit.
        limit: u64,
        /// What the trap was.
        trap: String,
    },
    /// A policy ran through its `limits.fuel`.
    #[error("used up the fuel of {0} that limits.fuel allows")]
    Fuel(u64),
    /// The guest wanted to hand over more bytes at once than the workload's `limits.response`.
    #[error("handed over more than the {0} bytes that limits.response allows")]
    Response(u64),
    /// The handler answered with more publications than the workload's `limits.publications`.
    #[error("answered with {publications} publications, and limits.publications is {limit}")]
    Publications {
        /// How many there were.
        publications: usize,
        /// The limit.
        limit: usize,
    },
    /// The guest answered something that cannot be carried out.
    #[error("answered what cannot be carried out: {0}")]
    Answer(String),
    /// No instance could be made.
    #[error("did not start: {0}")]
    Start(String),
    /// This process has no room for an instance. No guest is to blame.
    #[error("found no room: {0}")]
    Room(String),
}

/// How a call ended.
pub type Outcome = Result<Result<Response, Failure>, Fault>;

/// What the host does about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Publish, reply, ack.
    Complete(Response),
    /// It failed.
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

/// Why a message will not be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The kind of the last failure.
    pub cause: Cause,
    /// What the handler or the host said about it.
    pub reason: String,
}

/// The kind of a failure, as dead letters name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The handler rejected the message.
    Rejected,
    /// The handler asked for one more try than the workload allows.
    Retries,
    /// The last attempt trapped.
    Trapped,
    /// The last attempt took too long.
    Time,
    /// The last attempt needed too much memory.
    Memory,
    /// The last attempt answered what cannot be carried out.
    Effects,
    /// No instance could be made for the last attempt.
    Start,
    /// Delivered several times as often as the workload tries a message, and never finished: it may have killed its hosts.
    Exhausted,
    /// The client library cannot read the message's headers, so no handler was given it.
    Unreadable,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Rejected,
        Self::Retries,
        Self::Trapped,
        Self::Time,
        Self::Memory,
        Self::Effects,
        Self::Start,
        Self::Exhausted,
        Self::Unreadable,
    ];

    /// The word that stands in a dead letter's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Rejected => "rejected",
            Cause::Retries => "retries",
            Cause::Trapped => "trapped",
            Cause::Time => "time",
            Cause::Memory => "memory",
            Cause::Effects => "effects",
            Cause::Start => "start",
            Cause::Exhausted => "exhausted",
            Cause::Unreadable => "unreadable",
        }
    }
}

/// The kind of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// [`Fault::Trap`]
    Trap,
    /// [`Fault::Time`]
    Time,
    /// [`Fault::Memory`]
    Memory,
    /// [`Fault::Table`]
    Table,
    /// [`Fault::Fuel`]
    Fuel,
    /// [`Fault::Response`]
    Response,
    /// [`Fault::Publications`]
    Publications,
    /// [`Fault::Answer`]
    Answer,
    /// [`Fault::Start`] and [`Fault::Room`]
    Start,
}

impl FaultKind {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Trap,
        Self::Time,
        Self::Memory,
        Self::Table,
        Self::Fuel,
        Self::Response,
        Self::Publications,
        Self::Answer,
        Self::Start,
    ];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Time => "time",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Fuel => "fuel",
            Self::Response => "response",
            Self::Publications => "publications",
            Self::Answer => "answer",
            Self::Start => "start",
        }
    }

    /// The key in `limits` that says how much is allowed, if it is a limit that the guest ran into.
    pub fn limit(self) -> Option<&'static str> {
        match self {
            Self::Table => Some("table-elements"),
            Self::Time | Self::Memory | Self::Fuel | Self::Response | Self::Publications => Some(self.as_str()),
            Self::Trap | Self::Answer | Self::Start => None,
        }
    }
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> FaultKind {
        match self {
            Fault::Trap(_) => FaultKind::Trap,
            Fault::Time(_) => FaultKind::Time,
            Fault::Memory(_) => FaultKind::Memory,
            Fault::Table { .. } => FaultKind::Table,
            Fault::Fuel(_) => FaultKind::Fuel,
            Fault::Response(_) => FaultKind::Response,
            Fault::Publications { .. } => FaultKind::Publications,
            Fault::Answer(_) => FaultKind::Answer,
            Fault::Start(_) | Fault::Room(_) => FaultKind::Start,
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Fault::Trap(_) => Cause::Trapped,
            Fault::Time(_) | Fault::Fuel(_) => Cause::Time,
            Fault::Memory(_) | Fault::Table { .. } => Cause::Memory,
            Fault::Answer(_) | Fault::Response(_) | Fault::Publications { .. } => Cause::Effects,
            Fault::Start(_) | Fault::Room(_) => Cause::Start,
        }
    }
}

/// What to do about a delivery before its handler is called: a death if its attempts, those that no host saw the end of among
/// them, are far more than it may have. `attempts` counts this one.
pub fn triage(attempts: u32, retry: &Retry) -> Option<Death> {
    let most = retry.max_deliveries();
    (attempts > most).then(|| Death {
        cause: Cause::Exhausted,
        reason: format!(
            "delivered {attempts} times and never finished, and {most} times are allowed: it may kill its hosts"
        ),
    })
}

/// What to do about a delivery after its handler was called for the `attempt`th time.
pub fn dispose(outcome: Outcome, attempt: u32, retry: &Retry) -> Disposition {
    Disposition::Fail(match outcome {
        Ok(Ok(response)) => return Disposition::Complete(response),
        Ok(Err(Failure::Reject(reason))) => Verdict::Dead(Death { cause: Cause::Rejected, reason: cut(reason) }),
        Ok(Err(Failure::Retry(delay))) => {
            judge(Cause::Retries, "the handler asked to retry".to_owned(), delay, attempt, retry)
        }
        Err(fault) => judge(fault.cause(), fault.to_string(), None, attempt, retry),
    })
}

/// What to do about a response that turned out not to be possible to carry out.
pub fn refused(problem: String, attempt: u32, retry: &Retry) -> Verdict {
    let fault = Fault::Answer(problem);
    judge(fault.cause(), fault.to_string(), None, attempt, retry)
}

fn judge(cause: Cause, reason: String, delay: Option<Duration>, attempt: u32, retry: &Retry) -> Verdict {
    let reason = cut(reason);
    if attempt >= retry.max_attempts {
        return Verdict::Dead(Death { cause, reason });
    }
    Verdict::Retry { delay: delay.unwrap_or_else(|| retry.delay(attempt)), reason }
}

/// A reason is a guest's text, and it is remembered and logged.
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
        let death = Death { cause: Cause::Rejected, reason: "no such customer".into() };
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

    #[test]
    fn every_byte_that_is_sent_or_was_published_counts() {
        let headers = vec![("ab".to_owned(), "cde".to_owned())];
        let delivery = Delivery { headers: headers.clone(), payload: "fg".into(), ..Delivery::default() };
        assert_eq!(delivery.size(), 7);
        let publication = Publication { subject: "s.t".into(), headers, payload: vec![0; 10] };
        assert_eq!(Response { reply: Some(vec![0; 100]), publications: vec![publication] }.size(), 118);
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Ok(Ok(Response::default()))),
            proptest::option::of(0u64..100_000).prop_map(|ms| Ok(Err(Failure::Retry(ms.map(Duration::from_millis))))),
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
