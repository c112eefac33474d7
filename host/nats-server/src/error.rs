//! Why there is no server, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use semver::Version;

use super::origin::{Origin, VARIABLE};

/// What every message about a missing or unusable binary ends with.
const REMEDY: &str = "get nats-server 2.10 or newer from https://nats.io/download and put it into PATH or name it by \
                      --nats-server; in a source checkout `make setup` brings one that the make targets use, and `make \
                      install` puts it beside the program";

/// Why a server of its own did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nobody named a nats-server, and `PATH` has none.
    #[error("there is no nats-server in PATH, and neither --nats-server nor {VARIABLE} names one; {REMEDY}")]
    NotFound,
    /// The named nats-server does not exist.
    #[error("{origin} names the nats-server `{}`, which does not exist; {REMEDY}", path.display())]
    Missing {
        /// The file that was named.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
    },
    /// The named nats-server is a directory, or may not be executed.
    #[error("{origin} names the nats-server `{}`, which is not an executable file; {REMEDY}", path.display())]
    NotExecutable {
        /// The file that was named.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
    },
    /// The program does not answer `--version` as a nats-server does.
    #[error(
        "{origin} gives `{}` as the nats-server, but it is something else: `--version` {answer}; {REMEDY}",
        path.display()
    )]
    NotNatsServer {
        /// The program that was run.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// What it did instead.
        answer: String,
    },
    /// The nats-server is older than 2.10.
    #[error("{origin} gives the nats-server `{}`, which is version {version}; {REMEDY}", path.display())]
    TooOld {
        /// The program that was run.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// The version it has.
        version: Version,
    },
    /// The server ended before it accepted clients: its configuration, its port, its store.
    #[error("nats-server ended before it was ready ({status}); its log ends with\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs and does not accept clients.
    #[error("nats-server was not ready after {}; its log ends with\n{log}", humantime::format_duration(*.after))]
    NotReady {
        /// How long it was given.
        after: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// The system refused something.
    #[error("cannot {action} {} for a nats-server: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ServerError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
