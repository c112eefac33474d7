//! Which key is to blame where nothing more is fetched, because too many messages wait for their turn.

use super::{Held, Inbox};
use crate::delivery::order::Limits;

/// Why nothing more is fetched: the messages of a key that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FullBuffer {
    /// The key, or nothing where the message has none.
    pub(crate) key: String,
    /// The message that the others wait for, or the first of those that wait for a place.
    pub(crate) sequence: u64,
    /// What it is that the others wait for.
    pub(crate) blocks: Blocks,
    /// How many messages may wait.
    pub(crate) messages: usize,
}

/// What messages of a key wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// For a message of it that is being handled.
    Handled,
    /// For a message of it that failed and waits to be tried again.
    Failed,
    /// For one of so many that are being handled at once.
    Places(usize),
}

/// Whether nothing more is fetched where so much of the buffer is free.
pub(super) fn is_full(room: Limits, limits: Limits) -> bool {
    room.messages * 4 < limits.messages || room.bytes <= limits.bytes / 4
}

impl<D: Held> Inbox<D> {
    /// Of how many keys messages wait or are handled. `None` where no order is kept, where deliveries are elsewhere,
    /// and where messages are `pending` that can still be fetched, for they may have other keys.
    pub(crate) fn keys_waiting(&self, pending: bool) -> Option<u32> {
        let order = self.order.as_ref()?;
        let state = order.state.lock();
        let limits = order.limits();
        let all_known = !pending || is_full(state.dispatch.room(limits), limits);
        let keys = (all_known && state.here.is_complete()).then(|| state.dispatch.keys())?;
        Some(u32::try_from(keys).unwrap_or(u32::MAX))
    }

    /// The key to blame, if nothing more is fetched because too many messages wait for earlier ones of their key.
    pub(crate) fn full_buffer(&self) -> Option<FullBuffer> {
        let order = self.order.as_ref()?;
        let state = order.state.lock();
        let limits = order.limits();
        if !is_full(state.dispatch.room(limits), limits) {
            return None;
        }
        let fullest = state.dispatch.fullest()?;
        let first = fullest.first.held.delivery();
        Some(FullBuffer {
            key: order.hasher.text(first).unwrap_or_default().to_owned(),
            sequence: fullest.begun.unwrap_or(first.stream_sequence),
            blocks: if fullest.until.is_some() { Blocks::Failed } else { Blocks::Handled },
            messages: limits.messages,
        })
    }
}
