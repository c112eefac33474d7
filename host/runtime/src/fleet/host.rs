//! One host in its fleet: writes its entry, watches the bucket, and tells its workloads what is new.

mod problems;
mod workplace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use self::problems::{Concern, Problems, entry_too_large, forgetting};
pub(super) use self::problems::{no_plan, plan_too_large};
pub(super) use self::workplace::Workplace;
pub(crate) use self::workplace::{GenerationsReporter, Reporter};
use super::entries::{HostEntry, HostId, Plan, Report, figures_key, host_key, text};
use super::figures::{Figures, Written};
use super::limits::Follows;
use super::set_workers::SetWorkers;
use super::view::{News, View, Watching};
use crate::config::Fingerprints;
use crate::ports::{FleetBucket, KeyChange, KeyChanges, KvError, KvFuture};

/// How often a host writes its entry.
pub(crate) const BEAT: Duration = Duration::from_millis(500);
/// How long an answer of the bucket is waited for. A server that is gone answers no more, and the next one may be
/// there.
const ANSWER: Duration = Duration::from_secs(2);
/// After how long a watch that brings nothing is begun anew: it brings this host's own entry at least.
const SILENT: Duration = Duration::from_secs(3);
/// How often what a host has left that is gone is looked for.
const TIDY: Duration = Duration::from_secs(1);
/// How long figures stay in the entry where they cannot be written apart.
const TOGETHER: Duration = Duration::from_secs(60);
/// How long a watch that has failed is waited with.
const AGAIN: Duration = Duration::from_millis(500);
/// How many times as long a watch that fails again and again may take to begin: a server may be that slow.
const PATIENCE: u32 = 5;
/// How long it is left as it is where what dead hosts have left cannot be removed.
const UNTIDY: Duration = Duration::from_secs(300);
/// How often the settings of the bucket are looked at, and how often while they have to be mended.
const EDITED: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(5);
/// How long a host that leaves may take to say so.
const FAREWELL: Duration = Duration::from_secs(2);

/// This host, in its fleet.
pub(crate) struct Fleet {
    pub(super) capacity: u32,
    /// The most workers of all workloads together.
    most: Option<u32>,
    pub(super) bucket: Arc<dyn FleetBucket>,
    pub(super) name: String,
    pub(super) view: Mutex<View>,
    /// What the settings of each workload come to here.
    settings: Mutex<BTreeMap<String, Arc<Fingerprints>>>,
    pub(super) workplaces: Mutex<BTreeMap<String, Arc<Workplace>>>,
    /// The entry is written at once.
    pub(super) news: Notify,
    /// What is watched may have to change.
    pub(super) rewatch: Notify,
    /// The watch has to begin anew.
    anew: Notify,
    /// The highest revision that this host has written or seen.
    reached: AtomicU64,
    /// How many plans were seen.
    pub(super) planned: watch::Sender<u64>,
    /// Whether the bucket was looked for.
    looked: watch::Sender<bool>,
    pub(super) problems: Problems,
    left: AtomicBool,
}

/// What can be seen of a workload in its fleet.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The plan that this host follows, if it has seen one.
    pub(crate) plan: Option<Plan>,
    /// The host that leads, as far as is known.
    pub(crate) leader: Option<String>,
    /// This host's id.
    pub(crate) host: String,
    /// The keys of its settings that the leader has otherwise.
    pub(crate) differ: Vec<String>,
    /// How many workers a person has set for all hosts.
    pub(crate) set: Option<SetWorkers>,
}

impl Fleet {
    /// A host that has told nobody yet. `name` is the bucket's, and `fingerprints` are what the settings of each
    /// workload come to.
    pub(crate) fn new(
        me: HostId,
        (capacity, most): (u32, Option<u32>),
        bucket: Arc<dyn FleetBucket>,
        (name, fingerprints): (String, BTreeMap<String, Fingerprints>),
    ) -> Arc<Self> {
        tracing::info!(host = me.id, bucket = name, capacity, "one of a fleet");
        Arc::new(Self {
            capacity,
            most,
            bucket,
            problems: Problems::new(&name),
            name,
            view: Mutex::new(View::new(me)),
            settings: Mutex::new(shared(fingerprints)),
            workplaces: Mutex::default(),
            news: Notify::new(),
            rewatch: Notify::new(),
            anew: Notify::new(),
            reached: AtomicU64::new(0),
            planned: watch::Sender::new(0),
            looked: watch::Sender::new(false),
            left: AtomicBool::new(false),
        })
    }

    /// Writes this host's entry and watches the bucket, for ever.
    pub(crate) async fn run(&self) {
        tokio::join!(self.beat(), self.watch(), self.tidy());
    }

    /// Takes this host's entry away, if that is possible soon.
    pub(crate) async fn leave(&self) {
        self.left.store(true, Relaxed);
        let id = self.view.lock().me().id.clone();
        let (figures, entry) = (figures_key(&id), host_key(&id));
        let farewell = async {
            // Whoever removes what this leaves removes what came before the last of it.
            let told = self.bucket.delete(&figures, None).await;
            self.bucket.delete(&entry, None).await.and(told)
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the fleet was not told that this host has left"),
            Err(_) => tracing::debug!("the fleet was not told that this host has left"),
        }
    }

    async fn beat(&self) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut found, mut looked, mut telling) = (false, Instant::now(), Telling::default());
        loop {
            tokio::select! {
                _ = beats.tick() => {}
                () = self.news.notified() => {}
            }
            let told = if found { self.look_again(&mut looked).await } else { self.look(&mut looked).await };
            self.looked.send_replace(true);
            if self.left.load(Relaxed) {
                return;
            }
            let told = match told {
                Ok(()) => self.tell(&mut telling).await,
                Err(error) => Err(error),
            };
            found = !matches!(told, Err(KvError::NoBucket(_))) && (found || told.is_ok());
            if told.is_ok() && self.problems.has(Concern::Entry) {
                // A watch that was cut off goes on after the last that it has brought, and so leaves out what a bucket
                // with an earlier state has there by then.
                self.anew.notify_one();
            }
            self.problems.note(Concern::Entry, told.err().map(|error| error.to_string()));
            let doubled = self.view.lock().is_doubled();
            self.problems.note(Concern::Doubled, doubled.then(|| self.doubled()));
        }
    }

    /// Finds the bucket, or makes it.
    async fn look(&self, looked: &mut Instant) -> Result<(), KvError> {
        *looked = Instant::now();
        let loses = answered(self.bucket.find()).await?;
        self.problems.note(Concern::Forgetting, forgetting(&self.name, loses));
        Ok(())
    }

    /// Looks at the settings of a bucket that was found, now and then: somebody may have edited them. What is wrong
    /// otherwise is told where the entry is written.
    async fn look_again(&self, looked: &mut Instant) -> Result<(), KvError> {
        let every = if self.problems.has(Concern::Forgetting) { SOON } else { EDITED };
        if looked.elapsed() >= every
            && let Err(error) = self.look(looked).await
        {
            tracing::debug!(bucket = self.name, %error, "the bucket was not looked at");
        }
        Ok(())
    }

    /// Removes what hosts have left that are gone, one at a time.
    async fn tidy(&self) {
        loop {
            sleep(TIDY).await;
            let dead = self.view.lock().dead();
            let Some((id, revision)) = dead else { continue };
            match self.forget(&id, revision).await {
                Ok(()) => {
                    self.view.lock().forgot(&id, revision);
                    tracing::info!(host = id, bucket = self.name, "removed from the fleet: it is gone");
                }
                Err(error) => {
                    tracing::warn!(host = id, bucket = self.name, %error, "a host that is gone stays in the bucket");
                    sleep(UNTIDY).await;
                }
            }
        }
    }

    async fn forget(&self, id: &str, revision: u64) -> Result<(), KvError> {
        self.bucket.forget(&figures_key(id), revision).await?;
        self.bucket.forget(&host_key(id), revision).await
    }

    fn doubled(&self) -> String {
        let id = self.view.lock().me().id.clone();
        format!("another host of the fleet is called {id:?} too; give each a host.id of its own, or leave that out")
    }

    /// Writes what this host does, and that it lives: the one where it has changed, if all hosts read it apart.
    async fn tell(&self, telling: &mut Telling) -> Result<(), KvError> {
        let HostId { id, boot } = self.view.lock().me().clone();
        let (workloads, apart) = self.reports();
        let mut entry = HostEntry { boot, capacity: self.capacity, apart: false, reads_apart: true, workloads };
        let mut told = Ok(());
        if apart && telling.together_until.is_none_or(|until| until <= Instant::now()) {
            let figures = Figures { boot: entry.boot.clone(), workloads: std::mem::take(&mut entry.workloads) };
            told = self.tell_figures(&id, &figures, &mut telling.figures).await;
            entry.apart = told.is_ok();
            if told.is_err() {
                telling.together_until = Some(Instant::now() + TOGETHER);
                entry.workloads = figures.workloads;
            }
        }
        let before = self.reached.load(Relaxed);
        let entry = text(&entry);
        let bytes = entry.len();
        let revision = answered(self.bucket.put(&host_key(&id), entry.into(), None)).await;
        let revision = revision.map_err(|error| entry_too_large(bytes, error))?;
        telling.figures.lives(revision);
        // Revisions only grow in one bucket.
        if before >= revision {
            self.reached.store(0, Relaxed);
            self.went_back();
        }
        self.reached(revision);
        told
    }

    /// This host has written or seen this revision.
    pub(super) fn reached(&self, revision: u64) {
        self.reached.fetch_max(revision, Relaxed);
    }

    /// The bucket was made anew, or has an earlier state.
    fn went_back(&self) {
        tracing::warn!(
            bucket = self.name,
            "the fleet's bucket was made anew, or has an earlier state: the fleet goes on from what its hosts know"
        );
        self.view.lock().went_back();
        self.anew.notify_one();
        self.workplaces.lock().values().for_each(|of| of.changed.notify_one());
    }

    async fn tell_figures(&self, id: &str, figures: &Figures, written: &mut Written) -> Result<(), KvError> {
        let text = figures.text();
        if written.is_due(&text) {
            let revision = answered(self.bucket.put(&figures_key(id), text.clone().into(), None)).await?;
            written.stored(text, revision);
        }
        Ok(())
    }

    /// What this host does for each workload now, and whether that may stand apart from its entry.
    fn reports(&self) -> (BTreeMap<String, Report>, bool) {
        let workplaces = self.workplaces.lock();
        let mut workloads: BTreeMap<String, Report> = BTreeMap::new();
        for (name, of) in &*workplaces {
            let woken = of.woken_here.swap(false, Relaxed);
            // Read before what is used: that is by this plan, or a later one.
            let (lineage, epoch) = of.limited_by.lock().clone();
            let report = (of.report)();
            let limit = report.limit.map(|of| Follows { lineage, epoch, ..of });
            workloads.insert(name.clone(), Report { woken, limit, generations: (of.generations)(), ..report });
        }
        if let Some(most) = self.most {
            let all = workloads.values().fold(0_u32, |all, report| all.saturating_add(report.wanted));
            let counts = |name: &String| workplaces.get(name).is_some_and(|of| of.counts);
            for (_, report) in workloads.iter_mut().filter(|(name, _)| counts(name)) {
                report.room = report.room.min(room(most, all, report.wanted));
            }
        }
        let apart = self.view.lock().may_write_apart(workloads.keys());
        (workloads, apart)
    }

    /// The most workers of a workload that this host has room for now.
    pub(super) fn room(&self, workload: &str) -> u32 {
        let Some(most) = self.most else { return u32::MAX };
        let workplaces = self.workplaces.lock();
        let wanted = |of: &Arc<Workplace>| (of.report)().wanted;
        let all = workplaces.values().fold(0_u32, |all, of| all.saturating_add(wanted(of)));
        room(most, all, workplaces.get(workload).map_or(0, wanted))
    }

    /// Waits until this host has looked for the bucket, and has made it where it was missing. Until then nothing is
    /// known of it.
    pub(super) async fn has_looked(&self) {
        // The sender is this one's.
        let _ = self.looked.subscribe().wait_for(|looked| *looked).await;
    }

    async fn watch(&self) {
        self.has_looked().await;
        let mut failures: u32 = 0;
        loop {
            let watching = self.watching();
            self.view.lock().begin(watching.clone());
            let patience = ANSWER * (1 + failures).min(PATIENCE);
            let ended = match answered_within(patience, self.bucket.watch(watching.keys())).await {
                Ok(changes) => {
                    failures = 0;
                    self.follow(changes, &watching).await
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    Some(error.to_string())
                }
            };
            // Another set of keys is no failure.
            let Some(problem) = ended else { continue };
            self.problems.note(Concern::Watch, Some(problem));
            sleep(AGAIN).await;
        }
    }

    /// Takes in what a watch brings, until other keys are to be watched, or until it ends and why.
    async fn follow(&self, mut changes: KeyChanges, watching: &Watching) -> Option<String> {
        loop {
            tokio::select! {
                // What the watch still brings of the bucket of before counts no more.
                biased;
                () = self.anew.notified() => return None,
                () = self.rewatch.notified() => if self.watching() != *watching {
                    return None;
                },
                change = timeout(SILENT, changes.next()) => match change {
                    Ok(Some(Ok(change))) => self.saw(&change),
                    Ok(Some(Err(error))) => return Some(error.to_string()),
                    Ok(None) => return Some("the watch has ended".to_owned()),
                    Err(_) => return Some(format!("the watch has brought nothing for {SILENT:?}")),
                },
            }
        }
    }

    fn saw(&self, KeyChange { key, revision, value }: &KeyChange) {
        self.reached(*revision);
        let (news, began) = {
            let mut view = self.view.lock();
            let before = view.sees_all();
            let news = view.saw(key, *revision, value.as_deref());
            (news, !before && view.sees_all())
        };
        self.problems.note(Concern::Watch, None);
        self.wake_for_lead(began);
        match news {
            Ok(News::None) => {}
            Ok(News::Plan(workload)) => {
                self.planned.send_modify(|plans| *plans += 1);
                self.wake(&workload, false);
            }
            Ok(News::Asked(workload) | News::NoPlan(workload)) => self.wake(&workload, false),
            Ok(News::Woken(workloads)) => workloads.iter().for_each(|workload| self.wake(workload, true)),
            Ok(News::WentBack) => self.went_back(),
            Err(problem) => {
                // Who leads writes the plan over it.
                key.strip_prefix("plan.").into_iter().for_each(|workload| self.wake(workload, false));
                self.problems.tell_unreadable(problem);
            }
        }
    }

    fn wake(&self, workload: &str, woken: bool) {
        let Some(of) = self.workplaces.lock().get(workload).cloned() else { return };
        of.woken_elsewhere.fetch_or(woken, Relaxed);
        of.changed.notify_one();
    }

    /// Wakes workloads whose leader is silent, which one of them may take over; and those that this host leads, when it
    /// has just seen all hosts.
    fn wake_for_lead(&self, sees_all: bool) {
        let workplaces = self.workplaces.lock();
        let view = self.view.lock();
        for (workload, of) in &*workplaces {
            let leads = of.leads.load(Relaxed);
            if if leads { sees_all } else { view.is_leader_silent(workload) } {
                of.changed.notify_one();
            }
        }
    }

    /// What has to be watched now.
    fn watching(&self) -> Watching {
        let workplaces = self.workplaces.lock();
        if workplaces.values().any(|of| of.leads.load(Relaxed)) {
            return Watching::All;
        }
        let leaders = workplaces.values().filter_map(|of| of.leader.lock().clone());
        let hosts: BTreeSet<String> = leaders.collect();
        drop(workplaces);
        let me = self.view.lock().me().id.clone();
        Watching::Some(hosts.into_iter().chain([me]).collect())
    }

    /// What does not work, and what mends it.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problems.first()
    }

    /// Whether the bucket cannot be used. That another process has this host's id does not keep it from that.
    pub(super) fn is_cut_off(&self) -> bool {
        self.problems.cut_off()
    }

    /// What the settings of a workload come to here.
    pub(super) fn own_settings(&self, workload: &str) -> Option<Arc<Fingerprints>> {
        self.settings.lock().get(workload).cloned()
    }

    /// The settings of this host's workloads are others from now on.
    pub(crate) fn has_settings(&self, fingerprints: BTreeMap<String, Fingerprints>) {
        *self.settings.lock() = shared(fingerprints);
    }

    /// Shows the workers of a workload's plan by host, as far as one was seen.
    pub(crate) fn with_shares(&self, workload: &str, look: impl FnOnce(&BTreeMap<String, u32>)) {
        let view = self.view.lock();
        match view.plan(workload) {
            Some(plan) => look(&plan.shares),
            None => look(&BTreeMap::new()),
        }
    }

    /// The partitions of a workload that this host has by the last plan; `None` if it has never seen one.
    pub(crate) fn owned(&self, workload: &str) -> Option<BTreeSet<u32>> {
        let view = self.view.lock();
        Some(view.plan(workload)?.owners.get(&view.me().id).cloned().unwrap_or_default())
    }

    /// What can be seen of a workload.
    pub(crate) fn seen(&self, workload: &str) -> Seen {
        let leader = self.workplaces.lock().get(workload).and_then(|of| of.leader.lock().clone());
        let view = self.view.lock();
        let differ = self.own_settings(workload).map(|own| view.differ(workload, &own)).unwrap_or_default();
        let set = view.set_workers(workload).map(|(_, set)| set);
        Seen { plan: view.plan(workload).cloned(), leader, host: view.me().id.clone(), differ, set }
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet").field("bucket", &self.name).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// What a host has told of itself.
#[derive(Default)]
struct Telling {
    figures: Written,
    /// Until when figures stay in the entry, because they could not be written apart.
    together_until: Option<Instant>,
}

/// Waits no longer than is useful for an answer of the bucket.
pub(super) async fn answered<T>(asked: KvFuture<'_, T>) -> Result<T, KvError> {
    answered_within(ANSWER, asked).await
}

async fn answered_within<T>(patience: Duration, asked: KvFuture<'_, T>) -> Result<T, KvError> {
    let late = |_| Err(KvError::Unavailable(format!("no answer within {patience:?}")));
    timeout(patience, asked).await.unwrap_or_else(late)
}

fn shared(fingerprints: BTreeMap<String, Fingerprints>) -> BTreeMap<String, Arc<Fingerprints>> {
    fingerprints.into_iter().map(|(workload, of)| (workload, Arc::new(of))).collect()
}

/// What is left of `most` workers for a workload that wants `wanted` of `all`.
fn room(most: u32, all: u32, wanted: u32) -> u32 {
    most.saturating_sub(all.saturating_sub(wanted))
}

#[cfg(test)]
mod tests;
