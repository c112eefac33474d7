//! The plan of a fleet, as the host that answers has seen it.

use std::fmt;

use super::encoder::MetricsEncoder;
use crate::fleet::entries::Plan;
use crate::fleet::host::Seen;

/// What each of these workloads has; nothing where there is no fleet.
pub(super) fn encode(encoder: &mut MetricsEncoder<'_>, seen: &[(&str, &Seen)]) -> fmt::Result {
    if seen.is_empty() {
        return Ok(());
    }
    let mut gauge = |name: &str, help: &str, of: fn(&Seen, &Plan) -> f64| {
        let value = |(workload, seen): &(&'_ str, &Seen)| {
            Some(([("workload", (*workload).to_owned())], of(seen, seen.plan.as_ref()?)))
        };
        encoder.gauges(name, help, None, seen.iter().filter_map(value))
    };
    gauge("tidegate_fleet_hosts", "Hosts that have a part in the plan", |_, plan| plan.shares.len() as f64)?;
    gauge("tidegate_fleet_leader", "1 if this host leads", |seen, _| {
        f64::from(u8::from(seen.leader.as_ref() == Some(&seen.host)))
    })?;
    gauge("tidegate_fleet_epoch", "Which plan this host follows; it grows", |_, plan| plan.epoch as f64)?;
    gauge("tidegate_fleet_workers", "Workers that all hosts together are to run", |_, plan| f64::from(plan.desired))?;
    gauge("tidegate_fleet_share", "Workers of the plan that this host is to run", |seen, plan| {
        f64::from(plan.shares.get(&seen.host).copied().unwrap_or(0))
    })?;
    gauge("tidegate_fleet_settings_differ", "Settings that the leader has otherwise", |seen, _| {
        seen.differ.len() as f64
    })
}
