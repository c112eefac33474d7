//! What reaches beyond the host and is opened to a handler by its configuration, a file or a folder each: the
//! interface, its limits, what opens it, and its tests.

mod denial_log;
pub(in crate::plugin) mod key_value;
pub(super) mod secrets;

use std::sync::Arc;

/// The settings that a handler reads through `wasi:config/store`.
pub(crate) type Settings = Arc<[(String, String)]>;
