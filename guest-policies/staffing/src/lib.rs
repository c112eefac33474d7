//! How many workers a rate and a backlog need, by queueing theory.
//!
//! [`erlang`] has the formulas; [`Objective`] is the rule of the policy `objective`.

mod bursts;
pub mod erlang;
mod objective;

pub use objective::{Memory, Objective, Seen};
