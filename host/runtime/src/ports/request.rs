//! What a handler's requests need of a NATS server.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// A request that is granted. The subject is checked by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestRequest {
    /// A literal subject.
    pub(crate) subject: String,
    /// The payload.
    pub(crate) payload: Bytes,
    /// The hop count that it carries: a stream may be bound to its subject.
    pub(crate) hops: String,
    /// How long the answer is waited for.
    pub(crate) within: Duration,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequestAnswer {
    /// The subject that it came on.
    pub(crate) subject: String,
    /// Its payload.
    pub(crate) payload: Bytes,
    /// Where whoever answered waits in turn.
    pub(crate) reply_to: Option<String>,
}

/// Why a request has no answer, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestFailed {
    /// Nobody answered in time.
    #[error("{0}")]
    Late(String),
    /// The server does not take as much at once.
    #[error("{0}")]
    TooLarge(String),
    /// The server or the connection is away.
    #[error("{0}")]
    Unavailable(String),
    /// Nobody listens, or the server does not let this host ask.
    #[error("{0}")]
    Other(String),
}

/// What comes of a request.
pub(crate) type RequestFuture<'a> = Pin<Box<dyn Future<Output = Result<RequestAnswer, RequestFailed>> + Send + 'a>>;

/// Sends the requests of one workload's handler. Dropping a future gives up the wait and not what was sent.
pub(crate) trait Requester: Send + Sync {
    /// Sends a request and waits for the first answer.
    fn request(&self, request: GuestRequest) -> RequestFuture<'_>;
}
