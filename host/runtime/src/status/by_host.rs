//! The workers of a workload by host over the last hour, in bounded memory: a few hosts are told apart, and the rest of
//! a large fleet is one number. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::samples::{Ring, Sample};

/// How many hosts are told apart. The page has as many colours.
pub(super) const HOSTS: usize = 8;
/// The most bytes of the id of a host that is told apart: all that one can be configured to be called.
pub(super) const ID: usize = 128;

/// How many workers each of the hosts that are told apart has, and all others together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    hosts: [u32; HOSTS],
    others: u32,
}

/// An hour of workers by host.
#[derive(Debug)]
pub(crate) struct ByHost {
    /// The hosts that are told apart, as long as one of the samples has a worker of them.
    ids: [Option<String>; HOSTS],
    newest: Sample<Counts>,
    samples: Ring<Counts>,
}

/// The workers at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct HostWorkers {
    /// By host; one that has none is not named.
    pub(crate) hosts: BTreeMap<String, u32>,
    /// Those of all other hosts.
    pub(crate) others: u32,
}

impl ByHost {
    /// Of as many samples at most, none older than this, in milliseconds.
    pub(super) fn new(most: usize, age_ms: u64) -> Self {
        Self { ids: Default::default(), newest: Sample::default(), samples: Ring::new(most, age_ms) }
    }

    /// Takes what each host has now: more than it did at the last look, or less.
    pub(super) fn look(&mut self, at_ms: u64, workers: &BTreeMap<String, u32>) {
        self.name(workers);
        let count = |id: &Option<String>| id.as_ref().and_then(|id| workers.get(id)).copied().unwrap_or(0);
        let hosts = self.ids.each_ref().map(count);
        let others = sum(workers.values().copied()).saturating_sub(sum(hosts));
        self.newest = Sample { at_ms, of: Counts { hosts, others } };
    }

    /// Gives new hosts the places that are free, those with the most workers first.
    fn name(&mut self, workers: &BTreeMap<String, u32>) {
        if self.ids.iter().all(Option::is_some) {
            return;
        }
        let is_known = |id: &String| self.ids.iter().flatten().any(|known| known == id);
        let is_new = |(id, count): &(&String, &u32)| **count > 0 && id.len() <= ID && !is_known(id);
        let mut new: Vec<_> = workers.iter().filter(is_new).collect();
        new.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let new: Vec<String> = new.into_iter().map(|(id, _)| id.clone()).collect();
        self.ids.iter_mut().filter(|id| id.is_none()).zip(new).for_each(|(place, id)| *place = Some(id));
    }

    /// Keeps the last look as a sample of the hour.
    pub(super) fn keep(&mut self) {
        self.samples.push(self.newest);
        let samples = &self.samples;
        for (place, id) in self.ids.iter_mut().enumerate() {
            let has_any = |sample: &Sample<Counts>| sample.of.hosts.get(place).is_some_and(|count| *count > 0);
            if !samples.samples().any(has_any) {
                *id = None;
            }
        }
    }

    /// The last look.
    pub(super) fn newest(&self) -> HostWorkers {
        self.named(self.newest.of)
    }

    /// The samples and the last look, oldest first.
    pub(super) fn all(&self) -> Vec<(u64, HostWorkers)> {
        let kept = self.samples.newest().map_or(0, |sample| sample.at_ms);
        let newest = Some(&self.newest).filter(|newest| newest.at_ms > kept);
        self.samples.samples().chain(newest).map(|sample| (sample.at_ms, self.named(sample.of))).collect()
    }

    fn named(&self, of: Counts) -> HostWorkers {
        let named = self.ids.iter().zip(of.hosts).filter(|(_, count)| *count > 0);
        HostWorkers { hosts: named.filter_map(|(id, count)| Some((id.clone()?, count))).collect(), others: of.others }
    }
}

fn sum(counts: impl IntoIterator<Item = u32>) -> u32 {
    counts.into_iter().fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn workers(of: &[(&str, u32)]) -> BTreeMap<String, u32> {
        of.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect()
    }

    fn told(of: &[(&str, u32)], others: u32) -> HostWorkers {
        HostWorkers { hosts: workers(of), others }
    }

    #[test]
    fn an_hour_is_told_by_host_and_ends_with_the_last_look() {
        let mut hosts = ByHost::new(10, 3_600_000);
        hosts.look(1000, &workers(&[("a", 2), ("b", 0)]));
        hosts.keep();
        hosts.look(2000, &workers(&[("a", 1), ("b", 1)]));
        let expected = [(1000, told(&[("a", 2)], 0)), (2000, told(&[("a", 1), ("b", 1)], 0))];
        assert_eq!(hosts.all(), expected);
        hosts.keep();
        assert_eq!(hosts.all(), expected);
        assert_eq!(hosts.newest(), told(&[("a", 1), ("b", 1)], 0));
    }

    #[test]
    fn of_a_large_fleet_those_with_the_most_workers_are_told_apart() {
        let all: BTreeMap<String, u32> = (1..=20).map(|number| (format!("h{number:02}"), number)).collect();
        let mut hosts = ByHost::new(10, 3_600_000);
        hosts.look(1, &all);
        let newest = hosts.newest();
        assert_eq!(newest.hosts.keys().next().unwrap(), "h13");
        assert_eq!((newest.hosts.len(), newest.others), (HOSTS, (1..=12).sum()));
        let long = "x".repeat(ID + 1);
        let mut hosts = ByHost::new(10, 3_600_000);
        hosts.look(1, &workers(&[(&long, 3)]));
        assert_eq!(hosts.newest(), told(&[], 3));
    }

    #[test]
    fn a_host_without_a_worker_for_an_hour_makes_room_for_another() {
        let mut hosts = ByHost::new(100, 10_000);
        let first: Vec<String> = (0..HOSTS).map(|number| format!("old{number}")).collect();
        hosts.look(1000, &first.iter().map(|id| (id.clone(), 1)).collect());
        hosts.keep();
        for second in 2..=10 {
            hosts.look(second * 1000, &workers(&[("new", 5)]));
            hosts.keep();
            assert_eq!(hosts.newest(), told(&[], 5), "{second}");
        }
        // The sample that had them is as old as any may be; then the next look is told by name.
        for second in 11..=13 {
            hosts.look(second * 1000, &workers(&[("new", 5)]));
            hosts.keep();
        }
        assert_eq!(hosts.newest(), told(&[("new", 5)], 0));
    }

    proptest! {
        #[test]
        fn no_worker_is_lost_or_told_twice(
            looks in prop::collection::vec(prop::collection::btree_map("[a-p]", 0_u32..5, 0..14), 1..40),
        ) {
            let mut hosts = ByHost::new(12, 20_000);
            for (second, look) in (1..).zip(&looks) {
                hosts.look(second * 1000, look);
                let newest = hosts.newest();
                prop_assert_eq!(sum(newest.hosts.values().copied()) + newest.others, sum(look.values().copied()));
                prop_assert!(newest.hosts.iter().all(|(id, count)| look.get(id) == Some(count)));
                hosts.keep();
                prop_assert_eq!(hosts.all().pop(), Some((second * 1000, newest)));
            }
            // A sample says what was so, whoever has the place of a host since.
            for (at, of) in hosts.all() {
                let look = &looks[usize::try_from(at / 1000).unwrap() - 1];
                prop_assert!(of.hosts.iter().all(|(id, count)| look.get(id) == Some(count)), "{} {:?}", at, of);
            }
        }
    }
}
