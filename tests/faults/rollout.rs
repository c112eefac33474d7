//! A new generation of a handler that a share of the workers tries first, by one host.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::time::{Duration, Instant};
use tidegate_test_artifacts::probes;

use crate::hosts::Host;
use crate::ledger::Ledger;
use crate::patience::until;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Eye, Stage, with, work};

pub(crate) const ROWS: &[Row] = &[
    row!(71, "rollout: a generation that fails 2 % more", fails_more),
    row!(72, "rollout: a generation that is slower by half", slower),
    row!(73, "rollout: a generation that is fine", fine),
];

/// The part of an hour's messages that a bad generation may meet.
const TOUCHED: f64 = 0.005;

async fn fails_more(form: Form) -> Result<Report> {
    let lines =
        |id: u64| if id.is_multiple_of(50) { "before 2 in v2 retry 100".to_owned() } else { "sleep 1".to_owned() };
    // How long calls take is another row's matter.
    let rules = "rollout = { share = 0.05, for = '1h', max-slowdown = 1000.0 }";
    rolled_out(form, (20, rules), lines, "rolled_back", " calls failed, ").await
}

async fn slower(form: Form) -> Result<Report> {
    let lines = |_| "sleep 200\nin v2 sleep 100".to_owned();
    let rules = "rollout = { share = 0.5, for = '1h' }";
    rolled_out(form, (40, rules), lines, "rolled_back", "times as long").await
}

async fn fine(form: Form) -> Result<Report> {
    let rules = "rollout = { share = 0.05, for = '5s', min-messages = 200 }";
    rolled_out(form, (20, rules), |_| "sleep 20".to_owned(), "promoted", " calls failed, ").await
}

/// Under load the file is replaced, and the trial ends so, for a reason with these words.
async fn rolled_out(
    form: Form,
    (workers, rules): (u32, &str),
    lines: impl Fn(u64) -> String,
    ending: &str,
    reason: &str,
) -> Result<Report> {
    let mut report = Report::new();
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    let over = format!("policy-settings.workers = '{workers}'\nscale.max = {workers}\nretry.max-attempts = 9\n{rules}");
    let http = toml::from_str("http = '127.0.0.1:0'").expect("what is here is TOML");
    let host = stage.host(&with(work("work", &over), http)).await?;
    load(&stage, &mut ledger, form, &lines).await?;
    let (from, at) = (ledger.next(), Instant::now());
    stage.install("probe", probes::WORKER_V2)?;
    report.injected();
    let last = loop {
        load(&stage, &mut ledger, form, &lines).await?;
        let rollout = rollout(&host).await?;
        if rollout["last"].is_object() {
            break rollout["last"].clone();
        }
        report.must(at.elapsed() < form.patience(), format!("the trial ends: {rollout}"));
        if at.elapsed() >= form.patience() {
            return Ok(report);
        }
    };
    let (took, all) = (at.elapsed(), ledger.next() - from);
    report.recovered(took);
    report.must(last["ending"] == ending && last["reason"].to_string().contains(reason), format!("it ends so: {last}"));
    let touched = last["new"]["calls"].as_u64().context("calls are counted")?;
    let hour = all as f64 / took.as_secs_f64() * 3600.0;
    let part = touched as f64 / hour;
    if ending == "rolled_back" && form.long {
        report.must(part < TOUCHED, format!("{touched} messages were touched, {:.3} % of an hour's", part * 100.0));
    }
    report.note(format!(
        "{touched} messages met it, {:.3} % of an hour's at {:.0}/s; {}",
        part * 100.0,
        hour / 3600.0,
        last["reason"].as_str().unwrap_or_default()
    ));
    settled(&stage, &host, form).await?;
    report.count(&ledger.audit().await?);
    report.must(host.is_running(), "the host lives");
    report.note("recovery: until it was decided");
    Ok(report)
}

/// More messages, of which most are handled when this returns.
pub(crate) async fn load(eye: &Eye, ledger: &mut Ledger, form: Form, lines: impl Fn(u64) -> String) -> Result<()> {
    ledger.publish(200, lines).await?;
    let few = async || eye.consumer("work").await.is_ok_and(|info| info.num_pending < 100).then_some(());
    until(form.patience(), "the load is handled", few).await
}

async fn rollout(host: &Host) -> Result<Value> {
    let read = async || serde_json::from_str::<Value>(&host.read("/status").await?).ok();
    let status = until(Duration::from_secs(60), "the host tells its status", read).await?;
    Ok(status["workloads"][0]["rollout"].clone())
}

/// All is handled, and all workers run the generation that is in use.
async fn settled(stage: &Stage, host: &Host, form: Form) -> Result<()> {
    stage.settled("work", form.patience()).await?;
    let same = async || {
        let status: Value = serde_json::from_str(&host.read("/status").await?).ok()?;
        let work = &status["workloads"][0];
        let all = work["workers"]["alive"].as_array()?;
        all.iter().all(|worker| worker["generation"] == work["rollout"]["generation"]).then_some(())
    };
    until(form.patience(), "all workers run what is in use", same).await
}
