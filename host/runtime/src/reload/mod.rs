//! A host's configuration, read again while it runs.
//!
//! What has changed is decided by [`config::plan`](crate::config::plan), which is pure, and carried out by the host.
//! Here is who asks for it: a signal, a request, or a file that has changed ([`watch`]); and what came of it.

mod snapshot;
mod source;
pub(crate) mod watch;

pub(crate) use source::ReloadSeen;
pub use source::{ConfigSource, Reloaded};
