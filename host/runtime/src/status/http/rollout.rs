//! What `/status` says of a workload's rollouts.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use crate::delivery::by_generation::CallSums;
use crate::duration::unix_millis;
use crate::rollout::seen::{Ended, Ending, RolloutSeen, TogetherSeen, TrialSeen};
use crate::rollout::trial::Measured;

#[derive(Serialize)]
pub(super) struct RolloutStatus {
    /// The generation that all workers run, but for those that try another.
    generation: Option<String>,
    /// Null while none is tried.
    trial: Option<TrialStatus>,
    /// How the last trial ended.
    last: Option<EndedStatus>,
    /// How many ended so.
    ended: BTreeMap<&'static str, u64>,
    /// Null where this host decides alone.
    fleet: Option<FleetRolloutStatus>,
}

#[derive(Serialize)]
struct FleetRolloutStatus {
    /// How many workers of each host run the generation that is tried.
    workers: BTreeMap<String, u32>,
    /// Hosts that do not have the generation that is tried, or else the one in use.
    without: Vec<String>,
}

#[derive(Serialize)]
struct TrialStatus {
    generation: String,
    began_at_ms: u64,
    elapsed_ms: u64,
    /// The workers that run it.
    workers: Vec<u64>,
    #[serde(flatten)]
    compared: Compared,
}

#[derive(Serialize)]
struct EndedStatus {
    generation: String,
    /// `promoted`, `rolled_back`, `aborted` or `replaced`.
    ending: &'static str,
    reason: String,
    at_ms: u64,
    #[serde(flatten)]
    compared: Compared,
}

#[derive(Serialize)]
struct Compared {
    new: Calls,
    old: Calls,
    /// How many times as often the new generation fails; null where the old one never does.
    failure_ratio: Option<f64>,
    /// How many times as often its calls end without an answer.
    fault_ratio: Option<f64>,
    /// How many times as long its calls take.
    slowdown: f64,
}

#[derive(Serialize)]
struct Calls {
    calls: u64,
    failed: u64,
    faulted: u64,
    /// Milliseconds of a call on average.
    service_time_ms: f64,
}

pub(super) fn of(seen: RolloutSeen) -> RolloutStatus {
    let RolloutSeen { generation, trial, last, ended, together } = seen;
    let fleet = together.map(|TogetherSeen { workers, without }| FleetRolloutStatus { workers, without });
    let ended = Ending::ALL.iter().map(|ending| ending.as_str()).zip(ended).collect();
    let generation = generation.map(|digest| digest.whole().to_owned());
    RolloutStatus { generation, trial: trial.map(going_on), last: last.map(has_ended), ended, fleet }
}

fn going_on(TrialSeen { generation, began, elapsed, workers, measured }: TrialSeen) -> TrialStatus {
    TrialStatus {
        generation: generation.whole().to_owned(),
        began_at_ms: unix_millis(began),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        workers,
        compared: compared(measured),
    }
}

fn has_ended(Ended { generation, ending, reason, at, measured }: Ended) -> EndedStatus {
    let at: SystemTime = at;
    EndedStatus {
        generation: generation.whole().to_owned(),
        ending: ending.as_str(),
        reason,
        at_ms: unix_millis(at),
        compared: compared(measured),
    }
}

fn compared(Measured { new, old, failure_ratio, fault_ratio, slowdown }: Measured) -> Compared {
    let finite = |ratio: f64| Some(ratio).filter(|ratio| ratio.is_finite());
    Compared {
        new: calls(new),
        old: calls(old),
        failure_ratio: finite(failure_ratio),
        fault_ratio: finite(fault_ratio),
        slowdown,
    }
}

fn calls(CallSums { calls, failed, faulted, timed, us }: CallSums) -> Calls {
    Calls { calls, failed, faulted, service_time_ms: us as f64 / 1e3 / timed.max(1) as f64 }
}
