//! Metrics of the rollouts of new generations, of workloads that have a share for it.

use std::fmt;

use super::encoder::MetricsEncoder;
use crate::rollout::seen::{Ending, RolloutSeen, TrialSeen};
use crate::rollout::trial::Measured;

/// Those of all workloads, by their names.
pub(super) fn encode<'a>(
    rollouts: impl Iterator<Item = (&'a str, &'a RolloutSeen)> + Clone,
    encoder: &mut MetricsEncoder<'_>,
) -> fmt::Result {
    let all = || rollouts.clone();
    let name = |name| [("workload", name)];
    let workers = |seen: &RolloutSeen| seen.trial.as_ref().map_or(0.0, |trial| trial.workers.len() as f64);
    encoder.gauges(
        "tidegate_rollout_active",
        "1 while a new generation of the handler is tried by a share of the workers",
        None,
        all().map(|(of, seen)| (name(of), f64::from(u8::from(seen.trial.is_some())))),
    )?;
    encoder.gauges(
        "tidegate_rollout_workers",
        "Workers that run a new generation that is tried",
        None,
        all().map(|(of, seen)| (name(of), workers(seen))),
    )?;
    let without = |seen: &RolloutSeen| seen.together.as_ref().map(|together| together.without.len() as f64);
    encoder.gauges(
        "tidegate_rollout_hosts_without",
        "Hosts of the fleet that do not have the generation that is tried, or else the one in use",
        None,
        all().filter_map(|(of, seen)| Some((name(of), without(seen)?))),
    )?;
    let ended = all().flat_map(|(of, seen)| {
        let each = Ending::ALL.iter().zip(seen.ended);
        each.map(move |(ending, count)| ([("workload", of), ("ending", ending.as_str())], count))
    });
    encoder.counters("tidegate_rollouts", "New generations whose trial ended, by how", ended)?;
    let measured = |value: fn(&Measured) -> f64| {
        all().filter_map(move |(of, seen)| {
            let TrialSeen { measured, .. } = seen.trial.as_ref()?;
            Some((name(of), value(measured)))
        })
    };
    encoder.gauges(
        "tidegate_rollout_failure_ratio",
        "How many times as often the generation that is tried fails, on the same minutes",
        None,
        measured(|measured| measured.failure_ratio),
    )?;
    encoder.gauges(
        "tidegate_rollout_fault_ratio",
        "How many times as often its calls end without an answer",
        None,
        measured(|measured| measured.fault_ratio),
    )?;
    encoder.gauges(
        "tidegate_rollout_slowdown",
        "How many times as long its calls take",
        None,
        measured(|measured| measured.slowdown),
    )
}
