//! A new generation of a handler that the hosts of a fleet try together.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::time::Instant;
use tidegate_test_artifacts::probes;

use super::crew::{Crew, names};
use crate::ledger::Ledger;
use crate::patience::within;
use crate::rollout::load;
use crate::row::{Form, Report};
use crate::stage::Stage;

/// It lasts until there is evidence. How long calls take is no matter here.
const RULES: &str = "[workload.work]\nretry.max-attempts = 9\n\
                     rollout = { share = 0.05, for = '1h', max-slowdown = 1000.0 }";

/// Fails in 2 % of the calls of the new generation alone.
fn bad(id: u64) -> String {
    if id.is_multiple_of(50) { "before 2 in v2 retry 100".to_owned() } else { "sleep 1".to_owned() }
}

fn good(_: u64) -> String {
    "sleep 1".to_owned()
}

/// Under load all hosts get a generation that fails in 2 % more of its calls.
pub(super) async fn bad_generation(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let (mut crew, mut ledger) = begun(form).await?;
    load(&crew.stage.eye, &mut ledger, form, bad).await?;
    let (from, at) = (ledger.next(), Instant::now());
    crew.stage.install("probe", probes::WORKER_V2)?;
    report.injected();
    rolled_back(&mut crew, &mut ledger, form, at, &mut report).await?;
    let last = crew.seen.rollout()["last"].clone();
    let touched = last["numbers"]["new"]["calls"].as_u64().context("calls are counted")?;
    let hour = (ledger.next() - from) as f64 / at.elapsed().as_secs_f64() * 3600.0;
    let part = touched as f64 / hour * 100.0;
    report.note(format!("{touched} messages met it, {part:.3} % of an hour's at {:.0}/s", hour / 3600.0));
    if form.long {
        report.must(part < 0.5, format!("{part} % of an hour's messages were touched"));
    }
    finish(crew, &ledger, &mut report).await?;
    Ok(report)
}

/// The leader is killed while a trial goes on: the next one goes on with it, and rolls it back when it gets worse.
pub(super) async fn leader_killed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let (mut crew, mut ledger) = begun(form).await?;
    load(&crew.stage.eye, &mut ledger, form, good).await?;
    crew.stage.install("probe", probes::WORKER_V2)?;
    for _ in 0..form.pick(1, 3) {
        let so_far = crew.seen.calls_tried();
        counts_on(&crew, &mut ledger, form, so_far).await?;
        let counted = crew.seen.calls_tried();
        let leader = crew.leader().await?;
        let at = crew.kill(&leader).await?;
        report.injected();
        report.recovered(crew.decides(at, &leader).await?);
        crew.whole().await?;
        report.must(crew.seen.calls_tried() >= counted, "what was counted is not lost");
        counts_on(&crew, &mut ledger, form, counted).await?;
        crew.join(&[leader]).await?;
        crew.whole().await?;
    }
    let at = Instant::now();
    rolled_back(&mut crew, &mut ledger, form, at, &mut report).await?;
    report.note("recovery: until another host has decided, or until it was rolled back for all");
    finish(crew, &ledger, &mut report).await?;
    Ok(report)
}

async fn begun(form: Form) -> Result<(Crew, Ledger)> {
    let mut crew = Crew::with(Stage::one().await?, form.pick(6, 40), form, RULES).await?;
    let ledger = Ledger::open(&crew.stage, "work").await?;
    crew.join(&names(0..form.hosts(3, 8))).await?;
    crew.whole().await?;
    let in_use = async || crew.seen.rollout()["stable"].is_string();
    within(form.patience(), "the leader knows what is in use", in_use).await?;
    Ok((crew, ledger))
}

/// Load until more calls of the new generation are counted.
async fn counts_on(crew: &Crew, ledger: &mut Ledger, form: Form, so_far: u64) -> Result<()> {
    let from = Instant::now();
    while crew.seen.calls_tried() <= so_far + 20 {
        anyhow::ensure!(from.elapsed() < form.patience(), "nothing is counted: {}", crew.seen.rollout());
        load(&crew.stage.eye, ledger, form, good).await?;
    }
    Ok(())
}

/// Bad load until it is rolled back, and all hosts say so.
async fn rolled_back(
    crew: &mut Crew,
    ledger: &mut Ledger,
    form: Form,
    from: Instant,
    report: &mut Report,
) -> Result<()> {
    while !crew.seen.rollout()["last"].is_object() {
        anyhow::ensure!(from.elapsed() < form.patience(), "it is not rolled back: {}", crew.seen.rollout());
        load(&crew.stage.eye, ledger, form, bad).await?;
    }
    report.recovered(from.elapsed());
    let rollout = crew.seen.rollout();
    report.must(rollout["last"]["ending"] == "rolled_back", format!("it is rolled back: {rollout}"));
    report.note(rollout["last"]["reason"].as_str().unwrap_or_default());
    for host in crew.hosts.values() {
        host.says(&["a new generation is rolled back"], form.patience()).await?;
    }
    Ok(())
}

/// There was one trial, whoever has led, and its counts only grew.
async fn finish(crew: Crew, ledger: &Ledger, report: &mut Report) -> Result<()> {
    let mut counted = 0;
    for rollout in crew.seen.rollouts() {
        report.must(rollout["number"].as_u64() <= Some(1), format!("there is one trial: {rollout}"));
        let calls = new_calls(&rollout);
        report.must(calls.is_none_or(|calls| calls >= counted), format!("after {counted} calls came {calls:?}"));
        counted = calls.unwrap_or(counted);
    }
    crew.finish(ledger, report).await
}

/// Calls of the generation that is tried.
pub(super) fn new_calls(rollout: &Value) -> Option<u64> {
    rollout["tried"]["compared"]["new"]["calls"].as_u64()
}
