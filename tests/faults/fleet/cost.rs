//! What hosts of a fleet cost a server that have nothing to do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::Client;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};
use toml::Table;

use super::crew::names;
use super::seen::BUCKET;
use crate::hosts::{Host, ask};
use crate::patience::within;
use crate::row::{Form, Report};
use crate::servers::{Servers, free_ports};
use crate::stage::{Stage, with, work};

/// The most messages a second that 50 hosts with 100 workloads may send.
const MOST: f64 = 500.0;

/// The most KiB a second that they may get.
const MOST_KIB: f64 = 2048.0;

/// Messages by what they are for.
const KINDS: [(&str, &str); 6] = [
    ("$KV.FLEET.host.", "signs of life"),
    ("$KV.FLEET.figures.", "figures of hosts"),
    ("$KV.FLEET.", "leases and plans"),
    ("$JS.API.CONSUMER.MSG.NEXT.", "pulls"),
    ("$JS.API.CONSUMER.INFO.", "looks at consumers"),
    ("$JS.API.STREAM.", "looks at streams"),
];

/// All hosts have all workloads, which are at zero.
pub(super) async fn idle(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let monitor = format!("127.0.0.1:{}", free_ports(1)?.first().context("a port")?);
    let stage = Stage::on(Servers::one(&format!("http: \"{monitor}\"")).await?).await?;
    let workloads: Vec<String> = (0..form.pick(10, 100)).map(|number| format!("w{number:02}")).collect();
    let ids = names(0..form.hosts(3, 50));
    let mut hosts = Vec::new();
    // A few at a time, for each of them binds all its workloads, and each plan is another with each.
    for few in ids.chunks(5) {
        let from = hosts.len();
        for id in few {
            hosts.push(stage.launch(&stage.config(&config(id, &workloads)), &[])?);
        }
        for host in &hosts[from..] {
            let ready = async || host.logged(&[" ready workload="]) == workloads.len();
            within(form.patience(), "all workloads of a host are ready", ready).await?;
        }
        report.injected += few.len() as u64;
        let shared = async || all_share(&stage, &workloads, hosts.len()).await;
        within(form.patience(), "all hosts have a part in all plans", shared).await?;
    }
    let window = form.pick(Duration::from_secs(5), Duration::from_secs(60));
    let (before, start) = (counted(&monitor).await?, Instant::now());
    sleep(window).await;
    let (after, took) = (counted(&monitor).await?, start.elapsed().as_secs_f64());
    let a_second = |index: usize| (after[index] - before[index]) as f64 / took;
    let resident = hosts.iter().map(Host::resident).sum::<u64>() / hosts.len() as u64 / (1 << 20);
    report.note(format!(
        "{} hosts, {} workloads: {:.0} messages/s to the server, {:.0} from it, {:.0} and {:.0} KiB/s; {resident} \
         MiB a host",
        hosts.len(),
        workloads.len(),
        a_second(0),
        a_second(1),
        a_second(2) / 1024.0,
        a_second(3) / 1024.0
    ));
    report.must(a_second(0) < MOST, format!("{:.0} messages/s to the server", a_second(0)));
    let kib = a_second(3) / 1024.0;
    report.must(kib < MOST_KIB, format!("{kib:.0} KiB/s from the server"));
    report.note(kinds(&stage.client, window).await?);
    for host in &hosts {
        report.must(host.is_running(), "all hosts live");
    }
    Ok(report)
}

fn config(id: &str, workloads: &[String]) -> Table {
    let fleet = format!("fleet.bucket = '{BUCKET}'\nhost.id = '{id}'\nplugins.rescan = '5s'");
    // The leader looks no more seldom than with the interval of a second that is the default, but fifty hosts fit on
    // two cores.
    let over = "policy = 'backlog'\nscale = { interval = '5s', window = '5s' }\npull.expires = '5s'";
    let all = workloads.iter().map(|name| work(name, over));
    all.fold(toml::from_str(&fleet).expect("what is here is TOML"), with)
}

/// Whether so many hosts have a part in the plan of each workload.
async fn all_share(stage: &Stage, workloads: &[String], hosts: usize) -> bool {
    let Ok(bucket) = stage.js.get_key_value(BUCKET).await else { return false };
    for workload in workloads {
        let Ok(Some(plan)) = bucket.get(format!("plan.{workload}")).await else { return false };
        let plan: Value = serde_json::from_slice(&plan).unwrap_or_default();
        if plan["shares"].as_object().map_or(0, serde_json::Map::len) != hosts {
            return false;
        }
    }
    true
}

/// What a server has counted since it started: messages in and out, bytes in and out.
async fn counted(monitor: &str) -> Result<[u64; 4]> {
    let (_, varz) = ask(monitor, "/varz").await.context("the server answers")?;
    // It comes in one chunk, between the length of that and an empty one.
    let object = varz.find('{').zip(varz.rfind('}')).map(|(start, end)| &varz[start..=end]);
    let varz: Value = serde_json::from_str(object.context("an object")?).context("an answer in JSON")?;
    Ok(["in_msgs", "out_msgs", "in_bytes", "out_bytes"].map(|counter| varz[counter].as_u64().unwrap_or_default()))
}

/// What clients send in a while, by what it is for.
async fn kinds(client: &Client, window: Duration) -> Result<String> {
    let mut all = client.subscribe(">").await?;
    client.flush().await?;
    let (end, mut counts) = (Instant::now() + window, BTreeMap::<&str, u64>::new());
    while let Ok(Some(message)) = timeout_at(end, all.next()).await {
        // What the server delivers to a watch comes by here too, with where it is to be acknowledged.
        let delivered = message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK."));
        let kind = KINDS.iter().find(|(prefix, _)| message.subject.starts_with(prefix)).filter(|_| !delivered);
        if let Some((_, kind)) = kind {
            *counts.entry(kind).or_default() += 1;
        }
    }
    let each = counts.iter().map(|(kind, count)| format!("{kind} {:.1}/s", *count as f64 / window.as_secs_f64()));
    Ok(each.collect::<Vec<_>>().join(", "))
}
