//! What handlers and policies have in common: a component of one world of the contract, compiled, linked and
//! instantiated.

use std::pin::pin;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::declared::Declared;
use super::engine::{Engines, WorldEngine};
use super::engine_config::RESERVATION;
use super::fault::classify_start;
use super::generation::Generation;
use super::guest::{self, Guest, Inputs, Settings};
use super::kind::Kind;
use super::room::{InstanceRoom, Need, Room};
use super::stdio::{GuestLog, LogMeter, Speaker};
use crate::config::Limits;
use crate::contract::Fault;

/// A world of `wit/`, as the component that is linked for it, ready to be instantiated.
pub trait World: Sized + Send + Sync + 'static {
    /// What workloads use its components as.
    const KIND: Kind;
    /// The exports of an instance.
    type Exports: Send;

    /// What compiles and links its components.
    fn engine(engines: &Engines) -> &WorldEngine;

    /// A component of which the exports are those of this world.
    fn of(linked: InstancePre<Guest>) -> wasmtime::Result<Self>;

    /// Instantiates it.
    fn instantiate(&self, store: &mut Store<Guest>) -> impl Future<Output = wasmtime::Result<Self::Exports>> + Send;

    /// Whether an instance can be made within these limits.
    fn try_out(plugin: &Plugin<Self>, limits: &Limits) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// One generation of a plugin, compiled and linked.
pub struct Plugin<W> {
    pub(crate) engines: Arc<Engines>,
    pub(crate) generation: Generation,
    pub(crate) declared: Declared,
    pub(crate) world: W,
}

/// Which workload instances work for, and what they may spend.
#[derive(Debug, Clone)]
pub struct GuestContext {
    /// The workload's name.
    pub workload: Arc<str>,
    /// What one instance and one call may spend.
    pub limits: Limits,
    /// What all instances may log.
    pub log: Arc<LogMeter>,
    /// Where all instances have to find room; `None` for one that nothing else competes with.
    pub room: Option<Arc<Room>>,
}

impl GuestContext {
    /// With a log of its own, and where nothing else competes for room.
    pub fn new(workload: Arc<str>, limits: Limits) -> Self {
        Self { workload, log: LogMeter::new(limits.log_rate), limits, room: None }
    }
}

impl<W: World> Plugin<W> {
    /// Which plugin this is and which version of it.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// What each instance takes of the room in this process.
    pub fn need(&self) -> Need {
        Need::of(&self.declared, RESERVATION)
    }

    /// Room for one more instance, if it has to find any.
    pub(crate) fn enter(&self, context: &GuestContext) -> Result<Option<InstanceRoom>, Fault> {
        context.room.as_ref().map(|room| room.enter(self.need())).transpose()
    }

    /// A store for one instance, whose log lines carry the worker.
    pub(crate) fn store(
        &self,
        context: &GuestContext,
        worker: u64,
        settings: Settings,
        inputs: Inputs<'_>,
    ) -> Store<Guest> {
        let speaker = Speaker {
            workload: Arc::clone(&context.workload),
            plugin: Arc::clone(&self.generation.plugin),
            generation: self.generation.digest.clone(),
        };
        let log = GuestLog::new(speaker, worker, Arc::clone(&context.log));
        guest::store(&W::engine(&self.engines).engine, &context.limits, &self.declared, log, settings, inputs)
    }

    /// Makes an instance in its store.
    pub(crate) async fn start(&self, store: &mut Store<Guest>, limits: &Limits) -> Result<W::Exports, Fault> {
        let started = self.engines.call(limits.time, pin!(self.world.instantiate(&mut *store))).await?;
        started.map_err(|error| {
            let last_words = store.data().log.end_call();
            classify_start(&error, &store.data().quota, limits, &last_words)
        })
    }
}

impl<W> std::fmt::Debug for Plugin<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("generation", &self.generation).finish_non_exhaustive()
    }
}
