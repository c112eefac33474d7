//! A store without room, and messages as large as the server takes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::jetstream::stream;
use tempfile::TempDir;
use tidegate_nats_server::ServerOptions;

use crate::ledger::Ledger;
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::servers::Servers;
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] =
    &[row!(13, "server store full", store_full), row!(15, "payloads at the server's limit", large_payloads)];

const MIB: u64 = 1 << 20;

/// A file system of 8 MiB. Gone when it is dropped.
pub(crate) struct Small {
    dir: TempDir,
}

impl Small {
    pub(crate) fn mount() -> Result<Self> {
        let dir = TempDir::new()?;
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tidegate-faults"]).arg(dir.path()).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr).trim());
        Ok(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whatever still writes there is about to end.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

/// The disk fills up with the handler's publications; then somebody makes room.
async fn store_full(form: Form) -> Result<Report> {
    let mut report = Report::new();
    for _ in 0..form.pick(1, 5) {
        match Small::mount() {
            Ok(small) => full_once(form, &small, &mut report).await?,
            Err(problem) => {
                return Ok(Report::not_injected(format!("a file system of 8 MiB cannot be mounted: {problem:#}")));
            }
        }
    }
    report.note("recovery: from the server's restart, with room, until all is settled");
    Ok(report)
}

async fn full_once(form: Form, small: &Small, report: &mut Report) -> Result<()> {
    // The server would keep to what it thinks is free, and never find the disk full.
    let options = ServerOptions {
        store_dir: Some(small.path().join("store")),
        config: "jetstream { max_file_store: 1GB }".to_owned(),
        ..ServerOptions::default()
    };
    let mut stage = Stage::on(Servers::with(options).await?).await?;
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    // 2 MiB are left for 4 MiB of outputs; there is room for them all when this goes.
    let ballast = small.path().join("ballast");
    std::fs::write(&ballast, vec![0; 6 * MIB as usize])?;
    // What is not stored is delivered again until there is room, and uses up none of these attempts.
    let over = "retry = { max-attempts = 2, backoff = ['300ms'] }\nack-wait = '2s'";
    let host = stage.host(&work("work", over)).await?;
    ledger.outputs_of(40_000);
    ledger.publish(100, |_| String::new()).await?;
    let full = async || match stage.js.publish("out.other", vec![0; 40_000].into()).await {
        Ok(stored) => stored.await.is_err(),
        Err(_) => true,
    };
    within(form.patience(), "the store is full", full).await?;
    report.injected();
    tokio::time::sleep(form.pick(Duration::from_secs(1), Duration::from_secs(10))).await;
    report.must(host.is_running(), "the host lives");
    std::fs::remove_file(&ballast)?;
    // A server that has met a full disk serves no streams until it is started anew.
    stage.servers.member(0).restart().await?;
    report.recovered(stage.settled("work", form.patience()).await?);
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("{} dead letters, and no handler failed", audit.dead));
    report.count(&audit);
    Ok(())
}

/// Eight workers, a batch of 100 each, and messages of 1 MiB: 800 MiB if nothing bounds it.
async fn large_payloads(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    stage.stream(stream::Config { max_bytes: 32 << 20, ..stage.kept("BULK", "bulk.>") }).await?;
    let padding = format!("# {}", "x".repeat(MIB as usize - 2000));
    let over = "policy-settings.workers = '8'\nlimits.memory = '16MiB'\nack-wait = '30s'";
    let host = stage.host(&work("work", over)).await?;
    // Small ones first, so that the host fetches as many as it may.
    ledger.publish(2000, |_| String::new()).await?;
    stage.settled("work", form.patience()).await?;
    let before = host.resident();
    ledger.publish(form.pick(300, 1500), |_| padding.clone()).await?;
    report.injected();
    stage.settled("work", form.patience()).await?;
    let read = host.peak();
    // Now each of them publishes as much again.
    ledger.publish(form.pick(200, 1500), |_| format!("big-publication bulk.a 1000000\n{padding}")).await?;
    report.injected();
    stage.settled("work", form.patience()).await?;
    let written = host.peak();
    report.must(host.is_running(), "the host lives");
    // What waits (64 MiB and half of it again on its way), and what eight instances and what is unconfirmed hold.
    let bound = 320 * MIB;
    report.must(written < bound, format!("resident at most {} MiB, the bound is {} MiB", written / MIB, bound / MIB));
    report.count(&ledger.audit().await?);
    report.note(format!(
        "resident {} MiB before, at most {} MiB with what comes in, {} MiB with as much going out",
        before / MIB,
        read / MIB,
        written / MIB
    ));
    Ok(report)
}
