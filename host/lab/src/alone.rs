//! One workload without a host around it, for the benchmark and the live run: no HTTP, no journal, no second try.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use tidegate_runtime::config::{DeadLetters, Workload};
use tidegate_runtime::events::Observer;
use tidegate_runtime::host_context::HostContext;
use tidegate_runtime::jetstream::{BoundConsumer, Client};
use tidegate_runtime::journal::Journal;
use tidegate_runtime::plugin::{Directory, PluginHandlers};
use tidegate_runtime::ports::{Handlers, Policies};
use tidegate_runtime::status::workload::WorkloadState;
use tidegate_runtime::workload::{self, Parts};

/// How long its workers may take to finish.
const GRACE: Duration = Duration::from_secs(5);

/// A workload that runs until it is stopped.
pub(crate) struct Alone {
    pub(crate) state: Arc<WorkloadState>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Alone {
    /// Starts it by the connection and with the name of a host.
    ///
    /// # Errors
    /// If its stream or its consumer cannot be had.
    pub(crate) async fn start<H: Handlers, P: Policies>(
        client: Client,
        host: &str,
        workload: Workload,
        (handlers, policies): (H, P),
        observer: Observer,
    ) -> anyhow::Result<Self> {
        let (client, letters) = ((client, host.to_owned()), DeadLetters::default());
        let host = HostContext::alone(client, letters, Journal::none(), GRACE, observer);
        let bound = BoundConsumer::new(&host.client, &workload, host.own_streams(&workload), &host.host).await?;
        let state = WorkloadState::new(workload, Vec::new());
        let (stop, stopped) = oneshot::channel();
        let parts = Parts { state: state.clone(), bound, host: Arc::new(host), handlers, policies, shadow: None };
        let shutdown = async {
            // An error means that nobody can stop it any more, and that is a stop too.
            let _ = stopped.await;
        };
        Ok(Self { state, stop, task: tokio::spawn(workload::run(parts, shutdown)) })
    }

    /// Stops it, and waits for its end.
    ///
    /// # Errors
    /// If it has failed.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.task.await?
    }
}

/// The handler of a workload, once its plugin is loaded.
pub(crate) async fn loaded(directory: &Directory, workload: &Workload) -> PluginHandlers {
    let mut handlers = PluginHandlers::new(directory, workload);
    handlers.loaded().await;
    handlers
}
