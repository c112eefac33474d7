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
        let count = usize::try_from(first.count).unwrap_or(usize::MAX);
        if let Some(most) = self.workload.start_limits.max_in_flight.filter(|most| *most < count) {
            let problem = format!("{most} are fewer than the {count} partitions, each of which has its part of them");
            wrong.push(self.place("max-in-flight").error(problem, "raise it, or lower partitions"));
        }
        wrong
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
            let same_stream = written.workload.queue.stream == other.workload.queue.stream;
            let both = |mine: &[String], theirs: &[String]| mine.iter().find(|name| theirs.contains(name)).cloned();
            let consumer = || both(&mine.consumers, &theirs.consumers).filter(|_| same_stream);
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
            !stream.is_empty() && other.workload.queue.stream == *stream && other.partitions != written.partitions
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
