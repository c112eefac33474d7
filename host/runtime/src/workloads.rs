//! The workloads of a host while it runs: each has a task, and is started, drained, or drained and started again as the
//! configuration becomes another. The others do not notice.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::conditions::Part;
use crate::config::{Change, Nats, SignalSource, Workload};
use crate::plugin::Directory;
use crate::restart::{Keeper, KeptWorkload, stopped};
use crate::status::workload_list::WorkloadList;

/// How long the plugins of a changed workload may take to load before it is told that it waits for them.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long settlements may take after the workers have ended: a server that is away must not keep what is to end.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// How long workloads may take to stop. A puller that stops waits for its last pull to end.
pub(crate) fn stop_within<'a>(grace: Duration, workloads: impl IntoIterator<Item = &'a Workload>) -> Duration {
    let longest = workloads.into_iter().map(|workload| workload.pull.expires).max().unwrap_or_default();
    grace.max(longest) + SETTLE_WITHIN
}

/// All workloads that run, or drain.
pub(crate) struct RunningWorkloads {
    shared: Arc<Shared>,
    /// What each is to be; `None` where it is to end.
    wanted: BTreeMap<String, watch::Sender<Option<Workload>>>,
    /// Whose partitions are shared out, by the name as it is written; that ends when its sender is dropped.
    shared_out: BTreeMap<String, watch::Sender<bool>>,
    tasks: JoinSet<()>,
}

/// What the tasks of all workloads need.
pub(crate) struct Shared {
    pub(crate) keeper: Keeper,
    pub(crate) directory: Arc<Directory>,
    /// Where they can be seen.
    pub(crate) list: Arc<WorkloadList>,
    /// Whether the host stops.
    pub(crate) stops: watch::Receiver<bool>,
    /// How long workers may take to finish.
    pub(crate) grace: Duration,
    pub(crate) turns: Turns,
}

/// What a workload becomes.
enum Next {
    /// The host stops.
    Stopped,
    Removed,
    Changed(Box<KeptWorkload>),
}

impl RunningWorkloads {
    /// Starts these.
    pub(crate) fn start(shared: Shared, workloads: Vec<KeptWorkload>) -> Self {
        let (wanted, shared_out) = (BTreeMap::new(), BTreeMap::new());
        let mut running = Self { shared: Arc::new(shared), wanted, shared_out, tasks: JoinSet::new() };
        workloads.into_iter().for_each(|kept| running.add(kept));
        running.share_out();
        running
    }

    /// Carries out what has changed. Returns at once; what drains goes on.
    pub(crate) fn carry_out(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Added(workload) => self.add(KeptWorkload::new(&self.shared.directory, *workload)),
                Change::Removed(name) => {
                    if let Some(wanted) = self.wanted.remove(&name) {
                        wanted.send_replace(None);
                    }
                }
                Change::Restarted { workload, .. } => {
                    if let Some(wanted) = self.wanted.get(&workload.name) {
                        wanted.send_replace(Some(*workload));
                    }
                }
                Change::Held { .. } | Change::HostRestart(_) => {}
            }
        }
        self.share_out();
        while self.tasks.try_join_next().is_some() {}
    }

    /// Has the partitions shared out of all that have some.
    fn share_out(&mut self) {
        let name = |wanted: &watch::Sender<Option<Workload>>| {
            let workload = wanted.borrow();
            Some(workload.as_ref()?.queue.partition.as_ref()?.workload.clone())
        };
        let names: BTreeSet<String> = self.wanted.values().filter_map(name).collect();
        self.shared_out.retain(|name, _| names.contains(name));
        for name in names {
            let Entry::Vacant(place) = self.shared_out.entry(name.clone()) else { continue };
            let (goes_on, ends) = watch::channel(false);
            place.insert(goes_on);
            let shared = self.shared.clone();
            self.tasks.spawn(async move {
                let stop = async {
                    tokio::select! {
                        () = stopped(ends) => {}
                        () = stopped(shared.stops.clone()) => {}
                    }
                };
                shared.keeper.share_out(&name, stop).await;
            });
        }
    }

    fn add(&mut self, kept: KeptWorkload) {
        let (name, shared) = (kept.state.workload.name.clone(), self.shared.clone());
        let (wanted, changes) = watch::channel(Some(kept.state.workload.clone()));
        self.wanted.insert(name, wanted);
        self.tasks.spawn(async move { shared.tend(kept, changes).await });
    }

    /// Waits until all have stopped, once the host stops.
    pub(crate) async fn stopped(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Shared {
    /// Runs a workload, as whatever it becomes, until it is removed or the host stops.
    async fn tend(&self, mut kept: KeptWorkload, mut wanted: watch::Receiver<Option<Workload>>) {
        loop {
            let turn = tokio::select! {
                turn = self.turns.take(&kept.state.workload) => turn,
                () = stopped(self.stops.clone()) => return,
                // Before it has begun.
                next = next(&mut wanted, &kept.state.workload) => match next {
                    None => return self.list.remove(&kept.state),
                    Some(workload) => {
                        kept = KeptWorkload::after(&self.directory, workload, &kept.state);
                        continue;
                    }
                },
            };
            self.list.put(&kept.state);
            let next = self.run(&kept, &mut wanted).await;
            drop(turn);
            match next {
                Next::Stopped => return,
                Next::Removed => return self.list.remove(&kept.state),
                Next::Changed(next) => {
                    next.take_over(&kept);
                    kept = *next;
                }
            }
        }
    }

    /// Runs a workload until it is to become another, and drains it.
    async fn run(&self, kept: &KeptWorkload, wanted: &mut watch::Receiver<Option<Workload>>) -> Next {
        let stop = watch::Sender::new(false);
        let mut run = pin!(self.keeper.keep(kept, stop.subscribe()));
        let next = tokio::select! {
            // It ends only when it is told to.
            () = &mut run => return Next::Stopped,
            () = stopped(self.stops.clone()) => Next::Stopped,
            next = self.next(kept, wanted) => next,
        };
        stop.send_replace(true);
        let name = kept.state.workload.name.as_str();
        match next {
            // The host says so for all.
            Next::Stopped => {
                run.await;
                return next;
            }
            Next::Removed => tracing::info!(workload = name, "draining: it was removed"),
            Next::Changed(_) => tracing::info!(workload = name, "draining: it was changed, and starts again"),
        }
        if timeout(stop_within(self.grace, [&kept.state.workload]), run).await.is_err() {
            tracing::warn!(
                workload = name,
                "the server does not take what is to be settled or given back; \
                it will deliver that again after its ack wait"
            );
        }
        next
    }

    /// What a workload becomes that runs as `kept`. One that is changed goes on as it is until the plugins are loaded
    /// that it then needs.
    async fn next(&self, kept: &KeptWorkload, wanted: &mut watch::Receiver<Option<Workload>>) -> Next {
        let state = &kept.state;
        loop {
            let Some(workload) = next(wanted, &state.workload).await else { return Next::Removed };
            let next = KeptWorkload::after(&self.directory, workload, state);
            let mut others = wanted.clone();
            let loaded = async {
                if state.running().is_none() || timeout(PATIENCE, next.loaded()).await.is_ok() {
                    return;
                }
                loop {
                    let missing = next.missing();
                    if missing.is_empty() {
                        return;
                    }
                    state.conditions.raise(Part::Reload, &waits_for(&missing));
                    if missing.len() > 1 { next.one_loaded().await } else { next.loaded().await }
                }
            };
            tokio::select! {
                () = loaded => return Next::Changed(Box::new(next)),
                // An error means that the host stops.
                Ok(()) = others.changed() => state.conditions.clear(Part::Reload),
            }
        }
    }
}

/// What is told of a workload that waits for these plugins.
fn waits_for(missing: &[String]) -> String {
    let missing = missing.join(" and ");
    format!("it was changed, and waits for {missing} to be loaded; until then it goes on as it was")
}

/// Waits until a workload is to be another than it is, or to end.
async fn next(wanted: &mut watch::Receiver<Option<Workload>>, is: &Workload) -> Option<Workload> {
    loop {
        if wanted.changed().await.is_err() {
            // Only the host's end drops the sender without a word.
            return std::future::pending().await;
        }
        let now = wanted.borrow_and_update().clone();
        if now.as_ref() != Some(is) {
            return now;
        }
    }
}

/// Who may run now: of one name, and on one consumer, one workload at a time. What is new waits for what drains.
#[derive(Default)]
pub(crate) struct Turns(Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<()>>>>);

/// A stream's consumer on a connection, or a workload by its name, which has no stream.
type Place = (Option<Nats>, String, String);

impl Turns {
    /// Waits for everything that a workload needs. It is given back when the answer is dropped.
    async fn take(&self, workload: &Workload) -> Vec<OwnedMutexGuard<()>> {
        let mut turns = Vec::new();
        // In one order, so that two that wait for each other's do not wait for ever.
        for place in places(workload) {
            let turn = {
                let mut all = self.0.lock();
                all.retain(|_, turn| Arc::strong_count(turn) > 1);
                all.entry(place).or_default().clone()
            };
            turns.push(turn.lock_owned().await);
        }
        turns
    }
}

fn places(workload: &Workload) -> Vec<Place> {
    let queue = &workload.queue;
    let consumer = |name: &String| (workload.nats.clone(), queue.stream.clone(), name.clone());
    let mut places = vec![(None, String::new(), workload.name.clone()), consumer(&queue.consumer)];
    if workload.scale.source == SignalSource::Headers {
        places.push(consumer(&queue.watch_consumer));
    }
    places.sort();
    places
}
