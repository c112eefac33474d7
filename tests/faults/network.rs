//! Servers that lead no more, that stand still, and networks between them and a host.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use toml::Value;

use crate::ledger::Ledger;
use crate::patience::{percentile, within};
use crate::proxy::{Flow, Proxy};
use crate::pulse::Pulse;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[
    row!(3, "leader change", leader_change),
    row!(4, "server paused", server_paused),
    row!(6, "network cut and half-open TCP", network_cut),
    row!(7, "200 ms latency", latency),
];

/// How long a host may take to see that its server does not answer: three pings, and the machine's own delays.
const NOTICED_WITHIN: Duration = Duration::from_secs(12);

/// Asks the leader of a stream or of a consumer to step down.
pub(crate) async fn step_down(stage: &Stage, of: &str) -> Result<()> {
    let answer = stage.client.request(format!("$JS.API.{of}"), "".into()).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    ensure!(answer["success"] == true, "no step-down: {answer}");
    Ok(())
}

/// Leaders of the consumer, and in the long form of its stream too, step down while messages flow.
async fn leader_change(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::three().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host(&work("work", "policy-settings.workers = '4'")).await?;
    let pulse = Pulse::of(&stage, "work").await?;
    let count = form.pick(1500, 60_000);
    let mut gaps = Vec::new();
    let faults = async {
        for number in 0..form.pick(5, 60) {
            pulse.after(Instant::now(), form.patience()).await?;
            let kind = if form.long && number % 2 == 1 {
                "STREAM.LEADER.STEPDOWN.work"
            } else {
                "CONSUMER.LEADER.STEPDOWN.work.work-workers"
            };
            let start = Instant::now();
            // Right after a step-down nobody may lead yet, and nobody answers.
            if step_down(&stage, kind).await.is_ok() {
                report.injected();
                tokio::time::sleep(Duration::from_millis(form.pick(300, 1000))).await;
                pulse.after(Instant::now(), form.patience()).await?;
                gaps.push(pulse.longest_gap(start));
            }
        }
        anyhow::Ok(())
    };
    let (published, faults) = tokio::join!(ledger.publish(count, |_| "sleep 4".to_owned()), faults);
    published?;
    faults?;
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    report.count(&ledger.audit().await?);
    let p99 = percentile(&mut gaps, 0.99);
    report.recovered(p99);
    report.note(format!(
        "recovery: p99 of the longest time without an output after each; median {:.2} s",
        percentile(&mut gaps, 0.5).as_secs_f64()
    ));
    Ok(report)
}

/// SIGSTOP: connections stay open and nothing answers. The host notices by its pings.
async fn server_paused(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let mut config = work("work", "");
    config.insert("http".to_owned(), Value::from("127.0.0.1:0"));
    let host = stage.host(&config).await?;
    let pulse = Pulse::of(&stage, "work").await?;
    let mut noticed = Duration::ZERO;
    for _ in 0..form.pick(1, 3) {
        ledger.publish(1000, |_| "sleep 2".to_owned()).await?;
        pulse.after(Instant::now(), form.patience()).await?;
        let ready = async || host.get("/readyz").await == Some(200);
        within(form.patience(), "the host is ready", ready).await?;
        let start = Instant::now();
        stage.servers.member(0).pause().await?;
        report.injected();
        let not_ready = async || host.get("/readyz").await == Some(503);
        noticed =
            noticed.max(within(NOTICED_WITHIN, "/readyz says 503 when the server stands still", not_ready).await?);
        report.must(host.get("/healthz").await == Some(200), "/healthz says 200 all the time");
        tokio::time::sleep(form.pick(Duration::ZERO, Duration::from_secs(30).saturating_sub(start.elapsed()))).await;
        report.must(host.is_running(), "the host lives");
        stage.servers.member(0).resume()?;
        report.recovered(pulse.after(Instant::now(), form.patience()).await?);
        within(form.patience(), "/readyz says 200 again", ready).await?;
        stage.settled("work", form.patience()).await?;
    }
    report.count(&ledger.audit().await?);
    report.note(format!("not ready after {:.1} s at most", noticed.as_secs_f64()));
    Ok(report)
}

/// Connections that are reset, refused, throttled, and left half open.
async fn network_cut(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let proxy = Proxy::to(stage.servers.member(0).port()).await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let host = stage.host_to(&[proxy.url()], &work("work", "policy-settings.workers = '4'")).await?;
    let pulse = Pulse::of(&stage, "work").await?;
    let mut worst = [Duration::ZERO; 4];
    for _ in 0..form.pick(1, 6) {
        for (index, worst) in worst.iter_mut().enumerate() {
            ledger.publish(1000, |_| "sleep 2".to_owned()).await?;
            pulse.after(Instant::now(), form.patience()).await?;
            report.injected();
            match index {
                0 => proxy.cut(),
                1 => {
                    proxy.refuse(true);
                    proxy.cut();
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    proxy.refuse(false);
                }
                2 => proxy.freeze(),
                _ => {
                    proxy.both(Flow::Throttle(20_000));
                    tokio::time::sleep(Duration::from_secs(form.pick(1, 8))).await;
                    proxy.both(Flow::Pass);
                }
            }
            // What had left the host before is on its way still.
            let start = Instant::now() + Duration::from_millis(20);
            *worst = (*worst).max(pulse.after(start, form.patience()).await?);
        }
    }
    stage.settled("work", form.patience()).await?;
    report.must(host.is_running(), "the host lives");
    report.must(worst[2] < NOTICED_WITHIN, format!("half open: {:?} to the next output", worst[2]));
    report.count(&ledger.audit().await?);
    for (name, worst) in ["reset", "refused for 1 s", "half open", "throttled to 20 kB/s"].iter().zip(worst) {
        report.recovered(worst);
        report.note(format!("{name} {:.2} s", worst.as_secs_f64()));
    }
    Ok(report)
}

/// 200 ms in each direction, and an ack wait of 2 s.
async fn latency(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::one().await?;
    let proxy = Proxy::to(stage.servers.member(0).port()).await?;
    proxy.both(Flow::Delay(Duration::from_millis(200)));
    let mut ledger = Ledger::open(&stage, "work").await?;
    ledger.publish(form.pick(1500, 50_000), |_| String::new()).await?;
    let start = Instant::now();
    let host = stage.host_to(&[proxy.url()], &work("work", "")).await?;
    report.injected();
    stage.settled("work", form.patience()).await?;
    let took = start.elapsed();
    report.must(host.is_running(), "the host lives");
    let delivered = stage.consumer("work").await?.delivered.consumer_sequence;
    let again = delivered - ledger.next();
    report.must(again * 100 <= ledger.next(), format!("{again} of {delivered} deliveries were redeliveries"));
    report.count(&ledger.audit().await?);
    report.note(format!(
        "redelivered {again} of {delivered}; {:.0} messages/s",
        ledger.next() as f64 / took.as_secs_f64()
    ));
    Ok(report)
}
