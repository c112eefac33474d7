//! Hosts that are one fleet, and what becomes of their plan.

mod cost;
mod crew;
mod otherwise;
mod rollout;
mod seen;

use std::time::Instant;

use anyhow::{Context as _, Result};

use self::crew::{Crew, NOBODY, names};
use self::seen::BUCKET;
use crate::ledger::Ledger;
use crate::patience::{until, within};
use crate::proxy::Proxy;
use crate::row::{Form, Report, Row, row};
use crate::stage::Stage;

pub(crate) const ROWS: &[Row] = &[
    row!(60, "fleet: leader killed", leader_killed),
    row!(61, "fleet: leader paused and resumed", leader_paused),
    row!(62, "fleet: half of the hosts killed", half_killed),
    row!(63, "fleet: hosts join in a storm", storm),
    row!(64, "fleet: bucket purged", purged),
    row!(65, "fleet: rolling restart", rolling),
    row!(66, "fleet: the bucket's stream leader killed", stream_leader_killed),
    row!(67, "fleet: leader cut off from the cluster", cut_off),
    row!(68, "fleet: a host's clock is an hour off", otherwise::clock_off),
    row!(69, "fleet: two hosts with different settings", otherwise::different_settings),
    row!(70, "fleet: what idle hosts cost the server", cost::idle),
    row!(74, "fleet: rollout of a bad generation", rollout::bad_generation),
    row!(75, "fleet: leader killed during a rollout", rollout::leader_killed),
];

/// What recovery is in most of these rows.
const DECIDES: &str = "recovery: until another host has decided";

async fn publish(ledger: &mut Ledger, form: Form) -> Result<()> {
    ledger.publish(form.pick(300, 10_000), |_| "sleep 20".to_owned()).await
}

async fn leader_killed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::of(form.hosts(3, 8), form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    for _ in 0..form.pick(1, 5) {
        publish(&mut ledger, form).await?;
        let leader = crew.leader().await?;
        let at = crew.kill(&leader).await?;
        report.injected();
        report.recovered(crew.decides(at, &leader).await?);
        crew.whole().await?;
        if form.long {
            crew.join(&[leader]).await?;
            crew.whole().await?;
        }
    }
    report.note(DECIDES);
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

/// SIGSTOP until another leads: what the paused one believes then is wrong.
async fn leader_paused(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::of(form.hosts(3, 8), form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    for _ in 0..form.pick(1, 5) {
        publish(&mut ledger, form).await?;
        let leader = crew.leader().await?;
        let at = crew.pause(&leader)?;
        report.injected();
        report.recovered(crew.decides(at, &leader).await?);
        let resumed = crew.resume(&leader)?;
        crew.decides(resumed, &leader).await?;
        crew.whole().await?;
        let wrote = crew.seen.plans_since(resumed).iter().any(|plan| plan["holder"]["id"] == *leader);
        report.must(!wrote, format!("{leader} writes no plan after its pause"));
        // One that goes on hears mostly in time that it does not lead any more. So now another takes the lease of one
        // that hears nothing of it before it writes.
        let taken = crew.take_lease().await?;
        report.injected();
        let next = until(form.patience(), "a host leads again", async || crew.seen.leads_after(NOBODY)).await?;
        report.must(next > taken, format!("the plan {next} follows on {taken}: the lease that was taken is respected"));
        crew.whole().await?;
    }
    report.note(DECIDES);
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

async fn half_killed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::of(form.hosts(4, 20), form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    publish(&mut ledger, form).await?;
    let at = Instant::now();
    for id in names(0..crew.hosts.len() / 2) {
        crew.kill(&id).await?;
        report.injected();
    }
    crew.whole().await?;
    report.recovered(at.elapsed());
    report.note("recovery: until the others have all workers");
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

/// One host, and then all others at once.
async fn storm(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::of(1, form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    publish(&mut ledger, form).await?;
    let (others, at) = (names(1..form.hosts(5, 50)), Instant::now());
    crew.join_at_once(&others).await?;
    report.injected += others.len() as u64;
    crew.whole().await?;
    report.recovered(at.elapsed());
    report.note("recovery: from their start until all have their shares");
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

/// Nothing is left in the bucket: what a host holds goes on.
async fn purged(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let crew = Crew::of(form.hosts(3, 8), form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    for _ in 0..form.pick(1, 5) {
        publish(&mut ledger, form).await?;
        crew.stage.js.get_stream(format!("KV_{BUCKET}")).await?.purge().await?;
        let at = Instant::now();
        report.injected();
        report.recovered(crew.decides(at, "").await?);
        let planned = async || !crew.seen.plans_since(at).is_empty();
        within(form.patience(), "there is a plan again", planned).await?;
    }
    report.note("recovery: until a host has decided");
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

/// Each host is stopped and started again, one after the other, while messages flow.
async fn rolling(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::of(form.hosts(3, 8), form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    let from = Instant::now();
    for id in crew.hosts.keys().cloned().collect::<Vec<_>>() {
        publish(&mut ledger, form).await?;
        crew.stop(&id).await?;
        crew.join(&[id]).await?;
        report.injected();
        crew.whole().await?;
    }
    report.recovered(crew.seen.longest_undecided(from));
    report.note("recovery: the longest time without a decision");
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}

/// `kill -9` of the server that leads the bucket's stream, in a cluster of three.
async fn stream_leader_killed(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut crew = Crew::on(Stage::three().await?, 6, form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    crew.join(&names(0..form.hosts(2, 6))).await?;
    crew.whole().await?;
    for _ in 0..form.pick(1, 3) {
        publish(&mut ledger, form).await?;
        let info = crew.stage.js.get_stream(format!("KV_{BUCKET}")).await?.cached_info().clone();
        let name = info.cluster.and_then(|cluster| cluster.leader).context("the stream has a leader")?;
        let index: usize = name.trim_start_matches('s').parse()?;
        let at = Instant::now();
        crew.stage.servers.member(index).kill();
        report.injected();
        let elected = until(form.patience(), "the stream has another leader", async || {
            let info = crew.stage.js.get_stream(format!("KV_{BUCKET}")).await.ok()?.cached_info().clone();
            info.cluster.and_then(|cluster| cluster.leader).filter(|leader| *leader != name).map(|_| at.elapsed())
        });
        let (decided, elected) = tokio::join!(crew.decides(at, ""), elected);
        report.recovered(decided?);
        report.note(format!("the stream had another leader after {:.2} s", elected?.as_secs_f64()));
        crew.stage.servers.member(index).restart().await?;
        crew.stage.settled("work", form.patience()).await?;
    }
    report.note("recovery: until a decision is seen that was stored after it");
    crew.seen.check_stored(&crew.stage, &mut report).await?;
    crew.finish_checked(&ledger, &mut report).await?;
    Ok(report)
}

/// All connections of the host that leads stand still, and no new one is let in, until another leads.
async fn cut_off(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::three().await?;
    let mut proxies = Vec::new();
    for index in 0..stage.servers.count() {
        proxies.push(Proxy::to(stage.servers.member(index).port()).await?);
    }
    let urls: Vec<String> = proxies.iter().map(Proxy::url).collect();
    let mut crew = Crew::on(stage, 6, form).await?;
    let mut ledger = Ledger::open(&crew.stage, "work").await?;
    let cut = names(0..1);
    crew.join_by(&urls, &cut).await?;
    crew.whole().await?;
    crew.join(&names(1..form.hosts(3, 6))).await?;
    crew.whole().await?;
    publish(&mut ledger, form).await?;
    let leader = crew.leader().await?;
    report.must(leader == cut[0], format!("{} leads, and not {leader}", cut[0]));
    let at = Instant::now();
    proxies.iter().for_each(|proxy| {
        proxy.refuse(true);
        proxy.freeze();
    });
    report.injected();
    report.recovered(crew.decides(at, &leader).await?);
    let healed = Instant::now();
    proxies.iter().for_each(|proxy| proxy.refuse(false));
    crew.decides(healed, &leader).await?;
    crew.whole().await?;
    let wrote = crew.seen.plans_since(healed).iter().any(|plan| plan["holder"]["id"] == *leader);
    report.must(!wrote, format!("{leader} writes no plan after it was cut off"));
    report.note(DECIDES);
    crew.finish(&ledger, &mut report).await?;
    Ok(report)
}
