//! The two engines, their linkers and their clock.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;
use wasmtime::component::Linker;
use wasmtime::{Cache, Config, Engine};

use super::bindings;
use super::engine_config::{RESERVATION, handlers, policies};
use super::guest::Guest;
use super::room::{Need, Rooms};
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
    /// Starts both engines and their clock. Compiled code is kept in `cache`.
    ///
    /// # Errors
    /// Why the engines do not run here.
    pub(crate) fn start(cache: Option<Cache>) -> Result<Self, String> {
        Need::of_the_least(RESERVATION).fits_a_process()?;
        let failed = |error: wasmtime::Error| format!("{error:#}");
        let handlers = WorldEngine::new(&handlers(cache.clone()), bindings::link_worker).map_err(failed)?;
        let policies = WorldEngine::new(&policies(cache), bindings::link_policy).map_err(failed)?;
        let ticker = Ticker::start(vec![handlers.engine.weak(), policies.engine.weak()])
            .map_err(|error| format!("its clock needs a thread: {error}"))?;
        Ok(Self { rooms: Rooms::new(), handlers, policies, ticker })
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
