//! Very many messages, and something going wrong all the time.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::chaos::{Chaos, InjectedFault};
use crate::ledger::Ledger;
use crate::patience::until;
use crate::pulse::Pulse;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

/// How long what the server had called settled may take to come after all: more than two ack waits.
const LATE: Duration = Duration::from_secs(10);

pub(crate) const ROWS: &[Row] = &[row!(35, "random faults, up to a million messages", million)];

const FAULTS: &[InjectedFault] = &[
    InjectedFault::HostKill,
    InjectedFault::HostPause,
    InjectedFault::ServerKill,
    InjectedFault::ServerPause,
    InjectedFault::Partition,
    InjectedFault::HalfOpen,
    InjectedFault::Latency,
    InjectedFault::ConsumerLeader,
    InjectedFault::StreamLeader,
    InjectedFault::HandlerSwap,
    InjectedFault::PolicySwap,
    InjectedFault::TrapStorm,
];

/// Two hosts on a cluster of three with three replicas. One message in 5000 is rejected.
async fn million(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let mut stage = Stage::three().await?;
    let count = form.pick(10_000, 1_000_000);
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    let eye = stage.eye.clone();
    let pulse = Pulse::of(&stage, "work").await?;
    let storm = AtomicBool::new(false);
    let over = "
        ack-wait = '3s'
        policy = 'probe-policy'
        policy-settings = { desired = '4' }
        retry = { max-attempts = 20, backoff = ['200ms'] }
        scale.min = 2";
    let config = work("work", over);
    let mut chaos = Chaos::new(&mut stage, config, 2, form.seed, &storm).await?;
    let (start, done, injected) = (Instant::now(), Cell::new(None), Cell::new(0));
    let messages = async {
        let script = |id: u64| match id {
            _ if id % 5000 == 4999 => "reject no".to_owned(),
            _ if storm.load(Ordering::Relaxed) => "before 3 trap".to_owned(),
            _ => String::new(),
        };
        let mut published = Ok(());
        // Each fault happens at least once while messages flow.
        while published.is_ok() && (ledger.next() < count || injected.get() < FAULTS.len()) {
            published = ledger.publish(500, script).await;
            tokio::time::sleep(form.pick(Duration::from_millis(200), Duration::ZERO)).await;
        }
        let settled = match published {
            Ok(()) => eye.settled("work", form.patience()).await.map(drop),
            Err(error) => Err(error),
        };
        done.set(Some(start.elapsed()));
        settled
    };
    let faults = async {
        while done.get().is_none() {
            chaos.one(FAULTS).await?;
            injected.set(injected.get() + 1);
            tokio::time::sleep(Duration::from_millis(form.pick(300, 2000))).await;
        }
        anyhow::Ok(())
    };
    let (messages, faults) = tokio::join!(messages, faults);
    messages?;
    faults?;
    let took = done.get().unwrap_or_default();
    let count = ledger.next();
    (0..chaos.counts.values().sum()).for_each(|_| report.injected());
    report.must(chaos.hosts.iter().all(crate::hosts::Host::is_running), "no host ends that was not killed");
    report.note(chaos.told());
    report.recovered(pulse.longest_gap(start));
    let delivered = eye.consumer("work").await?.delivered.consumer_sequence;
    let mut audit = ledger.audit().await?;
    if !audit.lost.is_empty() {
        // A server that has just begun to lead may say that all is settled while something is still to come.
        let early = audit.lost.len();
        let all = async || ledger.audit().await.ok().filter(|audit| audit.lost.is_empty());
        if let Ok(later) = until(LATE, "what was said to be settled", all).await {
            audit = later;
            report.note(format!("{early} came after the server had said that all is settled"));
        }
    }
    report.must(
        audit.causes.keys().all(|cause| cause == "rejected"),
        format!("only what is rejected dies: {:?}", audit.causes),
    );
    report.count(&audit);
    report.note(format!(
        "{:.0} messages/s; delivered again {}; recovery: the longest time without an output",
        count as f64 / took.as_secs_f64(),
        delivered.saturating_sub(count)
    ));
    Ok(report)
}
