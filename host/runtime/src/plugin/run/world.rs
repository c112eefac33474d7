//! What handlers and policies have in common: a component of one world of the contract that is compiled, linked and
//! instantiated.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store};

use super::declared::Declared;
use super::engine::{Engines, WorldEngine};
use super::engine_config::RESERVATION;
use super::fault::classify_start;
use super::generation::Generation;
use super::guest::{self, Guest, Inputs};
use super::kind::Kind;
use super::quota::Quota;
use super::room::{InstanceRoom, Need, Room};
use super::source_lines::SourceLines;
use super::stdio::{GuestLog, LogMeter, Speaker};
use super::usage::GuestUsage;
use crate::config::Limits;
use crate::contract::Fault;
use crate::plugin::capability::Settings;

/// A world of `wit/`. A value is a component that is linked for this world, ready to be instantiated.
pub trait World: Sized + Send + Sync + 'static {
    /// What workloads use components of this world as.
    const KIND: Kind;
    /// The exports of an instance.
    type Exports: Send;

    /// The engine and linker of this world's components, of the asynchronous form or not.
    ///
    /// # Errors
    /// Why that engine does not run here.
    fn engine(engines: &Engines, asynchronous: bool) -> Result<&WorldEngine, String>;

    /// Checks that a component has the exports of this world.
    fn of(linked: InstancePre<Guest>) -> wasmtime::Result<Self>;

    /// Makes an instance.
    fn instantiate(&self, store: &mut Store<Guest>) -> impl Future<Output = wasmtime::Result<Self::Exports>> + Send;

    /// Tries whether an instance can be made within these limits.
    fn try_out(plugin: &Plugin<Self>, limits: &Limits) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// One generation of a plugin, compiled and linked.
pub struct Plugin<W> {
    pub(crate) engines: Arc<Engines>,
    /// The one of them that its instances run in.
    pub(crate) engine: Engine,
    pub(crate) generation: Generation,
    pub(crate) declared: Declared,
    pub(crate) lines: Option<Arc<SourceLines>>,
    pub(crate) world: W,
    /// The same in the engine that has a pool, where each message gets an instance of its own.
    pub(crate) pooled: Option<(Engine, W)>,
}

/// The workload that instances work for, and their limits.
#[derive(Debug, Clone)]
pub struct GuestContext {
    /// The workload's name.
    pub workload: Arc<str>,
    /// The limits of one instance and one call.
    pub limits: Limits,
    /// The meter of what all instances log.
    pub log: Arc<LogMeter>,
    /// What all instances use.
    pub usage: Arc<GuestUsage>,
    /// Where all instances have to find room; `None` where room need not be counted, as in tests and tools.
    pub room: Option<Arc<Room>>,
}

/// What can be seen of all instances of a workload and a plugin.
#[derive(Debug)]
pub struct GuestsSeen {
    /// Counts the log lines that were dropped.
    pub(crate) dropped_lines: Arc<AtomicU64>,
    /// What they use.
    pub(crate) usage: Arc<GuestUsage>,
}

impl GuestContext {
    /// What can be seen of all instances.
    pub(crate) fn seen(&self) -> GuestsSeen {
        GuestsSeen { dropped_lines: self.log.dropped(), usage: self.usage.clone() }
    }

    /// A context with a log of its own, whose instances need not find room.
    pub(crate) fn new(workload: Arc<str>, limits: Limits) -> Self {
        Self { workload, log: LogMeter::new(limits.log_rate), usage: Arc::default(), limits, room: None }
    }
}

impl<W: World> Plugin<W> {
    /// The plugin's name and this generation's digest.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The room that each instance takes.
    pub(crate) fn need(&self) -> Need {
        Need::of(&self.declared, RESERVATION)
    }

    /// Takes room for one more instance, if instances have to find room.
    pub(crate) fn enter(&self, context: &GuestContext) -> Result<Option<InstanceRoom>, Fault> {
        context.room.as_ref().map(|room| room.enter(self.need())).transpose()
    }

    /// Makes a store for one instance in this engine, whose log lines carry the worker.
    pub(crate) fn store(
        &self,
        engine: &Engine,
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
        let quota = Quota::new(&context.limits, self.declared.bytes(), context.usage.of(&self.generation));
        let mut store = guest::store(engine, context.limits.response, quota, log, settings, inputs);
        store.data_mut().lines = self.lines.clone();
        store
    }

    /// Makes an instance in a store of the same engine.
    pub(crate) async fn start(
        &self,
        world: &W,
        store: &mut Store<Guest>,
        limits: &Limits,
    ) -> Result<W::Exports, Fault> {
        let meter = store.data().quota.meter().clone();
        let started = self.engines.call(limits.time, &meter, pin!(world.instantiate(&mut *store))).await?;
        started.map_err(|error| {
            let last_words = store.data().log.end_call();
            classify_start(&error, store.data(), limits, &last_words)
        })
    }
}

impl<W> std::fmt::Debug for Plugin<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("generation", &self.generation).finish_non_exhaustive()
    }
}
