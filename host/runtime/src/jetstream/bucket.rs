//! A JetStream KV bucket as the server has it: a stream `KV_NAME` that is bound to `$KV.NAME.>`. Pure.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::ports::{Forgetting, KvError};

/// The header of a message that says that its key is deleted, and that of one with which the server says so.
pub(super) const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";

/// JetStream's "message size exceeds maximum allowed" and "message not stored", as of a stream that is full.
const LARGER_THAN_ALLOWED: u64 = 10054;
const NOT_STORED: u64 = 10077;
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
    /// What it does where it is full, and when it is: never where nothing is limited.
    discard: String,
    max_msgs: i64,
    max_bytes: i64,
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

    /// What the bucket loses of what is written into it.
    pub(super) fn forgetting(&self) -> Forgetting {
        let after = u64::try_from(self.max_age).ok().filter(|age| *age > 0).map(Duration::from_nanos);
        let may_be_full = self.max_msgs > 0 || self.max_bytes > 0;
        Forgetting { after, drops_oldest: self.discard == "old" && may_be_full }
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

/// What is told of a bucket that was sealed or limited since it was found, if this is its answer to what would change
/// it.
pub(super) fn refused(bucket: &str, answer: &[u8]) -> Option<KvError> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let stream = stream(bucket);
    Some(match answer.pointer("/error/err_code").and_then(Value::as_u64)? {
        SEALED_STREAM => KvError::Unavailable(format!("the bucket {bucket} {SEALED}")),
        LARGER_THAN_ALLOWED => KvError::TooLarge(format!(
            "the bucket {bucket} takes no value of that size (max_msg_size); `nats stream edit {stream} \
             --max-msg-size=-1`"
        )),
        // To drop what was written first loses keys.
        NOT_STORED => KvError::Unavailable(format!(
            "the bucket {bucket} cannot store it: if it is full, raise its limits (`nats stream edit {stream} \
             --max-bytes=-1 --max-msgs=-1`); else see what the server logs"
        )),
        _ => return None,
    })
}

/// Whether a message with these headers says that its key is deleted.
pub(super) fn is_deletion<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
    headers.into_iter().any(|(name, value)| name == MARKER || (name == OPERATION && value != "PUT"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_bucket_loses_is_read_of_its_settings() {
        let of = |config: Value| serde_json::from_value::<BucketConfig>(config).unwrap().forgetting();
        let drops = Forgetting { drops_oldest: true, ..Forgetting::default() };
        assert_eq!(of(json!({ "discard": "old", "max_msgs": -1, "max_bytes": -1 })), Forgetting::default());
        assert_eq!(of(json!({ "discard": "new", "max_msgs": 7, "max_bytes": 7 })), Forgetting::default());
        assert_eq!(of(json!({ "discard": "old", "max_msgs": 7 })), drops);
        assert_eq!(of(json!({ "discard": "old", "max_bytes": 7 })), drops);
        let after = Some(Duration::from_secs(2));
        assert_eq!(of(json!({ "max_age": 2_000_000_000_u64 })), Forgetting { after, ..Forgetting::default() });
    }

    #[test]
    fn what_a_bucket_does_not_take_by_its_settings_is_told_with_what_mends_it() {
        let told = |code: u64| {
            let answer = json!({ "error": { "code": 503, "err_code": code, "description": "no" }, "stream": "KV_F" });
            refused("F", answer.to_string().as_bytes())
        };
        let Some(KvError::TooLarge(large)) = told(10054) else { panic!("it is another error") };
        assert!(large.contains("`nats stream edit KV_F --max-msg-size=-1`"), "{large}");
        let Some(KvError::Unavailable(full)) = told(10077) else { panic!("it is another error") };
        assert!(full.contains("--max-bytes=-1 --max-msgs=-1") && !full.contains("discard"), "{full}");
        assert!(matches!(told(10109), Some(KvError::Unavailable(_))));
        assert_eq!(told(10071), None);
    }
}
