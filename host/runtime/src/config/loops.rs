//! Workloads that may send messages round: each may send what the next reads. Pure.

use std::collections::VecDeque;

use super::workload::Workload;

/// What a person should know of each ring of two or more workloads of one account, as far as the file says what they
/// read. One that sends what it reads itself is told with the workload.
pub(super) fn rings(workloads: &[Workload]) -> Vec<String> {
    let reads: Vec<&[String]> = workloads.iter().map(|workload| reads(workload, workloads.iter())).collect();
    let told = |first| Some(told(workloads, &shortest(workloads, &reads, first)?));
    (0..workloads.len()).filter_map(told).collect()
}

/// Subjects that reach a workload. Where it binds a stream that another workload makes, that one says which.
pub(super) fn reads<'w>(workload: &'w Workload, mut all: impl Iterator<Item = &'w Workload>) -> &'w [String] {
    let queue = &workload.queue;
    if !queue.filter.is_empty() {
        return &queue.filter;
    }
    let made = all.find(|other| {
        other.queue.stream == queue.stream && other.nats == workload.nats && !other.queue.subjects.is_empty()
    });
    made.map_or(&[], |other| &other.queue.subjects)
}

/// Workloads of which each may send what the next one reads, and the last what the first one does.
#[derive(Debug)]
struct Ring {
    workloads: Vec<usize>,
    /// Whether all that is sent carries a hop count.
    is_counted: bool,
}

/// The shortest ring through the workload `first` and ones that come after it in the file, so that each is told once.
fn shortest(workloads: &[Workload], reads: &[&[String]], first: usize) -> Option<Ring> {
    let mut paths = VecDeque::from([Ring { workloads: vec![first], is_counted: true }]);
    let mut seen = vec![false; workloads.len()];
    while let Some(path) = paths.pop_front() {
        let last = *path.workloads.last()?;
        let from = workloads.get(last)?;
        for (next, (to, reads)) in workloads.iter().zip(reads).enumerate().skip(first) {
            let Some(counted) = from.grants.reach(&to.queue.stream, reads).filter(|_| to.nats == from.nats) else {
                continue;
            };
            let is_counted = path.is_counted && counted;
            if next == first && path.workloads.len() > 1 {
                return Some(Ring { is_counted, ..path });
            }
            if next != first && next != last && !seen.get(next).is_some_and(|seen| *seen) {
                if let Some(seen) = seen.get_mut(next) {
                    *seen = true;
                }
                paths.push_back(Ring { workloads: [path.workloads.as_slice(), &[next]].concat(), is_counted });
            }
        }
    }
    None
}

fn told(workloads: &[Workload], ring: &Ring) -> String {
    let all = ring.workloads.iter().chain(ring.workloads.first());
    let names: Vec<&str> = all.filter_map(|index| Some(workloads.get(*index)?.name.as_str())).collect();
    let ends = if ring.is_counted {
        "a message may go round, and becomes a dead letter after max-hops"
    } else {
        "a message may go round without end, for what is written to a bucket carries no hop count"
    };
    format!(
        "each of these workloads may send what the next one reads: {}; {ends}; grant less, or limit their consumers \
         with filter",
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
    fn what_is_asked_and_what_is_written_to_a_bucket_go_round_too() {
        let ring = |a: &str, b: &str, streams: [&str; 2]| {
            let text = |name: &str, stream: &str, more: &str| {
                format!("[workload.{name}]\nstream = \"{stream}\"\nhandler = \"h\"\npolicy = \"p\"\n{more}\n")
            };
            let text = text("a", streams[0], a) + &text("b", streams[1], b);
            Config::from_toml(&text).unwrap().warnings()
        };
        let a = "filter = \"a.>\"\ngrants.publish = \"b.new\"";
        let asks = ring(a, "filter = \"b.>\"\ngrants.request = \"a.price\"", ["A", "B"]);
        assert!(asks.len() == 1 && asks[0].contains("a -> b -> a") && asks[0].contains("max-hops"), "{asks:?}");
        let writes =
            ring("grants.publish = \"b.new\"", "filter = \"b.>\"\ngrants.kv = \"read-write c/x\"", ["KV_c", "B"]);
        let said =
            "a -> b -> a; a message may go round without end, for what is written to a bucket carries no hop count";
        assert!(writes.len() == 1 && writes[0].contains(said), "{writes:?}");
        let only_reads = ring("grants.publish = \"b.new\"", "filter = \"b.>\"\ngrants.kv = \"read c\"", ["KV_c", "B"]);
        assert_eq!(only_reads, Vec::<String>::new());
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
