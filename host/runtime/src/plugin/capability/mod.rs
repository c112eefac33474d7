//! Capabilities: what the configuration opens to a handler beyond the host. Each has a file or a folder with its
//! interface, its limits, the grant that opens it, and its tests.

mod call_budget;
pub(in crate::plugin) mod http;
pub(in crate::plugin) mod key_value;
pub(super) mod messaging;
pub(super) mod secrets;

use std::sync::Arc;

/// The settings that a handler reads through `wasi:config/store`.
pub(crate) type Settings = Arc<[(String, String)]>;
