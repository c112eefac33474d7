//! The `tidegate` program: a file a command, flags, and the crates that `tidegate new` writes.
//!
//! Commands read flags, call `tidegate_runtime` or `tidegate_lab`, and print the answer to standard output. What a host
//! does is not decided here.

pub mod commands;
#[cfg(feature = "guests")]
pub mod scaffold;
