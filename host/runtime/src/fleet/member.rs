//! One workload of a host in its fleet: carries out what its seat decides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::entries::{
    FoundLease, Lease, Plan, Settings, lease_key, plan_key, read, read_lease, settings_key, text, workers_key,
};
use super::host::{BEAT, Fleet, GenerationsReporter, Reporter, Workplace, answered, no_plan, plan_too_large};
use super::seat::{Decided, Next, Planned, Seat, Written};
use super::set_workers::{SetTime, SetWorkers};
use super::totals::{Together, Totals};
use super::view::part::{BucketState, UNLED};
use crate::config::RolloutConfig;
use crate::ports::KvError;
use crate::rollout::together::decide::{self, Moment};
use crate::rollout::together::place::Step;

/// Steps in one turn: as many as it takes to take over a lease, and to write its plan at the second try.
const STEPS: usize = 8;
/// How long giving back a lease and a share may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A workload's place in the fleet. It is given up when this is dropped.
pub(crate) struct Member {
    fleet: Arc<Fleet>,
    workload: String,
    workplace: Arc<Workplace>,
    seat: Seat,
    totals: Totals,
    /// The last time that this host began to lead, of which the others know its settings.
    told_term: u64,
    /// The settings that the leader has otherwise, as the log has it.
    differ: Vec<String>,
    /// Why the lease or the plan cannot be read or written.
    problem: Option<String>,
    /// Since when the bucket cannot be used.
    cut_off: Option<Instant>,
}

/// What came of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It holds, or has held until another host went on from it.
    Done,
    /// Nobody knows yet whether it holds.
    Unknown,
    /// It does not: another host leads, or this one does not see all hosts any more.
    Lost,
}

impl Member {
    /// Takes a place. `report` says what this host does for the workload, and `generations` which of its handler it
    /// has.
    pub(crate) fn join(fleet: Arc<Fleet>, workload: &str, report: Reporter, generations: GenerationsReporter) -> Self {
        Self::make(fleet, workload, report, generations, true)
    }

    /// The same for a workload whose partitions are shared out, and not its workers.
    pub(crate) fn of_partitions(fleet: Arc<Fleet>, workload: &str, report: Reporter) -> Self {
        Self::make(fleet, workload, report, Box::new(|| None), false)
    }

    fn make(
        fleet: Arc<Fleet>,
        workload: &str,
        report: Reporter,
        generations: GenerationsReporter,
        counts: bool,
    ) -> Self {
        let workplace = Arc::new(Workplace {
            report,
            generations,
            counts,
            changed: Notify::new(),
            woken_elsewhere: AtomicBool::new(false),
            woken_here: AtomicBool::new(false),
            leads: AtomicBool::new(false),
            leader: Mutex::default(),
            limited_by: Mutex::default(),
        });
        fleet.workplaces.lock().insert(workload.to_owned(), workplace.clone());
        fleet.news.notify_one();
        let (seat, workload) = (Seat::new(workload), workload.to_owned());
        Self {
            fleet,
            workload,
            workplace,
            seat,
            totals: Totals::default(),
            told_term: 0,
            differ: Vec::new(),
            problem: None,
            cut_off: None,
        }
    }

    /// Waits until there is another plan, or a message has started a worker at another host. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.workplace.changed.notified().await;
    }

    /// Whether a message has started a worker at another host since this was asked last.
    pub(crate) fn was_woken(&self) -> bool {
        self.workplace.woken_elsewhere.swap(false, Relaxed)
    }

    /// Tells the fleet that a message has started a worker here.
    pub(crate) fn tell_woken(&self) {
        self.workplace.woken_here.store(true, Relaxed);
        self.fleet.news.notify_one();
    }

    /// How many workers this host is to run, of those that it has room for; `None` while it has seen no plan.
    pub(crate) fn share(&self) -> Option<u32> {
        let share = self.fleet.view.lock().share(&self.workload)?;
        Some(share.min(self.fleet.room(&self.workload)).min(self.most_by_generation()))
    }

    /// The most workers by the generations that this host has. One that has just been started with a new file runs it
    /// no more than it is to be tried, also before the leader knows of it.
    fn most_by_generation(&self) -> u32 {
        let Some(generations) = (self.workplace.generations)() else { return u32::MAX };
        let view = self.fleet.view.lock();
        let Some(plan) = view.plan(&self.workload).and_then(|plan| plan.rollout.as_ref()) else { return u32::MAX };
        plan.most_workers(&view.me().id, &generations)
    }

    /// Whether this host asks for messages though it runs no worker: without a bucket that it can use, it does.
    pub(crate) fn parks(&self) -> bool {
        self.is_cut_off() || self.fleet.view.lock().parks(&self.workload)
    }

    /// Lets this host have its part of the limits, which have so many: so many of these, or all of them where they are
    /// not divided. A host that has seen no plan has none, unless it cannot use the bucket: then nobody could give it
    /// one.
    pub(crate) fn divide(&mut self, of: u32, to: impl FnOnce(Option<(u32, u32)>)) {
        let bucket = self.bucket();
        let (part, by) = {
            let view = self.fleet.view.lock();
            let plan = view.plan(&self.workload).map(|plan| (plan.lineage.clone(), plan.epoch));
            (view.part(&self.workload, of, bucket), plan.unwrap_or_default())
        };
        to(part);
        let mut limited_by = self.workplace.limited_by.lock();
        if *limited_by != by {
            *limited_by = by;
            self.fleet.news.notify_one();
        }
    }

    /// Whether this host can use the bucket. Without it there are no entries to count, so this is the host's own time.
    fn bucket(&mut self) -> BucketState {
        if !self.is_cut_off() {
            self.cut_off = None;
            return BucketState::Usable;
        }
        let since = *self.cut_off.get_or_insert_with(Instant::now);
        let beats = since.elapsed().as_millis() / BEAT.as_millis();
        if beats >= UNLED as u128 { BucketState::Lost } else { BucketState::Unusable }
    }

    /// The partitions that this host has, by the plan; `None` where it has seen none and nobody can give it one, for it
    /// cannot use the bucket.
    pub(crate) fn partitions(&self) -> Option<BTreeSet<u32>> {
        let planned = self.fleet.owned(&self.workload);
        if planned.is_none() && self.is_cut_off() { None } else { Some(planned.unwrap_or_default()) }
    }

    /// How many workers all hosts are to run by the plan, or how many partitions there are; `None` before there is one.
    pub(crate) fn planned(&self) -> Option<u32> {
        self.fleet.view.lock().plan(&self.workload).map(|plan| plan.desired).filter(|desired| *desired > 0)
    }

    /// Whether nobody has led for so long that nobody else can.
    pub(crate) fn is_unled(&self) -> bool {
        self.fleet.view.lock().is_unled(&self.workload)
    }

    /// Whether other hosts work for the workload, so that one of them may lead.
    pub(crate) fn has_others(&self) -> bool {
        self.fleet.view.lock().reports(&self.workload).count() > 1
    }

    /// How many hosts have a part in the plan.
    pub(crate) fn hosts(&self) -> u32 {
        let view = self.fleet.view.lock();
        view.plan(&self.workload).map_or(0, |plan| u32::try_from(plan.shares.len()).unwrap_or(u32::MAX))
    }

    /// The lease, while it is this host's.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.seat.lease()
    }

    /// How often this host has begun to lead: what it knew when it led before does not count any more.
    pub(crate) fn term(&self) -> u64 {
        self.seat.term()
    }

    /// The host that leads, as far as is known.
    pub(crate) fn leader(&self) -> Option<String> {
        self.workplace.leader.lock().clone()
    }

    /// What does not work between this host and its fleet, and what mends it.
    pub(crate) fn problem(&self) -> Option<String> {
        self.fleet.problem().or_else(|| self.problem.clone()).or_else(|| self.without_plan())
    }

    /// What is told where this host has seen no plan for long though another host leads: it has no share.
    fn without_plan(&self) -> Option<String> {
        let leader = self.leader().filter(|_| self.lease().is_none())?;
        let (view, bucket, workload) = (self.fleet.view.lock(), &self.fleet.name, &self.workload);
        let is_long = view.plan(workload).is_none() && view.entries_since(0) >= UNLED;
        is_long.then(|| no_plan(bucket, workload, &leader))
    }

    /// Whether this host cannot use the bucket.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.problem.is_some() || self.fleet.is_cut_off()
    }

    /// What all hosts do and have done.
    pub(crate) fn together(&mut self) -> Together {
        let view = self.fleet.view.lock();
        let reports = view.reports(&self.workload);
        self.totals.add_up(reports.map(|(id, entry, report)| (id, entry.boot.as_str(), report)))
    }

    /// What becomes of a new generation of the handler, by what all hosts say of it.
    pub(crate) fn rollout(&self, rules: &RolloutConfig, at: Moment) -> Option<Step> {
        let before = self.lease()?.rollout.as_ref();
        let view = self.fleet.view.lock();
        let hosts = view.generations(&self.workload);
        let rollout = decide::next(before, rules, &hosts, view.verdict(&self.workload), at)?;
        Some(Step::new(rollout, &hosts, rules.share))
    }

    /// How much is over of the time of workers that a person has set for all hosts.
    pub(crate) fn set_time(&self, at: Moment) -> Option<SetTime> {
        let before = self.lease().and_then(|lease| lease.set);
        SetTime::next(before, self.fleet.view.lock().set_workers(&self.workload), at.elapsed_ms, at.now_ms)
    }

    /// How many workers a person has set for all hosts, while that holds.
    pub(crate) fn set_workers(&self, at: Moment) -> Option<SetWorkers> {
        let is_over = self.set_time(at).is_some_and(|time| time.is_over(at.elapsed_ms));
        let (_, set) = self.fleet.view.lock().set_workers(&self.workload)?;
        (!is_over).then_some(set)
    }

    /// Takes away what a person has set, where its time is over. Returns whether that was so.
    pub(crate) async fn end_set_workers(&self, at: Moment) -> bool {
        let Some(SetTime { revision, .. }) = self.set_time(at).filter(|time| time.is_over(at.elapsed_ms)) else {
            return false;
        };
        // If that is not possible it is tried again, and counts no more anyhow. What a person has set meanwhile stays.
        let ended = self.fleet.bucket.delete(&workers_key(&self.workload), Some(revision)).await.is_ok();
        if ended {
            self.fleet.view.lock().note_ended(&self.workload, revision);
        }
        ended
    }

    /// Does what is to be done next, and returns whether this host leads and can decide. `willing` is whether it could
    /// lead.
    pub(crate) async fn turn(&mut self, willing: bool) -> bool {
        self.fleet.has_looked().await;
        let mut leads = false;
        for _ in 0..STEPS {
            let next = self.seat.next(&self.fleet.view.lock(), willing);
            leads = next == Next::Lead;
            if !self.step(next).await {
                break;
            }
        }
        self.tell();
        if leads {
            self.tell_settings().await;
        }
        self.compare();
        leads
    }

    /// Tells the others once what this leader has for settings. Without that nobody compares, and nothing else is
    /// wrong.
    async fn tell_settings(&mut self) {
        let own = self.fleet.own_settings(&self.workload);
        let Some(keys) = own.filter(|_| self.told_term != self.term()) else { return };
        let holder = self.fleet.view.lock().me().clone();
        let entry = text(&Settings { holder, keys: (*keys).clone() });
        match self.fleet.bucket.put(&settings_key(&self.workload), entry.into(), None).await {
            Ok(_) => self.told_term = self.term(),
            Err(error) => tracing::debug!(workload = self.workload, %error, "the fleet was not told the settings"),
        }
    }

    /// Says which settings the leader has otherwise, when that changes.
    fn compare(&mut self) {
        let own = self.fleet.own_settings(&self.workload);
        let differ = own.map(|own| self.fleet.view.lock().differ(&self.workload, &own)).unwrap_or_default();
        if differ != self.differ && !differ.is_empty() {
            let (leader, keys) = (self.leader().unwrap_or_default(), differ.join(", "));
            tracing::warn!(
                workload = self.workload,
                leader,
                keys,
                "settings of this host differ from those of the fleet's leader, whose scale.* and policy count for \
                 all; give both the same"
            );
        }
        self.differ = differ;
    }

    /// Carries out one step. Returns whether there may be another.
    async fn step(&mut self, next: Next) -> bool {
        match next {
            Next::Follow => {
                self.problem = None;
                false
            }
            Next::Wait | Next::Lead => false,
            Next::Read => match self.get_lease().await {
                Some(found) => {
                    self.seat.read(found, &self.fleet.view.lock());
                    true
                }
                None => false,
            },
            Next::WriteLease(lease, expected) => self.write(*lease, expected).await == Commit::Done,
            Next::ReadPlan => match answered(self.fleet.bucket.get(&plan_key(&self.workload))).await {
                Ok(entry) => {
                    // What cannot be read is nobody's plan, and is written over.
                    let plan = entry.value.and_then(|value| read::<Plan>(&plan_key(&self.workload), &value).ok());
                    self.seat.found_plan(entry.revision, plan.as_ref());
                    true
                }
                Err(error) => {
                    self.problem = Some(self.fleet.problems.unusable(&error.to_string()));
                    false
                }
            },
            Next::WritePlan(plan, expected) => {
                let came = self.put(&plan_key(&self.workload), text(&*plan), expected).await;
                self.seat.published(plan.epoch, came);
                came != Written::Unknown
            }
        }
    }

    /// Writes what was decided, and the plan if it is another than before. Returns the plan that it comes to, too.
    pub(crate) async fn commit(&mut self, decided: Decided) -> (Commit, Plan) {
        let planned = self.seat.decided(decided, &self.fleet.view.lock());
        let (lease, revision) = match planned {
            Planned::Nothing => return (Commit::Lost, Plan::default()),
            Planned::Same(plan) => return (Commit::Done, *plan),
            Planned::Lease(lease, revision) => (*lease, revision),
        };
        let plan = lease.plan();
        let came = self.write(lease, revision).await;
        if came == Commit::Done {
            self.turn(true).await;
        }
        (came, plan)
    }

    async fn write(&mut self, lease: Lease, revision: u64) -> Commit {
        let came = self.put(&lease_key(&self.workload), text(&lease), revision).await;
        self.seat.wrote(lease, came, &self.fleet.view.lock());
        match came {
            Written::Stored(_) => {
                self.problem = None;
                Commit::Done
            }
            Written::Conflict => Commit::Lost,
            Written::Unknown => Commit::Unknown,
        }
    }

    /// Gives back the lease, and keeps the share. Returns whether others know of it: otherwise this host leads on.
    pub(crate) async fn give_up_lead(&mut self) -> bool {
        let given = self.seat.given_up();
        let Some((lease, revision)) = given else { return false };
        let (plan, known) = (lease.plan(), self.seat.plan_revision(&self.fleet.view.lock()));
        self.write(lease, revision).await == Commit::Done
            && matches!(self.put(&plan_key(&self.workload), text(&plan), known).await, Written::Stored(_))
    }

    /// Gives back the lease and the share, so that other hosts go on at once.
    pub(crate) async fn leave(&mut self) {
        self.leave_workplace();
        self.fleet.news.notify_one();
        let farewell = self.give_back();
        if timeout(FAREWELL, farewell).await.is_err() {
            tracing::debug!(workload = self.workload, "the lease was not given back");
        }
    }

    /// Gives back the lease, and then the share. A write that was cut short before may have been stored all the same:
    /// then the lease is read, and given back as it is.
    async fn give_back(&mut self) {
        for _ in 0..2 {
            let given = self.seat.given_back(&self.fleet.view.lock());
            let Some((lease, revision)) = given else { return };
            let (plan, known) = (lease.plan(), self.seat.plan_revision(&self.fleet.view.lock()));
            match self.write(lease, revision).await {
                Commit::Done => {
                    self.put(&plan_key(&self.workload), text(&plan), known).await;
                    return;
                }
                Commit::Unknown => return,
                Commit::Lost => {
                    let Some(found) = self.get_lease().await else { return };
                    self.seat.read(found, &self.fleet.view.lock());
                }
            }
        }
    }

    fn leave_workplace(&self) {
        let mut workplaces = self.fleet.workplaces.lock();
        // A workload that was started again has taken the place already.
        if workplaces.get(&self.workload).is_some_and(|of| Arc::ptr_eq(of, &self.workplace)) {
            workplaces.remove(&self.workload);
        }
    }

    /// Tells the host who leads, so that it watches what is needed.
    fn tell(&self) {
        let leader = self.seat.leader(&self.fleet.view.lock()).map(|leader| leader.id.clone());
        let leads = self.seat.lease().is_some();
        let same = *self.workplace.leader.lock() == leader && self.workplace.leads.load(Relaxed) == leads;
        if !same {
            let shown = leader.as_deref().unwrap_or("nobody");
            tracing::info!(workload = self.workload, leader = shown, here = leads, "leader of the fleet");
            *self.workplace.leader.lock() = leader;
            self.workplace.leads.store(leads, Relaxed);
            self.fleet.rewatch.notify_one();
        }
    }

    /// Reads the lease; `None` if that is not possible. What is none is told, and written over by its revision.
    async fn get_lease(&mut self) -> Option<(u64, Option<Lease>)> {
        let key = lease_key(&self.workload);
        let entry = match answered(self.fleet.bucket.get(&key)).await {
            Ok(entry) => entry,
            Err(error) => {
                self.problem = Some(self.fleet.problems.unusable(&error.to_string()));
                return None;
            }
        };
        match read_lease(&key, entry.value.as_deref()) {
            FoundLease::Read(lease) => Some((entry.revision, lease.map(|lease| *lease))),
            FoundLease::Spoiled(problem) => {
                self.fleet.problems.tell_unreadable(problem);
                Some((entry.revision, None))
            }
            FoundLease::Unknown(problem) => {
                self.problem = Some(self.fleet.problems.unusable(&problem));
                None
            }
        }
    }

    async fn put(&mut self, key: &str, value: Vec<u8>, expected: u64) -> Written {
        let bytes = value.len();
        match answered(self.fleet.bucket.put(key, value.into(), Some(expected))).await {
            Ok(revision) => {
                self.fleet.reached(revision);
                Written::Stored(revision)
            }
            Err(KvError::Conflict(_)) => Written::Conflict,
            Err(error) => {
                // If only this is too large, the bucket takes the rest.
                let large = plan_too_large(&self.workload, bytes, &error);
                self.problem = Some(large.unwrap_or_else(|| self.fleet.problems.unusable(&error.to_string())));
                Written::Unknown
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave_workplace();
    }
}
