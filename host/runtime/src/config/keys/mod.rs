//! The table of keys: each key's type, flag, variable, default, range and help, said once.
//!
//! The file's reader, the flags, `--help`, the texts of errors, `docs/configuration.md` and the example file are made
//! of it (`make docs` writes the latter two anew). A new key is a row here, and a field that is read from it by the
//! path.

mod connection;
mod host;
mod key;
mod workload;

/// The prefix of the keys of a connection, the host's own or a workload's.
pub const CONNECTION: &str = "nats.";

pub(super) use host::DEAD_LETTERS;
pub use host::HOST;
pub use key::{Applies, Example, Key, Unset};
pub use workload::WORKLOAD;
