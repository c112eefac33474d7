//! One host that lives through everything for a long time: what it holds must not grow.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::chaos::{Chaos, InjectedFault};
use crate::ledger::Ledger;
use crate::row::{Form, Report, Row, row};
use crate::stage::{Stage, work};

pub(crate) const ROWS: &[Row] = &[row!(34, "soak with mixed faults", soak)];

const FAULTS: &[InjectedFault] = &[
    InjectedFault::HostPause,
    InjectedFault::ServerKill,
    InjectedFault::ServerPause,
    InjectedFault::Partition,
    InjectedFault::HalfOpen,
    InjectedFault::Latency,
    InjectedFault::HandlerSwap,
    InjectedFault::PolicySwap,
    InjectedFault::TrapStorm,
];

const MIB: f64 = 1048576.0;

/// What a host held at some time.
struct HostSample {
    seconds: f64,
    resident: f64,
    descriptors: f64,
    threads: f64,
}

/// How much a value grows in a second: the line through the samples with the least squares.
fn slope(samples: &[HostSample], of: fn(&HostSample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&HostSample) -> f64| samples.iter().map(of).sum::<f64>() / count.max(1.0);
    let (x, y) = (mean(&|sample| sample.seconds), mean(&of));
    let above: f64 = samples.iter().map(|sample| (sample.seconds - x) * (of(sample) - y)).sum();
    let below: f64 = samples.iter().map(|sample| (sample.seconds - x).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}

async fn soak(form: Form) -> Result<Report> {
    let mut report = Report::new();
    let duration = form.pick(Duration::from_secs(15), form.soak);
    let mut stage = Stage::one().await?;
    let mut ledger = Ledger::open_without_raw(&stage, "work").await?;
    let eye = stage.eye.clone();
    let storm = AtomicBool::new(false);
    let over = "
        policy = 'probe-policy'
        policy-settings = { mode = 'flap', desired = '6' }
        retry = { max-attempts = 20, backoff = ['200ms'] }
        scale.min = 1";
    let config = work("work", over);
    let mut chaos = Chaos::new(&mut stage, config, 1, form.seed, &storm).await?;
    let (start, done) = (Instant::now(), Cell::new(false));
    let messages = async {
        while start.elapsed() < duration {
            let script = |id: u64| match id % 500 {
                _ if storm.load(Ordering::Relaxed) => "before 3 trap".to_owned(),
                0 => "before 2 retry".to_owned(),
                1 => "reject no".to_owned(),
                2 => "sleep 300".to_owned(),
                _ => String::new(),
            };
            if let Err(error) = ledger.publish(100, script).await {
                done.set(true);
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        done.set(true);
        eye.settled("work", form.patience()).await.map(drop)
    };
    let mut samples = Vec::new();
    let faults = async {
        while !done.get() {
            chaos.one(FAULTS).await?;
            for _ in 0..form.pick(1, 4) {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let host = &chaos.hosts[0];
                samples.push(HostSample {
                    seconds: start.elapsed().as_secs_f64(),
                    resident: host.resident() as f64 / MIB,
                    descriptors: host.descriptors() as f64,
                    threads: host.threads() as f64,
                });
            }
        }
        anyhow::Ok(())
    };
    let (messages, faults) = tokio::join!(messages, faults);
    messages?;
    faults?;
    (0..chaos.counts.values().sum()).for_each(|_| report.injected());
    report.must(chaos.hosts[0].is_running(), "the host lives");
    report.note(chaos.told());
    report.count(&ledger.audit().await?);
    // Until then it gets what it needs: threads for compiling, buffers, both generations of its plugins.
    let warm = &samples[samples.len() / 3..];
    let time = warm.last().map_or(0.0, |last| last.seconds) - warm.first().map_or(0.0, |first| first.seconds);
    let (resident, descriptors, threads) =
        (slope(warm, |s| s.resident), slope(warm, |s| s.descriptors), slope(warm, |s| s.threads));
    report.note(format!(
        "resident {:.0} MiB at the end, {:+.1} MiB/min; descriptors {:.0}, {:+.2}/min; threads {:.0}, {:+.2}/min",
        warm.last().map_or(0.0, |last| last.resident),
        resident * 60.0,
        warm.last().map_or(0.0, |last| last.descriptors),
        descriptors * 60.0,
        warm.last().map_or(0.0, |last| last.threads),
        threads * 60.0,
    ));
    report.must(resident * time < 32.0, format!("resident memory grew by {:.0} MiB in {time:.0} s", resident * time));
    report.must(descriptors * time < 6.0, format!("open descriptors grew by {:.0} in {time:.0} s", descriptors * time));
    report.must(threads * time < 6.0, format!("threads grew by {:.0} in {time:.0} s", threads * time));
    Ok(report)
}
