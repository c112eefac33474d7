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
use crate::contract::{Delivery, Failure, Fault, Outcome, Publication, Response};
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

    fn is_newer(&self) -> bool {
        self.plugin.has_changed().unwrap()
    }

    async fn newer(&mut self) {
        self.plugin.clone().changed().await.unwrap();
    }
}

impl Handler for ModelInstance {
    async fn handle(&mut self, delivery: &Delivery) -> Outcome {
        let (sequence, attempt) = (delivery.stream_sequence, delivery.attempt);
        let id = (self.host, sequence, attempt);
        let newest = *self.newest.borrow();
        let script = self.server.with(|state| {
            let script = state.message(sequence).script;
            if state.lines[self.host].gone {
                return script;
            }
            let ledger = &mut state.ledger;
            ledger.call(id, self.worker, self.generation.number);
            ledger.rule(self.usable, || format!("an instance is called again after a fault, with #{sequence}"));
            let fresh = state.setup.isolation == Isolation::Worker || self.calls == 0;
            ledger.rule(fresh, || format!("an instance for one message gets a second, #{sequence}"));
            // It may have come while this one was made.
            let passed = newest.start == GenerationStart::Works
                && newest.number > self.generation.number
                && newest.since > self.ready;
            ledger.rule(!passed, || format!("an old generation is called with #{sequence}"));
            script
        });
        self.calls += 1;
        self.usable = false;
        sleep(Duration::from_millis(script.takes_ms)).await;
        let end = script.at(attempt);
        if end == CallEnd::Hang {
            sleep(TIME_LIMIT).await;
        }
        self.server.of(self.host, |state| state.ledger.called(id, end));
        let outcome = match end {
            CallEnd::Ok(publications) => Ok(Ok(response("out", publications))),
            CallEnd::Retry(delay) => Ok(Err(Failure::Retry(delay.map(Duration::from_millis)))),
            CallEnd::Reject => Ok(Err(Failure::Reject("no good".into()))),
            CallEnd::Nonsense => Ok(Ok(response("not literal.*", 1))),
            CallEnd::Trap => Err(Fault::Trap("unreachable".into())),
            CallEnd::Hang => Err(Fault::Time(TIME_LIMIT)),
        };
        self.usable = outcome.is_ok();
        outcome
    }

    fn author(&self) -> &Author {
        &self.author
    }
}

fn response(subject: &str, publications: usize) -> Response {
    let publication = Publication { subject: subject.into(), ..Publication::default() };
    Response { reply: Some(vec![]), publications: vec![publication; publications] }
}
