//! Which partitions of its workloads a host works, where it is one of a fleet: those that the plan gives it. The others
//! rest, and cost nothing. A partition that goes to another host is drained here as a workload is that stops; the
//! server pins its consumer to one host at a time, and the next one begins nothing before all is settled or given back.

use std::collections::BTreeMap;
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
    states: Mutex<BTreeMap<u32, Weak<WorkloadState>>>,
    unable_until: Mutex<Option<Instant>>,
    /// Since when partitions that are this host's are cut off, by their number.
    cut_off: Mutex<BTreeMap<u32, Instant>>,
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

    /// Takes part in sharing out the partitions of a workload, until `stop` ends; then others get those of this host.
    /// `state` is of one of them: what is wrong with the fleet is told there.
    pub(crate) async fn share_out(&self, of: &Partition, state: &WorkloadState, stop: impl Future<Output = ()>) {
        let (spread, drain) = (self.spread(&of.workload), self.drain.clone());
        let seen = spread.clone();
        let report = move || {
            let room = match (drain.is_wanted(), seen.is_unable()) {
                (true, _) => owners::DRAINS,
                (false, true) => owners::UNABLE,
                (false, false) => owners::ABLE,
            };
            Report { room, running: seen.running(), ..Report::default() }
        };
        let mut member = Member::of_partitions(self.fleet.clone(), &of.workload, Box::new(report));
        tokio::select! {
            biased;
            () = stop => {}
            never = spread.follow(&mut member, of.count, state) => match never {},
        }
        if !member.is_cut_off() {
            // The plan gives others what this host had, and nobody follows it here meanwhile.
            spread.has.send_replace(Has::none());
        }
        member.leave().await;
    }
}

impl Spread {
    fn new() -> Arc<Self> {
        let has = Arc::new(watch::Sender::new(Has::none()));
        Arc::new(Self { has, states: Mutex::default(), unable_until: Mutex::default(), cut_off: Mutex::default() })
    }

    fn states(&self) -> Vec<(u32, Arc<WorkloadState>)> {
        let states = self.states.lock();
        states.iter().filter_map(|(number, state)| Some((*number, state.upgrade()?))).collect()
    }

    /// Partitions that run here.
    fn running(&self) -> u32 {
        u32::try_from(self.states().iter().filter(|(_, state)| state.running().is_some()).count()).unwrap_or(u32::MAX)
    }

    /// Whether a partition that is this host's cannot be worked here, or could not a short time ago: no worker starts,
    /// or its server does not let it.
    fn is_unable(&self) -> bool {
        let (now, states) = (Instant::now(), self.states());
        let stuck = |state: &WorkloadState| {
            let runs = state.running().is_some_and(|parts| parts.workers.running() > 0);
            !runs && state.conditions.all().iter().any(|(part, _)| *part == Part::Workers)
        };
        let cut_off = |state: &WorkloadState| {
            let parts = [Part::Connection, Part::Setup, Part::Pull, Part::Run];
            state.conditions.all().iter().any(|(part, _)| parts.contains(part))
        };
        let has = self.has.borrow().clone();
        let mut since = self.cut_off.lock();
        since.retain(|number, _| states.iter().any(|(of, state)| of == number && has.this(*of) && cut_off(state)));
        for (number, _) in states.iter().filter(|(of, state)| has.this(*of) && cut_off(state)) {
            since.entry(*number).or_insert(now);
        }
        let is_cut_off = since.values().any(|since| now.saturating_duration_since(*since) >= CUT_OFF);
        let mut until = self.unable_until.lock();
        if is_cut_off || states.iter().any(|(_, state)| stuck(state)) {
            *until = Some(now + UNABLE);
        }
        until.is_some_and(|until| until > now)
    }

    /// The host itself was cut off: what its partitions could not do meanwhile says nothing of it.
    fn was_away(&self) {
        self.cut_off.lock().clear();
    }

    /// Follows the plan, and makes it where this host leads.
    async fn follow(&self, member: &mut Member, count: u32, state: &WorkloadState) -> std::convert::Infallible {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = member.changed() => {}
            }
            if member.turn(true).await {
                member.commit(all_of(count)).await;
            }
            let has = member.partitions().map_or(Has::All, Has::These);
            self.has.send_if_modified(|before| std::mem::replace(before, has.clone()) != has);
            match member.problem() {
                Some(problem) => {
                    self.was_away();
                    state.conditions.raise(Part::Fleet, &problem);
                }
                None => state.conditions.clear(Part::Fleet),
            }
        }
    }
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
