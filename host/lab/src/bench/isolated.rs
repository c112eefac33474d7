//! Requests to instances that live for one message each.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;

use super::lab::{Lab, SUBJECT, cpu_time};
use super::options::AT_ONCE;
use tidegate_runtime::events::Event;
use tidegate_runtime::jetstream::RequestOptions;

/// What requests cost when each has an instance of its own (`isolation = "message"`).
#[derive(Debug, Clone, Serialize)]
pub struct IsolatedCost {
    /// Requests under way at once.
    pub at_once: usize,
    /// Requests answered a second.
    pub per_second: f64,
    /// Microseconds of CPU time of this process on a request: host and client together.
    pub cpu_us: f64,
}

/// So many requests, to four workers.
pub(super) async fn measure(lab: &mut Lab, requests: u32) -> anyhow::Result<IsolatedCost> {
    let mut running = lab.serve_isolated().await?;
    running.wait(|event| matches!(event, Event::WorkerStarted { .. })).await?;
    let each = requests.div_ceil(u32::try_from(AT_ONCE)?).max(1);
    let (began, cpu) = (Instant::now(), cpu_time());
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let client = lab.client.clone();
        all.spawn(async move {
            for _ in 0..each {
                client.request(SUBJECT, Bytes::new(), &[], &RequestOptions::default()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_time().saturating_sub(cpu).as_secs_f64());
    running.stop().await?;
    let requests = f64::from(each) * AT_ONCE as f64;
    Ok(IsolatedCost { at_once: AT_ONCE, per_second: requests / seconds, cpu_us: cpu * 1e6 / requests })
}

impl fmt::Display for IsolatedCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_once, per_second, cpu_us } = self;
        write!(
            f,
            "an instance a message, {at_once} requests at once: {per_second:.0} requests/s, {cpu_us:.0} us of CPU time \
             each"
        )
    }
}
