//! How many hosts there should be, for what starts and ends hosts: KEDA, an autoscaler of pods.

use serde::Serialize;

use super::view::View;
use crate::status::workload::WorkloadState;

/// What `/scale` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct HostScale {
    /// Hosts as this one that have room for all workers; at least 1, for somebody has to wait for the first message.
    desired_hosts: u64,
    /// Workers that are wanted of all hosts of a fleet, or of this host alone.
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
    let chosen = match only {
        Some(name) => vec![view.workloads.get(name)?],
        None => view.workloads.all(),
    };
    let workloads = chosen.iter().map(|state| (state.workload.name.clone(), wanted(state)));
    Some(hosts(workloads, view.capacity))
}

/// How many hosts have room for all workers that are wanted now.
pub(super) fn desired_hosts(view: &View) -> u64 {
    of(view, None).map_or(1, |scale| scale.desired_hosts)
}

/// The plan of a fleet is for all of its hosts.
fn wanted(state: &WorkloadState) -> u32 {
    let Some(parts) = state.running() else { return 0 };
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
    use super::*;

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
