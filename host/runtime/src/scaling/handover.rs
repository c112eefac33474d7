use std::sync::Arc;

use parking_lot::Mutex;

use crate::contract::Author;
use crate::delivery::start_limits::StartGate;

/// What a workload leaves when it is stopped, for when it is started again.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    last: Mutex<Option<LastDecided>>,
    starts: Mutex<Option<Arc<StartGate>>>,
}

/// Where the scaling of a workload has got to.
#[derive(Debug, Clone)]
pub(crate) struct LastDecided {
    /// How many workers were wanted.
    pub(crate) desired: u32,
    /// What the policy's next call would have begun with.
    pub(crate) fold: Option<LeftFold>,
}

/// A policy's state, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct LeftFold {
    /// The code.
    pub(crate) author: Author,
    /// What it got in `init`.
    pub(crate) settings: Arc<[(String, String)]>,
    /// Its state.
    pub(crate) state: Vec<u8>,
}

impl Handover {
    pub(crate) fn leave(&self, last: LastDecided) {
        *self.last.lock() = Some(last);
    }

    /// What was left, which is gone then: a run that fails must not be gone on from twice.
    pub(crate) fn take(&self) -> Option<LastDecided> {
        self.last.lock().take()
    }

    /// From now on deliveries begin by these. What an earlier run has let begin counts for the rate.
    pub(crate) fn starts_by(&self, starts: Option<&Arc<StartGate>>) {
        let before = std::mem::replace(&mut *self.starts.lock(), starts.cloned());
        if let (Some(starts), Some(before)) = (starts, before) {
            starts.goes_on_from(&before);
        }
    }
}

impl LeftFold {
    /// Whether a policy of this code and with these settings can go on with the state as it is.
    pub(crate) fn goes_on(&self, author: &Author, settings: &[(String, String)]) -> bool {
        self.author == *author && *self.settings == *settings
    }

    /// The state as `init` of this code is told it: that of another generation of the plugin, or under other settings.
    /// Another plugin's state says nothing.
    pub(crate) fn previous(self, author: &Author) -> Option<Vec<u8>> {
        (self.author.plugin == author.plugin).then_some(self.state)
    }
}
