//! Which hosts run how many workers of the generation that is tried.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::decide::HostSeen;
use super::entries::{FleetRollout, HostGenerations, Tried};

/// Which generations a host could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holds {
    /// The one in use, or one that was in use before.
    old: bool,
    /// The one that is tried.
    new: bool,
}

/// The same of all hosts that say so.
type Holders = BTreeMap<String, Holds>;

/// What a leader has decided of a rollout, before the workers are shared out among the hosts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    rollout: FleetRollout,
    holders: Holders,
    /// The share of the workers that tries a new generation.
    share: f64,
}

impl Step {
    pub(crate) fn new(rollout: FleetRollout, hosts: &[HostSeen<'_>], share: f64) -> Self {
        let holders = rollout.holders(hosts.iter().map(|host| (host.id, host.generations)));
        Self { rollout, holders, share }
    }

    /// The most of so many workers that some hosts can run.
    pub(crate) fn limits(&self, desired: u32) -> BTreeMap<String, u32> {
        self.rollout.limits(desired, self.share, &self.holders)
    }

    /// With the workers of these shares chosen that run the generation that is tried.
    pub(crate) fn placed(self, shares: &BTreeMap<String, u32>) -> FleetRollout {
        let Self { mut rollout, holders, share } = self;
        if let Some(tried) = &mut rollout.tried {
            tried.place(share, shares, &holders);
        }
        rollout
    }
}

impl FleetRollout {
    /// What hosts hold of it.
    fn holders<'a>(&self, hosts: impl Iterator<Item = (&'a str, &'a HostGenerations)>) -> Holders {
        let tried = self.tried.as_ref().map(|tried| &tried.generation);
        let holds = |of: &HostGenerations| Holds {
            old: of.holds(&self.stable) || self.passed.get(&of.stable).is_some_and(|in_use| *in_use),
            new: tried.is_some_and(|tried| of.holds(tried)),
        };
        hosts.map(|(id, of)| (id.to_owned(), holds(of))).collect()
    }

    /// The most workers of hosts that have none that is or was in use: as many as are to try the new one, if they have
    /// that. Without such a limit they would run what they have with their whole share.
    fn limits(&self, desired: u32, share: f64, holders: &Holders) -> BTreeMap<String, u32> {
        let lacking: Vec<&String> = holders.iter().filter(|(_, holds)| !holds.old).map(|(id, _)| id).collect();
        if lacking.len() == holders.len() {
            // Better one that is not in use than none at all.
            return BTreeMap::new();
        }
        let mut left = if desired > 1 { wanted(desired, share) } else { 0 };
        let before = |id: &str| self.tried.as_ref().and_then(|tried| tried.workers.get(id)).copied().unwrap_or(0);
        let mut limits: BTreeMap<String, u32> = BTreeMap::new();
        for id in &lacking {
            let stay = if holders.get(*id).is_some_and(|holds| holds.new) { before(id).min(left) } else { 0 };
            left -= stay;
            limits.insert((*id).clone(), stay);
        }
        let able: Vec<&String> =
            lacking.into_iter().filter(|id| holders.get(*id).is_some_and(|holds| holds.new)).collect();
        for id in able.iter().cycle().take(if able.is_empty() { 0 } else { left as usize }) {
            if let Some(limit) = limits.get_mut(*id) {
                *limit += 1;
            }
        }
        limits
    }
}

impl Tried {
    /// Chooses how many workers of each host run it, of these shares: the share of all, rounded, but at least one, and
    /// one is left to the old generation. Those that were chosen stay. A single worker takes turns.
    fn place(&mut self, share: f64, shares: &BTreeMap<String, u32>, holders: &Holders) {
        let of = |id: &String| holders.get(id).copied().unwrap_or(Holds { old: false, new: false });
        let able = |id: &String| if of(id).new { shares.get(id).copied().unwrap_or(0) } else { 0 };
        let all: u32 = holders.keys().filter_map(|id| shares.get(id)).fold(0, |all, share| all.saturating_add(*share));
        let mut left = match all {
            0 => 0,
            1 => self.turn(share),
            many => wanted(many, share),
        };
        let mut workers: BTreeMap<String, u32> = BTreeMap::new();
        // Those that cannot run the old one come first: they can run nothing else.
        let mut ids: Vec<&String> = holders.keys().filter(|id| able(id) > 0).collect();
        ids.sort_by_key(|id| of(id).old);
        for id in &ids {
            let most = if of(id).old { self.workers.get(*id).copied().unwrap_or(0).min(able(id)) } else { able(id) };
            let stay = most.min(left);
            left -= stay;
            workers.insert((*id).clone(), stay);
        }
        while left > 0 {
            let room = |id: &String| able(id) - workers.get(id).copied().unwrap_or(0);
            let Some(next) = ids.iter().filter(|id| room(id) > 0).max_by_key(|id| (room(id), Reverse(**id))) else {
                break;
            };
            let next = (*next).clone();
            *workers.entry(next).or_insert(0) += 1;
            left -= 1;
        }
        workers.retain(|_, count| *count > 0);
        self.workers = workers;
    }

    /// Whether it is the new generation's turn, as 0 or 1.
    fn turn(&mut self, share: f64) -> u32 {
        let whole = |looks: u64| (looks as f64 * share).floor();
        let is_its = whole(self.turns + 1) > whole(self.turns);
        self.turns += 1;
        is_its.into()
    }
}

/// How many of two or more workers run the new generation.
fn wanted(all: u32, share: f64) -> u32 {
    ((f64::from(all) * share).round() as u32).clamp(1, all.saturating_sub(1).max(1))
}
