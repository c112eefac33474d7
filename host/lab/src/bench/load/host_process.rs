//! A host in a process of its own, seen from outside.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::deal::HostTask;
use super::served::Told;

/// The process of a host, which ends with this.
pub(super) struct HostProcess {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// Its number.
    pub(super) id: u32,
}

impl HostProcess {
    /// Starts the program as such a host.
    pub(super) fn start(program: &Path, task: &HostTask) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["--log", "warn", "bench", "--host", &serde_json::to_string(task)?]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let said = BufReader::new(child.stdout.take().context("standard output")?).lines();
        let id = child.id().context("a process that runs")?;
        Ok(Self { child, said, id })
    }

    /// Waits until all of its workers have instances.
    pub(super) async fn ready(&mut self) -> anyhow::Result<Told> {
        self.told().await
    }

    /// Ends it; says how long its workers took for that.
    pub(super) async fn stop(mut self) -> anyhow::Result<f64> {
        drop(self.child.stdin.take());
        let told = self.told().await?;
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("a host did not end well: {status}");
        }
        Ok(told.seconds)
    }

    async fn told(&mut self) -> anyhow::Result<Told> {
        match self.said.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => bail!("a host ended: {}", self.child.wait().await?),
        }
    }
}
