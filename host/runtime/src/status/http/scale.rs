//! How many hosts there should be, for what starts and ends hosts: KEDA, an autoscaler of pods.

use serde::Serialize;

use super::view::View;
use crate::config::Workload;
use crate::fleet::partition_place::PartitionPlace;
use crate::status::workload::WorkloadState;

/// What `/scale` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct HostScale {
    /// Hosts as this one that have room for all workers; at least 1, for somebody has to wait for the first message.
    desired_hosts: u64,
    /// Workers that are wanted of all hosts of a fleet, as far as this one knows, or of this host alone.
    desired_workers: u64,
    /// Workers that one host is for.
    workers_per_host: u32,
    /// The same by workload.
    workloads: Vec<WorkloadScale>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct WorkloadScale {
    name: String,
    desired_workers: u32,
}

/// For all workloads, or for the one of this name; `None` if there is none.
pub(super) fn of(view: &View, only: Option<&str>) -> Option<HostScale> {
    let mut rows: Vec<(String, u32)> = Vec::new();
    for state in view.workloads.all() {
        let Some(name) = row_of(&state.workload, only) else { continue };
        let wanted = wanted(&state, view.capacity);
        match rows.iter_mut().find(|(of, _)| of == name) {
            Some((_, sum)) => *sum = sum.saturating_add(wanted),
            None => {
                let is_whole = state.workload.name != name;
                let elsewhere = state.place().filter(|_| is_whole).map_or(0, PartitionPlace::workers_elsewhere);
                rows.push((name.to_owned(), wanted.saturating_add(elsewhere)));
            }
        }
    }
    let is_there = only.is_none() || !rows.is_empty();
    is_there.then(|| hosts(rows.into_iter(), view.capacity))
}

/// The row that a workload counts in, where `only` one is asked for or all are: that of its name, and of a partition
/// that of the workload that was written. `None` if it is not asked for.
fn row_of<'a>(workload: &'a Workload, only: Option<&str>) -> Option<&'a str> {
    let written = workload.queue.partition.as_ref().map_or(workload.name.as_str(), |of| of.workload.as_str());
    match only {
        Some(only) if only == workload.name => Some(&workload.name),
        Some(only) if only != written => None,
        _ => Some(written),
    }
}

/// How many hosts have room for all workers that are wanted now.
pub(super) fn desired_hosts(view: &View) -> u64 {
    of(view, None).map_or(1, |scale| scale.desired_hosts)
}

/// The plan of a fleet is for all of its hosts. One host at a time works what keeps an order, without a plan of its
/// workers: more of them than one host is for need no other host.
fn wanted(state: &WorkloadState, capacity: u32) -> u32 {
    let Some(parts) = state.running() else { return 0 };
    if state.workload.order.is_some() {
        return parts.desired.get().min(capacity);
    }
    let plan = parts.fleet.as_ref().and_then(|fleet| fleet.seen(&state.workload.name).plan);
    plan.map_or_else(|| parts.desired.get(), |plan| plan.desired)
}

fn hosts(workloads: impl Iterator<Item = (String, u32)>, workers_per_host: u32) -> HostScale {
    let workloads: Vec<_> = workloads.map(|(name, desired_workers)| WorkloadScale { name, desired_workers }).collect();
    let desired_workers = workloads.iter().map(|of| u64::from(of.desired_workers)).sum::<u64>();
    let desired_hosts = desired_workers.div_ceil(u64::from(workers_per_host.max(1))).max(1);
    HostScale { desired_hosts, desired_workers, workers_per_host, workloads }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    #[test]
    fn partitions_count_in_the_row_of_their_workload_and_can_be_asked_for_alone() {
        let text = "workload.mail = { stream = \"m\", handler = \"h\", policy = \"p\" }\n\
                    workload.work = { stream = \"w\", subjects = [\"in.*\"], manage = \"create\", handler = \"h\", \
                    policy = \"p\", order-key = \"subject:2\", partitions = 2 }";
        let workloads = Config::from_toml(text).unwrap().workloads;
        let rows = |only| workloads.iter().filter_map(|of| row_of(of, only)).collect::<Vec<_>>();
        assert_eq!(rows(None), ["mail", "work", "work"]);
        assert_eq!(rows(Some("mail")), ["mail"]);
        assert_eq!(rows(Some("work")), ["work", "work"]);
        assert_eq!(rows(Some("work-p1")), ["work-p1"]);
        assert_eq!(rows(Some("works")), [""; 0]);
    }

    #[test]
    fn as_many_hosts_are_wanted_as_have_room_for_all_workers_and_never_none() {
        let desired = |workers: &[u32], capacity: u32| {
            hosts(workers.iter().map(|workers| (String::new(), *workers)), capacity).desired_hosts
        };
        assert_eq!(desired(&[], 8), 1);
        assert_eq!(desired(&[0, 0], 8), 1);
        assert_eq!(desired(&[8], 8), 1);
        assert_eq!(desired(&[8, 1], 8), 2);
        assert_eq!(desired(&[64, 64, 3], 8), 17);
        assert_eq!(desired(&[5], 0), 5);
        assert_eq!(desired(&[u32::MAX, u32::MAX], 1), 2 * u64::from(u32::MAX));
    }
}
