//! What can be seen of keys while an order is kept, or few of a key are handled at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Numbers of a workload that keeps an order, or handles few of a key at once.
#[derive(Debug, Default)]
pub(crate) struct KeysSeen {
    keys: AtomicUsize,
    waiting: AtomicUsize,
    incomplete: AtomicU64,
}

impl KeysSeen {
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

    /// Deliveries that wait for others of their key, or to be tried again.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How often nothing more began because a delivery was elsewhere.
    pub(crate) fn incomplete(&self) -> u64 {
        self.incomplete.load(Relaxed)
    }
}
