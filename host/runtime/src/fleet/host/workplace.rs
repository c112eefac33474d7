//! What a host knows of one of its workloads, beside what is in the bucket.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::fleet::entries::Report;
use crate::rollout::together::entries::HostGenerations;

/// Says what this host does for a workload.
pub(crate) type Reporter = Box<dyn Fn() -> Report + Send + Sync>;
/// Says which generations of a workload's handler this host has; `None` where they take over at once.
pub(crate) type GenerationsReporter = Box<dyn Fn() -> Option<HostGenerations> + Send + Sync>;

/// What the host knows of one of its workloads.
pub(in crate::fleet) struct Workplace {
    pub(in crate::fleet) report: Reporter,
    pub(in crate::fleet) generations: GenerationsReporter,
    /// Whether its workers count for the most that the host runs. Those of partitions do not.
    pub(in crate::fleet) counts: bool,
    /// Wakes the workload: there is another plan, or a message has started a worker at another host.
    pub(in crate::fleet) changed: Notify,
    /// Whether a message has started a worker at another host since this was looked at.
    pub(in crate::fleet) woken_elsewhere: AtomicBool,
    /// Whether one has started a worker here since the last entry.
    pub(in crate::fleet) woken_here: AtomicBool,
    pub(in crate::fleet) leads: AtomicBool,
    /// The host that leads, as far as is known.
    pub(in crate::fleet) leader: Mutex<Option<String>>,
    /// The plan by which this host has its part of the limits: its row and its epoch.
    pub(in crate::fleet) limited_by: Mutex<(String, u64)>,
}
