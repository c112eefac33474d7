//! What workloads share: one that takes all it can must leave the others theirs.

use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream::stream;
use futures_util::StreamExt;

use crate::ledger::Ledger;
use crate::patience::within;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, with, work};

pub(crate) const ROWS: &[Row] = &[
    row!(43, "shared budgets: the publish window of one workload is full", stalled_target),
    row!(50, "deadlock of publications", more_than_the_window),
];

/// What a neighbour keeps at least of its throughput.
const KEEPS: f64 = 0.8;

/// A workload publishes far more than its window holds to a target that never answers. The neighbour flows, with its
/// publications and its dead letters.
async fn stalled_target(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut calm = Ledger::open(&stage, "calm").await?;
    stage.stream(stage.kept("work", "in.work")).await?;
    // Somebody listens, so the server does not say that no stream is there; and nobody says that it is stored.
    let silence = stage.client.subscribe("nowhere").await?;
    let listens = tokio::spawn(silence.for_each(|_| std::future::ready(())));
    stage.client.flush().await?;
    let stalls = work("work", "policy-settings.workers = '8'\nack-wait = '30s'\nretry.backoff = ['10ms']");
    let http = toml::from_str("http = '127.0.0.1:0'")?;
    let host = stage.host(&with(http, with(stalls, work("calm", "ack-wait = '30s'")))).await?;
    let count = form.pick(2_000, 30_000);
    let mut rates = Vec::new();
    for fault in [false, true] {
        if fault {
            for _ in 0..form.pick(40, 400) {
                stage.js.publish("in.work", "many nowhere 1000".into()).await?.await?;
                report.injected();
            }
            let stuck = async || host.get("/readyz").await == Some(503);
            within(form.patience(), "the host says that effects are not confirmed", stuck).await?;
        }
        let (first, start) = (calm.next(), Instant::now());
        let rejects = |id: u64| (id - first).is_multiple_of(100);
        calm.publish(count, |id| if rejects(id) { "reject no".to_owned() } else { String::new() }).await?;
        stage.settled("calm", form.patience()).await?;
        rates.push(count as f64 / start.elapsed().as_secs_f64());
    }
    report.must(host.is_running(), "the host lives");
    let audit = calm.audit().await?;
    let (again, dead) = (stage.consumer("calm").await?.delivered.consumer_sequence - calm.next(), count / 100 * 2);
    report.must(again == 0, format!("{again} of the neighbour's were delivered again"));
    report.must(audit.dead == dead, format!("{} dead letters of the neighbour, wanted {dead}", audit.dead));
    report.count(&audit);
    let share = rates[1] / rates[0];
    report.note(format!("neighbour {:.0}/s beside, {:.0}/s alone: {share:.2}", rates[1], rates[0]));
    // The short form is too short to compare on a busy machine.
    report.must(!form.long || share >= KEEPS, format!("the neighbour keeps {share:.2} of its throughput"));
    let said = host.logged(&["workload=work", "part=effects", "nowhere"]);
    report.must(said > 0, "the log names the workload and the subject");
    listens.abort();
    Ok(report)
}

/// Many workers with many messages of many publications each, and one message with more than any window holds.
async fn more_than_the_window(form: Form) -> Result<Report> {
    const EACH: u64 = 1_000;
    const LONG: u64 = 20_000;
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    let bulk = stream::Config { storage: stream::StorageType::Memory, ..stage.kept("BULK", "bulk.>") };
    stage.stream(bulk).await?;
    let over = "policy-settings.workers = '16'\nscale.max = 16\nlimits.publications = 20001\nlimits.time = '10s'";
    let mut host = stage.host(&work("work", over)).await?;
    let (count, start) = (form.pick(16 * 8, 16 * 64), Instant::now());
    report.injected();
    ledger.publish(count, |_| format!("many bulk.a {EACH}")).await?;
    ledger.publish(1, |_| format!("many bulk.a {LONG}")).await?;
    stage.settled("work", form.patience()).await?;
    let wanted = count * EACH + LONG;
    report.note(format!("{:.0} publications a second", wanted as f64 / start.elapsed().as_secs_f64()));
    let (stored, again) = (
        stage.state("BULK").await?.messages,
        stage.consumer("work").await?.delivered.consumer_sequence - ledger.next(),
    );
    report.must(stored == wanted, format!("{stored} publications are stored, wanted {wanted}"));
    report.must(again == 0, format!("{again} were delivered again"));
    report.count(&ledger.audit().await?);
    let stopped = Instant::now();
    host.stop().await?;
    report.must(stopped.elapsed() < Duration::from_secs(10), "it stops within its grace time");
    Ok(report)
}
