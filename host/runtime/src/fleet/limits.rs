//! How a limit of a workload is divided among the hosts of a fleet: in proportion to their shares, and never more of it
//! than there is. What is taken from one host is given to another only when the one says that it goes without. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many workers, or parts of a limit, each host has, by its id.
pub(crate) type Shares = BTreeMap<String, u32>;

/// A limit in equal parts, and who has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Divided {
    /// Parts in all.
    pub(crate) of: u32,
    /// What each host has, by its id.
    pub(crate) hosts: BTreeMap<String, Part>,
}

/// What one host has of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Parts by the plan.
    pub(crate) part: u32,
    /// The most that it may use still: more than the plan gives it until it says that it follows.
    pub(crate) may: u32,
    /// The epoch of the plan that lowered it last. What it has followed since gave it no more than this one.
    pub(crate) since: u64,
}

/// The same, as the plan has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Parts {
    /// Parts in all.
    pub(crate) of: u32,
    /// What each host has; nothing for one that is not named.
    pub(crate) hosts: Shares,
}

/// What a host says of its part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Follows {
    /// The row of leases of the plan that it follows.
    pub(crate) lineage: String,
    /// The plan that it follows; 0 before the first.
    pub(crate) epoch: u64,
    /// The most parts that it uses.
    pub(crate) uses: u32,
}

/// A host that takes part, and what it says, if that is of a plan of this row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taker {
    /// Its id.
    pub(crate) id: String,
    /// Which plan it follows, and the most that it uses.
    pub(crate) says: Option<(u64, u32)>,
}

impl Divided {
    /// What the plan says of it.
    pub(crate) fn parts(&self) -> Parts {
        Parts { of: self.of, hosts: self.hosts.iter().map(|(id, of)| (id.clone(), of.part)).collect() }
    }

    /// The most that all hosts together may use, where the limit is `of`.
    fn used(hosts: &BTreeMap<String, Part>) -> u64 {
        hosts.values().map(|host| u64::from(host.may.max(host.part))).sum()
    }
}

/// The next plan for a limit of `of` parts, whose number is `epoch`. Before the first one, and where the limit has
/// other parts than before, each host may use all.
pub(crate) fn divide(before: Option<&Divided>, of: u32, takers: &[Taker], wanted: &Shares, epoch: u64) -> Divided {
    let before = before.filter(|before| before.of == of);
    let lowered = |taker: &Taker| {
        let unknown = if before.is_some() { Part::default() } else { Part { part: of, may: of, since: epoch } };
        let had = before.and_then(|before| before.hosts.get(&taker.id)).copied().unwrap_or(unknown);
        let may = match taker.says {
            Some((follows, uses)) if follows >= had.since => had.part.max(uses),
            _ => had.may.max(had.part),
        };
        let part = had.part.min(wanted.get(&taker.id).copied().unwrap_or(0));
        let since = if part < had.part { epoch } else { had.since };
        (taker.id.clone(), Part { part, may, since })
    };
    let mut hosts: BTreeMap<String, Part> = takers.iter().map(lowered).collect();
    let mut free = u64::from(of).saturating_sub(Divided::used(&hosts));
    for (id, host) in &mut hosts {
        let (used, wanted) = (host.may.max(host.part), wanted.get(id).copied().unwrap_or(0));
        let most = used.saturating_add(u32::try_from(free).unwrap_or(u32::MAX));
        host.part = host.part.max(wanted.min(most));
        free -= u64::from(host.part.saturating_sub(used));
        host.may = host.may.max(host.part);
    }
    Divided { of, hosts }
}

/// So many parts in proportion to shares, all of them. Where nobody has a share, those get them that keep a pull
/// parked: the one of this id, or each where it is of nobody.
pub(crate) fn wanted(of: u32, shares: &Shares, parks: &str) -> Shares {
    let all: u64 = shares.values().map(|share| u64::from(*share)).sum();
    let weight = |(id, share): (&String, &u32)| match all {
        0 => u64::from(parks.is_empty() || parks == id),
        _ => u64::from(*share),
    };
    let weights: Vec<u64> = shares.iter().map(weight).collect();
    let whole = weights.iter().sum::<u64>().max(1);
    // The part up to each host, rounded; so the sum is the whole.
    let until = |weight: u64| u32::try_from(u64::from(of) * weight / whole).unwrap_or(of);
    let (mut so_far, mut parts) = (0, Shares::new());
    for (id, weight) in shares.keys().zip(weights) {
        parts.insert(id.clone(), until(so_far + weight) - until(so_far));
        so_far += weight;
    }
    parts
}

/// The part of a host that nobody gives one: so many hosts together use no more than the whole, but each at least one
/// of so many parts.
pub(crate) fn alone(of: u32, hosts: usize) -> u32 {
    let hosts = u32::try_from(hosts).unwrap_or(u32::MAX).max(1);
    (of / hosts).max(1).min(of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(parts: &[(&str, u32)]) -> Shares {
        parts.iter().map(|(id, part)| ((*id).to_owned(), *part)).collect()
    }

    fn taker(id: &str, says: Option<(u64, u32)>) -> Taker {
        Taker { id: id.to_owned(), says }
    }

    #[test]
    fn a_host_alone_has_all_and_one_that_joins_gets_what_the_other_goes_without() {
        let alone = divide(None, 8, &[taker("a", None)], &named(&[("a", 8)]), 1);
        assert_eq!(alone.parts().hosts, named(&[("a", 8)]));
        let half = named(&[("a", 4), ("b", 4)]);
        let says = |a, b| [taker("a", Some(a)), taker("b", Some(b))];
        let taken = divide(Some(&alone), 8, &says((1, 8), (0, 0)), &half, 2);
        assert_eq!(taken.parts().hosts, named(&[("a", 4), ("b", 0)]));
        // It follows, and has six in handlers still.
        let some = divide(Some(&taken), 8, &says((2, 6), (2, 0)), &half, 3);
        assert_eq!(some.parts().hosts, named(&[("a", 4), ("b", 2)]));
        let all = divide(Some(&some), 8, &says((3, 3), (3, 2)), &half, 4);
        assert_eq!(all.parts().hosts, half);
        // One that is gone leaves all to the other.
        let left = divide(Some(&all), 8, &[taker("b", Some((4, 4)))], &named(&[("b", 8)]), 5);
        assert_eq!(left.parts().hosts, named(&[("b", 8)]));
    }

    #[test]
    fn the_parts_are_in_proportion_to_shares_and_of_the_host_that_parks_a_pull_where_nobody_has_one() {
        assert_eq!(wanted(10, &named(&[("a", 1), ("b", 2), ("c", 0)]), "c"), named(&[("a", 3), ("b", 7), ("c", 0)]));
        assert_eq!(wanted(2, &named(&[("a", 1), ("b", 1), ("c", 1)]), ""), named(&[("a", 0), ("b", 1), ("c", 1)]));
        assert_eq!(wanted(5, &named(&[("a", 0), ("b", 0)]), "b"), named(&[("a", 0), ("b", 5)]));
        assert_eq!(wanted(5, &named(&[("a", 0), ("b", 0)]), ""), named(&[("a", 2), ("b", 3)]));
        assert!(wanted(5, &Shares::new(), "").is_empty());
    }

    #[test]
    fn hosts_that_nobody_gives_a_part_have_the_whole_together_at_most_or_one_each() {
        assert_eq!([(8, 2), (9, 2), (10_000, 50)].map(|(of, hosts)| alone(of, hosts)), [4, 4, 200]);
        assert_eq!([(4, 50), (1, 1), (3, 0), (0, 5)].map(|(of, hosts)| alone(of, hosts)), [1, 1, 3, 0]);
    }

    /// A host as it is: what it uses, and of which plan.
    #[derive(Debug, Clone, Default)]
    struct Real {
        epoch: u64,
        part: u32,
        in_flight: u32,
        said: Option<(u64, u32)>,
        is_there: bool,
    }

    #[derive(Debug, Clone)]
    enum Event {
        /// The leader plans, with these shares.
        Plan(Vec<u32>),
        /// A host sees the newest plan.
        Sees(usize),
        /// It begins as many as it may, or ends some.
        Begins(usize),
        Ends(usize, u32),
        /// It says what it uses.
        Says(usize),
        Joins(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        let host = 0_usize..5;
        prop_oneof![
            3 => proptest::collection::vec(0_u32..6, 5).prop_map(Event::Plan),
            4 => host.clone().prop_map(Event::Sees),
            3 => host.clone().prop_map(Event::Begins),
            3 => (host.clone(), 0_u32..9).prop_map(|(host, count)| Event::Ends(host, count)),
            4 => host.clone().prop_map(Event::Says),
            1 => host.prop_map(Event::Joins),
        ]
    }

    fn plan(hosts: &[Real], before: Option<&Divided>, of: u32, shares: &[u32], epoch: u64) -> Divided {
        let there = || hosts.iter().enumerate().filter(|(_, host)| host.is_there);
        let takers: Vec<_> = there().map(|(id, host)| taker(&format!("h{id}"), host.said)).collect();
        let shares = there().map(|(id, _)| (format!("h{id}"), shares[id])).collect();
        divide(before, of, &takers, &wanted(of, &shares, ""), epoch)
    }

    proptest! {
        #[test]
        fn hosts_never_use_more_together_than_there_is_however_late_they_hear_and_in_the_end_all_of_it(
            of in 1_u32..30,
            events in proptest::collection::vec(event(), 0..200),
            last in proptest::collection::vec(0_u32..6, 5)
        ) {
            let mut hosts = vec![Real::default(); 5];
            hosts[0].is_there = true;
            let mut plans = divide(None, of, &[taker("h0", None)], &named(&[("h0", of)]), 1);
            let mut epoch = 1;
            let sees = |host: &mut Real, id: usize, plans: &Divided, epoch| {
                host.part = plans.hosts.get(&format!("h{id}")).map_or(0, |part| part.part);
                host.epoch = epoch;
            };
            for event in events {
                match event {
                    Event::Plan(shares) => {
                        epoch += 1;
                        plans = plan(&hosts, Some(&plans), of, &shares, epoch);
                    }
                    Event::Joins(host) => hosts[host].is_there = true,
                    Event::Sees(host) | Event::Begins(host) | Event::Ends(host, _) | Event::Says(host)
                        if !hosts[host].is_there => {}
                    Event::Sees(host) => sees(&mut hosts[host], host, &plans, epoch),
                    Event::Begins(host) => hosts[host].in_flight = hosts[host].in_flight.max(hosts[host].part),
                    Event::Ends(host, count) => hosts[host].in_flight = hosts[host].in_flight.saturating_sub(count),
                    Event::Says(host) => {
                        let Real { epoch, part, in_flight, .. } = hosts[host];
                        hosts[host].said = Some((epoch, part.max(in_flight)));
                    }
                }
                let used: u32 = hosts.iter().map(|host| host.part.max(host.in_flight)).sum();
                prop_assert!(used <= of, "{used} of {of}: {hosts:?}");
            }
            for _ in 0..3 {
                for (id, host) in hosts.iter_mut().enumerate() {
                    sees(host, id, &plans, epoch);
                    (host.in_flight, host.said) = (0, Some((epoch, host.part)));
                }
                epoch += 1;
                plans = plan(&hosts, Some(&plans), of, &last, epoch);
            }
            let given: u32 = plans.hosts.values().map(|part| part.part).sum();
            prop_assert_eq!(given, of);
        }
    }
}
