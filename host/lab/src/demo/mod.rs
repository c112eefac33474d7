//! The "Auto-Scaler" use case of NATS by Example, whole: batches of requests into a stream with interest retention,
//! workers that reply, a policy that decides how many, and nothing running at the end.
//!
//! The first request of a batch finds no workers: how long it takes is a point of the demo.

mod chart;
mod config;
mod load;
mod options;
mod plot;
mod record;
mod summary;
mod timeline;

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::terminal::{Bar, Terminal};
use tidegate_runtime::RunError;
use tidegate_runtime::jetstream::{Client, RequestError, RequestOptions};

pub use chart::chart;
pub use options::DemoOptions;
pub use plot::svg;
pub use record::DesiredChange;
pub use summary::{BatchSummary, Summary, WorkerSummary};
pub use timeline::Timeline;

use load::{Load, RequestBatch, RequestOutcome, Requester};
use record::{DemoState, Recorder};

/// What the demo logs by default: its own story, and what anyone should know. The host tells the same events in more
/// detail, which would be each line twice.
pub const LOG_FILTER: &str = "warn,tidegate_lab::demo=info";

/// How long streams, consumers and plugins may take to be there.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// When the number of workers has not changed for this long after the last pause, it is taken to stay. The example's
/// policy changes it after two seconds without a message, and then once a second.
const SETTLED_AFTER: Duration = Duration::from_secs(4);
/// A policy that never rests is not waited for longer than this.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// How often, and how many times, the consumer is looked at when the host has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LAST_LOOKS: u32 = 20;

/// What a run gave.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoReport {
    /// The numbers.
    pub summary: Summary,
    /// What the charts draw.
    pub timeline: Timeline,
    /// A title for the picture.
    pub title: String,
}

/// Runs the demo on the nats-server at `url`, which should have nothing else to do, with the plugins in `plugins`, to
/// its end or until `interrupted` resolves. Nothing of it is left then that would miss the server.
///
/// # Errors
/// When a plugin is not there, when the host does not start, when requests cannot be sent, or when it was interrupted.
pub async fn run(
    options: &DemoOptions,
    url: &str,
    plugins: &Path,
    terminal: &Terminal,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<DemoReport> {
    check_plugins(plugins, [&options.handler, &options.policy])?;
    let config = config::config(options, url, plugins);
    let client = Client::connect(&config.nats).await?;
    let recorder = Recorder::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut host = tokio::spawn(tidegate_runtime::run(config, recorder.observer(), async {
        // A sender that is gone says the same.
        stopped.await.ok();
    }));
    let bar = terminal.bar(u64::from(options.requests).saturating_mul(u64::from(options.batches)));
    // The load runs beside this, on the runtime's own threads: a reply wakes it sooner there.
    let mut load = AbortOnDrop(tokio::spawn({
        let (options, client, recorder, bar) = (options.clone(), client.clone(), recorder.clone(), bar.clone());
        async move { all_batches(&options, client, &recorder, &bar).await }
    }));
    let batches = tokio::select! {
        batches = &mut load.0 => batches.context("the load").flatten(),
        ended = &mut host => return Err(early(ended)),
        () = interrupted => Err(anyhow!("interrupted")),
    };
    drop((bar, load));
    // A host that has ended already does not hear it, and says why it ended in the next line.
    stop.send(()).ok();
    let stopped = joined(host.await);
    let batches = batches?;
    stopped?;
    let unsettled = unsettled(&client).await?;
    let record = recorder.finish();
    let summary = Summary::new(client.server_version(), &batches, &record, unsettled);
    Ok(DemoReport { summary, timeline: record.timeline, title: title(options) })
}

/// What the consumer still has to settle. The host's last acks are on another connection, so they get a moment.
async fn unsettled(client: &Client) -> anyhow::Result<u64> {
    let mut looks = 0_u32;
    loop {
        let unsettled = client.unsettled(config::STREAM, config::CONSUMER).await?;
        looks = looks.saturating_add(1);
        if unsettled == 0 || looks == LAST_LOOKS {
            return Ok(unsettled);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A task that ends with who started it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn early(ended: Result<Result<(), RunError>, JoinError>) -> anyhow::Error {
    joined(ended).err().unwrap_or_else(|| anyhow!("the host ended before the demo did"))
}

fn joined(ended: Result<Result<(), RunError>, JoinError>) -> anyhow::Result<()> {
    ended.context("the host")?.map_err(anyhow::Error::from)
}

async fn all_batches(
    options: &DemoOptions,
    client: Client,
    recorder: &Recorder,
    bar: &Bar,
) -> anyhow::Result<Vec<RequestBatch>> {
    let mut state = recorder.state();
    let ready = timeout(READY_WITHIN, state.wait_for(|state| state.ready)).await;
    ready.map_err(|_| anyhow!("the host was not ready within {}", humantime::format_duration(READY_WITHIN)))??;
    let _shown = AbortOnDrop(tokio::spawn(show(bar.clone(), recorder.clone())));
    let requester = ThroughStream { client, recorder: recorder.clone(), timeout: options.timeout };
    let DemoOptions { requests, concurrency, payload_size, seed, .. } = *options;
    let load = Load { requests, concurrency, payload_size, seed };
    recorder.start();
    let mut batches = Vec::new();
    for number in 1..=options.batches {
        tracing::info!("batch {number}: {requests} requests");
        let batch = load::batch(&load, number, &requester, || bar.advance()).await?;
        tracing::info!("batch {number}: done in {:.3} s", batch.elapsed.as_secs_f64());
        batches.push(batch);
        if number < options.batches {
            tracing::info!("pause of {}", humantime::format_duration(options.pause));
        }
        sleep(options.pause).await;
    }
    until_settled(recorder).await;
    Ok(batches)
}

/// Waits until no worker runs, or until the policy seems to be content with those that do.
async fn until_settled(recorder: &Recorder) {
    let mut state = recorder.state();
    let settled = async {
        loop {
            let seen: DemoState = *state.borrow_and_update();
            if seen.running == 0 {
                return;
            }
            let changed = pin!(state.wait_for(|now| *now != seen));
            if timeout(SETTLED_AFTER, changed).await.is_err() {
                tracing::info!("workers stay: {}", seen.running);
                return;
            }
        }
    };
    if timeout(SETTLED_WITHIN, settled).await.is_err() {
        tracing::warn!("the policy still scales after {}", humantime::format_duration(SETTLED_WITHIN));
    }
}

/// Keeps the message beside the progress bar.
async fn show(bar: Bar, recorder: Recorder) {
    let mut state = recorder.state();
    loop {
        let running = state.borrow_and_update().running;
        bar.say(if running == 1 { "1 worker".to_owned() } else { format!("{running} workers") });
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Requests through the stream, written down as they are sent.
struct ThroughStream {
    client: Client,
    recorder: Recorder,
    timeout: Duration,
}

impl Requester for ThroughStream {
    async fn request(&self, id: &str, payload: Bytes) -> anyhow::Result<RequestOutcome> {
        self.recorder.arrived();
        let options = RequestOptions { timeout: self.timeout, message_id: Some(id.to_owned()) };
        match self.client.request(config::SUBJECT, payload, &[], &options).await {
            Ok(_) => Ok(RequestOutcome::Replied),
            Err(RequestError::NoPubAck { .. }) => Ok(RequestOutcome::Unacked),
            Err(RequestError::NoReply { stored, .. }) => {
                let sequence = stored.sequence;
                let dead = self.recorder.is_dead(sequence);
                Ok(if dead { RequestOutcome::Dead { sequence } } else { RequestOutcome::Unanswered { sequence } })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The host would wait for a plugin that is not there; the demo has nothing to wait for.
fn check_plugins<'a>(dir: &Path, names: impl IntoIterator<Item = &'a String>) -> anyhow::Result<()> {
    for name in names {
        let file = dir.join(format!("{name}.wasm"));
        if !file.is_file() {
            bail!(
                "there is no plugin `{name}`: {} is not a file; those that are there: {}",
                file.display(),
                present(dir)
            );
        }
    }
    Ok(())
}

fn present(dir: &Path) -> String {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let wasm = entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    let mut names: Vec<String> =
        wasm.filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn title(options: &DemoOptions) -> String {
    let requests = summary::thousands(u64::from(options.requests));
    let DemoOptions { batches, policy, handler, .. } = options;
    let source = options.source.as_str();
    format!("{batches} x {requests} requests: handler {handler}, policy {policy}, signals from {source}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_missing_plugin_is_named_beside_those_that_are_there() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["reply.wasm", "echo.wasm", "notes.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        check_plugins(dir.path(), [&"reply".to_owned()]).unwrap();
        let error = check_plugins(dir.path(), [&"reply".to_owned(), &"stop".to_owned()]).unwrap_err().to_string();
        assert!(error.starts_with("there is no plugin `stop`") && error.ends_with("echo, reply"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_demo_ends_when_the_last_worker_has_or_when_those_that_run_stay() {
        use tidegate_runtime::events::Event;
        let recorder = Recorder::default();
        until_settled(&recorder).await;
        recorder.observer().tell(Event::WorkerStarted { workload: "demo".into(), worker: 1 });
        let before = tokio::time::Instant::now();
        until_settled(&recorder).await;
        assert_eq!(before.elapsed().as_secs(), SETTLED_AFTER.as_secs());
    }
}
