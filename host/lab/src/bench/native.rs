//! The handler of the comparison: native code that does nothing, in the same worker.

use std::future::{Future, pending, ready};
use std::sync::Arc;

use tidegate_runtime::contract::Author;
use tidegate_runtime::contract::{Decision, Observation};
use tidegate_runtime::contract::{Delivery, Fault, Outcome, Publication, Response};
use tidegate_runtime::ports::{Handler, Handlers, Policies, Policy};

/// Makes handlers that answer with an empty reply, and the same publications for each message.
#[derive(Clone, Default)]
pub(super) struct Native {
    /// What is published for each message.
    pub(super) publications: Arc<[Publication]>,
}

/// Answers with an empty reply.
pub(super) struct EmptyReply {
    publications: Arc<[Publication]>,
    author: Author,
}

impl Handlers for Native {
    type Instance = EmptyReply;

    async fn instantiate(&mut self, _worker: u64) -> Result<EmptyReply, Fault> {
        Ok(EmptyReply { publications: self.publications.clone(), author: author() })
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<> {
        ready(Ok(()))
    }

    fn is_newer(&mut self) -> bool {
        false
    }

    fn newer(&mut self) -> impl Future<Output = ()> + Send {
        pending()
    }
}

impl Handler for EmptyReply {
    async fn handle(&mut self, _delivery: &Delivery) -> Outcome {
        Ok(Ok(Response { reply: Some(Vec::new()), publications: self.publications.to_vec() }))
    }

    fn author(&self) -> &Author {
        &self.author
    }
}

pub(super) fn author() -> Author {
    Author { plugin: "native".into(), generation: "native".into() }
}

/// Always the same number of workers.
pub(super) struct Always {
    /// The number.
    pub(super) workers: u32,
    given: bool,
    author: Author,
}

impl Always {
    pub(super) fn new(workers: u32) -> Self {
        Self { workers, given: false, author: author() }
    }
}

impl Policies for Always {
    type Policy = Always;

    fn latest(&mut self) -> Option<Always> {
        self.given = true;
        Some(Always::new(self.workers))
    }

    async fn newer(&mut self) {
        if self.given {
            pending::<()>().await;
        }
    }
}

impl Policy for Always {
    async fn init(&self, _: &[(String, String)], _: Option<&[u8]>) -> Result<Result<Vec<u8>, String>, Fault> {
        Ok(Ok(Vec::new()))
    }

    async fn decide(&self, _seen: &Observation, _state: &[u8]) -> Result<Decision, Fault> {
        Ok(Decision { desired: self.workers, reason: "always".to_owned(), state: Vec::new() })
    }

    fn author(&self) -> &Author {
        &self.author
    }
}
