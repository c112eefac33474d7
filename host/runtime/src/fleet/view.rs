//! What a host knows of the bucket, from the watch that brings it each change in the order of the bucket's stream.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::entries::{HostEntry, HostId, Plan, host_key, read};
use super::shares::Candidate;

/// Entries of its own after which a host takes another for gone whose last entry is older, so that the workers of that
/// one are shared out anew.
pub(crate) const GONE: usize = 5;

/// How many own entries are remembered: a few more than anybody asks about.
const REMEMBERED: usize = 16;

/// What is watched beside the plans.
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
        let plans = "plan.>".to_owned();
        match self {
            Self::All => vec!["host.>".to_owned(), plans],
            Self::Some(hosts) => hosts.iter().map(|id| host_key(id)).chain([plans]).collect(),
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
    plans: BTreeMap<String, (u64, Plan)>,
    /// Whether another process writes this host's entry.
    doubled: bool,
}

impl View {
    /// Of a host that has seen nothing.
    pub(crate) fn new(me: HostId) -> Self {
        let watching = Watching::Some(BTreeSet::new());
        let (own, hosts, plans) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { me, watching, own, hosts, plans, doubled: false }
    }

    /// A watch begins, and brings the last version of each key first. The plans are kept: without a bucket the last
    /// ones hold.
    pub(crate) fn begin(&mut self, watching: Watching) {
        self.watching = watching;
        self.own.clear();
        self.hosts.clear();
    }

    /// The watch has brought a change: a key's new value, or that it is deleted. The error says what is wrong with it.
    pub(crate) fn saw(&mut self, key: &str, revision: u64, value: Option<&[u8]>) -> Result<News, String> {
        match (key.split_once('.'), value) {
            (Some(("host", id)), None) => {
                self.hosts.remove(id);
                Ok(News::None)
            }
            (Some(("host", id)), Some(value)) => Ok(self.saw_host(id, revision, read(key, value)?)),
            (Some(("plan", workload)), Some(value)) => Ok(self.saw_plan(workload, revision, read(key, value)?)),
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
    fn a_host_where_a_message_has_started_a_worker_is_news() {
        let mut view = view();
        assert_eq!(view.saw("host.b", 1, Some(&entry("b-1", true))), Ok(News::Woken(vec!["w".to_owned()])));
        assert_eq!(view.saw("host.b", 2, Some(&entry("b-1", false))), Ok(News::None));
        assert!(view.saw("host.b", 3, Some(b"?")).unwrap_err().contains("host.b"));
    }
}
