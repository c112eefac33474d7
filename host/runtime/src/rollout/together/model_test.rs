//! Hosts that get files early, late or never, that are killed and started again, whose leader changes at any moment;
//! and what holds of a rollout whatever they do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::decide::{HostSeen, Moment, next};
use super::entries::{FleetRollout, HostGenerations, LateHost, RolloutPlan, Verdict};
use super::place::Step;
use crate::config::RolloutConfig;
use crate::delivery::by_generation::CallSums;
use crate::digest::Digest;
use crate::rollout::ending::Ending;

const SHARE: f64 = 0.05;

fn rules() -> RolloutConfig {
    RolloutConfig { min_messages: 100, ..RolloutConfig::with_share(SHARE) }
}

/// A host as a real one behaves: it keeps what it was given, and runs what it has.
#[derive(Debug, Clone)]
struct Host {
    boot: u32,
    file: Digest,
    stable: Digest,
    held: BTreeMap<Digest, CallSums>,
    there: bool,
}

impl Host {
    fn new(boot: u32, file: &str) -> Self {
        let file = Digest::from(file);
        Self { boot, held: [(file.clone(), CallSums::default())].into(), stable: file.clone(), file, there: true }
    }

    fn gets(&mut self, file: &str) {
        self.file = file.into();
        self.held.entry(self.file.clone()).or_default();
    }

    fn obey(&mut self, plan: &RolloutPlan) {
        if self.held.contains_key(&plan.stable) {
            self.stable = plan.stable.clone();
        }
    }

    fn says(&self) -> HostGenerations {
        let (file, stable) = (self.file.clone(), self.stable.clone());
        HostGenerations { file, stable, run: 0, calls: self.held.clone(), unusable: None }
    }

    fn calls(&mut self, generation: &Digest, calls: u64, failed: u64) {
        let more = CallSums { calls, failed, timed: calls, us: calls * 10, ..CallSums::default() };
        let sums = self.held.get_mut(generation).unwrap();
        *sums = sums.plus(more);
    }
}

struct Fleet {
    hosts: BTreeMap<String, Host>,
    rollout: Option<FleetRollout>,
    shares: BTreeMap<String, u32>,
    elapsed_ms: u64,
    verdict: Option<Verdict>,
}

impl Fleet {
    fn new(files: &[&str], share: u32) -> Self {
        let id = |number: usize| format!("h{number}");
        let hosts = files.iter().enumerate().map(|(n, file)| (id(n), Host::new(0, file))).collect();
        let shares = (0..files.len()).map(|n| (id(n), share)).collect();
        Self { hosts, rollout: None, shares, elapsed_ms: 0, verdict: None }
    }

    fn host(&mut self, number: usize) -> &mut Host {
        self.hosts.get_mut(&format!("h{number}")).unwrap()
    }

    /// The leader decides, a second after it did. What it knows has gone through the bucket.
    fn decide(&mut self) {
        self.elapsed_ms += 1000;
        let says: Vec<(String, String, HostGenerations)> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.there)
            .map(|(id, host)| (id.clone(), format!("{id}-{}", host.boot), host.says()))
            .collect();
        let seen: Vec<HostSeen<'_>> =
            says.iter().map(|(id, boot, generations)| HostSeen { id, boot, generations }).collect();
        let before: Option<FleetRollout> =
            self.rollout.as_ref().map(|rollout| serde_json::from_slice(&serde_json::to_vec(rollout).unwrap()).unwrap());
        let at = Moment { elapsed_ms: self.elapsed_ms, now_ms: self.elapsed_ms };
        let Some(rollout) = next(before.as_ref(), &rules(), &seen, self.verdict.as_ref(), at) else { return };
        let rollout = Step::new(rollout, &seen, SHARE).placed(&self.shares);
        let plan = rollout.plan();
        self.hosts.values_mut().filter(|host| host.there).for_each(|host| host.obey(&plan));
        self.check(&rollout);
        self.rollout = Some(rollout);
    }

    fn check(&self, rollout: &FleetRollout) {
        let Some(tried) = &rollout.tried else { return };
        assert_ne!(tried.generation, rollout.stable);
        assert_ne!(Some(&tried.generation), rollout.rejected.as_ref());
        for (id, count) in &tried.workers {
            assert!(self.hosts[id].held.contains_key(&tried.generation), "{id} does not have it");
            assert!(*count <= self.shares[id]);
        }
        let of = |id: &&String| self.hosts[*id].there;
        let all: u32 = self.shares.keys().filter(of).map(|id| self.shares[id]).sum();
        let new: u32 = tried.workers.values().sum();
        let wanted = ((f64::from(all) * SHARE).round() as u32).clamp(1, all.saturating_sub(1).max(1));
        assert!(new <= wanted, "{new} of {all}");
    }

    /// Each host works for a second by the plan.
    fn work(&mut self, calls: u64, failed: (u64, u64)) {
        let rollout = self.rollout.clone().unwrap();
        for (id, host) in self.hosts.iter_mut().filter(|(_, host)| host.there) {
            let stable = host.stable.clone();
            host.calls(&stable, calls, failed.1);
            let runs = |generation: &Digest| host.held.contains_key(generation);
            let of_host =
                rollout.tried.as_ref().filter(|tried| tried.workers.contains_key(id) && runs(&tried.generation));
            if let Some(tried) = of_host {
                host.calls(&tried.generation, calls, failed.0);
            }
        }
    }

    fn now(&self) -> &FleetRollout {
        self.rollout.as_ref().unwrap()
    }

    fn tried(&self) -> Option<&str> {
        self.now().tried.as_ref().map(|tried| tried.generation.whole())
    }

    fn last(&self) -> (&str, Ending) {
        let last = self.now().last.as_ref().unwrap();
        (last.generation.whole(), last.ending)
    }
}

/// Ten hosts with two workers each: a worker in twenty.
fn ten() -> Fleet {
    let mut fleet = Fleet::new(&["a"; 10], 2);
    fleet.decide();
    (0..10).for_each(|n| fleet.host(n).gets("b"));
    fleet.decide();
    fleet
}

/// The same ten, after the new one has failed too often.
fn rolled_back() -> Fleet {
    let mut fleet = ten();
    for _ in 0..100 {
        fleet.work(50, (5, 0));
        fleet.decide();
    }
    assert_eq!((fleet.last(), fleet.tried(), fleet.now().number), (("b", Ending::RolledBack), None, 1));
    fleet
}

#[test]
fn a_share_of_less_than_a_worker_a_host_is_one_worker_of_one_host() {
    let mut fleet = ten();
    assert_eq!(fleet.now().tried.as_ref().unwrap().workers, BTreeMap::from([("h0".to_owned(), 1)]));
    // It stays where it is, however the shares move.
    fleet.shares.insert("h3".to_owned(), 9);
    fleet.decide();
    assert_eq!(fleet.now().tried.as_ref().unwrap().workers, BTreeMap::from([("h0".to_owned(), 1)]));
    fleet.host(0).there = false;
    fleet.shares.remove("h0");
    fleet.decide();
    assert_eq!(fleet.now().tried.as_ref().unwrap().workers, BTreeMap::from([("h3".to_owned(), 1)]));
}

#[test]
fn one_that_fails_is_rolled_back_for_all_and_not_tried_again_until_the_file_changes() {
    let mut fleet = rolled_back();
    assert_eq!(fleet.now().stable.whole(), "a");
    // A host that starts with that file changes nothing, and is told.
    *fleet.host(4) = Host::new(1, "b");
    fleet.decide();
    assert_eq!((fleet.tried(), &fleet.now().without), (None, &vec!["h4".to_owned()]));
    (0..10).for_each(|n| fleet.host(n).gets("c"));
    fleet.decide();
    assert_eq!((fleet.tried(), fleet.now().number), (Some("c"), 2));
}

#[test]
fn one_that_was_rolled_back_is_not_tried_again_when_the_host_that_has_its_file_comes_back() {
    let mut fleet = rolled_back();
    (0..9).for_each(|n| fleet.host(n).gets("a"));
    fleet.decide();
    for (third, tried, number) in [("a", None, 1), ("c", Some("c"), 2)] {
        fleet.host(9).there = false;
        fleet.decide();
        (0..9).for_each(|n| fleet.host(n).gets(third));
        fleet.decide();
        *fleet.host(9) = Host::new(number as u32, "b");
        (0..3).for_each(|_| fleet.decide());
        assert_eq!((fleet.tried(), fleet.now().number), (tried, number));
    }
    // It is kept for hosts that are known, and no others.
    let late = LateHost { file: Digest::from("b"), gone_ms: None };
    assert_eq!(fleet.now().late_hosts, BTreeMap::from([("h9".to_owned(), late)]));
    fleet.host(9).gets("c");
    fleet.decide();
    assert!(fleet.now().late_hosts.is_empty());
    // Somebody has put it there once more.
    fleet.host(9).gets("b");
    (0..2).for_each(|_| fleet.decide());
    assert_eq!((fleet.tried(), fleet.now().number), (Some("b"), 3));
}

#[test]
fn a_host_that_does_not_come_back_keeps_nothing_from_being_tried_for_more_than_an_hour() {
    let mut fleet = rolled_back();
    (0..9).for_each(|n| fleet.host(n).gets("a"));
    fleet.host(9).there = false;
    fleet.decide();
    let gone = fleet.elapsed_ms;
    for (passed_ms, kept) in [(3_599_999, 1), (3_600_000, 0)] {
        // It is a second later when it decides.
        fleet.elapsed_ms = gone + passed_ms - 1000;
        fleet.decide();
        assert_eq!(fleet.now().late_hosts.len(), kept, "after {passed_ms} ms");
    }
    // What was behind the rollback is mended, and it is put there again.
    (0..9).for_each(|n| fleet.host(n).gets("b"));
    (0..2).for_each(|_| fleet.decide());
    assert_eq!((fleet.tried(), fleet.now().number), (Some("b"), 2));
}

#[test]
fn one_that_is_fine_is_promoted_and_a_host_that_is_late_is_none_that_has_changed_its_file() {
    let mut fleet = Fleet::new(&["a"; 10], 2);
    fleet.decide();
    (0..9).for_each(|n| fleet.host(n).gets("b"));
    for _ in 0..400 {
        fleet.decide();
        fleet.work(10, (0, 0));
    }
    assert_eq!((fleet.last(), fleet.tried()), (("b", Ending::Promoted), None));
    assert_eq!((fleet.now().stable.whole(), &fleet.now().without), ("b", &vec!["h9".to_owned()]));
    assert_eq!(fleet.now().number, 1);
    // It goes on with what was in use until now.
    let (says, other) = (fleet.hosts["h9"].says(), fleet.hosts["h0"].says());
    let seen = [("h9", &says), ("h0", &other)].map(|(id, generations)| HostSeen { id, boot: "", generations });
    assert!(Step::new(fleet.now().clone(), &seen, SHARE).limits(20).is_empty());
    assert_eq!(fleet.now().plan().most_workers("h9", &says), u32::MAX);
    fleet.host(9).gets("b");
    fleet.decide();
    assert_eq!((fleet.tried(), fleet.now().without.len()), (None, 0));
    // All have the old file again: somebody wants it back.
    (0..10).for_each(|n| fleet.host(n).gets("a"));
    fleet.decide();
    assert_eq!(fleet.tried(), Some("a"));
}

#[test]
fn a_third_file_takes_the_place_of_the_second_though_some_hosts_still_have_that() {
    let mut fleet = ten();
    (0..5).for_each(|n| fleet.host(n).gets("c"));
    for _ in 0..5 {
        fleet.decide();
        assert_eq!((fleet.tried(), fleet.now().number), (Some("c"), 2));
    }
    (0..10).for_each(|n| fleet.host(n).gets("a"));
    fleet.decide();
    assert_eq!((fleet.tried(), fleet.last()), (None, ("c", Ending::Replaced)));
}

#[test]
fn a_trial_that_ends_with_the_host_that_had_its_file_does_not_say_that_a_file_has_changed() {
    let ended = |happens: fn(&mut Fleet)| {
        let mut fleet = Fleet::new(&["a", "a"], 2);
        fleet.decide();
        fleet.host(1).gets("b");
        fleet.decide();
        assert_eq!(fleet.tried(), Some("b"));
        happens(&mut fleet);
        fleet.decide();
        assert_eq!((fleet.tried(), fleet.last()), (None, ("b", Ending::Replaced)));
        fleet.now().last.as_ref().unwrap().reason.clone()
    };
    assert_eq!(ended(|fleet| fleet.host(1).there = false), "no host has its file any more");
    assert_eq!(ended(|fleet| fleet.host(1).gets("a")), "its file has the generation before again");
    assert_eq!(ended(|fleet| *fleet.host(1) = Host::new(1, "a")), "its file has the generation before again");
}

#[test]
fn a_trial_goes_on_where_what_leaders_have_watched_begins_anew() {
    let mut fleet = ten();
    fleet.rollout.as_mut().unwrap().tried.as_mut().unwrap().since_ms = 1 << 50;
    fleet.elapsed_ms = 0;
    fleet.decide();
    fleet.elapsed_ms += 4000;
    fleet.decide();
    assert_eq!(fleet.now().tried.as_ref().unwrap().elapsed_ms, 5000);
}

#[test]
fn a_person_decides_once_about_one_trial() {
    let mut fleet = ten();
    fleet.verdict = Some(Verdict { number: 1, promote: false });
    fleet.decide();
    assert_eq!((fleet.last(), fleet.tried()), (("b", Ending::Aborted), None));
    fleet.verdict = Some(Verdict { number: 1, promote: true });
    (0..3).for_each(|_| fleet.decide());
    assert_eq!((fleet.last(), fleet.now().stable.whole()), (("b", Ending::Promoted), "b"));
    // What is still written is about no later trial.
    (0..10).for_each(|n| fleet.host(n).gets("c"));
    (0..3).for_each(|_| fleet.decide());
    assert_eq!((fleet.tried(), fleet.now().ended), (Some("c"), [1, 0, 1, 0]));
    // Nor about one of which nothing is known any more, as where the lease was deleted.
    fleet.rollout = None;
    fleet.decide();
    assert_eq!(fleet.tried(), Some("c"));
}

#[test]
fn hosts_that_have_only_the_new_one_run_no_more_than_its_share_and_where_no_other_is_left_it_is_in_use() {
    let mut fleet = Fleet::new(&["a", "a", "a", "b"], 5);
    fleet.hosts.get_mut("h3").unwrap().boot = 1;
    fleet.decide();
    assert_eq!(fleet.tried(), Some("b"));
    let says: Vec<(String, HostGenerations)> = fleet.hosts.iter().map(|(id, host)| (id.clone(), host.says())).collect();
    let seen: Vec<HostSeen<'_>> =
        says.iter().map(|(id, generations)| HostSeen { id, boot: "0", generations }).collect();
    let step = Step::new(fleet.now().clone(), &seen, SHARE);
    assert_eq!(step.limits(20), BTreeMap::from([("h3".to_owned(), 1)]));
    let plan = fleet.now().plan();
    assert_eq!((plan.most_workers("h3", &says[3].1), plan.most_workers("h0", &says[0].1)), (1, u32::MAX));
    for n in 0..3 {
        *fleet.host(n) = Host::new(2, "b");
    }
    fleet.decide();
    assert_eq!((fleet.now().stable.whole(), fleet.last()), ("b", ("b", Ending::Promoted)));
    assert!(fleet.now().last.as_ref().unwrap().in_doubt);
}

#[test]
fn one_that_does_not_start_at_a_host_is_rolled_back_at_once() {
    let fleet = ten();
    let unusable = Some((Digest::from("b"), "an instance of it does not start".to_owned()));
    let says = HostGenerations { unusable, ..fleet.hosts["h1"].says() };
    let seen = [HostSeen { id: "h1", boot: "h1-0", generations: &says }];
    let now = next(fleet.rollout.as_ref(), &rules(), &seen, None, Moment::default()).unwrap();
    let last = now.last.unwrap();
    assert_eq!((last.ending, last.reason.as_str()), (Ending::RolledBack, "an instance of it does not start (host h1)"));
}

#[test]
fn what_a_host_has_said_before_and_what_it_did_before_it_ran_anew_do_not_count_again() {
    let mut fleet = ten();
    let counted = |fleet: &Fleet| fleet.now().tried.as_ref().unwrap().compared.measured().old.calls;
    let before = fleet.hosts["h5"].clone();
    fleet.work(10, (0, 0));
    fleet.decide();
    assert_eq!(counted(&fleet), 100);
    let now = fleet.hosts.insert("h5".to_owned(), before).unwrap();
    fleet.decide();
    fleet.hosts.insert("h5".to_owned(), now);
    fleet.decide();
    assert_eq!(counted(&fleet), 100);
    *fleet.host(5) = Host::new(1, "a");
    fleet.host(5).calls(&"a".into(), 7, 0);
    fleet.decide();
    assert_eq!(counted(&fleet), 100);
    fleet.host(5).calls(&"a".into(), 7, 0);
    fleet.decide();
    assert_eq!(counted(&fleet), 107);
}

#[derive(Debug, Clone)]
enum Event {
    File(usize, u8),
    Restart(usize, u8),
    Leave(usize),
    Return(usize),
    Share(usize, u32),
    Work(u64, u64, u64),
    Decide,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        1 => (0..5_usize, 0..4_u8).prop_map(|(host, file)| Event::File(host, file)),
        1 => (0..5_usize, 0..4_u8).prop_map(|(host, file)| Event::Restart(host, file)),
        1 => (0..5_usize).prop_map(Event::Leave),
        2 => (0..5_usize).prop_map(Event::Return),
        2 => (0..5_usize, 0..9_u32).prop_map(|(host, share)| Event::Share(host, share)),
        8 => (1..50_u64, 0..2_u64, 0..2_u64).prop_map(|(calls, new, old)| Event::Work(calls, new, old)),
        8 => Just(Event::Decide),
    ];
    proptest::collection::vec(event, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What always holds is checked with each decision. What is counted is never more than was done.
    #[test]
    fn whatever_hosts_do_there_is_one_trial_at_a_time_and_nothing_counts_twice(events in events()) {
        let mut fleet = Fleet::new(&["a"; 5], 3);
        fleet.decide();
        let mut done = 0;
        let mut number = 0;
        for event in events {
            let file = |file: u8| ["a", "b", "c", "d"][usize::from(file)];
            match event {
                Event::File(host, of) => fleet.host(host).gets(file(of)),
                Event::Restart(host, of) => {
                    let boot = fleet.host(host).boot + 1;
                    *fleet.host(host) = Host::new(boot, file(of));
                }
                Event::Leave(host) => fleet.host(host).there = false,
                Event::Return(host) => fleet.host(host).there = true,
                Event::Share(host, share) => drop(fleet.shares.insert(format!("h{host}"), share)),
                Event::Work(calls, new, old) => {
                    let there = fleet.hosts.values().filter(|host| host.there).count() as u64;
                    fleet.work(calls, (new, old));
                    done += calls * there * 2;
                }
                Event::Decide => fleet.decide(),
            }
            let now = fleet.now();
            if now.number != number {
                prop_assert_eq!(now.number, number + 1);
                (number, done) = (now.number, 0);
            }
            if let Some(tried) = &now.tried {
                let seen = tried.compared.measured();
                prop_assert!(seen.new.calls + seen.old.calls <= done);
            }
            prop_assert_eq!(now.ended.iter().sum::<u64>() + u64::from(now.tried.is_some()) >= now.number, true);
        }
    }

    /// Where no host dies all that was done since the trial began is counted, whoever leads and whoever was away.
    #[test]
    fn nothing_is_lost_where_no_host_dies(
        works in proptest::collection::vec((1..5_u64, 0..5_usize, any::<bool>()), 1..60),
    ) {
        let mut fleet = Fleet::new(&["a"; 5], 4);
        fleet.decide();
        (0..5).for_each(|n| fleet.host(n).gets("b"));
        fleet.decide();
        let (mut new, mut old) = (0, 0);
        for (calls, host, away) in works {
            // One that nobody hears of for a while works on by its last plan.
            fleet.work(calls, (0, 0));
            old += calls * 5;
            new += calls * fleet.now().tried.as_ref().unwrap().workers.len() as u64;
            fleet.host(host).there = !away;
            fleet.decide();
            fleet.host(host).there = true;
            prop_assert!(fleet.tried().is_some());
        }
        fleet.decide();
        let seen = fleet.now().tried.as_ref().unwrap().compared.measured();
        prop_assert_eq!((seen.new.calls, seen.old.calls), (new, old));
    }
}
