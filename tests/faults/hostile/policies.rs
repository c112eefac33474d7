//! Policies that answer nonsense, or not at all.

use std::time::{Duration, Instant};

use anyhow::Result;
use toml::Table;

use super::cases::{HostileBench, decided, tail};
use crate::row::{Form, Report, Row, row};
use crate::stage::with;

pub(crate) const ROWS: &[Row] = &[row!(30, "absurd policy", absurd), row!(31, "slow policy, trapping policy", failing)];

/// The most workers that a workload here has.
const MAX: usize = 8;

/// A workload with 2 to 8 workers by this mode of the probe. It gets no messages.
fn probe(mode: &str, settings: &str) -> Table {
    let over = format!("scale = {{ min = 2, max = {MAX}, interval = '100ms' }}\nlimits.time = '500ms'");
    decided(mode, mode, settings, &over)
}

/// How many workers of a workload have started and how many have ended.
fn workers(bench: &HostileBench, workload: &str) -> (usize, usize) {
    let of = format!("workload={workload} ");
    (bench.host.logged(&["worker started", &of]), bench.host.logged(&["worker stopped", &of]))
}

/// None, all, some and none by turns, bytes as state that it does not know, a reason of a megabyte.
async fn absurd(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let modes = [
        ("fixed", "desired = '0'"),
        ("max", "desired = '2'"),
        ("flap", "desired = '4294967295'"),
        ("wrong-state", "desired = '3'"),
        ("huge-reason", "desired = '3'"),
    ];
    let config = modes.iter().fold(Table::new(), |all, (mode, more)| with(all, probe(mode, more)));
    let mut bench = HostileBench::start_with(&[], config).await?;
    for (mode, _) in modes {
        bench.host.says(&["policy in use", &format!("workload={mode} ")], form.patience()).await?;
    }
    let start = Instant::now();
    let time = form.pick(Duration::from_secs(10), Duration::from_secs(120));
    let mut most = 0;
    while start.elapsed() < time {
        bench.good.publish(50, |_| String::new()).await?;
        for (mode, _) in modes {
            let (started, ended) = workers(&bench, mode);
            let running = started - ended.min(started);
            // Those that drain are among them: a flapping policy starts new ones while the old ones end.
            most = most.max(running);
            report.must(running <= 2 * MAX, format!("{mode}: {running} workers, where at most {MAX} are wanted"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for (mode, _) in modes {
        report.injected();
        let (started, ended) = workers(&bench, mode);
        report.must(started >= 2, format!("{mode}: fewer workers than scale.min; {}", tail(&bench.host.log())));
        report.must(mode == "flap" || started <= MAX, format!("{mode}: {started} workers were started"));
        report.must(mode == "flap" || ended == 0, format!("{mode}: {ended} workers ended"));
        let per_minute = started as f64 * 60.0 / start.elapsed().as_secs_f64();
        if mode == "flap" {
            report.note(format!("flapping every 200 ms: {per_minute:.0} starts/min"));
        }
    }
    let longest = bench.host.log().lines().map(str::len).max().unwrap_or(0);
    report.must(longest < 3000, format!("a log line of {longest} bytes"));
    bench.finish(form, &mut report).await?;
    Ok(report)
}

/// Uses up its fuel, sleeps, traps now and then, wants memory: the count stays, and each failure is counted and told.
async fn failing(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let modes = ["spin", "trap", "grow", "huge-state", "third"];
    let config = modes.iter().fold(Table::new(), |all, mode| with(all, probe(mode, "desired = '5', after = '1'")));
    let mut bench = HostileBench::start_with(&[], config).await?;
    for mode in modes {
        let scaled = ["scaling 2 -> 5", &format!("workload={mode} ")];
        bench.host.says(&scaled, form.patience()).await?;
        bench.host.says(&["no decision", &format!("workload={mode} ")], form.patience()).await?;
        report.injected();
    }
    let start = Instant::now();
    while start.elapsed() < form.pick(Duration::from_secs(5), Duration::from_secs(60)) {
        bench.good.publish(50, |_| String::new()).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for mode in modes {
        let changes = bench.host.logged(&["scaling ", &format!("workload={mode} ")]);
        report.must(changes == 1, format!("{mode}: the count changed {changes} times"));
        let (started, ended) = workers(&bench, mode);
        report.must((started, ended) == (5, 0), format!("{mode}: {started} workers started, {ended} ended"));
    }
    bench.finish(form, &mut report).await?;
    Ok(report)
}
