//! What a host must be allowed to do at its servers, what a user may do there, and what lacks. No IO.

mod needed;
mod rights;

pub(crate) use needed::ack_of;
pub use needed::{Denial, Permissions, SERVICE, Verb};
pub(crate) use rights::{Lack, Rights, covers};
