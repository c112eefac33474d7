//! Seats of several hosts on a model of the bucket. Hosts pause at any step, also between a decision and its write;
//! writes are lost, or stored and not confirmed; watches lag; hosts are started again; the bucket is purged, or made
//! anew, or goes back to an earlier state; files of a handler change; somebody else deletes the plan, or writes a plan
//! or a lease in a leader's name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use super::entries::{
    COUNTED, Fold, HostEntry, HostId, Lease, Plan, Report, Watched, figures_key, host_key, lease_key, plan_key, read,
    text,
};
use super::figures::Figures;
use super::seat::{Decided, Next, Planned, Seat, Written};
use super::view::{News, View, Watching};
use crate::config::RolloutConfig;
use crate::delivery::by_generation::CallSums;
use crate::digest::Digest;
use crate::rollout::together::decide::{self, Moment};
use crate::rollout::together::entries::HostGenerations;
use crate::rollout::together::place::Step;

mod cases;
mod world;

const W: &str = "w";
const MIN: u32 = 1;
const MAX: u32 = 12;
const FILES: [&str; 3] = ["one", "two", "three"];

/// The bucket: all that was ever written, in its order. An empty value is a deletion.
#[derive(Default)]
struct Bucket {
    log: Vec<(u64, String, Vec<u8>)>,
    last: BTreeMap<String, (u64, Vec<u8>)>,
    revision: u64,
    /// How often it was purged or made anew, or went back, and how far the log was then.
    lives: usize,
    born: usize,
    /// What was written since it was purged or made anew, or up to where it went back.
    kept: Vec<(u64, String, Vec<u8>)>,
    /// What in the log no host has written.
    forged: BTreeSet<usize>,
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
        self.begin_life();
    }

    /// It has nothing any more. What is written next has the first number again if it was made anew.
    fn empty(&mut self, anew: bool) {
        self.last.clear();
        self.kept.clear();
        self.revision = if anew { 0 } else { self.revision };
        self.begin_life();
    }

    fn begin_life(&mut self) {
        (self.lives, self.born) = (self.lives + 1, self.log.len());
    }

    fn get<T: for<'a> serde::Deserialize<'a>>(&self, key: &str) -> (u64, Option<T>) {
        let found = self.last.get(key);
        let value = |value: &Vec<u8>| (!value.is_empty()).then(|| read(key, value).unwrap());
        found.map_or((0, None), |(revision, of)| (*revision, value(of)))
    }

    /// Somebody who is no host of the fleet writes it.
    fn forge(&mut self, key: String, value: Vec<u8>) {
        self.forged.insert(self.log.len());
        self.put(key, value, None);
    }
}

struct Host {
    id: HostId,
    view: View,
    seat: Seat,
    /// What the watch has still to bring, how far in the log it is, and the last that it has brought.
    watching: Option<Watching>,
    waiting: Vec<(u64, String, Vec<u8>)>,
    at: usize,
    brought: u64,
    /// In which life of the bucket it watches. In one that came after the watch was begun, nothing up to `after` is
    /// brought.
    life: usize,
    after: u64,
    /// In which life of the bucket it has written its last entry.
    told: usize,
    /// What it is about to do: it may be paused for as long as anybody likes.
    intent: Option<Intent>,
    boots: u32,
    /// The highest revision that it has written or seen.
    reached: u64,
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
    /// It leads no more and stays, as where its policy does not decide.
    GiveUp(usize, Luck),
    Restart(usize),
    /// Its watch has ended, and begins anew.
    Watch(usize),
    /// Its plugin's file is this one of [`FILES`] from now on.
    File(usize, usize),
    Purge,
    Anew,
    /// The bucket loses so many of the last writes.
    Back(usize),
    /// Somebody who is no host of the fleet writes or deletes what stands there.
    Forge(Forgery),
}

/// What is written that no host has decided.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Forgery {
    /// The plan is deleted.
    NoPlan,
    /// The plan gives one host other shares, under the leader's name and number.
    Shares,
    /// It has another number, under the leader's name.
    Later(u64),
    /// It is of another row.
    Row,
    /// The lease is nobody's, and has numbers to which nobody has counted.
    Lease(u64),
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
        let older = (number + boots as usize) % 4 == 3;
        Self {
            id,
            view,
            seat,
            watching: None,
            waiting: Vec::new(),
            at: 0,
            brought: 0,
            life: 0,
            after: 0,
            told: 0,
            intent: None,
            boots,
            reached: 0,
            file: 0,
            calls: 0,
            older,
        }
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
        if self.watching.as_ref() == Some(&wanted) {
            self.go_on_watching(bucket);
            return;
        }
        self.view.begin(wanted.clone());
        self.waiting = bucket.last.iter().map(|(key, (at, value))| (*at, key.clone(), value.clone())).collect();
        self.waiting.sort();
        (self.watching, self.at, self.life) = (Some(wanted), bucket.log.len(), bucket.lives);
        (self.brought, self.after) = (0, 0);
    }

    /// A watch that was cut off goes on after the last that it has brought.
    fn go_on_watching(&mut self, bucket: &Bucket) {
        if self.life != bucket.lives {
            self.waiting.clear();
            (self.at, self.life, self.after) = (bucket.born, bucket.lives, self.brought);
        }
    }

    fn wrote(&mut self, came: Written) {
        if let Written::Stored(revision) = came {
            self.reached = self.reached.max(revision);
        }
    }

    /// Its entry is written, in this life of the bucket.
    fn told(&mut self, revision: u64, life: usize) {
        // It was cut off from the bucket of before, and so is its watch.
        if std::mem::replace(&mut self.told, life) != life {
            self.watching = None;
        }
        if self.reached >= revision {
            self.reached = 0;
            self.went_back();
        }
        self.wrote(Written::Stored(revision));
    }

    fn went_back(&mut self) {
        self.view.went_back();
        self.watching = None;
    }

    fn deliver(&mut self, bucket: &Bucket, count: usize) {
        self.watch(bucket);
        let after = self.after;
        self.waiting.extend(bucket.log[self.at..].iter().filter(|(revision, ..)| *revision > after).cloned());
        self.at = bucket.log.len();
        let keys = self.watching.as_ref().unwrap().keys();
        let is_watched = |key: &str| {
            let prefix = |of: &String| of.strip_suffix('>').map_or(key == of, |prefix| key.starts_with(prefix));
            keys.iter().any(prefix)
        };
        let coming: Vec<_> = self.waiting.drain(..count.min(self.waiting.len())).collect();
        for (revision, key, value) in coming {
            if is_watched(&key) && !(self.older && key.starts_with("figures.")) {
                self.brought = revision;
                self.reached = self.reached.max(revision);
                // Only a test writes what cannot be read.
                let value = Some(value.as_slice()).filter(|value| !value.is_empty());
                if self.view.saw(&key, revision, value) == Ok(News::WentBack) {
                    return self.went_back();
                }
            }
        }
    }
}
