//! The answers to `STREAM.INFO` and `CONSUMER.INFO`.
//!
//! The types have what servers 2.10 to 2.15 have. The client library's would drop what it does not know, and a setting
//! that is not known is one that may keep a consumer from flowing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The answer to `CONSUMER.INFO`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerState {
    /// When it was made: another one of the same name has another time.
    pub(crate) created: String,
    pub(crate) config: ConsumerConfig,
    pub(crate) delivered: Position,
    pub(crate) ack_floor: Position,
    pub(crate) num_ack_pending: u64,
    pub(crate) num_redelivered: u64,
    pub(crate) num_pending: u64,
    pub(crate) paused: bool,
    /// The server's time of day when it answered.
    pub(crate) ts: String,
}

/// A place in a stream, and in what a consumer has delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Position {
    pub(crate) consumer_seq: u64,
    pub(crate) stream_seq: u64,
}

/// The settings of a consumer. Durations are nanoseconds, as the server has them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerConfig {
    pub(crate) durable_name: String,
    pub(crate) deliver_subject: String,
    pub(crate) ack_policy: String,
    pub(crate) ack_wait: i64,
    pub(crate) max_deliver: i64,
    pub(crate) backoff: Vec<i64>,
    pub(crate) filter_subject: String,
    pub(crate) filter_subjects: Vec<String>,
    pub(crate) replay_policy: String,
    pub(crate) rate_limit_bps: u64,
    pub(crate) max_waiting: i64,
    pub(crate) max_ack_pending: i64,
    pub(crate) headers_only: bool,
    pub(crate) max_batch: i64,
    pub(crate) max_expires: i64,
    pub(crate) max_bytes: i64,
    pub(crate) inactive_threshold: i64,
    pub(crate) num_replicas: i64,
    pub(crate) mem_storage: bool,
    pub(crate) direct: bool,
    pub(crate) sourcing: bool,
    pub(crate) pause_until: String,
    pub(crate) priority_groups: Vec<String>,
    pub(crate) priority_policy: String,
    #[serde(flatten)]
    pub(crate) other: BTreeMap<String, Value>,
}

/// Settings of a consumer that change nothing for who pulls from it, or that only say where it started.
const HARMLESS: [&str; 12] = [
    "name",
    "description",
    "metadata",
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "sample_freq",
    "priority_timeout",
    // Of push consumers.
    "deliver_group",
    "flow_control",
    "idle_heartbeat",
    // Of servers before 2.10.
    "max_request_batch",
];

impl ConsumerConfig {
    /// The subjects that it is limited to; none if to nothing.
    pub(crate) fn filters(&self) -> Vec<String> {
        let single = Some(self.filter_subject.clone()).filter(|subject| !subject.is_empty());
        let mut all: Vec<String> = self.filter_subjects.iter().cloned().chain(single).collect();
        all.sort();
        if all == [">"] { Vec::new() } else { all }
    }

    /// How long the server waits at least before it delivers again: a backoff takes the place of the ack wait.
    pub(crate) fn shortest_ack_wait(&self) -> Duration {
        duration(self.backoff.iter().copied().min().unwrap_or(self.ack_wait))
    }

    /// The settings that nobody here knows.
    pub(super) fn unknown(&self) -> Vec<&str> {
        self.other.keys().map(String::as_str).filter(|name| !HARMLESS.contains(name)).collect()
    }
}

/// The answer to `STREAM.INFO`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    /// When it was made: another one of the same name has another time.
    pub(crate) created: String,
    pub(crate) config: StreamConfig,
    pub(crate) state: Messages,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Messages {
    pub(crate) messages: u64,
    pub(crate) last_seq: u64,
}

/// The settings of a stream. Those that are not here change nothing for who works on it: what limits it (`max_age`,
/// `max_msgs`, `max_bytes`, `discard` and the like) drops messages before they are delivered, as its owner wants; what
/// goes for publishers (`allow_msg_ttl`, `allow_rollup_hdrs`, `max_msg_size` and the like) is theirs; how it is kept
/// (`storage`, `compression`, `placement`) is the server's.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamConfig {
    pub(crate) name: String,
    pub(crate) subjects: Vec<String>,
    pub(crate) retention: String,
    pub(crate) num_replicas: i64,
    pub(crate) no_ack: bool,
    pub(crate) sealed: bool,
    pub(crate) republish: Option<Republish>,
    pub(crate) consumer_limits: ConsumerLimits,
}

/// Where a stream publishes again what it has stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Republish {
    pub(crate) dest: String,
}

/// What a stream's consumers inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerLimits {
    pub(crate) inactive_threshold: i64,
    pub(crate) max_ack_pending: i64,
}

impl StreamConfig {
    pub(crate) fn is_workqueue(&self) -> bool {
        self.retention == "workqueue"
    }

    pub(crate) fn is_interest(&self) -> bool {
        self.retention == "interest"
    }
}

/// Nanoseconds as the server has them; what is negative is none.
pub(crate) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
