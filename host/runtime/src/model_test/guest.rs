//! A model of a plugin and its instances.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use super::server::ModelServer;
use super::step::{CallEnd, GenerationStart, Script, TIME_LIMIT};
use crate::config::Isolation;
use crate::contract::Author;
use crate::contract::{Answer, Delivery, Failure, Fault, Outcome, Publication, Response};
use crate::ports::{ConcurrentCall, ConcurrentCalls, Handler, Handlers};

/// How long a generation that starts slowly takes.
const SLOW: Duration = Duration::from_millis(2_900);

/// A generation of the plugin.
#[derive(Debug, Clone, Copy)]
pub(super) struct ModelGeneration {
    pub(super) number: u64,
    pub(super) start: GenerationStart,
    pub(super) since: Instant,
}

/// The plugin, as one host sees it.
#[derive(Clone)]
pub(super) struct ModelPlugin {
    server: ModelServer,
    host: usize,
    plugin: watch::Receiver<ModelGeneration>,
    prepared: Arc<Mutex<Option<ModelInstance>>>,
}

/// An instance.
pub(super) struct ModelInstance {
    server: ModelServer,
    host: usize,
    worker: u64,
    generation: ModelGeneration,
    ready: Instant,
    newest: watch::Receiver<ModelGeneration>,
    /// Calls that it had, and whether the last one came back with an answer.
    calls: usize,
    usable: bool,
    author: Author,
}

impl ModelPlugin {
    pub(super) fn new(server: ModelServer, host: usize, mut plugin: watch::Receiver<ModelGeneration>) -> Self {
        // A host does not begin before its plugin is loaded.
        plugin.mark_changed();
        Self { server, host, plugin, prepared: Arc::default() }
    }

    fn make(&mut self, worker: u64) -> impl Future<Output = Result<ModelInstance, Fault>> + Send + use<> {
        let generation = *self.plugin.borrow_and_update();
        let (server, host, newest) = (self.server.clone(), self.host, self.plugin.clone());
        async move {
            match generation.start {
                GenerationStart::Works => {}
                GenerationStart::Slow => sleep(SLOW).await,
                GenerationStart::Fails => return Err(Fault::Start("it does not start".into())),
            }
            let author = Author { plugin: "model".into(), generation: generation.number.to_string().into() };
            let ready = Instant::now();
            Ok(ModelInstance { server, host, worker, generation, ready, newest, calls: 0, usable: true, author })
        }
    }
}

impl Handlers for ModelPlugin {
    type Instance = ModelInstance;

    async fn instantiate(&mut self, worker: u64) -> Result<ModelInstance, Fault> {
        let prepared = self.prepared.lock().take();
        let newest = self.plugin.borrow().number;
        if let Some(prepared) = prepared.filter(|prepared| prepared.generation.number == newest) {
            self.plugin.borrow_and_update();
            return Ok(ModelInstance { worker, ..prepared });
        }
        self.make(worker).await
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        let (making, prepared) = (self.make(0), self.prepared.clone());
        async move {
            *prepared.lock() = Some(making.await?);
            Ok(())
        }
    }

    fn is_newer(&mut self) -> bool {
        self.plugin.has_changed().unwrap()
    }

    async fn newer(&mut self) {
        self.plugin.clone().changed().await.unwrap();
    }
}

impl Handler for ModelInstance {
    async fn handle(&mut self, delivery: &Delivery) -> Outcome {
        let answers = self.call(&[delivery]).await?;
        answers.into_iter().next().ok_or(Fault::Answers { answers: 0, deliveries: 1 })
    }

    fn handles_batches(&self) -> bool {
        self.server.with(|state| state.setup.handles_batches(self.generation.number))
    }

    async fn handle_batch(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Answer>, Fault> {
        self.call(deliveries).await
    }

    /// As with batches.
    fn handles_concurrently(&self) -> bool {
        self.server.with(|state| state.setup.concurrency.is_some()) && !self.generation.number.is_multiple_of(3)
    }

    async fn run(&mut self, mut calls: ConcurrentCalls) -> Result<(), Fault> {
        let (mut running, mut open): (Vec<RunningCall>, _) = (Vec::new(), true);
        let usable = std::mem::replace(&mut self.usable, false);
        while open || !running.is_empty() {
            let first = (0..running.len()).min_by_key(|at| running[*at].until);
            tokio::select! {
                biased;
                call = calls.recv(), if open => match call {
                    Some(call) => {
                        let call = self.begin(call, usable, &running);
                        running.push(call);
                    }
                    None => open = false,
                },
                () = sleep_until(first.map_or(self.ready, |at| running[at].until)), if first.is_some() => {
                    let call = running.remove(first.unwrap_or_default());
                    if let Some(fault) = fault(call.end) {
                        self.fail(&call, &running, &mut calls);
                        return Err(fault);
                    }
                    self.server.of(self.host, |state| state.ledger.called(call.id, call.end));
                    // Nobody waits for it if its worker gives it back.
                    let _ = call.answer.send(answer(call.end, &[]));
                    // So that it is settled before another call ends the instance.
                    yield_now().await;
                }
            }
        }
        self.usable = true;
        Ok(())
    }

    fn author(&self) -> &Author {
        &self.author
    }
}

/// A call beside others.
struct RunningCall {
    id: (usize, u64, u32),
    end: CallEnd,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

/// What ends an instance with its calls, if such a call of them ends so.
fn fault(end: CallEnd) -> Option<Fault> {
    match end {
        CallEnd::Hang => Some(Fault::Time(TIME_LIMIT)),
        CallEnd::Trap => Some(Fault::Trap("unreachable".into())),
        _ => None,
    }
}

impl ModelInstance {
    fn id(&self, delivery: &Delivery) -> (usize, u64, u32) {
        self.server.with(|state| state.ledger.id(self.host, delivery.stream_sequence, delivery.attempt))
    }

    /// Begins a call beside those that run.
    fn begin(&mut self, call: ConcurrentCall, usable: bool, beside: &[RunningCall]) -> RunningCall {
        let ConcurrentCall { delivery, answer } = call;
        let id = self.id(&delivery);
        let [script] = self.begins(&[id], usable)[..] else { panic!("a script a message") };
        self.server.of(self.host, |state| {
            let alone = beside.is_empty() || beside.iter().all(|call| !state.ledger.is_spoiled(call.id));
            let (ledger, most) = (&mut state.ledger, state.setup.concurrency());
            let alone = alone && (beside.is_empty() || !ledger.is_spoiled(id));
            ledger.rule(alone, || format!("#{} is called beside others after they failed together", id.1));
            let calls = beside.len() + 1;
            ledger.rule(calls <= most, || format!("{calls} calls of an instance, and {most} may"));
        });
        // Answers too few are a matter of batches.
        let end = match script.at(delivery.attempt) {
            CallEnd::Short => CallEnd::Trap,
            end => end,
        };
        let hangs = if end == CallEnd::Hang { TIME_LIMIT } else { Duration::ZERO };
        RunningCall { id, end, until: Instant::now() + Duration::from_millis(script.takes_ms) + hangs, answer }
    }

    /// Notes that an instance ends because of this call, with all that have begun and have not been answered.
    fn fail(&self, call: &RunningCall, running: &[RunningCall], calls: &mut ConcurrentCalls) {
        let mut ids: Vec<_> = running.iter().map(|call| call.id).chain([call.id]).collect();
        while let Ok(begun) = calls.try_recv() {
            ids.push(self.id(&begun.delivery));
        }
        self.server.of(self.host, |state| match ids[..] {
            [only] => state.ledger.called(only, call.end),
            // Nobody knows whose it was.
            _ => state.ledger.spoiled(&ids),
        });
    }

    /// Begins a call with these, and gives their scripts.
    fn begins(&mut self, ids: &[(usize, u64, u32)], usable: bool) -> Vec<Script> {
        let newest = *self.newest.borrow();
        let scripts = self.server.with(|state| {
            if !state.lines[self.host].gone {
                for id in ids {
                    let before = state.before(id.1);
                    state.ledger.rule(before.is_none(), || format!("#{} begins before {before:?} has ended", id.1));
                }
                let rate = state.setup.start_limits().rate;
                let ledger = &mut state.ledger;
                let quick = ledger.pace.begin(self.host, ids.len(), rate);
                ledger.rule(quick.is_none(), || format!("calls begin quicker than {rate:?}: {quick:?}"));
                ledger.call(ids, self.worker, self.generation.number);
                let first = ids[0].1;
                ledger.rule(usable, || format!("an instance is called again after a fault, with #{first}"));
                let fresh = state.setup.isolation == Isolation::Worker || self.calls == 0 && ids.len() == 1;
                ledger.rule(fresh, || format!("an instance for one message gets a second, #{first}"));
                // It may have come while this one was made.
                let passed = newest.start == GenerationStart::Works
                    && newest.number > self.generation.number
                    && newest.since > self.ready;
                ledger.rule(!passed, || format!("an old generation is called with #{first}"));
                let most = state.setup.batching().size;
                ledger.rule(ids.len() <= most, || format!("{} deliveries in a call, and {most} may", ids.len()));
            }
            ids.iter().map(|id| state.message(id.1).script).collect()
        });
        self.calls += 1;
        scripts
    }

    async fn call(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Answer>, Fault> {
        let ids: Vec<_> = deliveries.iter().map(|delivery| self.id(delivery)).collect();
        let usable = std::mem::replace(&mut self.usable, false);
        let scripts = self.begins(&ids, usable);
        let takes_ms = scripts.iter().map(|script| script.takes_ms).max().unwrap_or_default();
        sleep(Duration::from_millis(takes_ms)).await;
        let ends: Vec<CallEnd> =
            deliveries.iter().zip(&scripts).map(|(delivery, script)| script.at(delivery.attempt)).collect();
        if ends.contains(&CallEnd::Hang) {
            sleep(TIME_LIMIT).await;
        }
        let of_all = [CallEnd::Hang, CallEnd::Trap, CallEnd::Short].into_iter().find(|end| ends.contains(end));
        self.server.of(self.host, |state| match of_all {
            // Nobody knows whose it was.
            Some(_) if ids.len() > 1 => state.ledger.spoiled(&ids),
            _ => ids.iter().zip(&ends).for_each(|(id, end)| state.ledger.called(*id, of_all.unwrap_or(*end))),
        });
        let outcome = match of_all {
            Some(CallEnd::Hang) => Err(Fault::Time(TIME_LIMIT)),
            Some(CallEnd::Trap) => Err(Fault::Trap("unreachable".into())),
            Some(_) => Err(Fault::Answers { answers: ids.len() - 1, deliveries: ids.len() }),
            None => {
                let silent = ids.iter().zip(&ends).filter(|(_, end)| **end == CallEnd::Ok(0));
                let stands_for: Vec<u64> = silent.map(|(id, _)| id.1).collect();
                Ok(ends.into_iter().map(|end| answer(end, &stands_for)).collect())
            }
        };
        self.usable = outcome.is_ok();
        outcome
    }
}

/// An answer. Its publications stand for these messages of the call too, which have none of their own.
fn answer(end: CallEnd, stands_for: &[u64]) -> Answer {
    match end {
        CallEnd::Ok(publications) => Ok(response("out", publications, stands_for)),
        CallEnd::Retry(delay) => Err(Failure::Retry(delay.map(Duration::from_millis))),
        CallEnd::Nonsense => Ok(response("not literal.*", 1, stands_for)),
        CallEnd::Reject | CallEnd::Trap | CallEnd::Hang | CallEnd::Short => Err(Failure::Reject("no good".into())),
    }
}

fn response(subject: &str, publications: usize, stands_for: &[u64]) -> Response {
    let sequences: Vec<String> = stands_for.iter().map(u64::to_string).collect();
    let payload = sequences.join(" ").into_bytes();
    let publication = Publication { subject: subject.into(), payload, ..Publication::default() };
    Response { reply: Some(vec![]), publications: vec![publication; publications] }
}
