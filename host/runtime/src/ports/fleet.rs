//! What a fleet needs of JetStream: one key-value bucket.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::key_value::{KvEntry, KvError, KvFuture};

/// A key that was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyChange {
    /// The key.
    pub(crate) key: String,
    /// The place of the change in the bucket's stream.
    pub(crate) revision: u64,
    /// Its value; `None` if it was deleted.
    pub(crate) value: Option<Bytes>,
}

/// Changes as they come, in the order of the bucket's stream. An error ends it.
pub(crate) type KeyChanges = BoxStream<'static, Result<KeyChange, KvError>>;

/// What a bucket loses of what is written into it, by its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Forgetting {
    /// After how long it forgets a key, if it does.
    pub(crate) after: Option<Duration>,
    /// Whether it drops what was written first where it is full, as it may be.
    pub(crate) drops_oldest: bool,
}

/// The bucket of a fleet. Errors say what mends them. Dropping a future gives up the wait and not what was sent.
pub(crate) trait FleetBucket: Send + Sync {
    /// Finds the bucket, or makes it if this host may. Gives what it loses.
    fn find(&self) -> KvFuture<'_, Forgetting>;

    /// Reads a key. Whoever has written it sees that, or something newer.
    fn get<'a>(&'a self, key: &'a str) -> KvFuture<'a, KvEntry>;

    /// Writes a key, if its revision is the expected one; gives the new revision.
    fn put<'a>(&'a self, key: &'a str, value: Bytes, expected: Option<u64>) -> KvFuture<'a, u64>;

    /// Deletes a key, whether it is there or not, if its revision is the expected one. Watches are told.
    fn delete<'a>(&'a self, key: &'a str, expected: Option<u64>) -> KvFuture<'a, ()>;

    /// Removes what there is of a key up to this revision, so that nothing of it is left. Watches are not told.
    fn forget<'a>(&'a self, key: &'a str, until: u64) -> KvFuture<'a, ()>;

    /// The last version of each of these keys, in their order, and then each change.
    fn watch(&self, keys: Vec<String>) -> KvFuture<'_, KeyChanges>;
}
