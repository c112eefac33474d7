//! The deliveries that a worker has handled and whose publications are not confirmed yet.

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::delivery::settle::Settled;

/// How many deliveries may wait while the worker goes on.
const MOST: usize = 256;

/// How many bytes these deliveries and their publications may have together. A larger one waits alone.
const MOST_BYTES: usize = 8 << 20;

/// Deliveries of one worker whose publications are on their way.
#[derive(Default)]
pub(crate) struct PendingPublications {
    waiting: FuturesUnordered<BoxFuture<'static, (u64, Settled, usize)>>,
    bytes: usize,
}

impl PendingPublications {
    /// Adds the delivery with this sequence. `bytes` are those of the delivery and of its publications.
    pub(crate) fn push(&mut self, sequence: u64, bytes: usize, rest: BoxFuture<'static, Settled>) {
        self.bytes += bytes;
        self.waiting.push(Box::pin(async move { (sequence, rest.await, bytes) }));
    }

    /// Whether no delivery waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the worker has to wait before it goes on.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST || self.bytes >= MOST_BYTES
    }

    /// Waits until one of the deliveries is settled. `None` if none waits. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<(u64, Settled)> {
        let (sequence, how, bytes) = self.waiting.next().await?;
        self.bytes = self.bytes.saturating_sub(bytes);
        Some((sequence, how))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> BoxFuture<'static, Settled> {
        Box::pin(std::future::ready(Settled::Acked))
    }

    #[tokio::test]
    async fn a_worker_waits_for_many_deliveries_or_for_large_ones() {
        let mut pending = PendingPublications::default();
        for sequence in 0..256 {
            assert!(!pending.is_full());
            pending.push(sequence, 100, done());
        }
        assert!(pending.is_full());
        while pending.next().await.is_some() {}
        assert!(pending.is_empty() && !pending.is_full());
        pending.push(1, 5 << 20, done());
        assert!(!pending.is_full());
        pending.push(2, 5 << 20, done());
        assert!(pending.is_full());
        pending.next().await;
        assert!(!pending.is_full());
    }
}
