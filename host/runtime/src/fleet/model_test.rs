//! Seats of several hosts on a model of the bucket. Hosts pause at any step, also between a decision and its write;
//! writes are lost, or stored and not confirmed; watches lag; hosts are started again; the bucket is purged, or made
//! anew, or goes back to an earlier state; files of a handler change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::entries::{
    Fold, HostEntry, HostId, Lease, Plan, Report, Watched, figures_key, host_key, lease_key, plan_key, read, text,
};
use super::figures::Figures;
use super::seat::{Decided, Next, Planned, Seat, Written};
use super::view::{View, Watching};
use crate::config::RolloutConfig;
use crate::delivery::by_generation::CallSums;
use crate::digest::Digest;
use crate::rollout::together::decide::{self, Moment};
use crate::rollout::together::entries::HostGenerations;
use crate::rollout::together::place::Step;

const W: &str = "w";
const MIN: u32 = 1;
const MAX: u32 = 12;
const FILES: [&str; 3] = ["one", "two", "three"];

/// The bucket: all that was ever written, in its order.
#[derive(Default)]
struct Bucket {
    log: Vec<(u64, String, Vec<u8>)>,
    last: BTreeMap<String, (u64, Vec<u8>)>,
    revision: u64,
    /// How often it was purged or made anew, or went back.
    lives: usize,
    /// What was written since it was purged or made anew, or up to where it went back.
    kept: Vec<(u64, String, Vec<u8>)>,
}

impl Bucket {
    fn put(&mut self, key: String, value: Vec<u8>, expected: Option<u64>) -> Written {
        let now = self.last.get(&key).map_or(0, |(revision, _)| *revision);
        if expected.is_some_and(|expected| expected != now) {
            return Written::Conflict;
        }
        self.revision += 1;
        self.last.insert(key.clone(), (self.revision, value.clone()));
        self.kept.push((self.revision, key.clone(), value.clone()));
        self.log.push((self.revision, key, value));
        Written::Stored(self.revision)
    }

    /// It loses the last of what was written.
    fn go_back(&mut self, lost: usize) {
        self.kept.truncate(self.kept.len().saturating_sub(lost));
        self.last = self.kept.iter().map(|(at, key, value)| (key.clone(), (*at, value.clone()))).collect();
        self.revision = self.kept.last().map_or(0, |(at, ..)| *at);
        self.lives += 1;
    }

    fn get<T: for<'a> serde::Deserialize<'a>>(&self, key: &str) -> (u64, Option<T>) {
        let found = self.last.get(key);
        found.map_or((0, None), |(revision, value)| (*revision, Some(read(key, value).unwrap())))
    }
}

struct Host {
    id: HostId,
    view: View,
    seat: Seat,
    /// What the watch has still to bring, and how far in the log it is.
    watching: Option<Watching>,
    waiting: Vec<(u64, String, Vec<u8>)>,
    at: usize,
    life: usize,
    /// What it is about to do: it may be paused for as long as anybody likes.
    intent: Option<Intent>,
    boots: u32,
    /// The highest revision that it has written.
    written: u64,
    /// The generation that its file has, and calls of each that it has counted.
    file: usize,
    calls: u64,
    /// Whether it is of a version that writes all into its entry.
    older: bool,
}

enum Intent {
    Do(Next),
    /// It asks the policy, which answers this.
    Ask(u32),
}

/// How a write goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Luck {
    Good,
    Lost,
    Unconfirmed,
}

#[derive(Debug, Clone)]
enum Event {
    /// The host writes its entry.
    Beat(usize, Luck),
    /// Its watch brings so many changes.
    Deliver(usize, usize),
    /// It makes up its mind.
    Think(usize, u32),
    /// It does what it was about to do.
    Act(usize, Luck),
    Restart(usize),
    /// Its watch has ended, and begins anew.
    Watch(usize),
    /// Its plugin's file is this one of [`FILES`] from now on.
    File(usize, usize),
    Purge,
    Anew,
    /// The bucket loses so many of the last writes.
    Back(usize),
}

struct World {
    bucket: Bucket,
    hosts: Vec<Host>,
    /// Decisions that somebody has acted upon, by their number, in each life of the bucket.
    acted: Vec<(usize, u64)>,
}

impl Host {
    fn new(number: usize, boots: u32) -> Self {
        let id = HostId { id: format!("h{number}"), boot: format!("h{number}b{boots}") };
        let (view, seat) = (View::new(id.clone()), Seat::new(W));
        let (watching, waiting, intent) = (None, Vec::new(), None);
        let older = (number + boots as usize) % 4 == 3;
        Self { id, view, seat, watching, waiting, at: 0, life: 0, intent, boots, older, written: 0, file: 0, calls: 0 }
    }

    /// What it says of the generations of its handler.
    fn generations(&mut self) -> HostGenerations {
        self.calls += 3;
        let of = |file: &str| {
            let calls = self.calls;
            (Digest::from(file), CallSums { calls, timed: calls, us: calls, ..CallSums::default() })
        };
        let stable = self.view.plan(W).and_then(|plan| Some(plan.rollout.as_ref()?.stable.clone()));
        let (file, calls) = (Digest::from(FILES[self.file]), FILES.map(of).into());
        HostGenerations { stable: stable.unwrap_or_else(|| file.clone()), file, run: 0, calls, unusable: None }
    }

    /// What it decides of a rollout when it leads.
    fn rollout(&self) -> Option<Step> {
        let rules = RolloutConfig { min_messages: 1_000_000_000, ..RolloutConfig::with_share(0.1) };
        let hosts = self.view.generations(W);
        let before = self.seat.lease().unwrap().rollout.as_ref();
        let rollout = decide::next(before, &rules, &hosts, None, Moment::default())?;
        Some(Step::new(rollout, &hosts, rules.share))
    }

    /// What the policy, which counts its decisions, has answered.
    fn decided(&self, desired: u32) -> Option<Decided> {
        let decisions = self.seat.lease()?.fold.as_ref().map_or(0, |fold| fold.decisions) + 1;
        let (state, generation) = (decisions.to_string().into_bytes(), "g".to_owned());
        let fold = Some(Fold { plugin: "p".to_owned(), generation, settings: String::new(), state, decisions });
        let (watched, rollout, partitions) = (Watched::default(), self.rollout(), false);
        Some(Decided { desired, fold, watched, set: None, running: 0, parts: None, rollout, partitions })
    }

    /// What it has to watch now. A change begins the watch anew, with the last version of each key.
    fn watch(&mut self, bucket: &Bucket) {
        let wanted = if self.seat.lease().is_some() {
            Watching::All
        } else {
            let leader = self.seat.leader(&self.view).map(|leader| leader.id.clone());
            Watching::Some([Some(self.id.id.clone()), leader].into_iter().flatten().collect::<BTreeSet<_>>())
        };
        if self.watching.as_ref() == Some(&wanted) && self.life == bucket.lives {
            return;
        }
        self.view.begin(wanted.clone());
        self.waiting = bucket.last.iter().map(|(key, (at, value))| (*at, key.clone(), value.clone())).collect();
        self.waiting.sort();
        (self.watching, self.at, self.life) = (Some(wanted), bucket.log.len(), bucket.lives);
    }

    fn wrote(&mut self, came: Written) {
        if let Written::Stored(revision) = came {
            self.written = self.written.max(revision);
        }
    }

    fn deliver(&mut self, bucket: &Bucket, count: usize) {
        self.watch(bucket);
        self.waiting.extend(bucket.log[self.at..].iter().cloned());
        self.at = bucket.log.len();
        let keys = self.watching.as_ref().unwrap().keys();
        let is_watched = |key: &str| {
            let prefix = |of: &String| of.strip_suffix('>').map_or(key == of, |prefix| key.starts_with(prefix));
            keys.iter().any(prefix)
        };
        for (revision, key, value) in self.waiting.drain(..count.min(self.waiting.len())) {
            if is_watched(&key) && !(self.older && key.starts_with("figures.")) {
                // Only a test writes what cannot be read.
                let _ = self.view.saw(&key, revision, Some(&value));
            }
        }
    }
}

impl World {
    fn new(count: usize) -> Self {
        let hosts = (0..count).map(|number| Host::new(number, 0)).collect();
        Self { bucket: Bucket::default(), hosts, acted: Vec::new() }
    }

    fn put(&mut self, key: String, value: Vec<u8>, expected: Option<u64>, luck: Luck) -> Written {
        match luck {
            Luck::Good => self.bucket.put(key, value, expected),
            Luck::Lost => Written::Unknown,
            Luck::Unconfirmed => {
                self.bucket.put(key, value, expected);
                Written::Unknown
            }
        }
    }

    fn happens(&mut self, event: &Event) {
        match *event {
            Event::Beat(host, luck) => {
                let of = &mut self.hosts[host];
                // One of an older version says nothing of generations.
                let generations = (!of.older).then(|| of.generations());
                let report = Report { generations, ..Report::idle() };
                let workloads: BTreeMap<String, Report> = [(W.to_owned(), report)].into();
                let (id, older) = (of.id.clone(), of.older);
                let apart = !older && of.view.may_write_apart(workloads.keys());
                let mut entry = HostEntry { boot: id.boot, capacity: 2, workloads, apart, reads_apart: !older };
                if apart {
                    let workloads = std::mem::take(&mut entry.workloads);
                    let figures = Figures { boot: entry.boot.clone(), workloads };
                    if !matches!(self.put(figures_key(&id.id), figures.text(), None, luck), Written::Stored(_)) {
                        return;
                    }
                }
                if let Written::Stored(revision) = self.put(host_key(&id.id), text(&entry), None, luck) {
                    let of = &mut self.hosts[host];
                    if of.written >= revision {
                        of.view.went_back();
                        (of.watching, of.written) = (None, 0);
                    }
                    of.wrote(Written::Stored(revision));
                }
            }
            Event::Deliver(host, count) => self.hosts[host].deliver(&self.bucket, count),
            Event::Think(host, seed) => self.think(host, seed),
            Event::Act(host, luck) => self.act(host, luck),
            Event::Restart(host) => {
                let boots = self.hosts[host].boots + 1;
                self.hosts[host] = Host::new(host, boots);
            }
            Event::Watch(host) => {
                let of = &mut self.hosts[host];
                if let Some(watching) = of.watching.take() {
                    of.view.begin(watching);
                }
            }
            Event::File(host, file) => self.hosts[host].file = file,
            Event::Back(lost) => self.bucket.go_back(lost),
            Event::Purge => {
                self.bucket.last.clear();
                self.bucket.kept.clear();
                self.bucket.lives += 1;
            }
            Event::Anew => {
                self.bucket.last.clear();
                self.bucket.kept.clear();
                (self.bucket.revision, self.bucket.lives) = (0, self.bucket.lives + 1);
            }
        }
    }

    /// The events, with a host that stands still for a while in between.
    fn go_through(&mut self, events: &[Event], (host, from, long): (usize, usize, usize)) {
        for (at, event) in events.iter().enumerate() {
            let of = match event {
                Event::Beat(of, _) | Event::Deliver(of, _) | Event::Think(of, _) | Event::Act(of, _) => Some(*of),
                _ => None,
            };
            if of != Some(host) || at < from || at >= from + long {
                self.happens(event);
            }
        }
    }

    fn think(&mut self, host: usize, seed: u32) {
        let of = &mut self.hosts[host];
        of.watch(&self.bucket);
        if of.intent.is_some() {
            return;
        }
        let next = of.seat.next(&of.view, true);
        of.intent = match next {
            Next::Lead => Some(Intent::Ask(MIN + seed % (MAX - MIN + 1))),
            Next::Follow | Next::Wait => None,
            next => Some(Intent::Do(next)),
        };
    }

    fn act(&mut self, host: usize, luck: Luck) {
        let Some(intent) = self.hosts[host].intent.take() else { return };
        match intent {
            Intent::Ask(desired) => {
                let of = &self.hosts[host];
                let Some(decided) = of.decided(desired) else { return };
                let Planned::Lease(lease, revision) = of.seat.decided(decided, &of.view) else { return };
                let came = self.put(lease_key(W), text(&*lease), Some(revision), luck);
                if let Written::Stored(_) = came {
                    self.acted.push((self.bucket.lives, lease.fold.as_ref().unwrap().decisions));
                }
                let of = &mut self.hosts[host];
                of.wrote(came);
                of.seat.wrote(*lease, came, &of.view);
            }
            Intent::Do(Next::Read) if luck == Luck::Good => {
                let found = self.bucket.get::<Lease>(&lease_key(W));
                let of = &mut self.hosts[host];
                of.seat.read(found, &of.view);
            }
            Intent::Do(Next::ReadPlan) if luck == Luck::Good => {
                let (revision, plan) = self
                    .bucket
                    .last
                    .get(&plan_key(W))
                    .map_or((0, None), |(revision, value)| (*revision, read::<Plan>(&plan_key(W), value).ok()));
                self.hosts[host].seat.found_plan(revision, plan.as_ref());
            }
            Intent::Do(Next::WriteLease(lease, expected)) => {
                let came = self.put(lease_key(W), text(&*lease), Some(expected), luck);
                let of = &mut self.hosts[host];
                of.wrote(came);
                of.seat.wrote(*lease, came, &of.view);
            }
            Intent::Do(Next::WritePlan(plan, expected)) => {
                let came = self.put(plan_key(W), text(&*plan), Some(expected), luck);
                self.hosts[host].wrote(came);
                self.hosts[host].seat.published(plan.epoch, came);
            }
            Intent::Do(_) => {}
        }
    }

    fn written<T: for<'a> serde::Deserialize<'a>>(&self, key: &str) -> Vec<T> {
        let of = self.bucket.log.iter().filter(|(_, of, _)| of == key);
        of.map(|(_, _, value)| read(key, value).unwrap()).collect()
    }

    /// What always holds.
    fn check(&self, purged: bool) {
        let mut plans: BTreeMap<(String, u64), Plan> = BTreeMap::new();
        let mut highest: BTreeMap<String, u64> = BTreeMap::new();
        for plan in self.written::<Plan>(&plan_key(W)) {
            let known = plans.entry((plan.lineage.clone(), plan.epoch)).or_insert_with(|| plan.clone());
            assert_eq!(*known, plan, "two plans of one epoch");
            let highest = highest.entry(plan.lineage.clone()).or_default();
            // A plan that waited to be the first one is so again in a bucket that was purged. Whoever has seen a later
            // one does not follow it.
            assert!(purged || plan.epoch >= *highest, "{} was written after {highest}", plan.epoch);
            *highest = plan.epoch;
            assert!(plan.shares.values().sum::<u32>() <= MAX && plan.desired <= MAX);
            assert!(plan.desired == 0 || !plan.shares.is_empty(), "a plan for no host: {plan:?}");
        }
        if purged {
            return;
        }
        let mut before = 0;
        let leases = self.written::<Lease>(&lease_key(W));
        check_rollouts(&leases);
        for lease in leases {
            let (decisions, state) = lease.fold.map_or((0, b"0".to_vec()), |fold| (fold.decisions, fold.state));
            assert!(decisions == before || decisions == before + 1, "after {before} came {decisions}");
            assert_eq!(state, decisions.to_string().into_bytes());
            before = decisions;
        }
        let acted: BTreeSet<_> = self.acted.iter().collect();
        assert_eq!(acted.len(), self.acted.len(), "a decision was acted upon twice: {:?}", self.acted);
    }

    /// Nothing goes wrong any more: there is one leader, all follow its plan, and it goes on deciding.
    fn calm(&mut self) {
        let round = |world: &mut Self| {
            for host in 0..world.hosts.len() {
                world.happens(&Event::Beat(host, Luck::Good));
                for _ in 0..4 {
                    world.happens(&Event::Deliver(host, usize::MAX));
                    world.happens(&Event::Think(host, 7));
                    world.happens(&Event::Act(host, Luck::Good));
                }
            }
        };
        (0..40).for_each(|_| round(self));
        // A plan is written now and then for what is measured meanwhile: the hosts before the leader hear of it later.
        (0..self.hosts.len()).for_each(|host| self.happens(&Event::Deliver(host, usize::MAX)));
        let leaders: Vec<_> = self.hosts.iter().filter_map(|host| host.seat.lease()).collect();
        assert_eq!(leaders.len(), 1, "leaders");
        let lease = leaders[0].clone();
        assert_eq!(lease.desired, MIN + 7);
        let shares: Vec<u32> = self.hosts.iter().map(|host| host.view.share(W).unwrap()).collect();
        assert_eq!(shares.iter().sum::<u32>(), lease.desired, "{shares:?}");
        assert!(self.hosts.iter().all(|host| host.view.plan(W) == Some(&lease.plan())));
        let asks = |host: &Host| host.view.parks(W) == (host.view.share(W) > Some(0));
        assert!(self.hosts.iter().all(asks), "only those with a share ask for messages");
        let decided = self.acted.len();
        round(self);
        assert!(self.acted.len() > decided, "nobody decides");
    }
}

/// One trial after the other, whoever leads, and what was counted of one is not lost and not counted twice.
fn check_rollouts(leases: &[Lease]) {
    let (mut number, mut counted) = (0, 0);
    for rollout in leases.iter().filter_map(|lease| lease.rollout.as_ref()) {
        assert!(rollout.number == number || rollout.number == number + 1, "after {number}: {rollout:?}");
        if rollout.number != number {
            (number, counted) = (rollout.number, 0);
        }
        let Some(tried) = &rollout.tried else { continue };
        let seen = tried.compared.measured();
        assert!(seen.new.calls >= counted, "{counted} were counted, and then {seen:?}");
        counted = seen.new.calls;
        assert!(tried.workers.values().sum::<u32>() <= (MAX / 10).max(1));
    }
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![8 => Just(Luck::Good), 1 => Just(Luck::Lost), 1 => Just(Luck::Unconfirmed)]
}

fn events(hosts: usize) -> impl Strategy<Value = Vec<Event>> {
    let of = 0..hosts;
    let event = prop_oneof![
        12 => (of.clone(), luck()).prop_map(|(host, luck)| Event::Beat(host, luck)),
        12 => (of.clone(), 1_usize..40).prop_map(|(host, count)| Event::Deliver(host, count)),
        12 => (of.clone(), any::<u32>()).prop_map(|(host, seed)| Event::Think(host, seed)),
        12 => (of.clone(), luck()).prop_map(|(host, luck)| Event::Act(host, luck)),
        1 => of.clone().prop_map(Event::Restart),
        1 => of.clone().prop_map(Event::Watch),
        1 => (of, 0..FILES.len()).prop_map(|(host, file)| Event::File(host, file)),
    ];
    proptest::collection::vec(event, 0..400)
}

fn run(count: usize, events: &[Event], paused: (usize, usize, usize), purged: bool) {
    let mut world = World::new(count);
    world.go_through(events, paused);
    world.calm();
    // Of all that was ever written.
    world.check(purged);
}

fn pause(hosts: usize) -> impl Strategy<Value = (usize, usize, usize)> {
    (0..hosts, 0_usize..300, 0_usize..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_two_plans_have_one_epoch_and_no_decision_is_skipped_or_repeated(
        events in events(4), pause in pause(4)
    ) {
        run(4, &events, pause, false);
    }

    #[test]
    fn the_same_where_the_bucket_is_purged_or_made_anew(
        mut events in events(4), pause in pause(4), at in 0_usize..400, anew in any::<bool>()
    ) {
        let at = at.min(events.len());
        events.insert(at, if anew { Event::Anew } else { Event::Purge });
        run(4, &events, pause, true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_fleet_goes_on_where_the_bucket_has_an_earlier_state(
        mut events in events(4), pause in pause(4), at in 0_usize..400, lost in 1_usize..200
    ) {
        let at = at.min(events.len());
        events.insert(at, Event::Back(lost));
        // Somebody who was there before remembers: whoever is started later knows what the bucket says and no more.
        let events: Vec<_> = events
            .into_iter()
            .enumerate()
            .filter(|(number, event)| *number < at || !matches!(event, Event::Restart(_)))
            .map(|(_, event)| event)
            .collect();
        let mut world = World::new(4);
        world.go_through(&events, pause);
        world.calm();
    }
}

#[test]
fn a_bucket_that_lost_the_lease_or_its_last_versions_has_the_leaders_again_though_nothing_is_decided_otherwise() {
    for event in [Event::Anew, Event::Back(30)] {
        let mut world = World::new(2);
        world.calm();
        let leader = world.hosts.iter().position(|host| host.seat.lease().is_some()).unwrap();
        let held = world.hosts[leader].seat.lease().unwrap().clone();
        world.happens(&event);
        world.happens(&Event::Beat(leader, Luck::Good));
        for _ in 0..2 {
            world.happens(&Event::Think(leader, 7));
            world.happens(&Event::Act(leader, Luck::Good));
        }
        let (_, lease) = world.bucket.get::<Lease>(&lease_key(W));
        let lease = lease.expect("it is written again");
        assert_ne!(lease.lineage, held.lineage, "{event:?}");
        assert_eq!(lease.fold, held.fold, "{event:?}: the policy's state goes on");
    }
}

#[test]
fn a_plan_that_no_leader_has_written_is_written_over() {
    let mut world = World::new(2);
    world.calm();
    let lease = world.hosts.iter().find_map(|host| host.seat.lease()).unwrap().clone();
    for lineage in [lease.lineage.clone(), "another".to_owned()] {
        let holder = HostId { id: "nobody".to_owned(), boot: "x".to_owned() };
        let forged = Plan { lineage, epoch: 1 << 50, holder, ..lease.plan() };
        world.bucket.put(plan_key(W), text(&forged), None);
        world.calm();
    }
    world.bucket.put(plan_key(W), b"garbage".to_vec(), None);
    world.calm();
}

#[test]
fn a_host_alone_leads_at_once_and_decides() {
    let mut world = World::new(1);
    world.calm();
    world.check(false);
    assert!(world.acted.len() > 30);
}

#[test]
fn the_policys_state_goes_on_where_the_leader_that_is_gone_has_left_it() {
    let mut world = World::new(3);
    world.calm();
    let leader = world.hosts.iter().position(|host| host.seat.lease().is_some()).unwrap();
    let before = world.acted.len() as u64;
    world.hosts.remove(leader);
    world.calm();
    world.check(false);
    assert_eq!(world.acted[before as usize].1, before + 1);
}
