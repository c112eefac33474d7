//! All workloads, and what must hold among them.

use super::environment::Environment;
use super::error::{At, ConfigError, SourcePosition};
use super::fleet::FleetConfig;
use super::layer::Layer;
use super::names;
use super::nats::Nats;
use super::spread;
use super::words::SignalSource;
use super::workload::{Workload, WrittenWorkload};

/// Decides every value of every workload.
pub(super) fn read(
    layers: Vec<(At<String>, Layer)>,
    (nats, fleet): (&Nats, Option<&mut FleetConfig>),
    variables: &Environment,
    problems: &mut Vec<ConfigError>,
) -> Vec<Workload> {
    let mut all: Vec<WrittenWorkload> =
        layers.into_iter().map(|(name, layer)| WrittenWorkload::read(name, layer, variables, problems)).collect();
    for written in &mut all {
        // Written out, it is the host's connection all the same.
        written.workload.nats.take_if(|own| own == nats);
    }
    consumers(&all, problems);
    plugin_kinds(&all, problems);
    subjects(&all, problems);
    streams(&all, problems);
    problems.extend(all.iter().flat_map(WrittenWorkload::wrong_for_partitions));
    spread::collisions(&all, problems);
    spread::mappings(&all, problems);
    if let Some(fleet) = fleet {
        of_a_fleet(&mut all, problems);
        fleet.fingerprints = all.iter().map(WrittenWorkload::fingerprints).collect();
    }
    all.into_iter().flat_map(WrittenWorkload::spread).collect()
}

/// A consumer belongs to one workload, and either works or watches.
fn consumers(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    let mut taken: Vec<(&Workload, &str, SourcePosition)> = Vec::new();
    for written in all {
        let queue = &written.workload.queue;
        let watches = written.workload.scale.source == SignalSource::Headers;
        let watch = watches.then_some((&queue.watch_consumer, "scale.watch-consumer"));
        for (consumer, key) in [(&queue.consumer, "consumer")].into_iter().chain(watch) {
            let place = written.place(key);
            let other = taken.iter().find(|(of, name, _)| {
                of.queue.stream == queue.stream && of.nats == written.workload.nats && name == consumer
            });
            if let Some((_, _, other)) = other.filter(|_| !queue.stream.is_empty()) {
                let problem = format!(
                    "the consumer {consumer:?} of {} is already that of {}",
                    queue.stream,
                    other.beside(&place)
                );
                problems.push(place.error(problem, "give each its own; a consumer's messages go to one workload"));
            }
            taken.push((&written.workload, consumer, place));
        }
    }
}

/// What the workloads of a fleet's host cannot have, and what they are.
fn of_a_fleet(all: &mut [WrittenWorkload], problems: &mut Vec<ConfigError>) {
    for written in all {
        written.workload.order.iter_mut().for_each(|order| order.in_fleet = true);
        let wrong = FleetConfig::check(&written.workload);
        problems.extend(wrong.into_iter().map(|(key, wrong)| wrong.at(&written.place(key))));
    }
}

/// A plugin is a handler or a policy.
fn plugin_kinds(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    let policies = all.iter().flat_map(|written| {
        let shadow = written.workload.shadow.as_ref().map(|shadow| (&shadow.policy, written.place("shadow.policy")));
        [(&written.workload.policy, written.place("policy"))].into_iter().chain(shadow)
    });
    for (policy, place) in policies.filter(|(policy, _)| !policy.is_empty()) {
        if let Some(other) = all.iter().find(|other| other.workload.handler == *policy) {
            let handler = other.place("handler").beside(&place);
            let problem = format!("{policy:?} is used as a policy here and as a handler by {handler}");
            problems.push(place.error(problem, "a plugin is one or the other; name another one"));
        }
    }
}

/// A filter must match something that its stream takes.
fn subjects(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    for written in all {
        let subjects = &written.workload.queue.subjects;
        for filter in &written.workload.queue.filter {
            if !subjects.is_empty() && !subjects.iter().any(|subject| names::overlap(subject, filter)) {
                let problem = format!("the filter {filter:?} matches none of them");
                problems.push(written.place("subjects").error(problem, "change filter or subjects"));
            }
        }
    }
}

/// A stream has one list of subjects, and a subject belongs to one stream, as far as the account goes.
fn streams(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    for (index, written) in all.iter().enumerate() {
        let (stream, mine) = (&written.workload.queue.stream, &written.workload.queue.subjects);
        for other in all.iter().take(index) {
            let queue = &other.workload.queue;
            let is_elsewhere = written.workload.nats != other.workload.nats;
            if mine.is_empty() || queue.subjects.is_empty() || is_elsewhere {
                continue;
            }
            let shared = mine.iter().any(|mine| queue.subjects.iter().any(|theirs| names::overlap(mine, theirs)));
            let here = written.place("subjects");
            let there = other.place("subjects").beside(&here);
            if *stream == queue.stream && *mine != queue.subjects {
                let problem = format!("{there} gives the stream {stream} other ones");
                problems.push(here.error(problem, "give the same list in both, or in one alone"));
            } else if *stream != queue.stream && shared {
                let problem = format!("{there} gives some of them to {}", queue.stream);
                problems.push(here.error(problem, "a subject belongs to one stream; narrow one of them"));
            }
        }
    }
}
