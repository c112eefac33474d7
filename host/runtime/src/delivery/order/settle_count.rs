//! How many messages were begun to be settled for good, and how many of those still count as held.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Messages that are being settled at once take the low bits: there are fewer than a million workers.
const BITS: u32 = 20;
const ONE: u64 = 1 << BITS;

/// Both numbers in one, so that they are counted together, and read of one moment.
#[derive(Debug, Default)]
pub(crate) struct SettleCount(AtomicU64);

impl SettleCount {
    /// A message is about to be settled for good, and counts as held for now.
    pub(crate) fn begins(&self) {
        self.0.fetch_add(ONE + 1, SeqCst);
    }

    /// It does not count as held any more.
    pub(crate) fn ends(&self) {
        self.0.fetch_sub(1, SeqCst);
    }

    /// Messages that were begun to be settled, ever, and those among them that still count as held.
    pub(crate) fn now(&self) -> (u64, u64) {
        let both = self.0.load(SeqCst);
        (both >> BITS, both & (ONE - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_begun_is_counted_for_ever_and_what_is_under_way_until_it_ends() {
        let count = SettleCount::default();
        (0..3).for_each(|_| count.begins());
        count.ends();
        assert_eq!(count.now(), (3, 2));
        (0..2).for_each(|_| count.ends());
        assert_eq!(count.now(), (3, 0));
    }
}
