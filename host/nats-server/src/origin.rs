//! Who may say which nats-server to run.

use std::fmt;

/// The environment variable that names the nats-server.
pub const VARIABLE: &str = "TIDEGATE_NATS_SERVER";

/// Who said which nats-server to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The caller: `--nats-server`.
    Flag,
    /// The environment: `TIDEGATE_NATS_SERVER`.
    Environment,
    /// The first executable `nats-server` in `PATH`.
    Path,
    /// The one that `make install` puts beside this program.
    Beside,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--nats-server",
            Self::Environment => VARIABLE,
            Self::Path => "PATH",
            Self::Beside => "the directory of this program",
        })
    }
}
