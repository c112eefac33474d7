//! Puts a host together, runs it and drains it.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::config::{Config, DeadLetters, FleetConfig, Manage, Nats, ServiceConfig};
use crate::drain::Drain;
use crate::events::Observer;
use crate::fleet::entries::HostId;
use crate::fleet::host::Fleet;
use crate::host_context::HostContext;
use crate::jetstream::{Bucket, Client, ConnectError, Lines, PluginBucket, journal_stream};
use crate::journal::{Journal, OpenError};
use crate::plugin::{Directory, HostError, PluginHost};
use crate::reload::ConfigSource;
use crate::reload::watch::watch as watch_files;
use crate::restart::{Keeper, KeptWorkload};
use crate::service;
use crate::status::http::{self, HttpError, Serving, View};
use crate::status::workload_list::WorkloadList;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::text::one_line;
use crate::workloads::{RunningWorkloads, Shared, Turns, stop_within};

/// The shortest and the longest pause before servers that are away are tried again.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// Why a host did not start, or with [`RunError::Client`] why it ended. Once it runs, nothing else but `shutdown` ends
/// it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The servers cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The client library has failed. What was not settled is delivered again after its ack wait, and a new run can go
    /// on.
    #[error("the NATS client library has failed")]
    Client,
    /// The component host cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The address for HTTP cannot be listened on.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Runs all workloads of a configuration until `shutdown` ends; then drains, and returns when every delivery is
/// settled or given back.
///
/// What is not there yet is waited for: the server, a plugin, a stream or consumer that cannot be used. Each workload
/// is set up by itself, and one that cannot be does not stop the others.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn run(config: Config, observer: Observer, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    run_from(&ConfigSource::fixed(config), observer, shutdown).await
}

/// The same with a configuration that is read again when somebody asks for it, or when its files change. Workloads are
/// added, removed and changed without touching the others; a configuration with an error changes nothing. What is of
/// the host itself stays as it is, and is told.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn run_from(
    source: &ConfigSource,
    observer: Observer,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut shutdown = pin!(shutdown);
    let config = source.config();
    let nats = config.nats.clone();
    let host = PreparedHost::new(config, source.clone(), observer)?;
    let client = tokio::select! {
        connected = connect(&nats, &host.view) => connected?,
        () = &mut shutdown => return Ok(()),
    };
    host.run(client, shutdown).await
}

/// A host before it is connected: it looks for its plugins, and answers over HTTP.
struct PreparedHost {
    name: String,
    grace: Duration,
    dead_letters: DeadLetters,
    observer: Observer,
    journal: Journal,
    journal_stream: Option<String>,
    journal_lines: Option<Lines>,
    workloads: Vec<KeptWorkload>,
    id: HostId,
    telemetry: Option<Arc<Telemetry>>,
    fleet: Option<FleetConfig>,
    service: Option<ServiceConfig>,
    may_create: bool,
    view: Arc<View>,
    connection: Arc<OnceLock<Client>>,
    stop: watch::Sender<bool>,
    source: ConfigSource,
    list: Arc<WorkloadList>,
    /// Plugins are watched until this is dropped.
    directory: Arc<Directory>,
    /// The bucket that they come from, if they do.
    plugin_bucket: Option<String>,
    /// HTTP is answered until this is dropped.
    _http: Option<Serving>,
}

impl PreparedHost {
    fn new(config: Config, source: ConfigSource, observer: Observer) -> Result<Self, RunError> {
        config.warnings().iter().for_each(|said| tracing::warn!("{said}"));
        let plugin_bucket = config.plugins.origin.bucket.clone();
        let directory = Arc::new(Directory::start(PluginHost::start(&config.plugins)?, &config.plugins));
        let listener = config.http.map(|address| http::listen(address, &observer)).transpose()?;
        let (name, connection, stop) = (host_name(), Arc::<OnceLock<Client>>::default(), watch::Sender::new(false));
        let may_create = config.workloads.iter().any(|workload| workload.queue.manage == Manage::Create);
        let lines_in = config.journal.stream.as_ref().map(|stream| stream.name.clone());
        let (sink, journal_lines) = config.journal.stream.map(|stream| journal_stream(stream, may_create)).unzip();
        let journal = Journal::start(name.clone(), config.journal.file, sink)?;
        let telemetry = config.telemetry.map(|config| Telemetry::start(&config, &name)).transpose()?.map(Arc::new);
        let workloads = config.workloads.into_iter().map(|workload| KeptWorkload::new(&directory, workload));
        let workloads: Vec<KeptWorkload> = workloads.collect();
        let list = Arc::<WorkloadList>::default();
        workloads.iter().for_each(|kept| list.put(&kept.state));
        let given = config.fleet.as_ref().and_then(|fleet| fleet.host.as_deref());
        let id = host_id(given.or(config.service.as_ref().and_then(|service| service.host.as_deref())), &name);
        let view = Arc::new(View {
            host: name.clone(),
            id: id.id.clone(),
            in_fleet: config.fleet.is_some(),
            capacity: capacity(config.fleet.as_ref()),
            drain: Arc::new(Drain::default()),
            connection: connection.clone(),
            awaited: Mutex::default(),
            directory: directory.clone(),
            workloads: list.clone(),
            dead_letters: config.dead_letters.stream.clone(),
            journal: journal.clone(),
            telemetry: telemetry.clone(),
            source: source.clone(),
            stops: stop.subscribe(),
        });
        let serve = |listener| http::serve(listener, config.http_names, config.http_admin, view.clone());
        let http = listener.map(serve).transpose()?;
        Ok(Self {
            name,
            grace: config.grace,
            dead_letters: config.dead_letters,
            observer,
            journal,
            journal_stream: lines_in,
            journal_lines,
            workloads,
            id,
            telemetry,
            fleet: config.fleet,
            service: config.service,
            may_create,
            view,
            connection,
            stop,
            source,
            list,
            directory,
            plugin_bucket,
            _http: http,
        })
    }

    /// Runs all workloads until `shutdown` ends, then drains.
    async fn run(self, client: Client, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let client = self.connection.get_or_init(|| client).clone();
        if let Some(bucket) = &self.plugin_bucket {
            self.directory.reach(Arc::new(PluginBucket::new(client.clone(), bucket)));
        }
        if let Some(lines) = self.journal_lines {
            tokio::spawn(lines.store(client.clone()));
        }
        let fleet = self.fleet.as_ref().map(|config| join(config, &client, self.id, self.may_create));
        let in_fleet = fleet.clone();
        // A task of its own, which ends when this is dropped.
        let _fleet: JoinSet<()> = in_fleet.into_iter().map(|fleet| async move { fleet.run().await }).collect();
        let service = self.service.map(|config| service::serve(client.clone(), self.view.clone(), config));
        // Of the service: a task that ends when this is dropped.
        let _service: JoinSet<()> = service.into_iter().map(|service| async move { match service.await {} }).collect();
        let context = HostContext {
            client: client.clone(),
            dead_letters: self.dead_letters,
            journal: self.journal.clone(),
            journal_stream: self.journal_stream,
            host: self.name,
            grace: self.grace,
            observer: self.observer,
            telemetry: self.telemetry.clone(),
            fleet: fleet.clone(),
        };
        let shared = Shared {
            keeper: Keeper::new(Arc::new(context), self.view.drain.clone()),
            directory: self.directory.clone(),
            list: self.list,
            stops: self.stop.subscribe(),
            grace: self.grace,
            turns: Turns::default(),
        };
        let mut workloads = RunningWorkloads::start(shared, self.workloads);
        tokio::select! {
            () = shutdown => {}
            () = client.ended() => return Err(RunError::Client),
            never = client.hear_again() => match never {},
            never = read_again(&self.source, &mut workloads, fleet.as_deref()) => match never {},
            never = watch_files(&self.source) => match never {},
        }
        tracing::info!("draining");
        self.stop.send_replace(true);
        let stop_within = stop_within(self.grace, &self.source.config().workloads);
        if timeout(stop_within, drained(workloads, &self.journal, fleet.as_deref(), &client)).await.is_err() {
            tracing::warn!(
                "the server does not take what is to be settled or given back; \
                it will deliver that again after its ack wait"
            );
        }
        if let Some(telemetry) = &self.telemetry {
            telemetry.close().await;
        }
        Ok(())
    }
}

/// Reads the configuration whenever somebody asks for it, and carries out what has changed.
async fn read_again(source: &ConfigSource, workloads: &mut RunningWorkloads, fleet: Option<&Fleet>) -> Infallible {
    loop {
        let request = source.request().await;
        let changes = source.read_again(request).await;
        if let Some((fleet, config)) = fleet.zip(source.config().fleet) {
            fleet.has_settings(config.fingerprints);
        }
        workloads.carry_out(changes);
    }
}

/// Waits until all workloads have stopped, and what they said is written and sent.
async fn drained(workloads: RunningWorkloads, journal: &Journal, fleet: Option<&Fleet>, client: &Client) {
    workloads.stopped().await;
    if let Some(fleet) = fleet {
        fleet.leave().await;
    }
    journal.close().await;
    client.flush().await;
}

/// Connects, however long the servers are away. Until then `view` has why.
async fn connect(nats: &Nats, view: &View) -> Result<Client, ConnectError> {
    let mut backoff = Backoff::new(CONNECT_AGAIN.0, CONNECT_AGAIN.1);
    let mut told = None;
    loop {
        let connected = Client::connect(nats).await;
        if !connected.as_ref().is_err_and(ConnectError::may_pass) {
            if told.is_some() && connected.is_ok() {
                tracing::info!("the NATS server is there");
            }
            return connected;
        }
        let problem = connected.err().map(|error| one_line(&error.to_string()));
        if let Some(words) = problem.as_ref().filter(|_| told != problem) {
            tracing::error!("{words} It is waited for.");
        }
        view.awaited.lock().clone_from(&problem);
        told = problem;
        sleep(backoff.pause()).await;
    }
}

/// What a host of this name is called by others, where nothing is given one of this process alone.
fn host_id(given: Option<&str>, name: &str) -> HostId {
    // Of each process another: a hasher is made with random keys.
    let boot = format!("{:016x}", RandomState::new().hash_one(name));
    let id = given.map(str::to_owned).unwrap_or_else(|| {
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        name.chars().map(|c| if is_of_key(c) { c } else { '-' }).chain(['-']).chain(boot.chars().take(4)).collect()
    });
    HostId { id, boot }
}

/// Workers that a host is for: as many as it may run, or as the machine has cores.
fn capacity(fleet: Option<&FleetConfig>) -> u32 {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u32::MAX));
    fleet.and_then(|fleet| fleet.max_workers).unwrap_or_else(cores)
}

/// The fleet that is configured.
fn join(config: &FleetConfig, client: &Client, id: HostId, may_create: bool) -> Arc<Fleet> {
    let capacity = (capacity(Some(config)), config.max_workers);
    let bucket = Arc::new(Bucket::new(client.clone(), config, may_create));
    Fleet::new(id, capacity, bucket, (config.bucket.clone(), config.fingerprints.clone()))
}

/// How this host calls itself in dead letters.
fn host_name() -> String {
    let name = std::env::var("HOSTNAME").ok().or_else(|| {
        let name = std::fs::read_to_string("/etc/hostname").ok()?;
        Some(name.trim().to_owned())
    });
    format!("{}:{}", name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned()), std::process::id())
}
