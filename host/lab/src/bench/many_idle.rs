//! Many workloads in one host that have nothing to do.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::lab::{Lab, cpu_time};
use super::options::MANY;
use super::process_time::process_time;
use tidegate_runtime::events::Event;

/// How long they are looked at.
const TIME: Duration = Duration::from_secs(10);
/// How long they are left alone before.
const SETTLE: Duration = Duration::from_secs(10);

/// What many idle workloads of one host cost.
#[derive(Debug, Clone, Serialize)]
pub struct ManyIdle {
    /// Workloads.
    pub workloads: usize,
    /// Seconds until all of them fetched.
    pub ready_s: f64,
    /// The share of a core that the host takes, in percent.
    pub host_percent: f64,
    /// The share of a core that the nats-server takes, in percent; `None` where that cannot be read.
    pub server_percent: Option<f64>,
}

/// Starts them, and looks at them once they are calm.
pub(super) async fn measure(lab: &mut Lab, server: Option<u32>) -> anyhow::Result<ManyIdle> {
    let (began, mut all) = (Instant::now(), Vec::new());
    for _ in 0..MANY {
        all.push(lab.serve_idle().await?);
    }
    for running in &mut all {
        running.wait(|event| matches!(event, Event::Ready { .. })).await?;
    }
    let ready_s = began.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let server_time = || server.and_then(process_time);
    let (began, cpu, server_cpu) = (Instant::now(), cpu_time(), server_time());
    tokio::time::sleep(TIME).await;
    let seconds = began.elapsed().as_secs_f64();
    let percent = |before: Duration, after: Duration| 100.0 * after.saturating_sub(before).as_secs_f64() / seconds;
    let host_percent = percent(cpu, cpu_time());
    let server_percent = server_cpu.zip(server_time()).map(|(before, after)| percent(before, after));
    for running in all {
        running.stop().await?;
    }
    Ok(ManyIdle { workloads: MANY, ready_s, host_percent, server_percent })
}

impl fmt::Display for ManyIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workloads, ready_s, host_percent, server_percent } = self;
        write!(
            f,
            "{workloads} idle workloads: ready in {ready_s:.1} s, then {host_percent:.1} % of a core in the host"
        )?;
        server_percent.map_or(Ok(()), |server| write!(f, " and {server:.1} % in the server"))
    }
}
