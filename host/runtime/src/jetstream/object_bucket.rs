//! A bucket of plugins as the server has it: the stream `OBJ_NAME`, and what it does to what is there. Pure.

use std::time::Duration;

use serde::Deserialize;

use crate::config::units::show_duration;
use crate::ports::BucketMark;

/// What is read of `STREAM.INFO`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObjectBucketState {
    config: ObjectBucketConfig,
    state: Messages,
    created: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ObjectBucketConfig {
    /// For how long it keeps a message, in nanoseconds; for ever if that is nothing.
    max_age: i64,
    max_msgs: i64,
    max_bytes: i64,
    max_msgs_per_subject: i64,
    discard: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Messages {
    messages: u64,
    last_seq: u64,
}

impl ObjectBucketState {
    /// What is another one after anything was put there or has gone.
    pub(super) fn mark(self) -> BucketMark {
        BucketMark { created: self.created, last: self.state.last_seq, messages: self.state.messages }
    }

    /// Why plugins do not stay in the bucket of this name, if they do not, and what to do.
    pub(super) fn forgetting(&self, bucket: &str) -> Option<String> {
        let config = &self.config;
        let edit = |flags: &str| format!("`nats stream edit OBJ_{bucket} {flags}`");
        let waits = "and a host that starts then waits for them";
        if let Some(age) = u64::try_from(config.max_age).ok().filter(|age| *age > 0) {
            let (age, edit) = (show_duration(&Duration::from_nanos(age)), edit("--max-age=0s"));
            return Some(format!("plugins that were put there are gone after {age} (max_age), {waits}; {edit}"));
        }
        if config.max_msgs_per_subject > 0 {
            let (most, edit) = (config.max_msgs_per_subject, edit("--max-msgs-per-subject=-1"));
            return Some(format!(
                "of a plugin no more than {most} chunks stay (max_msgs_per_subject), and one that has more cannot be \
                 read; {edit}"
            ));
        }
        let limits = [("max_msgs", config.max_msgs), ("max_bytes", config.max_bytes)];
        let (limit, most) = limits.into_iter().find(|(_, most)| *most > 0 && config.discard != "new")?;
        let edit = edit("--discard=new");
        Some(format!(
            "its {limit} is {most} with discard policy `old`, so the oldest plugins are removed when it is full, \
             {waits}; {edit} has it take no more instead"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn state(config: Value) -> ObjectBucketState {
        let state = json!({ "messages": 7, "last_seq": 9, "consumer_count": 1 });
        serde_json::from_value(json!({ "config": config, "state": state, "created": "2026-11-26T09:12:03Z" })).unwrap()
    }

    #[test]
    fn a_bucket_in_which_plugins_do_not_stay_is_told_with_what_mends_it() {
        for (config, parts) in [
            (json!({ "max_age": 8_000_000_000_i64 }), ["gone after 8s (max_age)", "OBJ_PB --max-age=0s`"]),
            (json!({ "max_msgs": 9, "discard": "old" }), ["its max_msgs is 9 with", "OBJ_PB --discard=new`"]),
            (json!({ "max_bytes": 5 }), ["its max_bytes is 5 with", "OBJ_PB --discard=new`"]),
            (json!({ "max_msgs_per_subject": 1 }), ["no more than 1 chunks", "OBJ_PB --max-msgs-per-subject=-1`"]),
        ] {
            let said = state(config).forgetting("PB").unwrap();
            assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        }
    }

    #[test]
    fn a_bucket_as_clients_make_it_keeps_what_is_there() {
        for config in [
            json!({ "max_age": 0, "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": -1, "discard": "new" }),
            json!({ "max_bytes": 1 << 30, "discard": "new" }),
            json!({ "max_msgs": -1, "discard": "old" }),
        ] {
            assert_eq!(state(config).forgetting("PB"), None);
        }
    }

    #[test]
    fn a_bucket_has_another_mark_after_anything_has_gone() {
        let mut after = state(json!({}));
        after.state.messages -= 1;
        let before = state(json!({ "max_age": 1 })).mark();
        assert_eq!(before, state(json!({})).mark());
        assert_ne!(before, after.mark());
    }
}
