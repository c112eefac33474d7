//! Finds, checks and makes the buckets that a workload's grants name.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Histories, stream, subject};
use crate::config::Manage;
use crate::jetstream::create_errors::Creation;
use crate::jetstream::setup::WorkloadSetup;
use crate::jetstream::setup_error::SetupError;

/// What is read of `STREAM.INFO`.
#[derive(Debug, Deserialize)]
pub(in crate::jetstream) struct BucketState {
    config: BucketConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BucketConfig {
    subjects: Vec<String>,
    max_msgs_per_subject: i64,
    no_ack: bool,
    sealed: bool,
    mirror: Option<Value>,
}

/// A bucket that is not there.
pub(in crate::jetstream) struct Missing(pub(in crate::jetstream) String);

impl BucketConfig {
    /// Why the stream cannot be used as the bucket; `None` if it can.
    fn problem(&self, bucket: &str) -> Option<String> {
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
        self.sealed.then(|| "it is sealed, and takes no writes; name another".to_owned())
    }
}

/// The settings of a bucket that the host makes: those of `nats kv add` without flags.
fn wanted(bucket: &str) -> Value {
    json!({
        "name": stream(bucket),
        "subjects": [subject(bucket, ">")],
        "retention": "limits",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": 1,
        "max_bytes": -1,
        "max_msg_size": -1,
        "storage": "file",
        "discard": "new",
        "num_replicas": 1,
        "duplicate_window": 120_000_000_000_u64,
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
    })
}

impl WorkloadSetup<'_> {
    /// The buckets that the grants name. What is missing is made if the configuration lets the host make it.
    pub(in crate::jetstream) async fn buckets(&self) -> Result<Histories, SetupError> {
        let mut found = HashMap::new();
        for bucket in self.workload.grants.buckets() {
            let history = match self.bucket(bucket).await? {
                Ok(history) => history,
                Err(Missing(bucket)) if self.queue.manage == Manage::Create => self.make_bucket(&bucket).await?,
                Err(missing) => return Err(self.no_bucket(missing)),
            };
            found.insert(bucket.to_owned(), history);
        }
        Ok(found)
    }

    /// How many messages of a key a bucket keeps.
    pub(in crate::jetstream) async fn bucket(&self, bucket: &str) -> Result<Result<i64, Missing>, SetupError> {
        let what = || format!("bucket {bucket}, which grants.kv names");
        let found = self.client.bucket_state(&stream(bucket)).await;
        let Some(state) = found.map_err(|error| self.server(what(), Creation::Bucket, &error))? else {
            return Ok(Err(Missing(bucket.to_owned())));
        };
        match state.config.problem(bucket) {
            None => Ok(Ok(state.config.max_msgs_per_subject)),
            Some(reason) => Err(SetupError::Server { workload: self.workload.name.clone(), what: what(), reason }),
        }
    }

    /// The error for a bucket that is not there and is not to be made.
    pub(in crate::jetstream) fn no_bucket(&self, Missing(bucket): Missing) -> SetupError {
        SetupError::NoBucket { workload: self.workload.name.clone(), bucket }
    }

    async fn make_bucket(&self, bucket: &str) -> Result<i64, SetupError> {
        let what = || format!("bucket {bucket}, which grants.kv names");
        match self.client.make_stream(&stream(bucket), &wanted(bucket)).await {
            Ok(_) => {
                tracing::info!(workload = self.workload.name, bucket, "key-value bucket created");
                Ok(1)
            }
            // Another workload or another host may have made it meanwhile, with other settings.
            Err(error) => match self.bucket(bucket).await? {
                Ok(history) => Ok(history),
                Err(Missing(_)) => Err(self.server(what(), Creation::Bucket, &error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn problem(config: Value) -> Option<String> {
        serde_json::from_value::<BucketState>(json!({ "config": config })).unwrap().config.problem("b")
    }

    #[test]
    fn a_stream_that_is_no_bucket_or_takes_no_writes_is_refused() {
        assert_eq!(problem(wanted("b")), None);
        for (config, expected) in [
            (json!({ "subjects": ["orders.>"] }), "not bound to $KV.b.>"),
            (json!({ "mirror": { "name": "KV_a" } }), "is a mirror"),
            (json!({ "subjects": ["$KV.b.>"], "no_ack": true }), "nats stream edit KV_b --ack"),
            (json!({ "subjects": ["$KV.b.>"], "sealed": true }), "is sealed"),
        ] {
            assert!(problem(config).unwrap().contains(expected), "{expected}");
        }
    }
}
