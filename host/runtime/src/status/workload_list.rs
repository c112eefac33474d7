use std::sync::Arc;

use parking_lot::RwLock;

use super::workload::WorkloadState;

/// The workloads of a host, which may become others while it runs.
#[derive(Debug, Default)]
pub(crate) struct WorkloadList(RwLock<Vec<Arc<WorkloadState>>>);

impl WorkloadList {
    /// All of them, in the order in which they came.
    pub(crate) fn all(&self) -> Vec<Arc<WorkloadState>> {
        self.0.read().clone()
    }

    /// The one of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<WorkloadState>> {
        self.0.read().iter().find(|state| state.workload.name == name).cloned()
    }

    /// Adds one, in the place of the one of its name if there is one.
    pub(crate) fn put(&self, state: &Arc<WorkloadState>) {
        let mut all = self.0.write();
        match all.iter_mut().find(|other| other.workload.name == state.workload.name) {
            Some(place) => *place = state.clone(),
            None => all.push(state.clone()),
        }
    }

    /// Takes one away, if it is still there.
    pub(crate) fn remove(&self, state: &Arc<WorkloadState>) {
        self.0.write().retain(|other| !Arc::ptr_eq(other, state));
    }
}
