//! A model of a plugin and its instances.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::server::ModelServer;
use super::step::{CallEnd, GenerationStart, TIME_LIMIT};
use crate::config::Isolation;
use crate::contract::Author;
use crate::contract::{Answer, Delivery, Failure, Fault, Outcome, Publication, Response};
use crate::ports::{Handler, Handlers};

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

    fn prepare(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let (making, prepared) = (self.make(0), self.prepared.clone());
        async move {
            if let Ok(made) = making.await {
                *prepared.lock() = Some(made);
            }
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

    /// Every third generation does not, where the others do.
    fn handles_batches(&self) -> bool {
        self.server.with(|state| state.setup.batches.is_some()) && !self.generation.number.is_multiple_of(3)
    }

    async fn handle_batch(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Answer>, Fault> {
        self.call(deliveries).await
    }

    fn author(&self) -> &Author {
        &self.author
    }
}

impl ModelInstance {
    async fn call(&mut self, deliveries: &[&Delivery]) -> Result<Vec<Answer>, Fault> {
        let ids: Vec<_> = self.server.with(|state| {
            let of = |delivery: &&Delivery| state.ledger.id(self.host, delivery.stream_sequence, delivery.attempt);
            deliveries.iter().map(of).collect()
        });
        let newest = *self.newest.borrow();
        let scripts: Vec<_> = self.server.with(|state| {
            if !state.lines[self.host].gone {
                for id in &ids {
                    let before = state.before(id.1);
                    state.ledger.rule(before.is_none(), || format!("#{} begins before {before:?} has ended", id.1));
                }
                let ledger = &mut state.ledger;
                ledger.call(&ids, self.worker, self.generation.number);
                let first = ids[0].1;
                ledger.rule(self.usable, || format!("an instance is called again after a fault, with #{first}"));
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
        self.usable = false;
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
            Some(CallEnd::Hang | CallEnd::Trap) if ids.len() > 1 => state.ledger.spoiled(&ids),
            _ => ids.iter().zip(&ends).for_each(|(id, end)| state.ledger.called(*id, of_all.unwrap_or(*end))),
        });
        let outcome = match of_all {
            Some(CallEnd::Hang) => Err(Fault::Time(TIME_LIMIT)),
            Some(CallEnd::Trap) => Err(Fault::Trap("unreachable".into())),
            Some(_) => Err(Fault::Answers { answers: ids.len() - 1, deliveries: ids.len() }),
            None => Ok(ends.into_iter().map(answer).collect()),
        };
        self.usable = outcome.is_ok();
        outcome
    }
}

fn answer(end: CallEnd) -> Answer {
    match end {
        CallEnd::Ok(publications) => Ok(response("out", publications)),
        CallEnd::Retry(delay) => Err(Failure::Retry(delay.map(Duration::from_millis))),
        CallEnd::Nonsense => Ok(response("not literal.*", 1)),
        CallEnd::Reject | CallEnd::Trap | CallEnd::Hang | CallEnd::Short => Err(Failure::Reject("no good".into())),
    }
}

fn response(subject: &str, publications: usize) -> Response {
    let publication = Publication { subject: subject.into(), ..Publication::default() };
    Response { reply: Some(vec![]), publications: vec![publication; publications] }
}
