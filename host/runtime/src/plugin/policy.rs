//! Runs policies: every call in a fresh instance, as a function of its inputs alone.

use std::pin::pin;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::Store;

use super::bindings::policy::exports::tidegate::plugin::scaling as wit;
use super::bindings::policy::{Policy, PolicyPre};
use super::declared::Declared;
use super::engine::{Engines, RESERVATION};
use super::fault::{classify, classify_start, cut};
use super::guest::{self, Guest, World};
use super::handler::borrow;
use super::load::Generation;
use super::room::{Need, Room};
use super::stdio::{GuestLog, LogMeter, Speaker};
use crate::config::Limits;
use crate::contract::Fault;
use crate::contract::{Decision, Observation};

/// The most bytes of state.
const STATE: usize = 64 << 10;
/// The most bytes of a reason; what is longer is cut.
const REASON: usize = 1 << 10;
/// Random bytes after which a policy's random numbers repeat.
const RANDOM: u16 = 16 << 10;

/// A compiled policy: one generation of a plugin.
pub struct PolicyPlugin {
    engines: Arc<Engines>,
    generation: Generation,
    declared: Declared,
    pre: PolicyPre<Guest>,
}

/// Whom a policy decides for and what it may spend.
#[derive(Debug, Clone)]
pub struct PolicyContext {
    workload: Arc<str>,
    limits: Limits,
    random: Arc<[u8]>,
    log: Arc<LogMeter>,
    room: Option<Arc<Room>>,
}

impl PolicyContext {
    /// For the workload of this name. A policy's random numbers depend on nothing but the name.
    pub fn new(workload: Arc<str>, limits: Limits) -> Self {
        let (random, log) = (random(&workload), LogMeter::new(limits.log_rate));
        Self { workload, limits, random, log, room: None }
    }

    /// Its calls have to find room here.
    #[must_use]
    pub fn within(self, room: Arc<Room>) -> Self {
        Self { room: Some(room), ..self }
    }

    /// What all calls may log.
    pub fn log(&self) -> &Arc<LogMeter> {
        &self.log
    }
}

/// SHA-256 of the name and a counter, over and over.
fn random(workload: &str) -> Arc<[u8]> {
    let blocks = RANDOM / 32;
    let block = |count: u16| Sha256::new().chain_update(workload).chain_update(count.to_le_bytes()).finalize();
    (0..blocks).flat_map(block).collect()
}

impl PolicyPlugin {
    pub(super) fn new(
        engines: Arc<Engines>,
        generation: Generation,
        declared: Declared,
        pre: PolicyPre<Guest>,
    ) -> Self {
        Self { engines, generation, declared, pre }
    }

    /// Which plugin this is and which version of it.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Checks the settings and makes the first state. The inner `Err` is the policy's own refusal.
    ///
    /// # Errors
    /// A [`Fault`] if the policy did not come to an answer, or to a state of more than 64 KiB.
    pub async fn init(
        &self,
        context: &PolicyContext,
        settings: &[(String, String)],
        previous: Option<&[u8]>,
    ) -> Result<Result<Vec<u8>, String>, Fault> {
        let mut store = self.store(context, 0);
        let settings = borrow(settings);
        let answer = self
            .fresh(context, &mut store, async |policy, store| {
                policy.tidegate_plugin_scaling().call_init(store, &settings, previous).await
            })
            .await?;
        match answer {
            Ok(state) => checked(state).map(Ok),
            Err(reason) => Ok(Err(cut(&reason, REASON).to_owned())),
        }
    }

    /// Decides. The reason is cut at 1 KiB.
    ///
    /// # Errors
    /// A [`Fault`] if the policy did not come to an answer, or to a state of more than 64 KiB.
    pub async fn decide(
        &self,
        context: &PolicyContext,
        observation: &Observation,
        state: &[u8],
    ) -> Result<Decision, Fault> {
        let mut store = self.store(context, observation.now_ms);
        let observation = lower(observation);
        let answer = self
            .fresh(context, &mut store, async |policy, store| {
                policy.tidegate_plugin_scaling().call_decide(store, observation, state).await
            })
            .await?;
        Ok(Decision {
            desired: answer.desired,
            reason: cut(&answer.reason, REASON).to_owned(),
            state: checked(answer.state)?,
        })
    }

    /// Whether an instance can be made at all.
    pub(super) async fn probe(&self, context: &PolicyContext) -> Result<(), Fault> {
        let mut store = self.store(context, 0);
        self.fresh(context, &mut store, async |_, _| Ok(())).await
    }

    fn store(&self, context: &PolicyContext, now_ms: u64) -> Store<Guest> {
        let speaker = Speaker {
            workload: Arc::clone(&context.workload),
            plugin: Arc::clone(&self.generation.plugin),
            generation: self.generation.digest.clone(),
        };
        let log = GuestLog::new(speaker, 0, Arc::clone(&context.log));
        let world = World::Replayed { now_ms, random: &context.random };
        guest::store(&self.engines.policies, &context.limits, &self.declared, log, Arc::new([]), world)
    }

    /// One call in an instance of its own. Fuel ends it in the same place each time; the wall clock ends what waits
    /// in a host call, where no fuel burns.
    async fn fresh<T>(
        &self,
        context: &PolicyContext,
        store: &mut Store<Guest>,
        call: impl AsyncFnOnce(&Policy, &mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let limits = &context.limits;
        let need = || Need::of(&self.declared, RESERVATION);
        let _place = context.room.as_ref().map(|room| room.enter(need())).transpose()?;
        store.set_fuel(limits.fuel).map_err(|error| Fault::Start(format!("{error:#}")))?;
        let started = self.engines.call(limits.time, pin!(self.pre.instantiate_async(&mut *store))).await?;
        let policy = started.map_err(|error| {
            let last_words = store.data().log.end_call();
            classify_start(&error, &store.data().quota, limits, &last_words)
        })?;
        store.data_mut().quota.forget();
        let called = self.engines.call(limits.time, pin!(call(&policy, store))).await;
        let last_words = store.data().log.end_call();
        called?.map_err(|error| classify(&error, &store.data().quota, limits, &last_words))
    }
}

fn checked(state: Vec<u8>) -> Result<Vec<u8>, Fault> {
    if state.len() > STATE {
        return Err(Fault::Answer(format!("a state of {} bytes, where {STATE} are allowed", state.len())));
    }
    Ok(state)
}

fn lower(observation: &Observation) -> wit::Observation {
    let Observation {
        now_ms,
        running,
        min,
        max,
        idle_ms,
        arrival_rate,
        mean_arrival_rate,
        completion_rate,
        pending,
        ack_pending,
        redelivered,
        oldest_pending_ms,
        failure_ratio,
        busy_ratio,
        service_time_ms,
    } = *observation;
    wit::Observation {
        now_ms,
        running,
        min,
        max,
        idle_ms,
        arrival_rate,
        mean_arrival_rate,
        completion_rate,
        pending,
        ack_pending,
        redelivered,
        oldest_pending_ms,
        failure_ratio,
        busy_ratio,
        service_time_ms,
    }
}

impl std::fmt::Debug for PolicyPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyPlugin").field("generation", &self.generation).finish_non_exhaustive()
    }
}
