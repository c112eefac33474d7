//! All workloads, and what must hold among them.

use super::dead_letters::DeadLetters;
use super::environment::Environment;
use super::error::{At, ConfigError, SourcePosition};
use super::fleet::FleetConfig;
use super::journal::JournalConfig;
use super::layer::Layer;
use super::loops::reads;
use super::names;
use super::nats::Nats;
use super::own_subjects::{asked_subject, own_subject};
use super::spread;
use super::words::{Manage, SignalSource};
use super::workload::{Workload, WrittenWorkload};

/// What of their host counts for workloads.
pub(super) struct OfHost<'a> {
    pub(super) nats: &'a Nats,
    pub(super) dead_letters: &'a DeadLetters,
    pub(super) journal: &'a JournalConfig,
    pub(super) fleet: Option<&'a mut FleetConfig>,
    /// How the subjects begin on which it is asked, if it is.
    pub(super) asked: Option<&'a str>,
}

/// Decides every value of every workload.
pub(super) fn read(
    layers: Vec<(At<String>, Layer)>,
    host: OfHost<'_>,
    variables: &Environment,
    problems: &mut Vec<ConfigError>,
) -> Vec<Workload> {
    let mut all: Vec<WrittenWorkload> =
        layers.into_iter().map(|(name, layer)| WrittenWorkload::read(name, layer, variables, problems)).collect();
    for written in &mut all {
        // Written out, it is the host's connection all the same.
        written.workload.nats.take_if(|own| own == host.nats);
    }
    consumers(&all, problems);
    plugin_kinds(&all, problems);
    subjects(&all, problems);
    streams(&all, problems);
    own_streams(&all, &host, problems);
    keys(&all, problems);
    problems.extend(all.iter().flat_map(WrittenWorkload::wrong_for_partitions));
    spread::collisions(&all, problems);
    spread::mappings(&all, problems);
    if let Some(fleet) = host.fleet {
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

/// A stream of a workload takes in nothing that the host is sent or keeps, or each message would make new ones.
fn own_streams(all: &[WrittenWorkload], host: &OfHost<'_>, problems: &mut Vec<ConfigError>) {
    for written in all {
        let Workload { nats, queue, .. } = &written.workload;
        let inbox = nats.as_ref().unwrap_or(host.nats).inbox();
        let made = if queue.manage == Manage::Create { queue.subjects.as_slice() } else { &[] };
        if let Some((subject, what)) = own_subject(made, inbox, None) {
            let problem = format!("{subject:?} takes in {what}, so that each message would make new ones for ever");
            let remedy = "give the stream subjects of its own, such as \"orders.>\"";
            problems.push(written.place("subjects").error(problem, remedy));
        }
        let asked = host.asked.filter(|_| nats.is_none());
        if let Some((subject, what)) = asked.and_then(|asked| asked_subject(made, asked)) {
            let problem = format!("{subject:?} takes in {what}, so that each request would be stored");
            let remedy = "give the stream other subjects, or service.prefix another one";
            problems.push(written.place("subjects").error(problem, remedy));
        }
        let journal = host.journal.stream.as_ref().filter(|_| nats.is_none()).map(|stream| &stream.name);
        let kept = [(Some(&host.dead_letters.stream), "dead letters"), (journal, "lines of the journal")];
        if let Some((_, what)) = kept.into_iter().find(|(name, _)| *name == Some(&queue.stream)) {
            let problem = format!(
                "{:?} is where this host keeps {what}, so that each message would make new ones for ever",
                queue.stream
            );
            problems.push(written.place("stream").error(problem, "read another stream"));
        }
    }
}

/// A key that is a token of the subject is in some of the subjects that are read.
fn keys(all: &[WrittenWorkload], problems: &mut Vec<ConfigError>) {
    for written in all {
        let Workload { order, per_key, queue, .. } = &written.workload;
        let order = order.as_ref().map(|order| ("order-key", &order.key));
        let Some((path, key)) = order.or(per_key.as_ref().map(|of| ("per-key.key", &of.key))) else { continue };
        let read = reads(&written.workload, all.iter().map(|other| &other.workload));
        // Of the subject of its partitions more is wanted, and told.
        let is_told = written.partitions.is_some() && queue.filter.is_empty() && !queue.subjects.is_empty();
        if is_told || read.is_empty() || read.iter().any(|subject| key.may_be_in(subject)) {
            continue;
        }
        let shown: Vec<String> = read.iter().map(|subject| format!("{subject:?}")).collect();
        let most = read.iter().map(|subject| subject.split('.').count()).max().unwrap_or(1);
        let problem = format!(
            "no message has this token of its subject, for what is read is {}: each would have a key of its own and \
             wait for no other",
            shown.join(", ")
        );
        let remedy = format!("name a token that is there, such as \"subject:{most}\", or correct filter or subjects");
        problems.push(written.place(path).error(problem, remedy));
    }
}
