//! Judges a stream of dead letters: one that would let letters go as soon as they are kept is not used.

use super::info::StreamConfig;
use super::overlap::reserved;
use super::own_stream::{OwnMessages, keeps};
use super::refusal::SettingsRefusal;

/// What a person should know of a stream of dead letters, each with the remedy. `inbox` is how the host's inboxes
/// begin, and `max_payload` how much the server takes in a message.
///
/// # Errors
/// Why it cannot keep letters.
pub(crate) fn judge_letters(
    config: &StreamConfig,
    inbox: &str,
    max_payload: usize,
) -> Result<Vec<String>, SettingsRefusal> {
    keeps(config, OwnMessages::Letters)?;
    match reserved(config, Some(OwnMessages::Letters.subjects()), inbox) {
        Some(refusal) => Err(refusal),
        None => Ok(forgets(config).into_iter().chain(takes_small(config, max_payload)).collect()),
    }
}

/// Who sets a limit may want it.
fn forgets(config: &StreamConfig) -> Option<String> {
    let limits = [("max_msgs", config.max_msgs), ("max_bytes", config.max_bytes)];
    let (limit, most) = limits.into_iter().find(|(_, most)| *most > 0 && !config.is_discard_new())?;
    Some(format!(
        "stream {} for dead letters: its {limit} is {most} with discard policy `old`, so the oldest letters are \
         deleted when it is full; `nats stream edit {} --discard=new` has it take no more instead, and messages stay \
         in their streams until there is room",
        config.name, config.name
    ))
}

/// A letter has more headers than its message, and may be as large as the server takes.
fn takes_small(config: &StreamConfig, max_payload: usize) -> Option<String> {
    let most = usize::try_from(config.max_msg_size).ok().filter(|most| (1..max_payload).contains(most))?;
    Some(format!(
        "stream {} for dead letters: its max_msg_size is {most}, and the server takes messages of {max_payload} bytes \
         (max_payload), so larger letters are not kept, and their messages stay in their streams; `nats stream edit {} \
         --max-msg-size=-1` has it take all",
        config.name, config.name
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    use super::*;
    use crate::config::DeadLetters;
    use crate::jetstream::dead_letters;

    /// The verdict on the stream that a host makes, with other settings.
    fn judged_as(config: &DeadLetters, more: Value) -> Result<Vec<String>, SettingsRefusal> {
        let Value::Object(mut made) = serde_json::to_value(dead_letters::stream(config)).unwrap() else { panic!() };
        // The server leaves out what is not set.
        made.retain(|_, value| !value.is_null());
        made.extend(more.as_object().unwrap().clone());
        judge_letters(&serde_json::from_value(made.into()).unwrap(), "_INBOX", 1 << 20)
    }

    fn judged(more: Value) -> Result<Vec<String>, SettingsRefusal> {
        judged_as(&DeadLetters::default(), more)
    }

    #[test]
    fn a_stream_that_a_host_makes_is_used_without_a_word() {
        assert_eq!(judged(json!({})), Ok(vec![]));
        let bounded = DeadLetters { max_bytes: Some(1 << 20), ..DeadLetters::default() };
        assert_eq!(judged_as(&bounded, json!({})), Ok(vec![]));
    }

    #[test]
    fn a_stream_that_would_keep_no_letters_is_refused_with_the_command_that_mends_it() {
        for (more, problem, remedy) in [
            (
                json!({ "subjects": ["a.dead"] }),
                "not bound to tidegate.dead.*",
                "name another stream in [dead-letters]",
            ),
            (json!({ "no_ack": true }), "(no_ack)", "`nats stream edit TIDEGATE_DEAD --ack`"),
            (json!({ "allow_msg_counter": true }), "(allow_msg_counter)", "name another stream in [dead-letters]"),
            (
                json!({ "subject_transform": { "src": "tidegate.dead.*", "dest": "x.{{wildcard(1)}}" } }),
                "it maps `tidegate.dead.*` to `x.{{wildcard(1)}}`",
                "`nats stream edit TIDEGATE_DEAD --no-transform`",
            ),
            (
                json!({ "retention": "interest" }),
                "interest retention",
                "`nats stream edit TIDEGATE_DEAD --retention=limits`",
            ),
            (
                json!({ "max_msgs_per_subject": 1, "discard": "old" }),
                "its max_msgs_per_subject is 1",
                "`nats stream edit TIDEGATE_DEAD --max-msgs-per-subject=-1`",
            ),
            (
                json!({ "max_msgs_per_subject": 7, "discard": "new" }),
                "its max_msgs_per_subject is 7",
                "`nats stream edit TIDEGATE_DEAD --discard=new --discard-per-subject`",
            ),
            (json!({ "subjects": ["tidegate.dead.*", "_INBOX.>"] }), "takes in", "--subjects="),
        ] {
            let refusal = judged(more).unwrap_err();
            assert!(refusal.problem.contains(problem) && refusal.remedy.contains(remedy), "{refusal:?}");
        }
    }

    #[test]
    fn a_stream_that_keeps_letters_in_its_own_way_is_used() {
        for more in [
            json!({ "retention": "workqueue" }),
            json!({ "max_msgs_per_subject": -1, "discard": "old" }),
            json!({ "max_msgs_per_subject": 1, "discard_new_per_subject": true }),
            json!({ "max_msgs": 1, "max_bytes": 1000 }),
            json!({ "max_msgs": -1, "max_bytes": -1, "discard": "old" }),
            json!({ "max_age": 1, "storage": "memory" }),
            json!({ "subjects": ["tidegate.dead.>"], "max_msg_size": 1 << 20 }),
        ] {
            assert_eq!(judged(more.clone()), Ok(vec![]), "{more}");
        }
    }

    #[test]
    fn a_stream_that_takes_smaller_letters_than_there_may_be_is_used_with_a_word() {
        let said = judged(json!({ "max_msg_size": 200 })).unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        for part in ["its max_msg_size is 200", "1048576 bytes", "`nats stream edit TIDEGATE_DEAD --max-msg-size=-1`"] {
            assert!(said[0].contains(part), "{said:?}");
        }
    }

    #[test]
    fn a_stream_that_forgets_its_oldest_letters_is_used_with_a_word() {
        for limit in ["max_msgs", "max_bytes"] {
            let said = judged(json!({ limit: 5, "discard": "old" })).unwrap();
            assert_eq!(said.len(), 1, "{said:?}");
            for part in
                [&format!("its {limit} is 5 "), "the oldest letters", "`nats stream edit TIDEGATE_DEAD --discard=new`"]
            {
                assert!(said[0].contains(part), "{said:?}");
            }
        }
    }
}
