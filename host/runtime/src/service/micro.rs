//! What the service framework of NATS asks of each service, in its own JSON, which `nats micro ls`, `info` and `stats`
//! read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::place::{Counts, Place, short};
use super::question::Endpoint;
use crate::delivery::counters::Tally;
use crate::drain::DrainState;
use crate::permissions::SERVICE;
use crate::status::http::View;
use crate::status::workload::WorkloadState;

/// What is between two endpoints of a list, and around it.
const AROUND: usize = 64;

#[derive(Serialize)]
struct Who<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    id: &'a str,
    version: &'static str,
    metadata: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Info<'a> {
    #[serde(flatten)]
    who: Who<'a>,
    description: &'static str,
    endpoints: Vec<EndpointInfo>,
}

#[derive(Serialize)]
struct EndpointInfo {
    name: String,
    subject: String,
    /// Each host answers for itself.
    queue_group: &'static str,
    metadata: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Stats<'a> {
    #[serde(flatten)]
    who: Who<'a>,
    started: &'a str,
    endpoints: Vec<EndpointStats>,
}

#[derive(Serialize)]
struct EndpointStats {
    name: String,
    subject: String,
    queue_group: &'static str,
    num_requests: u64,
    num_errors: u64,
    last_error: String,
    /// Nanoseconds, as all times of the framework.
    processing_time: u64,
    average_processing_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<WorkloadData>,
}

/// A workload, as far as it is no request and no answer.
#[derive(Serialize)]
struct WorkloadData {
    workload: String,
    ready: bool,
    workers: u32,
    desired: u32,
    acked: u64,
    dead_letters: u64,
}

pub(super) fn ping(place: &Place<'_>) -> Vec<u8> {
    bytes(&who(place, "io.nats.micro.v1.ping_response"))
}

pub(super) fn info(place: &Place<'_>, most: usize) -> Vec<u8> {
    let own = Endpoint::ALL.into_iter().filter(|endpoint| place.admin || !endpoint.is_admin());
    let own = own.map(|endpoint| EndpointInfo {
        name: endpoint.as_str().to_owned(),
        subject: place.subject(endpoint),
        queue_group: "",
        metadata: BTreeMap::new(),
    });
    let generations = generations(place.view);
    let all = place.view.workloads.all();
    let workloads = all.iter().map(|state| workload_info(place, state, &generations));
    let (endpoints, left) = fitting(own.chain(workloads), most);
    let mut who = who(place, "io.nats.micro.v1.info_response");
    note_left(&mut who, left);
    bytes(&Info { who, description: "A WebAssembly worker host; an endpoint for each of its workloads", endpoints })
}

pub(super) fn stats(place: &Place<'_>, started: &str, counts: &BTreeMap<Endpoint, Counts>, most: usize) -> Vec<u8> {
    let own = Endpoint::ALL.into_iter().filter(|endpoint| place.admin || !endpoint.is_admin());
    let own = own.map(|endpoint| {
        let Counts { requests, errors, last_error, spent_ns } = counts.get(&endpoint).cloned().unwrap_or_default();
        EndpointStats {
            name: endpoint.as_str().to_owned(),
            subject: place.subject(endpoint),
            queue_group: "",
            num_requests: requests,
            num_errors: errors,
            last_error,
            processing_time: spent_ns,
            average_processing_time: spent_ns.checked_div(requests).unwrap_or(0),
            data: None,
        }
    });
    let all = place.view.workloads.all();
    let workloads = all.iter().map(|state| workload_stats(place, state));
    let (endpoints, left) = fitting(own.chain(workloads), most);
    let mut who = who(place, "io.nats.micro.v1.stats_response");
    note_left(&mut who, left);
    bytes(&Stats { who, started, endpoints })
}

fn who<'a>(place: &Place<'a>, kind: &'static str) -> Who<'a> {
    let drain = match place.view.drain.state() {
        DrainState::No => "no",
        DrainState::Draining(_) => "draining",
        DrainState::Drained => "drained",
    };
    let metadata = [
        ("host", place.view.host.clone()),
        ("prefix", place.prefix.to_owned()),
        ("admin", place.admin.to_string()),
        ("drain", drain.to_owned()),
    ];
    let metadata = metadata.into_iter().collect();
    Who { kind, name: SERVICE, id: &place.view.id, version: env!("CARGO_PKG_VERSION"), metadata }
}

fn note_left(who: &mut Who<'_>, left: usize) {
    if left > 0 {
        who.metadata.insert("endpoints-left-out", left.to_string());
    }
}

/// The generation of each plugin.
fn generations(view: &View) -> BTreeMap<String, String> {
    let plugins = view.directory.plugins().into_iter();
    plugins.filter_map(|state| Some((state.plugin, state.generation?.whole().to_owned()))).collect()
}

/// The framework takes letters, digits, `-` and `_` in a name.
fn endpoint_name(workload: &str) -> String {
    workload.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn workload_info(place: &Place<'_>, state: &WorkloadState, generations: &BTreeMap<String, String>) -> EndpointInfo {
    let of = &state.workload;
    let parts = state.running();
    let workers = parts.as_ref().map_or(0, |parts| parts.workers.running());
    let metadata = [
        ("workload", of.name.clone()),
        ("stream", of.queue.stream.clone()),
        ("consumer", of.queue.consumer.clone()),
        ("handler", of.handler.clone()),
        ("policy", of.policy.clone()),
        ("generation", generations.get(&of.handler).cloned().unwrap_or_default()),
        ("workers", workers.to_string()),
        ("ready", is_ready(state).to_string()),
    ];
    EndpointInfo {
        name: endpoint_name(&of.name),
        subject: format!("{}.{}", place.subject(Endpoint::Status), of.name),
        queue_group: "",
        metadata: metadata.into_iter().collect(),
    }
}

/// A workload's requests are its deliveries: so the framework's table shows what it does.
fn workload_stats(place: &Place<'_>, state: &WorkloadState) -> EndpointStats {
    let of = &state.workload;
    let parts = state.running();
    let tally: Tally = parts.as_ref().map(|parts| parts.workers.tally()).unwrap_or_default();
    let spent = tally.times_us.saturating_mul(1000);
    let problems = state.conditions.all();
    EndpointStats {
        name: endpoint_name(&of.name),
        subject: format!("{}.{}", place.subject(Endpoint::Status), of.name),
        queue_group: "",
        num_requests: tally.work.handled,
        num_errors: tally.work.failed,
        last_error: problems.into_iter().next().map(|(_, problem)| short(&problem)).unwrap_or_default(),
        processing_time: spent,
        average_processing_time: spent.checked_div(tally.work.handled).unwrap_or(0),
        data: Some(WorkloadData {
            workload: of.name.clone(),
            ready: is_ready(state),
            workers: parts.as_ref().map_or(0, |parts| parts.workers.running()),
            desired: parts.as_ref().map_or(0, |parts| parts.desired.get()),
            acked: tally.acked,
            dead_letters: tally.dead.iter().sum(),
        }),
    }
}

fn is_ready(state: &WorkloadState) -> bool {
    (state.running().is_some() || state.is_elsewhere()) && state.conditions.all().is_empty()
}

/// As many of a list as fit into a message beside the rest, and how many do not.
fn fitting<T: Serialize>(all: impl Iterator<Item = T>, most: usize) -> (Vec<T>, usize) {
    const REST: usize = 4096;
    let mut room = most.saturating_sub(REST);
    let (mut kept, mut left) = (Vec::new(), 0);
    for one in all {
        let size = bytes(&one).len() + AROUND;
        match room.checked_sub(size) {
            Some(rest) if left == 0 => {
                room = rest;
                kept.push(one);
            }
            _ => left += 1,
        }
    }
    (kept, left)
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no strings could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_to_what_fits_into_a_message() {
        let all = || (0..100).map(|_| "a".repeat(1000));
        assert_eq!(fitting(all(), 1 << 20).1, 0);
        let (kept, left) = fitting(all(), 64 << 10);
        assert_eq!((kept.len(), left), (57, 43));
        assert_eq!(fitting(all(), 1000), (vec![], 100));
    }

    #[test]
    fn an_endpoint_has_a_name_that_the_framework_takes() {
        assert_eq!(endpoint_name("orders-eu_1"), "orders-eu_1");
        assert_eq!(endpoint_name("ord:ers$ä"), "ord_ers__");
    }
}
