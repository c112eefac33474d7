//! Workloads that may send messages round: each may publish what the next reads. Pure.

use std::collections::VecDeque;

use super::names::overlap;
use super::workload::Workload;

/// What a person should know of each ring of two or more workloads of one account, as far as the file says what they
/// read. One that publishes what it reads itself is told with the workload.
pub(super) fn rings(workloads: &[Workload]) -> Vec<String> {
    let reads: Vec<&[String]> = workloads.iter().map(|workload| reads(workload, workloads)).collect();
    (0..workloads.len()).filter_map(|first| Some(told(workloads, &shortest(workloads, &reads, first)?))).collect()
}

/// Subjects that reach a workload. Where it binds a stream that another workload makes, that one says which.
fn reads<'w>(workload: &'w Workload, all: &'w [Workload]) -> &'w [String] {
    let queue = &workload.queue;
    if !queue.filter.is_empty() {
        return &queue.filter;
    }
    let made = all.iter().find(|other| {
        other.queue.stream == queue.stream && other.nats == workload.nats && !other.queue.subjects.is_empty()
    });
    made.map_or(&[], |other| &other.queue.subjects)
}

/// The shortest ring through the workload `first` and ones that come after it in the file, so that each is told once.
fn shortest(workloads: &[Workload], reads: &[&[String]], first: usize) -> Option<Vec<usize>> {
    let mut paths = VecDeque::from([vec![first]]);
    let mut seen = vec![false; workloads.len()];
    while let Some(path) = paths.pop_front() {
        let last = *path.last()?;
        let publishes = &workloads.get(last)?.grants.publish;
        for (next, reads) in reads.iter().enumerate().skip(first) {
            let is_elsewhere = workloads.get(next).map(|next| &next.nats) != workloads.get(last).map(|last| &last.nats);
            if is_elsewhere || !publishes.iter().any(|granted| reads.iter().any(|read| overlap(granted, read))) {
                continue;
            }
            if next == first && path.len() > 1 {
                return Some(path);
            }
            if next != first && next != last && !seen.get(next).is_some_and(|seen| *seen) {
                if let Some(seen) = seen.get_mut(next) {
                    *seen = true;
                }
                paths.push_back([path.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

fn told(workloads: &[Workload], ring: &[usize]) -> String {
    let names: Vec<&str> =
        ring.iter().chain(ring.first()).filter_map(|index| Some(workloads.get(*index)?.name.as_str())).collect();
    format!(
        "each of these workloads may publish what the next one reads: {}; a message may go round, and becomes a dead \
         letter after max-hops; grant less, or limit their consumers with filter",
        names.join(" -> ")
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::load::Config;

    /// Workloads that are named in small letters, each with what it reads and what it may publish.
    fn rings(workloads: &[(&str, &str, &str)]) -> Vec<String> {
        let text: String = workloads
            .iter()
            .map(|(name, reads, publishes)| {
                format!(
                    "[workload.{name}]\nstream = \"{}\"\nmanage = \"create\"\nhandler = \"h\"\npolicy = \"p\"\n\
                     {reads}\ngrants.publish = \"{publishes}\"\n",
                    name.to_uppercase()
                )
            })
            .collect();
        Config::from_toml(&text).unwrap().warnings()
    }

    const A: (&str, &str, &str) = ("a", "subjects = \"a.>\"", "b.new");
    const B: (&str, &str, &str) = ("b", "subjects = \"b.>\"", "c.new");

    #[test]
    fn each_ring_is_told_once_and_a_chain_is_none() {
        assert_eq!(rings(&[A, B, ("c", "subjects = \"c.>\"", "d.new")]), Vec::<String>::new());
        let ring = rings(&[A, B, ("c", "subjects = \"c.>\"", "a.new")]);
        assert!(matches!(ring.as_slice(), [told] if told.contains("a -> b -> c -> a")), "{ring:?}");
        let two = rings(&[("x", "subjects = \"x.>\"", "y"), A, ("b", "subjects = \"b.>\"", "a.*")]);
        assert!(matches!(two.as_slice(), [told] if told.contains("a -> b -> a")), "{two:?}");
    }

    #[test]
    fn a_filter_that_leaves_it_out_ends_a_ring() {
        assert_eq!(rings(&[A, ("b", "subjects = \"b.>\"\nfilter = \"b.old\"", "a.new")]), Vec::<String>::new());
    }

    #[test]
    fn who_publishes_what_it_reads_itself_is_no_ring() {
        assert_eq!(rings(&[("a", "subjects = \"a.>\"", ">"), ("b", "subjects = \"b.>\"", "c")]), Vec::<String>::new());
    }

    #[test]
    fn a_workload_that_binds_reads_what_the_maker_of_its_stream_says() {
        let binds = ("b", "consumer = \"other\"", "a.new");
        let text = |stream: &str| {
            let [a, b] = [("a", "subjects = \"a.>\"", "a.again"), binds].map(|(name, reads, publishes)| {
                format!(
                    "[workload.{name}]\nstream = \"{stream}\"\nhandler = \"h\"\npolicy = \"p\"\n{reads}\n\
                     grants.publish = \"{publishes}\"\nmanage = \"create\"\n"
                )
            });
            a + &b
        };
        assert_eq!(Config::from_toml(&text("A")).unwrap().warnings().len(), 1);
    }
}
