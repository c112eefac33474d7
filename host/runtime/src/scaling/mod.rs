//! How many workers there should be: from signals to an observation, a decision, a count, and workers that start and
//! drain.
//!
//! [`observe`], `clock`, `window`, [`plan`] and [`clamp`] are pure. [`monitor`] asks the policy once an interval;
//! `supervisor` starts and drains [`workers`]. Where hosts are one fleet, `fleet_monitor` stands in place of
//! [`monitor`]. Nothing here knows NATS or WebAssembly; what a worker does with a delivery is in
//! [`delivery`](crate::delivery).

pub(crate) mod clock;
mod count;
pub(crate) mod count_override;
pub(crate) mod fleet_monitor;
pub(crate) mod handover;
pub mod history;
pub mod monitor;
pub mod observe;
pub mod plan;
pub(crate) mod policy_state;
pub(crate) mod shadow;
pub(crate) mod supervisor;
mod tell;
pub(crate) mod window;
pub mod workers;

pub use count::{carried_out, clamp};
