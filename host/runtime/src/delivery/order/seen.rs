//! What can be seen of an order while it is kept.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Numbers of a workload that keeps an order.
#[derive(Debug, Default)]
pub(crate) struct OrderSeen {
    keys: AtomicUsize,
    waiting: AtomicUsize,
    incomplete: AtomicU64,
}

impl OrderSeen {
    pub(crate) fn set(&self, keys: usize, waiting: usize) {
        self.keys.store(keys, Relaxed);
        self.waiting.store(waiting, Relaxed);
    }

    /// Counts a time at which a delivery was missing.
    pub(crate) fn missed(&self) {
        self.incomplete.fetch_add(1, Relaxed);
    }

    /// Keys of which a message is held: begun, or waiting.
    pub(crate) fn keys(&self) -> usize {
        self.keys.load(Relaxed)
    }

    /// Deliveries that wait for an earlier message of their key, or to be tried again.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How often nothing more began because a delivery was elsewhere.
    pub(crate) fn incomplete(&self) -> u64 {
        self.incomplete.load(Relaxed)
    }
}
