//! The settings with which the host makes a workload's stream and consumers, where the configuration lets it.

use std::time::Duration;

use serde_json::{Value, json};

use super::settings::{PINNED, StreamConfig};
use crate::config::{Queue, Retention};

/// The settings of a workload's stream.
pub(super) fn stream(queue: &Queue) -> Value {
    let mut wanted = json!({
        "name": queue.stream,
        "subjects": queue.subjects,
        "retention": match queue.retention {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::Workqueue => "workqueue",
        },
        "storage": "file",
        "num_replicas": 1,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": queue.max_bytes.unwrap_or(-1),
        "max_msg_size": -1,
        "discard": "old",
    });
    let mapping = queue.partition.as_ref().zip(queue.subjects.first()).and_then(|(of, subject)| of.mapping(subject));
    if let (Some(mapping), Some(wanted)) = (mapping, wanted.as_object_mut()) {
        let transform = json!({ "src": mapping.source, "dest": mapping.destination });
        wanted.insert("subject_transform".to_owned(), transform);
    }
    wanted
}

/// The first version of the server that has priority groups.
pub(super) const GROUPS_SINCE: (i64, i64) = (2, 11);
/// The priority group that is made.
const GROUP: &str = "tidegate";
/// How long a pinned host may be silent. It pulls four times as often.
const PIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The settings of a workload's consumer. `known` is the sequence up to which an earlier consumer of the same name was
/// settled; with `pins`, it gives messages to one host at a time; with `paused_until`, it delivers nothing before then.
pub(super) fn consumer(
    queue: &Queue,
    stream: &StreamConfig,
    known: Option<u64>,
    (pins, paused_until): (bool, Option<&str>),
) -> Value {
    let limit = stream.consumer_limits.max_ack_pending;
    let max_ack_pending = if limit > 0 { queue.max_ack_pending.min(limit) } else { queue.max_ack_pending };
    let mut wanted = json!({
        "durable_name": queue.consumer,
        "name": queue.consumer,
        "ack_policy": "explicit",
        "ack_wait": u64::try_from(queue.ack_wait.as_nanos()).unwrap_or(u64::MAX),
        "max_deliver": -1,
        "filter_subjects": queue.filters(),
        "max_waiting": queue.max_waiting,
        "max_ack_pending": max_ack_pending,
        "replay_policy": "instant",
        "deliver_policy": "all",
    });
    if let (true, Some(wanted)) = (pins, wanted.as_object_mut()) {
        wanted.insert("priority_groups".to_owned(), json!([GROUP]));
        wanted.insert("priority_policy".to_owned(), json!(PINNED));
        let timeout = u64::try_from(PIN_TIMEOUT.as_nanos()).unwrap_or(u64::MAX);
        wanted.insert("priority_timeout".to_owned(), json!(timeout));
    }
    if let (Some(until), Some(wanted)) = (paused_until, wanted.as_object_mut()) {
        wanted.insert("pause_until".to_owned(), json!(until));
    }
    // A stream with workqueue retention holds no settled messages, and its consumers must start at the beginning.
    if let (Some(known), Some(wanted), false) = (known, wanted.as_object_mut(), stream.is_workqueue()) {
        wanted.insert("deliver_policy".to_owned(), json!("by_start_sequence"));
        wanted.insert("opt_start_seq".to_owned(), json!(known + 1));
    }
    wanted
}

/// The settings of the consumer by which the `headers` source counts arrivals.
pub(super) fn watch_consumer(queue: &Queue, stream: &StreamConfig) -> Value {
    json!({
        "durable_name": queue.watch_consumer,
        "name": queue.watch_consumer,
        "ack_policy": "all",
        "headers_only": true,
        "max_deliver": -1,
        "filter_subjects": queue.filters(),
        "max_ack_pending": -1,
        "replay_policy": "instant",
        // Messages that are in the stream already are no arrivals. But an interest stream keeps a message until this
        // consumer has acknowledged it, so there the consumer has to see all of them.
        "deliver_policy": if stream.is_interest() { "all" } else { "new" },
    })
}
