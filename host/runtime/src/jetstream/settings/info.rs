//! The answers to `STREAM.INFO` and `CONSUMER.INFO`.
//!
//! These types know the settings of servers 2.10 to 2.15, and keep unknown ones too. The client library's types drop
//! unknown settings, any of which may keep a consumer from delivering.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::delivery::consumer_settings::PinGroup;

/// The priority policy by which one client at a time is given messages.
pub(crate) const PINNED: &str = "pinned_client";

/// The end of a pause that lasts until somebody ends it. The server wants one.
pub(crate) const FOR_EVER: &str = "2200-01-01T00:00:00Z";

/// The answer to `CONSUMER.INFO`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ConsumerState {
    /// When the consumer was made. Another consumer of the same name has another time.
    pub created: String,
    pub config: ConsumerConfig,
    pub delivered: SequencePair,
    pub ack_floor: SequencePair,
    pub num_ack_pending: u64,
    pub num_redelivered: u64,
    pub num_pending: u64,
    /// Pulls of all hosts that wait.
    pub num_waiting: u64,
    pub paused: bool,
    pub priority_groups: Vec<GroupState>,
    /// The server's time of day when it answered.
    pub ts: String,
}

/// A priority group of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct GroupState {
    pub group: String,
    /// By what the server knows the pinned client; nothing if there is none.
    pub pinned_client_id: String,
}

/// A sequence in a stream, and the consumer's own sequence that belongs to it.
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
    pub priority_timeout: i64,
    pub metadata: Metadata,
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Under what hosts tell each other, at a consumer, which attempts do not count.
pub(crate) const EXCUSED: &str = "tidegate.excused";

/// What was noted at a consumer, as far as hosts read it. It is no setting: whatever is noted, a consumer is not edited
/// by that.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    #[serde(rename = "tidegate.excused")]
    pub excused: String,
}

impl PartialEq for Metadata {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Settings of a consumer that change nothing for pulls, or that only say where it started.
const HARMLESS: [&str; 10] = [
    "name",
    "description",
    "deliver_policy",
    "opt_start_seq",
    "opt_start_time",
    "sample_freq",
    // Of push consumers.
    "deliver_group",
    "flow_control",
    "idle_heartbeat",
    // Of servers before 2.10.
    "max_request_batch",
];

impl ConsumerState {
    /// Whether nothing waits or is unsettled.
    pub(crate) fn is_drained(&self) -> bool {
        self.num_pending == 0 && self.num_ack_pending == 0
    }
}

impl ConsumerConfig {
    /// The subjects that the consumer is limited to. Empty if it takes all.
    pub(crate) fn filters(&self) -> Vec<String> {
        let single = Some(self.filter_subject.clone()).filter(|subject| !subject.is_empty());
        let mut all: Vec<String> = self.filter_subjects.iter().cloned().chain(single).collect();
        all.sort();
        if all == [">"] { Vec::new() } else { all }
    }

    /// The shortest time until the server delivers again. A backoff replaces the ack wait.
    pub(crate) fn shortest_ack_wait(&self) -> Duration {
        duration(self.backoff.iter().copied().min().unwrap_or(self.ack_wait))
    }

    /// The group of which one host at a time is given messages, if the consumer is made so.
    pub(super) fn pin_group(&self) -> Option<PinGroup> {
        let name = self.priority_groups.first().filter(|_| self.priority_policy == PINNED)?.clone();
        Some(PinGroup { name, timeout: duration(self.priority_timeout) })
    }

    /// The names of settings that these types do not know.
    pub(super) fn unknown(&self) -> Vec<&str> {
        self.other.keys().map(String::as_str).filter(|name| !HARMLESS.contains(name)).collect()
    }
}

/// The answer to `STREAM.INFO`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct StreamState {
    /// When the stream was made. Another stream of the same name has another time.
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

/// The settings of a stream that matter to a host. Limits (`max_msgs`, `max_bytes`, `discard` and the like) matter
/// where it keeps dead letters; of a workload's stream they drop messages before they are delivered, as its owner
/// wants. Left out are settings for publishers (`allow_msg_ttl`, `allow_rollup_hdrs` and the like), and settings for
/// storage (`storage`, `compression`, `placement`).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct StreamConfig {
    pub name: String,
    pub subjects: Vec<String>,
    pub retention: String,
    pub discard: String,
    pub discard_new_per_subject: bool,
    pub max_msgs: i64,
    pub max_bytes: i64,
    pub max_msgs_per_subject: i64,
    pub max_msg_size: i64,
    pub num_replicas: i64,
    pub no_ack: bool,
    pub sealed: bool,
    pub allow_msg_counter: bool,
    pub republish: Option<Republish>,
    pub subject_transform: Option<SubjectTransform>,
    pub consumer_limits: ConsumerLimits,
    pub mirror: Option<Origin>,
    pub sources: Vec<Origin>,
}

/// The subject on which a stream publishes again what it has stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Republish {
    pub dest: String,
}

/// How a stream maps the subjects of what it stores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct SubjectTransform {
    pub src: String,
    pub dest: String,
}

/// A stream that another has messages from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Origin {
    pub name: String,
    pub filter_subject: String,
    pub subject_transforms: Vec<SubjectTransform>,
    pub external: Option<External>,
    /// The consumer by which its messages come, where somebody has made one for that.
    pub consumer: Option<Value>,
}

/// Where a stream of another domain or account is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct External {
    pub api: String,
}

impl Origin {
    /// Whether it is a stream of another domain or account, whatever its name.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.external.as_ref().is_some_and(|external| !external.api.is_empty())
    }

    /// The subjects that its messages are limited to. Empty if all are taken.
    pub(super) fn filters(&self) -> Vec<&str> {
        let mapped = self.subject_transforms.iter().map(|transform| transform.src.as_str());
        mapped.chain([self.filter_subject.as_str()]).filter(|subject| !subject.is_empty()).collect()
    }
}

/// Limits that a stream's consumers inherit.
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

    /// Whether a full stream takes no more, and deletes nothing.
    pub(super) fn is_discard_new(&self) -> bool {
        self.discard == "new"
    }

    /// Whether the same holds for each subject.
    pub(super) fn refuses_per_subject(&self) -> bool {
        self.is_discard_new() && self.discard_new_per_subject
    }
}

/// A duration of this many nanoseconds, as the server has them. Negative numbers count as zero.
pub(crate) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
