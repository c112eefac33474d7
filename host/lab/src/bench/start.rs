//! A host from its start: as a user runs it, in a process of its own.

use std::fmt;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;
use tokio::process::{Child, Command};

use super::lab::unlike;
use super::load::{LoadSite, mappings, resident_kib_of, smaps_kib, terminate};
use super::median::median;
use super::options::{BenchOptions, PLUGINS};
use tidegate_runtime::jetstream::RequestOptions;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a host is left alone before its memory is looked at.
const CALM: Duration = Duration::from_secs(3);

/// From the start of a host's process to its replies, with plugins that were compiled before.
#[derive(Debug, Clone, Serialize)]
pub struct StartCost {
    /// Handlers, each of a workload of its own and with other code; all have the same policy.
    pub plugins: usize,
    /// Milliseconds until the first of them has replied to a message that waited, median.
    pub first_ms: f64,
    /// Milliseconds until all of them have, median.
    pub all_ms: f64,
}

/// The memory of a host with one workload that has nothing to do.
#[derive(Debug, Clone, Serialize)]
pub struct IdleMemory {
    /// Resident memory, in MiB.
    pub rss_mib: f64,
    /// What of it is the process's own and not a part of a file: heap, stacks, instances.
    pub anonymous_mib: f64,
    /// Memory mappings.
    pub mappings: f64,
}

/// Starts hosts, one after the other; the first compiles.
pub(super) async fn measure(site: &mut LoadSite, options: &BenchOptions) -> anyhow::Result<StartCost> {
    for plugin in 0..PLUGINS {
        let file = site.plugins().join(format!("start{plugin}.wasm"));
        std::fs::write(file, unlike(options.reply, u32::try_from(plugin)?))?;
    }
    let mut times = Vec::new();
    for _ in 0..=options.rounds {
        let (times_of, host, stream) = started(site, PLUGINS).await?;
        terminate(host).await?;
        site.forget(&stream).await?;
        times.push(times_of);
    }
    let times = times.get(1..).unwrap_or_default();
    let milliseconds = |of: fn(&(Duration, Duration)) -> Duration| median(times, |both| of(both).as_secs_f64() * 1e3);
    Ok(StartCost { plugins: PLUGINS, first_ms: milliseconds(|both| both.0), all_ms: milliseconds(|both| both.1) })
}

/// Starts a host with one workload, and looks at it when it has replied and been idle for a while.
pub(super) async fn idle_memory(site: &mut LoadSite, options: &BenchOptions) -> anyhow::Result<IdleMemory> {
    std::fs::write(site.plugins().join("start0.wasm"), unlike(options.reply, 0))?;
    // The first compiles, which leaves memory behind.
    let (_, host, stream) = started(site, 1).await?;
    terminate(host).await?;
    site.forget(&stream).await?;
    let (_, host, stream) = started(site, 1).await?;
    let process = host.id().context("a host that runs")?;
    tokio::time::sleep(CALM).await;
    let mib = |kib: u64| kib as f64 / 1024.0;
    let rss_mib = mib(resident_kib_of(process)?);
    let anonymous_mib = mib(smaps_kib(process, "Anonymous")?);
    let mappings = mappings(process)? as f64;
    terminate(host).await?;
    site.forget(&stream).await?;
    Ok(IdleMemory { rss_mib, anonymous_mib, mappings })
}

/// Starts a host for messages that wait already. How long the first and the last reply took.
async fn started(site: &mut LoadSite, plugins: usize) -> anyhow::Result<((Duration, Duration), Child, String)> {
    let stream = site.stream(1).await?;
    let file = site.plugins().with_file_name(format!("{stream}.toml"));
    std::fs::write(&file, config(site, &stream, plugins)?)?;
    let mut requests = tokio::task::JoinSet::new();
    for plugin in 0..plugins {
        let (client, subject) = (site.client.clone(), format!("{stream}.{plugin}"));
        let options = RequestOptions { timeout: PATIENCE, ..RequestOptions::default() };
        requests.spawn(async move { client.request(&subject, Bytes::new(), &[], &options).await });
    }
    let waits = |info: u64| usize::try_from(info).is_ok_and(|messages| messages >= plugins);
    while !waits(site.client.jetstream().get_stream(&stream).await?.cached_info().state.messages) {
        tokio::task::yield_now().await;
    }
    let mut command = Command::new(&site.program);
    command.args(["--log", "warn", "run", "--server", &site.url, "--config"]).arg(&file).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let began = Instant::now();
    let host = command.spawn().with_context(|| format!("start {}", site.program.display()))?;
    let (mut first, mut last) = (None, Duration::ZERO);
    while let Some(replied) = requests.join_next().await {
        replied??;
        last = began.elapsed();
        first.get_or_insert(last);
    }
    Ok(((first.unwrap_or(last), last), host, stream))
}

fn config(site: &LoadSite, stream: &str, plugins: usize) -> anyhow::Result<String> {
    let (dir, cache) = (site.plugins(), site.cache());
    let path = |path: &std::path::Path| anyhow::Ok(serde_json::to_string(path.to_str().context("a path of text")?)?);
    let mut text = format!("plugins.dir = {}\nplugins.cache = {}\n", path(&dir)?, path(&cache)?);
    for plugin in 0..plugins {
        write!(
            text,
            "[workload.s{plugin}]\nstream = {stream:?}\nfilter = [\"{stream}.{plugin}\"]\nmanage = \"create\"\n\
             handler = \"start{plugin}\"\npolicy = \"fixed\"\npolicy-settings = {{ workers = \"1\" }}\n"
        )?;
    }
    Ok(text)
}

impl fmt::Display for StartCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugins, first_ms, all_ms } = self;
        write!(f, "a host with {plugins} plugins that were compiled before: {first_ms:.0} ms to the first reply, ")?;
        write!(f, "{all_ms:.0} ms to one of each")
    }
}

impl fmt::Display for IdleMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rss_mib, anonymous_mib, mappings } = self;
        write!(
            f,
            "an idle host with one workload: {rss_mib:.1} MiB resident, of which {anonymous_mib:.1} MiB are no file's; \
             {mappings:.0} mappings"
        )
    }
}
