//! How many bytes may wait.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that may wait to be written or stored: a state may have 64 KiB, so that a number of lines alone bounds little.
const BYTES: usize = 16 << 20;

/// ByteBudget for what waits.
#[derive(Debug, Default)]
pub(crate) struct ByteBudget(AtomicUsize);

impl ByteBudget {
    /// Takes room for so many bytes, if there is.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let has_room = self.0.fetch_add(bytes, Relaxed).saturating_add(bytes) <= BYTES;
        if !has_room {
            self.give(bytes);
        }
        has_room
    }

    /// Gives it back.
    pub(crate) fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_takes_none() {
        let room = ByteBudget::default();
        assert!(room.take(BYTES - 1) && !room.take(2) && room.take(1) && !room.take(1));
        room.give(1);
        assert!(room.take(1));
    }
}
