use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::health;
use super::rollout::{self, RolloutStatus};
use super::view::View;
use crate::config::Partition;
use crate::contract::Observation;
use crate::contract::{Cause, FaultKind};
use crate::delivery::start_limits::StartStatus;
use crate::digest::Digest;
use crate::drain::DrainState;
use crate::duration::unix_millis;
use crate::fleet::entries::Plan;
use crate::fleet::host::Seen;
use crate::fleet::partition_place::PartitionPlace;
use crate::jetstream::Client;
use crate::plugin::{Kind, PluginState};
use crate::reload::ReloadSeen;
use crate::scaling::history::{Decided, Shadowed};
use crate::status::workload::{RunningParts, WorkloadState};

/// The workers of a workload that are told where all of them are too many for a message.
const SHOWN: usize = 100;

/// What a host does. Times are milliseconds, or milliseconds since the Unix epoch where the name ends in `at_ms`.
#[derive(Serialize)]
pub(super) struct Status {
    host: String,
    /// What it is called by others.
    id: String,
    version: &'static str,
    ready: bool,
    /// What keeps it from being ready.
    problems: Vec<String>,
    /// `no`, `draining` or `drained`.
    drain: &'static str,
    nats: NatsStatus,
    workloads: Vec<WorkloadStatus>,
    plugins: Vec<PluginStatus>,
    /// Null where the host does not read its configuration again.
    configuration: Option<ConfigurationStatus>,
    /// The place of the first workload that did not fit into a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<usize>,
}

/// What became of the configuration when it was read last.
#[derive(Serialize)]
struct ConfigurationStatus {
    /// How often it was read since the host was started.
    reloads: u64,
    /// What is wrong with it, so that the host goes on with the one before.
    problems: Vec<String>,
    /// What is another and applies only after a restart of the host.
    after_restart: Vec<String>,
}

#[derive(Serialize)]
struct NatsStatus {
    connected: bool,
    /// None before the first connection.
    server_version: Option<String>,
    reconnects: u64,
}

#[derive(Serialize)]
struct WorkloadStatus {
    name: String,
    stream: String,
    consumer: String,
    /// Its connection; null where that is the host's.
    nats: Option<NatsStatus>,
    /// Only of a partition of a workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<PartitionStatus>,
    running: bool,
    /// Whether its consumer is paused, when last looked.
    paused: bool,
    /// What keeps it from flowing, by the part that does not work.
    problems: BTreeMap<&'static str, String>,
    handler: String,
    workers: WorkersStatus,
    /// Null where nothing is limited.
    limits: Option<LimitsStatus>,
    /// Null where no order is kept.
    order: Option<OrderStatus>,
    /// Null where any number of a key may be handled at once.
    per_key: Option<PerKeyStatus>,
    deliveries: BTreeMap<&'static str, u64>,
    dead_letters: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    scaling: ScalingStatus,
    /// Only where rollout.share is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutStatus>,
    /// Only in a fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetStatus>,
}

/// What the host knows of the plan that it follows. `min` and `max` of the workers are the fleet's.
#[derive(Serialize)]
struct FleetStatus {
    /// This host's id.
    host: String,
    /// The host that asks the policy; none while nobody is known to.
    leader: Option<String>,
    /// Which plan it is; none while none was seen.
    epoch: Option<u64>,
    /// Workers that all hosts together are to run.
    desired: u32,
    /// The same by host.
    shares: BTreeMap<String, u32>,
    /// The keys of the workload's settings that the leader has otherwise than this host.
    differ: Vec<String>,
}

#[derive(Serialize)]
struct PartitionStatus {
    /// The workload as it is written.
    workload: String,
    /// Which of its partitions it is, from 0.
    number: u32,
    /// How many there are.
    count: u32,
    /// The host of the fleet that has it by the plan; null where none has, or without a fleet.
    host: Option<String>,
}

#[derive(Serialize)]
struct LimitsStatus {
    /// Deliveries in handlers now.
    in_flight: usize,
    /// `closed`, or `open` while it has slowed to probes; null without one.
    breaker: Option<&'static str>,
    /// How often it has slowed to probes.
    breaker_opened: u64,
    /// The part of `rate` and `max-in-flight` that this host of a fleet has, from 0 to 1; 1 where it has all.
    part: f64,
}

#[derive(Serialize)]
struct PerKeyStatus {
    /// Keys of which a message is held: being handled, or waiting.
    keys: usize,
    /// Deliveries that wait for others of their key.
    waiting: usize,
}

#[derive(Serialize)]
struct OrderStatus {
    /// Keys of which a message is held: in a handler, or waiting.
    keys: usize,
    /// Deliveries that wait for an earlier message of their key, or to be tried again.
    waiting: usize,
    /// How often nothing began because deliveries were not with this host.
    gaps: u64,
    /// Whether another host is given the messages, as far as is known.
    standby: bool,
}

#[derive(Serialize)]
struct WorkersStatus {
    min: u32,
    max: u32,
    desired: u32,
    running: u32,
    /// What a person has set in place of the policy; null while that decides.
    set: Option<SetStatus>,
    /// Those that drain among them.
    alive: Vec<WorkerStatus>,
}

#[derive(Serialize)]
struct SetStatus {
    count: u32,
    /// Null: until somebody ends it, or the host ends.
    until_at_ms: Option<u64>,
}

#[derive(Serialize)]
struct WorkerStatus {
    worker: u64,
    /// The generation of the handler that it runs; null before its first instance.
    generation: Option<String>,
    handling: bool,
    acked: u64,
    alive_ms: u64,
}

#[derive(Serialize)]
struct ScalingStatus {
    policy: String,
    generation: Option<String>,
    /// Why the newest generation of the policy is not in use.
    refused: Option<String>,
    source: &'static str,
    decisions: u64,
    failures: u64,
    /// Why the last tick ended without a decision.
    problem: Option<String>,
    observation: Option<SeenStatus>,
    /// Newest first; a row of the same decision is told once.
    last_decisions: Vec<DecisionStatus>,
    shadow: Option<ShadowStatus>,
}

#[derive(Serialize)]
struct ShadowStatus {
    policy: String,
    generation: Option<String>,
    decisions: u64,
    /// Decisions that would have given another number of workers.
    differing: u64,
    failures: u64,
    missed: u64,
    /// Why the last tick ended without a decision, or why the newest generation is not in use.
    problem: Option<String>,
    count: Option<u32>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct SeenStatus {
    arrival_rate: f64,
    completion_rate: f64,
    pending: u64,
    ack_pending: u64,
    redelivered: u64,
    oldest_pending_ms: Option<u64>,
    idle_ms: Option<u64>,
    failure_ratio: f64,
    busy_ratio: f64,
    service_time_ms: f64,
    /// Whether a limit, and not the number of workers, keeps messages waiting.
    limited: bool,
    /// Of how many keys messages wait or are handled, where an order is kept and no others can come.
    keys_waiting: Option<u32>,
}

#[derive(Serialize)]
struct DecisionStatus {
    at_ms: u64,
    desired: u32,
    count: u32,
    /// Why it was made first, and last.
    reason: String,
    latest_reason: String,
    times: u64,
}

#[derive(Serialize)]
struct PluginStatus {
    plugin: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
    generation: Option<String>,
    loaded: u64,
    refused: u64,
    problem: Option<String>,
    /// Only where some workloads have it otherwise than others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_workload: Vec<PluginUse>,
}

/// What some workloads have of a plugin.
#[derive(Serialize)]
struct PluginUse {
    workloads: BTreeSet<String>,
    pinned: Option<String>,
    generation: Option<String>,
    problem: Option<String>,
}

/// The status of a host now.
pub(super) fn of(view: &View) -> Status {
    let problems = health::ready(view);
    Status {
        host: view.host.clone(),
        id: view.id.clone(),
        version: env!("CARGO_PKG_VERSION"),
        ready: problems.is_empty(),
        problems,
        drain: match view.drain.state() {
            DrainState::No => "no",
            DrainState::Draining(_) => "draining",
            DrainState::Drained => "drained",
        },
        nats: nats(view.connection.get()),
        workloads: view.workloads.all().iter().map(|state| workload(state)).collect(),
        configuration: view.source.seen().map(configuration),
        plugins: view.directory.plugins().into_iter().map(plugin).collect(),
        next: None,
    }
}

fn nats(client: Option<&Client>) -> NatsStatus {
    NatsStatus {
        connected: client.is_some_and(Client::is_connected),
        server_version: client.map(Client::server_version),
        reconnects: client.map_or(0, Client::reconnects),
    }
}

fn configuration(ReloadSeen { reloads, problems, after_restart }: ReloadSeen) -> ConfigurationStatus {
    ConfigurationStatus { reloads, problems, after_restart }
}

/// The same as JSON of at most so many bytes, with the workloads from this place on as far as they fit.
pub(crate) fn page_of(view: &View, from: usize, most: usize) -> Vec<u8> {
    let mut status = of(view);
    let workloads = std::mem::take(&mut status.workloads);
    // What stands around the list, and the place of the next.
    let mut room = most.saturating_sub(bytes(&status).len() + 64);
    for (place, mut workload) in workloads.into_iter().enumerate().skip(from) {
        let mut size = bytes(&workload).len() + 1;
        if size > room && status.workloads.is_empty() {
            workload.workers.alive.truncate(SHOWN);
            size = bytes(&workload).len() + 1;
        }
        let Some(rest) = room.checked_sub(size) else {
            status.next = Some(place);
            break;
        };
        room = rest;
        status.workloads.push(workload);
    }
    bytes(&status)
}

/// One workload as JSON of at most so many bytes.
pub(crate) fn workload_of(state: &WorkloadState, most: usize) -> Option<Vec<u8>> {
    let mut status = workload(state);
    let whole = bytes(&status);
    if whole.len() <= most {
        return Some(whole);
    }
    status.workers.alive.truncate(SHOWN);
    Some(bytes(&status)).filter(|short| short.len() <= most)
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no strings could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn workload(state: &WorkloadState) -> WorkloadStatus {
    let of = &state.workload;
    let parts = state.running();
    let parts = parts.as_deref();
    let tally = parts.map(|parts| parts.workers.tally()).unwrap_or_default();
    let alive = parts.map(|parts| parts.workers.alive()).unwrap_or_default();
    let scaling = state.history.scaling();
    WorkloadStatus {
        name: of.name.clone(),
        stream: of.queue.stream.clone(),
        consumer: of.queue.consumer.clone(),
        nats: of.nats.as_ref().map(|_| nats(state.own_client().as_ref())),
        partition: partition(state),
        running: parts.is_some(),
        paused: parts.is_some_and(RunningParts::is_paused),
        problems: state.conditions.all().into_iter().map(|(part, problem)| (part.as_str(), problem)).collect(),
        handler: of.handler.clone(),
        workers: WorkersStatus {
            min: of.scale.min,
            max: of.scale.max,
            desired: parts.map_or(0, |parts| parts.desired.get()),
            running: parts.map_or(0, |parts| parts.workers.running()),
            set: state.set_workers().map(|set| SetStatus { count: set.count, until_at_ms: set.until_ms }),
            alive: alive
                .into_iter()
                .map(|(worker, stats)| WorkerStatus {
                    worker,
                    generation: stats.generation().map(|digest| digest.whole().to_owned()),
                    handling: stats.is_handling(),
                    acked: stats.acked(),
                    alive_ms: stats.tally().work.alive_us / 1000,
                })
                .collect(),
        },
        limits: parts.and_then(RunningParts::limits).map(limits),
        order: parts.and_then(order),
        per_key: parts.and_then(per_key),
        deliveries: tally.outcomes().into_iter().chain([("redelivered", tally.redelivered)]).collect(),
        dead_letters: Cause::ALL.iter().map(|cause| cause.as_str()).zip(tally.dead).filter(|(_, n)| *n > 0).collect(),
        faults: FaultKind::ALL.iter().map(|kind| kind.as_str()).zip(tally.faults).filter(|(_, n)| *n > 0).collect(),
        scaling: ScalingStatus {
            policy: of.policy.clone(),
            generation: scaling.policy.map(|author| author.generation.whole().to_owned()),
            refused: scaling.refused,
            source: of.scale.source.as_str(),
            decisions: scaling.decisions,
            failures: scaling.failures,
            problem: scaling.problem,
            observation: scaling.seen.map(seen),
            last_decisions: scaling.last.into_iter().rev().map(decision).collect(),
            shadow: of.shadow.as_ref().map(|shadow| self::shadow(&shadow.policy, state.history.shadowed())),
        },
        rollout: state.rollouts().map(|rollouts| rollout::of(rollouts.seen())),
        fleet: parts.and_then(|parts| parts.fleet.as_ref()).map(|fleet| self::fleet(fleet.seen(&of.name))),
    }
}

fn partition(state: &WorkloadState) -> Option<PartitionStatus> {
    let Partition { workload, number, count, .. } = state.workload.queue.partition.clone()?;
    let host = state.place().and_then(PartitionPlace::owner);
    Some(PartitionStatus { workload, number, count, host })
}

fn fleet(Seen { plan, leader, host, differ, .. }: Seen) -> FleetStatus {
    let epoch = plan.as_ref().map(|plan| plan.epoch);
    let Plan { desired, shares, .. } = plan.unwrap_or_default();
    FleetStatus { host, leader, epoch, desired, shares, differ }
}

fn limits(StartStatus { in_flight, breaker_open, breaker_opened, part }: StartStatus) -> LimitsStatus {
    let breaker = breaker_open.map(|open| if open { "open" } else { "closed" });
    let part = part.map_or(1.0, |(part, of)| f64::from(part) / f64::from(of.max(1)));
    LimitsStatus { in_flight, breaker, breaker_opened, part }
}

fn order(parts: &RunningParts) -> Option<OrderStatus> {
    let (seen, standby) = (parts.order.as_ref()?, parts.consumer.is_standby());
    Some(OrderStatus { keys: seen.keys(), waiting: seen.waiting(), gaps: seen.incomplete(), standby })
}

fn per_key(parts: &RunningParts) -> Option<PerKeyStatus> {
    let seen = parts.per_key.as_ref()?;
    Some(PerKeyStatus { keys: seen.keys(), waiting: seen.waiting() })
}

fn shadow(policy: &str, shadowed: Shadowed) -> ShadowStatus {
    let Shadowed { policy: author, decisions, differing, failures, missed, problem, last } = shadowed;
    let (count, reason) = last.unzip();
    let generation = author.map(|author| author.generation.whole().to_owned());
    ShadowStatus {
        policy: policy.to_owned(),
        generation,
        decisions,
        differing,
        failures,
        missed,
        problem,
        count,
        reason,
    }
}

fn seen(seen: Observation) -> SeenStatus {
    SeenStatus {
        arrival_rate: seen.arrival_rate,
        completion_rate: seen.completion_rate,
        pending: seen.pending,
        ack_pending: seen.ack_pending,
        redelivered: seen.redelivered,
        oldest_pending_ms: seen.oldest_pending_ms,
        idle_ms: seen.idle_ms,
        failure_ratio: seen.failure_ratio,
        busy_ratio: seen.busy_ratio,
        service_time_ms: seen.service_time_ms,
        limited: seen.limited,
        keys_waiting: seen.keys_waiting,
    }
}

fn decision(Decided { at, desired, count, reason, latest_reason, times, .. }: Decided) -> DecisionStatus {
    DecisionStatus { at_ms: unix_millis(at), desired, count, reason, latest_reason, times }
}

fn plugin(state: PluginState) -> PluginStatus {
    let PluginState { plugin, kind, pin, generation, loaded, refused, problem, by_workload, .. } = state;
    let kind = match kind {
        Kind::Policy => "policy",
        Kind::Handler | Kind::Both => "handler",
    };
    PluginStatus {
        plugin,
        kind,
        pinned: pin.map(|digest| digest.whole().to_owned()),
        generation: generation.map(|digest| digest.whole().to_owned()),
        loaded,
        refused,
        problem,
        by_workload: by_workload.into_iter().map(plugin_use).collect(),
    }
}

fn plugin_use(PluginState { pin, generation, problem, workloads, .. }: PluginState) -> PluginUse {
    let whole = |digest: Digest| digest.whole().to_owned();
    PluginUse { workloads, pinned: pin.map(whole), generation: generation.map(whole), problem }
}
