//! What a request changes, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::question::refusal;
use crate::clock::time_of_day;
use crate::config::nearest;
use crate::drain::DrainState;
use crate::fleet::host::Fleet;
use crate::jetstream::{Client, PauseError, Refusal};
use crate::scaling::count_override::SetCount;
use crate::status::http::View;
use crate::status::workload::WorkloadState;
use crate::subject::shown;
use crate::text::one_line;

type Answer = Result<Vec<u8>, Refusal>;

/// How many workers a workload has, and who says so.
#[derive(Serialize)]
struct WorkersStatus<'a> {
    workload: &'a str,
    host: &'a str,
    /// Workers wanted of all hosts of its fleet together; null where it is in none.
    fleet_desired: Option<u32>,
    /// Whether a person has set the number.
    set_by_person: bool,
    /// Workers wanted when this was asked; the rest follows.
    desired: u32,
    running: u32,
    min: u32,
    max: u32,
    /// What a person has set; null while the policy decides.
    set: Option<u32>,
    /// Until when; null: until it is ended, or the host ends.
    until_ms: Option<u64>,
}

/// The workload of this name.
pub(super) fn find(view: &View, name: &str) -> Result<Arc<WorkloadState>, Refusal> {
    view.workloads.get(name).ok_or_else(|| {
        let all = view.workloads.all();
        let names = all.iter().map(|state| state.workload.name.as_str());
        let meant = nearest(name, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        refusal(404, format!("this host has no workload `{}`{meant}", shown(name)))
    })
}

/// What becomes of a request that is about workers.
pub(super) enum Workers {
    /// It is answered.
    Said(Answer),
    /// It is for all hosts of this fleet.
    OfFleet(Arc<Fleet>, Arc<WorkloadState>),
}

/// Sets so many workers, or, with `None`, lets the policy decide again; of this host, if it is in no fleet.
pub(super) fn set_workers(view: &View, name: &str, set: Option<(u32, Option<Duration>)>) -> Workers {
    match find_to_set(view, name, set.map(|(count, _)| count)) {
        Err(refusal) => Workers::Said(Err(refusal)),
        Ok((state, Some(fleet))) => Workers::OfFleet(fleet, state),
        Ok((state, None)) => {
            match set {
                Some((count, last)) => {
                    let set = state.chosen.set(count, last);
                    tracing::info!(workload = name, "{}; the policy is asked on, and not heard", set.reason());
                }
                None if state.chosen.end() => {
                    tracing::info!(workload = name, "a person lets the policy decide again");
                }
                None => {}
            }
            Workers::Said(workers(&view.id, &state))
        }
    }
}

type Found = (Arc<WorkloadState>, Option<Arc<Fleet>>);

fn find_to_set(view: &View, name: &str, count: Option<u32>) -> Result<Found, Refusal> {
    let state = find(view, name)?;
    let max = state.workload.scale.max;
    if let Some(count) = count.filter(|count| *count > max) {
        return Err(refusal(400, format!("{count} workers are more than scale.max, which is {max} for {name}")));
    }
    // One that keeps an order is worked by one host at a time, which decides alone.
    let is_shared = view.in_fleet && state.workload.order.is_none();
    let fleet = state.running().and_then(|parts| parts.fleet.clone());
    if is_shared && fleet.is_none() {
        return Err(refusal(503, format!("{name} does not run here yet: ask again, or another host of the fleet")));
    }
    Ok((state, fleet))
}

/// The same for all hosts of a fleet, by its bucket.
pub(super) async fn set_workers_of_fleet(
    (fleet, state, host): (Arc<Fleet>, Arc<WorkloadState>, String),
    set: Option<(u32, Option<Duration>)>,
) -> Answer {
    let name = &state.workload.name;
    let done = match set {
        Some((count, last)) => fleet.set_workers(name, count, last).await.map(|set| {
            let reason = SetCount::of(set.count, set.until_ms).reason();
            tracing::info!(workload = name, "{reason} for all hosts; the policy is asked on, and not heard");
        }),
        None => fleet.free_workers(name).await.map(|()| {
            tracing::info!(workload = name, "a person lets the policy decide again for all hosts");
        }),
    };
    done.map_err(|error| refusal(502, error.to_string()))?;
    workers(&host, &state)
}

fn workers(host: &str, state: &WorkloadState) -> Answer {
    let (set, parts) = (state.set_workers(), state.running());
    let plan = parts.as_ref().and_then(|parts| parts.fleet.as_ref()).map(|fleet| fleet.seen(&state.workload.name).plan);
    said(&WorkersStatus {
        workload: &state.workload.name,
        host,
        fleet_desired: plan.map(|plan| plan.map_or(0, |plan| plan.desired)),
        set_by_person: set.is_some(),
        desired: parts.as_ref().map_or(0, |parts| parts.desired.get()),
        running: parts.as_ref().map_or(0, |parts| parts.workers.running()),
        min: state.workload.scale.min,
        max: state.workload.scale.max,
        set: set.map(|set| set.count),
        until_ms: set.and_then(|set| set.until_ms),
    })
}

pub(super) fn drain(view: &View, drained: bool) -> Answer {
    view.drain.set(drained);
    let (drain, left) = match view.drain.state() {
        DrainState::No => ("no", 0),
        DrainState::Draining(left) => ("draining", left),
        DrainState::Drained => ("drained", 0),
    };
    said(&json!({ "host": view.id, "drain": drain, "workloads_left": left }))
}

/// Pauses a workload for a time or until that is ended, or, with `None`, ends that.
pub(super) async fn pause(client: Client, state: Arc<WorkloadState>, pause: Option<Option<Duration>>) -> Answer {
    let (name, queue) = (&state.workload.name, &state.workload.queue);
    let paused = match pause {
        Some(last) => {
            let until = last.and_then(|last| time_of_day().checked_add(last));
            client.pause(&queue.stream, &queue.consumer, until).await
        }
        None => client.resume(&queue.stream, &queue.consumer).await,
    };
    let paused = paused.map_err(|error| {
        let code = match &error {
            PauseError::NoConsumer { .. } => 404,
            PauseError::TooOld { .. } => 501,
            PauseError::Denied { .. } | PauseError::Server(_) => 502,
        };
        refusal(code, one_line(&error.to_string()))
    })?;
    tracing::info!(workload = name, paused = paused.paused, "a person has asked for it by NATS");
    said(&json!({ "workload": name, "paused": paused.paused, "until": paused.until }))
}

fn said(value: &impl Serialize) -> Answer {
    serde_json::to_vec(value).map_err(|error| refusal(500, error.to_string()))
}
