//! Hosts that come and go while they keep the order of keys.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use async_nats::jetstream;
use fastrand::Rng;
use tokio::time::sleep;
use toml::Table;

use crate::hosts::Host;
use crate::ledger::{Ledger, read};
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[
    row!(55, "hosts come and go while an order is kept", come_and_go),
    row!(76, "the same with a fleet that shares partitions", partitions_come_and_go),
];

const KEYS: u64 = 1_000;

/// Four messages of a key come one after the other, and the next four 4,000 messages later.
fn key_of(id: u64) -> u64 {
    id / 4 % KEYS
}

/// Some are to be tried again: what follows in their key waits for that.
fn fails(id: u64) -> String {
    if id.is_multiple_of(7) { "before 2 retry 50".to_owned() } else { String::new() }
}

/// What happens to a host.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Starts,
    Stops,
    IsKilled,
    IsPaused,
}

/// Hosts that work one consumer, of which one at a time is given messages.
struct Hosts<'a> {
    stage: &'a Stage,
    config: Table,
    running: Vec<Host>,
    /// With the time at which each goes on.
    paused: Vec<(Host, Instant)>,
    most: usize,
    /// Whether the workload has partitions.
    spread: bool,
    random: Rng,
    counts: HashMap<&'static str, u64>,
}

impl Hosts<'_> {
    async fn start(&mut self, count: usize) -> Result<()> {
        let config = self.stage.config(&self.config);
        let begun = self.running.len();
        for _ in 0..count {
            self.running.push(self.stage.launch(&config, &[])?);
        }
        for host in &self.running[begun..] {
            host.ready(1).await?;
        }
        Ok(())
    }

    /// The one that is given the messages, if one says so. Of a workload with partitions each host is given some.
    async fn working(&self) -> Option<usize> {
        if self.spread {
            return None;
        }
        for (index, host) in self.running.iter().enumerate() {
            let metrics = host.read("/metrics").await.unwrap_or_default();
            if metrics.contains("tidegate_order_standby{workload=\"work\"} 0") {
                return Some(index);
            }
        }
        None
    }

    async fn one(&mut self, what: Happens) -> Result<()> {
        let now = Instant::now();
        while let Some(at) = self.paused.iter().position(|(_, until)| *until <= now) {
            let (host, _) = self.paused.swap_remove(at);
            host.resume()?;
            self.running.push(host);
        }
        let all = self.running.len() + self.paused.len();
        // One of those that run is left.
        let what = if self.running.len() < 2 || all < self.most / 2 { Happens::Starts } else { what };
        if matches!(what, Happens::Starts) {
            let missing = self.most.saturating_sub(all);
            *self.counts.entry("started").or_default() += missing as u64;
            return self.start(missing).await;
        }
        // Most often the one that works: for the others it is nothing.
        let working = if self.random.u8(0..4) > 0 { self.working().await } else { None };
        let at = working.unwrap_or_else(|| self.random.usize(0..self.running.len()));
        let mut host = self.running.swap_remove(at);
        let done = match what {
            Happens::IsKilled => {
                host.kill().await?;
                "killed"
            }
            Happens::IsPaused => {
                host.pause()?;
                // Often longer than the ack wait, and sometimes than the time after which another host takes over.
                let until = Instant::now() + Duration::from_millis(self.random.u64(500..12_000));
                self.paused.push((host, until));
                "paused"
            }
            Happens::Stops | Happens::Starts => {
                host.stop().await?;
                "stopped"
            }
        };
        *self.counts.entry(done).or_default() += 1;
        Ok(())
    }
}

/// Where the ids of messages on this subject are in the stream.
async fn places(js: &jetstream::Context, subject: &str) -> Result<HashMap<u64, usize>> {
    let mut places = HashMap::new();
    read(js, "work", subject, |message| {
        // The first line is `record out.work ID BYTES`.
        let text = std::str::from_utf8(&message.payload).unwrap_or_default();
        let id = text.lines().next().and_then(|line| line.split(' ').nth(2)).and_then(|id| id.parse().ok());
        places.insert(id.unwrap_or(u64::MAX), places.len());
    })
    .await?;
    Ok(places)
}

/// An id of which the first effect came after one of a later message of its key.
async fn overtaken(
    js: &jetstream::Context,
    (stream, subject): (&str, &str),
    places: &HashMap<u64, usize>,
) -> Result<Option<u64>> {
    let (mut last, mut overtaken) = (HashMap::<u64, usize>::new(), None);
    let mut had = std::collections::HashSet::new();
    read(js, stream, subject, |message| {
        let text = std::str::from_utf8(&message.payload).unwrap_or_default();
        let id = text.split(' ').next().and_then(|id| id.parse::<u64>().ok()).unwrap_or(u64::MAX);
        let place = places.get(&id).copied().unwrap_or_default();
        if had.insert(id) && last.insert(key_of(id), place).is_some_and(|before| before > place) {
            overtaken = overtaken.or(Some(id));
        }
    })
    .await?;
    Ok(overtaken)
}

/// Hosts are started, stopped, killed and paused while messages of 1,000 keys come. No first effect of a key is out of
/// order; what was with a host that was killed or stood still may have its effects twice.
async fn come_and_go(form: Form) -> Result<Report> {
    let stage = Stage::one().await?;
    let mut ledger = Ledger::open(&stage, "work").await?;
    ledger.keyed(key_of);
    // How often a message was with a host that is gone is chance.
    let over = "order-key = 'header:Key'\npolicy-settings.workers = '4'\nretry.max-attempts = 1000";
    let mut config = work("work", over);
    config.insert("http".to_owned(), "127.0.0.1:0".into());
    in_order_meanwhile(form, &stage, ledger, config, None).await
}

/// The same with hosts that are a fleet and share partitions.
async fn partitions_come_and_go(form: Form) -> Result<Report> {
    let stage = Stage::one().await?;
    let count = form.pick(16, 64);
    let ledger = Ledger::open_mapped(&stage, "work", key_of, count).await?;
    let over =
        format!("order-key = 'subject:3'\npartitions = {count}\nsubjects = ['in.work.*']\nretry.max-attempts = 1000");
    let mut config = work("work", &over);
    config.insert("http".to_owned(), "127.0.0.1:0".into());
    config.insert("fleet".to_owned(), Table::from_iter([("bucket".to_owned(), "FLEET".into())]).into());
    in_order_meanwhile(form, &stage, ledger, config, Some(count)).await
}

/// Has hosts come and go while messages come, and looks at the order of their effects. `partitions` is how many the
/// workload has, if it has any.
async fn in_order_meanwhile(
    form: Form,
    stage: &Stage,
    mut ledger: Ledger,
    config: Table,
    partitions: Option<u32>,
) -> Result<Report> {
    let mut report = Report::new();
    let (most, random) = (form.hosts(4, 20), Rng::with_seed(form.seed));
    let (running, paused, spread, counts) = (Vec::new(), Vec::new(), partitions.is_some(), HashMap::new());
    let mut hosts = Hosts { stage, config, running, paused, most, spread, random, counts };
    hosts.start(most).await?;
    let until = Instant::now() + form.pick(Duration::from_secs(30), Duration::from_secs(600));
    let mut deck = Vec::new();
    while Instant::now() < until || report.injected < 8 {
        ledger.publish(400, fails).await?;
        let next = deck.pop().unwrap_or_else(|| {
            deck = vec![Happens::Starts, Happens::Stops, Happens::IsKilled, Happens::IsPaused];
            hosts.random.shuffle(&mut deck);
            Happens::Stops
        });
        report.injected();
        hosts.one(next).await?;
        ledger.publish(400, fails).await?;
        sleep(Duration::from_millis(hosts.random.u64(100..1_500))).await;
    }
    for (host, _) in &hosts.paused {
        host.resume()?;
    }
    report.recovered(match partitions {
        Some(count) => stage.partitions_settled("work", count, form.patience()).await?,
        None => stage.settled("work", form.patience()).await?,
    });
    for host in hosts.running.iter().chain(hosts.paused.iter().map(|(host, _)| host)) {
        report.must(host.is_running(), "each host that was not ended lives");
    }
    let audit = ledger.audit().await?;
    report.must(audit.dead == 0, format!("no dead letter: {:?}", audit.causes));
    let places = places(&stage.js, if partitions.is_some() { "*.in.work.*" } else { "in.work" }).await?;
    for of in [("OUT", "out.work"), ("RAW", "raw.work")] {
        let overtaken = overtaken(&stage.js, of, &places).await?;
        report.must(overtaken.is_none(), format!("in {} the message {overtaken:?} was overtaken in its key", of.0));
    }
    report.count(&audit);
    let mut counts: Vec<_> = hosts.counts.into_iter().collect();
    counts.sort_unstable();
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    report.note(format!("{most} hosts, {}", counts.join(", ")));
    Ok(report)
}
