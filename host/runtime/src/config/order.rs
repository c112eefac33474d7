//! Which messages are handled one after the other.

use super::order_key::OrderKey;
use super::reader::Reader;

/// Which messages are handled one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What the messages of one key have in common.
    pub key: OrderKey,
    /// How many messages may wait for an earlier one of their key.
    pub buffer: usize,
    /// How many bytes these may have together.
    pub buffer_bytes: usize,
    /// Whether the hosts of a fleet share the consumer, of which one at a time may be given messages.
    pub in_fleet: bool,
}

impl Order {
    /// `None` where no order is kept. `buffer` is what `order-buffer` says, `most` what `max-ack-pending` leaves for
    /// what waits; not positive is no limit.
    pub(super) fn read(keys: &mut Reader<'_>, buffer: Option<i64>, most: i64) -> Option<Self> {
        let wanted = keys.maybe::<String>("order-key");
        let buffer_bytes = keys.get("order-buffer-bytes");
        let Some(key) = wanted else {
            let set = ["order-buffer", "order-buffer-bytes"].into_iter().find(|key| keys.is_set(key));
            if let Some(path) = set {
                let problem = "is for a workload that keeps an order, and this one has no order-key";
                keys.note(keys.place(path).error(problem, "give order-key as well, or remove it"));
            }
            return None;
        };
        let key = OrderKey::parse(&key).ok()?;
        let buffer = self::buffer(keys, "order-buffer", buffer, USUAL, most);
        Some(Self { key, buffer, buffer_bytes, in_fleet: false })
    }
}

/// How many messages may wait, where the key at `path` says so many and `usual` if it says nothing.
pub(super) fn buffer(keys: &mut Reader<'_>, path: &str, wanted: Option<i64>, usual: i64, most: i64) -> usize {
    let most = if most > 0 { most } else { i64::MAX };
    if let Some(buffer) = wanted.filter(|buffer| *buffer > most) {
        let problem = format!(
            "{buffer} is more than max-ack-pending, which is {most}: what waits is unsettled, and the server \
             delivers no more than that"
        );
        let remedy = format!("write at most {most}, or raise max-ack-pending");
        keys.problems.push(keys.place(path).error(problem, remedy));
    }
    usize::try_from(wanted.unwrap_or(usual).min(most)).unwrap_or(usize::MAX)
}

/// How many messages wait at most where nothing is said of it.
pub(super) const USUAL: i64 = 10_000;
