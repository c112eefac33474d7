//! One workload: its defaults, and what must hold within it.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{HOUR, duration, integer, size, within};
use crate::config::error::{At, ConfigError, Place, Wrong};
use crate::config::file::{GrantsTable, LimitsTable, PullTable, RetryTable, ScaleTable, ShadowTable, WorkloadTable};
use crate::config::names;
use crate::config::units::show_duration;
use crate::config::value::{Settings, Strings};
use crate::config::{
    Grants, Isolation, Limits, Manage, Pull, Queue, Retention, Retry, Scale, Shadow, Source, Workload,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where the parts of a workload were written, for checks across workloads.
pub(super) struct Places {
    pub(super) consumer: Place,
    pub(super) watch_consumer: Place,
    pub(super) subjects: Place,
    pub(super) handler: Place,
    pub(super) policy: Place,
    pub(super) shadow: Place,
}

/// Decides every value of the workload `name`.
pub(super) fn resolve(name: &At<String>, table: WorkloadTable, problems: &mut Vec<ConfigError>) -> (Workload, Places) {
    let named = check(&name.value, &name.place, names::workload, problems);
    let place = |key: &str, at: Option<&Place>| at.cloned().unwrap_or_else(|| name.place.child(key));
    let places = Places {
        consumer: place("consumer", table.consumer.as_ref().map(|at| &at.place)),
        watch_consumer: place("scale.watch-consumer", table.scale.watch_consumer.as_ref().map(|at| &at.place)),
        subjects: place("subjects", table.subjects.as_ref().map(|at| &at.place)),
        handler: place("handler", table.handler.as_ref().map(|at| &at.place)),
        policy: place("policy", table.policy.as_ref().map(|at| &at.place)),
        shadow: place("shadow.policy", table.shadow.policy.as_ref().map(|at| &at.place)),
    };
    let handler = required(name, "handler", table.handler, "the name of a plugin that handles a message", problems);
    check(&handler, &places.handler, names::plugin, problems);
    let policy_is = "the name of a plugin that decides the number of workers, such as \"backlog\"";
    let policy = required(name, "policy", table.policy, policy_is, problems);
    check(&policy, &places.policy, names::plugin, problems);
    let stream_place = place("stream", table.stream.as_ref().map(|at| &at.place));
    let stream = required(name, "stream", table.stream, "the name of the stream to work on", problems);
    check(&stream, &stream_place, names::jetstream, problems);

    let retention = table.retention.map_or(Retention::Limits, |at| at.value);
    let watched = table.scale.source.as_ref().filter(|at| at.value == Source::Headers);
    if let Some(source) = watched.filter(|_| retention == Retention::Workqueue) {
        let problem =
            "a stream with workqueue retention gives each message to one consumer, so none can watch its headers";
        problems.push(source.error(problem, "use source \"info\", or another retention"));
    }
    let (scale, watch_consumer) = scale(table.scale, problems);
    let pull = pull(table.pull, problems);
    // A name that is made of one that is wrong is not wrong once more.
    let given = table.consumer.is_some();
    let consumer = table.consumer.map_or_else(|| format!("{}-workers", name.value), |at| at.value);
    let named = (given || named) && check(&consumer, &places.consumer, names::jetstream, problems);
    let given = watch_consumer.is_some();
    let watch_consumer = watch_consumer.unwrap_or_else(|| format!("{consumer}-watch"));
    if given || named {
        check(&watch_consumer, &places.watch_consumer, names::jetstream, problems);
    }

    // Without a file nobody has said that something else looks after the consumer.
    let manage = if name.place.is_flag() { Manage::Create } else { Manage::Bind };
    let queue = Queue {
        stream,
        consumer,
        manage: table.manage.map_or(manage, |at| at.value),
        subjects: subjects(table.subjects, problems),
        retention,
        max_bytes: table.max_bytes.map(|at| size(Some(at), i64::MAX, 1 << 20..=1 << 50, problems)),
        filter: subjects(table.filter, problems),
        ack_wait: duration(table.ack_wait, SECOND * 30, SECOND..=DAY, problems),
        max_ack_pending: max_ack_pending(table.max_ack_pending, &scale, &pull, problems),
        // A host fetches for all its workers, with a few pulls at a time.
        max_waiting: integer(table.max_waiting, 512, 16..=i64::MAX, problems),
        watch_consumer,
    };
    let policy_settings = settings(table.policy_settings);
    let shadow = shadow(table.shadow, &policy_settings, &places.shadow, problems);
    let workload = Workload {
        name: name.value.clone(),
        queue,
        handler,
        policy,
        isolation: table.isolation.map_or(Isolation::Worker, |at| at.value),
        settings: settings(table.settings),
        policy_settings,
        shadow,
        scale,
        pull,
        grants: grants(table.grants, problems),
        limits: limits(table.limits, problems),
        retry: retry(table.retry, problems),
    };
    (workload, places)
}

/// Whether the text keeps the rule.
fn check(text: &str, place: &Place, rule: fn(&str) -> Result<(), Wrong>, problems: &mut Vec<ConfigError>) -> bool {
    match rule(text) {
        Ok(()) => true,
        Err(wrong) => {
            note(wrong.at(place), problems);
            false
        }
    }
}

/// Notes a problem, unless its key has one already: a value of the wrong type is not missing too.
fn note(problem: ConfigError, problems: &mut Vec<ConfigError>) {
    if !problems.iter().any(|noted| noted.key == problem.key && noted.file == problem.file) {
        problems.push(problem);
    }
}

fn required(
    name: &At<String>,
    key: &str,
    at: Option<At<String>>,
    what: &str,
    problems: &mut Vec<ConfigError>,
) -> String {
    match at {
        Some(at) => at.value,
        None => {
            note(name.place.child(key).error("is missing", format!("give {what}")), problems);
            String::new()
        }
    }
}

fn subjects(at: Option<At<Strings>>, problems: &mut Vec<ConfigError>) -> Vec<String> {
    let Some(At { value: Strings(subjects), place }) = at else { return Vec::new() };
    for (index, subject) in subjects.iter().enumerate() {
        problems.extend(names::subject(subject).err().map(|wrong| wrong.at(&place)));
        let others = subjects.iter().take(index);
        if let Some(other) = others.into_iter().find(|other| names::overlap(other, subject)) {
            let problem = format!("{other:?} and {subject:?} match some of the same messages");
            problems.push(place.error(problem, "the server takes only subjects that do not overlap; drop one"));
        }
    }
    subjects
}

fn scale(table: ScaleTable, problems: &mut Vec<ConfigError>) -> (Scale, Option<String>) {
    const MOST: i64 = 10_000;
    let min_place = table.min.as_ref().map(|at| at.place.clone());
    let max_given = table.max.is_some();
    let max: u32 = integer(table.max, 16, 1..=MOST, problems);
    let min: u32 = integer(table.min, 0, 0..=MOST, problems);
    if let Some(place) = min_place.filter(|_| min > max) {
        let by_default = if max_given { "" } else { " by default" };
        let problem = format!("{min} is more than max, which is {max}{by_default}");
        problems.push(place.error(problem, "lower min or raise max"));
    }
    let interval = duration(table.interval, SECOND, SECOND / 100..=HOUR, problems);
    let window = match table.window {
        Some(at) if at.value < interval => {
            let problem =
                format!("{} is less than interval, which is {}", show_duration(&at.value), show_duration(&interval));
            problems.push(at.error(problem, "raise window or lower interval"));
            interval
        }
        window => duration(window, interval.max(SECOND * 5), interval..=HOUR, problems),
    };
    let source = table.source.map_or(Source::Info, |at| at.value);
    (Scale { min, max, interval, window, source }, table.watch_consumer.map(|at| at.value))
}

fn pull(table: PullTable, problems: &mut Vec<ConfigError>) -> Pull {
    Pull {
        batch: integer(table.batch, 100, 1..=10_000, problems),
        max_bytes: size(table.max_bytes, 64 << 20, 1 << 20..=64 << 30, problems),
        expires: duration(table.expires, SECOND * 5, SECOND..=SECOND * 300, problems),
    }
}

/// Every worker may hold a batch; as many again may wait for a retry before the server stops delivering.
fn max_ack_pending(at: Option<At<i64>>, scale: &Scale, pull: &Pull, problems: &mut Vec<ConfigError>) -> i64 {
    let held = i64::from(scale.max).saturating_mul(i64::try_from(pull.batch).unwrap_or(i64::MAX));
    let derived = held.saturating_mul(2).max(1_000);
    match at {
        Some(at) if at.value == -1 || at.value > held => at.value,
        Some(at) => {
            let problem = format!("{} is not more than max x batch, which is {} x {}", at.value, scale.max, pull.batch);
            problems.push(at.error(problem, format!("write at least {}, or leave it out for {derived}", held + 1)));
            derived
        }
        None => derived,
    }
}

fn limits(table: LimitsTable, problems: &mut Vec<ConfigError>) -> Limits {
    let usual = Limits::default();
    Limits {
        time: duration(table.time, usual.time, SECOND / 1_000..=HOUR, problems),
        memory: size(table.memory, usual.memory, 64 << 10..=4 << 30, problems),
        table_elements: count(table.table_elements, usual.table_elements, 1..=10_000_000, problems),
        instances: count(table.instances, usual.instances, 1..=10_000, problems),
        fuel: count(table.fuel, usual.fuel, 10_000..=i64::MAX, problems),
        response: size(table.response, usual.response, 64 << 10..=256 << 20, problems),
        publications: count(table.publications, usual.publications, 0..=100_000, problems),
        log_rate: size(table.log_rate, usual.log_rate, 1 << 10..=1 << 30, problems),
        respawns: count(table.respawns, usual.respawns, 1..=100_000, problems),
    }
}

/// A number in its range, or its default.
fn count<T: TryFrom<i64>>(
    at: Option<At<i64>>,
    default: T,
    range: RangeInclusive<i64>,
    problems: &mut Vec<ConfigError>,
) -> T {
    let Some(at) = at else { return default };
    let least = *range.start();
    T::try_from(within(Some(at), least, range, i64::to_string, problems)).unwrap_or(default)
}

fn grants(table: GrantsTable, problems: &mut Vec<ConfigError>) -> Grants {
    let usual = Grants::default();
    let mut granted = |at, usual| at_most(at, usual, problems);
    Grants { publish: granted(table.publish, usual.publish), reply: granted(table.reply, usual.reply) }
}

/// Subjects that may overlap, for each only adds to what is granted.
fn at_most(at: Option<At<Strings>>, usual: Vec<String>, problems: &mut Vec<ConfigError>) -> Vec<String> {
    let Some(At { value: Strings(subjects), place }) = at else { return usual };
    for subject in &subjects {
        problems.extend(names::subject(subject).err().map(|wrong| wrong.at(&place)));
    }
    subjects
}

fn retry(table: RetryTable, problems: &mut Vec<ConfigError>) -> Retry {
    let week = DAY * 7;
    let backoff = match table.backoff {
        None => [1, 5, 30, 120].into_iter().map(Duration::from_secs).collect(),
        Some(at) => {
            if at.value.0.is_empty() {
                problems.push(at.error("the list is empty", "write at least one delay, such as [\"1s\"]"));
            }
            for delay in at.value.0.iter().filter(|delay| **delay > week) {
                let problem = format!("{} is too large", show_duration(delay));
                problems.push(at.error(problem, format!("a delay can be 0s to {}", show_duration(&week))));
            }
            at.value.0
        }
    };
    Retry { max_attempts: integer(table.max_attempts, 5, 1..=10_000, problems), backoff }
}

fn shadow(
    table: ShadowTable,
    live: &[(String, String)],
    place: &Place,
    problems: &mut Vec<ConfigError>,
) -> Option<Shadow> {
    let own = settings(table.policy_settings);
    let Some(At { value: policy, .. }) = table.policy else {
        if !own.is_empty() {
            let problem = "is missing, though the shadow has settings";
            note(place.error(problem, "give the name of a plugin that decides, or remove the settings"), problems);
        }
        return None;
    };
    check(&policy, place, names::plugin, problems);
    Some(Shadow { policy, settings: if own.is_empty() { live.to_vec() } else { own } })
}

fn settings(table: Settings) -> Vec<(String, String)> {
    table.0.into_iter().collect()
}
