use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::board::Board;
use crate::config::{Config, Manage};
use crate::events::Observer;
use crate::http::{self, HttpError, View};
use crate::jetstream::{Bound, Client, ConnectError, SetupError, journal_stream};
use crate::journal::{Journal, OpenError};
use crate::plugged::{PluginHandlers, PluginPolicies};
use crate::plugin::{Directory, Host, HostError};
use crate::workload::{self, Surroundings, stopped};

/// How long settlements may take after the workers have ended: a server that is away must not keep the process.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// Why a host did not start, or with [`RunError::Client`] why it ended. Once it runs, nothing else but `shutdown` ends it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The servers cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The client library has failed. What was not settled is delivered again after its ack wait, and a new run can go on.
    #[error("the NATS client library has failed")]
    Client,
    /// The component host cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A stream or a consumer cannot be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The address for HTTP cannot be listened on.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs all workloads of a configuration until `shutdown` ends; then drains, and returns when every delivery is
/// settled or given back.
///
/// A plugin that is not there yet is waited for.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn run(config: Config, observer: Observer, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let client = Client::connect(&config.nats).await?;
    let directory = Arc::new(Directory::start(Host::start(&config.plugins)?, &config.plugins));
    let listener = config.http.map(|address| http::listen(address, &observer)).transpose()?;
    let host = host_name();
    let may_create = config.workloads.iter().any(|workload| workload.queue.manage == Manage::Create);
    let sink = match &config.journal.stream {
        Some(stream) => Some(journal_stream(&client, stream, may_create).await?),
        None => None,
    };
    let journal = Journal::start(host.clone(), config.journal.file, sink)?;
    let around = Arc::new(Surroundings {
        client,
        dead_letters: config.dead_letters,
        journal: journal.clone(),
        host,
        grace: config.grace,
        observer,
    });
    let longest_pull = config.workloads.iter().map(|workload| workload.pull.expires).max().unwrap_or_default();
    let stop_within = config.grace.max(longest_pull) + SETTLE_WITHIN;
    let mut bound = Vec::new();
    for workload in config.workloads {
        let consumer = Bound::new(&around.client, &workload, &around.dead_letters, &around.host).await?;
        bound.push((workload, consumer));
    }
    let (stop, stops) = watch::channel(false);
    let mut workloads = JoinSet::new();
    let mut boards = Vec::new();
    for (workload, consumer) in bound {
        let (around, stops) = (around.clone(), stops.clone());
        let mut handlers = PluginHandlers::new(&directory, &workload);
        let policies = PluginPolicies::new(&directory, &workload, &workload.policy);
        let shadow = workload.shadow.as_ref().map(|of| PluginPolicies::new(&directory, &workload, &of.policy));
        let lines = [Some(handlers.dropped_lines()), Some(policies.dropped_lines())];
        let lines = lines.into_iter().chain([shadow.as_ref().map(PluginPolicies::dropped_lines)]).flatten().collect();
        let board = Board::new(workload, lines);
        boards.push(board.clone());
        workloads.spawn(async move {
            tokio::select! {
                () = handlers.loaded() => {}
                () = stopped(stops.clone()) => return,
            }
            let name = board.workload.name.clone();
            let run = Box::pin(workload::run(board, consumer, around, handlers, policies, shadow, stops));
            if let Err(error) = run.await {
                tracing::error!(workload = name, error = format!("{error:#}"), "the workload ended");
            }
        });
    }
    // It answers until the host has drained.
    let _http = match listener {
        Some(listener) => {
            let (client, directory) = (around.client.clone(), directory.clone());
            Some(http::serve(
                listener,
                View { host: around.host.clone(), client, directory, boards, journal: journal.clone(), stops },
            )?)
        }
        None => None,
    };
    tokio::select! {
        () = shutdown => {}
        () = around.client.ended() => return Err(RunError::Client),
        never = around.client.hear_again() => match never {},
    }
    tracing::info!("draining");
    stop.send_replace(true);
    let drained = async {
        while workloads.join_next().await.is_some() {}
        journal.close().await;
        around.client.flush().await;
    };
    if timeout(stop_within, drained).await.is_err() {
        tracing::warn!(
            "the server does not take what is to be settled or given back; it will deliver that again after its ack wait"
        );
    }
    Ok(())
}

/// How this host calls itself in dead letters.
fn host_name() -> String {
    let name = std::env::var("HOSTNAME").ok().or_else(|| {
        let name = std::fs::read_to_string("/etc/hostname").ok()?;
        Some(name.trim().to_owned())
    });
    format!("{}:{}", name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned()), std::process::id())
}
