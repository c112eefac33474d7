//! Why a plugin's file is not used, in words that say what to do. No IO.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use super::kind_error::{KindError, some};
use crate::config::units::show_duration;
use crate::contract::Fault;
use crate::digest::Digest;
use crate::plugin::capability::messaging::STREAMED_HANDLER;
use crate::plugin::run::bindings::{ASYNC_HANDLER, BATCH_HANDLER};
use crate::plugin::run::kind::Kind;
use crate::signature::SignatureError;

/// What mends a want of descriptors.
const MORE_FILES: &str = "raise `ulimit -n` (LimitNOFILE of a unit)";

/// What the compiler says of a proposal of core WebAssembly that is not switched on.
const WITHOUT: [&str; 4] = ["not enabled", "must be enabled", "disallowed", "disabled"];

/// Why a file did not become a generation.
#[derive(Debug, thiserror::Error)]
#[error("{}: {refusal}", file.display())]
pub struct LoadError {
    /// The plugin's file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub refusal: PluginRefusal,
}

/// What is wrong with a plugin's file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PluginRefusal {
    /// There is no such file.
    #[error("there is no such file; copy the component there")]
    Missing,
    /// There is a link to a file that does not exist.
    #[error("it is a link that leads nowhere; copy the component there or mend the link")]
    DanglingLink,
    /// The file cannot be read.
    #[error("cannot be read: {error}; {remedy}", error = .0, remedy = readable(.0))]
    Unreadable(io::Error),
    /// The disk does not answer.
    #[error(
        "the disk that it is on has not answered for {}; see whether it does, as a mount whose server is gone does \
         not; it is looked at again as soon as it answers", show_duration(.0)
    )]
    NoAnswer(Duration),
    /// It is no regular file but a directory or a pipe.
    #[error("it is not a file; put the component itself there")]
    NotAFile,
    /// The file is larger than the configuration allows, and is not read.
    #[error("it has {size} bytes, more than {most}; strip its debug information, or raise plugins.max-size")]
    TooLarge {
        /// Its size in bytes, as far as that is known.
        size: u64,
        /// The most that the configuration allows.
        most: String,
    },
    /// There is no such object.
    #[error("there is no such object; put it there with `tidegate plugin push {plugin}.wasm --plugin-bucket {bucket}`")]
    NoObject {
        /// The plugin's name.
        plugin: String,
        /// The bucket.
        bucket: String,
    },
    /// The object cannot be read, or is not what the bucket says it is.
    #[error("{0}")]
    Object(String),
    /// The configuration pins the plugin to a file with another digest.
    #[error(
        "its digest is sha256:{}, and the configuration pins {plugin}@sha256:{}; put that file there, or pin the \
         plugin to this one", found.whole(), pin.whole()
    )]
    NotPinned {
        /// The plugin's name.
        plugin: String,
        /// The digest that is pinned.
        pin: Digest,
        /// The digest of what is there.
        found: Digest,
    },
    /// Nobody who is trusted has signed it as it is.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is no component of this contract.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// The workload uses it as what it is not.
    #[error("it is {found}, and is used as {wanted}; name {wanted} instead")]
    WrongKind {
        /// What the workload uses it as.
        wanted: Kind,
        /// What it is.
        found: Kind,
    },
    /// A workload wants batches of it.
    #[error(
        "it handles one delivery a call (it does not export {BATCH_HANDLER}, or exports {ASYNC_HANDLER} too), and a \
         workload that uses it has [workload.NAME.batching]; build it for the world `batch-worker` of this host's \
         wit/, or remove that table"
    )]
    NoBatches,
    /// A workload wants several of its calls at once.
    #[error(
        "an instance of it handles one delivery at a time (it does not export {ASYNC_HANDLER} or {STREAMED_HANDLER}), \
         and a workload that uses it has concurrency; build it for the world `async-worker` of this host's wit/, or \
         remove that key"
    )]
    NotConcurrent,
    /// The engine of its form does not run here.
    #[error("the engine for handlers of the asynchronous form does not run on this machine: {0}; run it on another")]
    NoEngine(String),
    /// It is not valid code.
    #[error("it does not compile: {}; {}", .0, compile_remedy(.0))]
    Compile(String),
    /// It took too long, if only because the machine was busy.
    #[error("compiling it took more than {0}; raise plugins.compile-time or make it smaller")]
    CompileTime(String),
    /// It took too much memory.
    #[error("compiling it took more than {0} of memory; raise plugins.compile-memory or make it smaller")]
    CompileMemory(String),
    /// The compiling process was killed, as a system without memory does, or was told to end.
    #[error(
        "the process that compiled it was killed ({0}), as by a system without memory; give it more, or make the \
         plugin smaller"
    )]
    CompilerKilled(String),
    /// The system allows the compiling process less memory than the configuration does.
    #[error("compiling it took more than the {0} of address space that the system allows this host; raise `ulimit -v`")]
    NoMemory(String),
    /// The program that compiles cannot be run.
    #[error("the process that compiles does not run: {}; {}", .0, start_remedy(.0))]
    NoCompiler(io::Error),
    /// The cache does not keep the compiled code, and this process would have to compile it without limits.
    #[error(
        "its compiled code cannot be kept in {}: {why}; see that there is room, that this user can write there, and \
         that `ulimit -f` lets it write files that large",
        dir.display()
    )]
    NotKept {
        /// The directory of the cache.
        dir: PathBuf,
        /// What the compiling process said.
        why: String,
    },
    /// It imports what this host does not have.
    #[error(
        "it imports {}, which this host does not have; build it for the world `worker`, `batch-worker`, \
         `async-worker` or `policy` of this host's wit/, without other imports{}", some(.0), way_out(.0)
    )]
    Import(Vec<String>),
    /// It was made for a later WASI.
    #[error(
        "it was built for a later WASI (it imports {}), and this host has WASI 0.2, and 0.3.0 for handlers that export \
         {ASYNC_HANDLER} or {STREAMED_HANDLER}; build it for that, as for the target wasm32-wasip2", some(.0)
    )]
    LaterWasi(Vec<String>),
    /// An export or an import has a known name and another type.
    #[error("it does not fit this host: {0}; build it with this host's wit/ and without other imports")]
    Link(String),
    /// It does not start, with the limits of the workloads that use it.
    #[error("a trial instance {}{}", .0, trial_remedy(.0))]
    Trial(Fault),
    /// The host is stopping.
    #[error("it was not compiled, because the host is stopping")]
    Stopping,
}

/// What mends a trial that failed, where the fault does not say so itself.
fn trial_remedy(fault: &Fault) -> &'static str {
    match fault {
        Fault::Room(_) => "",
        _ => "; correct what it does at its start, or raise the workload's limits",
    }
}

fn readable(error: &io::Error) -> &'static str {
    match errno(error) {
        Some(Errno::MFILE | Errno::NFILE) => MORE_FILES,
        _ => "let the user that runs this host read it",
    }
}

/// What mends it where a process cannot be started.
fn start_remedy(error: &io::Error) -> &'static str {
    match errno(error) {
        Some(Errno::MFILE | Errno::NFILE) => MORE_FILES,
        Some(Errno::AGAIN) => "raise `ulimit -u` (TasksMax of a unit)",
        _ => "let this host start processes of its own program",
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// What mends it, by the compiler's words. What is not switched on here is in no WASI that has been published.
fn compile_remedy(said: &str) -> &'static str {
    if said.contains("async stackful") {
        "this host calls asynchronous functions that have a callback, as wit-bindgen makes them, for each call of the \
         others would keep a stack while it waits; build it with a tool that makes that form"
    } else if said.contains(" feature") {
        "this host does not have that feature, which is a proposal; build it with tools for WASI 0.2, or for WASI \
         0.3.0 as it was published"
    } else if WITHOUT.iter().any(|words| said.contains(words)) {
        "this host does not have that proposal of WebAssembly; build it without that, as tools for WASI 0.2 do where \
         nothing more is switched on"
    } else if said.contains("exceeds limit") {
        "build it smaller, with less of that"
    } else {
        "build it again"
    }
}

/// How to tell the tool that is known to add such an import to leave it out.
fn way_out(imports: &[String]) -> &'static str {
    if imports.iter().any(|import| import.starts_with("wasi:http/")) {
        "; a component made from JavaScript imports wasi:http unless it is made with `disableFeatures: ['http', \
         'fetch-event']`"
    } else {
        ""
    }
}

impl PluginRefusal {
    /// Whether the cause is outside of the file, so that the same content may become a generation later.
    pub(crate) fn may_pass_later(&self) -> bool {
        match self {
            Self::Unreadable(_)
            | Self::NoAnswer(_)
            | Self::Object(_)
            | Self::CompileTime(_)
            | Self::CompilerKilled(_)
            | Self::NoCompiler(_)
            | Self::NotKept { .. }
            | Self::NoMemory(_)
            | Self::Trial(Fault::Room(_) | Fault::Time(_))
            | Self::Stopping => true,
            Self::Missing
            | Self::DanglingLink
            | Self::NoObject { .. }
            | Self::NotAFile
            | Self::TooLarge { .. }
            | Self::NotPinned { .. }
            | Self::Signature(_)
            | Self::Kind(_)
            | Self::WrongKind { .. }
            | Self::NoBatches
            | Self::NotConcurrent
            | Self::NoEngine(_)
            | Self::Compile(_)
            | Self::CompileMemory(_)
            | Self::Import(_)
            | Self::LaterWasi(_)
            | Self::Link(_)
            | Self::Trial(_) => false,
        }
    }

    /// What is the same for refusals of which only the first is told: a file that grows is too large at each look.
    pub(crate) fn told_as(&self) -> String {
        match self {
            Self::TooLarge { most, .. } => Self::TooLarge { size: 0, most: most.clone() }.to_string(),
            other => other.to_string(),
        }
    }

    /// Whether the file may be half written.
    pub(crate) fn may_be_half_written(&self) -> bool {
        match self {
            Self::Kind(error) => error.may_be_half_written(),
            // Half of the file that is pinned has another digest, and a signature comes before its file or after it.
            Self::NotPinned { .. } | Self::Signature(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_beyond_what_is_allowed_is_one_refusal() {
        let beyond = |size, most: &str| PluginRefusal::TooLarge { size, most: most.to_owned() };
        assert!(beyond(80, "64B").to_string().contains("80 bytes"));
        assert_eq!(beyond(80, "64B").told_as(), beyond(90, "64B").told_as());
        assert_ne!(beyond(80, "64B").told_as(), beyond(80, "70B").told_as());
    }

    #[test]
    fn what_keeps_the_compiling_process_from_starting_is_told_with_what_mends_it() {
        let told = |errno: Errno| PluginRefusal::NoCompiler(errno.into()).to_string();
        assert!(told(Errno::MFILE).ends_with("; raise `ulimit -n` (LimitNOFILE of a unit)"), "{}", told(Errno::MFILE));
        assert!(told(Errno::AGAIN).ends_with("; raise `ulimit -u` (TasksMax of a unit)"), "{}", told(Errno::AGAIN));
        assert!(told(Errno::ACCESS).ends_with("; let this host start processes of its own program"));
    }
}
