use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::config::{Config, Manage, Nats, Workload};
use crate::events::Observer;
use crate::jetstream::{Client, ConnectError, journal_stream};
use crate::journal::{Journal, OpenError};
use crate::plugin::{Directory, Host, HostError};
use crate::plugin::{PluginHandlers, PluginPolicies};
use crate::restart::{Keeper, Kept};
use crate::status::http::{self, HttpError, View};
use crate::status::workload::Board;
use crate::workload::Surroundings;

/// How long settlements may take after the workers have ended: a server that is away must not keep the process.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// The shortest and the longest pause before servers that are away are tried again.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

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
/// What is not there yet is waited for: the server, a plugin, a stream or consumer that cannot be used. Each workload is
/// set up by itself, and one that cannot be does not stop the others.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn run(config: Config, observer: Observer, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    let directory = Arc::new(Directory::start(Host::start(&config.plugins)?, &config.plugins));
    let listener = config.http.map(|address| http::listen(address, &observer)).transpose()?;
    let host = host_name();
    let (connection, (stop, stops)) = (Arc::new(OnceLock::new()), watch::channel(false));
    let may_create = config.workloads.iter().any(|workload| workload.queue.manage == Manage::Create);
    let longest_pull = config.workloads.iter().map(|workload| workload.pull.expires).max().unwrap_or_default();
    let stop_within = config.grace.max(longest_pull) + SETTLE_WITHIN;
    let (sink, lines) = config.journal.stream.map(|stream| journal_stream(stream, may_create)).unzip();
    let journal = Journal::start(host.clone(), config.journal.file, sink)?;
    let kept: Vec<Kept> = config.workloads.into_iter().map(|workload| kept(&directory, workload)).collect();
    // It answers until the host has drained.
    let _http = match listener {
        Some(listener) => {
            let boards = kept.iter().map(|kept| kept.board.clone()).collect();
            let (connection, directory, journal) = (connection.clone(), directory.clone(), journal.clone());
            let stops = stops.clone();
            let view = View { host: host.clone(), connection, directory, boards, journal, stops };
            Some(http::serve(listener, config.http_names, view)?)
        }
        None => None,
    };
    let client = tokio::select! {
        connected = connect(&config.nats) => connected?,
        () = &mut shutdown => return Ok(()),
    };
    let client = connection.get_or_init(|| client).clone();
    if let Some(lines) = lines {
        tokio::spawn(lines.store(client.clone()));
    }
    let (dead_letters, grace) = (config.dead_letters, config.grace);
    let around = Surroundings { client: client.clone(), dead_letters, journal: journal.clone(), host, grace, observer };
    let keeper = Keeper::new(Arc::new(around), stops);
    let mut workloads: JoinSet<()> = kept.into_iter().map(|kept| keeper.clone().keep(kept)).collect();
    tokio::select! {
        () = shutdown => {}
        () = client.ended() => return Err(RunError::Client),
        never = client.hear_again() => match never {},
    }
    tracing::info!("draining");
    stop.send_replace(true);
    let drained = async {
        while workloads.join_next().await.is_some() {}
        journal.close().await;
        client.flush().await;
    };
    if timeout(stop_within, drained).await.is_err() {
        tracing::warn!(
            "the server does not take what is to be settled or given back; it will deliver that again after its ack wait"
        );
    }
    Ok(())
}

/// A workload with its plugins, which are looked for from now on.
fn kept(directory: &Directory, workload: Workload) -> Kept {
    let handlers = PluginHandlers::new(directory, &workload);
    let policies = PluginPolicies::new(directory, &workload, &workload.policy);
    let shadow = workload.shadow.as_ref().map(|of| PluginPolicies::new(directory, &workload, &of.policy));
    let lines = [Some(handlers.dropped_lines()), Some(policies.dropped_lines())];
    let lines = lines.into_iter().chain([shadow.as_ref().map(PluginPolicies::dropped_lines)]).flatten().collect();
    Kept { board: Board::new(workload, lines), handlers, policies, shadow }
}

/// Connects, however long the servers are away.
async fn connect(nats: &Nats) -> Result<Client, ConnectError> {
    let mut backoff = Backoff::new(CONNECT_AGAIN.0, CONNECT_AGAIN.1);
    let mut told = None;
    loop {
        let connected = Client::connect(nats).await;
        let Err(ConnectError::Unreachable { .. }) = &connected else {
            if told.is_some() && connected.is_ok() {
                tracing::info!("the NATS server is there");
            }
            return connected;
        };
        let problem = connected.err().map(|error| error.to_string().replace("\n ", ""));
        if let Some(words) = problem.as_ref().filter(|_| told != problem) {
            tracing::error!("{words} It is waited for.");
        }
        told = problem;
        sleep(backoff.pause()).await;
    }
}

/// How this host calls itself in dead letters.
fn host_name() -> String {
    let name = std::env::var("HOSTNAME").ok().or_else(|| {
        let name = std::fs::read_to_string("/etc/hostname").ok()?;
        Some(name.trim().to_owned())
    });
    format!("{}:{}", name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned()), std::process::id())
}
