//! Which subjects a stream can store, and whether a consumer's filter takes any of them. Where that cannot be told
//! exactly, rather too many subjects are taken for possible than too few.

use super::info::{ConsumerConfig, Origin, StreamConfig, SubjectTransform};
use super::refusal::SettingsRefusal;
use crate::config::subjects_overlap;
use crate::permissions::covers;

/// Functions of a mapping that make one token, whatever comes in. Others may make several.
const ONE_TOKEN: [&str; 5] = ["wildcard", "partition", "left", "right", "random"];
/// How many subjects are named in a text.
const NAMED: usize = 5;

/// Why none of the messages that come to a stream from now on is for this consumer of it, if that is so.
pub(super) fn unmatched(config: &ConsumerConfig, stream: &StreamConfig, consumer: &str) -> Option<SettingsRefusal> {
    let (filters, stored) = (config.filters(), stored(stream)?);
    let takes = |filter: &String| stored.iter().any(|subject| subjects_overlap(filter, subject));
    if filters.is_empty() || filters.iter().any(takes) {
        return None;
    }
    let (name, transform) = (&stream.name, transform(stream));
    let mapped = transform.map(|of| format!(", mapped from `{}` to `{}`", of.source(), of.dest)).unwrap_or_default();
    let edit = match transform {
        Some(_) => "--transform-source=... --transform-destination=...",
        None if stream.subjects.is_empty() => "--interactive",
        None => "--subjects=...",
    };
    Some(SettingsRefusal {
        problem: format!(
            "its filter {} matches nothing that its stream stores: {}{mapped}",
            named(&filters),
            named(&stored)
        ),
        remedy: format!(
            "Let the stream store what it is to be given (`nats stream edit {name} {edit}`), or limit it to what the \
             stream stores: filter of the workload, and `nats consumer edit {name} {consumer} --filter=...`."
        ),
    })
}

/// The first of these subjects, and how many more there are.
fn named(subjects: &[String]) -> String {
    let first: Vec<&str> = subjects.iter().take(NAMED).map(String::as_str).collect();
    match subjects.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn transform(stream: &StreamConfig) -> Option<&SubjectTransform> {
    stream.subject_transform.as_ref().filter(|transform| !transform.dest.is_empty())
}

/// The subjects, with wildcards, that messages can have which come to a stream from now on. `None` where that is not
/// known: a source without a filter brings what another stream has.
fn stored(stream: &StreamConfig) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for subject in &stream.subjects {
        add(&mut all, subject.clone(), transform(stream), true);
    }
    for origin in stream.mirror.iter().chain(&stream.sources) {
        for subject in origin.brings()? {
            // Whether a stream maps what another brings is up to the server's version.
            add(&mut all, subject, transform(stream), false);
        }
    }
    all.sort();
    all.dedup();
    (!all.is_empty()).then_some(all)
}

/// Adds what a stream stores of messages on a subject. With `all_mapped`, all that its mapping takes is mapped.
fn add(all: &mut Vec<String>, subject: String, transform: Option<&SubjectTransform>, all_mapped: bool) {
    let mapping = transform.filter(|of| subjects_overlap(of.source(), &subject));
    all.extend(mapping.map(SubjectTransform::made));
    if !(all_mapped && mapping.is_some_and(|of| covers(of.source(), &subject))) {
        all.push(subject);
    }
}

impl SubjectTransform {
    /// The subjects that are mapped.
    fn source(&self) -> &str {
        if self.src.is_empty() { ">" } else { &self.src }
    }

    /// What becomes of them, with wildcards for what differs from message to message.
    fn made(&self) -> String {
        let mut tokens = Vec::new();
        for token in self.dest.split('.') {
            let is_place = token.strip_prefix('$').is_some_and(|number| number.parse::<i64>().is_ok());
            match token.split_once("{{") {
                None if is_place => tokens.push("*"),
                None => tokens.push(token),
                Some(("", function)) if is_one_token(function) => tokens.push("*"),
                Some(_) => {
                    tokens.push(">");
                    break;
                }
            }
        }
        tokens.join(".")
    }
}

fn is_one_token(function: &str) -> bool {
    let name = function.split('(').next().unwrap_or_default().trim().to_ascii_lowercase();
    ONE_TOKEN.contains(&name.as_str())
}

impl Origin {
    /// The subjects, with wildcards, that its messages have. `None` where that is not known.
    fn brings(&self) -> Option<Vec<String>> {
        if self.consumer.is_some() {
            return None;
        }
        if self.subject_transforms.is_empty() {
            return (!self.filter_subject.is_empty()).then(|| vec![self.filter_subject.clone()]);
        }
        let brought = |of: &SubjectTransform| if of.dest.is_empty() { of.source().to_owned() } else { of.made() };
        Some(self.subject_transforms.iter().map(brought).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    fn stream(config: Value) -> StreamConfig {
        serde_json::from_value(config).unwrap()
    }

    fn consumer(filters: &[&str]) -> ConsumerConfig {
        let filter_subjects = filters.iter().map(|filter| (*filter).to_owned()).collect();
        ConsumerConfig { filter_subjects, ..ConsumerConfig::default() }
    }

    #[test]
    fn what_a_stream_stores_is_what_its_mapping_makes_of_its_subjects_and_what_its_sources_bring() {
        let mapping = |src: &str, dest: &str| json!({ "src": src, "dest": dest });
        for (config, expected) in [
            (json!({ "subjects": ["b.>", "a"] }), Some(&["a", "b.>"][..])),
            (json!({ "subjects": ["in.*"], "subject_transform": mapping("in.*", "zz.$1") }), Some(&["zz.*"])),
            (json!({ "subjects": ["in.*"], "subject_transform": mapping("", "zz.>") }), Some(&["zz.>"])),
            // What the mapping does not take stays as it is.
            (
                json!({ "subjects": ["in.>", "b"], "subject_transform": mapping("in.a", "zz") }),
                Some(&["b", "in.>", "zz"]),
            ),
            (json!({ "subjects": ["in.>"], "subject_transform": mapping("other.*", "zz.$1") }), Some(&["in.>"])),
            (json!({ "subjects": ["in.>"], "subject_transform": mapping("in.>", "") }), Some(&["in.>"])),
            (
                json!({
                    "subjects": ["orders.*"],
                    "subject_transform": mapping("orders.*", "{{partition(4,1)}}.orders.{{Wildcard( 1 )}}"),
                }),
                Some(&["*.orders.*"]),
            ),
            // These make several tokens of one.
            (
                json!({ "subjects": ["in.*"], "subject_transform": mapping("in.*", "a.{{split(1,-)}}.b") }),
                Some(&["a.>"]),
            ),
            (
                json!({ "subjects": ["in.*"], "subject_transform": mapping("in.*", "a.{{ SliceFromLeft(1,3) }}") }),
                Some(&["a.>"]),
            ),
            (json!({ "subjects": ["$KV.b.>"] }), Some(&["$KV.b.>"])),
            (
                json!({ "sources": [{ "name": "A", "subject_transforms": [mapping("$KV.a.>", "$KV.b.>")] }] }),
                Some(&["$KV.b.>"]),
            ),
            (json!({ "subjects": ["x"], "sources": [{ "name": "A", "filter_subject": "a.>" }] }), Some(&["a.>", "x"])),
            (
                json!({ "mirror": {
                    "name": "A",
                    "subject_transforms": [mapping("a.*", ""), mapping("b.*", "c.$1")],
                } }),
                Some(&["a.*", "c.*"]),
            ),
            (
                json!({
                    "sources": [{ "name": "A", "filter_subject": "a.*" }],
                    "subject_transform": mapping("a.*", "z.$1"),
                }),
                Some(&["a.*", "z.*"]),
            ),
            (json!({ "subjects": ["x"], "sources": [{ "name": "A" }, { "name": "B", "filter_subject": "b" }] }), None),
            (json!({ "mirror": { "name": "A" } }), None),
            (json!({ "mirror": { "name": "A", "filter_subject": "a", "consumer": { "name": "c" } } }), None),
            (json!({}), None),
        ] {
            let told = stored(&stream(config.clone()));
            let expected = expected.map(|subjects| subjects.iter().map(|subject| (*subject).to_owned()).collect());
            assert_eq!(told, expected, "{config}");
        }
    }

    #[test]
    fn a_consumer_is_told_only_where_none_of_its_filters_can_match() {
        let plain = stream(json!({ "name": "IN", "subjects": ["in.>", "b"] }));
        for filters in [&[][..], &[">"], &["in.a"], &["*.a"], &["*"], &["none", "b"], &["in.a.b.>"]] {
            assert_eq!(unmatched(&consumer(filters), &plain, "c"), None, "{filters:?}");
        }
        let refusal = unmatched(&consumer(&["foo.>"]), &plain, "c").unwrap();
        assert_eq!(refusal.problem, "its filter foo.> matches nothing that its stream stores: b, in.>");
        for part in ["`nats stream edit IN --subjects=...`", "filter of the workload", "`nats consumer edit IN c --fil"]
        {
            assert!(refusal.remedy.contains(part), "{}", refusal.remedy);
        }
        let transform = json!({ "src": "in.*", "dest": "zz.{{wildcard(1)}}" });
        let mapped = stream(json!({ "name": "IN", "subjects": ["in.*"], "subject_transform": transform }));
        assert_eq!(unmatched(&consumer(&["zz.a"]), &mapped, "c"), None);
        let refusal = unmatched(&consumer(&["in.>"]), &mapped, "c").unwrap();
        assert!(refusal.problem.ends_with("zz.*, mapped from `in.*` to `zz.{{wildcard(1)}}`"), "{}", refusal.problem);
        assert!(refusal.remedy.contains("--transform-destination=..."), "{}", refusal.remedy);
        let mirror = stream(json!({ "name": "M", "mirror": { "name": "A" } }));
        assert_eq!(unmatched(&consumer(&["in.>"]), &mirror, "c"), None);
    }

    #[test]
    fn many_subjects_are_counted() {
        let many: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
        assert_eq!(named(&many), "s0, s1, s2, s3, s4 and 2 more");
        assert_eq!(named(&["a".to_owned()]), "a");
    }
}
