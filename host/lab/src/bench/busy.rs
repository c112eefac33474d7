//! Many workloads with a few messages a second each, beside one with as many as all of them.

use std::fmt;

use serde::Serialize;

use super::load::{Code, Load, LoadSite};
use super::options::{BUSY, BUSY_MESSAGES, BenchOptions, WORKERS};

/// What many busy workloads cost, beside one that has as many messages.
#[derive(Debug, Clone, Serialize)]
pub struct BusyCost {
    /// Workloads.
    pub workloads: u32,
    /// Messages a second that come, of all workloads together, in both cases.
    pub rate: f64,
    /// Messages settled a second by the many, with a worker each.
    pub many: f64,
    /// By the one, with 4 workers.
    pub one: f64,
    /// The many to the one. Higher is better.
    pub many_one: f64,
    /// Microseconds of processor time of the host on a message of the many.
    pub many_cpu_us: f64,
    /// Of the one.
    pub one_cpu_us: f64,
    /// The same of the server, for the many.
    pub many_server_cpu_us: f64,
    /// For the one.
    pub one_server_cpu_us: f64,
}

/// Measures both. There are fewer workloads where there are not enough messages for all.
pub(super) async fn measure(site: &mut LoadSite, options: &BenchOptions) -> anyhow::Result<BusyCost> {
    let workloads = u32::try_from(options.messages.div_ceil(BUSY_MESSAGES))?.clamp(1, BUSY);
    // Ten a second each.
    let rate = f64::from(workloads) * 10.0;
    let one = Load { rate: Some(rate), messages: options.messages, payload: options.payload, ..Load::default() };
    let many = Load { workloads, workers: 1, ..one.clone() };
    let one = site.measure(&Load { workers: WORKERS, ..one }, Code::Component).await?;
    let many = site.measure(&many, Code::Component).await?;
    Ok(BusyCost {
        workloads,
        rate,
        many: many.per_second,
        one: one.per_second,
        many_one: many.per_second / one.per_second,
        many_cpu_us: many.cpu_us,
        one_cpu_us: one.cpu_us,
        many_server_cpu_us: many.server_cpu_us,
        one_server_cpu_us: one.server_cpu_us,
    })
}

impl fmt::Display for BusyCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workloads, rate, many, one, many_one, many_cpu_us, one_cpu_us, .. } = self;
        write!(
            f,
            "{workloads} workloads with {rate:.0} messages/s together: {many:.0} messages/s, {many_one:.2}x of one \
             workload ({one:.0}); {many_cpu_us:.1} us of CPU time in the host, of the one {one_cpu_us:.1}; \
             {:.1} us in the server, of the one {:.1}",
            self.many_server_cpu_us, self.one_server_cpu_us
        )
    }
}
