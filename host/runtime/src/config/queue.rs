//! The stream and the consumer of a workload.

use std::time::Duration;

use super::names::{self, overlap};
use super::partitions::Partition;
use super::reader::Reader;
use super::scale::{PullConfig, Scale};
use super::words::{Manage, Retention, SignalSource};

/// A stream and the durable consumer that a workload works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// The stream's name.
    pub stream: String,
    /// The durable consumer's name.
    pub consumer: String,
    /// Whether the host makes what is missing.
    pub manage: Manage,
    /// The stream's subjects, where the host makes the stream.
    pub subjects: Vec<String>,
    /// The stream's retention, where the host makes the stream.
    pub retention: Retention,
    /// Bytes of the stream, where the host makes it; `None` is no limit.
    pub max_bytes: Option<i64>,
    /// The subjects the consumer is limited to; empty means all.
    pub filter: Vec<String>,
    /// How long the server waits for a settlement before it delivers again.
    pub ack_wait: Duration,
    /// Deliveries that may be unsettled at once; made of workers and batch unless given.
    pub max_ack_pending: i64,
    /// Pulls that may wait at once, of all hosts. A host has a few, however many workers it runs.
    pub max_waiting: i64,
    /// The durable consumer of the `headers` source.
    pub watch_consumer: String,
    /// Which part of the stream it is, where that is spread over partitions. `subjects` and `filter` are those of
    /// publishers all the same.
    pub partition: Option<Partition>,
}

impl Queue {
    /// Of the workload `name`, which has a right name if `named`. `manage` is what holds if nothing is said of it.
    /// `waiting` is how many deliveries may wait for their turn.
    pub(super) fn read(
        keys: &mut Reader<'_>,
        name: &str,
        named: bool,
        manage: Manage,
        scale: &Scale,
        pull: &PullConfig,
        waiting: i64,
    ) -> Self {
        let retention = keys.get("retention");
        if retention == Retention::Workqueue && scale.source == SignalSource::Headers {
            let problem =
                "a stream with workqueue retention gives each message to one consumer, so none can watch its headers";
            let source = keys.place("scale.source");
            keys.problems.push(source.error(problem, "use source \"info\", or another retention"));
        }
        let (consumer, named) = derived(keys, "consumer", named, || format!("{name}-workers"));
        let (watch_consumer, _) = derived(keys, "scale.watch-consumer", named, || format!("{consumer}-watch"));
        Self {
            stream: keys.get("stream"),
            consumer,
            manage: keys.maybe("manage").unwrap_or(manage),
            subjects: distinct(keys, "subjects"),
            retention,
            max_bytes: keys.maybe("max-bytes"),
            filter: distinct(keys, "filter"),
            ack_wait: keys.get("ack-wait"),
            max_ack_pending: max_ack_pending(keys, scale, pull, waiting),
            max_waiting: keys.get("max-waiting"),
            watch_consumer,
            partition: None,
        }
    }

    /// The subjects that the consumer is limited to, as the stream has them; empty means all.
    pub fn filters(&self) -> Vec<String> {
        match &self.partition {
            None => self.filter.clone(),
            Some(partition) if self.filter.is_empty() => vec![partition.stored(">")],
            Some(partition) => self.filter.iter().map(|subject| partition.stored(subject)).collect(),
        }
    }
}

/// A consumer's name and whether it is right: as given, or made of another name. If that one is wrong, what is made of
/// it is not wrong once more.
fn derived(keys: &mut Reader<'_>, path: &str, may_check: bool, make: impl Fn() -> String) -> (String, bool) {
    let before = keys.problems.len();
    if let Some(given) = keys.maybe(path) {
        return (given, keys.problems.len() == before);
    }
    let name = make();
    let wrong = if may_check { names::jetstream(&name).err() } else { None };
    let right = may_check && wrong.is_none();
    if let Some(wrong) = wrong {
        keys.note(wrong.at(&keys.place(path)));
    }
    (name, right)
}

/// Subjects of which no two match the same message.
fn distinct(keys: &mut Reader<'_>, path: &str) -> Vec<String> {
    let subjects: Vec<String> = keys.get(path);
    for (index, subject) in subjects.iter().enumerate() {
        if let Some(other) = subjects.iter().take(index).find(|other| overlap(other, subject)) {
            let problem = format!("{other:?} and {subject:?} match some of the same messages");
            let remedy = "the server takes only subjects that do not overlap; drop one";
            keys.problems.push(keys.place(path).error(problem, remedy));
        }
    }
    subjects
}

/// Hosts that may hold [`PullConfig::ahead`] at once before the server stops delivering.
pub(crate) const HOSTS_AHEAD: usize = 8;

/// How many deliveries may be unsettled at once, where that is not said and so many may wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsettled {
    /// As many as are needed. Every worker may hold a batch; as many again may wait for a retry before the server stops
    /// delivering.
    pub(crate) needed: i64,
    /// As many as a consumer is made with, if the server lets it be.
    pub(crate) wanted: i64,
}

impl Unsettled {
    pub(crate) fn of(scale: &Scale, pull: &PullConfig, waiting: i64) -> Self {
        let needed = pull.held_by(scale.max).saturating_mul(2).max(1_000);
        let ahead = i64::try_from(pull.ahead.saturating_mul(HOSTS_AHEAD)).unwrap_or(i64::MAX);
        Self { needed: needed.saturating_add(waiting), wanted: needed.max(ahead).saturating_add(waiting) }
    }
}

fn max_ack_pending(keys: &mut Reader<'_>, scale: &Scale, pull: &PullConfig, waiting: i64) -> i64 {
    let (held, derived) = (pull.held_by(scale.max), Unsettled::of(scale, pull, waiting).wanted);
    let Some(count) = keys.maybe("max-ack-pending") else { return derived };
    if count == -1 || count > held {
        return count;
    }
    let problem = format!("{count} is not more than max x batch, which is {} x {}", scale.max, pull.batch);
    let remedy = format!("write at least {}, or leave it out for {derived}", held + 1);
    keys.problems.push(keys.place("max-ack-pending").error(problem, remedy));
    derived
}
