//! Runs handlers: one instance, one call at a time, with one delivery or, where it handles batches, with several.
//! Several calls at a time are in [`super::concurrent`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentExportIndex, InstancePre, TypedFunc};
use wasmtime::{Engine, Store};

use super::bindings::worker::exports::tidegate::plugin::handler as wit;
use super::bindings::{ASYNC_HANDLER, BATCH_HANDLER, HANDLER, borrow};
use super::engine::{Engines, WorldEngine};
use super::engine_config::POOL_ELEMENTS;
use super::fault::classify;
use super::guest::{self as guest_store, Guest, Inputs};
use super::kind::Kind;
use super::owned_delivery::{HandleAsync, OwnedDelivery};
use super::room::InstanceRoom;
use super::told_text::cut;
use super::usage::Meter;
use super::world::{GuestContext, Plugin, World};
use crate::config::Limits;
use crate::contract::{Answer, Delivery, Failure, Fault, Outcome, Publication, Response};
use crate::plugin::capability::Settings;
use crate::plugin::capability::http::{HttpAccess, HttpState};
use crate::plugin::capability::key_value::{KeyValueAccess, KeyValueState};
use crate::plugin::capability::messaging::{self, HandleMessage, HandleStreamed, MessagingAccess, MessagingState};
use crate::plugin::limits::handler::REASON;

/// A compiled handler: one generation of a plugin.
pub type HandlerPlugin = Plugin<HandlerWorld>;

/// A handler of one of the forms, ready to be instantiated. A component with several is used by the asynchronous form,
/// or else for batches, or else by the contract's own.
pub enum HandlerWorld {
    /// The component exports `handler`, with its function at this index.
    Single(InstancePre<Guest>, ComponentExportIndex),
    /// The component exports `batch-handler`, with its function at this index.
    Batches(InstancePre<Guest>, ComponentExportIndex),
    /// The component exports `async-handler`, with its function at this index.
    Concurrent(InstancePre<Guest>, ComponentExportIndex),
    /// The component exports `wasmcloud:messaging/handler@0.2.0`, with its function at this index.
    Messages(InstancePre<Guest>, ComponentExportIndex),
    /// The component exports `wasmcloud:messaging/handler@0.3.0`, with its function at this index.
    Streamed(InstancePre<Guest>, ComponentExportIndex),
}

/// The exported function by which an instance is called.
pub enum HandlerExports {
    /// Takes one delivery.
    Single(HandleOne),
    /// Takes a batch.
    Batches(HandleBatch),
    /// Takes one delivery, beside other calls.
    Concurrent(HandleAsync),
    /// Takes one delivery as a message of `wasmcloud:messaging@0.2.0`.
    Messages(HandleMessage),
    /// Takes one delivery as a message of `wasmcloud:messaging@0.3.0`, beside other calls.
    Streamed(HandleStreamed),
}

/// The function `handle` of `handler`, held so that no call has to look for it.
type HandleOne = TypedFunc<(wit::Delivery<'static>,), (Result<wit::Response, wit::Failure>,)>;

/// The function `handle` of `batch-handler`. Generated bindings of its world would have other types than those of
/// `handler`, so it is typed here.
type HandleBatch = TypedFunc<(&'static [wit::Delivery<'static>],), (Vec<Result<wit::Response, wit::Failure>>,)>;

/// What an instance is made with.
#[derive(Clone)]
pub struct WorkerContext {
    /// The workload, and what the instance may spend.
    pub guest: GuestContext,
    /// The worker's number; 0 for an instance that is made ahead.
    pub worker: u64,
    /// The settings that `wasi:config/store` gives.
    pub settings: Arc<[(String, String)]>,
    /// Where the workload may send HTTP requests.
    pub(crate) http: Arc<HttpAccess>,
    /// The key-value buckets that the workload may use.
    pub(crate) key_value: Arc<KeyValueAccess>,
    /// What it may publish and ask by `wasmcloud:messaging`.
    pub(crate) messaging: Arc<MessagingAccess>,
    /// Deliveries that an instance may have at once; more than 1 only for a handler of the asynchronous form.
    pub concurrency: usize,
}

impl WorkerContext {
    /// A context for the instance of a worker, with a log of its own.
    pub fn new(workload: Arc<str>, worker: u64, settings: Settings, limits: Limits) -> Self {
        let http = Arc::new(HttpAccess::none(Arc::clone(&workload), &limits));
        let guest = GuestContext::new(workload, limits);
        let (key_value, messaging) = (Arc::default(), Arc::default());
        Self { guest, worker, settings, http, key_value, messaging, concurrency: 1 }
    }
}

/// Leaves out the settings, some of which may be secret.
impl std::fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerContext")
            .field("guest", &self.guest)
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// One handler instance. It lives until it is dropped or until a call ends in a [`Fault`].
pub struct HandlerInstance {
    pub(super) engines: Arc<Engines>,
    pub(super) limits: Limits,
    pub(super) meter: Arc<Meter>,
    /// The store and exports; `None` after a call that faulted.
    pub(super) live: Option<Live>,
    /// What the guest wrote to standard error in the last call.
    last_words: String,
    /// Set while a call runs, and still set if the call's future was dropped. Then the instance cannot be called again.
    pub(super) calling: bool,
}

pub(super) struct Live {
    pub(super) store: Store<Guest>,
    pub(super) exports: HandlerExports,
    /// The room of the store. The field is dropped after the store.
    _place: Option<InstanceRoom>,
}

impl World for HandlerWorld {
    const KIND: Kind = Kind::Handler;
    type Exports = HandlerExports;

    fn engine(engines: &Engines, asynchronous: bool) -> Result<&WorldEngine, String> {
        if asynchronous { engines.async_handlers() } else { Ok(&engines.handlers) }
    }

    fn of(linked: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let component = linked.component();
        let exports = |interface: &str| component.get_export_index(None, interface);
        let function = |interface: &str, function: &str| {
            let found = exports(interface).and_then(|at| component.get_export_index(Some(&at), function));
            found.ok_or_else(|| wasmtime::format_err!("{interface} has no function `{function}`"))
        };
        if exports(ASYNC_HANDLER).is_some() {
            let handle = function(ASYNC_HANDLER, "handle")?;
            return Ok(Self::Concurrent(linked, handle));
        }
        if exports(BATCH_HANDLER).is_some() {
            let handle = function(BATCH_HANDLER, "handle")?;
            return Ok(Self::Batches(linked, handle));
        }
        if exports(HANDLER).is_none() && exports(messaging::STREAMED_HANDLER).is_some() {
            let handle = function(messaging::STREAMED_HANDLER, messaging::HANDLE)?;
            return Ok(Self::Streamed(linked, handle));
        }
        if exports(HANDLER).is_none() && exports(messaging::HANDLER).is_some() {
            let handle = function(messaging::HANDLER, messaging::HANDLE)?;
            return Ok(Self::Messages(linked, handle));
        }
        let handle = function(HANDLER, "handle")?;
        Ok(Self::Single(linked, handle))
    }

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<HandlerExports> {
        match self {
            Self::Single(linked, handle) => {
                let instance = linked.instantiate_async(&mut *store).await?;
                instance.get_typed_func(store, handle).map(HandlerExports::Single)
            }
            Self::Batches(linked, handle) => {
                let instance = linked.instantiate_async(&mut *store).await?;
                instance.get_typed_func(store, handle).map(HandlerExports::Batches)
            }
            Self::Concurrent(linked, handle) => {
                let instance = linked.instantiate_async(&mut *store).await?;
                instance.get_typed_func(store, handle).map(HandlerExports::Concurrent)
            }
            Self::Messages(linked, handle) => {
                let instance = linked.instantiate_async(&mut *store).await?;
                instance.get_typed_func(store, handle).map(HandlerExports::Messages)
            }
            Self::Streamed(linked, handle) => {
                let instance = linked.instantiate_async(&mut *store).await?;
                instance.get_typed_func(store, handle).map(HandlerExports::Streamed)
            }
        }
    }

    async fn try_out(plugin: &HandlerPlugin, limits: &Limits) -> Result<(), Fault> {
        let context = WorkerContext::new("".into(), 0, Arc::new([]), limits.clone());
        plugin.instantiate(&context).await.map(drop)
    }
}

impl HandlerPlugin {
    /// Makes an instance.
    ///
    /// # Errors
    /// [`Fault::Room`] if there is none, [`Fault::Start`] if its start function traps, [`Fault::Memory`] if it begins
    /// with more memory than it may have, [`Fault::Time`] if starting takes longer than one call may.
    pub async fn instantiate(&self, context: &WorkerContext) -> Result<HandlerInstance, Fault> {
        let fits = context.guest.limits.table_elements <= POOL_ELEMENTS;
        if let Some((engine, world)) = self.pooled.as_ref().filter(|_| fits) {
            match self.instantiate_in(engine, world, context).await {
                // All places of the pool may be taken.
                Err(Fault::Room(_)) => {}
                made => return made,
            }
        }
        self.instantiate_in(&self.engine, &self.world, context).await
    }

    async fn instantiate_in(
        &self,
        engine: &Engine,
        world: &HandlerWorld,
        context: &WorkerContext,
    ) -> Result<HandlerInstance, Fault> {
        let WorkerContext { guest, worker, settings, http, key_value, messaging, concurrency } = context;
        let place = self.enter(guest)?;
        let mut store = self.store(engine, guest, *worker, settings.clone(), Inputs::Real);
        store.data_mut().http = HttpState::new(http.clone());
        store.data_mut().key_value = KeyValueState::new(key_value.clone());
        store.data_mut().messaging = MessagingState::new(messaging.clone());
        if matches!(world, HandlerWorld::Concurrent(..) | HandlerWorld::Streamed(..)) {
            guest_store::allow_for(&mut store, *concurrency);
        }
        let started = self.start(world, &mut store, &guest.limits).await;
        store.data().log.end_call();
        store.data_mut().http.close();
        let meter = store.data().quota.meter().clone();
        let live = Some(Live { exports: started?, store, _place: place });
        let (engines, limits) = (Arc::clone(&self.engines), guest.limits.clone());
        Ok(HandlerInstance { engines, limits, meter, live, last_words: String::new(), calling: false })
    }
}

impl HandlerInstance {
    /// Gives an instance that was made ahead to a worker. From now on its log lines carry this number.
    pub(crate) fn assign(&self, worker: u64) {
        if let Some(live) = &self.live {
            live.store.data().log.assign(worker);
        }
    }

    /// Whether it can still be called: not after a [`Fault`], nor after the future of a call was dropped.
    pub fn is_usable(&self) -> bool {
        self.live.is_some() && !self.calling
    }

    /// What the guest wrote to standard error in the last call, or the end of it; also after a [`Fault`].
    pub fn last_words(&self) -> &str {
        &self.last_words
    }

    /// Whether the instance handles batches, or one delivery a call.
    pub fn handles_batches(&self) -> bool {
        self.live.as_ref().is_some_and(|live| matches!(live.exports, HandlerExports::Batches(_)))
    }

    /// Whether the instance may handle several deliveries at a time, each in a call of its own.
    pub fn handles_concurrently(&self) -> bool {
        let concurrent =
            |live: &Live| matches!(live.exports, HandlerExports::Concurrent(_) | HandlerExports::Streamed(_));
        self.live.as_ref().is_some_and(concurrent)
    }

    /// Handles one delivery.
    ///
    /// After a [`Fault`] the guest's state is gone: drop this and make another. Dropping the future ends the call, and
    /// the instance cannot be called again.
    pub async fn handle(&mut self, delivery: &Delivery) -> Outcome {
        match self.live.as_ref().map(|live| &live.exports) {
            Some(HandlerExports::Batches(_)) => {
                let mut answers = Box::pin(self.handle_batch(&[delivery])).await?;
                return answers.pop().ok_or(Fault::Answers { answers: 0, deliveries: 1 });
            }
            Some(HandlerExports::Streamed(_)) => return Box::pin(self.run_alone(delivery)).await,
            _ => {}
        }
        let live = begin(&mut self.live, &mut self.calling, delivery)?;
        let handle = match &live.exports {
            HandlerExports::Single(handle) => handle,
            HandlerExports::Messages(handle) => {
                live.store.data_mut().messaging.begin_call(delivery);
                let call = Box::pin(handle.call_async(&mut live.store, (messaging::lower(delivery),)));
                let called = self.engines.call(self.limits.time, &self.meter, pin!(call)).await;
                let (handled,) = self.end(called)?;
                let response = self.live.as_mut().map(|live| live.store.data_mut().messaging.end_call());
                return Ok(handled
                    .map(|()| response.unwrap_or_default())
                    .map_err(|reason| Failure::Failed(short(reason))));
            }
            HandlerExports::Concurrent(handle) => {
                let call = Box::pin(handle.call_async(&mut live.store, (OwnedDelivery::from(delivery),)));
                let called = self.engines.call(self.limits.time, &self.meter, pin!(call)).await;
                return self.end(called).map(|(handled,)| answer(handled));
            }
            HandlerExports::Batches(_) | HandlerExports::Streamed(_) => {
                self.calling = false;
                return Err(Fault::Start("this instance is called otherwise".into()));
            }
        };
        let headers = borrow(&delivery.headers);
        let called = {
            // Pinned where it is made: it is large, and would be moved otherwise.
            let call = pin!(handle.call_async(&mut live.store, (lower(delivery, &headers),)));
            self.engines.call(self.limits.time, &self.meter, call).await
        };
        self.end(called).map(|(handled,)| answer(handled))
    }

    /// Handles several deliveries in one call: as many answers, in the same order.
    ///
    /// # Errors
    /// As of [`HandlerInstance::handle`], [`Fault::Answers`] if there are not as many answers as deliveries, and
    /// [`Fault::Start`] if it does not handle batches.
    pub async fn handle_batch(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Answer>, Fault> {
        let Some(first) = deliveries.first() else { return Ok(Vec::new()) };
        let live = begin(&mut self.live, &mut self.calling, first)?;
        let HandlerExports::Batches(handle) = &live.exports else {
            self.calling = false;
            return Err(Fault::Start("this instance does not handle batches".into()));
        };
        let headers: Vec<_> = deliveries.iter().map(|delivery| borrow(&delivery.headers)).collect();
        let lowered: Vec<_> =
            deliveries.iter().zip(&headers).map(|(delivery, headers)| lower(delivery, headers)).collect();
        let called = {
            let call = pin!(handle.call_async(&mut live.store, (lowered.as_slice(),)));
            self.engines.call(self.limits.time, &self.meter, call).await
        };
        let (answers,) = self.end(called)?;
        if answers.len() != deliveries.len() {
            self.live = None;
            return Err(Fault::Answers { answers: answers.len(), deliveries: deliveries.len() });
        }
        Ok(answers.into_iter().map(answer).collect())
    }

    /// Ends a call. After a call that did not end well, the store and exports are dropped.
    fn end<T>(&mut self, called: Result<wasmtime::Result<T>, Fault>) -> Result<T, Fault> {
        if let Some(live) = &mut self.live {
            live.store.data_mut().end_call();
        }
        self.close(called)
    }

    /// The same when no call runs any more, each of which was ended.
    pub(super) fn close<T>(&mut self, called: Result<wasmtime::Result<T>, Fault>) -> Result<T, Fault> {
        self.calling = false;
        let Some(live) = &mut self.live else { return Err(Fault::Start("this instance ended".into())) };
        let guest = live.store.data_mut();
        guest.http.close();
        self.last_words = guest.log.end_call();
        let fault = match called {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => classify(&error, guest, &self.limits, &self.last_words),
            Err(fault) => fault,
        };
        self.live = None;
        Err(fault)
    }
}

/// Begins a call whose first delivery is this one.
fn begin<'a>(live: &'a mut Option<Live>, calling: &mut bool, first: &Delivery) -> Result<&'a mut Live, Fault> {
    let Some(live) = live.as_mut().filter(|_| !*calling) else {
        return Err(Fault::Start("this instance ended with an earlier call".into()));
    };
    *calling = true;
    let guest = live.store.data_mut();
    guest.quota.forget();
    guest.begin_call();
    guest.log.begin_call(first.stream_sequence);
    live.store.set_epoch_deadline(1);
    Ok(live)
}

pub(super) fn answer(answer: Result<wit::Response, wit::Failure>) -> Answer {
    answer.map(Response::from).map_err(Failure::from)
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
            wit::Failure::Reject(reason) => Self::Reject(short(reason)),
        }
    }
}

/// What a handler says about a failure, within its bound: it is logged, and remembered until its letter is kept.
pub(super) fn short(reason: String) -> String {
    if reason.len() <= REASON { reason } else { cut(&reason, REASON).to_owned() }
}

impl std::fmt::Debug for HandlerInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerInstance").field("usable", &self.is_usable()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_handler_says_about_a_failure_is_bounded() {
        let long = wit::Failure::Reject("é".repeat(REASON));
        assert_eq!(Failure::from(long), Failure::Reject("é".repeat(REASON / 2)));
        assert_eq!(short("no good".to_owned()), "no good");
    }
}
