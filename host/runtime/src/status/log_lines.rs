//! Log lines that were dropped. Whoever writes the log counts them here, so that `/metrics` can tell.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// So many lines more were dropped.
pub fn count_dropped(lines: u64) {
    DROPPED.fetch_add(lines, Relaxed);
}

/// Lines dropped since the process started.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}
