//! What was measured: medians, and ratios of medians.

use std::fmt;

use serde::Serialize;

use super::batches::{self, BatchRounds, BatchThroughput};
use super::lab::Round;
use super::median::median;
use super::options::BenchOptions;
use super::orders::{self, OrderRounds, OrderThroughput};
use super::waiting::WaitingCost;

/// The benchmark's answer.
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
    pub throughput: Throughput,
    /// The same with a component that handles batches.
    pub batches: Vec<BatchThroughput>,
    /// The same with an order of keys, beside none.
    pub orders: Vec<OrderThroughput>,
    /// What waiting for a service takes: several deliveries in an instance, beside one.
    pub waiting: Vec<WaitingCost>,
    /// Microseconds of CPU time that the client process spent on a message, with 4 workers.
    pub cpu_us_per_message: CpuPerMessage,
    /// Sequential requests, in microseconds.
    pub requests: Requests,
    /// How long a handler that is replaced goes on answering.
    pub swap: Swap,
    /// What an instance costs.
    pub instance: InstanceCost,
    /// The share of a core that an idle host with ten workloads takes, in percent.
    pub idle_percent: f64,
}

/// Ratios of medians of one run.
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

/// What there are several kinds of.
#[derive(Debug, Clone)]
pub(super) struct Several<'a> {
    pub(super) batches: &'a BatchRounds,
    pub(super) orders: &'a OrderRounds,
    pub(super) waiting: Vec<WaitingCost>,
}

impl BenchReport {
    #[expect(clippy::too_many_arguments, reason = "each is measured by itself")]
    pub(super) fn new(
        server: &str,
        options: &BenchOptions,
        rounds: &[Vec<Round>; 5],
        several: Several<'_>,
        latencies: &[Vec<Latency>; 2],
        from_zero: f64,
        swap: Swap,
        instance: InstanceCost,
        idle_percent: f64,
    ) -> Self {
        let [native, wasm, example, native_1, wasm_1] =
            rounds.each_ref().map(|all| median(all, |round| round.per_second));
        let [native_cpu, wasm_cpu, _, native_cpu_1, wasm_cpu_1] =
            rounds.each_ref().map(|all| median(all, |round| round.cpu_us));
        let [native_p50, wasm_p50] = latencies.each_ref().map(|all| median(all, |latency| latency.p50));
        let [_, wasm_p99] = latencies.each_ref().map(|all| median(all, |latency| latency.p99));
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
            throughput: Throughput { native, wasm, example, native_1, wasm_1 },
            batches: batches::report(several.batches, native, native_1),
            orders: orders::report(several.orders),
            waiting: several.waiting,
            cpu_us_per_message: CpuPerMessage {
                native: native_cpu,
                wasm: wasm_cpu,
                native_1: native_cpu_1,
                wasm_1: wasm_cpu_1,
            },
            requests: Requests { native_p50, wasm_p50, wasm_p99, from_zero },
            swap,
            instance,
            idle_percent,
        }
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { throughput, ratios, cpu_us_per_message, requests, swap, instance, .. } = self;
        writeln!(
            f,
            "nats-server {}, {} cores, medians of {} rounds of {} messages",
            self.server, self.cores, self.rounds, self.messages
        )?;
        writeln!(f)?;
        writeln!(f, "throughput, messages/s        native       wasm    example   wasm/native   wasm/example")?;
        let Throughput { native, wasm, example, native_1, wasm_1 } = throughput;
        writeln!(
            f,
            "  4 workers               {native:>10.0} {wasm:>10.0} {example:>10.0}  {:>11.2}x  {:>12.2}x",
            ratios.wasm_native, ratios.wasm_example
        )?;
        writeln!(
            f,
            "  1 worker                {native_1:>10.0} {wasm_1:>10.0}             {:>11.2}x",
            ratios.wasm_native_1
        )?;
        let CpuPerMessage { native, wasm, native_1, wasm_1 } = cpu_us_per_message;
        writeln!(f, "  CPU time a message, us  {native:>10.1} {wasm:>10.1}             (4 workers)")?;
        writeln!(f, "                          {native_1:>10.1} {wasm_1:>10.1}             (1 worker)")?;
        writeln!(f)?;
        writeln!(f, "batches                          4 workers to native   CPU us     1 worker to native   CPU us")?;
        for batches in &self.batches {
            writeln!(f, "{batches}")?;
        }
        writeln!(f)?;
        writeln!(f, "order by key                     4 workers to none     CPU us")?;
        for orders in &self.orders {
            writeln!(f, "{orders}")?;
        }
        writeln!(f)?;
        writeln!(f, "1,000 deliveries that wait 200 ms       seconds        MiB  (once each)")?;
        for waiting in &self.waiting {
            writeln!(f, "{waiting}")?;
        }
        writeln!(f)?;
        writeln!(f, "latency, us                   native       wasm")?;
        writeln!(
            f,
            "  request, p50            {:>10.0} {:>10.0}             {:>11.2}x",
            requests.native_p50, requests.wasm_p50, ratios.request_p50
        )?;
        writeln!(f, "  request, p99                       {:>10.0}", requests.wasm_p99)?;
        writeln!(
            f,
            "  first from zero, p50               {:>10.0}   {:.2}x the p99 above",
            requests.from_zero, ratios.from_zero
        )?;
        writeln!(f)?;
        writeln!(
            f,
            "an instance: {:.0} us to start and handle a message, {:.0} KiB resident",
            instance.start_and_call_us_p50, instance.rss_kib
        )?;
        writeln!(
            f,
            "a replaced file: {:.0} ms to the first answer of the new handler (at most {:.0} ms), {:.0} of the old one \
             meanwhile",
            swap.ms_p50, swap.ms_max, swap.old_answers_p50
        )?;
        write!(f, "an idle host with ten workloads: {:.2} % of a core", self.idle_percent)
    }
}
