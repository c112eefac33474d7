//! A simulated workload for real: the same messages with the same service times, sent to a nats-server and handled by a
//! host.
//!
//! All times are compressed by one factor, so an hour of a trace takes minutes. The host is the one that
//! [`run`](tidegate_runtime::run()) runs, but for what stands at two of its ports: `trace_time` gives the policy the
//! times and rates of the trace, so that its settings mean what they mean in a simulation, and `begun` notes when
//! each message is begun. The handler is `wait`, which takes as long as its payload says.
//!
//! What is measured is in trace time again, to stand beside what a simulation foretold (`compare`).

mod begun;
mod compare;
mod options;
mod publish;
mod trace_time;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use hdrhistogram::Histogram;
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until, timeout};

use crate::alone::{self, Alone};
use crate::terminal::Bar;
use begun::{RecordingHandlers, WaitRecorder};
pub use compare::{ComparedNumber, LOOSE, LiveComparison, Numbers, ON_THE_WAY_MS, TOLERANCE};
use options::NAME;
pub use options::{LiveRunOptions, TraceMessage};
use tidegate_runtime::config::{Config, Nats, Workload};
use tidegate_runtime::events::{Event, Observer};
use tidegate_runtime::jetstream::Client;
use tidegate_runtime::plugin::{Directory, PluginHost, PluginPolicies};
use trace_time::{FirstDecision, PoliciesInTraceTime, TraceTime};

/// What is logged by default. The host would tell of each worker.
pub const LOG_FILTER: &str = "warn,tidegate::commands=info";

/// How long it may take until the policy is asked for the first time, which is when the trace begins.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long messages that are left when the last was sent may take, in real time, before it is given up.
const FINISH_WITHIN: Duration = Duration::from_secs(600);

/// What was measured, in the time of the trace.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Seconds that all workers lived, those that drained among them, until the trace was over.
    pub worker_seconds: f64,
    /// Microseconds from just before a message was sent until a worker gave it to its handler.
    pub waits: Histogram<u64>,
    /// The most workers that were wanted at once.
    pub peak_workers: u32,
    /// How many changes of their number there were.
    pub scalings: u32,
    /// Microseconds, of real time, by which messages were sent later than the trace has them. A machine that is too
    /// busy shows here first.
    pub late: Histogram<u64>,
}

/// Runs it on the nats-server at `url`, which should have nothing else to do, to its end or until `interrupted`
/// resolves. `bar` advances with each message. No workload is left then that would miss the server.
///
/// # Errors
/// If the server, the host or the policy fails, messages are left over, or it was interrupted.
pub async fn run(
    options: &LiveRunOptions,
    url: &str,
    bar: &Bar,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Measured> {
    let plugins = TempDir::new().context("a directory for the plugins")?;
    std::fs::write(plugins.path().join("wait.wasm"), options.wait)?;
    std::fs::write(plugins.path().join("policy.wasm"), &options.policy)?;
    let (nats, directory, workload) = prepared(options, url, plugins.path())?;
    let (host_client, client) = (Client::connect(&nats).await?, Client::connect(&nats).await?);
    let recorder = Arc::new(WaitRecorder::new(options.messages.len())?);

    let handlers = alone::loaded(&directory, &workload).await;
    let handlers = RecordingHandlers::new(handlers, recorder.clone(), options.real(options.start_delay));
    let time = TraceTime { faster: options.faster, start_ms: options.start_ms };
    let beginning = Arc::new(FirstDecision::default());
    let policies = PoliciesInTraceTime::new(
        PluginPolicies::new(&directory, &workload, &workload.policy, workload.policy_pin.as_ref()),
        time,
        beginning.clone(),
    );
    let scaled = Arc::new(ScalingCounters::default());
    let plugins = (handlers, policies);
    let running = Alone::start(host_client, NAME, workload, plugins, scaled.observer(bar)).await?;
    let measured = tokio::select! {
        measured = measured(options, &client, (&running, &beginning, &recorder, &scaled), bar) => measured,
        () = interrupted => Err(anyhow!("interrupted")),
    };
    let stopped = running.stop().await;
    let measured = measured?;
    stopped?;
    Ok(measured)
}

/// What is seen of a workload from its first decision until all messages of the trace were handled.
async fn measured(
    options: &LiveRunOptions,
    client: &Client,
    (running, beginning, recorder, scaled): (&Alone, &FirstDecision, &WaitRecorder, &ScalingCounters),
    bar: &Bar,
) -> anyhow::Result<Measured> {
    let state = &running.state;
    if timeout(READY_WITHIN, beginning.came()).await.is_err() {
        let why = state.history.scaling().refused.unwrap_or_else(|| "it was not loaded".to_owned());
        bail!("the policy is not in use: {why}");
    }
    let workers = state.running().context("the workload does not run")?.workers.clone();
    let alive_us = || workers.tally().work.alive_us;
    let (start, before) = (Instant::now(), alive_us());
    recorder.start(start);
    let late = publish::all(options, client, start, recorder, bar).await?;
    sleep_until(start + options.real(options.length)).await;
    if timeout(FINISH_WITHIN, recorder.all()).await.is_err() {
        let late = humantime::format_duration(FINISH_WITHIN);
        bail!("{late} after the end of the trace {} messages were not handled", recorder.left());
    }
    let lived_us = alive_us().saturating_sub(before);
    Ok(Measured {
        worker_seconds: lived_us as f64 / 1e6 * options.faster,
        waits: recorder.waits(options.faster),
        peak_workers: scaled.peak.load(Relaxed),
        scalings: scaled.count.load(Relaxed),
        late,
    })
}

fn prepared(options: &LiveRunOptions, url: &str, plugins: &Path) -> anyhow::Result<(Nats, Directory, Workload)> {
    let mut config = config(options)?;
    config.plugins.dir = plugins.to_owned();
    let mut workload = config.workloads.pop().context("a workload")?;
    // Intervals that nobody would configure are right here.
    workload.scale.interval = options.real(options.interval);
    workload.scale.window = options.real(options.window);
    workload.policy_settings.clone_from(&options.settings);
    let directory = Directory::start(PluginHost::new(None)?, &config.plugins);
    Ok((config.nats.moved_to(url), directory, workload))
}

fn config(options: &LiveRunOptions) -> anyhow::Result<Config> {
    let LiveRunOptions { min, max, batch, .. } = options;
    Ok(Config::from_toml(&format!(
        r#"
        [workload.{NAME}]
        stream = "{NAME}"
        manage = "create"
        subjects = ["{NAME}.>"]
        handler = "wait"
        policy = "policy"
        scale = {{ min = {min}, max = {max} }}
        pull = {{ batch = {batch}, expires = "1s" }}
        limits = {{ time = "1h" }}
        "#
    ))?)
}

/// What the host tells of its scaling.
#[derive(Debug, Default)]
struct ScalingCounters {
    peak: AtomicU32,
    count: AtomicU32,
}

impl ScalingCounters {
    fn observer(self: &Arc<Self>, bar: &Bar) -> Observer {
        let (scaled, bar) = (self.clone(), bar.clone());
        Observer::new(move |event| {
            if let Event::Scaled { to, .. } = event {
                scaled.peak.fetch_max(to, Relaxed);
                scaled.count.fetch_add(1, Relaxed);
                bar.say(if to == 1 { "1 worker".to_owned() } else { format!("{to} workers") });
            }
        })
    }
}
