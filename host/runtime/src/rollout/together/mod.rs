//! A rollout of all hosts of a fleet together. Pure, without a clock.
//!
//! Here belongs what the hosts and the leader tell each other of it ([`entries`]), what the leader decides
//! ([`decide`]), and which hosts have how many workers of the new generation ([`place`]). All that the leader knows
//! stands in the lease, so another goes on from it; each host's counts are taken in once, for what they were then
//! stands there too. What a host makes of the plan is in [`follow`](super::follow).

pub(crate) mod decide;
pub(crate) mod entries;
#[cfg(test)]
mod model_test;
pub(crate) mod place;
