//! What changes when a configuration is read again while its host runs. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::fingerprints::fingerprints as fingerprints_of;
use super::fleet::FleetConfig;
use super::keys::CONNECTION;
use super::load::{Config, Reading};
use super::workload::Workload;

/// One thing that is another than before.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A workload that was not there: it is started.
    Added(Box<Workload>),
    /// A workload that is not there any more: it is drained.
    Removed(String),
    /// A workload with other values: it is drained and started again.
    Restarted {
        /// As it is to be.
        workload: Box<Workload>,
        /// The keys that have other values.
        keys: Vec<&'static str>,
    },
    /// A workload that the host cannot have, or not so, before it is started again: it stays as it is.
    Held {
        /// Its name.
        workload: String,
        /// The keys that are why.
        keys: Vec<&'static str>,
    },
    /// Keys of the host itself. They apply when it is started again.
    HostRestart(Vec<&'static str>),
}

/// Says what is done about it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(workload) => write!(f, "workload {}: new, it is started", workload.name),
            Self::Removed(name) => write!(f, "workload {name}: removed, it drains"),
            Self::Restarted { workload, keys } => {
                let what =
                    if keys.is_empty() { "changed".to_owned() } else { format!("changed ({})", keys.join(", ")) };
                write!(f, "workload {}: {what}, it drains and starts again", workload.name)
            }
            Self::Held { workload, keys } => write!(
                f,
                "workload {workload}: {} does not go with the fleet that this host is one of until it is started \
                 again; the workload stays as it is",
                keys.join(", ")
            ),
            Self::HostRestart(keys) => {
                write!(f, "changed, applies after a restart of the host: {}", keys.join(", "))
            }
        }
    }
}

/// What is to be done, and what the host then runs by.
#[derive(Debug, Clone)]
pub struct ReloadPlan {
    /// In the order in which they are carried out: what is removed first, so that what is new finds its room.
    pub changes: Vec<Change>,
    /// The host as it was, with the workloads as they are now.
    pub running: Reading,
}

/// What has to be done for a host that runs by `old` to run by `new`.
pub fn plan(old: &Reading, new: &Reading) -> ReloadPlan {
    let find = |config: &Config, name: &str| config.workloads.iter().find(|of| of.name == name).cloned();
    let gone = old.config.workloads.iter().filter(|of| find(&new.config, &of.name).is_none());
    let mut changes: Vec<Change> = gone.map(|of| Change::Removed(of.name.clone())).collect();
    let mut running = Reading { config: old.config.clone(), written: old.written.clone() };
    running.config.workloads.clear();
    running.written.workloads.clear();
    let mut fingerprints = BTreeMap::new();
    for workload in &beside_connection(old, new) {
        let before = find(&old.config, &workload.name);
        let is_held = before.as_ref() != Some(workload) && !misfits(old, workload).is_empty();
        let (stays, from) = if is_held { (before.clone(), old) } else { (Some(workload.clone()), new) };
        running.config.workloads.extend(stays);
        let name = workload.written_name();
        let written = from.written.workloads.get(name);
        running.written.workloads.extend(written.map(|layer| (name.to_owned(), layer.clone())));
        fingerprints.extend(written.map(|layer| (name.to_owned(), fingerprints_of(layer))));
        changes.extend(change(old, new, before.as_ref(), workload));
    }
    if let Some(fleet) = &mut running.config.fleet {
        fleet.fingerprints = fingerprints;
    }
    let of_host = host_keys(old, new);
    if !of_host.is_empty() {
        changes.push(Change::HostRestart(of_host));
    }
    ReloadPlan { changes, running }
}

/// The new workloads beside the connection of the host that runs, which stays what it is until the host is started
/// again: which of their own connections are the host's, and which are not, goes by that.
fn beside_connection(old: &Reading, new: &Reading) -> Vec<Workload> {
    let (host, edited) = (&old.config.nats, &new.config.nats);
    let mut workloads = new.config.workloads.clone();
    for workload in workloads.iter_mut().filter(|_| host != edited) {
        let layer = new.written.workloads.get(workload.written_name());
        if layer.is_some_and(|layer| layer.has_table(CONNECTION)) {
            let own = workload.nats.take().unwrap_or_else(|| edited.clone());
            workload.nats = Some(own).filter(|own| own != host);
        }
    }
    workloads
}

fn change(old: &Reading, new: &Reading, before: Option<&Workload>, workload: &Workload) -> Option<Change> {
    if before == Some(workload) {
        return None;
    }
    let misfits = misfits(old, workload);
    if !misfits.is_empty() {
        return Some(Change::Held { workload: workload.name.clone(), keys: misfits });
    }
    let workload = Box::new(workload.clone());
    Some(match before {
        None => Change::Added(workload),
        Some(before) => Change::Restarted { keys: workload_keys(old, new, before, &workload), workload },
    })
}

/// The keys of a workload that have other values.
fn workload_keys(old: &Reading, new: &Reading, before: &Workload, workload: &Workload) -> Vec<&'static str> {
    let keys = old.written.of_workload(&new.written, workload.written_name());
    with_context(keys, before.nats != workload.nats)
}

/// What a workload has that the fleet of the host that runs does not go with.
fn misfits(old: &Reading, workload: &Workload) -> Vec<&'static str> {
    if old.config.fleet.is_none() {
        return Vec::new();
    }
    FleetConfig::check(workload).into_iter().map(|(key, _)| key).collect()
}

/// The keys of the host that have other values.
fn host_keys(old: &Reading, new: &Reading) -> Vec<&'static str> {
    with_context(old.written.of_host(&new.written), old.config.nats != new.config.nats)
}

/// The same with the context, where that says something else and none of the keys of a connection does.
fn with_context(mut keys: Vec<&'static str>, is_elsewhere: bool) -> Vec<&'static str> {
    if is_elsewhere && !keys.iter().any(|key| key.starts_with(CONNECTION)) {
        keys.push("nats.context");
    }
    keys
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::environment::Environment;
    use super::super::flags::Flags;
    use super::*;

    fn reading(text: &str) -> Reading {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tidegate.toml");
        std::fs::write(&file, text).unwrap();
        let flags = Flags { file: Some(file), ..Flags::default() };
        Reading::load(&flags, &Environment::new()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn workload(name: &str, more: &str) -> String {
        format!("[workload.{name}]\nstream = \"{name}\"\nhandler = \"h\"\npolicy = \"p\"\n{more}\n")
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        plan(&reading(old), &reading(new)).changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn workloads_are_added_removed_and_changed_and_the_others_are_not_named() {
        let old = [workload("a", ""), workload("b", ""), workload("c", "scale.max = 4")].concat();
        let new = [workload("d", ""), workload("c", "scale.max = 5\nlimits.time = \"2s\""), workload("b", "")].concat();
        assert_eq!(
            told(&old, &new),
            [
                "workload a: removed, it drains",
                "workload d: new, it is started",
                "workload c: changed (scale.max, limits.time), it drains and starts again",
            ]
        );
        let plan = plan(&reading(&old), &reading(&new));
        let names: Vec<_> = plan.running.config.workloads.iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names, ["d", "c", "b"]);
    }

    #[test]
    fn what_is_written_otherwise_and_comes_to_the_same_is_no_change() {
        let new = format!("# a comment\n\n{}", workload("a", "scale.interval = \"1000ms\"\nlimits.time = \"10000ms\""));
        assert_eq!(told(&workload("a", ""), &new), Vec::<String>::new());
    }

    #[test]
    fn keys_of_the_host_are_told_until_they_are_as_before_and_are_not_taken_over() {
        let (old, new) = (workload("a", ""), format!("grace = \"1m\"\nnats.url = \"nats://b\"\n{}", workload("a", "")));
        let told = ["changed, applies after a restart of the host: grace, nats.url"];
        let first = plan(&reading(&old), &reading(&new));
        assert_eq!(first.changes.iter().map(ToString::to_string).collect::<Vec<_>>(), told);
        assert_eq!(first.running.config, reading(&old).config);
        let again = plan(&first.running, &reading(&new));
        assert_eq!(again.changes, first.changes);
        assert_eq!(plan(&again.running, &reading(&old)).changes, []);
    }

    #[test]
    fn an_edited_connection_of_the_host_moves_no_workload_to_another_account() {
        let nats = |host: &str| format!("nats.url = \"nats://{host}\"\n{}", workload("a", "nats.url = \"nats://b\""));
        for (old, new) in [(nats("a"), nats("b")), (nats("b"), nats("a"))] {
            let edited = plan(&reading(&old), &reading(&new));
            assert_eq!(edited.changes, [Change::HostRestart(vec!["nats.url"])]);
            assert_eq!(edited.running.config, reading(&old).config);
            assert_eq!(plan(&edited.running, &reading(&old)).changes, []);
        }
        // A table that is written while the host still has the other connection.
        let old = format!("nats.url = \"nats://a\"\n{}", workload("a", ""));
        let edited = plan(&reading(&old), &reading(&nats("b")));
        let [Change::Restarted { workload, .. }, Change::HostRestart(_)] = edited.changes.as_slice() else {
            panic!("{:?}", edited.changes);
        };
        assert!(workload.nats.is_some());
    }

    #[test]
    fn what_runs_is_compared_and_not_what_was_read_last() {
        let (one, two) = (workload("a", "scale.max = 2"), workload("a", "scale.max = 3"));
        let running = plan(&reading(&one), &reading(&two)).running;
        assert_eq!(plan(&running, &reading(&two)).changes, []);
        assert_eq!(plan(&running, &reading(&one)).changes.len(), 1);
    }

    #[test]
    fn what_does_not_go_with_the_fleet_of_the_host_that_runs_waits_for_its_restart() {
        let counting = workload("a", "scale.source = \"headers\"");
        let old = format!("fleet.bucket = \"F\"\n{}", workload("a", ""));
        let plan = plan(&reading(&old), &reading(&counting));
        let keys = vec!["scale.source"];
        let held = Change::Held { workload: "a".to_owned(), keys };
        assert_eq!(plan.changes, [held, Change::HostRestart(vec!["fleet.bucket"])]);
        assert_eq!(plan.running.config.workloads, reading(&old).config.workloads);
    }
}
