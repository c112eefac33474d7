//! What a host knows of the bucket, from the watch that brings it each change in the order of the bucket's stream.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::entries::{HostEntry, HostId, Plan, Report, Settings, host_key, read};
use super::figures::Figures;
use super::limits::Taker;
use super::set_workers::SetWorkers;
use super::shares::Candidate;
use crate::config::Fingerprints;
use crate::rollout::together::decide::HostSeen;
use crate::rollout::together::entries::Verdict;

pub(crate) mod part;

/// Entries of its own that a host writes and sees without a sign of the leader, until it takes the lease over.
pub(crate) const LOST: usize = 3;

/// Entries of its own after which a host takes another for gone whose last entry is older, so that the workers of that
/// one are shared out anew.
pub(crate) const GONE: usize = 10;

/// Hosts of versions before this one write an entry where those of this one write so many.
const SLOWER: usize = 2;

/// Own entries after which another process that had this host's id, and is silent since, counts no more.
const DOUBLED: usize = 6;

/// How many own entries are remembered. After so many without a sign of a host, what it has left is removed.
const REMEMBERED: usize = 32;

/// What is watched beside the plans, the settings, and what people have asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watching {
    /// All that hosts write of themselves: this one leads something.
    All,
    /// The entries of these: its own, and those of the leaders that it follows.
    Some(BTreeSet<String>),
}

impl Watching {
    /// The keys to watch.
    pub(crate) fn keys(&self) -> Vec<String> {
        let always = ["plan.>", "settings.>", "workers.>", "verdict.>"].map(str::to_owned);
        match self {
            Self::All => ["host.>".to_owned(), "figures.>".to_owned()].into_iter().chain(always).collect(),
            Self::Some(hosts) => hosts.iter().map(|id| host_key(id)).chain(always).collect(),
        }
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(hosts) => hosts.contains(host),
        }
    }
}

/// What a change of the bucket means for this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing to act upon at once.
    None,
    /// There is another plan for this workload.
    Plan(String),
    /// The plan of this workload was deleted. The last one holds, and its leader writes it again.
    NoPlan(String),
    /// A person has asked for something of this workload.
    Asked(String),
    /// Messages have started workers of these workloads at another host.
    Woken(Vec<String>),
    /// The bucket has lost a plan that was seen: [`View::went_back`] is due.
    WentBack,
}

/// The bucket as far as this host has seen it.
#[derive(Debug)]
pub(crate) struct View {
    me: HostId,
    watching: Watching,
    /// Revisions of this host's own entries that the watch has brought since it was begun, the oldest first. Whatever
    /// else was written before the last of them has been brought too.
    own: VecDeque<u64>,
    hosts: BTreeMap<String, (u64, HostEntry)>,
    figures: BTreeMap<String, (u64, Figures)>,
    /// Hosts that have left, and when: what says so stays in the bucket until it is removed.
    left: BTreeMap<String, u64>,
    /// The last plans, with their revisions; 0 for one of before the bucket went back.
    plans: BTreeMap<String, (u64, Plan)>,
    /// The revision of what stands in place of a plan and is none, or of its deletion.
    spoiled: BTreeMap<String, u64>,
    /// Plans that were seen and that the watch has still to bring, since it has brought earlier ones: their revisions.
    overdue: BTreeMap<String, u64>,
    /// The last plan that was seen before the bucket went back.
    before: BTreeMap<String, Plan>,
    /// How often the bucket went back.
    returns: u64,
    settings: BTreeMap<String, Settings>,
    /// The workers that people have set, with the revision.
    set: BTreeMap<String, (u64, SetWorkers)>,
    /// What people have decided about trials of new generations.
    verdicts: BTreeMap<String, Verdict>,
    /// The revision of the last entry that another process wrote for this host.
    other: Option<u64>,
}

impl View {
    /// Of a host that has seen nothing.
    pub(crate) fn new(me: HostId) -> Self {
        Self {
            me,
            watching: Watching::Some(BTreeSet::new()),
            own: VecDeque::new(),
            hosts: BTreeMap::new(),
            figures: BTreeMap::new(),
            left: BTreeMap::new(),
            plans: BTreeMap::new(),
            spoiled: BTreeMap::new(),
            overdue: BTreeMap::new(),
            before: BTreeMap::new(),
            returns: 0,
            settings: BTreeMap::new(),
            set: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            other: None,
        }
    }

    /// A watch begins, and brings the last version of each key first. The plans are kept: without a bucket the last
    /// ones hold.
    pub(crate) fn begin(&mut self, watching: Watching) {
        self.watching = watching;
        self.own.clear();
        self.hosts.clear();
        self.figures.clear();
        self.left.clear();
        self.set.clear();
        self.verdicts.clear();
        self.spoiled.clear();
        self.overdue.clear();
        self.other = None;
    }

    /// The bucket was made anew, or has an earlier state: what this host has just written has no higher revision than
    /// what it wrote or saw before, or the watch says so. The last plans hold until there are others, whatever the
    /// numbers of those are, and nobody goes on with the numbers that were used already.
    pub(crate) fn went_back(&mut self) {
        self.returns += 1;
        for (workload, (revision, plan)) in &mut self.plans {
            *revision = 0;
            self.before.insert(workload.clone(), plan.clone());
        }
        self.begin(self.watching.clone());
    }

    /// How often the bucket went back.
    pub(crate) fn returns(&self) -> u64 {
        self.returns
    }

    /// Whether a plan was seen that excludes this one.
    pub(crate) fn excludes(&self, workload: &str, plan: &Plan) -> bool {
        let seen = [self.plan(workload), self.before.get(workload)];
        seen.into_iter().flatten().any(|seen| seen.excludes(plan))
    }

    /// The watch has brought a change: a key's new value, or that it is deleted. The error says what is wrong with it.
    pub(crate) fn saw(&mut self, key: &str, revision: u64, value: Option<&[u8]>) -> Result<News, String> {
        match (key.split_once('.'), value) {
            (Some(("host", id)), None) => {
                self.hosts.remove(id);
                self.left.insert(id.to_owned(), revision);
                Ok(News::None)
            }
            (Some(("host", id)), Some(value)) => Ok(self.saw_host(id, revision, read(key, value)?)),
            (Some(("figures", id)), Some(value)) => Ok(self.saw_figures(id, revision, read(key, value)?)),
            (Some(("figures", id)), None) => {
                self.figures.remove(id);
                Ok(News::None)
            }
            (Some(("plan", workload)), Some(value)) => match read(key, value) {
                Ok(plan) => Ok(self.saw_plan(workload, revision, plan)),
                Err(problem) => {
                    self.spoiled.insert(workload.to_owned(), revision);
                    Err(problem)
                }
            },
            (Some(("plan", workload)), None) => {
                self.spoiled.insert(workload.to_owned(), revision);
                Ok(News::NoPlan(workload.to_owned()))
            }
            (Some(("settings", workload)), Some(value)) => {
                self.settings.insert(workload.to_owned(), read(key, value)?);
                Ok(News::None)
            }
            (Some(("workers", workload)), value) => {
                let set = value.map(|value| read(key, value)).transpose()?;
                note(&mut self.set, workload, set.map(|set| (revision, set)));
                Ok(News::Asked(workload.to_owned()))
            }
            (Some(("verdict", workload)), value) => {
                note(&mut self.verdicts, workload, value.map(|value| read(key, value)).transpose()?);
                Ok(News::Asked(workload.to_owned()))
            }
            _ => Ok(News::None),
        }
    }

    fn saw_host(&mut self, id: &str, revision: u64, entry: HostEntry) -> News {
        if id == self.me.id {
            let mine = entry.boot == self.me.boot;
            // An entry before the first own one is that of the process before.
            if !mine && !self.own.is_empty() {
                self.other = Some(revision);
            }
            if mine {
                self.own.push_back(revision);
                self.own.drain(..self.own.len().saturating_sub(REMEMBERED));
            }
        }
        let is_lost = self.overdue.values().any(|overdue| *overdue < revision);
        let news = if is_lost { News::WentBack } else { woken(&entry.workloads) };
        self.left.remove(id);
        self.hosts.insert(id.to_owned(), (revision, entry));
        news
    }

    fn saw_figures(&mut self, id: &str, revision: u64, figures: Figures) -> News {
        let news = woken(&figures.workloads);
        self.figures.insert(id.to_owned(), (revision, figures));
        news
    }

    /// A replica that lags may bring a plan that is older than one that was seen: it is not acted upon again. It brings
    /// the one that was seen before all that was written later, unless the bucket has lost that.
    fn saw_plan(&mut self, workload: &str, revision: u64, plan: Plan) -> News {
        let excludes = |(at, known): &&(u64, Plan)| *at > 0 && known.excludes(&plan);
        match self.plans.get(workload).filter(excludes) {
            Some((at, _)) if *at <= revision => return News::WentBack,
            Some((at, _)) => {
                self.overdue.insert(workload.to_owned(), *at);
                return News::None;
            }
            None => drop(self.overdue.remove(workload)),
        }
        let before = self.plans.insert(workload.to_owned(), (revision, plan));
        let same = before.is_some_and(|(_, before)| self.plan(workload).is_some_and(|plan| *plan == before));
        if same { News::None } else { News::Plan(workload.to_owned()) }
    }

    /// Who this host is.
    pub(crate) fn me(&self) -> &HostId {
        &self.me
    }

    /// Whether another process has this host's id.
    pub(crate) fn is_doubled(&self) -> bool {
        self.other.is_some_and(|revision| self.entries_since(revision) < DOUBLED)
    }

    /// Whether the watch has brought all that was there when it was begun.
    pub(crate) fn is_whole(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether it has brought all hosts, so that workers can be shared out among them.
    pub(crate) fn sees_all(&self) -> bool {
        self.is_whole() && self.watching == Watching::All
    }

    /// The plan of a workload.
    pub(crate) fn plan(&self, workload: &str) -> Option<&Plan> {
        self.plans.get(workload).map(|(_, plan)| plan)
    }

    /// The revision of the plan of a workload; 0 if there is none.
    pub(crate) fn plan_revision(&self, workload: &str) -> u64 {
        self.plans.get(workload).map_or(0, |(revision, _)| *revision)
    }

    /// The revision of what stands in place of the plan and is none, or of its deletion; 0 if nothing does.
    pub(crate) fn spoiled(&self, workload: &str) -> u64 {
        self.spoiled.get(workload).copied().unwrap_or(0)
    }

    /// How many workers of a workload this host is to run, by the last plan; `None` if it has never seen one.
    pub(crate) fn share(&self, workload: &str) -> Option<u32> {
        Some(self.plan(workload)?.shares.get(&self.me.id).copied().unwrap_or(0))
    }

    /// Whether this host asks for messages though it runs no worker of a workload. Where workers run, only the hosts do
    /// that are to run some, and where none is to run, one does: a message comes to a host that may handle it, and
    /// costs one pull at a time. While it is not known who leads, each host does.
    pub(crate) fn parks(&self, workload: &str) -> bool {
        let Some(plan) = self.plan(workload).filter(|plan| !plan.holder.id.is_empty()) else { return true };
        if self.is_leader_silent(workload) {
            return true;
        }
        let me = &self.me.id;
        match plan.shares.values().any(|share| *share > 0) {
            true => plan.shares.get(me).is_some_and(|share| *share > 0),
            false => plan.parks.is_empty() || plan.parks == *me,
        }
    }

    /// The host that is to keep a pull parked where none is to run a worker: this one, for then it hears itself that
    /// nothing has come; another where none can start here; nobody, which means each, where none can start at all.
    pub(crate) fn parker(&self, workload: &str) -> String {
        let able = || self.candidates(workload).into_iter().filter(|host| host.room > 0);
        able().find(|host| host.id == self.me.id).or_else(|| able().next()).map(|host| host.id).unwrap_or_default()
    }

    /// How many entries this host has written and seen since this revision, as far as it remembers.
    pub(crate) fn entries_since(&self, revision: u64) -> usize {
        self.own.iter().filter(|own| **own > revision).count()
    }

    /// How many entries this host has written and seen since the last sign of another: its entry, or something that it
    /// wrote with the revision `also`. Those of one that writes more seldom count for less. `None` while that other is
    /// not watched, so that nothing is known.
    pub(crate) fn silent_for(&self, host: &HostId, also: u64) -> Option<usize> {
        let entry = self.hosts.get(&host.id).filter(|(_, entry)| entry.boot == host.boot);
        let last = entry.map_or(0, |(revision, _)| *revision).max(also);
        let each = entry.map_or(1, |(_, entry)| each(entry));
        self.watching.covers(&host.id).then(|| self.entries_since(last) / each)
    }

    /// Whether the host that leads a workload by its plan is silent for so long that another takes over.
    pub(crate) fn is_leader_silent(&self, workload: &str) -> bool {
        let Some((revision, plan)) = self.plans.get(workload) else { return false };
        self.silent_for(&plan.holder, *revision).is_some_and(|entries| entries >= LOST)
    }

    /// All hosts that are there.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&str, &HostEntry)> {
        let there = |(at, entry): &(u64, HostEntry)| self.entries_since(*at) / each(entry) < GONE;
        self.hosts.iter().filter(move |(_, host)| there(host)).map(|(id, (_, entry))| (id.as_str(), entry))
    }

    /// What the hosts that are there do for a workload.
    pub(crate) fn reports<'a>(&'a self, workload: &str) -> impl Iterator<Item = (&'a str, &'a HostEntry, &'a Report)> {
        self.hosts().filter_map(move |(id, entry)| {
            let apart = || Some(&self.figures.get(id).filter(|(_, of)| of.boot == entry.boot)?.1.workloads);
            let reports = if entry.apart { apart()? } else { &entry.workloads };
            Some((id, entry, reports.get(workload)?))
        })
    }

    /// The hosts among which the limits of a workload are divided, with what they say of a plan of this row.
    pub(crate) fn takers(&self, workload: &str, lineage: &str) -> Vec<Taker> {
        let taker = |(id, _, report): (&str, &HostEntry, &Report)| {
            let follows = report.limit.as_ref()?;
            let says = (follows.lineage == lineage).then_some((follows.epoch, follows.uses));
            Some(Taker { id: id.to_owned(), says })
        };
        self.reports(workload).filter_map(taker).collect()
    }

    /// Whether all hosts that are there read what stands apart from entries.
    pub(crate) fn all_read_apart(&self) -> bool {
        self.hosts().all(|(_, entry)| entry.reads_apart)
    }

    /// Whether what a host does for these workloads may stand apart from its entry: their leaders have seen that all
    /// hosts read it there.
    pub(crate) fn may_write_apart<'a>(&self, mut workloads: impl Iterator<Item = &'a String>) -> bool {
        workloads.all(|workload| self.plan(workload).is_some_and(|plan| plan.apart))
    }

    /// A host that is gone for so long that what it has left in the bucket can be removed, and the last revision of it.
    pub(crate) fn dead(&self) -> Option<(String, u64)> {
        let figures = |id: &String| self.figures.get(id).map_or(0, |(revision, _)| *revision);
        let entries = self.hosts.iter().map(|(id, (revision, _))| (id, (*revision).max(figures(id))));
        let all = entries.chain(self.left.iter().map(|(id, revision)| (id, *revision)));
        let is_dead = |(id, revision): &(&String, u64)| {
            **id != self.me.id && self.sees_all() && self.entries_since(*revision) >= REMEMBERED
        };
        all.filter(is_dead).map(|(id, revision)| (id.clone(), revision)).next()
    }

    /// What a host has left is removed up to this revision.
    pub(crate) fn forgot(&mut self, id: &str, until: u64) {
        self.hosts.retain(|of, (revision, _)| of != id || *revision > until);
        self.figures.retain(|of, (revision, _)| of != id || *revision > until);
        self.left.retain(|of, revision| of != id || *revision > until);
    }

    /// The keys of a workload's settings that its leader has otherwise than these.
    pub(crate) fn differ(&self, workload: &str, own: &Fingerprints) -> Vec<String> {
        let plan = self.plan(workload).filter(|plan| plan.holder != self.me);
        let settings = self.settings.get(workload).zip(plan).filter(|(of, plan)| of.holder == plan.holder);
        settings.map_or_else(Vec::new, |(settings, _)| settings.differ(own))
    }

    /// The workers of a workload that a person has set, whether or not their time is over, and their revision.
    pub(crate) fn set_workers(&self, workload: &str) -> Option<(u64, SetWorkers)> {
        self.set.get(workload).copied()
    }

    /// This host has set them, with this revision, or taken them away, though the watch has not said so yet.
    pub(crate) fn note_set_workers(&mut self, workload: &str, set: Option<(u64, SetWorkers)>) {
        note(&mut self.set, workload, set);
    }

    /// What was set with this revision is taken away. What was set since stays.
    pub(crate) fn note_ended(&mut self, workload: &str, revision: u64) {
        if self.set.get(workload).is_some_and(|(of, _)| *of == revision) {
            self.set.remove(workload);
        }
    }

    /// What a person has decided about a trial of a workload.
    pub(crate) fn verdict(&self, workload: &str) -> Option<&Verdict> {
        self.verdicts.get(workload)
    }

    /// The hosts that say which generations of a workload's handler they have.
    pub(crate) fn generations<'a>(&'a self, workload: &str) -> Vec<HostSeen<'a>> {
        let seen = |(id, entry, report): (&'a str, &'a HostEntry, &'a Report)| {
            Some(HostSeen { id, boot: &entry.boot, generations: report.generations.as_ref()? })
        };
        self.reports(workload).filter_map(seen).collect()
    }

    /// The hosts that can run workers of a workload.
    pub(crate) fn candidates(&self, workload: &str) -> Vec<Candidate> {
        let candidate = |(id, entry, report): (&str, &HostEntry, &Report)| {
            let Report { room, running, partitions, .. } = *report;
            Candidate { id: id.to_owned(), capacity: entry.capacity, room, running, partitions }
        };
        self.reports(workload).map(candidate).collect()
    }
}

/// What is known of a key now.
fn note<T>(all: &mut BTreeMap<String, T>, workload: &str, value: Option<T>) {
    match value {
        Some(value) => drop(all.insert(workload.to_owned(), value)),
        None => drop(all.remove(workload)),
    }
}

/// For how many entries of this host one of another counts.
fn each(entry: &HostEntry) -> usize {
    if entry.reads_apart { 1 } else { SLOWER }
}

fn woken(workloads: &BTreeMap<String, Report>) -> News {
    let of = |(name, report): (&String, &Report)| report.woken.then(|| name.clone());
    let woken: Vec<String> = workloads.iter().filter_map(of).collect();
    if woken.is_empty() { News::None } else { News::Woken(woken) }
}

#[cfg(test)]
mod tests;
