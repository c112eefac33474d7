//! Who leads a workload: what a host reads and writes next, and what it makes of the answers. Pure.
//!
//! A decision is written into the lease before anybody acts upon it, by the lease's revision: whoever has lost the
//! lease cannot write, and so cannot decide. What the lease says is then written into the plan, which is what the hosts
//! follow. A new leader writes the plan anew before it does anything else, and so the one before cannot write that
//! either.

use super::entries::{COUNTED, Fold, HostId, Lease, Plan, Watched};
use super::limits::{Divided, divide, wanted};
use super::owners::{Owners, able, owners};
use super::set_workers::SetTime;
use super::shares::shares;
use super::view::{LOST, View};
use crate::rollout::together::entries::{FleetRollout, RolloutPlan};
use crate::rollout::together::place::Step;

/// Hosts wait for those before them in the order of their ids, one entry each, but never for more than this: the first
/// takes over all that the one that is gone has led.
const QUEUE: usize = 4;

/// A lease that nothing is decided under is renewed after this many entries, so that one that is gone is noticed.
const RENEW: usize = 10;

/// What a host does next for a workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// It follows the plan.
    Follow,
    /// It reads the lease, and tells [`Seat::read`].
    Read,
    /// It writes the lease if its revision is this, and tells [`Seat::wrote`].
    WriteLease(Box<Lease>, u64),
    /// It writes the plan if its revision is this, and tells [`Seat::published`].
    WritePlan(Box<Plan>, u64),
    /// It reads the plan, and tells [`Seat::found_plan`].
    ReadPlan,
    /// It leads, but has not seen all hosts yet.
    Wait,
    /// It leads, and all is written.
    Lead,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is stored, with this revision.
    Stored(u64),
    /// Somebody else has written before: it is not stored.
    Conflict,
    /// Nobody knows whether it is stored.
    Unknown,
}

/// What a decision comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Planned {
    /// Nothing: this host does not lead, or does not see all hosts any more. The watch may have begun anew while the
    /// policy was asked, and shares among the hosts it has brought by then would be none.
    Nothing,
    /// The plan that there is.
    Same(Box<Plan>),
    /// Another lease, written if the revision is this.
    Lease(Box<Lease>, u64),
}

/// What has been decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    /// Workers that all hosts together are to run.
    pub(crate) desired: u32,
    /// What the policy's next call begins with.
    pub(crate) fold: Option<Fold>,
    /// What was observed so far.
    pub(crate) watched: Watched,
    /// How much is over of the time of workers that a person has set.
    pub(crate) set: Option<SetTime>,
    /// What becomes of a new generation of the handler, where such are tried by a share of the workers.
    pub(crate) rollout: Option<Step>,
    /// Workers that run here now: a message may have just started one, which no entry tells yet.
    pub(crate) running: u32,
    /// How many parts the limits have; `None` where nothing is limited that can be divided.
    pub(crate) parts: Option<u32>,
    /// Whether the workload has partitions; then `desired` counts those of this host.
    pub(crate) partitions: bool,
}

/// Where this host stands.
#[derive(Debug)]
enum Stand {
    /// Another host leads, as far as this one knows.
    Following,
    /// It does not know who leads.
    Unsure,
    /// It writes a lease.
    Writing { lease: Lease, expected: u64 },
    /// The lease is its own.
    Leading { lease: Lease, revision: u64 },
}

/// What a lease of another host has said.
#[derive(Debug)]
struct Found {
    holder: HostId,
    lineage: String,
    epoch: u64,
    /// Its revision, and the one that the plan had then.
    revision: u64,
    plan: u64,
}

/// One host's part in who leads one workload.
#[derive(Debug)]
pub(crate) struct Seat {
    workload: String,
    stand: Stand,
    /// The last lease that was this host's for sure: it goes on from there where the bucket has lost it.
    held: Option<Lease>,
    /// What this host has written into the plan since it leads, or found there: its revision, and the epoch if what
    /// stands there is its own.
    plan: Option<(u64, Option<u64>)>,
    /// Whether the plan must be read before the next try to write it.
    stale_plan: bool,
    /// The revision of the last plan that was seen in the place of its own, and for which it was read.
    looked: u64,
    /// Another host that has the lease though the plan does not say so.
    found: Option<Found>,
    /// How many rows of leases this host has begun, for their names.
    begun: u64,
    /// How often it has begun to lead.
    term: u64,
    /// How often the bucket had gone back when that was looked at last, and whether this host has not led since.
    returns: u64,
    returned: bool,
}

impl Seat {
    /// Of a host that follows.
    pub(crate) fn new(workload: &str) -> Self {
        let (stand, workload) = (Stand::Following, workload.to_owned());
        Self {
            workload,
            stand,
            held: None,
            plan: None,
            stale_plan: false,
            looked: 0,
            found: None,
            begun: 0,
            term: 0,
            returns: 0,
            returned: false,
        }
    }

    /// The host that leads as far as is known, which has to be watched.
    pub(crate) fn leader<'a>(&'a self, view: &'a View) -> Option<&'a HostId> {
        if let Stand::Leading { lease, .. } = &self.stand {
            return Some(&lease.holder);
        }
        let plan = view.plan(&self.workload);
        // Only a plan that came since then says more: the one before may be of a host that has lost the lease.
        let is_new = |of: &Found| view.plan_revision(&self.workload) != of.plan;
        let is_told =
            |of: &Found| plan.is_some_and(|plan| plan.lineage == of.lineage && plan.epoch >= of.epoch) && is_new(of);
        let found = self.found.as_ref().filter(|of| !is_told(of)).map(|of| &of.holder);
        found.or(plan.map(|plan| &plan.holder).filter(|holder| !holder.id.is_empty()))
    }

    /// The lease, while it is this host's.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        match &self.stand {
            Stand::Leading { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// How often this host has begun to lead: what it knew when it led before does not count any more.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// What to do next. `willing` is whether this host could lead.
    pub(crate) fn next(&mut self, view: &View, willing: bool) -> Next {
        self.notice_return(view);
        self.step_down(view);
        self.notice_forgery(view);
        match &self.stand {
            Stand::Following if willing && self.is_vacant(view) => Next::Read,
            Stand::Following => Next::Follow,
            Stand::Unsure => Next::Read,
            Stand::Writing { lease, expected } => Next::WriteLease(Box::new(lease.clone()), *expected),
            Stand::Leading { .. } if self.stale_plan || self.lost_plan(view) => Next::ReadPlan,
            Stand::Leading { lease, .. } => match self.plan.unwrap_or((view.plan_revision(&self.workload), None)) {
                (known, _) if view.spoiled(&self.workload) > known => {
                    Next::WritePlan(Box::new(lease.plan()), view.spoiled(&self.workload))
                }
                (_, Some(epoch)) if epoch == lease.epoch && view.sees_all() => Next::Lead,
                (_, Some(epoch)) if epoch == lease.epoch => Next::Wait,
                (known, _) => Next::WritePlan(Box::new(lease.plan()), known),
            },
        }
    }

    /// In a bucket that went back no revision counts that was known. Whoever led looks at what is there.
    fn notice_return(&mut self, view: &View) {
        if std::mem::replace(&mut self.returns, view.returns()) == view.returns() {
            return;
        }
        (self.found, self.plan, self.stale_plan, self.looked, self.returned) = (None, None, false, 0, true);
        if !matches!(self.stand, Stand::Following) {
            self.stand = Stand::Unsure;
        }
    }

    /// Whether the plan that this leader has written is not there: the watch has brought what was written later.
    fn lost_plan(&self, view: &View) -> bool {
        let is_lost = |revision| view.plan_revision(&self.workload) < revision && view.entries_since(revision) > 0;
        self.plan.is_some_and(|(revision, own)| own.is_some() && is_lost(revision))
    }

    /// Whoever may write plans may write one in this leader's name. What stands there is read once for each: a plan of
    /// before the bucket went back may seem to be later, too.
    fn notice_forgery(&mut self, view: &View) {
        let (Some((written, Some(_))), Some(lease)) = (self.plan, self.lease()) else { return };
        let seen = view.plan_revision(&self.workload);
        if seen > written.max(self.looked) && view.plan(&self.workload) != Some(&lease.plan()) {
            (self.looked, self.stale_plan) = (seen, true);
        }
    }

    /// Ends the lead where the plan is another's already, or has a number in this host's name that it has not come to.
    fn step_down(&mut self, view: &View) {
        let Stand::Leading { lease, .. } = &self.stand else { return };
        let revision = view.plan_revision(&self.workload);
        // What is known of before the bucket went back has no revision, and ends nothing.
        let Some(plan) = view.plan(&self.workload).filter(|_| revision > 0) else { return };
        // One that leaves this host's own its number says something only where it came later, or stands in its place.
        let written = self.plan.filter(|(_, own)| own.is_some()).map_or(u64::MAX, |(revision, _)| revision);
        let is_anothers = plan.holder != *view.me() && revision >= written;
        if is_anothers || plan.excludes(&lease.plan()) {
            self.stand = Stand::Unsure;
        }
    }

    /// Whether nobody leads as far as is known, or whoever does is silent. Which of the hosts is the first to take over
    /// is a matter of their order; what counts is who writes first.
    fn is_vacant(&self, view: &View) -> bool {
        if self.is_unused(view) {
            return true;
        }
        let plan = view.plan(&self.workload);
        let holder = plan.map_or("", |plan| plan.holder.id.as_str());
        let mut others = plan.into_iter().flat_map(|plan| plan.shares.keys()).filter(|id| *id != holder);
        let rank = match plan {
            Some(_) => others.position(|id| *id == view.me().id).unwrap_or(QUEUE).min(QUEUE),
            None => 0,
        };
        match self.leader(view) {
            None => view.is_whole() && view.entries_since(view.plan_revision(&self.workload)) >= rank,
            Some(leader) if leader.id == view.me().id => true,
            Some(leader) => view.silent_for(leader, 0).is_some_and(|entries| entries >= LOST + rank),
        }
    }

    /// Whether another host has the lease and lives, but has not planned for long. In a bucket with an earlier state it
    /// may have the lease again and not know.
    fn is_unused(&self, view: &View) -> bool {
        let planned = |of: &Found| view.plan(&self.workload).is_some_and(|plan| plan.holder == of.holder);
        self.found.as_ref().is_some_and(|of| !planned(of) && view.entries_since(of.revision) >= RENEW)
    }

    /// The lease was read: its revision, or that of its deletion, and what it says, if it is there.
    pub(crate) fn read(&mut self, (revision, lease): (u64, Option<Lease>), view: &View) {
        let me = view.me();
        let is_unused = self.is_unused(view) && self.found.as_ref().is_some_and(|of| of.revision == revision);
        let is_free = |lease: &Lease| is_unused || is_free(lease, revision, view);
        self.found = None;
        self.stand = match lease {
            None => Stand::Writing { lease: self.first(view), expected: revision },
            // The bucket has an earlier state, or what wrote the plan was no leader.
            Some(lease) if is_free(&lease) && self.is_behind(&lease, view) => {
                Stand::Writing { lease: self.another_row(lease, view), expected: revision }
            }
            Some(lease) if lease.holder == *me => self.lead(lease, revision),
            Some(lease) if is_free(&lease) => Stand::Writing { lease: taken(lease, me.clone()), expected: revision },
            Some(Lease { holder, lineage, epoch, .. }) => {
                let plan = view.plan_revision(&self.workload);
                self.found = Some(Found { holder, lineage, epoch, revision, plan });
                Stand::Following
            }
        };
    }

    fn lead(&mut self, lease: Lease, revision: u64) -> Stand {
        self.held = Some(lease.clone());
        self.term += 1;
        (self.plan, self.stale_plan, self.returned) = (None, false, false);
        Stand::Leading { lease, revision }
    }

    /// The lease of a bucket that has none. It begins a row of its own, for plans that this host has not seen may have
    /// been acted upon; but what it knows of the row before it goes on from.
    fn first(&mut self, view: &View) -> Lease {
        let lineage = self.next_row(view);
        let (plan, held) = (view.plan(&self.workload), self.held.clone());
        let Lease { fold, watched, set, rollout, told, .. } = held.unwrap_or_default();
        Lease {
            lineage,
            holder: view.me().clone(),
            epoch: 1,
            desired: plan.map_or(0, |plan| plan.desired),
            shares: plan.map(|plan| plan.shares.clone()).unwrap_or_default(),
            parks: view.me().id.clone(),
            apart: false,
            limit: None,
            owners: plan.map(|plan| plan.owners.clone()).unwrap_or_default(),
            fold,
            watched,
            set,
            rollout,
            told,
        }
    }

    /// The name of a row that nobody has begun before.
    fn next_row(&mut self, view: &View) -> String {
        self.begun += 1;
        format!("{}-{}", view.me().boot, self.begun)
    }

    /// Whether a later plan of the same row, or another one with its number, may have been acted upon already; or
    /// whether the row has no numbers left.
    fn is_behind(&self, lease: &Lease, view: &View) -> bool {
        if self.returned || lease.epoch >= COUNTED {
            return true;
        }
        let held = self.held.as_ref().is_some_and(|held| is_later(held, lease));
        held || view.excludes(&self.workload, &lease.plan())
    }

    /// The lease of a row of its own, which goes on from this one, or from what this host knows to be later.
    fn another_row(&mut self, lease: Lease, view: &View) -> Lease {
        let lineage = self.next_row(view);
        let known = self.held.clone().filter(|held| is_later(held, &lease)).unwrap_or(lease);
        let me = view.me();
        Lease { lineage, epoch: 1, holder: me.clone(), parks: me.id.clone(), limit: None, ..known }
    }

    /// A lease was written.
    pub(crate) fn wrote(&mut self, lease: Lease, came: Written, view: &View) {
        self.stand = match (came, &self.stand) {
            (Written::Stored(revision), Stand::Leading { .. }) if lease.holder == *view.me() => {
                self.held = Some(lease.clone());
                Stand::Leading { lease, revision }
            }
            (Written::Stored(revision), _) if lease.holder == *view.me() => self.lead(lease, revision),
            // It was given back.
            (Written::Stored(_), _) => Stand::Following,
            (Written::Conflict | Written::Unknown, _) => Stand::Unsure,
        };
    }

    /// The plan of this epoch was written.
    pub(crate) fn published(&mut self, epoch: u64, came: Written) {
        match came {
            Written::Stored(revision) => self.plan = Some((revision, Some(epoch))),
            Written::Conflict | Written::Unknown => self.stale_plan = true,
        }
    }

    /// The plan was read: its revision, or that of its deletion, and what it says.
    pub(crate) fn found_plan(&mut self, revision: u64, plan: Option<&Plan>) {
        self.stale_plan = false;
        let Some(lease) = self.lease() else { return };
        let own = plan.filter(|plan| lease.plan() == **plan).map(|plan| plan.epoch);
        if plan.is_some_and(|plan| plan.excludes(&lease.plan())) {
            self.stand = Stand::Unsure;
        }
        self.plan = Some((revision, own));
    }

    /// What the leader writes for a decision.
    pub(crate) fn decided(&self, decided: Decided, view: &View) -> Planned {
        let Stand::Leading { lease, revision } = &self.stand else { return Planned::Nothing };
        if !view.sees_all() {
            return Planned::Nothing;
        }
        let Decided { desired, fold, watched, set, running, parts, rollout, partitions } = decided;
        let candidates = view.candidates(&self.workload);
        let (desired, mut candidates) =
            if partitions { able(candidates, lease.desired, desired) } else { (desired, candidates) };
        let here = candidates.iter_mut().find(|host| host.id == view.me().id);
        here.into_iter().for_each(|host| host.running = host.running.max(running));
        let limits = rollout.as_ref().map(|step| step.limits(desired)).unwrap_or_default();
        for of in &mut candidates {
            of.room = limits.get(&of.id).map_or(of.room, |limit| of.room.min(*limit));
        }
        let shares = shares(desired, &candidates, &lease.shares);
        let owners = if partitions { owners(desired, &shares, &lease.owners) } else { Owners::new() };
        let rollout = rollout.map(|step| step.placed(&shares));
        let told = self.told(rollout.as_ref(), lease, view);
        let (parks, apart) = (view.parker(&self.workload), view.all_read_apart());
        let limit = parts.map(|of| {
            let takers = view.takers(&self.workload, &lease.lineage);
            let share = |id: &String| shares.get(id).copied().unwrap_or(0);
            let wants = wanted(of, &takers.iter().map(|taker| (taker.id.clone(), share(&taker.id))).collect(), &parks);
            divide(lease.limit.as_ref(), of, &takers, &wants, lease.epoch + 1)
        });
        let same_limit = limit.as_ref().map(Divided::parts) == lease.limit.as_ref().map(Divided::parts);
        let same_plan = (&shares, desired, &parks, apart, &told, &owners)
            == (&lease.shares, lease.desired, &lease.parks, lease.apart, &lease.told, &lease.owners);
        let same = same_plan && same_limit;
        let same_fold = fold.as_ref().map(Fold::same) == lease.fold.as_ref().map(Fold::same);
        let same_asked = rollout == lease.rollout && set == lease.set;
        if same && same_fold && same_asked && view.entries_since(*revision) < RENEW {
            return Planned::Same(Box::new(lease.plan()));
        }
        let epoch = if same { lease.epoch } else { lease.epoch + 1 };
        let (lineage, holder) = (lease.lineage.clone(), lease.holder.clone());
        let lease = Lease { lineage, holder, epoch, desired, shares, owners, parks, apart, limit, ..Lease::default() };
        let made = Lease { fold, watched, set, rollout, told, ..lease };
        Planned::Lease(Box::new(made), *revision)
    }

    /// What the plan says of a rollout: it is another where hosts have something to do, and now and then for what is
    /// measured meanwhile.
    fn told(&self, rollout: Option<&FleetRollout>, lease: &Lease, view: &View) -> Option<RolloutPlan> {
        let fresh = rollout?.plan();
        let is_due = view.entries_since(self.plan_revision(view)) >= RENEW;
        let still = lease.told.as_ref().filter(|told| fresh.says_the_same(told) && !is_due);
        Some(still.cloned().unwrap_or(fresh))
    }

    /// What a leader writes that leads no more and stays: a lease that nobody holds.
    pub(crate) fn given_up(&self) -> Option<(Lease, u64)> {
        let Stand::Leading { lease, revision } = &self.stand else { return None };
        let (holder, parks) = (HostId::default(), String::new());
        Some((Lease { holder, epoch: lease.epoch + 1, parks, ..lease.clone() }, *revision))
    }

    /// What a leader that leaves writes: a lease that nobody holds, and a share of nothing for itself. Its partitions
    /// are nobody's until the next leader plans.
    pub(crate) fn given_back(&self, view: &View) -> Option<(Lease, u64)> {
        let (mut given, revision) = self.given_up()?;
        given.shares.remove(&view.me().id);
        given.owners.remove(&view.me().id);
        Some((given, revision))
    }

    /// The revision that the plan has, as far as this host knows.
    pub(crate) fn plan_revision(&self, view: &View) -> u64 {
        self.plan.map_or_else(|| view.plan_revision(&self.workload), |(revision, _)| revision)
    }
}

/// The lease with another holder, and a plan of its own. The host that kept a pull parked may be the one that is gone.
fn taken(lease: Lease, holder: HostId) -> Lease {
    Lease { parks: holder.id.clone(), holder, epoch: lease.epoch + 1, ..lease }
}

/// Whether a lease of the same row was written later: where the plan stays, decisions are counted, or only the time.
fn is_later(held: &Lease, lease: &Lease) -> bool {
    let place = |of: &Lease| (of.epoch, of.fold.as_ref().map_or(0, |fold| fold.decisions), of.watched.elapsed_ms);
    held.lineage == lease.lineage && place(held) > place(lease)
}

/// Whether a lease can be taken over: nobody has it, or whoever has it is silent, or was this host before it was
/// started again.
fn is_free(lease: &Lease, revision: u64, view: &View) -> bool {
    let holder = &lease.holder;
    holder.id.is_empty()
        || holder.id == view.me().id
        || view.silent_for(holder, revision).is_some_and(|entries| entries >= LOST)
}

impl Fold {
    /// What makes a difference to the policy's next call.
    fn same(&self) -> (&str, &str, &[u8]) {
        (&self.generation, &self.settings, &self.state)
    }
}
