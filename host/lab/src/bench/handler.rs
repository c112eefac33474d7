//! What a handler costs by itself, whatever it was written in: its file, compiling it, a call, the memory of a worker.
//!
//! Nothing goes through a server: what that adds is the same for all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::resident::resident_kib;
use crate::terminal::Bar;
use crate::text_table::aligned;
use tidegate_runtime::config::{Compile, Limits, Plugins};
use tidegate_runtime::contract::{Delivery, Failure};
use tidegate_runtime::plugin::{HandlerInstance, HandlerPlugin, PluginHost, WorkerContext};

/// Instances that are kept at once, and how long making them may take.
const INSTANCES: (u64, Duration) = (100, Duration::from_secs(5));

/// How long compiling may take: it is what is measured, on a busy machine too.
const COMPILE: Duration = Duration::from_secs(600);

/// The handlers to measure, and with what.
#[derive(Debug, Clone)]
pub struct HandlerOptions {
    /// Their files.
    pub files: Vec<PathBuf>,
    /// What each delivery has.
    pub payload: Bytes,
    /// Calls of one instance, of which the median is told.
    pub calls: u32,
}

/// What handlers cost, in the order of the files.
#[derive(Debug, Clone, Serialize)]
pub struct HandlerReport {
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of a delivery.
    pub payload: usize,
    /// The handlers.
    pub handlers: Vec<HandlerCost>,
}

/// What one handler costs.
#[derive(Debug, Clone, Serialize)]
pub struct HandlerCost {
    /// Its name: the stem of its file.
    pub name: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// Milliseconds from the file to a handler that can be run, as when a host sees it for the first time.
    pub compile_ms: f64,
    /// Microseconds until a new instance has handled its first delivery, median.
    pub start_and_call_us_p50: f64,
    /// Microseconds of one call of an instance that has been called before, median.
    pub call_us_p50: f64,
    /// The slowest of a hundred calls, in microseconds.
    pub call_us_p99: f64,
    /// Resident memory of an instance that has handled a delivery, in KiB.
    pub rss_kib: f64,
}

/// Measures each handler in turn.
///
/// # Errors
/// If a file is no handler, or the handler does not answer the delivery.
pub async fn handlers(options: &HandlerOptions, bar: &Bar) -> anyhow::Result<HandlerReport> {
    let mut handlers = Vec::new();
    for file in &options.files {
        bar.say(file.display().to_string());
        handlers.push(measure(file, options).await?);
        bar.advance();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(HandlerReport { cores, payload: options.payload.len(), handlers })
}

async fn measure(file: &Path, options: &HandlerOptions) -> anyhow::Result<HandlerCost> {
    let limits = Limits::default();
    // As a host compiles: in another process, into a cache, which is empty and goes with this.
    let compile = Compile { time: COMPILE, ..Compile::default() }.by_this_program()?;
    let plugins =
        Plugins { dir: PathBuf::new(), rescan: Duration::MAX, cache: None, compile, origin: Default::default() };
    let host = PluginHost::start(&plugins)?;
    let began = Instant::now();
    let plugin: HandlerPlugin = host.load(file, &limits).await?;
    let compile_ms = began.elapsed().as_secs_f64() * 1000.0;

    let delivery = Delivery {
        subject: "bench".to_owned(),
        payload: options.payload.clone(),
        stream_sequence: 1,
        attempt: 1,
        ..Delivery::default()
    };
    // The first makes what all share.
    let mut warm = start(&plugin, 0, &limits, &delivery, file).await?;
    let (mut starts, mut kept) = (Histogram::<u64>::new(3)?, Vec::new());
    let (before, began) = (resident_kib()?, Instant::now());
    for worker in 1..=INSTANCES.0 {
        let began_one = Instant::now();
        kept.push(start(&plugin, worker, &limits, &delivery, file).await?);
        starts.record(nanos(began_one)?)?;
        if began.elapsed() > INSTANCES.1 {
            break;
        }
    }
    let resident = resident_kib()?.saturating_sub(before) as f64;
    let rss_kib = resident / kept.len() as f64;
    drop(kept);
    let mut calls = Histogram::<u64>::new(3)?;
    for turn in 0..options.calls + options.calls / 10 {
        let began = Instant::now();
        call(&mut warm, &delivery, file).await?;
        // The first tenth warms up.
        if turn >= options.calls / 10 {
            calls.record(nanos(began)?)?;
        }
    }
    let micros = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(HandlerCost {
        name: plugin.generation().plugin.to_string(),
        bytes: std::fs::metadata(file)?.len(),
        compile_ms,
        start_and_call_us_p50: micros(&starts, 0.5),
        call_us_p50: micros(&calls, 0.5),
        call_us_p99: micros(&calls, 0.99),
        rss_kib,
    })
}

async fn start(
    plugin: &HandlerPlugin,
    worker: u64,
    limits: &Limits,
    delivery: &Delivery,
    file: &Path,
) -> anyhow::Result<HandlerInstance> {
    let context = WorkerContext::new("bench".into(), worker, Arc::new([]), limits.clone());
    let named = || format!("{} does not start", file.display());
    let mut instance = plugin.instantiate(&context).await.with_context(named)?;
    call(&mut instance, delivery, file).await?;
    Ok(instance)
}

async fn call(instance: &mut HandlerInstance, delivery: &Delivery, file: &Path) -> anyhow::Result<()> {
    let file = file.display();
    match instance.handle(delivery).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Failure::Reject(reason))) => {
            bail!("{file} rejects the payload: {reason}; give one that it handles by --payload")
        }
        Ok(Err(Failure::Failed(reason))) => {
            bail!("{file} fails with the payload: {reason}; give one that it handles by --payload")
        }
        Ok(Err(Failure::Retry(_))) => bail!("{file} wants a retry; give a payload that it handles by --payload"),
        Err(fault) => bail!("{file} fails: {fault}"),
    }
}

fn nanos(began: Instant) -> anyhow::Result<u64> {
    Ok(u64::try_from(began.elapsed().as_nanos())?)
}

impl fmt::Display for HandlerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["handler", "size", "compile", "start and call", "call", "call, p99", "memory a worker"];
        let rows = self.handlers.iter().map(|cost| {
            let HandlerCost { name, bytes, compile_ms, start_and_call_us_p50, call_us_p50, call_us_p99, rss_kib } =
                cost;
            [
                name.clone(),
                format!("{} KiB", bytes.div_ceil(1024)),
                format!("{:.2} s", compile_ms / 1000.0),
                format!("{start_and_call_us_p50:.0} us"),
                format!("{call_us_p50:.1} us"),
                format!("{call_us_p99:.1} us"),
                format!("{rss_kib:.0} KiB"),
            ]
        });
        writeln!(f, "{} cores, payloads of {} bytes, medians", self.cores, self.payload)?;
        let rows = std::iter::once(heads.map(str::to_owned)).chain(rows);
        write!(f, "{}", aligned(rows, &[1, 2, 3, 4, 5, 6]))
    }
}
