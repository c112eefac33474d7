//! A JetStream KV bucket as the server has it: a stream `KV_NAME` that is bound to `$KV.NAME.>`. Pure.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::ports::KvError;

/// The header of a message that says that its key is deleted, and that of one with which the server says so.
pub(super) const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";

/// JetStream's "invalid operation on sealed stream", and what is told of a bucket that gives it.
const SEALED_STREAM: u64 = 10109;
const SEALED: &str = "is sealed, and takes no writes; name another";

/// How many messages of a key a bucket keeps, by the bucket's name.
pub(super) type Histories = HashMap<String, i64>;

/// What is read of `STREAM.INFO`.
#[derive(Debug, Deserialize)]
pub(super) struct BucketState {
    pub(super) config: BucketConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BucketConfig {
    subjects: Vec<String>,
    pub(super) max_msgs_per_subject: i64,
    no_ack: bool,
    sealed: bool,
    mirror: Option<Value>,
    /// For how long it keeps a key, in nanoseconds; for ever if that is nothing.
    max_age: i64,
}

impl BucketConfig {
    /// Why the stream cannot be used as the bucket; `None` if it can.
    pub(super) fn problem(&self, bucket: &str) -> Option<String> {
        let all = subject(bucket, ">");
        if self.mirror.is_some() {
            return Some("it is a mirror; grant the bucket that it mirrors".to_owned());
        }
        if !self.subjects.contains(&all) {
            return Some(format!("its stream is not bound to {all}; name a bucket, as `nats kv add` makes them"));
        }
        if self.no_ack {
            let edit = format!("nats stream edit {} --ack", stream(bucket));
            return Some(format!("it acknowledges no write (no_ack), so none could be known to be kept; `{edit}`"));
        }
        self.sealed.then(|| format!("it {SEALED}"))
    }

    /// After how long the bucket forgets a key, if it does.
    pub(super) fn forgets_after(&self) -> Option<Duration> {
        u64::try_from(self.max_age).ok().filter(|age| *age > 0).map(Duration::from_nanos)
    }
}

pub(super) fn stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

pub(super) fn subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

pub(super) fn gone(bucket: &str) -> KvError {
    KvError::NoBucket(format!(
        "there is no bucket {bucket}, which grants.kv names; make it again (`nats kv add {bucket}`), or restart the \
         host if manage is \"create\""
    ))
}

/// What is told of a bucket that was sealed since it was found, if this is its answer to what would change it.
pub(super) fn sealed(bucket: &str, answer: &[u8]) -> Option<KvError> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let code = answer.pointer("/error/err_code").and_then(Value::as_u64);
    (code == Some(SEALED_STREAM)).then(|| KvError::Unavailable(format!("the bucket {bucket} {SEALED}")))
}

/// Whether a message with these headers says that its key is deleted.
pub(super) fn is_deletion<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
    headers.into_iter().any(|(name, value)| name == MARKER || (name == OPERATION && value != "PUT"))
}
