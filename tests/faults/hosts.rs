//! `tidegate run` as a process: killed, paused, told to end, looked at from outside.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::process::{Child, Command};

use crate::patience::within;
use crate::shared::http;

/// How long a host may take to be ready: it may have to compile plugins on a busy machine, beside fifty others.
const READY_WITHIN: Duration = Duration::from_secs(150);

/// What a host says once it answers over HTTP.
const LISTENS: &str = "a page over HTTP";

/// The status code and the body of what is answered over HTTP. `None` if nothing is within two seconds.
pub(crate) async fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    tokio::time::timeout(Duration::from_secs(2), http::get(address, address, path)).await.ok()?
}

/// A host that runs, or has run. Killed when dropped.
pub(crate) struct Host {
    child: Child,
    pid: Pid,
    log: PathBuf,
    file: PathBuf,
}

/// Whatever runs the bench: a shell has what is in the background of its script ignore some signals.
fn program() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_tidegate")]);
    command
}

impl Host {
    /// Starts a host with this configuration and these variables; its files go to `dir`.
    pub(crate) fn launch(dir: &Path, config: &str, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start(program(), dir, config, variables, None)
    }

    /// The same with its standard error elsewhere than in a file, so that nothing is known of its log.
    pub(crate) fn launch_unread(dir: &Path, config: &str, stderr: Stdio) -> Result<Self> {
        Self::start(program(), dir, config, &[], Some(stderr))
    }

    /// The same under a limit, as the shell's `ulimit` has it.
    pub(crate) fn launch_under(ulimit: &str, dir: &Path, config: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit {ulimit}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_tidegate"));
        Self::start(shell, dir, config, &[], None)
    }

    fn start(
        mut command: Command,
        dir: &Path,
        config: &str,
        variables: &[(&str, &str)],
        stderr: Option<Stdio>,
    ) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = dir.join(format!("host-{number}.toml"));
        std::fs::write(&file, config)?;
        let log = dir.join(format!("host-{number}.log"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("NATS_") || name.starts_with("TIDEGATE_") {
                command.env_remove(&*name);
            }
        }
        let child = command
            .args(["run", "--config"])
            .arg(&file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(match stderr {
                Some(stderr) => stderr,
                None => File::create(&log)?.into(),
            })
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id as i32)).context("it has a number")?;
        Ok(Self { child, pid, log, file })
    }

    /// Awaits that so many workloads are ready.
    pub(crate) async fn ready(&self, count: usize) -> Result<()> {
        let ready = async || self.logged(&[" ready workload="]) >= count || !self.is_running();
        let waited = within(READY_WITHIN, "the host is ready", ready).await;
        if waited.is_err() || !self.is_running() {
            bail!("the host is not ready; it said\n{}", self.log());
        }
        Ok(())
    }

    /// The configuration that it has read.
    pub(crate) fn config_file(&self) -> &Path {
        &self.file
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How many lines of its log have all of `parts`.
    pub(crate) fn logged(&self, parts: &[&str]) -> usize {
        self.log().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Awaits a line of its log that has all of `parts`, and says how long that took.
    pub(crate) async fn says(&self, parts: &[&str], limit: Duration) -> Result<Duration> {
        within(limit, &format!("the host logs {parts:?}"), async || self.logged(parts) > 0).await
    }

    /// The status code that it answers over HTTP, where its configuration has `http = "127.0.0.1:0"`. `None` if it does
    /// not answer within two seconds.
    pub(crate) async fn get(&self, path: &str) -> Option<u16> {
        Some(ask(&self.listens()?, path).await?.0)
    }

    /// What it answers over HTTP, without the head.
    pub(crate) async fn read(&self, path: &str) -> Option<String> {
        Some(ask(&self.listens()?, path).await?.1)
    }

    /// Where it answers over HTTP, once that is in its log.
    pub(crate) async fn address(&self) -> Result<String> {
        self.says(&[LISTENS], READY_WITHIN).await?;
        self.listens().context("it says where")
    }

    fn listens(&self) -> Option<String> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(LISTENS))?;
        Some(line.split("address=").nth(1)?.trim().to_owned())
    }

    /// Whether the process lives; a paused one does.
    pub(crate) fn is_running(&self) -> bool {
        // What has ended and was not awaited yet is a zombie.
        self.status("State").is_some_and(|state| !state.starts_with(['Z', 'X']))
    }

    /// Kills it as the kernel would, and awaits its end.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Stops it where it stands.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid, signal)?)
    }

    /// Awaits its end and gives its exit code; `None` if a signal ended it.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<Option<i32>> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?.code()),
            Err(_) => bail!("the host did not end within {limit:?}; it said\n{}", self.log()),
        }
    }

    /// Tells one that drains once more to end, and gives its exit code. Two signals in one moment are one, so it is
    /// told until it says that it has heard.
    pub(crate) async fn end_at_once(&mut self, limit: Duration) -> Result<Option<i32>> {
        let has_heard = async || {
            // It may have ended just now.
            let _ = self.signal(Signal::TERM);
            self.logged(&["second signal"]) > 0
        };
        within(limit, "the second signal is heard", has_heard).await?;
        self.ended(limit).await
    }

    /// Tells it to drain, and awaits its end.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        match self.ended(Duration::from_secs(40)).await? {
            Some(0) => Ok(()),
            other => bail!("the host ended with {other:?}; it said\n{}", self.log()),
        }
    }

    /// What the system lets it have from now on; `None` is as much as this process could have.
    pub(crate) fn limit(&self, resource: Resource, most: Option<u64>) -> Result<()> {
        let maximum = getrlimit(resource).maximum;
        prlimit(Some(self.pid), resource, Rlimit { current: most.or(maximum), maximum })?;
        Ok(())
    }

    /// How many memory mappings it has.
    pub(crate) fn mappings(&self) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid.as_raw_nonzero()));
        maps.map_or(0, |maps| maps.lines().count())
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.kib("VmRSS")
    }

    /// The most resident memory it ever had, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.kib("VmHWM")
    }

    /// Resident memory of the processes that it has started, in bytes.
    pub(crate) fn children_resident(&self) -> u64 {
        let pid = self.pid.as_raw_nonzero().get();
        let resident = |entry: std::fs::DirEntry| {
            let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
            // `NUMBER (NAME) STATE PARENT ...`
            let stat = read("stat")?;
            let parent: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            let pages: u64 = read("statm")?.split(' ').nth(1)?.parse().ok()?;
            (parent == pid).then_some(pages * 4096)
        };
        std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(resident).sum()
    }

    pub(crate) fn threads(&self) -> u64 {
        self.status("Threads").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid.as_raw_nonzero())).map_or(0, |entries| entries.count() as u64)
    }

    fn kib(&self, field: &str) -> u64 {
        let text = self.status(field).unwrap_or_default();
        text.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    fn status(&self, field: &str) -> Option<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }
}
