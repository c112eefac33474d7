//! Hosts and servers that are killed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use toml::Value;

use crate::ledger::Ledger;
use crate::pulse::Pulse;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[
    row!(1, "host killed", host_killed),
    row!(2, "server killed and restarted", server_killed),
    row!(5, "host paused longer than ack wait", host_paused),
    row!(12, "poison that kills the host", poison_that_kills),
    row!(20, "SIGTERM mid-batch", terminated),
];

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

/// SIGSTOP of one of two hosts: its deliveries come to the other, and what it says of them later is too late.
async fn host_paused(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let config = work("work", "ack-wait = '1s'\npolicy-settings.workers = '4'");
    let (one, other) = (stage.host(&config).await?, stage.host(&config).await?);
    let pulse = Pulse::of(&stage, "work").await?;
    for number in 0..form.pick(2, 10) {
        ledger.publish(1500, |_| "sleep 4".to_owned()).await?;
        let from = stage.consumer("work").await?.ack_floor.stream_sequence;
        stage.floor("work", from + 200, form.patience()).await?;
        let paused = if number % 2 == 0 { &one } else { &other };
        paused.pause()?;
        report.injected();
        let delivered = stage.consumer("work").await?.delivered.stream_sequence;
        report.recovered(stage.floor("work", delivered, form.patience()).await?);
        tokio::time::sleep(Duration::from_millis(500)).await;
        paused.resume()?;
        // It goes on with what it held, which the other has settled by now.
        pulse.after(Instant::now(), form.patience()).await?;
        stage.settled("work", form.patience()).await?;
    }
    report.must(one.is_running() && other.is_running(), "both hosts live");
    let audit = ledger.audit().await?;
    report.count(&audit);
    report.must(audit.dead == 0, "late acks and redeliveries bury nothing");
    report
        .must(audit.stored_again == 0, format!("{} were stored twice within the duplicate window", audit.stored_again));
    report.note("recovery: until the other host has settled what the paused one held; ack wait 1 s");
    Ok(report)
}

/// A message whose handler is running when its host dies, three times as often as the workload tries one: then it is
/// not run again.
async fn poison_that_kills(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let attempts = form.pick(1, 3);
    let config = work("work", &format!("ack-wait = '1s'\nretry.max-attempts = {attempts}\nlimits.time = '5m'"));
    ledger.publish(1, |_| "print the poison ran\nsleep 200000".to_owned()).await?;
    ledger.publish(500, |_| String::new()).await?;
    for _ in 0..attempts * 3 {
        let mut host = stage.host(&config).await?;
        host.says(&["the poison ran"], form.patience()).await?;
        // What is with a worker when a host dies has been delivered, so others would use up their attempts too.
        stage.left("work", 1, form.patience()).await?;
        host.kill().await?;
        report.injected();
    }
    let host = stage.host(&config).await?;
    report.recovered(stage.settled("work", form.patience()).await?);
    report.must(host.logged(&["the poison ran"]) == 0, "past the limit it is not run");
    let audit = ledger.audit().await?;
    let wanted = HashMap::from([("exhausted".to_owned(), 1)]);
    report.must(audit.causes == wanted, format!("dead letters {:?}, wanted {wanted:?}", audit.causes));
    report.count(&audit);
    Ok(report)
}

/// SIGTERM while a batch is worked off and one message takes longer than the grace time. The ack wait is longer than
/// the row, so what was not given back would never be settled. Then a second signal, which ends the host at once.
async fn terminated(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let mut config = work("work", "ack-wait = '1h'\nlimits.time = '5m'\npolicy-settings.workers = '4'");
    config.insert("grace".to_owned(), Value::from("1s"));
    let mut given_back = 0;
    for _ in 0..form.pick(2, 10) {
        let mut host = stage.host(&config).await?;
        let first = ledger.next();
        ledger.publish(800, |_| "sleep 5".to_owned()).await?;
        stage.floor("work", first + 200, form.patience()).await?;
        let slow = ledger.next();
        ledger
            .publish(200, |id| {
                if id == slow { "before 2 print it waits\nbefore 2 sleep 200000" } else { "sleep 20" }.to_owned()
            })
            .await?;
        host.says(&["it waits"], form.patience()).await?;
        let start = Instant::now();
        host.stop().await?;
        report.injected();
        report.recovered(start.elapsed());
        given_back = stage.consumer("work").await?.num_ack_pending;
        let mut next = stage.host(&config).await?;
        stage.settled("work", form.patience()).await.context("some were stranded")?;
        // One that is killed has a pull open until the server sees it, and what came to that would wait for an hour.
        next.stop().await?;
    }
    config.insert("grace".to_owned(), Value::from("1h"));
    let mut host = stage.host(&config).await?;
    ledger.publish(1, |_| "before 2 print it waits\nbefore 2 sleep 200000".to_owned()).await?;
    host.says(&["it waits"], form.patience()).await?;
    host.signal(Signal::TERM)?;
    host.says(&["draining"], form.patience()).await?;
    let code = host.end_at_once(Duration::from_secs(10)).await?;
    report.injected();
    report.must(code == Some(130), format!("the second signal ended it with {code:?}, wanted 130"));
    report.note(format!("recovery: from the signal to the end, grace 1 s; given back {given_back}, stranded 0"));
    // It waits for its ack wait.
    ledger.forget_last();
    report.count(&ledger.audit().await?);
    Ok(report)
}
