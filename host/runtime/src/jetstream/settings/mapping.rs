//! Whether a stream maps subjects to the partitions of a workload.

use super::info::StreamConfig;
use super::refusal::SettingsRefusal;
use crate::config::{Queue, SubjectMapping};

/// Refuses a stream that does not map its subjects to the partitions that the configuration has. The consumer of a
/// partition would be given nothing, or the messages of other keys.
pub(crate) fn unmapped(stream: &StreamConfig, queue: &Queue) -> Option<SettingsRefusal> {
    let partition = queue.partition.as_ref()?;
    let (name, count, token) = (&stream.name, partition.count, partition.token);
    let [subject] = stream.subjects.as_slice() else {
        return Some(SettingsRefusal {
            problem: format!(
                "it has {} subjects, and the server maps one to partitions, by its token {token}",
                stream.subjects.len()
            ),
            remedy: format!("Give it one: `nats stream edit {name} --subjects='orders.*'`, or leave out partitions."),
        });
    };
    let Some(wanted) = partition.mapping(subject) else {
        return Some(SettingsRefusal {
            problem: format!("token {token} of its subject `{subject}` is not `*`, and order-key names it"),
            remedy: "Name the token that is, or give the stream a subject such as `orders.*` or `orders.*.>`.".into(),
        });
    };
    let is = stream.subject_transform.as_ref().filter(|transform| !transform.dest.is_empty());
    if is.is_some_and(|is| is.dest == wanted.destination && is.src == wanted.source) {
        return None;
    }
    let has = match is {
        None => "it maps no subjects to partitions".to_owned(),
        Some(is) => format!("it maps `{}` to `{}`, and {count} partitions need another mapping", is.src, is.dest),
    };
    let SubjectMapping { source, destination } = &wanted;
    Some(SettingsRefusal {
        problem: has,
        remedy: format!(
            "Have it map them: `nats stream edit {name} --transform-source='{source}' \
             --transform-destination='{destination}'`. What it has stored by then stays as it is: let that be handled \
             before, with no message published meanwhile."
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::jetstream::settings::info::SubjectTransform;

    fn stream(subjects: &[&str], transform: Option<(&str, &str)>) -> StreamConfig {
        StreamConfig {
            name: "ORDERS".to_owned(),
            subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            subject_transform: transform.map(|(src, dest)| SubjectTransform { src: src.into(), dest: dest.into() }),
            ..StreamConfig::default()
        }
    }

    fn judged(stream: &StreamConfig, count: u32) -> Option<String> {
        let toml = format!(
            "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n\
             order-key = \"subject:2\"\npartitions = {count}"
        );
        let workloads = crate::config::Config::from_toml(&toml).unwrap().workloads;
        let refusal = unmapped(stream, &workloads.first().unwrap().queue)?;
        Some(format!("{} {}", refusal.problem, refusal.remedy))
    }

    #[test]
    fn a_stream_that_maps_to_other_partitions_or_to_none_is_refused_with_the_mapping_to_set() {
        let mapped = ("orders.*", "{{partition(4,1)}}.orders.{{wildcard(1)}}");
        assert_eq!(judged(&stream(&["orders.*"], Some(mapped)), 4), None);
        let none = judged(&stream(&["orders.*"], None), 4).unwrap();
        let command = "nats stream edit ORDERS --transform-source='orders.*' \
                       --transform-destination='{{partition(4,1)}}.orders.{{wildcard(1)}}'";
        assert!(none.starts_with("it maps no subjects") && none.contains(command), "{none}");
        let other = judged(&stream(&["orders.*"], Some(mapped)), 8).unwrap();
        assert!(other.contains("and 8 partitions need another mapping") && other.contains("partition(8,1)"), "{other}");
        let some = judged(&stream(&["orders.*"], Some(("orders.a", mapped.1))), 4).unwrap();
        assert!(some.contains("it maps `orders.a`"), "{some}");
        assert!(judged(&stream(&["orders.*", "other.*"], Some(mapped)), 4).unwrap().starts_with("it has 2 subjects"));
        assert!(judged(&stream(&["orders.>"], None), 4).unwrap().starts_with("token 2 of its subject `orders.>`"));
    }
}
