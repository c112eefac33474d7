//! The two engines, their linkers and their clock.

use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime::component::Linker;
use wasmtime::{Cache, Config, Engine};

use super::bindings;
use super::cache::{self, CacheError};
use super::compiler::{self, Compiler};
use super::engine_config::{handlers, policies};
use super::guest::Guest;
use super::room::Rooms;
use super::ticker::Ticker;
use crate::config::{Compile, Plugins};
use crate::contract::Fault;
use crate::delivery::slow_lane;

/// Compiles and runs plugins. Clones are the same host.
#[derive(Clone)]
pub struct Host(pub(super) Arc<Engines>);

/// Why there is no host for plugins.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Compiled code cannot be kept where it should.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is no place for compiled code, not even a temporary one.
    #[error(
        "compiled plugins cannot be kept even for as long as this runs: {0}; set plugins.cache to a directory that \
         only this user can write to, or TMPDIR"
    )]
    NoPlace(std::io::Error),
    /// The engine cannot run here.
    #[error("the WebAssembly engine does not run on this machine: {0}")]
    Engine(String),
}

/// What all plugins of this process share.
pub struct Engines {
    /// Bytes of the largest plugin file.
    pub(super) max_size: u64,
    /// `None` compiles here, without a bound.
    pub(super) compiler: Option<Compiler>,
    /// Where compiled code is kept, if it is.
    pub(super) cache_dir: Option<PathBuf>,
    /// The room that instances have in this process.
    pub(super) rooms: Arc<Rooms>,
    /// Where compiled code is kept for as long as this lives, if it is kept nowhere else.
    _own_cache: Option<TempDir>,
    pub(super) handlers: WorldEngine,
    pub(super) policies: WorldEngine,
    pub(super) ticker: Ticker,
}

/// What compiles and links the guests of one world.
pub struct WorldEngine {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Guest>,
}

impl WorldEngine {
    fn new(config: &Config, link: impl FnOnce(&mut Linker<Guest>) -> wasmtime::Result<()>) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker)?;
        Ok(Self { engine, linker })
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
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
        };
        Self::start(&plugins)
    }

    /// Starts both engines, which compile as the configuration says.
    ///
    /// # Errors
    /// If the cache cannot be used or the engines do not run here.
    pub fn start(plugins: &Plugins) -> Result<Self, HostError> {
        let Compile { program, max_size, time, memory } = plugins.compile.clone();
        // What one process compiles, another can only find in a directory.
        let own = match (&program, &plugins.cache) {
            (Some(_), None) => {
                Some(tempfile::Builder::new().prefix("tidegate-").tempdir().map_err(HostError::NoPlace)?)
            }
            _ => None,
        };
        let dir = plugins.cache.as_deref().or(own.as_ref().map(TempDir::path));
        let cache = dir.map(cache::open).transpose()?;
        let compiler = program.zip(cache.as_ref()).map(|(program, cache)| Compiler {
            program,
            cache: cache.directory().clone(),
            time,
            memory,
            turns: Arc::new(Semaphore::new(compiler::AT_ONCE)),
        });
        Engines::new(cache, max_size, compiler, own).map(|engines| Self(Arc::new(engines)))
    }
}

impl Engines {
    fn new(
        cache: Option<Cache>,
        max_size: u64,
        compiler: Option<Compiler>,
        own_cache: Option<TempDir>,
    ) -> Result<Self, HostError> {
        let cache_dir = cache.as_ref().map(|cache| cache.directory().clone());
        let handlers = WorldEngine::new(&handlers(cache.clone()), bindings::link_worker).map_err(failed)?;
        let policies = WorldEngine::new(&policies(cache), bindings::link_policy).map_err(failed)?;
        let ticker = Ticker::start(vec![handlers.engine.weak(), policies.engine.weak()])
            .map_err(|error| HostError::Engine(format!("its clock needs a thread: {error}")))?;
        Ok(Self {
            max_size,
            compiler,
            cache_dir,
            rooms: Rooms::new(),
            _own_cache: own_cache,
            handlers,
            policies,
            ticker,
        })
    }

    /// Runs a guest's call, which yields at each tick.
    ///
    /// # Errors
    /// [`Fault::Time`] if it does not end within `limit` of the wall clock. Then its store is of no use any more.
    pub(super) async fn call<T>(&self, limit: Duration, call: Pin<&mut impl Future<Output = T>>) -> Result<T, Fault> {
        let mut call = pin!(self.ticker.during(call));
        // Most calls end at their first poll, which a tick ends at the latest, and need no timer.
        match futures_util::poll!(call.as_mut()) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => timeout(limit, slow_lane::watch(call)).await.map_err(|_| Fault::Time(limit)),
        }
    }
}

fn failed(error: wasmtime::Error) -> HostError {
    HostError::Engine(format!("{error:#}"))
}
