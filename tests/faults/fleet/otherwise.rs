//! Hosts of a fleet of which one is not as the others: its clock, its settings.

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::crew::{Crew, names};
use super::{DECIDES, publish};
use crate::clock::{hour, shim};
use crate::ledger::Ledger;
use crate::row::{Form, Report};
use crate::stage::Stage;

/// The one that is not as the others.
const ODD: &str = "h00";

/// The clock of the host that leads is an hour ahead of all others, and an hour behind; then it is killed.
pub(super) async fn clock_off(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let files = TempDir::new()?;
    let library = match shim(files.path()) {
        Ok(library) => library,
        Err(problem) => return Ok(Report::not_injected(format!("{problem:#}"))),
    };
    let clock = files.path().join("clock");
    let shifted =
        [("LD_PRELOAD", library.to_str().context("a path")?), ("BENCH_CLOCK", clock.to_str().context("a path")?)];
    let mut crew = Crew::on(Stage::one().await?, form.pick(6, 40), form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    let others = names(1..form.hosts(3, 8));
    for shift in ["3600", "-3600"].iter().cycle().take(form.pick(2, 6)) {
        std::fs::write(&clock, shift)?;
        crew.join_as(ODD, &shifted, "").await?;
        for id in &others {
            if crew.hosts.contains_key(id) {
                crew.stop(id).await?;
            }
        }
        crew.whole().await?;
        crew.join(&others).await?;
        crew.whole().await?;
        publish(&mut ledger, form).await?;
        let leader = crew.leader().await?;
        report.must(leader == ODD, format!("{ODD} leads, and not {leader}"));
        let hours = (hour(&crew.hosts[ODD].log()), hour(&crew.hosts[&others[0]].log()));
        if hours.0 == hours.1 {
            return Ok(Report::not_injected("a host does not take its time from a C library that can be shifted"));
        }
        let at = crew.kill(ODD).await?;
        report.injected();
        report.recovered(crew.decides(at, ODD).await?);
        crew.whole().await?;
    }
    report.note(DECIDES);
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

/// One has another `scale.max` and time limit: it is told by key, and the settings of the one that leads count.
pub(super) async fn different_settings(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::on(Stage::one().await?, form.pick(6, 40), form).await?;
    let most = crew.written();
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    let others = names(1..form.hosts(3, 8));
    crew.join(&others).await?;
    crew.whole().await?;
    for _ in 0..form.pick(1, 3) {
        publish(&mut ledger, form).await?;
        let more = most + 3;
        crew.join_as(ODD, &[], &format!("[workload.work]\nscale.max = {more}\nlimits.time = '7s'")).await?;
        report.injected();
        let keys = "keys=\"limits.time, scale.max\"";
        let differ = "settings of this host differ";
        crew.hosts[ODD].says(&[differ, keys], form.patience()).await?;
        let agree = report.injected > 1 || others.iter().all(|id| crew.hosts[id].logged(&[differ]) == 0);
        report.must(agree, "those with the leader's settings say nothing of a difference");
        crew.whole().await?;
        for id in &others {
            crew.stop(id).await?;
        }
        // It leads now, and so its maximum counts.
        crew.led_with(more);
        crew.whole().await?;
        crew.join(&others).await?;
        for id in &others {
            crew.hosts[id].says(&[differ, "leader=h00", keys], form.patience()).await?;
        }
        crew.whole().await?;
        let at = crew.kill(ODD).await?;
        report.recovered(crew.decides(at, ODD).await?);
        crew.led_with(most);
        crew.whole().await?;
    }
    report.note(DECIDES);
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}
