//! Every metric is read where it is counted anyway, when somebody asks. Labels have values of the configuration or of a
//! fixed list, or name one of a workload's last generations, so their number is bounded.

mod connections;
mod encoder;
mod fleet;
mod rollouts;

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Registry, Unit};

use super::scale;
use super::view::View;
use crate::contract::{Cause, FaultKind};
use crate::delivery::counters::Tally;
use crate::delivery::start_limits::StartStatus;
use crate::drain::DrainState;
use crate::fleet::host::Seen;
use crate::plugin::{Generation, PluginState, Used};
use crate::process_status::ProcessStatus;
use crate::rollout::seen::{RolloutSeen, Rollouts};
use crate::scaling::history::{Scaling, Shadowed};
use crate::status::workload::{RunningParts, WorkloadState};
use connections::Connection;
use encoder::MetricsEncoder;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics, in the OpenMetrics text format.
pub(super) fn text(view: &View) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot::take(view)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// All that is told, read at one moment.
#[derive(Debug)]
struct Snapshot {
    connection: Connection,
    journal_dropped: u64,
    /// Spans that were exported, and that were lost, by reason; `None` where nothing is traced.
    spans: Option<(u64, [(&'static str, u64); 2])>,
    log_dropped: u64,
    drained: bool,
    desired_hosts: u64,
    plugins: Vec<PluginState>,
    workloads: Vec<WorkloadMetrics>,
    process: ProcessMetrics,
}

#[derive(Debug)]
struct WorkloadMetrics {
    name: String,
    min: u32,
    max: u32,
    desired: u32,
    running: u32,
    set: Option<u32>,
    tally: Tally,
    scaling: Scaling,
    shadow: Option<Shadowed>,
    pulls: u64,
    in_progress: u64,
    replies_refused: u64,
    respawns_held: u64,
    lines_dropped: u64,
    limits: Option<StartStatus>,
    paused: bool,
    fleet: Option<Seen>,
    guests: Vec<(Generation, Used)>,
    /// Keys of which a message is held, deliveries that wait for their turn, and how often deliveries were elsewhere.
    order: Option<OrderCounts>,
    /// Keys of which a message is held, and deliveries that wait for others of their key.
    per_key: Option<(usize, usize)>,
    rollout: Option<RolloutSeen>,
    /// Its own, where it has one and needs it now.
    connection: Option<Connection>,
}

/// What is counted of an order.
#[derive(Debug)]
struct OrderCounts {
    keys: usize,
    waiting: usize,
    gaps: u64,
    standby: bool,
}

impl OrderCounts {
    fn of(parts: &RunningParts) -> Option<Self> {
        let (order, standby) = (parts.order.as_ref()?, parts.consumer.is_standby());
        Some(Self { keys: order.keys(), waiting: order.waiting(), gaps: order.incomplete(), standby })
    }
}

#[derive(Debug, Default)]
struct ProcessMetrics {
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
    threads: Option<u64>,
}

impl Snapshot {
    fn take(view: &View) -> Self {
        Self {
            connection: Connection::of_host(view),
            journal_dropped: view.journal.dropped(),
            spans: view.telemetry.as_ref().map(|telemetry| telemetry.spans()),
            log_dropped: crate::status::log_lines::dropped(),
            drained: view.drain.state() != DrainState::No,
            desired_hosts: scale::desired_hosts(view),
            plugins: view.directory.plugins(),
            workloads: view.workloads.all().iter().map(|state| WorkloadMetrics::take(state)).collect(),
            process: ProcessMetrics::read(),
        }
    }
}

impl WorkloadMetrics {
    fn take(state: &WorkloadState) -> Self {
        let parts = state.running();
        let parts = parts.as_deref();
        let of = |count: fn(&RunningParts) -> u64| parts.map_or(0, count);
        Self {
            name: state.workload.name.clone(),
            min: state.workload.scale.min,
            max: state.workload.scale.max,
            desired: parts.map_or(0, |parts| parts.desired.get()),
            running: parts.map_or(0, |parts| parts.workers.running()),
            set: state.set_workers().map(|set| set.count),
            tally: parts.map(|parts| parts.workers.tally()).unwrap_or_default(),
            scaling: state.history.scaling(),
            shadow: state.workload.shadow.as_ref().map(|_| state.history.shadowed()),
            pulls: of(|parts| parts.traffic.pulls()),
            in_progress: of(|parts| parts.traffic.in_progress()),
            replies_refused: of(|parts| parts.traffic.replies_refused()),
            respawns_held: of(|parts| parts.respawns.held()),
            lines_dropped: state.lines_dropped(),
            limits: parts.and_then(RunningParts::limits),
            paused: parts.is_some_and(RunningParts::is_paused),
            fleet: parts.and_then(|parts| Some(parts.fleet.as_ref()?.seen(&state.workload.name))),
            guests: state.used(),
            order: parts.and_then(OrderCounts::of),
            per_key: parts.and_then(|parts| parts.per_key.as_ref().map(|seen| (seen.keys(), seen.waiting()))),
            rollout: state.rollouts().map(Rollouts::seen),
            connection: Connection::of(state),
        }
    }

    fn limit_hits(&self) -> Vec<(&'static str, u64)> {
        let faults = FaultKind::ALL.iter().zip(self.tally.faults);
        let mut hits: Vec<_> = faults.filter_map(|(kind, count)| Some((kind.limit()?, count))).collect();
        hits.extend([("log-rate", self.lines_dropped), ("respawns", self.respawns_held)]);
        hits
    }
}

impl ProcessMetrics {
    /// What Linux tells of this process; nothing elsewhere.
    fn read() -> Self {
        let status = ProcessStatus::read();
        let field = |name| status.as_ref().and_then(|status| status.number(name));
        Self {
            resident_bytes: field("VmRSS").map(|kib| kib * 1024),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            threads: field("Threads"),
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = MetricsEncoder::new(encoder);
        self.deliveries(&mut encoder)?;
        self.scaling(&mut encoder)?;
        self.limits(&mut encoder)?;
        fleet::encode(&mut encoder, &self.fleets())?;
        self.guests(&mut encoder)?;
        self.orders(&mut encoder)?;
        let rollouts = self.workloads.iter().filter_map(|of| Some((of.name.as_str(), of.rollout.as_ref()?)));
        rollouts::encode(rollouts, &mut encoder)?;
        self.shadows(&mut encoder)?;
        self.rest(&mut encoder)
    }
}

impl Snapshot {
    /// A value of each workload.
    fn each<'a, V>(
        &'a self,
        value: impl Fn(&'a WorkloadMetrics) -> V,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 1], V)> {
        self.workloads.iter().map(move |workload| ([("workload", workload.name.as_str())], value(workload)))
    }

    /// The same where some have none.
    fn some<'a>(
        &'a self,
        value: impl Fn(&'a WorkloadMetrics) -> Option<f64>,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 1], f64)> {
        self.each(value).filter_map(|(labels, value)| Some((labels, value?)))
    }

    /// Several values of each workload, told apart by `label`.
    fn rows<'a, R: IntoIterator<Item = (&'static str, u64)>>(
        &'a self,
        label: &'static str,
        rows: impl Fn(&'a WorkloadMetrics) -> R,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 2], u64)> {
        self.workloads.iter().flat_map(move |workload| {
            let labels = move |value| [("workload", workload.name.as_str()), (label, value)];
            rows(workload).into_iter().map(move |(value, count)| (labels(value), count))
        })
    }

    /// What there is of a fleet, by workload.
    fn fleets(&self) -> Vec<(&str, &Seen)> {
        self.workloads.iter().filter_map(|workload| Some((workload.name.as_str(), workload.fleet.as_ref()?))).collect()
    }

    fn deliveries(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let dead = |workload: &WorkloadMetrics| Cause::ALL.iter().map(|cause| cause.as_str()).zip(workload.tally.dead);
        let faults =
            |workload: &WorkloadMetrics| FaultKind::ALL.iter().map(|kind| kind.as_str()).zip(workload.tally.faults);
        encoder.counters(
            "tidegate_deliveries",
            "Deliveries by how they were settled",
            self.rows("outcome", |workload| workload.tally.outcomes()),
        )?;
        encoder.counters(
            "tidegate_redeliveries",
            "Deliveries of a second or later attempt that workers took",
            self.each(|workload| workload.tally.redelivered),
        )?;
        encoder.counters("tidegate_dead_letters", "Dead letters by cause", self.rows("cause", dead))?;
        encoder.times("tidegate_handler", "Time of handler calls", self.each(|workload| workload.tally))?;
        encoder.counters(
            "tidegate_handler_faults",
            "Handler calls without an answer that could be carried out, by kind",
            self.rows("kind", faults),
        )?;
        encoder.counters(
            "tidegate_limit_hits",
            "How often a guest ran into a limit, by the limit's key; for log-rate the lines dropped",
            self.rows("limit", WorkloadMetrics::limit_hits),
        )?;
        encoder.counters("tidegate_pulls", "Pull requests sent", self.each(|workload| workload.pulls))?;
        encoder.counters(
            "tidegate_in_progress",
            "How often the server was told that a delivery is in progress",
            self.each(|workload| workload.in_progress),
        )?;
        encoder.counters(
            "tidegate_replies_refused",
            "Replies that were asked for where grants.reply does not let them go",
            self.each(|workload| workload.replies_refused),
        )
    }

    fn scaling(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1e3);
        encoder.gauges(
            "tidegate_workers_desired",
            "Workers wanted",
            None,
            self.each(|workload| f64::from(workload.desired)),
        )?;
        encoder.gauges(
            "tidegate_workers_running",
            "Workers that run and do not drain",
            None,
            self.each(|workload| f64::from(workload.running)),
        )?;
        encoder.gauges(
            "tidegate_workers_set",
            "Workers that a person has set in place of the policy, while that holds",
            None,
            self.some(|workload| workload.set.map(f64::from)),
        )?;
        encoder.gauges("tidegate_workers_min", "scale.min", None, self.each(|workload| f64::from(workload.min)))?;
        encoder.gauges("tidegate_workers_max", "scale.max", None, self.each(|workload| f64::from(workload.max)))?;
        encoder.counters(
            "tidegate_decisions",
            "Decisions of the policy",
            self.each(|workload| workload.scaling.decisions),
        )?;
        encoder.counters(
            "tidegate_decision_failures",
            "Ticks that ended without a decision: signals that cannot be read, a policy that trapped",
            self.each(|workload| workload.scaling.failures),
        )?;
        encoder.gauges(
            "tidegate_pending",
            "Messages not delivered yet, when last looked",
            None,
            self.some(|workload| Some(workload.scaling.seen?.pending as f64)),
        )?;
        encoder.gauges(
            "tidegate_ack_pending",
            "Deliveries not settled yet, of all hosts, when last looked",
            None,
            self.some(|workload| Some(workload.scaling.seen?.ack_pending as f64)),
        )?;
        encoder.gauges(
            "tidegate_queue_age",
            "Age of the oldest message that is not settled, when last looked; 0 if there is none",
            Some(&Unit::Seconds),
            self.some(|workload| workload.scaling.seen.map(|seen| seconds(seen.oldest_pending_ms).unwrap_or(0.0))),
        )?;
        encoder.gauges(
            "tidegate_arrival_rate",
            "Messages that arrive in a second, over scale.window",
            None,
            self.some(|workload| Some(workload.scaling.seen?.arrival_rate)),
        )
    }

    fn limits(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let flag = |value: bool| f64::from(u8::from(value));
        encoder.gauges(
            "tidegate_paused",
            "1 if the consumer is paused, when last looked",
            None,
            self.each(|workload| flag(workload.paused)),
        )?;
        encoder.gauges(
            "tidegate_limited",
            "1 if a limit, and not the number of workers, keeps messages waiting, when last looked",
            None,
            self.some(|workload| {
                let limited = workload.limits.is_some() || workload.per_key.is_some();
                workload.scaling.seen.filter(|_| limited).map(|seen| flag(seen.limited))
            }),
        )?;
        encoder.gauges(
            "tidegate_per_key_keys",
            "Keys of which a message is held, where few of a key are handled at once",
            None,
            self.some(|workload| workload.per_key.map(|(keys, _)| keys as f64)),
        )?;
        encoder.gauges(
            "tidegate_per_key_waiting",
            "Deliveries that wait for others of their key, where few of a key are handled at once",
            None,
            self.some(|workload| workload.per_key.map(|(_, waiting)| waiting as f64)),
        )?;
        encoder.gauges(
            "tidegate_in_flight",
            "Deliveries in handlers, of workloads with a limit",
            None,
            self.some(|workload| Some(workload.limits?.in_flight as f64)),
        )?;
        encoder.gauges(
            "tidegate_breaker_open",
            "1 while a workload with a breaker has slowed to probes",
            None,
            self.some(|workload| Some(flag(workload.limits?.breaker_open?))),
        )?;
        let with_breaker = self.workloads.iter().filter_map(|workload| {
            let limits = workload.limits.filter(|limits| limits.breaker_open.is_some())?;
            Some(([("workload", workload.name.as_str())], limits.breaker_opened))
        });
        encoder.counters("tidegate_breaker_opened", "How often a workload has slowed to probes", with_breaker)
    }

    /// Handlers run without fuel: counting instructions would slow them. What a bill is split by is processor time.
    fn guests(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let each = || self.workloads.iter().flat_map(|of| of.guests.iter().map(|guest| (of.name.as_str(), guest)));
        let labels = |workload: &str, generation: &Generation| {
            let (plugin, digest) = (generation.plugin.to_string(), generation.digest.to_string());
            [("workload", workload.to_owned()), ("plugin", plugin), ("generation", digest)]
        };
        encoder.seconds(
            "tidegate_guest_cpu",
            "Processor time of guests, with what the host does within their calls; an estimate from one call of 16",
            each().map(|(workload, (of, used))| (labels(workload, of), used.cpu.as_secs_f64())),
        )?;
        encoder.gauges(
            "tidegate_guest_memory",
            "Memory of all instances, as limits.memory counts it: what they may touch, of which less may be resident",
            Some(&Unit::Bytes),
            each().map(|(workload, (of, used))| (labels(workload, of), used.memory as f64)),
        )
    }

    fn orders(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        encoder.gauges(
            "tidegate_order_keys",
            "Keys of which a message is held, where an order is kept",
            None,
            self.some(|workload| workload.order.as_ref().map(|order| order.keys as f64)),
        )?;
        encoder.gauges(
            "tidegate_order_waiting",
            "Deliveries that wait for an earlier message of their key or to be tried again, where an order is kept",
            None,
            self.some(|workload| workload.order.as_ref().map(|order| order.waiting as f64)),
        )?;
        encoder.gauges(
            "tidegate_order_standby",
            "1 if another host is given the messages or none has come here yet, where an order is kept",
            None,
            self.some(|workload| workload.order.as_ref().map(|order| f64::from(u8::from(order.standby)))),
        )?;
        let gaps = self
            .workloads
            .iter()
            .filter_map(|workload| Some(([("workload", workload.name.as_str())], workload.order.as_ref()?.gaps)));
        encoder.counters(
            "tidegate_order_gaps",
            "How often nothing began because deliveries were not with this host, where an order is kept",
            gaps,
        )
    }

    fn shadows(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let of = |count: fn(&Shadowed) -> u64| {
            self.workloads.iter().filter_map(move |workload| {
                Some(([("workload", workload.name.as_str())], count(workload.shadow.as_ref()?)))
            })
        };
        encoder.counters("tidegate_shadow_decisions", "Decisions of the shadow", of(|shadow| shadow.decisions))?;
        encoder.counters(
            "tidegate_shadow_differences",
            "Decisions of the shadow that would have given another number of workers",
            of(|shadow| shadow.differing),
        )?;
        encoder.counters(
            "tidegate_shadow_failures",
            "Ticks on which the shadow did not answer",
            of(|shadow| shadow.failures),
        )?;
        encoder.counters(
            "tidegate_shadow_missed",
            "Ticks that passed while the shadow was still at one before",
            of(|shadow| shadow.missed),
        )?;
        encoder.counter(
            "tidegate_journal_dropped",
            "Lines of the journal that were not written",
            self.journal_dropped,
        )?;
        encoder.counter(
            "tidegate_log_dropped",
            "Lines of the log that nobody read or that were not written",
            self.log_dropped,
        )?;
        let Some((exported, lost)) = self.spans else { return Ok(()) };
        encoder.counter("tidegate_spans_exported", "Spans that the collector took", exported)?;
        let lost = lost.map(|(reason, spans)| ([("reason", reason)], spans));
        encoder.counters("tidegate_spans_lost", "Spans that nobody got, by reason", lost)
    }

    fn rest(&self, encoder: &mut MetricsEncoder<'_>) -> fmt::Result {
        let plugins = || self.plugins.iter().map(|plugin| (plugin, [("plugin", plugin.plugin.as_str())]));
        encoder.counters(
            "tidegate_plugin_loads",
            "Generations of a plugin that were loaded, the first among them",
            plugins().map(|(plugin, labels)| (labels, plugin.loaded)),
        )?;
        encoder.counters(
            "tidegate_plugin_refusals",
            "Contents of a plugin's file that were refused",
            plugins().map(|(plugin, labels)| (labels, plugin.refused)),
        )?;
        encoder.gauges(
            "tidegate_plugin_ready",
            "1 if a generation of the plugin is in use",
            None,
            plugins().map(|(plugin, labels)| (labels, f64::from(u8::from(plugin.generation.is_some())))),
        )?;
        let own = || self.workloads.iter().filter_map(|of| Some((of.name.as_str(), of.connection.as_ref()?)));
        connections::encode(encoder, &self.connection, own)?;
        encoder.gauge(
            "tidegate_hosts_desired",
            "Hosts as this one that have room for all workers that are wanted; in a fleet, of all its hosts, as far as \
             this one knows: the largest is right",
            None,
            Some(self.desired_hosts),
        )?;
        let drained = Some(u64::from(self.drained));
        encoder.gauge("tidegate_drained", "1 if the host is drained, or drains", None, drained)?;
        let ProcessMetrics { resident_bytes, open_fds, threads } = self.process;
        encoder.gauge("process_resident_memory", "Resident memory", Some(&Unit::Bytes), resident_bytes)?;
        encoder.gauge("process_open_fds", "Open file descriptors", None, open_fds)?;
        encoder.gauge("process_threads", "Threads", None, threads)
    }
}
