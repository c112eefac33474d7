//! What can be seen of a workload's rollouts, and done about them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

pub(crate) use super::ending::Ending;
use super::together::entries::HostGenerations;
use super::trial::Measured;
use crate::delivery::by_generation::GenerationSums;
use crate::digest::Digest;

/// A workload's rollouts, for who looks and for who decides otherwise.
pub(crate) trait Rollouts: Send + Sync + std::fmt::Debug {
    /// How they are now.
    fn seen(&self) -> RolloutSeen;

    /// What its fleet is told of this host, of which calls came to this; `None` if it decides alone.
    fn told(&self, sums: &GenerationSums) -> Option<HostGenerations>;

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
    /// Where the hosts of a fleet try it together.
    pub(crate) together: Option<TogetherSeen>,
}

/// What the hosts of a fleet have of a rollout.
#[derive(Debug, Clone, Default)]
pub(crate) struct TogetherSeen {
    /// How many workers of each host run the generation that is tried.
    pub(crate) workers: BTreeMap<String, u32>,
    /// Hosts that do not have the generation that is tried, or else the one in use.
    pub(crate) without: Vec<String>,
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
