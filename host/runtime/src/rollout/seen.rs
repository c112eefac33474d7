//! What can be seen of a workload's rollouts, and done about them.

use std::time::{Duration, SystemTime};

use super::trial::Measured;
use crate::digest::Digest;

/// A workload's rollouts, for who looks and for who decides otherwise.
pub(crate) trait Rollouts: Send + Sync + std::fmt::Debug {
    /// How they are now.
    fn seen(&self) -> RolloutSeen;

    /// Puts the generation that is tried, or was rolled back last, into use for all workers.
    ///
    /// # Errors
    /// There is none.
    fn promote(&self) -> Result<Digest, NoCandidate>;

    /// Ends the trial: the old generation goes on alone.
    ///
    /// # Errors
    /// No trial goes on.
    fn abort(&self) -> Result<Digest, NoCandidate>;
}

/// There is no generation that this could be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no new generation is tried now, and none was rolled back that its file still has")]
pub(crate) struct NoCandidate;

/// How rollouts are now.
#[derive(Debug, Clone, Default)]
pub(crate) struct RolloutSeen {
    /// The generation that is in use; `None` before one was loaded.
    pub(crate) generation: Option<Digest>,
    /// The trial that goes on.
    pub(crate) trial: Option<TrialSeen>,
    /// How the last one ended.
    pub(crate) last: Option<Ended>,
    /// How many ended so, in the order of [`Ending::ALL`].
    pub(crate) ended: [u64; Ending::ALL.len()],
}

/// A trial that goes on.
#[derive(Debug, Clone)]
pub(crate) struct TrialSeen {
    pub(crate) generation: Digest,
    pub(crate) began: SystemTime,
    pub(crate) elapsed: Duration,
    /// The workers that run it.
    pub(crate) workers: Vec<u64>,
    pub(crate) measured: Measured,
}

/// A trial that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) generation: Digest,
    pub(crate) ending: Ending,
    pub(crate) reason: String,
    pub(crate) at: SystemTime,
    pub(crate) measured: Measured,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The new generation is in use.
    Promoted,
    /// It was worse: the old one goes on.
    RolledBack,
    /// Somebody has ended it.
    Aborted,
    /// The file has changed again.
    Replaced,
}

impl Ending {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 4] = [Self::Promoted, Self::RolledBack, Self::Aborted, Self::Replaced];

    /// The word for it in metrics and status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Replaced => "replaced",
        }
    }
}
