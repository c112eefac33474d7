//! Throughput and latency of components against the same loop in native code, and against the Auto-Scaler's loop.
//!
//! All run on one nats-server, in turn: what else the machine does meanwhile meets all of them. Only ratios of such a
//! run mean something on another machine.

mod batches;
mod busy;
mod handler;
mod instance;
mod isolated;
mod key_memory;
mod lab;
mod load;
mod loop_kind;
mod many_idle;
mod many_workers;
mod median;
mod native;
mod options;
mod orders;
mod process_time;
mod publications;
mod report;
mod report_text;
mod resident;
mod rows;
mod scale;
mod start;
mod waiting;

use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;

use crate::terminal::Bar;
pub use batches::BatchThroughput;
pub use busy::BusyCost;
pub use handler::{HandlerCost, HandlerOptions, HandlerReport, handlers};
pub use isolated::IsolatedCost;
pub use key_memory::{KeyMemory, WaitingKeys, key_memory};
use lab::{Lab, SUBJECT, cpu_time};
use load::LoadSite;
pub use load::{Code, HostTask, LoadCost, serve};
use loop_kind::LoopKind;
pub use many_idle::ManyIdle;
pub use many_workers::ManyWorkers;
use options::KINDS;
pub use options::{BenchOptions, WAITING};
pub use orders::OrderThroughput;
pub use publications::PublicationCost;
pub use report::{BenchReport, CpuPerMessage, InstanceCost, Ratios, Swap, Throughput};
use report::{Latency, Measured};
pub use rows::{Row, Rows};
pub use scale::{Axis, CLUSTER, Curve, Growth, Growths, Point, ScaleOptions, ScaleReport, ScaleServers, scale};
pub use start::{IdleMemory, StartCost};
use tidegate_runtime::duration::micros;
use tidegate_runtime::events::Event;
use tidegate_runtime::jetstream::RequestOptions;
pub use waiting::{WaitingCost, waiting};

/// How often an idle host is woken.
const WAKES: u32 = 40;
/// How often a handler's file is replaced.
const SWAPS: u32 = 12;
/// Workloads of the idle host.
const IDLE_WORKLOADS: u32 = 10;

/// Measures on the nats-server at `url`, which should have nothing else to do.
///
/// # Errors
/// If the server or a workload fails.
pub async fn run(options: &BenchOptions, url: &str, bar: &Bar) -> anyhow::Result<BenchReport> {
    let step = |what: &str| {
        bar.advance();
        bar.say(what.to_owned());
    };
    let rows = &options.rows;
    let mut report = Measured::default();
    if rows.has(Row::Instance) {
        step("instances");
        report.instance = Some(instance::measure(options.reply).await?);
    }
    let mut lab = None;
    if options.has_lab() {
        step("filling a stream");
        lab = Some(Lab::new(url, options).await?);
    }
    let mut site = LoadSite::new(url, options.server.into_iter().collect(), options).await?;
    if let Some(lab) = lab.as_mut().filter(|_| rows.has(Row::Idle)) {
        step("an idle host");
        report.idle_percent = Some(idle(lab, Duration::from_secs(options.rounds.into())).await?);
    }
    for _ in 0..options.rounds {
        if let Some(lab) = &mut lab {
            round(lab, options, &mut report, &step).await?;
        }
        if rows.has(Row::Publications) {
            publications::round(&mut site, options, &mut report.publications, &step).await?;
        }
    }
    if let Some(lab) = &mut lab {
        in_this_process(lab, options, &mut report, &step).await?;
    }
    in_processes(&mut site, options, &mut report, &step).await?;
    Ok(BenchReport::new(&site.client.server_version(), options, report))
}

/// What there are no rounds of, with a host in this process.
async fn in_this_process(
    lab: &mut Lab,
    options: &BenchOptions,
    report: &mut Measured,
    step: &impl Fn(&str),
) -> anyhow::Result<()> {
    let rows = &options.rows;
    if rows.has(Row::FromZero) {
        step("from zero");
        report.from_zero = Some(from_zero(lab).await?);
    }
    if rows.has(Row::Swap) {
        step("a handler that is replaced");
        report.swap = Some(swap(lab, Cached::Yes).await?);
        step("a handler that is replaced by one that was never compiled");
        report.swap_uncached = Some(swap(lab, Cached::No).await?);
    }
    if rows.has(Row::Isolated) {
        step("an instance a message");
        report.isolated = Some(isolated::measure(lab, options.requests.saturating_mul(4)).await?);
    }
    if rows.has(Row::ManyIdle) {
        step("a thousand idle workloads");
        report.many_idle = Some(many_idle::measure(lab, options.server).await?);
    }
    Ok(())
}

/// What there are no rounds of, with hosts in processes of their own.
async fn in_processes(
    site: &mut LoadSite,
    options: &BenchOptions,
    report: &mut Measured,
    step: &impl Fn(&str),
) -> anyhow::Result<()> {
    let rows = &options.rows;
    if rows.has(Row::Start) {
        step("a host that starts");
        report.start = Some(start::measure(site, options).await?);
    }
    if rows.has(Row::IdleMemory) {
        step("the memory of an idle host");
        report.idle_memory = Some(start::idle_memory(site, options).await?);
    }
    if rows.has(Row::ManyBusy) {
        step("a thousand busy workloads");
        report.many_busy = Some(busy::measure(site, options).await?);
    }
    if rows.has(Row::ManyWorkers) {
        step("ten thousand workers");
        report.many_workers = Some(many_workers::measure(site, options).await?);
    }
    Ok(())
}

/// One round of each kind that there are rounds of.
async fn round(
    lab: &mut Lab,
    options: &BenchOptions,
    report: &mut Measured,
    step: &impl Fn(&str),
) -> anyhow::Result<()> {
    for ((kind, workers), rounds) in KINDS.into_iter().zip(&mut report.rounds) {
        if options.compares(kind) {
            step(&format!("throughput, {kind:?}, {workers} workers"));
            rounds.push(lab.throughput(kind, workers).await?);
        }
    }
    if options.rows.has(Row::Batches) {
        batches::round(lab, &mut report.batches, step).await?;
    }
    if options.rows.has(Row::Order) {
        orders::round(lab, &mut report.orders, step).await?;
    }
    if options.rows.has(Row::Requests) {
        for (kind, latencies) in [LoopKind::Native, LoopKind::Wasm].into_iter().zip(&mut report.latencies) {
            step(&format!("requests, {kind:?}"));
            latencies.push(requests(lab, kind, options.requests).await?);
        }
    }
    Ok(())
}

/// Sequential requests to one worker.
async fn requests(lab: &mut Lab, kind: LoopKind, count: u32) -> anyhow::Result<Latency> {
    let mut running = lab.serve(kind, 1, 1).await?;
    running.wait(|event| matches!(event, Event::WorkerStarted { .. })).await?;
    let mut times = Histogram::<u64>::new(3)?;
    for turn in 0..count + count / 10 {
        let time = request(lab).await?;
        // The first tenth warms up.
        if turn >= count / 10 {
            times.record(time)?;
        }
    }
    running.stop().await?;
    let microseconds = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Latency { p50: microseconds(0.5), p99: microseconds(0.99) })
}

/// Nanoseconds of one request.
async fn request(lab: &Lab) -> anyhow::Result<u64> {
    let began = Instant::now();
    lab.client.request(SUBJECT, Bytes::new(), &[], &RequestOptions::default()).await?;
    Ok(u64::try_from(began.elapsed().as_nanos())?)
}

/// The median of the first request to a host without workers, in microseconds. Its policy wants none, so the worker
/// that the request started is gone before the next.
async fn from_zero(lab: &mut Lab) -> anyhow::Result<f64> {
    let mut running = lab.serve(LoopKind::Wasm, 0, 0).await?;
    running.wait(|event| matches!(event, Event::Ready { .. })).await?;
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..WAKES {
        tokio::time::sleep(Duration::from_millis(100)).await;
        times.record(request(lab).await?)?;
        running.wait(|event| matches!(event, Event::WorkerEnded { .. })).await?;
    }
    running.stop().await?;
    Ok(times.value_at_quantile(0.5) as f64 / 1000.0)
}

/// Whether a new file's code was compiled before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cached {
    Yes,
    No,
}

/// From the moment that a handler's file is replaced to the first answer of the new one, under sequential requests.
async fn swap(lab: &mut Lab, cached: Cached) -> anyhow::Result<Swap> {
    lab.put(false, None)?;
    let mut running = lab.serve_swapped().await?;
    running.wait(|event| matches!(event, Event::WorkerStarted { .. })).await?;
    let (mut times, mut old) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for turn in 0..SWAPS {
        let (echo, payload) = (turn % 2 == 0, Bytes::from_static(b"x"));
        // Long enough that the directory has been quiet: it is not looked at again at once.
        tokio::time::sleep(Duration::from_millis(200)).await;
        lab.put(echo, (cached == Cached::No).then_some(turn))?;
        let (began, mut answers) = (Instant::now(), 0);
        loop {
            let reply = lab.client.request(SUBJECT, payload.clone(), &[], &RequestOptions::default()).await?;
            if reply.payload.is_empty() != echo {
                break;
            }
            answers += 1;
        }
        // Each was compiled in one of the first two, where it is one of two.
        if turn >= 2 {
            times.record(micros(began.elapsed()))?;
            old.record(answers)?;
        }
    }
    running.stop().await?;
    let milliseconds = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Swap {
        ms_p50: milliseconds(0.5),
        ms_max: milliseconds(1.0),
        old_answers_p50: old.value_at_quantile(0.5) as f64,
    })
}

/// The share of a core that ten workloads take that have nothing to do, in percent.
async fn idle(lab: &mut Lab, time: Duration) -> anyhow::Result<f64> {
    let mut all = Vec::new();
    for _ in 0..IDLE_WORKLOADS {
        all.push(lab.serve_idle().await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cpu_time();
    tokio::time::sleep(time).await;
    let spent = cpu_time().saturating_sub(before);
    for running in all {
        running.stop().await?;
    }
    Ok(100.0 * spent.as_secs_f64() / time.as_secs_f64())
}
