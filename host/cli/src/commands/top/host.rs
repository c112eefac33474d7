//! What is known of a host. Pure.

use tokio::time::Instant;

use super::status::{Status, Workload};

/// What is known of a host.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// What it said last.
    pub(super) status: Option<Status>,
    /// Since when it does not answer, and why.
    pub(super) away: Option<(Instant, String)>,
}

impl Host {
    /// Takes an answer. What was said before one that did not come stays.
    pub(super) fn hear(&mut self, answer: Result<Status, String>, now: Instant) {
        match answer {
            Ok(status) => *self = Self { status: Some(status), away: None },
            Err(why) => {
                let since = self.away.as_ref().map_or(now, |(since, _)| *since);
                self.away = Some((since, why));
            }
        }
    }

    pub(super) fn workloads(&self) -> &[Workload] {
        self.status.as_ref().map_or(&[], |status| &status.workloads)
    }
}
