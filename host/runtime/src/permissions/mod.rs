//! What a host must be allowed to do at its servers, what a user may do there, and what lacks. No IO.

mod needed;
mod rights;

pub use needed::{Denial, Permissions, Verb, ack_of};
pub use rights::{Lack, Rights};
