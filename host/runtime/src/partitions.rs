//! Which partitions of its workloads a host works, where it is one of a fleet: those that the plan gives it. The others
//! rest, and cost nothing. A partition that goes to another host is drained here as a workload is that stops; the
//! server pins its consumer to one host at a time, and the next one begins nothing before all is settled or given back.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::conditions::Part;
use crate::config::Partition;
use crate::drain::Drain;
use crate::fleet::entries::{Report, Watched};
use crate::fleet::host::Fleet;
use crate::fleet::member::Member;
use crate::fleet::owners;
use crate::fleet::partition_place::{Has, PartitionPlace};
use crate::fleet::seat::Decided;
use crate::status::workload::WorkloadState;

/// How often the plan is looked at, and made by the host that leads.
const TICK: Duration = Duration::from_secs(1);
/// For how long a host gets no partitions where one could not be worked, as long as another can have them.
const UNABLE: Duration = Duration::from_secs(60);
/// For how long a partition has to be cut off from its server until it counts as one that cannot be worked: a client
/// that has lost its connection has it again by then.
const CUT_OFF: Duration = Duration::from_secs(15);

/// All workloads of this host that have partitions.
#[derive(Debug)]
pub(crate) struct Partitions {
    fleet: Arc<Fleet>,
    drain: Arc<Drain>,
    workloads: Mutex<BTreeMap<String, Arc<Spread>>>,
}

/// One workload that is spread over partitions.
#[derive(Debug)]
struct Spread {
    has: Arc<watch::Sender<Has>>,
    /// Whether the plugins of its first partition are loaded: without them this host could work none.
    loaded: watch::Sender<bool>,
    states: Mutex<BTreeMap<u32, Weak<WorkloadState>>>,
    unable: Mutex<Option<Unable>>,
    /// Since when partitions that are this host's are cut off, by their number.
    cut_off: Mutex<BTreeMap<u32, Instant>>,
    /// Since when the plan is for another number of partitions.
    differs: Mutex<Option<Instant>>,
}

/// That a partition could not be worked here.
#[derive(Debug, Clone, Copy)]
struct Unable {
    until: Instant,
    /// How many partitions there were then: what was wrong with those says nothing of others.
    count: Option<u32>,
}

impl Partitions {
    pub(crate) fn new(fleet: Arc<Fleet>, drain: Arc<Drain>) -> Self {
        Self { fleet, drain, workloads: Mutex::default() }
    }

    fn spread(&self, workload: &str) -> Arc<Spread> {
        self.workloads.lock().entry(workload.to_owned()).or_insert_with(Spread::new).clone()
    }

    /// The place of a partition, of which this can be seen.
    pub(crate) fn place(&self, partition: &Partition, state: &Arc<WorkloadState>) -> PartitionPlace {
        let spread = self.spread(&partition.workload);
        spread.states.lock().insert(partition.number, Arc::downgrade(state));
        PartitionPlace::new(partition.clone(), self.fleet.clone(), spread.has.clone())
    }

    /// The plugins of the first partition of a workload are loaded, or it ends.
    pub(crate) fn has_loaded(&self, first: &Partition, loaded: bool) {
        self.spread(&first.workload).loaded.send_replace(loaded);
    }

    /// Takes part in sharing out the partitions of a workload, until `stop` ends; then others get those of this host.
    /// Partitions that are started again meanwhile, as when the configuration is read again, stay where they are.
    pub(crate) async fn share_out(&self, workload: &str, stop: impl Future<Output = ()>) {
        let (spread, drain) = (self.spread(workload), self.drain.clone());
        let (seen, mut stop) = (spread.clone(), pin!(stop));
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = spread.is_loaded() => {}
        }
        let report = move || {
            let room = match (drain.is_wanted(), seen.is_unable()) {
                (true, _) => owners::DRAINS,
                (false, true) => owners::UNABLE,
                (false, false) => owners::ABLE,
            };
            let partition_workers = Some(seen.wanted());
            Report { room, running: seen.running(), partition_workers, partitions: seen.count(), ..Report::default() }
        };
        let mut member = Member::of_partitions(self.fleet.clone(), workload, Box::new(report));
        tokio::select! {
            biased;
            () = stop => {}
            never = spread.follow(&mut member) => match never {},
        }
        let is_cut_off = member.is_cut_off();
        member.leave().await;
        if !is_cut_off {
            // The plan gives others what this host had, and nobody follows it here meanwhile.
            spread.has.send_replace(Has::none());
        }
    }
}

impl Spread {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            has: Arc::new(watch::Sender::new(Has::none())),
            loaded: watch::Sender::new(false),
            states: Mutex::default(),
            unable: Mutex::default(),
            cut_off: Mutex::default(),
            differs: Mutex::default(),
        })
    }

    async fn is_loaded(&self) {
        // The sender is this one's.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    fn states(&self) -> Vec<(u32, Arc<WorkloadState>)> {
        let states = self.states.lock();
        states.iter().filter_map(|(number, state)| Some((*number, state.upgrade()?))).collect()
    }

    /// Partitions that run here.
    fn running(&self) -> u32 {
        u32::try_from(self.states().iter().filter(|(_, state)| state.running().is_some()).count()).unwrap_or(u32::MAX)
    }

    /// Workers that are wanted of the partitions here.
    fn wanted(&self) -> u32 {
        let of = |state: &WorkloadState| Some(state.place()?.counted(state.running()?.desired.get()));
        self.states().iter().filter_map(|(_, state)| of(state)).fold(0, u32::saturating_add)
    }

    /// Whether a partition that is this host's cannot be worked here, or could not a short time ago: no worker starts,
    /// or its server does not let it, or its consumer is refused, as where the stream maps its subjects otherwise.
    fn is_unable(&self) -> bool {
        let (now, states) = (Instant::now(), self.states());
        let stuck = |state: &WorkloadState| {
            let runs = state.running().is_some_and(|parts| parts.workers.running() > 0);
            !runs && state.conditions.all().iter().any(|(part, _)| *part == Part::Workers)
        };
        let cut_off = |state: &WorkloadState| {
            let parts = [Part::Connection, Part::Setup, Part::Pull, Part::Run];
            // A consumer that is paused is so at each host.
            state.running().is_some_and(|parts| parts.consumer.is_refused())
                || state.conditions.all().iter().any(|(part, _)| parts.contains(part))
        };
        let has = self.has.borrow().clone();
        let are_cut_off = states.iter().filter(|(number, state)| has.this(*number) && cut_off(state));
        let are_cut_off: BTreeSet<u32> = are_cut_off.map(|(number, _)| *number).collect();
        let mut since = self.cut_off.lock();
        since.retain(|number, _| are_cut_off.contains(number));
        are_cut_off.iter().for_each(|number| _ = since.entry(*number).or_insert(now));
        let is_cut_off = since.values().any(|since| now.saturating_duration_since(*since) >= CUT_OFF);
        let (mut unable, count) = (self.unable.lock(), self.count());
        if is_cut_off || states.iter().any(|(_, state)| stuck(state)) {
            *unable = Some(Unable { until: now + UNABLE, count });
        }
        unable.is_some_and(|unable| unable.until > now && (count.is_none() || unable.count == count))
    }

    /// How many partitions this host has the workload in; `None` for a moment where it is started again.
    fn count(&self) -> Option<u32> {
        self.first().map(|(count, _)| count)
    }

    /// What is told where the plan has been for another number of partitions than this host's for a while: hosts are
    /// changed one after the other.
    fn difference(&self, count: u32, planned: Option<u32>) -> Option<String> {
        let mut since = self.differs.lock();
        let Some(planned) = planned.filter(|planned| *planned != count) else {
            *since = None;
            return None;
        };
        let now = Instant::now();
        let lasted = now.saturating_duration_since(*since.get_or_insert(now));
        (lasted >= CUT_OFF).then(|| differs(count, planned))
    }

    /// The host itself was cut off: what its partitions could not do meanwhile says nothing of it.
    fn was_away(&self) {
        self.cut_off.lock().clear();
    }

    /// The first partition, as it is now, and how many there are. What is wrong with the fleet is told there.
    fn first(&self) -> Option<(u32, Arc<WorkloadState>)> {
        let state = self.states.lock().get(&0)?.upgrade()?;
        let count = state.workload.queue.partition.as_ref()?.count;
        Some((count, state))
    }

    /// Follows the plan, and makes it where this host leads.
    async fn follow(&self, member: &mut Member) -> Infallible {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = member.changed() => {}
            }
            // There is none for a moment where it is started again.
            let Some((count, state)) = self.first() else { continue };
            if member.turn(true).await {
                member.commit(all_of(count)).await;
            }
            let has = member.partitions().map_or(Has::All, Has::These);
            self.has.send_if_modified(|before| std::mem::replace(before, has.clone()) != has);
            match member.problem().or_else(|| self.difference(count, member.planned())) {
                Some(problem) => {
                    if member.is_cut_off() {
                        self.was_away();
                    }
                    state.conditions.raise(Part::Fleet, &problem);
                }
                None => state.conditions.clear(Part::Fleet),
            }
        }
    }
}

/// What is told where a host has another number of partitions than the plan.
fn differs(count: u32, planned: u32) -> String {
    format!(
        "the fleet has this workload in {planned} partitions, and this host in {count}, so it is given none; let \
         `partitions` be the same on all hosts, and as the stream maps its subjects"
    )
}

/// The decision that so many partitions are to be worked.
fn all_of(count: u32) -> Decided {
    Decided {
        desired: count,
        fold: None,
        watched: Watched::default(),
        rollout: None,
        running: 0,
        parts: None,
        set: None,
        partitions: true,
    }
}
