//! Judges the settings of a consumer and its stream by what the configuration needs: refused, held, usable, and what to
//! warn about.

use std::time::Duration;

use super::info::{ConsumerConfig, ConsumerState, FOR_EVER, StreamConfig, duration};
use super::mapping::{keyed_by_partition, mapped, unmapped};
use super::overlap::{Reserved, circular};
use super::refusal::SettingsRefusal;
use super::stored::unmatched;
use super::stream_keys::{self, differing};
use crate::config::units::show_duration;
use crate::config::{Manage, Workload};
use crate::delivery::consumer_settings::{ConsumerFlow, ConsumerSettings, PullLimits};

/// With a shorter ack wait, the network's delay alone would have messages delivered twice.
const SHORTEST_ACK_WAIT: Duration = Duration::from_millis(100);
/// With a shorter limit for pulls, a host would do little but pull.
const SHORTEST_EXPIRES: Duration = Duration::from_millis(100);
/// With a shorter inactive threshold, a host that connects again may find its consumer deleted.
const SHORTEST_INACTIVE: Duration = Duration::from_secs(10);
/// With a shorter priority timeout, a busy machine would lose its pin.
const SHORTEST_PIN: Duration = Duration::from_secs(1);
/// How `nats consumer add` makes what an order needs.
const PIN_FLAGS: &str = "--pinned-groups=tidegate --pinned-ttl=8s";
/// The most pulls of one host that wait at once, where the consumer limits what each may bring.
const WAITING: usize = 16;
/// The server's default ack wait, which is also the configuration's.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// The verdict on a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerVerdict {
    /// Why the consumer cannot be used, if it cannot.
    pub refusal: Option<SettingsRefusal>,
    /// Why the consumer delivers nothing for now, with the remedy, if that is so.
    pub held: Option<String>,
    /// Why nothing can come to it any more, if that is so and nothing waits.
    pub unmatched: Option<SettingsRefusal>,
    /// The settings in effect if the consumer is used.
    pub settings: ConsumerSettings,
    /// What a person should know, with the remedy.
    pub warnings: Vec<String>,
}

impl ConsumerVerdict {
    /// Whether the consumer delivers, with a text that names it.
    pub fn flow(&self, stream: &str, consumer: &str) -> ConsumerFlow {
        if let Some(SettingsRefusal { problem, remedy }) = &self.refusal {
            return ConsumerFlow::Refused(format!(
                "consumer {consumer} on stream {stream} cannot be used any more: {problem}; nothing is fetched until \
                 it is mended. {remedy}"
            ));
        }
        if let Some(held) = &self.held {
            return ConsumerFlow::Held(format!("consumer {consumer} on stream {stream} {held}"));
        }
        match &self.unmatched {
            Some(SettingsRefusal { problem, remedy }) => ConsumerFlow::Doubtful(format!(
                "consumer {consumer} on stream {stream} is given no message: {problem}. {remedy}"
            )),
            None => ConsumerFlow::Free,
        }
    }
}

/// Judges a workload's consumer.
pub fn judge(
    consumer: &ConsumerState,
    stream: &StreamConfig,
    workload: &Workload,
    own: Reserved<'_>,
) -> ConsumerVerdict {
    // Of a stream with workqueue retention a consumer has to begin at the start, which has nothing that is settled.
    let floor = if stream.is_workqueue() { 0 } else { consumer.ack_floor.stream_seq };
    let (config, edit) = (&consumer.config, Edit { stream: &stream.name, consumer: &workload.queue.consumer, floor });
    let refusal = circular(stream, &workload.name, own)
        .or_else(|| unmapped(stream, &workload.queue))
        .or_else(|| keyed_by_partition(stream, workload))
        .map(|SettingsRefusal { problem, remedy }| SettingsRefusal {
            problem: format!("of its stream: {problem}"),
            remedy,
        })
        .or_else(|| refused(config, workload, &edit));
    let mut warnings = slows(config, workload, &edit);
    warnings.extend(forgets(config, stream, &edit));
    warnings.extend(differs(config, stream, workload, &edit));
    warnings.extend(of_stream(stream));
    warnings.extend(stream_keys::differ(stream, &workload.queue));
    warnings.extend(mapped(stream, &workload.queue));
    warnings.extend(loops(config, stream, workload));
    let mut unmatched = unmatched(config, stream, &workload.queue.consumer);
    if let Some(SettingsRefusal { problem, remedy }) = unmatched.take_if(|_| !consumer.is_drained()) {
        warnings.push(format!("{problem}; what waits is handled, and nothing comes after it. {remedy}"));
    }
    let (held, settings) = (paused(consumer, &workload.name, &edit), settings(config));
    ConsumerVerdict { refusal, held, unmatched, settings, warnings }
}

/// Judges the consumer of the `headers` source.
pub(crate) fn judge_watch(consumer: &ConsumerState, needs: &str) -> ConsumerVerdict {
    let config = &consumer.config;
    let ungrouped = config.priority_policy.is_empty() || config.priority_policy == "none";
    let fits = config.ack_policy == "all" && config.headers_only && config.deliver_subject.is_empty() && ungrouped;
    let refusal = (!fits).then(|| SettingsRefusal {
        problem: format!("the headers source needs {needs}"),
        remedy: "Delete it, or name another with scale.watch-consumer.".to_owned(),
    });
    ConsumerVerdict { refusal, held: None, unmatched: None, settings: settings(config), warnings: Vec::new() }
}

/// The command that changes a consumer.
struct Edit<'a> {
    stream: &'a str,
    consumer: &'a str,
    /// Up to which message all is settled; 0 where another consumer may not begin after it.
    floor: u64,
}

impl Edit<'_> {
    fn with(&self, flag: &str) -> String {
        format!("`nats consumer edit {} {} {flag}`", self.stream, self.consumer)
    }

    fn anew(&self, how: &str) -> String {
        let Self { stream, consumer, floor } = self;
        let from = match floor {
            0 => String::new(),
            floor => format!(
                " with `--deliver={}`, for all is settled up to message {floor}, and one that begins otherwise has all \
                 that the stream keeps handled again",
                floor + 1
            ),
        };
        format!(
            "Make it anew {how} (`nats consumer rm {stream} {consumer}`, then `nats consumer add`{from}), or name \
             another consumer."
        )
    }
}

fn refused(config: &ConsumerConfig, workload: &Workload, edit: &Edit<'_>) -> Option<SettingsRefusal> {
    let refuse = |problem: String, remedy: String| Some(SettingsRefusal { problem, remedy });
    if !config.deliver_subject.is_empty() {
        return refuse("it is a push consumer".into(), "Use a pull consumer.".into());
    }
    if config.durable_name.is_empty() {
        let problem = "it is not durable, so the server deletes it when nobody pulls";
        return refuse(problem.into(), "Use a durable consumer.".into());
    }
    if config.direct || config.sourcing {
        let problem = "it is one that the server keeps for a mirror or a source";
        return refuse(problem.into(), "Name a consumer of your own.".into());
    }
    if config.ack_policy != "explicit" {
        let problem = match config.ack_policy.as_str() {
            "none" => "it has ack policy `none`: what a worker fails at would be lost",
            _ => "its ack policy is not `explicit`: the ack of one message would settle those before it",
        };
        return refuse(problem.into(), "Use a consumer with ack policy `explicit`.".into());
    }
    if config.headers_only {
        let remedy = format!("Use a consumer that delivers payloads, or {}.", edit.with("--no-headers-only"));
        return refuse("it delivers headers only".into(), remedy);
    }
    if config.max_deliver > 0 {
        let problem = format!(
            "its max_deliver is {}: after so many deliveries the server drops a message without a dead letter",
            config.max_deliver
        );
        let remedy =
            format!("Set its max_deliver to -1 ({}); tidegate counts the attempts.", edit.with("--max-deliver=-1"));
        return refuse(problem, remedy);
    }
    refused_pace(config, edit)
        .or_else(|| refused_groups(config, workload, edit))
        .or_else(|| refused_filter(config, workload, edit))
}

fn refused_pace(config: &ConsumerConfig, edit: &Edit<'_>) -> Option<SettingsRefusal> {
    let refuse = |problem: String, remedy: String| Some(SettingsRefusal { problem, remedy });
    if config.replay_policy == "original" {
        let problem = "its replay policy is `original`: messages that wait would come as slowly as they were published";
        return refuse(problem.into(), edit.anew("with replay policy `instant`"));
    }
    if config.rate_limit_bps > 0 {
        let problem = format!("it has a rate limit of {} bits a second", config.rate_limit_bps);
        return refuse(problem, edit.anew("without one"));
    }
    let ack_wait = config.shortest_ack_wait();
    if ack_wait < SHORTEST_ACK_WAIT {
        let of = if config.backoff.is_empty() { "ack wait" } else { "backoff, which takes the place of the ack wait," };
        let flag = if config.backoff.is_empty() { "--wait=30s" } else { "--backoff=none" };
        let problem = format!(
            "its {of} is as short as {}, and what takes longer would be delivered again while it is handled",
            show_duration(&ack_wait)
        );
        return refuse(problem, format!("Raise it: {}.", edit.with(flag)));
    }
    let expires = duration(config.max_expires);
    if config.max_expires > 0 && expires < SHORTEST_EXPIRES {
        let problem =
            format!("its max_expires is {}, so that a host would do little but pull", show_duration(&expires));
        return refuse(problem, format!("Raise it: {}.", edit.with("--max-pull-expire=5s")));
    }
    let inactive = duration(config.inactive_threshold);
    if config.inactive_threshold > 0 && inactive < SHORTEST_INACTIVE {
        let problem = format!(
            "its inactive_threshold is {}: the server deletes it while a host connects again, and all that was handled \
             is forgotten",
            show_duration(&inactive)
        );
        return refuse(
            problem,
            format!("Raise it, or the stream's limit that it has from: {}.", edit.with("--inactive-threshold=24h")),
        );
    }
    None
}

fn refused_groups(config: &ConsumerConfig, workload: &Workload, edit: &Edit<'_>) -> Option<SettingsRefusal> {
    let refuse = |problem: String, how: &str| Some(SettingsRefusal { problem, remedy: edit.anew(how) });
    let policy = config.priority_policy.as_str();
    let has_groups = !config.priority_groups.is_empty() || !["", "none"].contains(&policy);
    let pins = config.pin_group();
    match (&workload.order, pins) {
        (None, _) if has_groups => refuse(
            format!("it has priority groups (policy `{policy}`), and a host pulls for none: it would be given nothing"),
            "without them",
        ),
        (Some(_), None) if has_groups => refuse(
            format!("it has priority groups with policy `{policy}`, and an order needs one host at a time"),
            &format!("with `{PIN_FLAGS}`"),
        ),
        (Some(order), None) if order.in_fleet => refuse(
            "the hosts of a fleet share it, and it has no priority group with a pinned client, by which one at a time \
             is given messages, as an order needs"
                .to_owned(),
            &format!("with `{PIN_FLAGS}` on a server of 2.11 or newer, as a host with manage = \"create\" makes it"),
        ),
        (Some(_), Some(group)) if group.timeout < SHORTEST_PIN => refuse(
            format!(
                "its priority_timeout is {}: a host that is slow for a moment would not be given messages any more",
                show_duration(&group.timeout)
            ),
            &format!("with `{PIN_FLAGS}`"),
        ),
        _ => None,
    }
}

fn refused_filter(config: &ConsumerConfig, workload: &Workload, edit: &Edit<'_>) -> Option<SettingsRefusal> {
    let (actual, mut wanted) = (config.filters(), workload.queue.filters());
    wanted.sort();
    if wanted.is_empty() || actual == wanted || (wanted == [">"] && actual.is_empty()) {
        return None;
    }
    let has =
        if actual.is_empty() { "it has no filter".to_owned() } else { format!("its filter is {}", actual.join(", ")) };
    let flags: Vec<_> = wanted.iter().map(|subject| format!("--filter='{subject}'")).collect();
    Some(SettingsRefusal {
        problem: format!("{has}, and the configuration's is {}", wanted.join(", ")),
        remedy: format!(
            "Make them the same ({}), leave out filter, or name another consumer.",
            edit.with(&flags.join(" "))
        ),
    })
}

fn paused(consumer: &ConsumerState, workload: &str, edit: &Edit<'_>) -> Option<String> {
    let Edit { stream, consumer: name, .. } = edit;
    let until = match consumer.config.pause_until.as_str() {
        "" | FOR_EVER => String::new(),
        until => format!(" until {until}"),
    };
    let text = || {
        format!(
            "is paused{until}: nothing is delivered. `tidegate resume {workload}` or `nats consumer resume {stream} \
             {name}` ends that"
        )
    };
    consumer.paused.then(text)
}

/// The settings in effect.
fn settings(config: &ConsumerConfig) -> ConsumerSettings {
    let limit = |value: i64| usize::try_from(value).ok().filter(|value| *value > 0);
    let expires = Some(duration(config.max_expires)).filter(|expires| !expires.is_zero());
    ConsumerSettings {
        ack_wait: config.shortest_ack_wait(),
        inactive_threshold: Some(duration(config.inactive_threshold)).filter(|threshold| !threshold.is_zero()),
        max_ack_pending: config.max_ack_pending,
        max_deliver: u32::try_from(config.max_deliver).ok().filter(|most| *most > 0),
        pulls: PullLimits {
            batch: limit(config.max_batch).unwrap_or(usize::MAX),
            bytes: limit(config.max_bytes).unwrap_or(usize::MAX),
            expires: expires.unwrap_or(Duration::MAX),
            waiting: limit(config.max_waiting).unwrap_or(WAITING).min(WAITING),
        },
        pin_group: config.pin_group(),
    }
}

/// Settings that make the consumer slower than the configuration expects.
fn slows(config: &ConsumerConfig, workload: &Workload, edit: &Edit<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let (workers, batch) = (i64::from(workload.scale.max), i64::try_from(workload.pull.batch).unwrap_or(i64::MAX));
    let (pending, held) = (config.max_ack_pending, workload.pull.held_by(workload.scale.max));
    if pending > 0 && pending < held {
        warnings.push(format!(
            "the consumer's max_ack_pending is less than scale.max x pull.batch: {pending} and {workers} x {batch}; \
             workers may wait though messages are pending; raise it ({}), or lower scale.max or pull.batch",
            edit.with(&format!("--max-pending={}", held.saturating_mul(2)))
        ));
    }
    if pending > 0 && pending < workers {
        warnings.push(format!(
            "the consumer's max_ack_pending is less than scale.max: {pending} and {workers}; no more workers than that \
             will run"
        ));
    }
    if config.max_waiting > 0 && config.max_waiting < 4 {
        warnings.push(format!(
            "the consumer's max_waiting is less than 4: {}; pulls of several hosts will be refused; make the consumer \
             anew with a larger one",
            config.max_waiting
        ));
    }
    if !config.backoff.is_empty() {
        warnings.push(format!(
            "the consumer has a backoff, which replaces its ack wait; tidegate delays retries by itself: {}",
            edit.with("--backoff=none")
        ));
    }
    let mut limits = Vec::new();
    if config.max_batch > 0 && config.max_batch < batch {
        limits.push(format!("max_batch {}", config.max_batch));
    }
    if config.max_bytes > 0 && u64::try_from(config.max_bytes).unwrap_or(0) < 1 << 20 {
        limits.push(format!("max_bytes {}", config.max_bytes));
    }
    if config.max_expires > 0 && duration(config.max_expires) < workload.pull.expires {
        limits.push(format!("max_expires {}", show_duration(&duration(config.max_expires))));
    }
    if !limits.is_empty() {
        warnings.push(format!(
            "the consumer lets a pull ask for less than the configuration has it ask for, and pulls keep to that: {}",
            limits.join(", ")
        ));
    }
    let unknown = config.unknown();
    if !unknown.is_empty() {
        warnings.push(format!(
            "the consumer has settings that this version of tidegate does not know: {}; whether it flows with them is \
             not known",
            unknown.join(", ")
        ));
    }
    warnings
}

/// Settings that make the server delete the consumer, and with it the knowledge of what was handled.
fn forgets(config: &ConsumerConfig, stream: &StreamConfig, edit: &Edit<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.inactive_threshold > 0 {
        let after = show_duration(&duration(config.inactive_threshold));
        let mends = if stream.consumer_limits.inactive_threshold > 0 {
            format!(
                "it has that from its stream, whose consumer_limits.inactive_threshold has to be taken away or raised: \
                 `nats stream edit {} --limit-consumer-inactive=...`",
                edit.stream
            )
        } else {
            edit.with("--inactive-threshold=0s")
        };
        let then = match stream.is_interest() {
            true => "what waits in its stream is then dropped, for that has interest retention",
            false => "what was handled is then handled again",
        };
        warnings.push(format!(
            "the server deletes the consumer when no host has worked on it for {after}, and {then}; {mends}"
        ));
    }
    if config.mem_storage {
        warnings.push(
            "the consumer is kept in memory: when its server restarts it is gone, and what was handled is then handled \
             again"
                .to_owned(),
        );
    }
    if config.num_replicas > 0 && config.num_replicas < stream.num_replicas {
        warnings.push(format!(
            "the consumer has fewer replicas than its stream ({} and {}), and can be lost where the stream is not: {}",
            config.num_replicas,
            stream.num_replicas,
            edit.with(&format!("--replicas={}", stream.num_replicas))
        ));
    }
    warnings
}

/// What a person should know whose edit gave a consumer that hosts work on an inactive threshold. A server that has it
/// from an edit counts pulls alone until the consumer starts anew, and not that hosts say it is in use.
pub(in crate::jetstream) fn inactive_by_edit(
    before: &ConsumerConfig,
    now: &ConsumerConfig,
    (stream, consumer): (&str, &str),
) -> Option<String> {
    (before.inactive_threshold <= 0 && now.inactive_threshold > 0).then(|| {
        format!(
            "consumer {consumer} has had its inactive_threshold by an edit, so until its server starts again it is \
             deleted also under a host that asks for nothing for {}, as one does that waits for its rate or its \
             plugin; {}, or make it anew with one",
            show_duration(&duration(now.inactive_threshold)),
            Edit { stream, consumer, floor: 0 }.with("--inactive-threshold=0s"),
        )
    })
}

/// Settings that differ from the configuration. A key that is left out counts only where the host may make the
/// consumer.
fn differs(config: &ConsumerConfig, stream: &StreamConfig, workload: &Workload, edit: &Edit<'_>) -> Vec<String> {
    let (queue, creates) = (&workload.queue, workload.queue.manage == Manage::Create);
    let mut warnings = Vec::new();
    let mut differ = |key: &str, has: String, wanted: String, mends: String| {
        warnings.push(differing((key, &wanted), ("consumer", &has), &mends));
    };
    let ack_wait = duration(config.ack_wait);
    if config.backoff.is_empty() && ack_wait != queue.ack_wait && (creates || queue.ack_wait != ACK_WAIT) {
        let wanted = show_duration(&queue.ack_wait);
        differ(
            "ack-wait",
            show_duration(&ack_wait),
            wanted.clone(),
            edit.with(&format!("--wait={}", wanted.replace(' ', ""))),
        );
    }
    let least = workload.least_unsettled();
    let limit = stream.consumer_limits.max_ack_pending;
    let within = |count: i64| if limit > 0 { count.min(limit) } else { count };
    let wanted = within(least.unwrap_or(queue.max_ack_pending));
    let (has, mends) = (config.max_ack_pending, edit.with(&format!("--max-pending={wanted}")));
    if has != wanted && least.is_none() {
        differ("max-ack-pending", has.to_string(), wanted.to_string(), mends.clone());
    }
    // Where the file has no such key, more than is needed is what an earlier file needed, and does no harm.
    // Where there are fewer still, that was said already.
    let too_few =
        creates && least.is_some() && (workload.pull.held_by(workload.scale.max).max(1)..wanted).contains(&has);
    let filters = config.filters();
    if creates && queue.filters().is_empty() && !filters.is_empty() {
        differ("filter", filters.join(", "), "none".to_owned(), edit.with("--filter='>'"));
    }
    if too_few {
        warnings.push(format!(
            "scale.max and pull.batch need a max-ack-pending of {wanted}, and the consumer has {has}, which counts: \
             make it what you want with {mends}, or write max-ack-pending in the file"
        ));
    }
    warnings
}

fn of_stream(stream: &StreamConfig) -> Vec<String> {
    let name = &stream.name;
    let mut warnings = Vec::new();
    if stream.sealed {
        warnings.push(format!("stream {name} is sealed: no message comes to it any more"));
    }
    if stream.no_ack {
        warnings.push(format!(
            "stream {name} acknowledges no publication (no_ack), so `tidegate request` and redriven dead letters are \
             not confirmed there: `nats stream edit {name} --ack`"
        ));
    }
    warnings
}

/// The warnings that a handler may send messages that it is then given itself, if it may.
fn loops(config: &ConsumerConfig, stream: &StreamConfig, workload: &Workload) -> Vec<String> {
    let filters = match &workload.queue.partition {
        None => config.filters(),
        // Its consumer's filters are of subjects as the stream has them.
        Some(_) => workload.queue.filter.clone(),
    };
    workload.grants.loops_over(&stream.name, if filters.is_empty() { &stream.subjects } else { &filters })
}
