//! What can be seen of one workload: whether it runs, what it counted and decided, what keeps it from flowing.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::conditions::Conditions;
use crate::config::Workload;
use crate::delivery::attempts::Attempts;
use crate::delivery::consumer_settings::Effective;
use crate::delivery::counters::Traffic;
use crate::delivery::order::seen::KeysSeen;
use crate::delivery::rate_limit::RateLimit;
use crate::delivery::start_limits::{StartGate, StartStatus};
use crate::fleet::host::Fleet;
use crate::fleet::partition_place::PartitionPlace;
use crate::jetstream::Client;
use crate::plugin::{Generation, GuestsSeen, Used};
use crate::rollout::seen::Rollouts;
use crate::scaling::count_override::{CountOverride, SetCount};
use crate::scaling::handover::Handover;
use crate::scaling::history::{History, Shadowed};
use crate::scaling::workers::{Desired, Workers};

/// One workload, from the moment that it is configured.
#[derive(Debug)]
pub struct WorkloadState {
    /// What was configured.
    pub workload: Workload,
    /// What keeps it from flowing now.
    pub(crate) conditions: Arc<Conditions>,
    /// What has been decided about the number of its workers.
    pub history: Arc<History>,
    /// What a person has set instead of its policy.
    pub(crate) chosen: Arc<CountOverride>,
    /// Where its scaling had got to when it was stopped last.
    pub(crate) handover: Arc<Handover>,
    /// What is known of earlier attempts at its messages.
    pub(crate) attempts: Arc<Attempts>,
    guests: Vec<GuestsSeen>,
    running: Mutex<Option<Arc<RunningParts>>>,
    /// Its connection, where that is not the host's.
    client: Mutex<Option<Client>>,
    rollouts: OnceLock<Arc<dyn Rollouts>>,
    place: OnceLock<PartitionPlace>,
}

/// The parts of a workload that runs, each of which counts what it does.
#[derive(Debug)]
pub struct RunningParts {
    /// Its workers.
    pub workers: Arc<Workers>,
    /// How many are wanted.
    pub(crate) desired: Arc<Desired>,
    /// What was said to the server.
    pub(crate) traffic: Arc<Traffic>,
    /// When instances were made anew.
    pub respawns: Arc<RateLimit>,
    /// The fleet that the host is one of.
    pub(crate) fleet: Option<Arc<Fleet>>,
    /// The order of its keys, if one is kept.
    pub(crate) order: Option<Arc<KeysSeen>>,
    /// Its keys, if few of each are handled at once.
    pub(crate) per_key: Option<Arc<KeysSeen>>,
    /// What lets deliveries begin; `None` where nothing is limited.
    pub(crate) starts: Option<Arc<StartGate>>,
    /// What is known of its consumer.
    pub(crate) consumer: Arc<Effective>,
}

impl RunningParts {
    /// What its limits say now, if it has any.
    pub(crate) fn limits(&self) -> Option<StartStatus> {
        self.starts.as_ref().map(|starts| starts.status())
    }

    /// Whether its consumer is paused, as far as was last looked.
    pub(crate) fn is_paused(&self) -> bool {
        self.consumer.is_held()
    }
}

impl WorkloadState {
    /// A workload that does not run yet, of whose guests this can be seen.
    pub fn new(workload: Workload, guests: Vec<GuestsSeen>) -> Arc<Self> {
        let conditions = Conditions::new(workload.name.as_str().into());
        Arc::new(Self {
            workload,
            conditions,
            guests,
            running: Mutex::default(),
            client: Mutex::default(),
            history: Arc::default(),
            chosen: Arc::default(),
            handover: Arc::default(),
            attempts: Arc::default(),
            rollouts: OnceLock::new(),
            place: OnceLock::new(),
        })
    }

    /// The same, going on from a workload of its name that is stopped: what was decided, and what is known of its
    /// messages, if it has the same ones.
    pub(crate) fn after(workload: Workload, guests: Vec<GuestsSeen>, before: &Self) -> Arc<Self> {
        let (old, new) = (&before.workload.queue, &workload.queue);
        let is_same =
            (&old.stream, &old.consumer, &before.workload.nats) == (&new.stream, &new.consumer, &workload.nats);
        let attempts = if is_same { before.attempts.clone() } else { Arc::default() };
        if workload.shadow != before.workload.shadow {
            before.history.shadow(|shadowed| *shadowed = Shadowed::default());
        }
        Arc::new(Self {
            conditions: Conditions::new(workload.name.as_str().into()),
            workload,
            guests,
            running: Mutex::default(),
            client: Mutex::default(),
            history: before.history.clone(),
            chosen: before.chosen.clone(),
            handover: before.handover.clone(),
            attempts,
            rollouts: OnceLock::new(),
            place: OnceLock::new(),
        })
    }

    /// It is a partition, which the fleet gives to one of its hosts.
    pub(crate) fn has_place(&self, place: PartitionPlace) {
        // It is set once, for a workload is kept once.
        let _ = self.place.set(place);
    }

    /// Its place, where it is a partition and the host is one of a fleet.
    pub(crate) fn place(&self) -> Option<&PartitionPlace> {
        self.place.get()
    }

    /// Whether it rests here, for the fleet has given it to another host.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.place().is_some_and(|place| !place.has())
    }

    /// Its handler's new generations take over by these.
    pub(crate) fn rolls_out(&self, rollouts: Arc<dyn Rollouts>) {
        // It is set once, for a workload is configured once.
        let _ = self.rollouts.set(rollouts);
    }

    /// By what its handler's new generations take over; `None` where they do at once.
    pub(crate) fn rollouts(&self) -> Option<&dyn Rollouts> {
        self.rollouts.get().map(AsRef::as_ref)
    }

    /// The same, for who asks later.
    pub(crate) fn shared_rollouts(&self) -> Option<Arc<dyn Rollouts>> {
        self.rollouts.get().cloned()
    }

    /// How many workers a person has set, for this host or for all of its fleet.
    pub(crate) fn set_workers(&self) -> Option<SetCount> {
        let fleet = self.running().and_then(|parts| parts.fleet.clone());
        match fleet {
            Some(fleet) => fleet.seen(&self.workload.name).set.map(|set| SetCount::of(set.count, set.until_ms)),
            None => self.chosen.get(),
        }
    }

    /// It has this connection from now on, if it has one of its own.
    pub(crate) fn connects(&self, client: Option<&Client>) {
        *self.client.lock() = client.cloned();
    }

    /// Its connection, where that is not the host's and there is one.
    pub(crate) fn own_client(&self) -> Option<Client> {
        self.client.lock().clone()
    }

    /// It runs from now on.
    pub(crate) fn runs(&self, parts: RunningParts) {
        *self.running.lock() = Some(Arc::new(parts));
    }

    /// It does not run any more. What its parts have counted is gone, and so is what was seen of its consumer; a run
    /// after this one counts and looks anew.
    pub(crate) fn ended(&self) {
        *self.running.lock() = None;
        *self.client.lock() = None;
        self.history.looks_no_more();
    }

    /// Its parts, if it runs.
    pub fn running(&self) -> Option<Arc<RunningParts>> {
        self.running.lock().clone()
    }

    /// Log lines of its guests that were dropped.
    pub(crate) fn lines_dropped(&self) -> u64 {
        self.guests.iter().map(|guests| guests.dropped_lines.load(Relaxed)).sum()
    }

    /// What its guests use, by generation. Where a plugin is its policy and its shadow, each generation is told once.
    pub(crate) fn used(&self) -> Vec<(Generation, Used)> {
        let mut all: Vec<(Generation, Used)> = Vec::new();
        for (generation, used) in self.guests.iter().flat_map(|guests| guests.usage.all()) {
            match all.iter_mut().find(|(of, _)| *of == generation) {
                Some((_, sum)) => *sum = *sum + used,
                None => all.push((generation, used)),
            }
        }
        all
    }
}
