//! What `/status` says of rollouts. What another version of the host does not say is left empty.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{bail, ensure};
use serde::{Deserialize, Serialize};
use tidegate_runtime::config::nearest;
use tidegate_runtime::config::units::show_duration;
use tidegate_runtime::digest::shown;
use tidegate_runtime::text::plain;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    host: String,
    workloads: Vec<Workload>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Workload {
    name: String,
    rollout: Option<Rollout>,
}

/// The rollouts of a workload.
#[derive(Debug, Default, Serialize)]
pub(super) struct Shown {
    workload: String,
    #[serde(flatten)]
    rollout: Rollout,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Rollout {
    generation: Option<String>,
    trial: Option<Trial>,
    last: Option<Ended>,
    ended: BTreeMap<String, u64>,
    fleet: Option<Fleet>,
}

/// What the hosts of its fleet have of it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Fleet {
    workers: BTreeMap<String, u32>,
    without: Vec<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Trial {
    generation: String,
    began_at_ms: u64,
    elapsed_ms: u64,
    workers: Vec<u64>,
    #[serde(flatten)]
    compared: Compared,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Ended {
    generation: String,
    ending: String,
    reason: String,
    at_ms: u64,
    #[serde(flatten)]
    compared: Compared,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Compared {
    new: Calls,
    old: Calls,
    failure_ratio: Option<f64>,
    fault_ratio: Option<f64>,
    slowdown: f64,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Calls {
    calls: u64,
    failed: u64,
    faulted: u64,
    service_time_ms: f64,
}

impl Status {
    /// Reads what a host says. Much else that is JSON could be read as that of one without workloads, but each host
    /// says which it is.
    pub(super) fn read(text: &[u8]) -> anyhow::Result<Self> {
        let status: Self = serde_json::from_slice(text)?;
        ensure!(!status.host.is_empty(), "/status names no host");
        Ok(status)
    }

    /// Of one workload, or of all that have a share for it.
    pub(super) fn rollouts(self, workload: Option<&str>) -> anyhow::Result<Vec<Shown>> {
        let shown = |workload: Workload| workload.rollout.map(|rollout| Shown { workload: workload.name, rollout });
        let Some(name) = workload else { return Ok(self.workloads.into_iter().filter_map(shown).collect()) };
        let Some(at) = self.workloads.iter().position(|workload| workload.name == name) else {
            let names = self.workloads.iter().map(|workload| workload.name.as_str());
            let meant = nearest(name, names).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            bail!("the host has no workload {name:?}{meant}");
        };
        let found = self.workloads.into_iter().nth(at).and_then(shown);
        let Some(found) = found else {
            bail!("workload {name} has no rollout.share: new generations of its handler take over at once");
        };
        Ok(vec![found])
    }
}

impl Shown {
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { workload, rollout: Rollout { generation, trial, last, fleet, .. } } = self;
        let generation = generation.as_deref().map_or("none yet", shown);
        writeln!(out, "{}: generation {}", plain(workload), plain(generation))?;
        if let Some(Trial { generation, elapsed_ms, workers, compared, .. }) = trial {
            let elapsed = show_duration(&Duration::from_secs(elapsed_ms / 1000));
            let workers: Vec<String> = workers.iter().map(u64::to_string).collect();
            let by = match fleet {
                Some(Fleet { workers, .. }) => by_hosts(workers),
                None if workers.is_empty() => "no worker now".to_owned(),
                None => format!("worker {}", workers.join(", ")),
            };
            writeln!(out, "  {} is tried for {elapsed}, by {by}", plain(shown(generation)))?;
            compared.print(out)?;
        }
        if let Some(Fleet { without, .. }) = fleet.as_ref().filter(|fleet| !fleet.without.is_empty()) {
            let which = if trial.is_some() { "the one that is tried" } else { "the one in use" };
            writeln!(out, "  hosts without {which}: {}", plain(&without.join(", ")))?;
        }
        if let Some(Ended { generation, ending, reason, compared, .. }) = last {
            let ending = ending.replace('_', " ");
            writeln!(out, "  {} was {}: {}", plain(shown(generation)), plain(&ending), plain(reason))?;
            if trial.is_none() {
                compared.print(out)?;
            }
        }
        Ok(())
    }
}

fn by_hosts(workers: &BTreeMap<String, u32>) -> String {
    let one = |(host, count): (&String, &u32)| format!("{count} of {}", plain(host));
    let hosts: Vec<String> = workers.iter().map(one).collect();
    if hosts.is_empty() { "no worker now".to_owned() } else { format!("workers of its fleet: {}", hosts.join(", ")) }
}

impl Compared {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for (which, Calls { calls, failed, faulted, service_time_ms }) in [("new", &self.new), ("old", &self.old)] {
            writeln!(
                out,
                "    {which}: {calls} calls, {failed} failed, {faulted} without an answer, {service_time_ms:.3} ms each"
            )?;
        }
        let often = |ratio: Option<f64>| ratio.map_or("infinitely".to_owned(), |ratio| format!("{ratio:.2} times"));
        writeln!(
            out,
            "    fails {} as often, ends without an answer {} as often, takes {:.2} times as long",
            often(self.failure_ratio),
            often(self.fault_ratio),
            self.slowdown
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn status() -> Status {
        let trial = r#"{"generation": "abcdefabcdefabc", "elapsed_ms": 65000, "workers": [3, 7], "slowdown": 1.5,
            "new": {"calls": 10, "failed": 2, "service_time_ms": 3.0}, "failure_ratio": null, "fault_ratio": 1.0}"#;
        let text = format!(
            r#"{{"workloads": [{{"name": "prices"}}, {{"name": "orders", "rollout":
            {{"generation": "0123456789abcdef", "trial": {trial}, "last": null}}}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_trial_is_printed() {
        let shown = status().rollouts(None).unwrap();
        let mut out = Vec::new();
        shown.iter().for_each(|shown| shown.print(&mut out).unwrap());
        let lines = [
            "orders: generation 0123456789ab",
            "  abcdefabcdef is tried for 1m 5s, by worker 3, 7",
            "    new: 10 calls, 2 failed, 0 without an answer, 3.000 ms each",
            "    old: 0 calls, 0 failed, 0 without an answer, 0.000 ms each",
            "    fails infinitely as often, ends without an answer 1.00 times as often, takes 1.50 times as long",
        ];
        assert_eq!(String::from_utf8(out).unwrap(), lines.map(|line| format!("{line}\n")).concat());
    }

    #[test]
    fn of_a_fleet_the_workers_of_each_host_are_printed_and_who_lacks_it() {
        let mut shown = status().rollouts(Some("orders")).unwrap();
        let workers = [("a".to_owned(), 2), ("b".to_owned(), 1)].into();
        shown[0].rollout.fleet = Some(Fleet { workers, without: vec!["c".to_owned()] });
        let mut out = Vec::new();
        shown[0].print(&mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        let by = "is tried for 1m 5s, by workers of its fleet: 2 of a, 1 of b";
        for line in [by, "hosts without the one that is tried: c"] {
            assert!(said.contains(line), "{said}");
        }
    }

    #[test]
    fn only_what_names_its_host_is_what_a_host_says() {
        assert!(Status::read(br#"{"host": "a", "workloads": []}"#).is_ok());
        for other in [&b"{}"[..], b"[]", b"<html>"] {
            assert!(Status::read(other).is_err(), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_workload_that_is_none_or_has_no_share_is_told() {
        let told = |name| status().rollouts(Some(name)).unwrap_err().to_string();
        assert_eq!(told("order"), "the host has no workload \"order\"; did you mean orders?");
        assert!(told("prices").starts_with("workload prices has no rollout.share"));
        assert_eq!(status().rollouts(Some("orders")).unwrap().len(), 1);
    }
}
