//! What a handler is given, what it answers, and what the host then does: plain data and one pure function.

use std::time::Duration;

use bytes::Bytes;

use crate::config::{Grants, Retry};

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

/// What a response has to keep to.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The largest payload with headers that the server takes, in bytes.
    pub max_payload: usize,
    /// The most publications.
    pub publications: usize,
    /// Where effects may go.
    pub grants: Grants,
}

/// Checks that a response can be carried out: as many publications as are allowed, on subjects that are granted, with legal
/// headers, and what the server takes.
///
/// # Errors
/// [`Fault::Publications`] or [`Fault::Answer`], with the first thing that is wrong.
pub fn check(response: &Response, bounds: &Bounds) -> Result<(), Fault> {
    let (max_payload, publications) = (bounds.max_payload, response.publications.len());
    if publications > bounds.publications {
        return Err(Fault::Publications { publications, limit: bounds.publications });
    }
    if let Some(size) = response.reply.as_ref().map(Vec::len).filter(|size| *size > max_payload) {
        return Err(Fault::Answer(format!("a reply of {size} bytes, and the server takes {max_payload}")));
    }
    for (index, publication) in response.publications.iter().enumerate() {
        check_publication(publication, bounds)
            .map_err(|problem| Fault::Answer(format!("publication {index}: {problem}")))?;
    }
    Ok(())
}

fn check_publication(publication: &Publication, Bounds { max_payload, grants, .. }: &Bounds) -> Result<(), String> {
    let subject = &publication.subject;
    if !is_literal_subject(subject) {
        return Err(format!("`{}` is not a literal subject", subject.escape_debug()));
    }
    if !grants.may_publish(subject) {
        return Err(format!("`{subject}` is not granted: grants.publish of its workload has no subject that matches"));
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
    if size > *max_payload {
        return Err(format!("{size} bytes, and the server takes {max_payload}"));
    }
    Ok(())
}

/// Whether a subject names one place: no wildcards, no empty tokens, nothing that could end the protocol's line.
pub(crate) fn is_literal_subject(subject: &str) -> bool {
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
    fn only_literal_subjects_are_published_on() {
        for good in ["a", "a.b", "test.foo", "ä.ö", "$x.y-z_1"] {
            assert!(is_literal_subject(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "*.a", "a\r\nPUB", "a\tb", "a\0"] {
            assert!(!is_literal_subject(bad), "{bad:?}");
        }
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

    fn bounds(max_payload: usize) -> Bounds {
        Bounds { max_payload, publications: 2, grants: Grants { publish: vec![">".into()], reply: vec![] } }
    }

    #[test]
    fn a_handler_publishes_only_where_it_is_granted_and_no_more_than_it_may() {
        let publications = |subject: &str, count| Response {
            reply: None,
            publications: vec![Publication { subject: subject.into(), ..Publication::default() }; count],
        };
        let grants = Grants { publish: vec!["out.*".into(), "log.>".into()], reply: vec![] };
        let bounds = Bounds { grants, ..bounds(100) };
        for subject in ["out.a", "log.a.b"] {
            assert_eq!(check(&publications(subject, 2), &bounds), Ok(()), "{subject}");
        }
        for subject in ["out", "out.a.b", "log", "orders.new", "$JS.API.STREAM.DELETE.ORDERS"] {
            let fault = check(&publications(subject, 1), &bounds).unwrap_err();
            assert!(fault.to_string().contains("grants.publish"), "{fault}");
        }
        let fault = check(&publications("out.a", 3), &bounds).unwrap_err();
        assert_eq!(fault.kind().limit(), Some("publications"));
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
        let refused = |response: Response| check(&response, &bounds(100)).is_err();
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
            let _ = check(&Response { reply: None, publications: vec![publication] }, &bounds(10));
        }
    }
}
