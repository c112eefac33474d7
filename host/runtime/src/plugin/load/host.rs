//! Makes generations of plugin files, in steps: read, inspect, compile, link, try.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{self, CacheError};
use super::compiler::{self, CompileFor, Compiler};
use super::inspect::{Inspection, inspect};
use super::kind_error::KindError;
use super::refusal::{LoadError, PluginRefusal};
use super::source::{FileContent, read, read_signature};
use super::temporary::TemporaryCache;
use crate::config::{Compile, Limits, Origin, Plugins};
use crate::plugin::run::declared::Declared;
use crate::plugin::run::engine::Engines;
use crate::plugin::run::kind::{Kind, Wanted, WantedForm};
use crate::plugin::run::source_lines::SourceLines;
use crate::plugin::run::told_text::brief;
use crate::plugin::run::world::{Plugin, World};

/// The packages that every plugin may import from. Those of WASI in its version 0.2, and for a handler of the
/// asynchronous form in 0.3 too.
const PACKAGES: &[&str] =
    &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:logging/", "wasi:random/", "wasi:sockets/"];
/// How a version of WASI after 0.2 begins.
const LATER_WASI: &[&str] = &["0.3", "0.4", "1"];
/// Bytes of the compiler's or linker's message that an error repeats.
const SAID: usize = 1 << 10;
/// The packages that only a handler may import from: a policy gets its settings in `init`, and reaches nothing.
const HANDLER_PACKAGES: &[&str] = &["wasi:config/", "wasi:http/", "wasi:keyvalue/"];
/// The interface that only a policy may import.
const POLICY_SIGNALS: &str = "tidegate:plugin/signals@0.1.";
/// The interface that has the types of a handler of batches.
const HANDLER_TYPES: &str = "tidegate:plugin/handler@0.1.";
/// The package that a handler of messages may import from.
const MESSAGING: &str = "wasmcloud:messaging/";

/// The host of plugins: it compiles them, and has the engines that run them. Clones are the same host.
#[derive(Clone)]
pub struct PluginHost(Arc<HostParts>);

struct HostParts {
    engines: Arc<Engines>,
    /// Bytes of the largest plugin file.
    max_size: u64,
    /// Whose signatures are taken; with none a plugin need not be signed.
    trusted: Vec<String>,
    /// `None` compiles in this process, without limits.
    compiler: Option<Compiler>,
    /// The directory of compiled code, if it is kept.
    cache_dir: Option<PathBuf>,
    /// A temporary directory of compiled code, if the configuration names none.
    _own_cache: Option<TemporaryCache>,
}

/// Content of a file that is a whole component, and one that this host and who uses it can take.
pub(super) struct CheckedContent {
    pub(super) source: FileContent,
    declared: Declared,
    asynchronous: bool,
}

/// Why there is no host for plugins.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The configured directory cannot keep compiled code.
    #[error("{0} (plugins.cache; --cache-dir or --no-cache)")]
    Cache(CacheError),
    /// No directory for compiled code can be made, not even a temporary one.
    #[error(
        "compiled plugins cannot be kept even for as long as this runs: {0}; set plugins.cache to a directory that \
         only this user can write to, or TMPDIR"
    )]
    NoPlace(std::io::Error),
    /// The engine cannot run here.
    #[error("the WebAssembly engine does not run on this machine: {0}")]
    Engine(String),
}

impl std::fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHost").finish_non_exhaustive()
    }
}

impl PluginHost {
    /// Starts both engines, which compile in this process, without a bound. `cache` is the directory that keeps
    /// compiled code; `None` keeps none.
    ///
    /// # Errors
    /// If the cache cannot be used or the engines do not run here.
    pub fn new(cache: Option<&Path>) -> Result<Self, HostError> {
        let plugins = Plugins {
            dir: "".into(),
            rescan: Duration::MAX,
            cache: cache.map(Path::to_owned),
            compile: Compile::default(),
            origin: Origin::default(),
        };
        Self::start(&plugins)
    }

    /// Starts both engines, which compile as the configuration says.
    ///
    /// # Errors
    /// If the cache cannot be used or the engines do not run here.
    pub fn start(plugins: &Plugins) -> Result<Self, HostError> {
        let Compile { program, max_size, time, memory } = plugins.compile.clone();
        // The child process can hand over compiled code only through a directory.
        let own = match (&program, &plugins.cache) {
            (Some(_), None) => Some(TemporaryCache::new().map_err(HostError::NoPlace)?),
            _ => None,
        };
        let dir = plugins.cache.clone().or_else(|| own.as_ref().map(TemporaryCache::path));
        let cache = dir.as_deref().map(cache::open).transpose().map_err(HostError::Cache)?;
        let compiler = program.zip(cache.as_ref()).map(|(program, cache)| Compiler {
            program,
            cache: cache.directory().clone(),
            time,
            memory,
            turns: Arc::new(Semaphore::new(compiler::AT_ONCE)),
        });
        let cache_dir = cache.as_ref().map(|cache| cache.directory().clone());
        let engines = Arc::new(Engines::start(cache).map_err(HostError::Engine)?);
        let trusted = plugins.origin.trusted.clone();
        Ok(Self(Arc::new(HostParts { engines, max_size, trusted, compiler, cache_dir, _own_cache: own })))
    }

    /// The engines that instances run in.
    pub(in crate::plugin) fn engines(&self) -> &Engines {
        &self.0.engines
    }

    /// Reads what a plugin's file is, without compiling it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn inspect(&self, file: &Path) -> Result<Inspection, LoadError> {
        let inspected =
            read(file, self.0.max_size).and_then(|source| inspect(&source.bytes).map_err(PluginRefusal::from));
        inspected.map_err(|refusal| LoadError { file: file.to_owned(), refusal })
    }

    /// Makes a handler, or a policy, of a file. `limits` are those of the workload that uses it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn load<W: World>(&self, file: &Path, limits: &Limits) -> Result<Plugin<W>, LoadError> {
        self.load_as(file, limits, &Wanted::default()).await
    }

    /// The same, for a workload that asks more of it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub async fn load_as<W: World>(
        &self,
        file: &Path,
        limits: &Limits,
        wanted: &Wanted,
    ) -> Result<Plugin<W>, LoadError> {
        let loaded = async { self.make(self.read(file).await?, limits, wanted).await };
        loaded.await.map_err(|refusal| LoadError { file: file.to_owned(), refusal })
    }

    /// Checks, compiles, links and tries a component that was read.
    pub(super) async fn make<W: World>(
        &self,
        source: FileContent,
        limits: &Limits,
        wanted: &Wanted,
    ) -> Result<Plugin<W>, PluginRefusal> {
        self.make_checked(self.checked::<W>(source, wanted)?, limits, wanted).await
    }

    /// What was read, if it may be compiled. What must be signed and is not gets no further: its compiled code is not
    /// even looked for in the cache.
    pub(super) fn checked<W: World>(
        &self,
        source: FileContent,
        wanted: &Wanted,
    ) -> Result<CheckedContent, PluginRefusal> {
        self.check_signature(&source)?;
        let Inspection { declared, asynchronous, .. } = check(&source, W::KIND, wanted)?;
        Ok(CheckedContent { source, declared, asynchronous })
    }

    /// Compiles, links and tries what was checked.
    pub(super) async fn make_checked<W: World>(
        &self,
        checked: CheckedContent,
        limits: &Limits,
        wanted: &Wanted,
    ) -> Result<Plugin<W>, PluginRefusal> {
        let CheckedContent { source, declared, asynchronous } = checked;
        let to = W::engine(&self.0.engines, asynchronous).map_err(PluginRefusal::NoEngine)?;
        let component = self.compile(to.engine.clone(), CompileFor::of(W::KIND, asynchronous), &source).await?;
        let declared = declared.at_least(component.resources_required().map(|resources| resources.num_memories));
        let linked = to.linker.instantiate_pre(&component).and_then(W::of);
        let world = linked.map_err(|error| PluginRefusal::Link(brief(&format!("{error:#}"), SAID)))?;
        let lines = lines(&source).await;
        let pooled = if wanted.isolated && !asynchronous { self.pooled(&source).await } else { None };
        let (engines, engine) = (Arc::clone(&self.0.engines), to.engine.clone());
        let plugin = Plugin { engines, engine, generation: source.generation, declared, lines, world, pooled };
        W::try_out(&plugin, limits).await.map_err(PluginRefusal::Trial)?;
        Ok(plugin)
    }

    /// The component once more, in the engine that has a pool. `None` where that has no room, or the component takes
    /// more than a place of it.
    async fn pooled<W: World>(&self, source: &FileContent) -> Option<(Engine, W)> {
        let to = self.0.engines.pooled_handlers()?;
        // Its code is in the cache by now.
        let component = load_or_compile(to.engine.clone(), source).await.ok()?;
        let world = to.linker.instantiate_pre(&component).and_then(W::of).ok()?;
        Some((to.engine.clone(), world))
    }

    /// Reads off the async threads.
    pub(super) async fn read(&self, file: &Path) -> Result<FileContent, PluginRefusal> {
        let (file, most, signed) = (file.to_owned(), self.0.max_size, self.wants_signatures());
        let read = move || {
            let content = read(&file, most)?;
            Ok(if signed { content.signed(read_signature(&file)) } else { content })
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(PluginRefusal::Stopping))
    }

    /// Bytes of the largest plugin.
    pub(super) fn max_size(&self) -> u64 {
        self.0.max_size
    }

    /// Whether plugins must be signed.
    pub(super) fn wants_signatures(&self) -> bool {
        !self.0.trusted.is_empty()
    }

    /// Whether this may run, as far as it is a question of who has signed it.
    pub(super) fn check_signature(&self, source: &FileContent) -> Result<(), PluginRefusal> {
        Ok(source.check_signature(&self.0.trusted)?)
    }

    async fn compile(&self, engine: Engine, to: CompileFor, source: &FileContent) -> Result<Component, PluginRefusal> {
        if let Some(compiler) = &self.0.compiler
            && !compiler.has_compiled(&engine, &source.generation.digest).await
        {
            compiler.compile(to, &source.bytes).await?;
        }
        let loaded = load_or_compile(engine, source).await;
        if let (None, Some(dir)) = (&self.0.compiler, self.0.cache_dir.clone()) {
            // The code may just have been compiled in this process, with files of the mode that its umask gives.
            let _ = tokio::task::spawn_blocking(move || cache::tighten(&dir)).await;
        }
        loaded
    }
}

#[doc(hidden)]
impl PluginHost {
    /// What is counted in a component before it is compiled, and how many memories the compiler finds. `None` if the
    /// count or the compiler refuses it.
    pub fn counted(&self, bytes: &[u8]) -> Option<(Declared, u32)> {
        let counted = super::declaration_count::counted(bytes).ok()?;
        let compiled = Component::from_binary(&self.0.engines.handlers.engine, bytes).ok()?;
        Some((counted, compiled.resources_required()?.num_memories))
    }

    /// Makes a plugin of a component's bytes.
    pub async fn load_bytes<W: World>(&self, bytes: &[u8], limits: &Limits) -> Result<Plugin<W>, PluginRefusal> {
        self.make(FileContent::new("fuzzed", bytes.to_vec()), limits, &Wanted::default()).await
    }
}

/// Checks a component before anything is compiled: what it is, and what it needs of the host.
fn check(source: &FileContent, wanted: Kind, asked: &Wanted) -> Result<Inspection, PluginRefusal> {
    source.check_pin(asked.pin.as_ref())?;
    let found = inspect(&source.bytes)?;
    if !found.kind.serves(wanted) {
        return Err(PluginRefusal::WrongKind { wanted, found: found.kind });
    }
    match asked.form {
        WantedForm::Batches if !found.batches => return Err(PluginRefusal::NoBatches),
        WantedForm::Concurrent if !found.asynchronous => return Err(PluginRefusal::NotConcurrent),
        _ => {}
    }
    let asynchronous = found.asynchronous;
    if asynchronous && wanted == Kind::Policy {
        return Err(KindError::Async.into());
    }
    let later: Vec<String> = found.needs.iter().filter(|import| is_later(import, asynchronous)).cloned().collect();
    if !later.is_empty() {
        return Err(PluginRefusal::LaterWasi(later));
    }
    let is_known = |import: &&String| {
        PACKAGES.iter().any(|package| import.starts_with(package))
            || wanted == Kind::Handler && HANDLER_PACKAGES.iter().any(|package| import.starts_with(package))
            || wanted == Kind::Policy && import.starts_with(POLICY_SIGNALS)
            || (found.batches || asynchronous) && import.starts_with(HANDLER_TYPES)
            || found.messages && wanted == Kind::Handler && is_of_messages(import, asynchronous)
    };
    let unknown: Vec<String> = found.needs.iter().filter(|import| !is_known(import)).cloned().collect();
    if unknown.is_empty() { Ok(found) } else { Err(PluginRefusal::Import(unknown)) }
}

/// Whether an import is of `wasmcloud:messaging`, in the version of the form that the component has.
fn is_of_messages(import: &str, asynchronous: bool) -> bool {
    let version = import.strip_prefix(MESSAGING).and_then(|rest| rest.split_once('@')).map(|(_, version)| version);
    version.is_some_and(|version| version.starts_with(if asynchronous { "0.3." } else { "0.2." }))
}

/// Whether an import is of a version of WASI that the component cannot have. A handler of the asynchronous form has 0.3
/// too, as it was published.
fn is_later(import: &str, asynchronous: bool) -> bool {
    let Some((_, version)) = import.split_once('@').filter(|_| import.starts_with("wasi:")) else { return false };
    let has = asynchronous && version.starts_with("0.3.") && !version.contains('-');
    !has && LATER_WASI.iter().any(|later| version.starts_with(later))
}

/// Reads where the component's code is from, off the async threads.
async fn lines(source: &FileContent) -> Option<Arc<SourceLines>> {
    let bytes = Arc::clone(&source.bytes);
    tokio::task::spawn_blocking(move || SourceLines::of(&bytes)).await.ok().flatten()
}

/// Takes compiled code from the cache, or compiles the component, off the async threads.
async fn load_or_compile(engine: Engine, source: &FileContent) -> Result<Component, PluginRefusal> {
    let bytes = Arc::clone(&source.bytes);
    let compiled = tokio::task::spawn_blocking(move || Component::from_binary(&engine, &bytes));
    match compiled.await {
        Ok(compiled) => compiled.map_err(|error| PluginRefusal::Compile(brief(&format!("{error:#}"), SAID))),
        // The task was cancelled with the runtime, or the compiler panicked. The host goes on in both cases.
        Err(error) if error.is_panic() => Err(PluginRefusal::Compile("the compiler failed on it".into())),
        Err(_) => Err(PluginRefusal::Stopping),
    }
}
