//! Handlers whose instances are counted, so that it is known when all workers have theirs.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use tidegate_runtime::contract::Fault;
use tidegate_runtime::ports::Handlers;

/// Counts the instances that others make.
#[derive(Clone)]
pub(super) struct Counted<H> {
    pub(super) handlers: H,
    pub(super) made: Arc<watch::Sender<u64>>,
}

impl<H: Handlers> Handlers for Counted<H> {
    type Instance = H::Instance;

    async fn instantiate(&mut self, worker: u64) -> Result<H::Instance, Fault> {
        let instance = self.handlers.instantiate(worker).await?;
        self.made.send_modify(|made| *made += 1);
        Ok(instance)
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<H> {
        self.handlers.prepare()
    }

    fn most(&mut self) -> u32 {
        self.handlers.most()
    }

    fn why_no_more(&self) -> String {
        self.handlers.why_no_more()
    }

    fn room_changed(&self, small: bool) -> impl Future<Output = ()> + Send + use<H> {
        self.handlers.room_changed(small)
    }

    fn is_newer(&mut self) -> bool {
        self.handlers.is_newer()
    }

    fn newer(&mut self) -> impl Future<Output = ()> + Send {
        self.handlers.newer()
    }
}
