//! What a handler is given, what it answers, and what the host then does: plain data and one pure function.

use std::time::Duration;

use bytes::Bytes;

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
