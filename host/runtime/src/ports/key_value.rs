//! What a handler's key-value capability needs of JetStream.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// Why an operation was not done, or is not known to be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KvError {
    /// There is no such bucket.
    #[error("{0}")]
    NoBucket(String),
    /// The key has another revision than was expected.
    #[error("{0}")]
    Conflict(String),
    /// It can never be done: the value is too large for the server.
    #[error("{0}")]
    Refused(String),
    /// It is not done before somebody edits the bucket: the value is larger than that lets it be. Says how.
    #[error("{0}")]
    TooLarge(String),
    /// The server does not do it now. A write may have been done all the same.
    #[error("{0}")]
    Unavailable(String),
}

/// A key as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KvEntry {
    /// The position of its last change in the bucket's stream; 0 if it never was there. A deletion is a change.
    pub(crate) revision: u64,
    /// Its value; `None` if it is not there.
    pub(crate) value: Option<Bytes>,
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KvPage {
    /// Keys, the oldest change first.
    pub(crate) keys: Vec<String>,
    /// From which revision on the next page is; `None` if this is the last.
    pub(crate) next: Option<u64>,
}

/// What comes of an operation.
pub(crate) type KvFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KvError>> + Send + 'a>>;

/// The buckets of one workload. Keys are checked by the caller. Dropping a future gives up the wait and not what was
/// sent.
pub(crate) trait KeyValue: Send + Sync {
    /// Reads a key. Whoever has written it sees that, or something newer.
    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> KvFuture<'a, KvEntry>;

    /// Sets a key, if its revision is the expected one; gives the new revision. Several that are polled in an order are
    /// sent in that order.
    fn set<'a>(&'a self, bucket: &'a str, key: &'a str, value: Bytes, expected: Option<u64>) -> KvFuture<'a, u64>;

    /// Deletes a key, whether it is there or not.
    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> KvFuture<'a, ()>;

    /// The keys that begin with one of these prefixes, from a revision on.
    fn keys<'a>(&'a self, bucket: &'a str, prefixes: &'a [&'a str], from: u64) -> KvFuture<'a, KvPage>;
}
