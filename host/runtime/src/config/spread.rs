//! What a workload with partitions comes to: a workload for each.

use super::error::ConfigError;
use super::partitions::Partition;
use super::workload::{Workload, WrittenWorkload};

impl WrittenWorkload {
    /// What of its settings does not go with its partitions.
    pub(super) fn wrong_for_partitions(&self) -> Vec<ConfigError> {
        let Some(first) = self.partition(0) else { return Vec::new() };
        let (queue, mut wrong) = (&self.workload.queue, Vec::new());
        let fits = |subject: &String| first.mapping(subject).is_some();
        if !queue.subjects.is_empty() && (queue.subjects.len() > 1 || !queue.subjects.iter().all(fits)) {
            let problem = format!(
                "with partitions the stream has one subject whose token {} is `*`, for the server maps that token of \
                 it to a partition",
                first.token
            );
            let remedy = "write one such as \"orders.*\" for order-key = \"subject:2\", or \"orders.*.>\" if more \
                          tokens follow";
            wrong.push(self.place("subjects").error(problem, remedy));
        }
        self.wrong_limits(first.count, &mut wrong);
        wrong
    }

    /// What is limited has to be enough for each of so many partitions.
    fn wrong_limits(&self, count: u32, wrong: &mut Vec<ConfigError>) {
        let (limits, batching) = (&self.workload.start_limits, &self.workload.batching);
        for ((key, whole), (_, part)) in limits.at_once().into_iter().zip(limits.part(count).at_once()) {
            let (Some(whole), Some(part)) = (whole, part) else { continue };
            if part == 0 {
                let problem = format!("{whole} is less than the {count} partitions, each of which has its part of it");
                wrong.push(self.place(key).error(problem, "raise it, or lower partitions"));
            } else if batching.wanted && (part + 1..=whole).contains(&batching.size) {
                let size = batching.size;
                let problem =
                    format!("{size} is more than the part of {key} that each of {count} partitions has: {part}");
                wrong.push(self.place("batching.size").error(problem, format!("lower it, or raise {key}")));
            }
        }
    }

    /// Whether both have one stream. Streams of the same name in two accounts are two.
    fn has_stream_of(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.workload, &other.workload);
        mine.queue.stream == theirs.queue.stream && mine.nats == theirs.nats
    }

    /// One of its partitions, if it has any.
    fn partition(&self, number: u32) -> Option<Partition> {
        let (count, token) = self.partitions?;
        Some(Partition { workload: self.workload.name.clone(), number, count, token })
    }

    /// The workloads that it comes to: itself, or one for each partition.
    pub(super) fn spread(self) -> Vec<Workload> {
        let Some((count, _)) = self.partitions else { return vec![self.workload] };
        (0..count).filter_map(|number| Some(part(&self.workload, self.partition(number)?))).collect()
    }
}

/// The workload of one partition. What may begin at once and in a time is divided, so that the partitions together
/// begin no more than was said.
fn part(whole: &Workload, partition: Partition) -> Workload {
    let mut part = whole.clone();
    part.name = partition.named(&whole.name);
    part.queue.consumer = partition.named(&whole.queue.consumer);
    part.queue.watch_consumer = partition.named(&whole.queue.watch_consumer);
    part.start_limits = whole.start_limits.part(partition.count);
    part.queue.partition = Some(partition);
    part
}

/// What a workload, or its partitions, are called.
#[derive(Default)]
struct Names {
    workloads: Vec<String>,
    consumers: Vec<String>,
}

impl Names {
    fn of(written: &WrittenWorkload) -> Self {
        let (workload, mut names) = (&written.workload, Self::default());
        let queue = &workload.queue;
        let count = written.partitions.map_or(1, |(count, _)| count);
        for number in 0..count {
            let named = |name: &str| written.partition(number).map_or_else(|| name.to_owned(), |of| of.named(name));
            names.workloads.push(named(&workload.name));
            names.consumers.extend([named(&queue.consumer), named(&queue.watch_consumer)]);
        }
        names
    }
}

/// Names of partitions that something else has, too.
pub(super) fn collisions(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    let names: Vec<Names> = all.iter().map(Names::of).collect();
    for (index, (written, mine)) in all.iter().zip(&names).enumerate() {
        for (other, theirs) in all.iter().zip(&names).take(index) {
            if written.partitions.is_none() && other.partitions.is_none() {
                continue;
            }
            let both = |mine: &[String], theirs: &[String]| mine.iter().find(|name| theirs.contains(name)).cloned();
            let consumer = || both(&mine.consumers, &theirs.consumers).filter(|_| written.has_stream_of(other));
            let Some(name) = both(&mine.workloads, &theirs.workloads).or_else(consumer) else { continue };
            let here = written.place("consumer");
            let there = other.place("consumer").beside(&here);
            let problem = format!("{name:?} is what a partition is called, here and by {there}");
            problems.push(here.error(problem, "give one of the workloads, or of the consumers, another name"));
        }
    }
}

/// The workloads of one stream have it mapped alike, or none of them has.
pub(super) fn mappings(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    for (index, written) in all.iter().enumerate() {
        let stream = &written.workload.queue.stream;
        let differs = |other: &&WrittenWorkload| {
            !stream.is_empty() && written.has_stream_of(other) && other.partitions != written.partitions
        };
        if let Some(other) = all.iter().take(index).find(differs) {
            let here = written.place("partitions");
            let there = other.place("partitions").beside(&here);
            let problem = format!("the stream {stream} maps subjects to the partitions of {there}, which are others");
            let remedy = "give both the same partitions and order-key, or a stream each";
            problems.push(here.error(problem, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::time::Duration;

    use crate::config::{Config, Rate};

    const ORDERS: &str = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n\
        order-key = \"subject:2\"\npartitions = 4\nfilter = [\"orders.*\"]\n";

    #[test]
    fn a_stream_of_the_same_name_in_another_account_is_another() {
        let beside = |nats: &str| {
            let other = "[workload.other]\nstream = \"ORDERS\"\nconsumer = \"orders-workers-p1\"\n\
                handler = \"h\"\npolicy = \"p\"\n";
            Config::from_toml(&format!("{ORDERS}{other}{nats}"))
        };
        beside("nats = { url = \"nats://elsewhere\" }\n").unwrap();
        let wrong = beside("").unwrap_err().to_string();
        for part in ["maps subjects to the partitions", "is what a partition is called"] {
            assert!(wrong.contains(part), "{wrong}");
        }
    }

    #[test]
    fn a_burst_that_is_less_than_the_partitions_cannot_be_divided() {
        let with = |burst: u32| Config::from_toml(&format!("{ORDERS}rate = \"100/s\"\nburst = {burst}\n"));
        with(4).unwrap();
        let wrong = with(3).unwrap_err().to_string();
        assert!(wrong.contains("burst") && wrong.contains("less than the 4 partitions"), "{wrong}");
        let batches = |most: u32| Config::from_toml(&format!("{ORDERS}max-in-flight = {most}\nbatching.size = 10\n"));
        batches(40).unwrap();
        let wrong = batches(39).unwrap_err().to_string();
        assert!(wrong.contains("batching.size") && wrong.contains("each of 4 partitions has: 9"), "{wrong}");
    }

    #[test]
    fn a_workload_becomes_one_for_each_partition_and_they_share_its_limits() {
        let text = "[workload.orders]\nstream = \"ORDERS\"\nhandler = \"h\"\npolicy = \"p\"\n\
            order-key = \"subject:2\"\npartitions = 4\nsubjects = [\"orders.*\"]\nmanage = \"create\"\n\
            filter = [\"orders.*\"]\nrate = \"100/s\"\nmax-in-flight = 11\n";
        let workloads = Config::from_toml(text).unwrap().workloads;
        let names: Vec<_> = workloads.iter().map(|of| (of.name.as_str(), of.queue.consumer.as_str())).collect();
        let expected = ["0", "1", "2", "3"].map(|n| (format!("orders-p{n}"), format!("orders-workers-p{n}")));
        assert_eq!(names, expected.each_ref().map(|(name, consumer)| (name.as_str(), consumer.as_str())));
        assert_eq!(workloads[2].queue.filters(), ["2.orders.*"]);
        assert_eq!(workloads[2].written_name(), "orders");
        let limits = &workloads[3].start_limits;
        let rate = Rate { every: Duration::from_millis(40), burst: 25 };
        assert_eq!((limits.rate, limits.max_in_flight), (Some(rate), Some(2)));
    }
}
