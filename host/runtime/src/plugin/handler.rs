//! Runs handlers: one instance, one delivery at a time.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;

use super::bindings::worker::exports::tidegate::plugin::handler as wit;
use super::bindings::worker::{Worker, WorkerPre};
use super::declared::Declared;
use super::engine::{Engines, RESERVATION};
use super::fault::{classify, classify_start};
use super::guest::{self, Guest, World};
use super::load::Generation;
use super::room::{Need, Place, Room};
use super::stdio::{GuestLog, LogMeter, Speaker};
use crate::config::Limits;
use crate::contract::{Delivery, Failure, Fault, Outcome, Publication, Response};

/// A compiled handler: one generation of a plugin.
pub struct HandlerPlugin {
    engines: Arc<Engines>,
    generation: Generation,
    declared: Declared,
    pre: WorkerPre<Guest>,
}

/// Who an instance works for and what it may spend.
#[derive(Debug, Clone)]
pub struct WorkerContext {
    /// The workload's name.
    pub workload: Arc<str>,
    /// The worker's number; 0 for an instance that is made ahead.
    pub worker: u64,
    /// What `wasi:config/store` has.
    pub settings: Arc<[(String, String)]>,
    /// What one instance and one call may spend.
    pub limits: Limits,
    /// What all instances may log.
    pub log: Arc<LogMeter>,
    /// Where all instances have to find room; `None` for one that nothing else competes with.
    pub room: Option<Arc<Room>>,
}

impl WorkerContext {
    /// For the instance of a worker, with a log of its own.
    pub fn new(workload: Arc<str>, worker: u64, settings: Arc<[(String, String)]>, limits: Limits) -> Self {
        let log = LogMeter::new(limits.log_rate);
        Self { workload, worker, settings, limits, log, room: None }
    }
}

/// One handler instance. It lives until it is dropped or until a call ends in a [`Fault`].
pub struct HandlerInstance {
    engines: Arc<Engines>,
    limits: Limits,
    /// Gone after a call that faulted.
    live: Option<Live>,
    /// Set for as long as a call runs, so also if its future was dropped: then nothing can be called again.
    calling: bool,
}

struct Live {
    store: Store<Guest>,
    bindings: Worker,
    /// Given back after the store, which takes it, is gone.
    _place: Option<Place>,
}

impl HandlerPlugin {
    pub(super) fn new(
        engines: Arc<Engines>,
        generation: Generation,
        declared: Declared,
        pre: WorkerPre<Guest>,
    ) -> Self {
        Self { engines, generation, declared, pre }
    }

    /// What each instance takes of the room in this process.
    pub fn need(&self) -> Need {
        Need::of(&self.declared, RESERVATION)
    }

    /// Which plugin this is and which version of it.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Makes an instance.
    ///
    /// # Errors
    /// [`Fault::Room`] if there is none, [`Fault::Start`] if its start function traps, [`Fault::Memory`] if it begins with more memory than it may have,
    /// [`Fault::Time`] if starting takes longer than one call may.
    pub async fn instantiate(&self, context: &WorkerContext) -> Result<HandlerInstance, Fault> {
        let limits = &context.limits;
        let place = context.room.as_ref().map(|room| room.enter(self.need())).transpose()?;
        let speaker = Speaker {
            workload: Arc::clone(&context.workload),
            plugin: Arc::clone(&self.generation.plugin),
            generation: self.generation.digest.clone(),
        };
        let log = GuestLog::new(speaker, context.worker, Arc::clone(&context.log));
        let settings = Arc::clone(&context.settings);
        let mut store = guest::store(&self.engines.handlers, limits, &self.declared, log, settings, World::Real);
        let started = self.engines.call(limits.time, pin!(self.pre.instantiate_async(&mut store))).await;
        let last_words = store.data().log.end_call();
        match started {
            Ok(Ok(bindings)) => Ok(HandlerInstance {
                engines: Arc::clone(&self.engines),
                limits: limits.clone(),
                live: Some(Live { store, bindings, _place: place }),
                calling: false,
            }),
            Ok(Err(error)) => Err(classify_start(&error, &store.data().quota, limits, &last_words)),
            Err(fault) => Err(fault),
        }
    }
}

impl HandlerInstance {
    /// Gives an instance that was made ahead to a worker: its log lines carry this number.
    pub fn assign(&self, worker: u64) {
        if let Some(live) = &self.live {
            live.store.data().log.assign(worker);
        }
    }

    /// Whether it can still be called: not after a [`Fault`], nor after the future of a call was dropped.
    pub fn is_usable(&self) -> bool {
        self.live.is_some() && !self.calling
    }

    /// Handles one delivery.
    ///
    /// After a [`Fault`] the instance is gone with its state; drop this and make another. Dropping the future ends
    /// the call, and the instance with it.
    pub async fn handle(&mut self, delivery: &Delivery) -> Outcome {
        let Some(live) = self.live.as_mut().filter(|_| !self.calling) else {
            return Err(Fault::Start("this instance ended with an earlier call".into()));
        };
        self.calling = true;
        let called = {
            let guest = live.store.data_mut();
            guest.quota.forget();
            guest.log.begin_call(delivery.stream_sequence);
            live.store.set_epoch_deadline(1);
            let headers = borrow(&delivery.headers);
            let handler = live.bindings.tidegate_plugin_handler();
            let call = handler.call_handle(&mut live.store, lower(delivery, &headers));
            self.engines.call(self.limits.time, pin!(call)).await
        };
        let last_words = live.store.data().log.end_call();
        self.calling = false;
        let fault = match called {
            Ok(Ok(answer)) => return Ok(answer.map(Response::from).map_err(Failure::from)),
            Ok(Err(error)) => classify(&error, &live.store.data().quota, &self.limits, &last_words),
            Err(fault) => fault,
        };
        self.live = None;
        Err(fault)
    }
}

pub(super) fn borrow(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn lower<'a>(delivery: &'a Delivery, headers: &'a [(&'a str, &'a str)]) -> wit::Delivery<'a> {
    wit::Delivery {
        subject: &delivery.subject,
        headers,
        payload: &delivery.payload,
        stream_sequence: delivery.stream_sequence,
        attempt: delivery.attempt,
        published_at_ms: delivery.published_at_ms,
        expects_reply: delivery.reply_to.is_some(),
    }
}

impl From<wit::Response> for Response {
    fn from(response: wit::Response) -> Self {
        Self { reply: response.reply, publications: response.publications.into_iter().map(Publication::from).collect() }
    }
}

impl From<wit::Publication> for Publication {
    fn from(publication: wit::Publication) -> Self {
        Self { subject: publication.subject, headers: publication.headers, payload: publication.payload }
    }
}

impl From<wit::Failure> for Failure {
    fn from(failure: wit::Failure) -> Self {
        match failure {
            wit::Failure::Retry(delay) => Self::Retry(delay.map(Duration::from_millis)),
            wit::Failure::Reject(reason) => Self::Reject(reason),
        }
    }
}

impl std::fmt::Debug for HandlerPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerPlugin").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HandlerInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerInstance").field("usable", &self.is_usable()).finish_non_exhaustive()
    }
}
