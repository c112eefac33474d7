//! How many deliveries of one key may be handled at once, where no order is kept.

use super::keys::WORKLOAD;
use super::order;
use super::order_key::OrderKey;
use super::reader::Reader;

/// How many deliveries of one key may be handled at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerKey {
    /// What the messages of one key have in common.
    pub key: OrderKey,
    /// How many of one key may be handled at once, on this host; at least 1.
    pub max_in_flight: usize,
    /// How many messages may wait for that.
    pub buffer: usize,
    /// How many bytes these may have together.
    pub buffer_bytes: usize,
}

/// How many messages wait at most where nothing is said of it.
const USUAL: i64 = 1_000;

impl PerKey {
    /// How many messages may wait, as far as that is written; 0 where nothing does.
    pub(super) fn waiting(keys: &mut Reader<'_>) -> i64 {
        if keys.is_set("per-key.max-in-flight") { keys.maybe("per-key.buffer").unwrap_or(USUAL) } else { 0 }
    }

    /// `None` where no key is limited. `most` is what `max-ack-pending` leaves for what waits; not positive is no
    /// limit.
    pub(super) fn read(keys: &mut Reader<'_>, most: i64) -> Option<Self> {
        let (key, places) = (keys.maybe::<String>("per-key.key"), keys.maybe("per-key.max-in-flight"));
        let buffer = keys.maybe("per-key.buffer");
        let buffer_bytes = keys.get("per-key.buffer-bytes");
        let needs = |keys: &mut Reader<'_>, path: &str, other: &str| {
            let error = keys.place(path).error(format!("says nothing without {other}"), format!("add {other}"));
            keys.note(error);
        };
        let set = WORKLOAD.iter().map(|key| key.path).filter(|path| path.starts_with("per-key."));
        let first = set.into_iter().find(|path| keys.is_set(path))?;
        match (&key, places) {
            (None, _) => needs(keys, first, "per-key.key"),
            (_, None) => needs(keys, first, "per-key.max-in-flight"),
            _ => {}
        }
        if keys.is_set("order-key") {
            let problem = "is for a workload without order-key, which lets one message of a key be handled at a time";
            keys.note(keys.place(first).error(problem, "remove order-key, or this table"));
        }
        let buffer = order::buffer(keys, "per-key.buffer", buffer, USUAL, most);
        Some(Self { key: OrderKey::parse(&key?).ok()?, max_in_flight: places?, buffer, buffer_bytes })
    }
}
