//! What a host knows of the bucket, from the watch that brings it each change in the order of the bucket's stream.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::entries::{HostEntry, HostId, Plan, Settings, host_key, read};
use super::shares::Candidate;
use crate::config::Fingerprints;

/// Entries of its own that a host writes and sees without a sign of the leader, until it takes the lease over.
pub(crate) const LOST: usize = 3;

/// Entries of its own after which a host takes another for gone whose last entry is older, so that the workers of that
/// one are shared out anew.
pub(crate) const GONE: usize = 5;

/// How many own entries are remembered. After so many without a sign of a host, what it has left is removed.
const REMEMBERED: usize = 16;

/// What is watched beside the plans and the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watching {
    /// The entries of all hosts: this one leads something.
    All,
    /// The entries of these: its own, and those of the leaders that it follows.
    Some(BTreeSet<String>),
}

impl Watching {
    /// The keys to watch.
    pub(crate) fn keys(&self) -> Vec<String> {
        let always = ["plan.>".to_owned(), "settings.>".to_owned()];
        match self {
            Self::All => ["host.>".to_owned()].into_iter().chain(always).collect(),
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
    /// Messages have started workers of these workloads at another host.
    Woken(Vec<String>),
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
    /// Hosts that have left, and when: what says so stays in the bucket until it is removed.
    left: BTreeMap<String, u64>,
    plans: BTreeMap<String, (u64, Plan)>,
    settings: BTreeMap<String, Settings>,
    /// Whether another process writes this host's entry.
    doubled: bool,
}

impl View {
    /// Of a host that has seen nothing.
    pub(crate) fn new(me: HostId) -> Self {
        Self {
            me,
            watching: Watching::Some(BTreeSet::new()),
            own: VecDeque::new(),
            hosts: BTreeMap::new(),
            left: BTreeMap::new(),
            plans: BTreeMap::new(),
            settings: BTreeMap::new(),
            doubled: false,
        }
    }

    /// A watch begins, and brings the last version of each key first. The plans are kept: without a bucket the last
    /// ones hold.
    pub(crate) fn begin(&mut self, watching: Watching) {
        self.watching = watching;
        self.own.clear();
        self.hosts.clear();
        self.left.clear();
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
            (Some(("plan", workload)), Some(value)) => Ok(self.saw_plan(workload, revision, read(key, value)?)),
            (Some(("settings", workload)), Some(value)) => {
                self.settings.insert(workload.to_owned(), read(key, value)?);
                Ok(News::None)
            }
            _ => Ok(News::None),
        }
    }

    fn saw_host(&mut self, id: &str, revision: u64, entry: HostEntry) -> News {
        if id == self.me.id {
            let mine = entry.boot == self.me.boot;
            // An entry before the first own one is that of the process before.
            self.doubled = !mine && (self.doubled || !self.own.is_empty());
            if mine {
                self.own.push_back(revision);
                self.own.drain(..self.own.len().saturating_sub(REMEMBERED));
            }
        }
        let of_others = |(name, report): (&String, &super::entries::Report)| report.woken.then(|| name.clone());
        let woken: Vec<String> = entry.workloads.iter().filter_map(of_others).collect();
        self.left.remove(id);
        self.hosts.insert(id.to_owned(), (revision, entry));
        if woken.is_empty() { News::None } else { News::Woken(woken) }
    }

    /// A replica that lags may bring a plan that is older than one that was seen: it is not acted upon again.
    fn saw_plan(&mut self, workload: &str, revision: u64, plan: Plan) -> News {
        let is_old = |(_, known): &(u64, Plan)| known.lineage == plan.lineage && known.epoch > plan.epoch;
        if self.plans.get(workload).is_some_and(is_old) {
            return News::None;
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
        self.doubled
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

    /// How many workers of a workload this host is to run, by the last plan; `None` if it has never seen one.
    pub(crate) fn share(&self, workload: &str) -> Option<u32> {
        Some(self.plan(workload)?.shares.get(&self.me.id).copied().unwrap_or(0))
    }

    /// Whether this host asks for messages though it runs no worker of a workload. Where workers run, only the hosts do
    /// that are to run some, and where none is to run, one does: a message comes to a host that may handle it, and costs
    /// one pull at a time. While it is not known who leads, each host does.
    pub(crate) fn parks(&self, workload: &str) -> bool {
        let Some(plan) = self.plan(workload).filter(|plan| !plan.holder.id.is_empty()) else { return true };
        if self.silent_for(&plan.holder, self.plan_revision(workload)).is_some_and(|entries| entries >= LOST) {
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
    /// wrote with the revision `also`. `None` while that other is not watched, so that nothing is known.
    pub(crate) fn silent_for(&self, host: &HostId, also: u64) -> Option<usize> {
        let entry = self.hosts.get(&host.id).filter(|(_, entry)| entry.boot == host.boot);
        let last = entry.map_or(0, |(revision, _)| *revision).max(also);
        self.watching.covers(&host.id).then(|| self.entries_since(last))
    }

    /// All hosts that are there.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&str, &HostEntry)> {
        let there = |revision: u64| self.entries_since(revision) < GONE;
        self.hosts.iter().filter(move |(_, (at, _))| there(*at)).map(|(id, (_, entry))| (id.as_str(), entry))
    }

    /// A host that is gone for so long that what it has left in the bucket can be removed, and the last revision of it.
    pub(crate) fn dead(&self) -> Option<(String, u64)> {
        let entries = self.hosts.iter().map(|(id, (revision, _))| (id, *revision));
        let all = entries.chain(self.left.iter().map(|(id, revision)| (id, *revision)));
        let is_dead = |(id, revision): &(&String, u64)| {
            **id != self.me.id && self.sees_all() && self.entries_since(*revision) >= REMEMBERED
        };
        all.filter(is_dead).map(|(id, revision)| (id.clone(), revision)).next()
    }

    /// What a host has left is removed up to this revision.
    pub(crate) fn forgot(&mut self, id: &str, until: u64) {
        self.hosts.retain(|of, (revision, _)| of != id || *revision > until);
        self.left.retain(|of, revision| of != id || *revision > until);
    }

    /// The keys of a workload's settings that its leader has otherwise than these.
    pub(crate) fn differ(&self, workload: &str, own: &Fingerprints) -> Vec<String> {
        let plan = self.plan(workload).filter(|plan| plan.holder != self.me);
        let settings = self.settings.get(workload).zip(plan).filter(|(of, plan)| of.holder == plan.holder);
        settings.map_or_else(Vec::new, |(settings, _)| settings.differ(own))
    }

    /// The hosts that can run workers of a workload.
    pub(crate) fn candidates(&self, workload: &str) -> Vec<Candidate> {
        let candidate = |(id, entry): (&str, &HostEntry)| {
            let report = entry.workloads.get(workload)?;
            let (capacity, room, running) = (entry.capacity, report.room, report.running);
            Some(Candidate { id: id.to_owned(), capacity, room, running })
        };
        self.hosts().filter_map(candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::entries::{Report, Shares, text};

    fn id(id: &str) -> HostId {
        HostId { id: id.to_owned(), boot: format!("{id}-1") }
    }

    fn entry(boot: &str, woken: bool) -> Vec<u8> {
        let report = Report { woken, room: 9, ..Report::default() };
        let workloads = [("w".to_owned(), report)].into();
        text(&HostEntry { boot: boot.to_owned(), capacity: 2, workloads })
    }

    fn view() -> View {
        let mut view = View::new(id("a"));
        view.begin(Watching::All);
        view
    }

    #[test]
    fn a_host_is_gone_when_it_writes_nothing_while_this_one_writes() {
        let mut view = view();
        view.saw("host.b", 1, Some(&entry("b-1", false))).unwrap();
        assert!(!view.is_whole());
        for revision in 2..2 + GONE as u64 {
            assert!(view.candidates("w").iter().any(|host| host.id == "b"), "{revision}");
            view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
        }
        assert!(view.is_whole());
        assert_eq!(view.candidates("w").len(), 1);
        assert_eq!(view.silent_for(&id("b"), 0), Some(GONE));
        // Something else that it wrote is a sign of life too, and another process of that name is none.
        assert_eq!(view.silent_for(&id("b"), 4), Some(2));
        let other = HostId { boot: "b-2".to_owned(), ..id("b") };
        view.saw("host.b", 9, Some(&entry("b-1", false))).unwrap();
        assert_eq!((view.silent_for(&id("b"), 0), view.silent_for(&other, 0)), (Some(0), Some(GONE)));
    }

    #[test]
    fn what_a_host_has_left_is_removed_when_it_is_gone_for_long_and_has_not_come_back() {
        let mut view = view();
        view.saw("host.b", 1, Some(&entry("b-1", false))).unwrap();
        view.saw("host.c", 2, None).unwrap();
        for revision in 3..3 + REMEMBERED as u64 {
            assert_eq!(view.dead(), None, "{revision}");
            view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
        }
        assert_eq!(view.dead(), Some(("b".to_owned(), 1)));
        view.forgot("b", 1);
        assert_eq!(view.dead(), Some(("c".to_owned(), 2)));
        // It is back before that.
        view.saw("host.c", 90, Some(&entry("c-2", false))).unwrap();
        view.forgot("c", 2);
        assert_eq!((view.dead(), view.hosts().count()), (None, 2));
    }

    #[test]
    fn settings_are_compared_with_those_of_the_host_that_leads() {
        let mut view = view();
        let own = Fingerprints::from([("scale.max".to_owned(), "1".to_owned())]);
        let keys = Fingerprints::from([("scale.max".to_owned(), "2".to_owned())]);
        view.saw("settings.w", 1, Some(&text(&Settings { holder: id("b"), keys }))).unwrap();
        assert!(view.differ("w", &own).is_empty());
        view.saw("plan.w", 2, Some(&text(&Plan { holder: id("b"), epoch: 1, ..Plan::default() }))).unwrap();
        assert_eq!(view.differ("w", &own), ["scale.max"]);
        view.saw("plan.w", 3, Some(&text(&Plan { holder: id("a"), epoch: 2, ..Plan::default() }))).unwrap();
        assert!(view.differ("w", &own).is_empty());
    }

    #[test]
    fn of_a_host_that_is_not_watched_nothing_is_known() {
        let mut view = View::new(id("a"));
        view.begin(Watching::Some(["a".to_owned()].into()));
        view.saw("host.a", 2, Some(&entry("a-1", false))).unwrap();
        assert_eq!(view.silent_for(&id("b"), 0), None);
    }

    #[test]
    fn another_process_of_the_same_id_is_noticed_and_the_one_before_is_none() {
        let mut view = view();
        view.saw("host.a", 1, Some(&entry("a-0", false))).unwrap();
        view.saw("host.a", 2, Some(&entry("a-1", false))).unwrap();
        assert!(!view.is_doubled());
        view.saw("host.a", 3, Some(&entry("a-7", false))).unwrap();
        assert!(view.is_doubled());
        view.saw("host.a", 4, Some(&entry("a-1", false))).unwrap();
        assert!(!view.is_doubled());
    }

    #[test]
    fn a_plan_is_news_once_and_never_after_a_later_one() {
        let mut view = view();
        let plan = |epoch, lineage: &str| {
            let shares = Shares::from([("a".to_owned(), epoch as u32)]);
            text(&Plan { lineage: lineage.to_owned(), epoch, shares, ..Plan::default() })
        };
        let news = News::Plan("w".to_owned());
        assert_eq!(view.saw("plan.w", 5, Some(&plan(3, "l"))), Ok(news.clone()));
        assert_eq!(view.saw("plan.w", 5, Some(&plan(3, "l"))), Ok(News::None));
        assert_eq!(view.saw("plan.w", 4, Some(&plan(2, "l"))), Ok(News::None));
        assert_eq!(view.share("w"), Some(3));
        // The bucket was made anew, and so were its numbers.
        assert_eq!(view.saw("plan.w", 1, Some(&plan(1, "m"))), Ok(news));
        // What is deleted, or lost with its bucket, holds on.
        assert_eq!(view.saw("plan.w", 2, None), Ok(News::None));
        view.begin(Watching::All);
        assert_eq!(view.share("w"), Some(1));
    }

    #[test]
    fn one_host_keeps_a_pull_parked_at_zero_and_those_with_workers_where_there_are_some() {
        let mut view = View::new(id("a"));
        assert!(view.parks("w"), "there is no plan");
        view.begin(Watching::Some(["a".to_owned(), "b".to_owned()].into()));
        let plan = |epoch, shares: [u32; 2], parks: &str| {
            let shares = ["a", "b"].map(str::to_owned).into_iter().zip(shares).collect();
            text(&Plan { holder: id("b"), epoch, shares, parks: parks.to_owned(), ..Plan::default() })
        };
        view.saw("host.b", 1, Some(&entry("b-1", false))).unwrap();
        for (revision, shares, parks, expected) in [
            (2, [0, 0], "b", false),
            (3, [0, 0], "a", true),
            (4, [0, 0], "", true),
            (5, [0, 1], "a", false),
            (6, [1, 1], "b", true),
        ] {
            view.saw("plan.w", revision, Some(&plan(revision, shares, parks))).unwrap();
            assert_eq!(view.parks("w"), expected, "{shares:?} {parks}");
        }
        // The leader is killed, and may have been the one.
        view.saw("plan.w", 7, Some(&plan(7, [0, 0], "b"))).unwrap();
        for revision in 8..8 + LOST as u64 {
            assert!(!view.parks("w"), "{revision}");
            view.saw("host.a", revision, Some(&entry("a-1", false))).unwrap();
        }
        assert!(view.parks("w"));
        // It has left.
        view.saw("plan.w", 20, Some(&text(&Plan { epoch: 20, parks: "b".to_owned(), ..Plan::default() }))).unwrap();
        assert!(view.parks("w"));
    }

    #[test]
    fn the_leader_keeps_the_pull_itself_unless_it_cannot_run_a_worker() {
        let mut view = view();
        let with_room = |boot: &str, room| {
            let workloads = [("w".to_owned(), Report { room, ..Report::default() })].into();
            text(&HostEntry { boot: boot.to_owned(), capacity: 2, workloads })
        };
        for (revision, rooms, expected) in [(1, [9, 9], "a"), (3, [0, 9], "b"), (5, [0, 0], ""), (7, [1, 0], "a")] {
            view.saw("host.b", revision, Some(&with_room("b-1", rooms[1]))).unwrap();
            view.saw("host.a", revision + 1, Some(&with_room("a-1", rooms[0]))).unwrap();
            assert_eq!(view.parker("w"), expected, "{rooms:?}");
        }
    }

    #[test]
    fn a_host_where_a_message_has_started_a_worker_is_news() {
        let mut view = view();
        assert_eq!(view.saw("host.b", 1, Some(&entry("b-1", true))), Ok(News::Woken(vec!["w".to_owned()])));
        assert_eq!(view.saw("host.b", 2, Some(&entry("b-1", false))), Ok(News::None));
        assert!(view.saw("host.b", 3, Some(b"?")).unwrap_err().contains("host.b"));
    }
}
