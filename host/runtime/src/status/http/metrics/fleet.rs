//! The plan of a fleet, as the host that answers has seen it.

use std::fmt;

use super::encoder::MetricsEncoder;
use super::{Snapshot, WorkloadMetrics};
use crate::fleet::entries::Plan;
use crate::fleet::host::Seen;

impl Snapshot {
    /// Only in a fleet.
    pub(super) fn fleet(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        if self.workloads.iter().all(|workload| workload.fleet.is_none()) {
            return Ok(());
        }
        let plan = |of: fn(&Seen, &Plan) -> f64| {
            move |workload: &WorkloadMetrics| {
                workload.fleet.as_ref().and_then(|seen| Some(of(seen, seen.plan.as_ref()?)))
            }
        };
        let mut gauge =
            |name: &str, help: &str, of: fn(&Seen, &Plan) -> f64| encoder.gauges(name, help, None, self.some(plan(of)));
        gauge("tidegate_fleet_hosts", "Hosts that have a part in the plan", |_, plan| plan.shares.len() as f64)?;
        gauge("tidegate_fleet_leader", "1 if this host leads", |seen, _| {
            f64::from(u8::from(seen.leader.as_ref() == Some(&seen.host)))
        })?;
        gauge("tidegate_fleet_epoch", "Which plan this host follows; it grows", |_, plan| plan.epoch as f64)?;
        gauge("tidegate_fleet_workers", "Workers that all hosts together are to run", |_, plan| {
            f64::from(plan.desired)
        })?;
        gauge("tidegate_fleet_share", "Workers of the plan that this host is to run", |seen, plan| {
            f64::from(plan.shares.get(&seen.host).copied().unwrap_or(0))
        })?;
        gauge("tidegate_fleet_settings_differ", "Settings that the leader has otherwise", |seen, _| {
            seen.differ.len() as f64
        })
    }
}
