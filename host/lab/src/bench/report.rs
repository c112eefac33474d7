//! What was measured: medians, and ratios of medians.

use serde::Serialize;

use super::batches::{self, BatchRounds, BatchThroughput};
use super::busy::BusyCost;
use super::isolated::IsolatedCost;
use super::key_memory::KeyMemory;
use super::lab::Round;
use super::many_idle::ManyIdle;
use super::many_workers::ManyWorkers;
use super::median::median;
use super::options::BenchOptions;
use super::orders::{self, OrderRounds, OrderThroughput};
use super::publications::{self, PublicationCost, PublicationRounds};
use super::rows::Row;
use super::start::{IdleMemory, StartCost};
use super::waiting::WaitingCost;

/// The benchmark's answer. What was not to be measured is not there.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// The nats-server's version.
    pub server: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Messages of a throughput round.
    pub messages: usize,
    /// Rounds.
    pub rounds: u32,
    /// What may be compared between machines.
    pub ratios: Ratios,
    /// Messages settled a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Throughput>,
    /// The same with a component that handles batches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchThroughput>,
    /// The same with an order of keys, beside none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<OrderThroughput>,
    /// What messages that wait for their key take of the memory. Each is measured by
    /// [`key_memory`](super::key_memory()).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_memory: Vec<KeyMemory>,
    /// What waiting for a service takes: several deliveries in an instance, beside one. Each is measured by
    /// [`waiting`](super::waiting()).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<WaitingCost>,
    /// Microseconds of CPU time that the client process spent on a message, with 4 workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_message: Option<CpuPerMessage>,
    /// Sequential requests, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// How long a handler that is replaced goes on answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    /// The same where the new one was never compiled before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_uncached: Option<Swap>,
    /// Requests to instances that live for one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated: Option<IsolatedCost>,
    /// A publication a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publications: Option<PublicationCost>,
    /// A host that starts with plugins that were compiled before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartCost>,
    /// The memory of an idle host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_memory: Option<IdleMemory>,
    /// A thousand idle workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub many_idle: Option<ManyIdle>,
    /// A thousand busy workloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub many_busy: Option<BusyCost>,
    /// Ten thousand workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub many_workers: Option<ManyWorkers>,
    /// What an instance costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceCost>,
    /// The share of a core that an idle host with ten workloads takes, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_percent: Option<f64>,
}

/// Ratios of medians of one run. What was not measured is not a number, which is `null` in JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Ratios {
    /// Throughput with 4 workers: components to native code in the same loop. Higher is better.
    pub wasm_native: f64,
    /// The same with 1 worker.
    pub wasm_native_1: f64,
    /// Throughput with 4 workers: components to the example's loop in native code. Higher is better.
    pub wasm_example: f64,
    /// Median latency of sequential requests: components to native code. Lower is better.
    pub request_p50: f64,
    /// The first reply of a host without workers to the p99 of a warm one. Lower is better.
    pub from_zero: f64,
}

/// Messages settled a second.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// Native code, 4 workers.
    pub native: f64,
    /// Components, 4 workers.
    pub wasm: f64,
    /// The example's loop, 4 workers.
    pub example: f64,
    /// Native code, 1 worker.
    pub native_1: f64,
    /// Components, 1 worker.
    pub wasm_1: f64,
}

/// CPU time of the client process.
#[derive(Debug, Clone, Serialize)]
pub struct CpuPerMessage {
    /// With native code.
    pub native: f64,
    /// With components.
    pub wasm: f64,
    /// With native code, 1 worker.
    pub native_1: f64,
    /// With components, 1 worker.
    pub wasm_1: f64,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Requests {
    /// Native code, median.
    pub native_p50: f64,
    /// Components, median.
    pub wasm_p50: f64,
    /// Components, p99.
    pub wasm_p99: f64,
    /// Components, the first request to a host without workers, median.
    pub from_zero: f64,
}

/// How long a handler that is replaced goes on answering, under sequential requests.
#[derive(Debug, Clone, Serialize)]
pub struct Swap {
    /// Milliseconds from the rename of its file to the first answer of the new one, median.
    pub ms_p50: f64,
    /// The longest.
    pub ms_max: f64,
    /// Answers of the old one meanwhile, median.
    pub old_answers_p50: f64,
}

/// What an instance costs.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceCost {
    /// Microseconds until a new instance has handled its first message, median of 1,000.
    pub start_and_call_us_p50: f64,
    /// Resident memory of an instance, of 1,000, in KiB.
    pub rss_kib: f64,
}

/// Microseconds of one round of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// What was measured, before there are medians.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// As the kinds in the options.
    pub(super) rounds: [Vec<Round>; 5],
    pub(super) batches: BatchRounds,
    pub(super) orders: OrderRounds,
    /// Of native code, and of components.
    pub(super) latencies: [Vec<Latency>; 2],
    /// In microseconds.
    pub(super) from_zero: Option<f64>,
    pub(super) swap: Option<Swap>,
    pub(super) swap_uncached: Option<Swap>,
    pub(super) isolated: Option<IsolatedCost>,
    pub(super) publications: PublicationRounds,
    pub(super) start: Option<StartCost>,
    pub(super) idle_memory: Option<IdleMemory>,
    pub(super) many_idle: Option<ManyIdle>,
    pub(super) many_busy: Option<BusyCost>,
    pub(super) many_workers: Option<ManyWorkers>,
    pub(super) instance: Option<InstanceCost>,
    pub(super) idle_percent: Option<f64>,
}

impl BenchReport {
    pub(super) fn new(server: &str, options: &BenchOptions, measured: Measured) -> Self {
        let Measured { rounds, batches, orders, latencies, from_zero, idle_percent, .. } = measured;
        let [native, wasm, example, native_1, wasm_1] =
            rounds.each_ref().map(|all| median(all, |round| round.per_second));
        let cpu = rounds.each_ref().map(|all| median(all, |round| round.cpu_us));
        let [native_p50, wasm_p50] = latencies.each_ref().map(|all| median(all, |latency| latency.p50));
        let [_, wasm_p99] = latencies.each_ref().map(|all| median(all, |latency| latency.p99));
        let from_zero = from_zero.unwrap_or(f64::NAN);
        let rows = &options.rows;
        let compared = rows.has(Row::Throughput);
        let any = rows.has(Row::Requests) || rows.has(Row::FromZero);
        Self {
            server: server.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            messages: options.messages,
            rounds: options.rounds,
            ratios: Ratios {
                wasm_native: wasm / native,
                wasm_native_1: wasm_1 / native_1,
                wasm_example: wasm / example,
                request_p50: wasm_p50 / native_p50,
                from_zero: from_zero / wasm_p99,
            },
            throughput: compared.then_some(Throughput { native, wasm, example, native_1, wasm_1 }),
            batches: if rows.has(Row::Batches) { batches::report(&batches, native, native_1) } else { Vec::new() },
            orders: if rows.has(Row::Order) { orders::report(&orders) } else { Vec::new() },
            key_memory: Vec::new(),
            waiting: Vec::new(),
            cpu_us_per_message: compared.then(|| {
                let [native, wasm, _, native_1, wasm_1] = cpu;
                CpuPerMessage { native, wasm, native_1, wasm_1 }
            }),
            requests: any.then_some(Requests { native_p50, wasm_p50, wasm_p99, from_zero }),
            swap: measured.swap,
            swap_uncached: measured.swap_uncached,
            isolated: measured.isolated,
            publications: rows.has(Row::Publications).then(|| publications::report(&measured.publications)),
            start: measured.start,
            idle_memory: measured.idle_memory,
            many_idle: measured.many_idle,
            many_busy: measured.many_busy,
            many_workers: measured.many_workers,
            instance: measured.instance,
            idle_percent,
        }
    }
}
