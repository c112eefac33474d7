//! How a new generation of a handler takes over where `rollout.share` is set: a share of the workers first, compared
//! with the old generation on the same minutes, then promoted or rolled back.
//!
//! Here belongs what is decided, all of it pure: the evidence that a generation is worse ([`evidence`]), when a trial
//! ends ([`trial`]), and which workers run the new generation ([`share`]). [`switch`] keeps the state of one workload
//! and carries it out; which instance a worker gets of it is in `plugin`, what a worker counted in `delivery`.
//!
//! The hosts of a fleet try it together: what their leader decides is in [`together`], and what each makes of that in
//! [`follow`].

mod ending;
pub(crate) mod evidence;
pub(crate) mod follow;
mod following;
pub(crate) mod seen;
pub(crate) mod share;
#[cfg(test)]
mod simulation;
pub(crate) mod switch;
pub(crate) mod together;
pub(crate) mod trial;
