//! Where loads are measured: servers, plugins, and a connection that publishes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::stream;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::process::Child;

use super::super::lab::LOOK;
use super::super::options::BenchOptions;
use super::super::process_time::process_time;
use super::cost::LoadCost;
use super::deal::{Code, HostTask, Load};
use super::host_process::HostProcess;
use super::proc::{mappings, resident_kib_of};
use super::publish::publish;
use super::served::consumer;
use tidegate_runtime::config::Nats;
use tidegate_runtime::jetstream::Client;

/// How many consumers are asked about at once.
const AT_ONCE: usize = 64;
/// How long a new cluster may take until it has streams, and how often that is tried.
const CLUSTER: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(200);
/// How long a host may take to end.
const STOP: Duration = Duration::from_secs(60);

/// Servers, plugins, and a connection.
pub(crate) struct LoadSite {
    pub(crate) client: Client,
    pub(crate) url: String,
    /// This program, which is a host's too.
    pub(crate) program: PathBuf,
    servers: Vec<u32>,
    /// Plugins and compiled code.
    files: TempDir,
    next: u32,
}

impl LoadSite {
    /// Connects to the first of the servers, whose processes these are.
    pub(crate) async fn new(url: &str, servers: Vec<u32>, options: &BenchOptions) -> anyhow::Result<Self> {
        let files = TempDir::new()?;
        let nats = Nats { servers: vec![url.to_owned()], ..Nats::default() };
        let client = Client::connect(&nats).await?;
        let program = std::env::current_exe().context("this program")?;
        let site = Self { client, url: url.to_owned(), program, servers, files, next: 0 };
        std::fs::create_dir(site.plugins())?;
        for (name, bytes) in [("reply", options.reply), ("fan-out", options.fan_out), ("fixed", options.fixed)] {
            std::fs::write(site.plugins().join(format!("{name}.wasm")), bytes)?;
        }
        Ok(site)
    }

    /// The directory of plugins.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.files.path().join("plugins")
    }

    /// The directory of compiled code.
    pub(crate) fn cache(&self) -> PathBuf {
        self.files.path().join("cache")
    }

    /// A stream with nothing in it, and its name, which its subjects begin with.
    pub(crate) async fn stream(&mut self, replicas: usize) -> anyhow::Result<String> {
        self.next += 1;
        let name = format!("LOAD{}", self.next);
        let subjects = vec![format!("{name}.>")];
        let config = stream::Config { name: name.clone(), subjects, num_replicas: replicas, ..Default::default() };
        self.client.jetstream().create_stream(config).await?;
        Ok(name)
    }

    /// Waits until streams of so many replicas can be made, which takes a new cluster some seconds.
    ///
    /// # Errors
    /// Why they cannot, if that lasts.
    pub(crate) async fn can_replicate(&mut self, replicas: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            match self.stream(replicas).await {
                Ok(stream) => return self.forget(&stream).await,
                Err(error) if began.elapsed() > CLUSTER => return Err(error),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Removes a stream and its consumers.
    pub(crate) async fn forget(&self, stream: &str) -> anyhow::Result<()> {
        self.client.jetstream().delete_stream(stream).await?;
        Ok(())
    }

    /// Has hosts handle a load, once.
    pub(crate) async fn measure(&mut self, load: &Load, code: Code) -> anyhow::Result<LoadCost> {
        let stream = self.stream(load.replicas).await?;
        let target = self.stream(load.replicas).await?;
        let task = HostTask {
            code,
            url: self.url.clone(),
            stream: stream.clone(),
            target: format!("{target}.copies"),
            plugins: self.plugins(),
            cache: self.cache(),
            workloads: load.workloads,
            workers: load.workers,
            publications: load.publications,
            payload: load.payload,
            ordered: load.keys.is_some(),
        };
        let mut hosts = Vec::new();
        for _ in 0..load.hosts {
            hosts.push(HostProcess::start(&self.program, &task)?);
        }
        let (mut workers, mut start_s) = (0, 0.0);
        for host in &mut hosts {
            let told = host.ready().await?;
            workers += told.workers;
            start_s = told.seconds.max(start_s);
        }
        let of_hosts: Vec<u32> = hosts.iter().map(|host| host.id).collect();
        let (began, host_cpu, server_cpu) = (Instant::now(), time_of(&of_hosts), time_of(&self.servers));
        publish(&self.client, &stream, load).await?;
        self.settled(&stream, load).await?;
        let seconds = began.elapsed().as_secs_f64();
        let spent = |before: Duration, of: &[u32]| time_of(of).saturating_sub(before).as_secs_f64();
        let (host_cpu, server_cpu) = (spent(host_cpu, &of_hosts), spent(server_cpu, &self.servers));
        let (mut rss, mut maps, mut drain_s) = (0, 0, 0.0);
        for host in hosts {
            rss += resident_kib_of(host.id)?;
            maps += mappings(host.id)?;
            let drained = tokio::time::timeout(STOP, host.stop()).await.context("a host does not end")??;
            drain_s = drained.max(drain_s);
        }
        for stream in [&stream, &target] {
            self.forget(stream).await?;
        }
        let messages = load.messages as f64;
        Ok(LoadCost {
            per_second: messages / seconds,
            cpu_us: host_cpu * 1e6 / messages,
            server_cpu_us: server_cpu * 1e6 / messages,
            rss_mib: rss as f64 / 1024.0,
            mappings: maps as f64,
            workers: workers as f64,
            start_s,
            drain_s,
        })
    }

    /// Waits until all that was published is settled.
    async fn settled(&self, stream: &str, load: &Load) -> anyhow::Result<()> {
        let one = |number| async move {
            while self.client.unsettled(stream, &consumer(number)).await? > 0 {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        futures_util::stream::iter((0..load.workloads).map(one)).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// The processor time of processes together; of one that is not there, none.
fn time_of(processes: &[u32]) -> Duration {
    processes.iter().filter_map(|process| process_time(*process)).sum()
}

/// Asks a process to end as a user would, and waits for that.
pub(crate) async fn terminate(mut child: Child) -> anyhow::Result<()> {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    tokio::time::timeout(STOP, child.wait()).await.context("a host does not end")??;
    Ok(())
}
