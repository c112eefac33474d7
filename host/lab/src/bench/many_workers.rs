//! Many workers in one process.

use std::fmt;

use serde::Serialize;

use super::load::{Code, Load, LoadSite};
use super::options::{BenchOptions, MANY_WORKERS};

/// What many workers of one process cost, idle after they had messages.
#[derive(Debug, Clone, Serialize)]
pub struct ManyWorkers {
    /// Workers that were asked for.
    pub wanted: u32,
    /// Workers that there was room for.
    pub workers: f64,
    /// Seconds until all had their instance.
    pub start_s: f64,
    /// Seconds until all had ended, and the pull that was open, which takes up to a second.
    pub drain_s: f64,
    /// KiB of resident memory of the process for each worker beyond the first.
    pub rss_kib_each: f64,
    /// Memory mappings of the process for each worker beyond the first.
    pub mappings_each: f64,
}

/// Measures them. There are fewer where there are not enough messages for all.
pub(super) async fn measure(site: &mut LoadSite, options: &BenchOptions) -> anyhow::Result<ManyWorkers> {
    let wanted = u32::try_from(options.messages / 10)?.clamp(2, MANY_WORKERS);
    let many = Load { workers: wanted, messages: options.messages, payload: options.payload, ..Load::default() };
    let one = site.measure(&Load { workers: 1, ..many.clone() }, Code::Component).await?;
    let many = site.measure(&many, Code::Component).await?;
    let each = |many: f64, one: f64, workers: f64| (many - one).max(0.0) / (workers - 1.0).max(1.0);
    Ok(ManyWorkers {
        wanted,
        workers: many.workers,
        start_s: many.start_s,
        drain_s: many.drain_s,
        rss_kib_each: each(many.rss_mib, one.rss_mib, many.workers) * 1024.0,
        mappings_each: each(many.mappings, one.mappings, many.workers),
    })
}

impl fmt::Display for ManyWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, workers, start_s, drain_s, rss_kib_each, mappings_each } = self;
        write!(
            f,
            "{workers:.0} of {wanted} workers: started in {start_s:.2} s, ended in {drain_s:.2} s, {rss_kib_each:.0} \
             KiB resident and {mappings_each:.2} mappings each"
        )
    }
}
