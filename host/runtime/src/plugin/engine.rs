//! The two engines, their linkers and their clock.
//!
//! Two, because fuel is a setting of an engine: handlers run under a wall clock, since counting instructions would
//! slow them; policies run under fuel, so that the same call ends in the same place on every machine.

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
use super::guest::Guest;
use super::room::Rooms;
use super::ticker::Ticker;
use crate::config::{Compile, Plugins};
use crate::contract::Fault;
use crate::delivery::slow_lane;

/// Address space reserved for each memory. A load or store then needs no bounds check; only what is touched is used.
pub(super) const RESERVATION: u64 = 4 << 30;
/// A component of a few bytes with data far apart would have an image of so much for each memory, held by this process.
const IMAGE: u64 = 64 << 10;
/// The stack of guest code in bytes. The rest of the async stack is for the host's functions.
const WASM_STACK: usize = 512 << 10;
const ASYNC_STACK: usize = 2 << 20;

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
        "compiled plugins cannot be kept even for as long as this runs: {0}; set plugins.cache to a directory that only \
         this user can write to, or TMPDIR"
    )]
    NoPlace(std::io::Error),
    /// The engine cannot run here.
    #[error("the WebAssembly engine does not run on this machine: {0}")]
    Engine(String),
}

pub(super) struct Engines {
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
    pub(super) handlers: Engine,
    pub(super) policies: Engine,
    pub(super) handler_linker: Linker<Guest>,
    pub(super) policy_linker: Linker<Guest>,
    pub(super) ticker: Ticker,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// Starts both engines, which compile in this process, without a bound. `cache` is the directory that keeps compiled
    /// code; `None` keeps none.
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
        let engine = |config: &Config| Engine::new(config).map_err(failed);
        let cache_dir = cache.as_ref().map(|cache| cache.directory().clone());
        let handlers = engine(&handlers(cache.clone()))?;
        let policies = engine(&policies(cache))?;
        let mut handler_linker = Linker::new(&handlers);
        bindings::link_worker(&mut handler_linker).map_err(failed)?;
        let mut policy_linker = Linker::new(&policies);
        bindings::link_policy(&mut policy_linker).map_err(failed)?;
        let ticker = Ticker::start(vec![handlers.weak(), policies.weak()])
            .map_err(|error| HostError::Engine(format!("its clock needs a thread: {error}")))?;
        Ok(Self {
            max_size,
            compiler,
            cache_dir,
            rooms: Rooms::new(),
            _own_cache: own_cache,
            handlers,
            policies,
            handler_linker,
            policy_linker,
            ticker,
        })
    }
}

impl Engines {
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

/// How handlers are compiled and run.
pub(super) fn handlers(cache: Option<Cache>) -> Config {
    common(cache)
}

/// How policies are compiled and run.
pub(super) fn policies(cache: Option<Cache>) -> Config {
    let mut config = common(cache);
    config.consume_fuel(true).cranelift_nan_canonicalization(true);
    config
}

fn common(cache: Option<Cache>) -> Config {
    let mut config = Config::new();
    config
        .cache(cache)
        .epoch_interruption(true)
        .memory_reservation(RESERVATION)
        .memory_guaranteed_dense_image_size(IMAGE)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        // Each of these is surface that no guest of this contract needs.
        .concurrency_support(false)
        .wasm_memory64(false)
        .shared_memory(false)
        .relaxed_simd_deterministic(true);
    config
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use wasmtime::component::Component;

    use super::*;

    #[test]
    fn data_that_lies_far_apart_makes_no_large_image() {
        let module = r#"(core module (memory 256) (data (i32.const 0) "a") (data (i32.const 16000000) "b"))"#;
        let bytes = wat::parse_str(format!("(component {})", module.repeat(20))).unwrap();
        let engine = Engine::new(&handlers(None)).unwrap();
        let compiled = Component::from_binary(&engine, &bytes).unwrap().serialize().unwrap();
        assert!(compiled.len() < 4 << 20, "{} bytes of {}", compiled.len(), bytes.len());
    }
}
