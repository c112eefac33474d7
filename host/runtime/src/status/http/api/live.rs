//! What happens, as it happens: server-sent events, one a second.
//!
//! A stream is an answer like any other, so the bounds of connections hold for it: it ends when its connection does,
//! and the browser asks again, from where it was. An event is made when the one before was taken, so who is slow
//! misses some and keeps nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::answer::refuse;
use super::host_row;
use super::rows::{self, DecisionRow};
use super::state::PageState;
use crate::contract::{Cause, FaultKind};
use crate::duration::millis;
use crate::fleet::entries::Plan;
use crate::fleet::host::Seen;
use crate::status::by_host::HostWorkers;
use crate::status::http::query::Query;
use crate::status::workload::WorkloadState;

/// How many workers of a workload are told.
const WORKERS: usize = 200;
/// How soon a browser asks again, in milliseconds.
const AGAIN: u32 = 500;

/// When a connection takes no more requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionEnd(pub(crate) Instant);

/// One browser that listens.
struct Listener {
    state: Arc<PageState>,
    looks: watch::Receiver<u64>,
    /// What it was told last: the look, and the decision of its workload.
    told: u64,
    decided: u64,
    /// The workload of which it is told all.
    workload: Option<String>,
    /// Whether it is shown letters without a token.
    letters: bool,
    end: Instant,
    _permit: OwnedSemaphorePermit,
}

/// All that changes of one workload.
#[derive(Serialize)]
struct Detail<'a> {
    name: &'a str,
    at_ms: u64,
    deliveries: BTreeMap<&'static str, u64>,
    causes: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    shadow: Option<ShadowNow>,
    /// Only in a fleet.
    fleet: Option<FleetNow>,
    decisions: Vec<DecisionRow>,
    failures: u64,
    problem: Option<String>,
    /// The busy ones first.
    workers: Vec<WorkerNow>,
    /// How many there are.
    alive: usize,
}

#[derive(Serialize)]
struct ShadowNow {
    policy: String,
    decisions: u64,
    differing: u64,
    count: Option<u32>,
    reason: Option<String>,
    problem: Option<String>,
}

/// The plan that this host follows.
#[derive(Serialize)]
struct FleetNow {
    /// This host's id.
    host: String,
    leader: Option<String>,
    /// Workers of all hosts.
    desired: u32,
    /// The same by host.
    shares: BTreeMap<String, u32>,
    /// The same as it is remembered for an hour: of a large fleet a few hosts are told apart.
    by_host: HostWorkers,
}

#[derive(Serialize)]
struct WorkerNow {
    worker: u64,
    handling_ms: Option<u64>,
    acked: u64,
    failed: u64,
    alive_ms: u64,
}

pub(super) async fn live(
    State(state): State<Arc<PageState>>,
    Extension(ConnectionEnd(end)): Extension<ConnectionEnd>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = Query::parse(query.as_deref());
    let workload = query.text("workload").map(str::to_owned);
    if workload.as_ref().is_some_and(|name| state.recorder.workload(name).is_none()) {
        return refuse(StatusCode::NOT_FOUND, "this host has no such workload");
    }
    let Ok(permit) = state.streams.clone().try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close some");
    };
    // What a host before this one, or another, has told is nothing here.
    let told = headers.get("last-event-id").and_then(|id| position(id.to_str().ok()?, &state.view.host));
    let looks = state.recorder.looks();
    let (told, decided) = told.filter(|(told, _)| *told <= *looks.borrow()).unwrap_or_default();
    let letters = state.admin.shows_letters(&headers);
    let listener = Listener { state, looks, told, decided, workload, letters, end, _permit: permit };
    let events = stream::unfold((listener, true), async |(mut listener, first)| {
        let event = listener.next(first).await?;
        Some((Ok::<_, std::convert::Infallible>(event), (listener, false)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// What was told last, a look and a decision, if this host said it.
fn position(id: &str, host: &str) -> Option<(u64, u64)> {
    let (rest, decision) = id.rsplit_once('/')?;
    let (of, look) = rest.rsplit_once('/')?;
    if of == host { Some((look.parse().ok()?, decision.parse().ok()?)) } else { None }
}

impl Listener {
    /// The next event; `None` at the end of its connection.
    async fn next(&mut self, first: bool) -> Option<Bytes> {
        // The first is told at once, if there was a look already.
        let told = if first { 0 } else { self.told };
        let looked = self.looks.wait_for(|looks| *looks > told);
        let now = match timeout_at(self.end, looked).await {
            Ok(Ok(looks)) => *looks,
            Ok(Err(_)) | Err(_) => return None,
        };
        let event = self.event(now, first);
        self.told = now;
        event.map(Bytes::from)
    }

    fn event(&mut self, now: u64, first: bool) -> Option<String> {
        let state = &self.state;
        let (rows, all) = state.rows.after(&state.recorder, self.told, now);
        let rows = rows.join(",");
        let host = serde_json::to_string(&host_row::host(state, self.letters)).ok()?;
        // One that was removed meanwhile has nothing to tell.
        let detail = match self.workload.as_ref().and_then(|name| state.recorder.workload(name)) {
            Some(workload) => {
                let detail = detail(state, &workload, self.decided);
                self.decided = detail.decisions.last().map_or(self.decided, |decision| decision.number);
                serde_json::to_string(&detail).ok()?
            }
            None => "null".to_owned(),
        };
        let again = if first { format!("retry: {AGAIN}\n") } else { String::new() };
        let (id, decided) = (&state.view.host, self.decided);
        Some(format!(
            "{again}id: {id}/{now}/{decided}\ndata: {{\"host\":{host},\"rows\":[{rows}],\"all\":{all},\
             \"detail\":{detail}}}\n\n"
        ))
    }
}

fn detail<'a>(state: &PageState, workload: &'a WorkloadState, decided: u64) -> Detail<'a> {
    let name = workload.workload.name.as_str();
    let parts = workload.running();
    let tally = parts.as_ref().map(|parts| parts.workers.tally()).unwrap_or_default();
    let alive = parts.as_ref().map(|parts| parts.workers.alive()).unwrap_or_default();
    let mut workers: Vec<WorkerNow> = alive
        .iter()
        .map(|(worker, stats)| {
            let tally = stats.tally();
            WorkerNow {
                worker: *worker,
                handling_ms: stats.handling_for().map(millis),
                acked: tally.acked,
                failed: tally.work.failed,
                alive_ms: tally.work.alive_us / 1000,
            }
        })
        .collect();
    if workers.len() > WORKERS {
        workers.sort_by_key(|worker| (std::cmp::Reverse(worker.handling_ms), worker.worker));
        workers.truncate(WORKERS);
    }
    let decisions = state.recorder.decided_after(name, decided);
    let scaling = workload.history.scaling();
    let named = |names: Vec<&'static str>, counts: &[u64]| {
        names.into_iter().zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
    };
    Detail {
        name,
        at_ms: state.recorder.newest(name).unwrap_or_default().at_ms,
        deliveries: BTreeMap::from([
            ("acked", tally.acked),
            ("retried", tally.retried),
            ("unconfirmed", tally.unconfirmed),
            ("dead", tally.dead.iter().sum()),
            ("given_back", tally.given_back),
            ("redelivered", tally.redelivered),
        ]),
        causes: named(Cause::ALL.map(Cause::as_str).to_vec(), &tally.dead),
        faults: named(FaultKind::ALL.map(FaultKind::as_str).to_vec(), &tally.faults),
        shadow: workload.workload.shadow.as_ref().map(|shadow| shadow_now(&shadow.policy, workload)),
        fleet: parts.as_ref().and_then(|parts| parts.fleet.as_ref()).map(|fleet| {
            let by_host = state.recorder.by_host(name).unwrap_or_default();
            fleet_now(fleet.seen(name), by_host)
        }),
        decisions: decisions.iter().map(DecisionRow::whole).collect(),
        failures: scaling.failures,
        problem: scaling.refused.or(scaling.problem).map(|problem| super::cut::cut(&problem, rows::REASON)),
        workers,
        alive: alive.len(),
    }
}

fn fleet_now(Seen { plan, leader, host, .. }: Seen, by_host: HostWorkers) -> FleetNow {
    let Plan { desired, shares, .. } = plan.unwrap_or_default();
    FleetNow { host, leader, desired, shares, by_host }
}

fn shadow_now(policy: &str, workload: &WorkloadState) -> ShadowNow {
    let shadowed = workload.history.shadowed();
    let (count, reason) = shadowed.last.unzip();
    let short = |text: Option<String>| text.map(|text| super::cut::cut(&text, rows::REASON));
    ShadowNow {
        policy: policy.to_owned(),
        decisions: shadowed.decisions,
        differing: shadowed.differing,
        count,
        reason: short(reason),
        problem: short(shadowed.problem),
    }
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn a_browser_goes_on_where_it_was_at_the_same_host() {
        assert_eq!(position("here:1/7/2", "here:1"), Some((7, 2)));
        assert_eq!(position("a/b:1/7/0", "a/b:1"), Some((7, 0)));
        for other in ["here:2/7/2", "here:1/x/2", "here:1/7/", "here:1/7", "7", ""] {
            assert_eq!(position(other, "here:1"), None, "{other}");
        }
    }
}
