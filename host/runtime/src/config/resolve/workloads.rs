//! All workloads, and what must hold between them.

use super::workload::{self, Places};
use crate::config::error::{At, ConfigError, Place};
use crate::config::file::WorkloadTables;
use crate::config::names;
use crate::config::{Source, Workload};

/// Decides every value of every workload.
pub(super) fn resolve(
    tables: WorkloadTables,
    no_workload: ConfigError,
    problems: &mut Vec<ConfigError>,
) -> Vec<Workload> {
    if tables.0.is_empty() && problems.is_empty() {
        problems.push(no_workload);
    }
    let all: Vec<(At<String>, Workload, Places)> = tables
        .0
        .into_iter()
        .map(|(name, table)| {
            let (workload, places) = workload::resolve(&name, table, problems);
            (name, workload, places)
        })
        .collect();
    consumers(&all, problems);
    plugin_kinds(&all, problems);
    subjects(&all, problems);
    streams(&all, problems);
    all.into_iter().map(|(_, workload, _)| workload).collect()
}

/// A consumer belongs to one workload, and either works or watches.
fn consumers(all: &[(At<String>, Workload, Places)], problems: &mut Vec<ConfigError>) {
    let mut taken: Vec<(&str, &str, &Place)> = Vec::new();
    for (_, workload, places) in all {
        let queue = &workload.queue;
        let watch =
            (workload.scale.source == Source::Headers).then_some((&queue.watch_consumer, &places.watch_consumer));
        for (consumer, place) in [(&queue.consumer, &places.consumer)].into_iter().chain(watch) {
            let other = taken.iter().find(|(stream, name, _)| *stream == queue.stream && name == consumer);
            if let Some((_, _, other)) = other.filter(|_| !queue.stream.is_empty()) {
                let problem = format!("the consumer {consumer:?} of {} is already that of {other}", queue.stream);
                problems.push(place.error(problem, "give each its own; a consumer's messages go to one workload"));
            }
            taken.push((&queue.stream, consumer, place));
        }
    }
}

/// A plugin is a handler or a policy.
fn plugin_kinds(all: &[(At<String>, Workload, Places)], problems: &mut Vec<ConfigError>) {
    let policies = all.iter().flat_map(|(_, workload, places)| {
        let shadow = workload.shadow.as_ref().map(|shadow| (&shadow.policy, &places.shadow));
        [(&workload.policy, &places.policy)].into_iter().chain(shadow)
    });
    for (policy, place) in policies.filter(|(policy, _)| !policy.is_empty()) {
        if let Some((_, _, handler)) = all.iter().find(|(_, other, _)| other.handler == *policy) {
            let problem = format!("{policy:?} is used as a policy here and as a handler by {}", handler.handler);
            problems.push(place.error(problem, "a plugin is one or the other; name another one"));
        }
    }
}

/// A filter must match something that its stream takes.
fn subjects(all: &[(At<String>, Workload, Places)], problems: &mut Vec<ConfigError>) {
    for (_, workload, places) in all {
        let subjects = &workload.queue.subjects;
        for filter in &workload.queue.filter {
            if !subjects.is_empty() && !subjects.iter().any(|subject| names::overlap(subject, filter)) {
                let problem = format!("the filter {filter:?} matches none of them");
                problems.push(places.subjects.error(problem, "change filter or subjects"));
            }
        }
    }
}

/// A stream has one list of subjects, and a subject belongs to one stream.
fn streams(all: &[(At<String>, Workload, Places)], problems: &mut Vec<ConfigError>) {
    for (index, (_, workload, places)) in all.iter().enumerate() {
        let (stream, mine) = (&workload.queue.stream, &workload.queue.subjects);
        for (_, other, other_places) in all.iter().take(index) {
            let theirs = &other.queue.subjects;
            if mine.is_empty() || theirs.is_empty() {
                continue;
            }
            let shared = mine.iter().any(|mine| theirs.iter().any(|theirs| names::overlap(mine, theirs)));
            if *stream == other.queue.stream && mine != theirs {
                let problem = format!("{} gives the stream {stream} other ones", other_places.subjects);
                problems.push(places.subjects.error(problem, "give the same list in both, or in one alone"));
            } else if *stream != other.queue.stream && shared {
                let problem = format!("{} gives some of them to {}", other_places.subjects, other.queue.stream);
                problems.push(places.subjects.error(problem, "a subject belongs to one stream; narrow one of them"));
            }
        }
    }
}
