//! What an instance costs: time to start, memory to keep.

use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;

use super::report::InstanceCost;
use super::resident::resident_kib;
use tidegate_runtime::config::Limits;
use tidegate_runtime::contract::Delivery;
use tidegate_runtime::plugin::{HandlerPlugin, PluginHost, WorkerContext};

/// Instances that are kept at once.
const INSTANCES: u64 = 1000;

pub(super) async fn measure(reply: &[u8]) -> anyhow::Result<InstanceCost> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("reply.wasm");
    std::fs::write(&file, reply)?;
    let limits = Limits::default();
    let plugin: HandlerPlugin = PluginHost::new(None)?.load(&file, &limits).await?;
    let delivery = Delivery { subject: "bench".to_owned(), attempt: 1, ..Delivery::default() };
    let mut times = Histogram::<u64>::new(3)?;
    let mut kept = Vec::new();
    let before = resident_kib()?;
    for worker in 1..=INSTANCES {
        let context = WorkerContext::new("bench".into(), worker, Arc::new([]), limits.clone());
        let began = Instant::now();
        let mut instance = plugin.instantiate(&context).await?;
        instance.handle(&delivery).await?.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        times.record(u64::try_from(began.elapsed().as_nanos())?)?;
        kept.push(instance);
    }
    let resident = resident_kib()?.saturating_sub(before) as f64;
    Ok(InstanceCost {
        start_and_call_us_p50: times.value_at_quantile(0.5) as f64 / 1000.0,
        rss_kib: resident / INSTANCES as f64,
    })
}
