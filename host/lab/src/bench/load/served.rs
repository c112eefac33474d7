//! The process of a host: workloads that run until standard input ends.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use super::super::native::{Always, Native};
use super::counted::Counted;
use super::deal::{Code, HostTask};
use crate::alone::{self, Alone};
use tidegate_runtime::config::{Compile, Config, Order, OrderKey, Setting, Workload};
use tidegate_runtime::contract::Publication;
use tidegate_runtime::events::Observer;
use tidegate_runtime::jetstream::Client;
use tidegate_runtime::plugin::{Directory, PluginHost};
use tidegate_runtime::ports::Handlers;

/// How many workloads are started at once.
const AT_ONCE: usize = 32;
/// How long it may take until all workers have their instances.
const START: Duration = Duration::from_secs(300);
/// The token of a subject that is the key.
const KEY: usize = 3;
/// How many messages may wait for their turn: as many as by default.
const BUFFER: usize = 10_000;

/// What a host's process says of itself, a line of JSON each.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Told {
    /// Workers with an instance; none when they have ended.
    pub(super) workers: u64,
    /// Seconds that the start, or the end, took.
    pub(super) seconds: f64,
}

/// Runs the workloads of a task. Says when all workers have their instances, and when all have ended after standard
/// input ended.
///
/// # Errors
/// If the server or a workload fails, or nobody reads what it says.
pub async fn serve(task: &HostTask) -> anyhow::Result<()> {
    let mut config = Config::from_toml(&format!(
        r#"
        [workload.any]
        stream = "{}"
        manage = "create"
        handler = "fan-out"
        policy = "always"
        scale = {{ min = 1, max = 1, interval = "10s", window = "10s" }}
        pull = {{ expires = "1s" }}
        "#,
        task.stream
    ))?;
    config.nats.servers = vec![task.url.clone()];
    let workload = config.workloads.pop().context("a workload")?;
    let client = Client::connect(&config.nats).await?;
    let made = Arc::new(watch::Sender::new(0));
    let (running, told) = match task.code {
        Code::Native => {
            let payload = vec![b'x'; task.payload];
            let copy = Publication { subject: task.target.clone(), payload, ..Publication::default() };
            let copies = vec![copy; usize::try_from(task.publications)?];
            let native = |_: &Workload| async { Native { publications: copies.clone().into() } };
            start(task, &workload, &client, native, &made).await?
        }
        Code::Component => {
            let mut plugged = config.plugins.clone();
            plugged.dir.clone_from(&task.plugins);
            plugged.cache = Some(task.cache.clone());
            plugged.compile = Compile::default().by_this_program()?;
            let directory = Directory::start(PluginHost::start(&plugged)?, &plugged);
            let loaded = async |workload: &Workload| alone::loaded(&directory, workload).await;
            start(task, &workload, &client, loaded, &made).await?
        }
    };
    say(told)?;
    // What is written does not matter: it has ended when there is no more of it.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let began = Instant::now();
    futures_util::future::try_join_all(running.into_iter().map(Alone::stop)).await?;
    say(Told { workers: 0, seconds: began.elapsed().as_secs_f64() })
}

fn say(told: Told) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &told)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Starts all workloads, and waits until their workers have instances: as many as there is room for.
async fn start<H: Handlers>(
    task: &HostTask,
    like: &Workload,
    client: &Client,
    handlers: impl AsyncFn(&Workload) -> H,
    made: &Arc<watch::Sender<u64>>,
) -> anyhow::Result<(Vec<Alone>, Told)> {
    let mut all = Vec::new();
    for number in 0..task.workloads {
        let workload = workload(task, like, number);
        let handlers = Counted { handlers: handlers(&workload).await, made: made.clone() };
        all.push((workload, handlers));
    }
    // Only now is it known how the room is divided.
    let wanted: u64 = all.iter_mut().map(|(_, handlers)| u64::from(handlers.most().min(task.workers))).sum();
    let began = Instant::now();
    let starts = all.into_iter().map(|(workload, handlers)| {
        let plugins = (handlers, Always::new(task.workers));
        Alone::start(client.clone(), "bench", workload, plugins, Observer::none())
    });
    let running = async {
        let running: Vec<Alone> = stream::iter(starts).buffer_unordered(AT_ONCE).try_collect().await?;
        made.subscribe().wait_for(|made| *made >= wanted).await?;
        anyhow::Ok(running)
    };
    let running = tokio::time::timeout(START, running).await.with_context(|| {
        format!("of {wanted} workers {} have an instance after {} s", *made.borrow(), START.as_secs())
    })??;
    Ok((running, Told { workers: wanted, seconds: began.elapsed().as_secs_f64() }))
}

/// The workload of this number.
fn workload(task: &HostTask, like: &Workload, number: u32) -> Workload {
    let mut workload = like.clone();
    workload.name = format!("w{number}");
    workload.queue.consumer = consumer(number);
    workload.queue.filter = vec![format!("{}.{number}.*", task.stream)];
    (workload.scale.min, workload.scale.max) = (task.workers, task.workers);
    let held = workload.pull.held_by(task.workers);
    workload.queue.max_ack_pending = workload.queue.max_ack_pending.max(held.saturating_mul(2));
    if task.publications == 0 {
        workload.handler = "reply".to_owned();
    } else {
        let copies = task.publications.to_string();
        let settings = [("target", task.target.as_str()), ("copies", copies.as_str())];
        workload.settings = settings.map(|(name, value)| (name.to_owned(), Setting::from(value))).to_vec();
        workload.grants.publish = vec![task.target.clone()];
    }
    if task.ordered {
        workload.queue.max_ack_pending += BUFFER as i64;
        let (key, buffer_bytes) = (OrderKey::Token(KEY), 64 << 20);
        workload.order = Some(Order { key, buffer: BUFFER, buffer_bytes, in_fleet: false });
    }
    workload
}

/// The consumer of the workload of this number.
pub(super) fn consumer(number: u32) -> String {
    format!("w{number}-workers")
}
