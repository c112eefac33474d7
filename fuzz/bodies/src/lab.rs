//! What the targets run guests with: a runtime of one thread, a host without a cache.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use tidegate_runtime::config::Limits;
use tidegate_runtime::contract::Delivery;
use tidegate_runtime::plugin::{HandlerInstance, HandlerPlugin, PluginHost, WorkerContext};

pub(super) struct FuzzLab {
    pub(super) runtime: Runtime,
    pub(super) host: PluginHost,
}

impl FuzzLab {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { runtime, host: PluginHost::new(None).unwrap() }
    }
}

pub(super) fn limits(time: Duration) -> Limits {
    Limits { time, memory: 16 << 20, table_elements: 10_000, instances: 20, fuel: 100_000_000, ..Limits::default() }
}

/// A handler of which an instance is always at hand.
pub(super) struct ReadyHandler {
    plugin: HandlerPlugin,
    context: WorkerContext,
    instance: Option<HandlerInstance>,
}

impl ReadyHandler {
    pub(super) fn new(lab: &FuzzLab, bytes: &[u8]) -> Self {
        let limits = limits(Duration::from_secs(10));
        let plugin = lab.runtime.block_on(lab.host.load_bytes(bytes, &limits)).unwrap();
        let context = WorkerContext::new("orders".into(), 1, [].into(), limits);
        Self { plugin, context, instance: None }
    }

    pub(super) fn handle(&mut self, lab: &FuzzLab, delivery: &Delivery) -> tidegate_runtime::contract::Outcome {
        lab.runtime.block_on(async {
            let mut instance = match self.instance.take() {
                Some(instance) => instance,
                None => self.plugin.instantiate(&self.context).await.unwrap(),
            };
            let outcome = instance.handle(delivery).await;
            assert_eq!(instance.is_usable(), outcome.is_ok());
            self.instance = Some(instance).filter(|_| outcome.is_ok());
            outcome
        })
    }
}
