//! What a stream has to do in which a host keeps messages of its own: dead letters, or lines of the journal.

use super::info::{StreamConfig, SubjectTransform};
use super::refusal::SettingsRefusal;
use crate::config::{DEAD_LETTERS, JOURNAL, subjects_overlap};
use crate::dead_letter;
use crate::journal::STATES_WITHIN_LINES;
use crate::permissions::covers;

/// The fewest lines of a workload that are of use: those before the first that has a policy's state cannot be replayed.
const LEAST_LINES: i64 = STATES_WITHIN_LINES as i64 * 2;

/// What a host keeps in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnMessages {
    /// Dead letters.
    Letters,
    /// Lines of the journal.
    Lines,
}

impl OwnMessages {
    /// The subjects that they are published on.
    pub(crate) fn subjects(self) -> &'static str {
        match self {
            Self::Letters => DEAD_LETTERS,
            Self::Lines => JOURNAL,
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Letters => "letter",
            Self::Lines => "line",
        }
    }

    /// What to do where no setting of the stream can be changed.
    fn elsewhere(self) -> &'static str {
        match self {
            Self::Letters => "name another stream in [dead-letters]",
            Self::Lines => "name another in journal.stream",
        }
    }

    /// The subjects with which those of a workload may be stored, as they are looked for.
    fn stored(self, workload: &str) -> Vec<String> {
        match self {
            Self::Letters => vec![dead_letter::stored_subject(workload), dead_letter::subject(workload)],
            Self::Lines => vec![format!("tidegate.journal.{workload}")],
        }
    }
}

/// Checks that a stream takes what a host keeps in it, says so, and does not let it go.
///
/// # Errors
/// Why it cannot keep it.
pub(crate) fn keeps(config: &StreamConfig, what: OwnMessages) -> Result<(), SettingsRefusal> {
    let edit = |flags: &str| format!("`nats stream edit {} {flags}`", config.name);
    let (subjects, one, elsewhere) = (what.subjects(), what.one(), what.elsewhere());
    let refuse = |problem: String, remedy: String| Err(SettingsRefusal { problem, remedy });
    if !config.subjects.iter().any(|subject| covers(subject, subjects)) {
        return refuse(format!("it is there, and not bound to {subjects}"), unbound(config, what));
    }
    if config.sealed {
        return refuse("it is sealed, and stores nothing any more".to_owned(), elsewhere.to_owned());
    }
    if config.no_ack {
        let problem = format!("it acknowledges no publication (no_ack), so no {one} could be known to be kept");
        return refuse(problem, edit("--ack"));
    }
    if config.allow_msg_counter {
        let problem = format!("it counts (allow_msg_counter), and stores no {one}, for that has no header Nats-Incr");
        return refuse(problem, format!("a stream cannot be told otherwise later: {elsewhere}"));
    }
    // A work queue keeps them until somebody takes them.
    if config.is_interest() {
        let problem = format!("it has interest retention, so a {one} is gone at once where no consumer waits for it");
        return refuse(problem, edit("--retention=limits"));
    }
    if let Some(SubjectTransform { src, dest }) = hides(config, what) {
        let problem = format!("it maps `{src}` to `{dest}`, so what it stores there is not found as a {one}");
        return refuse(problem, edit("--no-transform"));
    }
    forgets_soon(config, what)
}

fn unbound(config: &StreamConfig, what: OwnMessages) -> String {
    // The subjects of a mirror are those of its origin.
    if config.mirror.is_some() {
        return what.elsewhere().to_owned();
    }
    let left = config.subjects.iter().map(String::as_str).filter(|subject| !subjects_overlap(subject, what.subjects()));
    let all: Vec<_> = left.chain([what.subjects()]).collect();
    let (elsewhere, name, all) = (what.elsewhere(), &config.name, all.join(","));
    format!("{elsewhere}, or bind this one to it: `nats stream edit {name} --subjects='{all}'`")
}

/// How a stream stores what a host keeps with other subjects than those that it is looked for with, if it does.
fn hides(config: &StreamConfig, what: OwnMessages) -> Option<&SubjectTransform> {
    let transform = config.subject_transform.as_ref().filter(|transform| !transform.dest.is_empty())?;
    // Without a source all subjects are mapped.
    let takes = transform.src.is_empty() || subjects_overlap(&transform.src, what.subjects());
    let found = ["{{wildcard(1)}}", "$1"].iter().flat_map(|workload| what.stored(workload));
    let is_found = transform.src == what.subjects() && found.into_iter().any(|subject| subject == transform.dest);
    Some(transform).filter(|_| takes && !is_found)
}

/// Refuses a stream in which new ones delete those that are needed.
fn forgets_soon(config: &StreamConfig, what: OwnMessages) -> Result<(), SettingsRefusal> {
    let most = config.max_msgs_per_subject;
    let edit = |flags: &str| format!("`nats stream edit {} {flags}`", config.name);
    let refuse = |problem: String, remedy: String| Err(SettingsRefusal { problem, remedy });
    match what {
        OwnMessages::Letters if most > 0 && !config.refuses_per_subject() => {
            let problem = format!(
                "its max_msgs_per_subject is {most}, and all letters of a workload have one subject, so each new one \
                 would delete an old one"
            );
            let (none, refuses) = (edit("--max-msgs-per-subject=-1"), edit("--discard=new --discard-per-subject"));
            refuse(problem, format!("{none}, or let it take no more then: {refuses}"))
        }
        OwnMessages::Lines => {
            let few = |most: i64, refuses: bool| !refuses && (1..LEAST_LINES).contains(&most);
            let (limit, most) = if few(most, config.refuses_per_subject()) {
                ("max_msgs_per_subject", most)
            } else if few(config.max_msgs, config.is_discard_new()) {
                ("max_msgs", config.max_msgs)
            } else {
                return Ok(());
            };
            let problem = format!(
                "its {limit} is {most}, and each new line would delete an old one: of so few lines none can be \
                 replayed, for it rests on a state that is in an earlier one"
            );
            refuse(problem, edit(&format!("--{}=-1", limit.replace('_', "-"))))
        }
        OwnMessages::Letters => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn judged(what: OwnMessages, more: Value) -> Result<(), SettingsRefusal> {
        let subjects = [what.subjects()];
        let mut made = json!({ "name": "KEPT", "subjects": subjects, "retention": "limits", "discard": "old" });
        made.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        keeps(&serde_json::from_value(made).unwrap(), what)
    }

    fn refused(what: OwnMessages, more: Value, problem: &str, remedy: &str) {
        let refusal = judged(what, more).unwrap_err();
        assert!(refusal.problem.contains(problem) && refusal.remedy.contains(remedy), "{refusal:?}");
    }

    #[test]
    fn letters_and_lines_ask_the_same_of_their_stream() {
        for what in [OwnMessages::Letters, OwnMessages::Lines] {
            let own = what.subjects();
            assert_eq!(judged(what, json!({})), Ok(()));
            for (more, problem, remedy) in [
                (json!({ "sealed": true }), "is sealed", what.elsewhere()),
                (json!({ "no_ack": true }), "(no_ack)", "`nats stream edit KEPT --ack`"),
                (json!({ "allow_msg_counter": true }), "(allow_msg_counter)", what.elsewhere()),
                (json!({ "retention": "interest" }), "interest retention", "edit KEPT --retention=limits`"),
                (
                    json!({ "subject_transform": { "src": own, "dest": "x.{{wildcard(1)}}" } }),
                    "to `x.{{wildcard(1)}}`",
                    "`nats stream edit KEPT --no-transform`",
                ),
                (
                    json!({ "subject_transform": { "src": "", "dest": "all.>" } }),
                    "to `all.>`",
                    "`nats stream edit KEPT --no-transform`",
                ),
                (json!({ "max_msgs_per_subject": 1 }), "its max_msgs_per_subject is 1", "--max-msgs-per-subject=-1"),
            ] {
                refused(what, more, problem, remedy);
            }
            for more in [
                json!({ "retention": "workqueue" }),
                json!({ "max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": true }),
                json!({ "subjects": ["other.>", own], "subject_transform": { "src": "other.>", "dest": "x.>" } }),
                json!({ "subject_transform": { "src": own, "dest": own.replace('*', "{{wildcard(1)}}") } }),
            ] {
                assert_eq!(judged(what, more.clone()), Ok(()), "{more}");
            }
        }
        let stored = json!({ "subject_transform": { "src": "tidegate.dead.*", "dest": "{{wildcard(1)}}.dead" } });
        assert_eq!(judged(OwnMessages::Letters, stored), Ok(()));
    }

    #[test]
    fn a_stream_with_a_subject_that_takes_in_all_of_them_is_bound_to_them() {
        for (subjects, fits) in [
            (json!(["tidegate.journal.>"]), true),
            (json!(["a", "tidegate.journal.*"]), true),
            (json!(["tidegate.*.*"]), true),
            (json!(["tidegate.journal.orders"]), false),
            (json!(["tidegate.journal.*.*"]), false),
            (json!([]), false),
        ] {
            assert_eq!(judged(OwnMessages::Lines, json!({ "subjects": subjects })).is_ok(), fits, "{subjects}");
        }
        refused(
            OwnMessages::Letters,
            json!({ "subjects": ["a.>", "tidegate.dead.orders"] }),
            "not bound to tidegate.dead.*",
            "in [dead-letters], or bind this one to it: `nats stream edit KEPT --subjects='a.>,tidegate.dead.*'`",
        );
        let mirror = judged(OwnMessages::Lines, json!({ "subjects": [], "mirror": { "name": "S" } })).unwrap_err();
        assert_eq!(mirror.remedy, "name another in journal.stream");
    }

    #[test]
    fn a_journal_may_forget_its_oldest_lines_where_enough_are_left_to_be_replayed() {
        for limit in ["max_msgs", "max_msgs_per_subject"] {
            refused(OwnMessages::Lines, json!({ limit: 119 }), &format!("its {limit} is 119"), "=-1`");
            for most in [-1, 0, 120, 10_000] {
                assert_eq!(judged(OwnMessages::Lines, json!({ limit: most })), Ok(()), "{limit} {most}");
            }
        }
        assert_eq!(judged(OwnMessages::Lines, json!({ "max_msgs": 1, "discard": "new" })), Ok(()));
    }
}
