use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The workloads whose own connection this is, so that the log can say whom it concerns. The host's own has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionUsers(Arc<Mutex<BTreeSet<String>>>);

impl ConnectionUsers {
    pub(crate) fn add(&self, workload: &str) {
        self.0.lock().insert(workload.to_owned());
    }

    pub(crate) fn remove(&self, workload: &str) {
        self.0.lock().remove(workload);
    }

    /// Their names for a field of the log, which the host's own connection does not have.
    pub(super) fn names(&self) -> Option<String> {
        let names: Vec<String> = self.0.lock().iter().cloned().collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}
