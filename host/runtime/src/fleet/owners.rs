//! Which host has which partitions of a workload: as many as its share, and those that it had before first. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::entries::Shares;
use super::shares::Candidate;

/// The partitions of each host, by its id. No partition has two.
pub(crate) type Owners = BTreeMap<String, BTreeSet<u32>>;

/// As what a host reports its room for partitions, of which it works as many as it is given.
pub(crate) const DRAINS: u32 = 0;
/// It could not work one that it has.
pub(crate) const UNABLE: u32 = 1;
/// It can work them.
pub(crate) const ABLE: u32 = u32::MAX;

/// No workload has more partitions, whatever an entry says.
const MOST: u32 = 128;

/// How many partitions are shared out, and the hosts among which they are: those that can work them, or else those that
/// do not drain. Of hosts that have the workload in different numbers of partitions it is those that have as many as
/// were `planned` before, so that one that was changed too early takes nothing from the others; or as many as the
/// leader's `own`; or as another has. A host that does not say it counts for each number.
pub(crate) fn able(mut candidates: Vec<Candidate>, planned: u32, own: u32) -> (u32, Vec<Candidate>) {
    let best = candidates.iter().map(|host| host.room).max().unwrap_or_default();
    let works = |host: &Candidate, count| host.room == best && host.partitions.is_none_or(|of| of == count);
    let counts = [planned, own].into_iter().chain(candidates.iter().filter_map(|host| host.partitions));
    let worked = |count: &u32| (1..=MOST).contains(count) && candidates.iter().any(|host| works(host, *count));
    let count = counts.into_iter().find(worked).unwrap_or(own);
    for host in &mut candidates {
        host.room = if works(host, count) { u32::MAX } else { 0 };
        host.running = 0;
    }
    (count, candidates)
}

/// Who has each of `count` partitions, where these are the shares and `before` had them. A host keeps what it has, up
/// to its share.
pub(crate) fn owners(count: u32, shares: &Shares, before: &Owners) -> Owners {
    let mut free: BTreeSet<u32> = (0..count).collect();
    let mut owners = Owners::new();
    for (id, share) in shares {
        let share = usize::try_from(*share).unwrap_or(usize::MAX);
        let had = before.get(id).into_iter().flatten();
        let kept: BTreeSet<u32> = had.copied().filter(|of| free.contains(of)).take(share).collect();
        free.retain(|of| !kept.contains(of));
        owners.insert(id.clone(), kept);
    }
    for (id, share) in shares {
        let Some(has) = owners.get_mut(id) else { continue };
        while u32::try_from(has.len()).is_ok_and(|has| has < *share) {
            let Some(partition) = free.pop_first() else { break };
            has.insert(partition);
        }
    }
    owners.retain(|_, has| !has.is_empty());
    owners
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shares::shares;
    use super::*;

    fn hosts(capacities: &[(u32, bool)]) -> Vec<Candidate> {
        let host = |(id, (capacity, able)): (usize, &(u32, bool))| Candidate {
            id: format!("h{id:02}"),
            capacity: *capacity,
            room: if *able { ABLE } else { UNABLE },
            running: 3,
            partitions: None,
        };
        capacities.iter().enumerate().map(host).collect()
    }

    fn plan(count: u32, hosts: Vec<Candidate>, before: &(Shares, Owners)) -> (Shares, Owners) {
        let (count, hosts) = able(hosts, 0, count);
        let shares = shares(count, &hosts, &before.0);
        let owners = owners(count, &shares, &before.1);
        (shares, owners)
    }

    fn all(owners: &Owners) -> Vec<u32> {
        let mut all: Vec<u32> = owners.values().flatten().copied().collect();
        all.sort_unstable();
        all
    }

    /// Partitions that another host has now.
    fn moved(before: &Owners, after: &Owners) -> usize {
        let new =
            |(id, has): (&String, &BTreeSet<u32>)| has.difference(before.get(id).unwrap_or(&BTreeSet::new())).count();
        after.iter().map(new).sum()
    }

    #[test]
    fn a_host_that_joins_takes_its_part_and_the_others_keep_what_they_have() {
        let first = plan(8, hosts(&[(4, true)]), &Default::default());
        assert_eq!(all(&first.1), (0..8).collect::<Vec<_>>());
        let second = plan(8, hosts(&[(4, true), (4, true)]), &first);
        assert_eq!((second.1["h00"].len(), second.1["h01"].len(), moved(&first.1, &second.1)), (4, 4, 4));
        // The larger one has more.
        let larger = plan(8, hosts(&[(12, true), (4, true)]), &Default::default());
        assert_eq!((larger.1["h00"].len(), larger.1["h01"].len()), (6, 2));
    }

    #[test]
    fn a_host_where_no_worker_can_start_has_none_unless_that_is_so_everywhere() {
        let one = plan(4, hosts(&[(1, false), (1, true)]), &Default::default());
        assert_eq!((one.1.get("h00"), one.1["h01"].len()), (None, 4));
        let none = plan(4, hosts(&[(1, false), (1, false)]), &one);
        assert_eq!(all(&none.1), [0, 1, 2, 3]);
        // One that drains gets none though the other cannot work.
        let mut drained = hosts(&[(1, true), (1, false)]);
        drained[0].room = DRAINS;
        assert_eq!(plan(4, drained, &one).1["h01"].len(), 4);
    }

    /// Hosts, each with its number of partitions and whether it can work them, of which a number was planned before.
    fn shared(hosts_with: &[(u32, bool)], planned: u32, own: u32) -> (u32, Vec<bool>) {
        let mut hosts = hosts(&hosts_with.iter().map(|(_, able)| (1, *able)).collect::<Vec<_>>());
        hosts.iter_mut().zip(hosts_with).for_each(|(host, (count, _))| host.partitions = Some(*count));
        let (count, hosts) = able(hosts, planned, own);
        (count, hosts.iter().map(|host| host.room > 0).collect())
    }

    #[test]
    fn of_hosts_that_have_different_numbers_of_partitions_those_get_them_that_can_work_them() {
        // One was changed, and the mapping was not: the others go on, whoever leads.
        assert_eq!(shared(&[(4, true), (2, true)], 4, 4), (4, vec![true, false]));
        assert_eq!(shared(&[(4, true), (2, true)], 4, 2), (4, vec![true, false]));
        // The mapping was changed too, so that the others are refused.
        assert_eq!(shared(&[(4, false), (2, true)], 4, 4), (2, vec![false, true]));
        // That stays when they may be tried again, until they are changed.
        assert_eq!(shared(&[(4, true), (2, true)], 2, 4), (2, vec![false, true]));
        assert_eq!(shared(&[(2, true), (2, true)], 2, 2), (2, vec![true, true]));
        // Nothing was planned yet, or what an entry says is no number of partitions.
        assert_eq!(shared(&[(4, true), (2, true)], 0, 2), (2, vec![false, true]));
        assert_eq!(shared(&[(u32::MAX, true), (2, false)], u32::MAX, 2), (2, vec![false, false]));
    }

    #[test]
    fn a_host_that_does_not_say_how_many_it_has_counts_for_each_number() {
        let (count, candidates) = able(hosts(&[(1, true), (1, false)]), 4, 2);
        assert_eq!((count, candidates[0].room, candidates[1].room), (4, u32::MAX, 0));
    }

    proptest! {
        #[test]
        fn each_partition_has_one_host_whoever_comes_and_goes_and_no_more_move_than_must(
            count in 2_u32..129,
            rounds in proptest::collection::vec(proptest::collection::vec((1_u32..33, any::<bool>()), 1..12), 1..8),
        ) {
            let mut before = (Shares::new(), Owners::new());
            for round in rounds {
                let after = plan(count, hosts(&round), &before);
                prop_assert_eq!(all(&after.1), (0..count).collect::<Vec<_>>());
                for (id, share) in &after.0 {
                    prop_assert_eq!(after.1.get(id).map_or(0, BTreeSet::len), *share as usize);
                }
                // What a host gains in number, and no more.
                let gained: u32 = after.0.iter()
                    .map(|(id, share)| share.saturating_sub(before.1.get(id).map_or(0, |has| has.len() as u32)))
                    .sum();
                prop_assert_eq!(moved(&before.1, &after.1), gained as usize);
                prop_assert_eq!(&plan(count, hosts(&round), &after).1, &after.1);
                before = after;
            }
        }
    }
}
