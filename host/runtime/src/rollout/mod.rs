//! How a new generation of a handler takes over where `rollout.share` is set: a share of the workers first, compared
//! with the old generation on the same minutes, then promoted or rolled back.
//!
//! Here belongs what is decided, all of it pure: the evidence that a generation is worse ([`evidence`]), when a trial
//! ends ([`trial`]), and which workers run the new generation ([`share`]). [`switch`] keeps the state of one workload
//! and carries it out; which instance a worker gets of it is in `plugin`, what a worker counted in `delivery`.
//!
//! It is for one host: each host of a fleet tries the new generation with its own workers, and decides for itself.

pub(crate) mod evidence;
pub(crate) mod seen;
pub(crate) mod share;
#[cfg(test)]
mod simulation;
pub(crate) mod switch;
pub(crate) mod trial;
