//! Why bytes are no plugin of this contract.

use crate::plugin::run::bindings::ASYNC_HANDLER;
use crate::plugin::run::told_text::brief;

/// The contract's package and the version of it that this host speaks.
pub(super) const PACKAGE: &str = "tidegate:plugin";
pub(super) const VERSION: (&str, &str) = ("0.1.", "0.1.3");
/// Another package whose handlers run here, the versions of it that do, and the first of them.
pub(super) const MESSAGING: &str = "wasmcloud:messaging";
pub(super) const MESSAGING_VERSION: (&str, &str) = ("0.2.", "0.2.0");
/// The same of its asynchronous form.
pub(super) const STREAMED_VERSION: (&str, &str) = ("0.3.", "0.3.0");
/// How many names an error lists.
const TOLD: usize = 10;

/// Why bytes are no plugin of this contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// The file is empty.
    #[error("it is empty; write a component to it")]
    Empty,
    /// The file is text.
    #[error("it is text, not a component; build it for wasm32-wasip2 and copy the .wasm file")]
    Text,
    /// The file is no WebAssembly.
    #[error("it is not WebAssembly; build it for wasm32-wasip2 and copy the .wasm file")]
    NotWasm,
    /// A module of the core language.
    #[error("it is a core module, not a component; build it for wasm32-wasip2")]
    CoreModule,
    /// The file ends in the middle.
    #[error("it ends in the middle, at byte {0}; it was not copied whole, so copy it again")]
    Incomplete(usize),
    /// The file begins as a component and is malformed after that.
    #[error("it is damaged: {0}; build it again")]
    Malformed(String),
    /// Reading, compiling or running it would take more than a host should spend on it.
    #[error("it has {0}; build it optimized for size, with less in it")]
    TooMuch(String),
    /// It has functions of the asynchronous form, and is no handler of that form.
    #[error(
        "it has asynchronous functions, which came with WASI 0.3 and which this host has for handlers that export \
         {ASYNC_HANDLER} or {MESSAGING}/handler@{}; build it for the world `async-worker` of this host's wit/, or \
         make its functions ordinary ones and build it for WASI 0.2, as for the target wasm32-wasip2",
        STREAMED_VERSION.1
    )]
    Async,
    /// It speaks another version of the contract.
    #[error(
        "it was built for {found}, and this host speaks {PACKAGE}@{}; build it again with this host's wit/",
        VERSION.1
    )]
    OtherVersion {
        /// The package and version that it was built for.
        found: String,
    },
    /// It speaks another version of `wasmcloud:messaging`.
    #[error(
        "it handles messages of {found}, and this host runs handlers of {MESSAGING}@{} and @{}; build it for one of \
         them, or for the world `worker` of this host's wit/", MESSAGING_VERSION.1, STREAMED_VERSION.1
    )]
    OtherMessaging {
        /// The package and version that it was built for.
        found: String,
    },
    /// It is a component of some other world.
    #[error(
        "it exports neither {PACKAGE}/handler nor {PACKAGE}/scaling{}; build it for the world `worker`, \
         `batch-worker`, `async-worker` or `policy` of this host's wit/", exports_text(.exports)
    )]
    OtherWorld {
        /// What it exports instead.
        exports: Vec<String>,
    },
}

fn exports_text(exports: &[String]) -> String {
    if exports.is_empty() { " (it exports nothing)".into() } else { format!(" but {}", some(exports)) }
}

/// The first of the names, each shortened.
pub(super) fn some(names: &[String]) -> String {
    let told: Vec<String> = names.iter().take(TOLD).map(|name| brief(name, 100)).collect();
    let more = names.len().saturating_sub(TOLD);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", told.join(", "))
}

impl KindError {
    /// Whether the file may be half written. Some prefixes of a component are components that lack exports.
    pub(crate) fn may_be_half_written(&self) -> bool {
        match self {
            Self::Empty | Self::Incomplete(_) => true,
            Self::OtherWorld { exports } => exports.is_empty(),
            _ => false,
        }
    }
}
