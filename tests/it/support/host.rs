//! Hosts in this process, with probes as their plugins.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use tidegate_runtime::config::{Config, DeadLetters, Workload};
use tidegate_runtime::events::{Event, Observer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::site::Site;
use super::{eventually, until};
use crate::shared::plugins;

/// A directory of plugins: `probe` (handler), `probe-policy`, `fixed`, `step`, `backlog`.
pub(crate) fn plugins() -> TempDir {
    let dir = TempDir::new().unwrap();
    plugins::install_all(dir.path()).unwrap();
    dir
}

/// Puts a plugin into place.
pub(crate) fn install(dir: &Path, name: &str, bytes: &[u8]) {
    plugins::install(dir, name, bytes).unwrap();
}

/// A workload on stream `NAME` with subjects `in.NAME.>`, handled by `probe`, with one worker by the policy `fixed`.
///
/// Its ack wait is longer than any test, so what is delivered again was given back.
pub(crate) fn workload(name: &str) -> Workload {
    let text = format!(
        r#"
        [workload.{name}]
        stream = "{name}"
        subjects = ["in.{name}.>"]
        manage = "create"
        ack-wait = "10m"
        handler = "probe"
        policy = "fixed"
        scale = {{ min = 0, max = 8, interval = "100ms", window = "1s" }}
        pull = {{ expires = "1s" }}
        grants = {{ publish = ["out.>", "later.>", "nowhere.>"], reply = ["_INBOX.>", "answers.>"] }}
        retry = {{ max-attempts = 3, backoff = ["10ms"] }}
        "#
    );
    Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}")).workloads.remove(0)
}

/// The same, with so many workers.
pub(crate) fn workers(name: &str, count: u32) -> Workload {
    policy(workload(name), "fixed", &[("workers", &count.to_string())])
}

/// The same, with another policy.
pub(crate) fn policy(workload: Workload, name: &str, settings: &[(&str, &str)]) -> Workload {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Workload { policy: name.to_owned(), policy_settings: settings.iter().map(own).collect(), ..workload }
}

/// A host that runs in this process, at a [`Site`].
pub(crate) struct Host {
    pub(crate) site: Arc<Site>,
    events: Arc<Mutex<Vec<Event>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Deref for Host {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Host {
    /// Starts a server and a host with these workloads, and awaits that all are ready.
    pub(crate) async fn start(workloads: Vec<Workload>) -> Self {
        Self::start_at(Site::new().await, workloads).await
    }

    /// The same with a server and a plugin directory that are there.
    pub(crate) async fn start_at(site: Arc<Site>, workloads: Vec<Workload>) -> Self {
        Self::start_with(site, Duration::from_secs(20), workloads).await
    }

    /// The same with a grace time.
    pub(crate) async fn start_with(site: Arc<Site>, grace: Duration, workloads: Vec<Workload>) -> Self {
        let count = workloads.len();
        let host = Self::launch(site, grace, workloads);
        host.ready(count).await;
        host
    }

    /// Awaits that so many workloads are ready.
    pub(crate) async fn ready(&self, count: usize) {
        let ready = |event: &Event| matches!(event, Event::Ready { .. });
        eventually("every workload is ready", async || self.count(ready) == count).await;
    }

    /// The same with a stream of dead letters as told.
    pub(crate) async fn start_letters(site: Arc<Site>, dead_letters: DeadLetters, workloads: Vec<Workload>) -> Self {
        let count = workloads.len();
        let config = Config { dead_letters, workloads, ..site.config() };
        let host = Self::run(site, config);
        host.ready(count).await;
        host
    }

    /// Starts on the runtime that is entered, without awaiting anything.
    pub(crate) fn launch(site: Arc<Site>, grace: Duration, workloads: Vec<Workload>) -> Self {
        let config = Config { grace, workloads, ..site.config() };
        Self::run(site, config)
    }

    /// The same with all of its configuration.
    pub(crate) fn run(site: Arc<Site>, config: Config) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let seen = events.clone();
        let observer = Observer::new(move |event| seen.lock().push(event));
        let task = tokio::spawn(async {
            let ended = tidegate_runtime::run(config, observer, async {
                let _ = stopped.await;
            });
            ended.await.unwrap_or_else(|error| panic!("{error}"));
        });
        Self { site, events, stop: Some(stop), task }
    }

    /// A host of one workload that answers over HTTP, and where.
    pub(crate) async fn over_http(site: Arc<Site>, workload: Workload) -> (Self, String) {
        let http = Some("127.0.0.1:0".parse().unwrap());
        let host = Self::run(site.clone(), Config { http, workloads: vec![workload], ..site.config() });
        let address = host.address().await;
        (host, address)
    }

    /// Where it answers over HTTP, once it does.
    pub(crate) async fn address(&self) -> String {
        let address = |event| match event {
            Event::Listening { address } => Some(address.to_string()),
            _ => None,
        };
        until("it listens", async || self.events().into_iter().find_map(address)).await
    }

    /// All that the host has told so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    pub(crate) fn count(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| of(event)).count()
    }

    /// The changes of a workload's desired count so far, with their reasons.
    pub(crate) fn scalings(&self, workload: &str) -> Vec<(u32, u32, String)> {
        let scaled = |event| match event {
            Event::Scaled { workload: of, from, to, reason } if &*of == workload => Some((from, to, reason)),
            _ => None,
        };
        self.events().into_iter().filter_map(scaled).collect()
    }

    /// How many workers of a workload have started and how many have ended so far.
    pub(crate) fn workers(&self, workload: &str) -> (usize, usize) {
        let started = |event: &Event| matches!(event, Event::WorkerStarted { workload: of, .. } if &**of == workload);
        let ended = |event: &Event| matches!(event, Event::WorkerEnded { workload: of, .. } if &**of == workload);
        (self.count(started), self.count(ended))
    }

    /// Tells the host to stop, without awaiting anything.
    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Awaits the end of a host that was told to stop.
    pub(crate) async fn ended(self) -> (Arc<Site>, Vec<Event>) {
        tokio::time::timeout(super::PATIENCE, self.task).await.expect("the host stops").unwrap();
        let events = self.events.lock().clone();
        (self.site, events)
    }

    /// Stops the host and awaits its end.
    pub(crate) async fn stop(mut self) -> (Arc<Site>, Vec<Event>) {
        self.tell_to_stop();
        self.ended().await
    }
}

/// How many deliveries workers have acknowledged, of those that ended.
pub(crate) fn handled(events: &[Event]) -> u64 {
    let handled = |event: &Event| match event {
        Event::WorkerEnded { handled, .. } => Some(*handled),
        _ => None,
    };
    events.iter().filter_map(handled).sum()
}
