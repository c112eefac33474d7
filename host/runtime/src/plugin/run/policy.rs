//! Runs policies: every call in a fresh instance, as a function of its inputs alone.

use std::pin::pin;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::borrow;
use super::bindings::policy::exports::tidegate::plugin::scaling as wit;
use super::bindings::policy::{Policy, PolicyPre};
use super::engine::{Engines, WorldEngine};
use super::fault::classify;
use super::guest::{Guest, Inputs, Signals};
use super::kind::Kind;
use super::room::Room;
use super::told_text::cut;
use super::world::{GuestContext, GuestsSeen, Plugin, World};
use crate::config::Limits;
use crate::contract::Fault;
use crate::contract::{Decision, Observation};
use crate::plugin::limits::policy::{REASON, STATE};

/// After this many random bytes a policy's random numbers repeat.
const RANDOM: u16 = 16 << 10;

/// A compiled policy: one generation of a plugin.
pub type PolicyPlugin = Plugin<PolicyPre<Guest>>;

/// The workload that a policy decides for, and the policy's limits.
#[derive(Debug, Clone)]
pub struct PolicyContext {
    guest: GuestContext,
    random: Arc<[u8]>,
}

impl PolicyContext {
    /// A context for the workload of this name. A policy's random numbers depend on nothing but that name.
    pub fn new(workload: Arc<str>, limits: Limits) -> Self {
        Self { random: random(&workload), guest: GuestContext::new(workload, limits) }
    }

    /// The same context, whose calls have to find room in `room`.
    #[must_use]
    pub(crate) fn within(mut self, room: Arc<Room>) -> Self {
        self.guest.room = Some(room);
        self
    }

    /// What can be seen of all calls.
    pub(crate) fn seen(&self) -> GuestsSeen {
        self.guest.seen()
    }
}

/// Random bytes: SHA-256 of the name and a counter, again and again.
fn random(workload: &str) -> Arc<[u8]> {
    let blocks = RANDOM / 32;
    let block = |count: u16| Sha256::new().chain_update(workload).chain_update(count.to_le_bytes()).finalize();
    (0..blocks).flat_map(block).collect()
}

impl World for PolicyPre<Guest> {
    const KIND: Kind = Kind::Policy;
    type Exports = Policy;

    fn engine(engines: &Engines, _: bool) -> Result<&WorldEngine, String> {
        Ok(&engines.policies)
    }

    fn of(linked: InstancePre<Guest>) -> wasmtime::Result<Self> {
        Self::new(linked)
    }

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Policy> {
        self.instantiate_async(store).await
    }

    async fn try_out(plugin: &PolicyPlugin, limits: &Limits) -> Result<(), Fault> {
        let context = PolicyContext::new("".into(), limits.clone());
        plugin.fresh(&context, (0, Signals::default()), async |_, _| Ok(())).await
    }
}

impl PolicyPlugin {
    /// Checks the settings and makes the first state. The inner `Err` is the policy's own refusal.
    ///
    /// # Errors
    /// A [`Fault`] if the policy did not answer, or answered with a state of more than 64 KiB.
    pub async fn init(
        &self,
        context: &PolicyContext,
        settings: &[(String, String)],
        previous: Option<&[u8]>,
    ) -> Result<Result<Vec<u8>, String>, Fault> {
        let settings = borrow(settings);
        let answer = self
            .fresh(context, (0, Signals::default()), async |policy, store| {
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
    /// A [`Fault`] if the policy did not answer, or answered with a state of more than 64 KiB.
    pub async fn decide(
        &self,
        context: &PolicyContext,
        observation: &Observation,
        state: &[u8],
    ) -> Result<Decision, Fault> {
        let signals = Signals { limited: observation.limited, keys_waiting: observation.keys_waiting };
        let (now_ms, observation) = (observation.now_ms, lower(observation));
        let answer = self
            .fresh(context, (now_ms, signals), async |policy, store| {
                policy.tidegate_plugin_scaling().call_decide(store, observation, state).await
            })
            .await?;
        Ok(Decision {
            desired: answer.desired,
            reason: cut(&answer.reason, REASON).to_owned(),
            state: checked(answer.state)?,
        })
    }

    /// Makes one call in an instance of its own, whose clocks all read `now_ms`, and which can ask for `signals`. Fuel
    /// ends the call in the same place each time. The wall clock ends a call that waits in a host function, where no
    /// fuel is used.
    async fn fresh<T>(
        &self,
        context: &PolicyContext,
        (now_ms, signals): (u64, Signals),
        call: impl AsyncFnOnce(&Policy, &mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let PolicyContext { guest, random } = context;
        let limits = &guest.limits;
        let _place = self.enter(guest)?;
        let mut store = self.store(&self.engine, guest, 0, Arc::new([]), Inputs::Replayed { now_ms, random, signals });
        store.set_fuel(limits.fuel).map_err(|error| Fault::Start(format!("{error:#}")))?;
        let policy = self.start(&self.world, &mut store, limits).await?;
        store.data_mut().quota.forget();
        let meter = store.data().quota.meter().clone();
        let called = self.engines.call(limits.time, &meter, pin!(call(&policy, &mut store))).await;
        let last_words = store.data().log.end_call();
        called?.map_err(|error| classify(&error, store.data(), limits, &last_words))
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
        limited: _,
        keys_waiting: _,
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
