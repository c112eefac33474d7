//! How many deliveries a handler of batches is given in one call.

use std::time::Duration;

use super::keys::WORKLOAD;
use super::reader::Reader;
use super::units::show_duration;
use super::words::Isolation;

/// How many deliveries a handler of batches is given in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// The most deliveries; at least 1.
    pub size: usize,
    /// The most bytes of their payloads and headers. One that is larger comes alone.
    pub max_bytes: usize,
    /// How long a batch that is not full waits for more.
    pub wait: Duration,
    /// Whether the configuration says anything of it: then the handler has to be one of batches.
    pub wanted: bool,
}

impl Batching {
    /// Of `size`, if that is said, in a workload where a worker holds at most `held` deliveries, and the server waits
    /// for `ack_wait`.
    pub(super) fn read(
        keys: &mut Reader<'_>,
        size: Option<usize>,
        isolation: Isolation,
        held: usize,
        ack_wait: Duration,
    ) -> Self {
        let wait = keys.get("batching.wait");
        let set = ["batching.size", "batching.max-bytes", "batching.wait"].into_iter().find(|key| keys.is_set(key));
        if let Some(key) = set.filter(|_| isolation == Isolation::Message) {
            let problem = "an instance that lives for one message (isolation) cannot have several in a call";
            keys.problems.push(keys.place(key).error(problem, "use isolation \"worker\", or remove batching"));
        }
        if let Some(size) = size.filter(|size| *size > held) {
            let problem = format!("{size} is more than pull.batch, which is {held}: so many never wait for a worker");
            let remedy = format!("lower it, or raise pull.batch to {size} or leave that out");
            keys.problems.push(keys.place("batching.size").error(problem, remedy));
        }
        if wait > ack_wait / 2 {
            let problem = format!(
                "{} is more than half of ack-wait, which is {}",
                show_duration(&wait),
                show_duration(&ack_wait)
            );
            keys.problems.push(keys.place("batching.wait").error(problem, "lower it, or raise ack-wait"));
        }
        let size = if isolation == Isolation::Message { 1 } else { size.unwrap_or(USUAL).min(held).max(1) };
        Self { size, max_bytes: keys.get("batching.max-bytes"), wait, wanted: set.is_some() }
    }
}

impl Default for Batching {
    fn default() -> Self {
        let read = |keys: &mut Reader<'_>| Self::read(keys, None, Isolation::Worker, USUAL, Duration::MAX);
        Reader::of_nothing(WORKLOAD, read)
    }
}

/// The most deliveries of a batch where nothing is said of it.
pub(super) const USUAL: usize = 100;
