//! A workload that keeps an order and is spread over partitions: each is a workload of its own, with a consumer that
//! takes a part of the keys. The stream maps each subject to its partition when it stores the message.

use super::order_key::OrderKey;
use super::reader::Reader;
use super::words::Retention;

/// One of the partitions of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The name of the workload as it is written.
    pub workload: String,
    /// Which one it is, from 0.
    pub number: u32,
    /// How many there are; at least 2.
    pub count: u32,
    /// The token of the publisher's subject that says which partition a message belongs to, from 1.
    pub token: usize,
}

/// How a stream maps subjects when it stores messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectMapping {
    /// The subjects that are mapped.
    pub source: String,
    /// What becomes of them: the number of the partition as a token before the publisher's subject.
    pub destination: String,
}

impl Partition {
    /// The mapping that a stream of this subject needs. `None` where the token of the key is not `*` there.
    pub fn mapping(&self, subject: &str) -> Option<SubjectMapping> {
        if subject.split('.').nth(self.token.checked_sub(1)?) != Some("*") {
            return None;
        }
        let (mut wildcards, mut key) = (0, 0);
        let mut tokens = Vec::new();
        for (index, token) in subject.split('.').enumerate() {
            if token != "*" {
                tokens.push(token.to_owned());
                continue;
            }
            wildcards += 1;
            tokens.push(format!("{{{{wildcard({wildcards})}}}}"));
            if index + 1 == self.token {
                key = wildcards;
            }
        }
        let destination = format!("{{{{partition({},{key})}}}}.{}", self.count, tokens.join("."));
        Some(SubjectMapping { source: subject.to_owned(), destination })
    }

    /// A publisher's subject as the stream has it in this partition.
    pub(super) fn stored(&self, subject: &str) -> String {
        format!("{}.{subject}", self.number)
    }

    /// The name of what belongs to this partition, made of what it is called as it is written.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{name}-p{}", self.number)
    }
}

/// A subject as its publisher wrote it, of one that the stream has mapped to a partition.
pub(crate) fn published(stored: &str) -> &str {
    stored.split_once('.').map_or(stored, |(_, subject)| subject)
}

/// Decides whether a workload has partitions: how many, and by which token of the subject. `order` is its key.
pub(super) fn read(keys: &mut Reader<'_>, order: Option<&OrderKey>, may_create: bool) -> Option<(u32, usize)> {
    let count = keys.maybe("partitions")?;
    let place = keys.place("partitions");
    let token = match order {
        Some(OrderKey::Token(token)) => *token,
        Some(_) => {
            let problem = "need order-key = \"subject:N\": the server finds the partition of a message by one token of \
                           its subject, before any host sees it";
            keys.note(place.error(problem, "name the token of the subject that holds the key, or remove it"));
            return None;
        }
        None => {
            let problem = "are for a workload that keeps an order, and this one has no order-key: its hosts share one \
                           consumer as it is";
            keys.note(place.error(problem, "give order-key = \"subject:N\" as well, or remove it"));
            return None;
        }
    };
    if may_create && keys.get::<Retention>("retention") == Retention::Interest {
        let problem = "a stream with interest retention drops a message whose partition has no consumer yet";
        keys.note(keys.place("retention").error(problem, "use another retention, or remove partitions"));
    }
    Some((count, token))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    fn partition(token: usize) -> Partition {
        Partition { workload: "orders".to_owned(), number: 3, count: 8, token }
    }

    fn destination(subject: &str, token: usize) -> Option<String> {
        Some(partition(token).mapping(subject)?.destination)
    }

    #[test]
    fn the_partition_stands_before_the_publishers_subject() {
        assert_eq!(destination("orders.*", 2).as_deref(), Some("{{partition(8,1)}}.orders.{{wildcard(1)}}"));
        assert_eq!(
            destination("*.orders.*.>", 3).as_deref(),
            Some("{{partition(8,2)}}.{{wildcard(1)}}.orders.{{wildcard(2)}}.>")
        );
        for (subject, token) in [("orders.*", 1), ("orders.>", 2), ("orders.*", 3), ("orders", 1), ("*", 0)] {
            assert_eq!(destination(subject, token), None, "{subject} {token}");
        }
        assert_eq!(published("3.orders.42"), "orders.42");
        assert_eq!(published("odd"), "odd");
    }

    /// What the server makes of a subject, but for the hash.
    fn mapped(mapping: &SubjectMapping, subject: &str, number: u32) -> String {
        let tokens: Vec<&str> = subject.split('.').collect();
        let wildcards: Vec<&str> =
            mapping.source.split('.').zip(&tokens).filter_map(|(of, token)| (of == "*").then_some(*token)).collect();
        let mut out = Vec::new();
        for token in mapping.destination.split('.') {
            if token.starts_with("{{partition(") {
                out.push(number.to_string());
            } else if let Some(index) = token.strip_prefix("{{wildcard(").and_then(|rest| rest.strip_suffix(")}}")) {
                out.push(wildcards[index.parse::<usize>().unwrap() - 1].to_owned());
            } else if token == ">" {
                out.extend(tokens.iter().skip(mapping.source.split('.').count() - 1).map(|of| (*of).to_owned()));
            } else {
                out.push(token.to_owned());
            }
        }
        out.join(".")
    }

    proptest! {
        #[test]
        fn a_handler_sees_the_subject_that_was_published(
            source in proptest::collection::vec("[a-z]{1,3}|\\*", 1..6),
            fill in "[a-z0-9]{1,4}",
            tail in proptest::option::of("[a-z]{1,3}(\\.[a-z]{1,3}){0,2}"),
            token in 1_usize..7,
        ) {
            let filled = |of: &String| if of == "*" { fill.clone() } else { of.clone() };
            let subject = source.iter().map(filled).collect::<Vec<_>>();
            let subject = [subject.join(".")].into_iter().chain(tail.clone()).collect::<Vec<_>>().join(".");
            let source = [source.join(".")].into_iter().chain(tail.map(|_| ">".to_owned())).collect::<Vec<_>>();
            let source = source.join(".");
            match partition(token).mapping(&source) {
                Some(mapping) => {
                    let stored = mapped(&mapping, &subject, 5);
                    prop_assert_eq!(published(&stored), subject.as_str());
                    prop_assert!(stored.starts_with("5."));
                }
                None => prop_assert_ne!(source.split('.').nth(token - 1), Some("*")),
            }
        }
    }
}
