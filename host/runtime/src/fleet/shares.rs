//! How the workers of a workload are shared out among hosts: by capacity, and with as few moves as that allows. Pure.

use std::cmp::Ordering;

use super::entries::Shares;

/// How far a share may be from the fair one before workers move, in tenths of it; always to the next whole worker.
const SLACK: u128 = 1;
const WHOLE: u128 = 10;

/// A host that can run workers of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its id.
    pub(crate) id: String,
    /// What its share is in proportion to; none counts as 1.
    pub(crate) capacity: u32,
    /// The most workers that it can run.
    pub(crate) room: u32,
    /// Workers that it runs now.
    pub(crate) running: u32,
    /// How many partitions it has the workload in, as far as it says that.
    pub(crate) partitions: Option<u32>,
}

/// A candidate while workers are shared out.
struct Place<'a> {
    of: &'a Candidate,
    least: u32,
    most: u32,
    share: u32,
}

/// The shares of `desired` workers, where `before` were the shares. Their sum is `desired`, or all that there is room
/// for. A host keeps what it has while that is within a tenth of its fair share, so one that joins takes over only what
/// it has to.
pub(crate) fn shares(desired: u32, candidates: &[Candidate], before: &Shares) -> Shares {
    let mut places = places(desired, candidates, before);
    let has = |places: &[Place<'_>]| places.iter().map(|place| u64::from(place.share)).sum::<u64>();
    let wanted = u64::from(desired).min(places.iter().map(|place| u64::from(place.of.room)).sum());
    for _ in has(&places)..wanted {
        let open = places.iter_mut().filter(|place| place.share < place.most);
        if let Some(place) = open.min_by(|a, b| next(a, b)) {
            place.share += 1;
        }
    }
    for _ in wanted..has(&places) {
        let open = places.iter_mut().filter(|place| place.share > place.least);
        if let Some(place) = open.max_by(|a, b| last(a, b)) {
            place.share -= 1;
        }
    }
    places.into_iter().map(|place| (place.of.id.clone(), place.share)).collect()
}

/// Each candidate with the bounds of its share, and what of its share before is within them.
fn places<'a>(desired: u32, candidates: &'a [Candidate], before: &Shares) -> Vec<Place<'a>> {
    let (left, weight) = beside_the_full(desired, candidates);
    let place = |of: &'a Candidate| {
        let fair = left * capacity(of);
        let small = |share: u128| u32::try_from(share).unwrap_or(u32::MAX).min(of.room);
        let (least, most) = if weight == 0 || is_full(of, left, weight) {
            (of.room, of.room)
        } else {
            let least = (fair * (WHOLE - SLACK)).div_ceil(weight * WHOLE).min(fair / weight);
            let most = (fair * (WHOLE + SLACK) / (weight * WHOLE)).max(fair.div_ceil(weight));
            (small(least), small(most))
        };
        let share = before.get(&of.id).copied().unwrap_or(0).clamp(least, most);
        Place { of, least, most, share }
    };
    candidates.iter().map(place).collect()
}

/// The workers, and the capacity of the hosts, that are left where each host that has no room for its fair share is
/// full.
fn beside_the_full(desired: u32, candidates: &[Candidate]) -> (u128, u128) {
    let (mut left, mut weight) = (u128::from(desired), candidates.iter().map(capacity).sum::<u128>());
    let mut open: Vec<&Candidate> = candidates.iter().collect();
    loop {
        let full: Vec<&Candidate> = open.iter().copied().filter(|of| is_full(of, left, weight)).collect();
        if full.is_empty() {
            return (left, weight);
        }
        open.retain(|of| !is_full(of, left, weight));
        left = full.iter().fold(left, |left, of| left.saturating_sub(u128::from(of.room)));
        weight = full.iter().fold(weight, |weight, of| weight.saturating_sub(capacity(of)));
    }
}

/// Whether a host has less room than its fair share of so many workers, among hosts of so much capacity.
fn is_full(of: &Candidate, left: u128, weight: u128) -> bool {
    u128::from(of.room) * weight < left * capacity(of)
}

fn capacity(of: &Candidate) -> u128 {
    u128::from(of.capacity.max(1))
}

/// Which of two hosts is given a worker first: the one with fewer for its capacity, then the one where a worker runs
/// already that nobody has asked for, as where a message has started it.
fn next(a: &Place<'_>, b: &Place<'_>) -> Ordering {
    let spare = |place: &Place<'_>| place.of.running > place.share;
    load(a, b).then_with(|| spare(b).cmp(&spare(a))).then_with(|| a.of.id.cmp(&b.of.id))
}

/// Which of two hosts a worker is taken from first: the greater.
fn last(a: &Place<'_>, b: &Place<'_>) -> Ordering {
    load(a, b).then_with(|| a.of.id.cmp(&b.of.id))
}

fn load(a: &Place<'_>, b: &Place<'_>) -> Ordering {
    (u128::from(a.share) * capacity(b.of)).cmp(&(u128::from(b.share) * capacity(a.of)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(id: usize, capacity: u32, room: u32) -> Candidate {
        Candidate { id: format!("h{id:02}"), capacity, room, running: 0, partitions: None }
    }

    fn alike(count: usize) -> Vec<Candidate> {
        (0..count).map(|id| host(id, 4, u32::MAX)).collect()
    }

    fn sum(shares: &Shares) -> u64 {
        shares.values().map(|share| u64::from(*share)).sum()
    }

    /// Workers that a host gets which it had not before.
    fn moved(before: &Shares, after: &Shares) -> u64 {
        let gained = |(id, share): (&String, &u32)| share.saturating_sub(before.get(id).copied().unwrap_or(0));
        after.iter().map(|pair| u64::from(gained(pair))).sum()
    }

    #[test]
    fn one_that_joins_takes_over_no_more_than_it_has_to() {
        let before = shares(100, &alike(4), &Shares::new());
        assert!(before.values().all(|share| *share == 25), "{before:?}");
        let after = shares(100, &alike(5), &before);
        // Nine tenths of its fair 20.
        assert_eq!((after["h04"], moved(&before, &after)), (18, 18));
    }

    #[test]
    fn a_worker_that_a_message_has_started_is_the_one_that_is_wanted() {
        let mut hosts = alike(3);
        hosts[2].running = 1;
        assert_eq!(shares(1, &hosts, &Shares::new())["h02"], 1);
    }

    #[test]
    fn what_a_host_has_no_room_for_the_others_get() {
        let hosts = [host(0, 1, 2), host(1, 1, 100), host(2, 2, 100)];
        let shares = shares(32, &hosts, &Shares::new());
        assert_eq!((shares["h00"], shares["h01"], shares["h02"]), (2, 10, 20));
    }

    #[test]
    fn nobody_gets_what_there_is_no_host_for() {
        assert!(shares(5, &[], &Shares::new()).is_empty());
        assert_eq!(sum(&shares(5, &[host(0, 1, 0)], &Shares::new())), 0);
    }

    fn hosts() -> impl Strategy<Value = Vec<Candidate>> {
        let room = prop_oneof![3 => Just(u32::MAX), 1 => 0_u32..40];
        proptest::collection::vec((0_u32..65, room, 0_u32..3), 1..20).prop_map(|hosts| {
            let make = |(id, (capacity, room, running))| Candidate { running, ..host(id, capacity, room) };
            hosts.into_iter().enumerate().map(make).collect()
        })
    }

    fn had() -> impl Strategy<Value = Shares> {
        let had = proptest::collection::btree_map(0_usize..25, 0_u32..60, 0..25);
        had.prop_map(|had| had.into_iter().map(|(id, share)| (format!("h{id:02}"), share)).collect())
    }

    proptest! {
        #[test]
        fn all_are_shared_out_and_nobody_gets_more_than_it_has_room_for(
            desired in 0_u32..600, hosts in hosts(), before in had()
        ) {
            let shares = shares(desired, &hosts, &before);
            let room: u64 = hosts.iter().map(|host| u64::from(host.room)).sum();
            prop_assert_eq!(sum(&shares), u64::from(desired).min(room));
            prop_assert_eq!(shares.len(), hosts.len());
            prop_assert!(hosts.iter().all(|host| shares[&host.id] <= host.room));
        }

        #[test]
        fn each_is_within_a_tenth_of_its_fair_share_or_is_that_rounded(
            desired in 0_u32..600, capacities in proptest::collection::vec(1_u32..65, 1..20), before in had()
        ) {
            let hosts: Vec<_> = capacities.iter().enumerate().map(|(id, of)| host(id, *of, u32::MAX)).collect();
            let whole: f64 = capacities.iter().map(|of| f64::from(*of)).sum();
            for of in &hosts {
                let fair = f64::from(desired) * f64::from(of.capacity) / whole;
                let share = f64::from(shares(desired, &hosts, &before)[&of.id]);
                prop_assert!((share - fair).abs() < (fair / 10.0 + 1e-6).max(1.0), "{share} of {fair}");
            }
        }

        #[test]
        fn what_was_shared_out_once_stays_as_it_is(desired in 0_u32..600, hosts in hosts(), before in had()) {
            let once = shares(desired, &hosts, &before);
            prop_assert_eq!(shares(desired, &hosts, &once), once);
        }

        #[test]
        fn more_workers_take_none_from_a_host_and_fewer_give_none(
            desired in 0_u32..300, more in 0_u32..300, count in 1_usize..20
        ) {
            let hosts = alike(count);
            let few = shares(desired, &hosts, &Shares::new());
            let many = shares(desired + more, &hosts, &few);
            prop_assert_eq!(moved(&few, &many), u64::from(more));
            prop_assert_eq!(moved(&many, &shares(desired, &hosts, &many)), 0);
        }
    }
}
