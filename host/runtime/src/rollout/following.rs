//! What a host of a fleet knows that follows the plan of a rollout.

use super::together::entries::RolloutPlan;
use crate::digest::Digest;

/// The generations of a handler that a host has, and what it was told of them.
#[derive(Debug)]
pub(super) struct Following<V> {
    /// Those that it could run.
    pub(super) held: Vec<V>,
    /// The one that its file has.
    pub(super) file: Digest,
    /// One that is tried and whose instances do not start here, and why.
    pub(super) unusable: Option<(Digest, String)>,
    /// The plan that was followed last.
    pub(super) plan: Option<RolloutPlan>,
    /// The generation that it was told to run and does not have, as the log has it.
    pub(super) missing: Option<Digest>,
}
