//! What a request changes, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::question::refusal;
use crate::clock::time_of_day;
use crate::config::nearest;
use crate::drain::DrainState;
use crate::jetstream::{Client, PauseError, Refusal};
use crate::status::http::View;
use crate::status::workload::WorkloadState;
use crate::subject::shown;

type Answer = Result<Vec<u8>, Refusal>;

/// How many workers a workload has, and who says so.
#[derive(Serialize)]
struct Workers<'a> {
    workload: &'a str,
    host: &'a str,
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

pub(super) fn set_workers(view: &View, name: &str, count: u32, last: Option<Duration>) -> Answer {
    let state = find(view, name)?;
    if view.in_fleet {
        let why = "this host is one of a fleet, and its leader decides how many workers there are: change scale.min \
                   and scale.max of its hosts instead";
        return Err(refusal(409, why.to_owned()));
    }
    let max = state.workload.scale.max;
    if count > max {
        return Err(refusal(400, format!("{count} workers are more than scale.max, which is {max} for {name}")));
    }
    let set = state.chosen.set(count, last);
    tracing::info!(workload = name, "{}; the policy is asked on, and not heard", set.reason());
    workers(view, &state)
}

pub(super) fn free_workers(view: &View, name: &str) -> Answer {
    let state = find(view, name)?;
    if state.chosen.end() {
        tracing::info!(workload = name, "a person lets the policy decide again");
    }
    workers(view, &state)
}

fn workers(view: &View, state: &WorkloadState) -> Answer {
    let (set, parts) = (state.chosen.get(), state.running());
    said(&Workers {
        workload: &state.workload.name,
        host: &view.id,
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
        refusal(code, error.to_string().replace("\n ", ""))
    })?;
    tracing::info!(workload = name, paused = paused.paused, "a person has asked for it by NATS");
    said(&json!({ "workload": name, "paused": paused.paused, "until": paused.until }))
}

fn said(value: &impl Serialize) -> Answer {
    serde_json::to_vec(value).map_err(|error| refusal(500, error.to_string()))
}
