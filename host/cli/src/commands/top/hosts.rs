//! Several hosts as one list. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::host::Host;
use super::lines::span;
use super::status::{Status, Workload};

/// What is known of each host, by its id.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<String, Host>);

impl Hosts {
    /// Takes the ids of those that were found. One that is not among them, and did not answer last, has ended.
    pub(super) fn found(&mut self, ids: &BTreeSet<String>) {
        self.0.retain(|id, host| ids.contains(id) || host.away.is_none());
        for id in ids {
            self.0.entry(id.clone()).or_default();
        }
    }

    /// Takes the answer of one.
    pub(super) fn hear(&mut self, id: &str, answer: Result<Status, String>, now: Instant) {
        self.0.entry(id.to_owned()).or_default().hear(answer, now);
    }

    /// Their ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// All of them as one: the workloads of each, and what is wrong with any.
    pub(super) fn as_one(&self) -> Status {
        let told = || self.0.values().filter_map(|host| host.status.as_ref());
        let versions: BTreeSet<&str> = told().map(|status| status.version.as_str()).collect();
        let all = self.0.len();
        Status {
            host: format!(
                "{all} host{}: {}",
                if all == 1 { "" } else { "s" },
                self.ids().collect::<Vec<_>>().join(", ")
            ),
            version: versions.into_iter().collect::<Vec<_>>().join(", "),
            ready: self.0.values().all(|host| host.away.is_none() && host.status.as_ref().is_none_or(|of| of.ready)),
            problems: self.0.iter().flat_map(|(id, host)| problems(id, host)).collect(),
            nats: told().next().map(|status| status.nats.clone()).unwrap_or_default(),
            workloads: self.0.iter().flat_map(|(id, host)| workloads(id, host)).collect(),
            is_of_all: true,
            next: None,
        }
    }
}

fn problems(id: &str, host: &Host) -> Vec<String> {
    let away = host.away.iter().map(|(since, why)| {
        let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        format!("{id}: away for {}: {why}", span(ms))
    });
    let told = host.status.iter().flat_map(|status| &status.problems).map(|problem| format!("{id}: {problem}"));
    away.chain(told).collect()
}

fn workloads(id: &str, host: &Host) -> Vec<Workload> {
    let of = host.workloads().iter().cloned();
    of.map(|of| Workload { on: Some(id.to_owned()), is_away: host.away.is_some(), ..of }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|id| (*id).to_owned()).collect()
    }

    fn status(workload: &str, ready: bool) -> Status {
        let workloads = vec![Workload { name: workload.to_owned(), ..Workload::default() }];
        let problems = if ready { vec![] } else { vec!["it is not".to_owned()] };
        Status { ready, problems, version: "1.0.0".to_owned(), workloads, ..Status::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_one_list_and_one_that_has_ended_goes_out_of_it() {
        let mut hosts = Hosts::default();
        hosts.found(&ids(&["a", "b"]));
        hosts.hear("a", Ok(status("orders", true)), Instant::now());
        hosts.hear("b", Ok(status("orders", false)), Instant::now());
        let one = hosts.as_one();
        assert_eq!((one.host.as_str(), one.version.as_str(), one.ready), ("2 hosts: a, b", "1.0.0", false));
        assert!(one.is_of_all);
        assert_eq!(one.problems, ["b: it is not"]);
        let on: Vec<_> = one.workloads.iter().map(|of| (of.on.as_deref().unwrap_or(""), of.name.as_str())).collect();
        assert_eq!(on, [("a", "orders"), ("b", "orders")]);
        hosts.hear("b", Err("it is silent".to_owned()), Instant::now());
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        let one = hosts.as_one();
        assert_eq!(one.problems, ["b: away for 5 s: it is silent", "b: it is not"]);
        assert!(one.workloads.iter().any(|of| of.is_away) && !one.ready);
        // Not found once, and answering: the finding was too short.
        hosts.found(&ids(&[]));
        assert_eq!(hosts.as_one().host, "1 host: a");
    }
}
