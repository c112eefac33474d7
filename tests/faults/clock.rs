//! A clock that somebody sets while a host runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[row!(14, "clock jump", jump)];

/// What is loaded into the host in front of the C library's own clock.
pub(crate) fn shim(dir: &Path) -> Result<PathBuf> {
    let library = dir.join("clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults/clock.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    let built = built.context("there is no `cc`, which builds what shifts the clock")?;
    ensure!(built.status.success(), "`cc` says: {}", String::from_utf8_lossy(&built.stderr));
    Ok(library)
}

/// The last hour that the host's log names, for proof that its clock was set.
pub(crate) fn hour(log: &str) -> Option<String> {
    log.lines().filter_map(|line| line.get(..13)).rfind(|time| time.starts_with("20")).map(str::to_owned)
}

/// The time of day goes an hour ahead, an hour back, while handlers sleep for longer than their ack wait and a policy
/// decides.
async fn jump(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let files = TempDir::new()?;
    let library = match shim(files.path()) {
        Ok(library) => library,
        Err(problem) => return Ok(Report::not_injected(format!("{problem:#}"))),
    };
    let clock = files.path().join("clock");
    std::fs::write(&clock, "0")?;
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    // The reason of every decision has the policy's clock.
    let over = "ack-wait = '1s'\npolicy = 'probe-policy'\npolicy-settings = { mode = 'clock' }\nscale.min = 2";
    let preload = [
        ("TIDEGATE_LOG", "info,tidegate_runtime::scaling::monitor=debug"),
        ("LD_PRELOAD", library.to_str().context("a path")?),
        ("BENCH_CLOCK", clock.to_str().context("a path")?),
    ];
    let host = stage.launch(&stage.config(&work("work", over)), &preload)?;
    host.ready(1).await?;
    let mut hours = Vec::new();
    for shift in ["3600", "-3600", "0", "7200"].iter().cycle().take(form.pick(3, 24)) {
        ledger.publish(30, |id| if id % 15 == 0 { "sleep 1500\nprint tick" } else { "" }.to_owned()).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        std::fs::write(&clock, shift)?;
        report.injected();
        stage.settled("work", form.patience()).await?;
        hours.push(hour(&host.log()));
    }
    report.must(host.is_running(), "the host lives");
    let seen: std::collections::HashSet<_> = hours.iter().flatten().collect();
    if seen.len() < 2 {
        return Ok(Report::not_injected("the host does not take its time from a C library that can be shifted"));
    }
    // `clock 1790000000123` in the reasons of the decisions: it jumps ahead with the time of day, and goes on when that
    // is set back.
    let mut told: Vec<u64> =
        host.log().lines().filter_map(|line| line.split("clock ").nth(1)?.get(..13)?.parse().ok()).collect();
    // A decision that changes the number of workers is told twice.
    let lines = told.len();
    told.dedup();
    let goes_on = told.len() > lines / 2 && told.windows(2).all(|pair| pair[0] < pair[1]);
    let followed = told.windows(2).any(|pair| pair[0] + 3_000_000 < pair[1]);
    report.must(goes_on && followed, format!("the policy's clock went back, stood still or did not follow: {told:?}"));
    // A message is as old as its server says, which nobody has set.
    let log = host.log();
    let ages: Vec<u64> = log
        .lines()
        .filter_map(|line| line.split("oldest_pending_ms: Some(").nth(1)?.split(')').next()?.parse().ok())
        .collect();
    report.must(!ages.is_empty() && ages.iter().all(|age| *age < 600_000), format!("messages are {ages:?} ms old"));
    let audit = ledger.audit().await?;
    let again = stage.consumer("work").await?.delivered.consumer_sequence - ledger.next();
    report.must(again == 0 && audit.duplicates() == 0, format!("{again} were delivered again: in-progress came late"));
    report.count(&audit);
    report.note(format!("{} decisions, with a clock that never went back", told.len()));
    Ok(report)
}
