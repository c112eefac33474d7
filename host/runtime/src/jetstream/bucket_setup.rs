//! Finds, checks and makes the buckets that a workload's grants name.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::bucket::{Histories, stream, subject};
use super::create_errors::Creation;
use super::setup::WorkloadSetup;
use super::setup_error::SetupError;
use crate::config::Manage;

/// A bucket that is not there.
pub(super) struct Missing(pub(super) String);

/// The settings of a bucket that the host makes: those of `nats kv add` without flags.
pub(super) fn wanted(bucket: &str, replicas: usize) -> Value {
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
        "num_replicas": replicas,
        "duplicate_window": 120_000_000_000_u64,
        "deny_delete": true,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
    })
}

impl WorkloadSetup<'_> {
    /// The buckets that the grants name. What is missing is made if the configuration lets the host make it.
    pub(super) async fn buckets(&self) -> Result<Histories, SetupError> {
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
    pub(super) async fn bucket(&self, bucket: &str) -> Result<Result<i64, Missing>, SetupError> {
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
    pub(super) fn no_bucket(&self, Missing(bucket): Missing) -> SetupError {
        SetupError::NoBucket { workload: self.workload.name.clone(), bucket }
    }

    async fn make_bucket(&self, bucket: &str) -> Result<i64, SetupError> {
        let what = || format!("bucket {bucket}, which grants.kv names");
        match self.client.make_stream(&stream(bucket), &wanted(bucket, 1)).await {
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
    use crate::jetstream::bucket::BucketState;

    fn problem(config: Value) -> Option<String> {
        serde_json::from_value::<BucketState>(json!({ "config": config })).unwrap().config.problem("b")
    }

    #[test]
    fn a_stream_that_is_no_bucket_or_takes_no_writes_is_refused() {
        assert_eq!(problem(wanted("b", 1)), None);
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
