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
pub struct ConsumerState {
    /// When it was made: another one of the same name has another time.
    pub created: String,
    pub config: ConsumerConfig,
    pub delivered: SequencePair,
    pub ack_floor: SequencePair,
    pub num_ack_pending: u64,
    pub num_redelivered: u64,
    pub num_pending: u64,
    /// Pulls that wait, of all hosts.
    pub num_waiting: u64,
    pub paused: bool,
    /// The server's time of day when it answered.
    pub ts: String,
}

/// A place in a stream, and in what a consumer has delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SequencePair {
    pub consumer_seq: u64,
    pub stream_seq: u64,
}

/// The settings of a consumer. Durations are nanoseconds, as the server has them.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ConsumerConfig {
    pub durable_name: String,
    pub deliver_subject: String,
    pub ack_policy: String,
    pub ack_wait: i64,
    pub max_deliver: i64,
    pub backoff: Vec<i64>,
    pub filter_subject: String,
    pub filter_subjects: Vec<String>,
    pub replay_policy: String,
    pub rate_limit_bps: u64,
    pub max_waiting: i64,
    pub max_ack_pending: i64,
    pub headers_only: bool,
    pub max_batch: i64,
    pub max_expires: i64,
    pub max_bytes: i64,
    pub inactive_threshold: i64,
    pub num_replicas: i64,
    pub mem_storage: bool,
    pub direct: bool,
    pub sourcing: bool,
    pub pause_until: String,
    pub priority_groups: Vec<String>,
    pub priority_policy: String,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
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
pub struct StreamState {
    /// When it was made: another one of the same name has another time.
    pub created: String,
    pub config: StreamConfig,
    pub state: Messages,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Messages {
    pub messages: u64,
    pub last_seq: u64,
}

/// The settings of a stream. Those that are not here change nothing for who works on it: what limits it (`max_age`,
/// `max_msgs`, `max_bytes`, `discard` and the like) drops messages before they are delivered, as its owner wants; what
/// goes for publishers (`allow_msg_ttl`, `allow_rollup_hdrs`, `max_msg_size` and the like) is theirs; how it is kept
/// (`storage`, `compression`, `placement`) is the server's.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct StreamConfig {
    pub name: String,
    pub subjects: Vec<String>,
    pub retention: String,
    pub num_replicas: i64,
    pub no_ack: bool,
    pub sealed: bool,
    pub republish: Option<Republish>,
    pub consumer_limits: ConsumerLimits,
}

/// Where a stream publishes again what it has stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Republish {
    pub dest: String,
}

/// What a stream's consumers inherit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ConsumerLimits {
    pub inactive_threshold: i64,
    pub max_ack_pending: i64,
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
