//! What reaches beyond the host and is opened to a handler by its configuration, a file each: the interface, its
//! limits, what opens it, and its tests.

mod denial_log;
pub(in crate::plugin) mod http;
pub(super) mod secrets;
