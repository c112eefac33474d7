//! One partition of a workload of one host of a fleet: whether this host works it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use super::host::Fleet;
use crate::config::Partition;

/// The partitions of a workload that a host works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Has {
    /// Those that the plan gives it.
    These(BTreeSet<u32>),
    /// Nobody could give it any, for it cannot use the fleet's bucket and has seen no plan: it asks for the messages of
    /// all, and the server says of which it is given them.
    All,
}

/// One partition of a host.
#[derive(Debug)]
pub(crate) struct PartitionPlace {
    partition: Partition,
    fleet: Arc<Fleet>,
    has: Arc<watch::Sender<Has>>,
}

impl Has {
    /// Of a host that has seen no plan yet.
    pub(crate) fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    /// Whether this partition is one of them.
    pub(crate) fn this(&self, number: u32) -> bool {
        match self {
            Self::These(numbers) => numbers.contains(&number),
            Self::All => true,
        }
    }
}

impl PartitionPlace {
    pub(crate) fn new(partition: Partition, fleet: Arc<Fleet>, has: Arc<watch::Sender<Has>>) -> Self {
        Self { partition, fleet, has }
    }

    /// Waits until this host has the partition, or has it no more.
    pub(crate) async fn is_here(&self, here: bool) {
        // The sender is this one's.
        let _ = self.has.subscribe().wait_for(|has| has.this(self.partition.number) == here).await;
    }

    /// Whether this host works it.
    pub(crate) fn has(&self) -> bool {
        self.has.borrow().this(self.partition.number)
    }

    /// For how many workers it counts that so many are wanted here: one host works it, so for no more than one is for.
    pub(crate) fn counted(&self, wanted: u32) -> u32 {
        wanted.min(self.fleet.capacity)
    }

    /// Workers that other hosts want of the partitions of its workload, as far as this host sees them: one that leads
    /// sees all.
    pub(crate) fn workers_elsewhere(&self) -> u32 {
        let view = self.fleet.view.lock();
        let others = view.reports(&self.partition.workload).filter(|(id, ..)| *id != view.me().id);
        others.filter_map(|(.., report)| report.partition_workers).fold(0, u32::saturating_add)
    }

    /// The host that has it by the plan, if one has.
    pub(crate) fn owner(&self) -> Option<String> {
        let plan = self.fleet.seen(&self.partition.workload).plan?;
        let owner = plan.owners.into_iter().find(|(_, has)| has.contains(&self.partition.number));
        owner.map(|(id, _)| id)
    }
}
