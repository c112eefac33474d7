//! What can be seen of a host: what was done, counted; what is done now; what does not flow, and why.
//!
//! Who does something counts it here and raises a condition here; `http` shows it. Nothing here decides or does work.

pub(crate) mod by_host;
pub(crate) mod http;
pub mod log_lines;
pub(crate) mod recorder;
pub(crate) mod samples;
pub mod workload;
pub(crate) mod workload_list;
