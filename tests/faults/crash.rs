//! Hosts and servers that are killed.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::ledger::Ledger;
use crate::pulse::Pulse;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] =
    &[row!(1, "host killed", host_killed), row!(2, "server killed and restarted", server_killed)];

/// `kill -9` of one of two hosts, again and again. What it held comes to the other after its ack wait.
async fn host_killed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config = work("work", "policy-settings.workers = '4'");
    let (mut one, mut other) = (stage.host(&config).await?, stage.host(&config).await?);
    for _ in 0..form.pick(2, 12) {
        ledger.publish(1500, |_| "sleep 2".to_owned()).await?;
        let from = stage.consumer("work").await?.ack_floor.stream_sequence;
        stage.floor("work", from + 200, form.patience()).await?;
        one.kill().await?;
        report.injected();
        let delivered = stage.consumer("work").await?.delivered.stream_sequence;
        report.recovered(stage.floor("work", delivered, form.patience()).await?);
        report.must(other.is_running(), "the other host lives");
        // The next to die is the one that has run longest.
        one = std::mem::replace(&mut other, stage.host(&config).await?);
    }
    stage.settled("work", form.patience()).await?;
    let audit = ledger.audit().await?;
    report.count(&audit);
    report
        .must(audit.stored_again == 0, format!("{} were stored twice within the duplicate window", audit.stored_again));
    report.note("recovery: until all that was delivered before the kill is settled; ack wait 2 s");
    Ok(report)
}

/// `kill -9` of the one server while messages flow, with its streams on disk.
async fn server_killed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "")).await?;
    let pulse = Pulse::of(&stage, "work").await?;
    for _ in 0..form.pick(2, 12) {
        ledger.publish(1000, |_| "sleep 2".to_owned()).await?;
        pulse.after(Instant::now(), form.patience()).await?;
        stage.servers.member(0).kill();
        report.injected();
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.servers.member(0).restart().await?;
        report.recovered(pulse.after(Instant::now(), form.patience()).await?);
        stage.settled("work", form.patience()).await?;
    }
    report.must(host.is_running(), "the host lives");
    let audit = ledger.audit().await?;
    report.count(&audit);
    report
        .must(audit.stored_again == 0, format!("{} were stored twice within the duplicate window", audit.stored_again));
    report.note("recovery: from the server's return to the first output");
    Ok(report)
}
