//! A server, a filled stream, and workloads on it that are timed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::loop_kind::LoopKind;
use super::native::{Always, Native};
use super::options::{BenchOptions, KEYS, WORKERS};
use crate::alone::{self, Alone};
use crate::streams;
use tidegate_runtime::config::{
    Batching, Compile, Config, HttpGrant, Isolation, Order, OrderKey, Plugins, Setting, Workload,
};
use tidegate_runtime::events::{Event, Observer};
use tidegate_runtime::jetstream::Client;
use tidegate_runtime::plugin::{Directory, PluginHost};
use tidegate_runtime::ports::Handlers;

/// The stream that throughput is measured on.
const FILLED: &str = "FILLED";
/// The stream that throughput of an order is measured on. Token `N + 2` of its subjects has as many values as
/// [`KEYS`] says at `N`.
const KEYED: &str = "KEYED";
/// The stream that requests go through.
const REQUESTS: &str = "REQUESTS";
/// The stream whose messages are asked for by HTTP, and its subject.
pub(super) const WAITS: (&str, &str) = ("WAITS", "waits");
/// The stream of the answers, and its subject.
const PRICES: (&str, &str) = ("PRICES", "prices");
/// A subject of it.
pub(super) const SUBJECT: &str = "bench.request";
/// How many messages may wait for their turn: as many as by default.
const BUFFER: usize = 10_000;
/// How often it is looked whether all is settled.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// The stream that throughput is measured on.
fn stream_of(kind: LoopKind) -> &'static str {
    if matches!(kind, LoopKind::Ordered(_)) { KEYED } else { FILLED }
}

/// How one round went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) per_second: f64,
    pub(super) cpu_us: f64,
}

pub(super) struct Lab {
    pub(super) client: Client,
    directory: Directory,
    plugins: TempDir,
    messages: usize,
    reply: &'static [u8],
    echo: &'static [u8],
    next: u32,
}

/// A workload that runs until it is told to stop.
pub(super) struct RunningWorkload {
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    alone: Alone,
}

impl Lab {
    /// Connects, and fills a stream with `messages` of `payload` bytes.
    pub(super) async fn new(url: &str, options: &BenchOptions) -> anyhow::Result<Self> {
        let plugins = TempDir::new()?;
        std::fs::write(plugins.path().join("reply.wasm"), options.reply)?;
        std::fs::write(plugins.path().join("reply-batch.wasm"), options.reply_batch)?;
        std::fs::write(plugins.path().join("fetch.wasm"), options.fetch)?;
        std::fs::write(plugins.path().join("fetch-async.wasm"), options.fetch_async)?;
        let config = workload("any", FILLED, 1, plugins.path())?;
        let mut nats = config.nats;
        nats.servers = vec![url.to_owned()];
        let client = Client::connect(&nats).await?;
        streams::fill(&client, FILLED, "filled", options.messages, options.payload).await?;
        let keyed =
            |number: usize| KEYS.iter().fold("keyed".to_owned(), |text, keys| format!("{text}.{}", number % keys));
        streams::fill_many(&client, KEYED, "keyed.>", options.messages, options.payload, keyed).await?;
        for (stream, subject) in [(REQUESTS, "bench.*"), WAITS, PRICES] {
            streams::fill(&client, stream, subject, 0, 0).await?;
        }
        // As a host compiles: in another process, into a cache.
        let compile = Compile::default().by_this_program()?;
        let plugged = Plugins { cache: None, compile, ..config.plugins };
        let directory = Directory::start(PluginHost::start(&plugged)?, &plugged);
        let &BenchOptions { messages, reply, echo, .. } = options;
        Ok(Self { client, directory, plugins, messages, reply, echo, next: 1 })
    }

    /// Works the filled stream off.
    pub(super) async fn throughput(&mut self, kind: LoopKind, workers: u32) -> anyhow::Result<Round> {
        let name = self.name();
        let (consumer, stream) = (format!("{name}-workers"), stream_of(kind));
        let (began, cpu) = (Instant::now(), cpu_time());
        let taken = match kind {
            LoopKind::Example => {
                let workers = usize::try_from(workers)?;
                let work = streams::work_off_as_the_example(&self.client, stream, &consumer, workers);
                // Its loops end by a time-out; the clock stops when all is settled.
                let (worked, settled) = tokio::join!(work, self.settled(stream, &consumer, began, cpu));
                worked?;
                settled?
            }
            _ => {
                let running = self.start(&name, stream, kind, workers, workers).await?;
                let settled = self.settled(stream, &consumer, began, cpu).await?;
                running.stop().await?;
                settled
            }
        };
        streams::forget(&self.client, stream, &consumer).await?;
        let (seconds, cpu_seconds) = taken;
        let messages = self.messages as f64;
        Ok(Round { per_second: messages / seconds, cpu_us: cpu_seconds * 1e6 / messages })
    }

    async fn settled(&self, stream: &str, consumer: &str, began: Instant, cpu: Duration) -> anyhow::Result<(f64, f64)> {
        loop {
            // The consumer may not be there yet.
            if let Ok(0) = self.client.unsettled(stream, consumer).await {
                return Ok((began.elapsed().as_secs_f64(), cpu_time().saturating_sub(cpu).as_secs_f64()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The name of a workload on the stream of requests, which is empty then: its consumer would begin with those that
    /// were answered before.
    async fn server_name(&mut self) -> anyhow::Result<String> {
        streams::purge(&self.client, REQUESTS).await?;
        Ok(self.name())
    }

    /// Starts a workload on the stream of requests.
    pub(super) async fn serve(&mut self, kind: LoopKind, min: u32, always: u32) -> anyhow::Result<RunningWorkload> {
        let name = self.server_name().await?;
        self.start(&name, REQUESTS, kind, min, always).await
    }

    /// Puts a handler into place that answers with what it is sent, or one that answers with nothing. With a number it
    /// is one that was never seen.
    pub(super) fn put(&self, echo: bool, number: Option<u32>) -> anyhow::Result<()> {
        let beside = self.plugins.path().join(".swapped.new");
        let bytes = if echo { self.echo } else { self.reply };
        let bytes = number.map_or_else(|| bytes.to_vec(), |number| unlike(bytes, number));
        std::fs::write(&beside, bytes)?;
        Ok(std::fs::rename(beside, self.plugins.path().join("swapped.wasm"))?)
    }

    /// Starts a workload on the stream of requests with the handler that is put into place.
    pub(super) async fn serve_swapped(&mut self) -> anyhow::Result<RunningWorkload> {
        let name = self.server_name().await?;
        let mut config = workload(&name, REQUESTS, 1, self.plugins.path())?;
        let mut workload = config.workloads.pop().context("a workload")?;
        workload.handler = "swapped".to_owned();
        self.run_loaded(workload, 1).await
    }

    /// Starts a workload on the stream of requests whose instances handle one message each.
    pub(super) async fn serve_isolated(&mut self) -> anyhow::Result<RunningWorkload> {
        let name = self.server_name().await?;
        let mut config = workload(&name, REQUESTS, WORKERS, self.plugins.path())?;
        let mut workload = config.workloads.pop().context("a workload")?;
        workload.isolation = Isolation::Message;
        self.run_loaded(workload, WORKERS).await
    }

    /// Starts a workload that asks the service at `origin` for each message of its stream, and names its consumer.
    pub(super) async fn serve_waiting(
        &mut self,
        workers: u32,
        concurrency: usize,
        origin: &str,
    ) -> anyhow::Result<(String, RunningWorkload)> {
        let name = self.name();
        let mut config = workload(&name, WAITS.0, workers, self.plugins.path())?;
        let mut workload = config.workloads.pop().context("a workload")?;
        workload.handler = if concurrency > 1 { "fetch-async" } else { "fetch" }.to_owned();
        workload.concurrency = concurrency;
        let settings = [("url", origin), ("subject", PRICES.1)];
        workload.settings = settings.map(|(name, value)| (name.to_owned(), Setting::from(value))).to_vec();
        workload.grants.publish = vec![PRICES.1.to_owned()];
        workload.grants.http = vec![HttpGrant::parse(origin).map_err(|error| anyhow::anyhow!("{origin}: {error}"))?];
        let running = self.run_loaded(workload, workers).await?;
        Ok((format!("{name}-workers"), running))
    }

    /// Starts a workload that holds all of the stream with many subjects in order, this token of which is the key, and
    /// names the stream and its consumer.
    pub(super) async fn serve_held(
        &mut self,
        token: usize,
        handlers: impl Handlers,
    ) -> anyhow::Result<((&'static str, String), RunningWorkload)> {
        let name = self.name();
        let mut config = workload(&name, KEYED, 1, self.plugins.path())?;
        let mut workload = config.workloads.pop().context("a workload")?;
        // Nothing is asked for any more when three quarters of the buffer are full.
        let buffer = self.messages.saturating_mul(2);
        workload.order = Some(Order { key: OrderKey::Token(token), buffer, buffer_bytes: 1 << 32, in_fleet: false });
        workload.queue.max_ack_pending = i64::try_from(buffer)?;
        Ok(((KEYED, format!("{name}-workers")), self.run(workload, handlers, 1).await?))
    }

    /// Starts a workload on the stream of requests that sees none of them.
    pub(super) async fn serve_idle(&mut self) -> anyhow::Result<RunningWorkload> {
        let name = self.name();
        let mut config = workload(&name, REQUESTS, 0, self.plugins.path())?;
        let mut workload = config.workloads.pop().context("a workload")?;
        workload.queue.filter = vec!["bench.silence".to_owned()];
        workload.scale.interval = Duration::from_secs(1);
        workload.pull.expires = Duration::from_secs(5);
        self.run_loaded(workload, 0).await
    }

    async fn start(
        &self,
        name: &str,
        stream: &str,
        kind: LoopKind,
        min: u32,
        always: u32,
    ) -> anyhow::Result<RunningWorkload> {
        let mut config = workload(name, stream, min, self.plugins.path())?;
        let mut workload = config.workloads.pop().context("a workload")?;
        match kind {
            LoopKind::Wasm => self.run_loaded(workload, always).await,
            LoopKind::Batches(size) => {
                workload.handler = "reply-batch".to_owned();
                workload.batching = Batching { size, ..workload.batching };
                self.run_loaded(workload, always).await
            }
            LoopKind::Ordered(token) => {
                let order = |token| Order {
                    key: OrderKey::Token(token),
                    buffer: BUFFER,
                    buffer_bytes: 64 << 20,
                    in_fleet: false,
                };
                workload.queue.max_ack_pending += BUFFER as i64;
                workload.order = token.map(order);
                self.run_loaded(workload, always).await
            }
            LoopKind::Native | LoopKind::Example => self.run(workload, Native::default(), always).await,
        }
    }

    async fn run_loaded(&self, workload: Workload, always: u32) -> anyhow::Result<RunningWorkload> {
        let handlers = alone::loaded(&self.directory, &workload).await;
        self.run(workload, handlers, always).await
    }

    async fn run<H: Handlers>(&self, workload: Workload, handlers: H, always: u32) -> anyhow::Result<RunningWorkload> {
        let (events, seen) = mpsc::unbounded_channel();
        let observer = Observer::new(move |event| {
            // Nobody may be looking.
            let _ = events.send(event);
        });
        let plugins = (handlers, Always::new(always));
        let alone = Alone::start(self.client.clone(), "bench", workload, plugins, observer).await?;
        Ok(RunningWorkload { events: seen, alone })
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("bench{}", self.next)
    }
}

impl RunningWorkload {
    /// Waits for an event.
    pub(super) async fn wait(&mut self, is: impl Fn(&Event) -> bool) -> anyhow::Result<()> {
        while !is(&self.events.recv().await.context("the workload ended")?) {}
        Ok(())
    }

    /// Stops, and waits for the end.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.alone.stop().await
    }
}

fn workload(name: &str, stream: &str, min: u32, plugins: &Path) -> anyhow::Result<Config> {
    let max = min.max(1);
    // A worker that a message started stays for an interval, and the next request is to find none.
    let interval = if min == 0 { "20ms" } else { "10s" };
    let mut config = Config::from_toml(&format!(
        r#"
        [workload.{name}]
        stream = "{stream}"
        manage = "create"
        handler = "reply"
        policy = "always"
        scale = {{ min = {min}, max = {max}, interval = "{interval}", window = "10s" }}
        pull = {{ expires = "1s" }}
        "#
    ))?;
    config.plugins.dir = plugins.to_owned();
    Ok(config)
}

/// A component that does the same, and was never seen with another number.
pub(super) fn unlike(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // A section that says nothing: its kind, its size, the size of its name, its name and what is in it.
    bytes.extend([0, 10, 5]);
    bytes.extend(b"bench");
    bytes.extend(number.to_le_bytes());
    bytes
}

/// The time that this process has spent on all cores.
pub(super) fn cpu_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}
