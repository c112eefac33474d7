//! Whether a stream maps subjects to the partitions of a workload.

use super::info::{StreamConfig, SubjectTransform};
use super::refusal::SettingsRefusal;
use crate::config::{OrderKey, Queue, SubjectMapping, Workload};

/// How the destination of a mapping to partitions begins.
const PARTITION: &str = "{{partition(";

/// Refuses a stream that does not map its subjects to the partitions that the configuration has. The consumer of a
/// partition would be given nothing, or the messages of other keys.
pub(crate) fn unmapped(stream: &StreamConfig, queue: &Queue) -> Option<SettingsRefusal> {
    let partition = queue.partition.as_ref()?;
    let (name, count, token) = (&stream.name, partition.count, partition.token);
    if stream.is_interest() {
        return Some(SettingsRefusal {
            problem: "its retention is interest, so the server drops a message whose partition has no consumer yet"
                .into(),
            remedy: "Use a stream with another retention, or leave out partitions.".into(),
        });
    }
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

/// What a workload without partitions should know of a stream that maps its subjects to some.
pub(crate) fn mapped(stream: &StreamConfig, queue: &Queue) -> Option<String> {
    let SubjectTransform { src, dest } = beside_partitions(stream, queue)?;
    Some(format!(
        "the stream maps `{src}` to `{dest}`, so each subject that this workload sees begins with the number of a \
         partition, which filter and order-key have to count as a token; give it partitions if other workloads of the \
         stream have some"
    ))
}

/// Refuses a stream that maps its subjects to partitions for a workload that has none and whose key names a token that
/// the mapping has put there, as does one whose partitions were taken away: all of its messages would be of one key, or
/// of as many as there are partitions, and its consumer would begin with what theirs have handled.
pub(crate) fn keyed_by_partition(stream: &StreamConfig, workload: &Workload) -> Option<SettingsRefusal> {
    let SubjectTransform { src, dest } = beside_partitions(stream, &workload.queue)?;
    let order = workload.order.as_ref().map(|order| ("order-key", &order.key));
    let per_key = workload.per_key.as_ref().map(|per_key| ("per-key", &per_key.key));
    let (name, number) = order.into_iter().chain(per_key).find_map(|(name, key)| match key {
        OrderKey::Token(number) => Some((name, *number)),
        OrderKey::Subject | OrderKey::Header(_) => None,
    })?;
    let token = dest.split('.').nth(number.checked_sub(1)?)?;
    if token.starts_with("{{wildcard(") {
        return None;
    }
    let count = dest.strip_prefix(PARTITION)?.split(',').next()?;
    let (stream, consumer) = (&stream.name, &workload.queue.consumer);
    Some(SettingsRefusal {
        problem: format!(
            "it maps `{src}` to `{dest}` for workloads with partitions, and this one has none: of a subject that is \
             stored so, token {number}, which {name} names, is `{token}`"
        ),
        remedy: format!(
            "Set partitions = {count} again, or count the number of the partition as the first token. To do without \
             partitions, publish nothing until all is settled, then `nats stream edit {stream} --no-transform` and \
             `nats consumer add {stream} {consumer} --pull --ack=explicit --deliver=new`: a consumer that a host makes \
             begins with what the stream still keeps, which stays stored as it is."
        ),
    })
}

/// How a stream maps its subjects to partitions, where the workload has none.
fn beside_partitions<'a>(stream: &'a StreamConfig, queue: &Queue) -> Option<&'a SubjectTransform> {
    let transform = stream.subject_transform.as_ref().filter(|_| queue.partition.is_none());
    transform.filter(|transform| transform.dest.starts_with(PARTITION))
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

    #[test]
    fn a_workload_without_partitions_is_told_of_the_mapping_of_its_stream() {
        let toml = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"";
        let workloads = crate::config::Config::from_toml(toml).unwrap().workloads;
        let queue = &workloads.first().unwrap().queue;
        let with = |transform| mapped(&stream(&["orders.*"], transform), queue);
        assert_eq!((with(None), with(Some(("orders.*", "new.{{wildcard(1)}}")))), (None, None));
        let told = with(Some(("orders.*", "{{partition(4,1)}}.orders.{{wildcard(1)}}"))).unwrap();
        assert!(told.contains("begins with the number of a partition"), "{told}");
    }

    #[test]
    fn a_key_that_the_mapping_has_moved_is_refused_in_a_workload_without_partitions() {
        let told = |keys: &str, transform| {
            let toml = format!("[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n{keys}\n");
            let workloads = crate::config::Config::from_toml(&toml).unwrap().workloads;
            let refusal = keyed_by_partition(&stream(&["orders.*"], transform), workloads.first().unwrap())?;
            Some(format!("{} {}", refusal.problem, refusal.remedy))
        };
        let mapped = Some(("orders.*", "{{partition(4,1)}}.orders.{{wildcard(1)}}"));
        let order = told("order-key = \"subject:2\"", mapped).unwrap();
        assert!(order.contains("token 2, which order-key names, is `orders`"), "{order}");
        assert!(order.contains("Set partitions = 4 again"), "{order}");
        assert!(order.contains("`nats stream edit ORDERS --no-transform`"), "{order}");
        let per_key = told("per-key = { key = \"subject:1\", max-in-flight = 1 }", mapped).unwrap();
        assert!(per_key.contains("token 1, which per-key names, is `{{partition(4,1)}}`"), "{per_key}");
        for (keys, transform) in [
            ("order-key = \"subject:3\"", mapped),
            ("order-key = \"subject\"", mapped),
            ("order-key = \"header:Key\"", mapped),
            ("", mapped),
            ("order-key = \"subject:2\"", None),
            ("order-key = \"subject:2\"", Some(("orders.*", "new.orders.{{wildcard(1)}}"))),
            ("order-key = \"subject:2\"\npartitions = 4", mapped),
        ] {
            assert_eq!(told(keys, transform), None, "{keys}");
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
        let interest = StreamConfig { retention: "interest".into(), ..stream(&["orders.*"], Some(mapped)) };
        assert!(judged(&interest, 4).unwrap().starts_with("its retention is interest"));
        assert!(judged(&stream(&["orders.>"], None), 4).unwrap().starts_with("token 2 of its subject `orders.>`"));
    }
}
