//! What a handler is given, what it answers, and what the host then does: plain data and one pure function.

use std::time::Duration;

use bytes::Bytes;

use crate::config::Retry;

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
    #[error("took longer than {}", humantime::format_duration(*.0))]
    Time(Duration),
    /// The guest wanted more memory than the workload's `limits.memory`, in bytes, and gave up.
    #[error("needed more than {0} bytes of memory")]
    Memory(u64),
    /// A policy ran through its `limits.fuel`.
    #[error("used up its fuel of {0}")]
    Fuel(u64),
    /// The guest answered something that cannot be carried out.
    #[error("answered what cannot be carried out: {0}")]
    Answer(String),
    /// No instance could be made.
    #[error("did not start: {0}")]
    Start(String),
}

/// How a call ended.
pub type Outcome = Result<Result<Response, Failure>, Fault>;

/// What the host does about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Publish, reply, ack.
    Complete(Response),
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
    /// The last attempt answered what cannot be carried out, or its effects could not be confirmed.
    Effects,
    /// No instance could be made for the last attempt.
    Start,
    /// Delivered more often than the workload allows before this host tried it: it may have killed a host.
    Exhausted,
    /// The client library cannot read the message's headers, so no handler was given it.
    Unreadable,
}

impl Cause {
    /// All of them.
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

impl Fault {
    fn cause(&self) -> Cause {
        match self {
            Fault::Trap(_) => Cause::Trapped,
            Fault::Time(_) | Fault::Fuel(_) => Cause::Time,
            Fault::Memory(_) => Cause::Memory,
            Fault::Answer(_) => Cause::Effects,
            Fault::Start(_) => Cause::Start,
        }
    }
}

/// What to do about a delivery before its handler is called: a death if it has been delivered too often already.
pub fn triage(attempt: u32, retry: &Retry) -> Option<Death> {
    (attempt > retry.max_attempts).then(|| Death {
        cause: Cause::Exhausted,
        reason: format!("delivered {attempt} times, and {} are allowed", retry.max_attempts),
    })
}

/// What to do about a delivery after its handler was called.
pub fn dispose(outcome: Outcome, attempt: u32, retry: &Retry) -> Disposition {
    let (cause, reason, delay) = match outcome {
        Ok(Ok(response)) => return Disposition::Complete(response),
        Ok(Err(Failure::Reject(reason))) => return Disposition::Dead(Death { cause: Cause::Rejected, reason }),
        Ok(Err(Failure::Retry(delay))) => (Cause::Retries, "the handler asked to retry".to_owned(), delay),
        Err(fault) => (fault.cause(), fault.to_string(), None),
    };
    if attempt >= retry.max_attempts {
        return Disposition::Dead(Death { cause, reason });
    }
    Disposition::Retry { delay: delay.unwrap_or_else(|| retry.delay(attempt)), reason }
}

/// Checks that a response can be carried out: legal subjects and headers, sizes within `max_payload` bytes.
///
/// # Errors
/// [`Fault::Answer`] with the first thing that is wrong.
pub fn check(response: &Response, max_payload: usize) -> Result<(), Fault> {
    if let Some(size) = response.reply.as_ref().map(Vec::len).filter(|size| *size > max_payload) {
        return Err(Fault::Answer(format!("a reply of {size} bytes, and the server takes {max_payload}")));
    }
    for (index, publication) in response.publications.iter().enumerate() {
        check_publication(publication, max_payload)
            .map_err(|problem| Fault::Answer(format!("publication {index}: {problem}")))?;
    }
    Ok(())
}

fn check_publication(publication: &Publication, max_payload: usize) -> Result<(), String> {
    let subject = &publication.subject;
    if !is_literal_subject(subject) {
        return Err(format!("`{}` is not a literal subject", subject.escape_debug()));
    }
    let mut size = publication.payload.len();
    for (name, value) in &publication.headers {
        let legal = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !legal {
            return Err(format!("`{}` is not a legal header name", name.escape_debug()));
        }
        if name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("nats-")) {
            return Err(format!("the header `{name}` belongs to the host"));
        }
        if value.contains(['\r', '\n']) {
            return Err(format!("the value of header `{name}` has a line break"));
        }
        size += name.len() + value.len() + 4;
    }
    if size > max_payload {
        return Err(format!("{size} bytes, and the server takes {max_payload}"));
    }
    Ok(())
}

fn is_literal_subject(subject: &str) -> bool {
    !subject.is_empty()
        && subject.split('.').all(|token| !token.is_empty() && token != "*" && token != ">")
        && subject.bytes().all(|b| b > b' ' && b != 0x7f)
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
        assert_eq!(dispose(outcome, 1, &retry(3)), Disposition::Dead(death));
    }

    #[test]
    fn a_retry_uses_the_handlers_delay_or_the_backoff_of_the_attempt() {
        let delay = |outcome, attempt| match dispose(outcome, attempt, &retry(9)) {
            Disposition::Retry { delay, .. } => delay,
            other => panic!("{other:?}"),
        };
        assert_eq!(delay(Ok(Err(Failure::Retry(Some(Duration::from_millis(7))))), 1), Duration::from_millis(7));
        assert_eq!(delay(Ok(Err(Failure::Retry(None))), 1), Duration::from_secs(1));
        assert_eq!(delay(Ok(Err(Failure::Retry(None))), 2), Duration::from_secs(5));
        assert_eq!(delay(Err(Fault::Trap("unreachable".into())), 8), Duration::from_secs(5));
    }

    #[test]
    fn a_delivery_past_the_limit_is_dead_without_a_call() {
        assert_eq!(triage(3, &retry(3)), None);
        assert_eq!(triage(4, &retry(3)).unwrap().cause, Cause::Exhausted);
    }

    #[test]
    fn responses_that_cannot_be_carried_out_are_refused() {
        let publication = |subject: &str, headers: &[(&str, &str)], size| Response {
            reply: None,
            publications: vec![Publication {
                subject: subject.into(),
                headers: headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
                payload: vec![0; size],
            }],
        };
        let refused = |response: Response| check(&response, 100).is_err();
        assert!(!refused(publication("a.b", &[("X", "y z")], 50)));
        for subject in ["", ".", "a..b", "a.*", "a.>", "a b", "a\r\nb", "a.\u{7f}"] {
            assert!(refused(publication(subject, &[], 0)), "{subject:?}");
        }
        for header in [("", "v"), ("a b", "v"), ("a:b", "v"), ("nAtS-Msg-Id", "v"), ("X", "a\r\nB: c"), ("é", "v")] {
            assert!(refused(publication("a", &[header], 0)), "{header:?}");
        }
        assert!(refused(publication("a", &[], 101)));
        assert!(refused(Response { reply: Some(vec![0; 101]), publications: vec![] }));
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
            let retried = matches!(disposition, Disposition::Retry { .. });
            prop_assert!(!retried);
        }

        #[test]
        fn only_rejections_die_before_the_last_attempt(outcome in outcomes(), max in 2u32..20) {
            let rejected = matches!(outcome, Ok(Err(Failure::Reject(_))));
            let dead = matches!(dispose(outcome, max - 1, &retry(max)), Disposition::Dead(_));
            prop_assert_eq!(dead, rejected);
        }

        #[test]
        fn checking_never_panics(subject in ".*", name in ".*", value in ".*") {
            let publication = Publication { subject, headers: vec![(name, value)], payload: vec![] };
            let _ = check(&Response { reply: None, publications: vec![publication] }, 10);
        }
    }
}
