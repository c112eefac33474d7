//! The engines, their linkers and their clock.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;
use wasmtime::component::Linker;
use wasmtime::{Cache, Config, Engine};

use super::bindings;
use super::engine_config::{RESERVATION, async_handlers, handlers, policies, pooled_handlers};
use super::guest::Guest;
use super::room::{Need, Rooms};
use super::system;
use super::ticker::Ticker;
use super::usage::Meter;
use crate::contract::Fault;
use crate::delivery::slow_lane;

/// The engines that all plugins of this process share.
pub struct Engines {
    /// The room that instances have in this process.
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) handlers: WorldEngine,
    pub(crate) policies: WorldEngine,
    /// Of handlers of the asynchronous form, made when the first of them is loaded.
    async_handlers: OnceLock<Result<WorldEngine, String>>,
    /// Of handlers of which each message gets an instance of its own, made when the first of them is loaded. `None`
    /// where there is no room for its pool.
    pooled_handlers: OnceLock<Option<WorldEngine>>,
    /// Where compiled code is kept.
    cache: Option<Cache>,
    pub(crate) ticker: Ticker,
}

/// The engine and linker of the guests of one world.
pub struct WorldEngine {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
}

impl WorldEngine {
    fn new(config: &Config, link: impl FnOnce(&mut Linker<Guest>) -> wasmtime::Result<()>) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker)?;
        Ok(Self { engine, linker })
    }
}

impl Engines {
    /// Starts the two engines of every host, and their clock. Compiled code is kept in `cache`.
    ///
    /// # Errors
    /// Why the engines do not run here.
    pub(crate) fn start(cache: Option<Cache>) -> Result<Self, String> {
        Need::of_the_least(RESERVATION).fits_a_process()?;
        let kept = cache.clone();
        let handlers = WorldEngine::new(&handlers(cache.clone()), bindings::link_worker).map_err(failed)?;
        let policies = WorldEngine::new(&policies(cache), bindings::link_policy).map_err(failed)?;
        let ticker = Ticker::start(vec![handlers.engine.weak(), policies.engine.weak()])
            .map_err(|error| format!("its clock needs a thread: {error}"))?;
        let (async_handlers, pooled_handlers) = (OnceLock::new(), OnceLock::new());
        Ok(Self { rooms: Rooms::new(), handlers, policies, async_handlers, pooled_handlers, cache: kept, ticker })
    }

    /// The engine of handlers of the asynchronous form.
    ///
    /// # Errors
    /// Why it does not run here.
    pub(crate) fn async_handlers(&self) -> Result<&WorldEngine, String> {
        let make = || {
            let config = async_handlers(self.cache.clone());
            let made = WorldEngine::new(&config, bindings::link_async_worker).map_err(failed)?;
            self.ticker.add(made.engine.weak());
            Ok(made)
        };
        self.async_handlers.get_or_init(make).as_ref().map_err(String::clone)
    }

    /// The engine of handlers of which each message gets an instance of its own, where there can be one.
    pub(crate) fn pooled_handlers(&self) -> Option<&WorldEngine> {
        let make = || {
            if system::is_bounded() {
                tracing::debug!("no pool of instances: the address space of this process is limited (ulimit -v)");
                return None;
            }
            match WorldEngine::new(&pooled_handlers(self.cache.clone()), bindings::link_worker) {
                Ok(made) => {
                    self.ticker.add(made.engine.weak());
                    Some(made)
                }
                Err(error) => {
                    tracing::debug!("no pool of instances: {error:#}");
                    None
                }
            }
        };
        self.pooled_handlers.get_or_init(make).as_ref()
    }

    /// Whether there is an engine of handlers of the asynchronous form.
    #[cfg(test)]
    pub(crate) fn runs_async_handlers(&self) -> bool {
        self.async_handlers.get().is_some()
    }

    /// Runs a guest's call, which yields at each tick. Its processor time goes to `meter`.
    ///
    /// # Errors
    /// [`Fault::Time`] if the call does not end within `limit` of the wall clock. Its store must not be used after
    /// that.
    pub(crate) async fn call<T>(
        &self,
        limit: Duration,
        meter: &Meter,
        call: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Fault> {
        let mut call = pin!(self.ticker.during(call));
        // Most calls are done at their first poll and need no timer. A tick ends that poll at the latest.
        let timed = meter.first_poll();
        let polled = futures_util::poll!(call.as_mut());
        drop(timed);
        match polled {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending => {
                let watched = slow_lane::watch_each(call, |time| meter.spent(time));
                timeout(limit, watched).await.map_err(|_| Fault::Time(limit))
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn failed(error: wasmtime::Error) -> String {
    format!("{error:#}")
}
