//! The contract with guests (`wit/`) in Rust, and what the host makes of a guest's failure: plain data that every room
//! speaks of. Nothing here decides, and nothing here knows how a guest is called.

mod author;
mod death;
mod delivery;
mod fault;
mod scaling;

pub use author::Author;
pub use death::{Cause, Death};
pub use delivery::{Answer, Delivery, Failure, Outcome, Publication, Response};
pub use fault::{Fault, FaultKind};
pub use scaling::{Decision, Observation};
