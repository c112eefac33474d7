//! From a file to a generation: read, inspect, compile, link, try.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::bindings::policy::PolicyPre;
use super::bindings::worker::WorkerPre;
use super::cache;
use super::declared::Declared;
use super::engine::Host;
use super::fault::brief;
use super::handler::{HandlerPlugin, WorkerContext};
use super::kind::{Inspection, Kind, KindError, inspect, some};
use super::policy::{PolicyContext, PolicyPlugin};
use crate::config::Limits;
use crate::config::units::show_size;
use crate::contract::Fault;
use crate::digest::Digest;

/// The packages that every plugin may import from. Those of WASI in its version 0.2.
const PACKAGES: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:logging/", "wasi:random/", "wasi:sockets/"];
/// How a version of WASI after 0.2 begins.
const LATER_WASI: &[&str] = &["@0.3", "@0.4", "@1"];
/// Bytes of what a compiler or a linker says that is told.
const SAID: usize = 1 << 10;
/// The package that only a handler may import from: a policy gets its settings in `init`.
const HANDLER_PACKAGE: &str = "wasi:config/";

/// One compiled version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The plugin's name: its file's stem.
    pub plugin: Arc<str>,
    /// That of the bytes that were compiled.
    pub digest: Digest,
}

/// Why a file did not become a generation.
#[derive(Debug, thiserror::Error)]
#[error("{}: {refusal}", file.display())]
pub struct LoadError {
    /// The plugin's file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub refusal: Refusal,
}

/// What is wrong with a plugin's file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("there is no such file; copy the component there")]
    Missing,
    /// There is a link to none.
    #[error("it is a link that leads nowhere; copy the component there or mend the link")]
    DanglingLink,
    /// It cannot be read.
    #[error("cannot be read: {error}; {remedy}", error = .0, remedy = readable(.0))]
    Unreadable(io::Error),
    /// It is a directory, or a pipe.
    #[error("it is not a file; put the component itself there")]
    NotAFile,
    /// It is not even tried.
    #[error("it has {size} bytes, more than {most}; strip its debug information, or raise plugins.max-size")]
    TooLarge {
        /// Its size in bytes, as far as that is known.
        size: u64,
        /// The most that the configuration allows.
        most: String,
    },
    /// It is no component of this contract.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// It is used as what it is not.
    #[error("it is {found}, and is used as {wanted}; name another plugin in the configuration")]
    WrongKind {
        /// What the workload uses it as.
        wanted: Kind,
        /// What it is.
        found: Kind,
    },
    /// It is not valid code.
    #[error("it does not compile: {0}; build it again")]
    Compile(String),
    /// It took too long, if only because the machine was busy.
    #[error("compiling it took more than {0}; raise plugins.compile-time or make it smaller")]
    CompileTime(String),
    /// It took too much memory.
    #[error("compiling it took more than {0} of memory; raise plugins.compile-memory or make it smaller")]
    CompileMemory(String),
    /// Somebody ended what compiled it, as a system does that has no memory left.
    #[error(
        "the process that compiled it was killed ({0}), as by a system without memory; give it more, or make the plugin smaller"
    )]
    CompilerKilled(String),
    /// The system bounds it closer than the configuration does.
    #[error("compiling it took more than the {0} of address space that the system allows this host; raise `ulimit -v`")]
    NoMemory(String),
    /// Nothing compiles it.
    #[error("the process that compiles does not run: {0}; let this host start processes of its own program")]
    NoCompiler(io::Error),
    /// The cache does not keep it, and without it this process would have to compile it.
    #[error(
        "its compiled code cannot be kept in {}: {why}; see that there is room and that this user can write there", dir.display()
    )]
    NotKept {
        /// The directory of the cache.
        dir: PathBuf,
        /// What the process that compiles said.
        why: String,
    },
    /// It asks for what this host does not offer.
    #[error(
        "it imports {}, which this host does not have; build it for the world `worker` or `policy` of this host's \
         wit/, without other imports{}", some(.0), way_out(.0)
    )]
    Import(Vec<String>),
    /// It was made for a later WASI.
    #[error(
        "it was built for a later WASI (it imports {}), and this host has WASI 0.2; build it for that, as for the target \
         wasm32-wasip2", some(.0)
    )]
    LaterWasi(Vec<String>),
    /// It offers something else under a name of the contract, or asks for something else under a known name.
    #[error("it does not fit this host: {0}; build it with this host's wit/ and without other imports")]
    Link(String),
    /// It does not start, with the limits of the workloads that use it.
    #[error("a trial instance {0}; correct what it does at its start, or raise the workload's limits")]
    Trial(Fault),
    /// The host is stopping.
    #[error("it was not compiled, because the host is stopping")]
    Stopping,
}

fn readable(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => "raise `ulimit -n`",
        _ => "let the user that runs this host read it",
    }
}

/// How the tool that is known to add an import is told to leave it out.
fn way_out(imports: &[String]) -> &'static str {
    if imports.iter().any(|import| import.starts_with("wasi:http/")) {
        "; a component made from JavaScript imports wasi:http unless it is made with `disableFeatures: ['http', 'fetch-event']`"
    } else {
        ""
    }
}

impl Refusal {
    /// Whether the cause is outside of the file, so that the same file may become a generation later.
    pub fn may_pass_later(&self) -> bool {
        match self {
            Self::Unreadable(_)
            | Self::CompileTime(_)
            | Self::CompilerKilled(_)
            | Self::NoCompiler(_)
            | Self::NotKept { .. }
            | Self::NoMemory(_)
            | Self::Trial(Fault::Room(_) | Fault::Time(_))
            | Self::Stopping => true,
            Self::Missing
            | Self::DanglingLink
            | Self::NotAFile
            | Self::TooLarge { .. }
            | Self::Kind(_)
            | Self::WrongKind { .. }
            | Self::Compile(_)
            | Self::CompileMemory(_)
            | Self::Import(_)
            | Self::LaterWasi(_)
            | Self::Link(_)
            | Self::Trial(_) => false,
        }
    }

    /// Whether the file may only be half written.
    pub fn may_be_half_written(&self) -> bool {
        matches!(self, Self::Kind(error) if error.may_be_half_written())
    }
}

/// The bytes of a plugin's file and what names them.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) plugin: Arc<str>,
    pub(super) digest: Digest,
    pub(super) bytes: Arc<[u8]>,
}

impl Source {
    fn new(plugin: &str, bytes: Vec<u8>) -> Self {
        let digest = HEXLOWER.encode(&<Sha256 as sha2::Digest>::digest(&bytes));
        Self { plugin: plugin.into(), digest: digest.into(), bytes: bytes.into() }
    }
}

/// Reads a file of at most `most` bytes whole. What was read is what is hashed and compiled, whatever happens to the file meanwhile.
pub(super) fn read(file: &Path, most: u64) -> Result<Source, Refusal> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound if file.is_symlink() => Refusal::DanglingLink,
        io::ErrorKind::NotFound => Refusal::Missing,
        _ => Refusal::Unreadable(error),
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(file).map_err(refused)?;
    if !metadata.is_file() {
        return Err(Refusal::NotAFile);
    }
    let allowed = |size: u64| {
        if size > most { Err(Refusal::TooLarge { size, most: show_size(&most) }) } else { Ok(()) }
    };
    allowed(metadata.len())?;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(refused)?;
    opened.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(refused)?;
    // It may have grown meanwhile.
    allowed(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Source::new(&name, bytes))
}

impl Host {
    /// Reads what a plugin's file is, without compiling it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn inspect(&self, file: &Path) -> Result<Inspection, LoadError> {
        let inspected = read(file, self.0.max_size).and_then(|source| inspect(&source.bytes).map_err(Refusal::from));
        inspected.map_err(|refusal| LoadError { file: file.to_owned(), refusal })
    }

    /// Makes a handler of a file. `limits` are those of the workload that uses it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn load_handler(&self, file: &Path, limits: &Limits) -> Result<HandlerPlugin, LoadError> {
        let loaded = async { self.handler(self.read(file).await?, limits).await };
        loaded.await.map_err(|refusal| LoadError { file: file.to_owned(), refusal })
    }

    /// Makes a policy of a file. `limits` are those of the workload that uses it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn load_policy(&self, file: &Path, limits: &Limits) -> Result<PolicyPlugin, LoadError> {
        let loaded = async { self.policy(self.read(file).await?, limits).await };
        loaded.await.map_err(|refusal| LoadError { file: file.to_owned(), refusal })
    }

    pub(super) async fn handler(&self, source: Source, limits: &Limits) -> Result<HandlerPlugin, Refusal> {
        let declared = check(&source, Kind::Handler)?;
        let component = self.compile(self.0.handlers.clone(), Kind::Handler, &source).await?;
        let declared = declared.at_least(component.resources_required().map(|resources| resources.num_memories));
        let linked = self.0.handler_linker.instantiate_pre(&component).and_then(WorkerPre::new);
        let pre = linked.map_err(|error| unlinked(&error))?;
        let plugin = HandlerPlugin::new(Arc::clone(&self.0), generation(source), declared, pre);
        let trial = WorkerContext::new("".into(), 0, Arc::new([]), limits.clone());
        plugin.instantiate(&trial).await.map_err(Refusal::Trial)?;
        Ok(plugin)
    }

    pub(super) async fn policy(&self, source: Source, limits: &Limits) -> Result<PolicyPlugin, Refusal> {
        let declared = check(&source, Kind::Policy)?;
        let component = self.compile(self.0.policies.clone(), Kind::Policy, &source).await?;
        let declared = declared.at_least(component.resources_required().map(|resources| resources.num_memories));
        let linked = self.0.policy_linker.instantiate_pre(&component).and_then(PolicyPre::new);
        let pre = linked.map_err(|error| unlinked(&error))?;
        let plugin = PolicyPlugin::new(Arc::clone(&self.0), generation(source), declared, pre);
        plugin.probe(&PolicyContext::new("".into(), limits.clone())).await.map_err(Refusal::Trial)?;
        Ok(plugin)
    }

    /// Reads off the async threads.
    pub(super) async fn read(&self, file: &Path) -> Result<Source, Refusal> {
        let (file, most) = (file.to_owned(), self.0.max_size);
        tokio::task::spawn_blocking(move || read(&file, most)).await.unwrap_or(Err(Refusal::Stopping))
    }

    async fn compile(&self, engine: Engine, kind: Kind, source: &Source) -> Result<Component, Refusal> {
        if let Some(compiler) = &self.0.compiler {
            compiler.compile(kind, &source.bytes).await?;
        }
        let loaded = load_or_compile(engine, source).await;
        if let (None, Some(dir)) = (&self.0.compiler, self.0.cache_dir.clone()) {
            // It may just have been compiled here, with the rights that this process gives its files.
            let _ = tokio::task::spawn_blocking(move || cache::tighten(&dir)).await;
        }
        loaded
    }
}

#[doc(hidden)]
impl Host {
    /// What is counted in a component before it is compiled, and how many memories the compiler finds. `None` if either
    /// refuses it.
    pub fn counted(&self, bytes: &[u8]) -> Option<(Declared, u32)> {
        let counted = super::declared::counted(bytes).ok()?;
        let compiled = Component::from_binary(&self.0.handlers, bytes).ok()?;
        Some((counted, compiled.resources_required()?.num_memories))
    }

    /// Makes a handler of bytes.
    pub async fn handler_of(&self, bytes: &[u8], limits: &Limits) -> Result<HandlerPlugin, Refusal> {
        self.handler(Source::new("fuzzed", bytes.to_vec()), limits).await
    }

    /// Makes a policy of bytes.
    pub async fn policy_of(&self, bytes: &[u8], limits: &Limits) -> Result<PolicyPlugin, Refusal> {
        self.policy(Source::new("fuzzed", bytes.to_vec()), limits).await
    }
}

fn generation(source: Source) -> Generation {
    Generation { plugin: source.plugin, digest: source.digest }
}

/// What can be told before anything is compiled: what it is, what it needs of the host, and with what an instance begins.
fn check(source: &Source, wanted: Kind) -> Result<Declared, Refusal> {
    let Inspection { kind: found, needs, declared, .. } = inspect(&source.bytes)?;
    if !found.serves(wanted) {
        return Err(Refusal::WrongKind { wanted, found });
    }
    let is_later =
        |import: &String| import.starts_with("wasi:") && LATER_WASI.iter().any(|version| import.contains(version));
    let later: Vec<String> = needs.iter().filter(|import| is_later(import)).cloned().collect();
    if !later.is_empty() {
        return Err(Refusal::LaterWasi(later));
    }
    let is_known = |import: &String| {
        PACKAGES.iter().any(|package| import.starts_with(package))
            || wanted == Kind::Handler && import.starts_with(HANDLER_PACKAGE)
    };
    let unknown: Vec<String> = needs.into_iter().filter(|import| !is_known(import)).collect();
    if unknown.is_empty() { Ok(declared) } else { Err(Refusal::Import(unknown)) }
}

/// Takes it from the cache, or compiles it, off the async threads.
async fn load_or_compile(engine: Engine, source: &Source) -> Result<Component, Refusal> {
    let bytes = Arc::clone(&source.bytes);
    let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&engine, &bytes));
    match compiled.await {
        Ok(compiled) => compiled.map_err(|error| Refusal::Compile(brief(&format!("{error:#}"), SAID))),
        // Cancelled with the runtime, or the compiler panicked on it: neither is worth the host.
        Err(error) if error.is_panic() => Err(Refusal::Compile("the compiler failed on it".into())),
        Err(_) => Err(Refusal::Stopping),
    }
}

fn unlinked(error: &wasmtime::Error) -> Refusal {
    Refusal::Link(brief(&format!("{error:#}"), SAID))
}
