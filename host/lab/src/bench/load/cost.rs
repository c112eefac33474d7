//! What a load took.

use serde::Serialize;

use super::super::median::median;

/// What a load took, of hosts and servers.
#[derive(Debug, Clone, Serialize)]
pub struct LoadCost {
    /// Messages settled a second, from the first publication until all are settled.
    pub per_second: f64,
    /// Microseconds of processor time of the hosts on a message.
    pub cpu_us: f64,
    /// The same of the servers; what the publisher asks of them is in it.
    pub server_cpu_us: f64,
    /// Resident memory of the hosts together when all is settled, in MiB.
    pub rss_mib: f64,
    /// Memory mappings of the hosts together at that time.
    pub mappings: f64,
    /// Workers that ran, in all hosts together.
    pub workers: f64,
    /// Seconds until all workers of a host had their instance, of the slowest host. Its plugins are loaded before.
    pub start_s: f64,
    /// Seconds until all workers of a host have ended, and the pull that was open, which takes up to a second; of the
    /// slowest host.
    pub drain_s: f64,
}

impl LoadCost {
    /// The median of each number; not a number where there is nothing.
    pub(crate) fn median(all: &[Self]) -> Self {
        Self {
            per_second: median(all, |cost| cost.per_second),
            cpu_us: median(all, |cost| cost.cpu_us),
            server_cpu_us: median(all, |cost| cost.server_cpu_us),
            rss_mib: median(all, |cost| cost.rss_mib),
            mappings: median(all, |cost| cost.mappings),
            workers: median(all, |cost| cost.workers),
            start_s: median(all, |cost| cost.start_s),
            drain_s: median(all, |cost| cost.drain_s),
        }
    }
}
