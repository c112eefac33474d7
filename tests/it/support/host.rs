//! A host in this process, with probes as its plugins.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use tempfile::TempDir;
use tidegate::config::{
    Auth, Config, Isolation, Limits, Manage, Nats, Plugins, Pull, Queue, Retention, Retry, Scale, Source, Workload,
};
use tidegate::events::{Event, Observer};
use tidegate::server::Server;
use tidegate_artifacts::{policies, probes};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::eventually;
use super::nats::{jetstream, nats};

/// A directory of plugins: `probe` (handler), `probe-policy`, `fixed`, `step`.
pub(crate) fn plugins() -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in [
        ("probe", probes::WORKER_V1),
        ("probe-policy", probes::POLICY_V1),
        ("fixed", policies::FIXED),
        ("step", policies::STEP),
    ] {
        install(dir.path(), name, bytes);
    }
    dir
}

/// Puts a plugin into place as users should: written beside, then renamed.
pub(crate) fn install(dir: &Path, name: &str, bytes: &[u8]) {
    let beside = dir.join(format!(".{name}.new"));
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(beside, dir.join(format!("{name}.wasm"))).unwrap();
}

/// A workload on stream `NAME` with subjects `NAME.>`, handled by `probe`, with one worker by the policy `fixed`.
pub(crate) fn workload(name: &str) -> Workload {
    Workload {
        name: name.to_owned(),
        queue: Queue {
            stream: name.to_owned(),
            consumer: format!("{name}-workers"),
            manage: Manage::Create,
            subjects: vec![format!("{name}.>")],
            retention: Retention::Limits,
            filter: Vec::new(),
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 10_000,
            max_waiting: 512,
            watch_consumer: format!("{name}-watch"),
        },
        handler: "probe".to_owned(),
        policy: "fixed".to_owned(),
        isolation: Isolation::Worker,
        settings: Vec::new(),
        policy_settings: Vec::new(),
        scale: Scale {
            min: 0,
            max: 8,
            interval: Duration::from_millis(100),
            window: Duration::from_secs(1),
            source: Source::Info,
        },
        pull: Pull { batch: 100, expires: Duration::from_secs(1) },
        limits: Limits {
            time: Duration::from_secs(10),
            memory: 64 << 20,
            table_elements: 100_000,
            instances: 100,
            fuel: 1_000_000_000,
        },
        retry: Retry { max_attempts: 3, backoff: vec![Duration::from_millis(10)] },
    }
}

/// A host that runs in this process, on a server of its own.
pub(crate) struct Host {
    pub(crate) server: Server,
    pub(crate) plugins: TempDir,
    pub(crate) js: jetstream::Context,
    events: Arc<Mutex<Vec<Event>>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Host {
    /// Starts a server and a host with these workloads, and awaits that all are ready.
    pub(crate) async fn start(workloads: Vec<Workload>) -> Self {
        Self::start_on(nats().await, plugins(), workloads).await
    }

    /// The same with a server and a plugin directory that are there.
    pub(crate) async fn start_on(server: Server, plugins: TempDir, workloads: Vec<Workload>) -> Self {
        let count = workloads.len();
        let host = Self::launch(server, plugins, workloads).await;
        eventually("every workload is ready", async || {
            host.count(|event| matches!(event, Event::Ready { .. })) == count
        })
        .await;
        host
    }

    /// Starts without awaiting anything.
    pub(crate) async fn launch(server: Server, plugins: TempDir, workloads: Vec<Workload>) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel::<()>();
        let config = Config {
            nats: Nats { servers: vec![server.url().to_owned()], auth: Auth::None, ca: None, certificate: None },
            plugins: Plugins { dir: plugins.path().to_owned(), rescan: Duration::from_millis(200), cache: None },
            dead_letters: "TIDEGATE_DEAD".to_owned(),
            grace: Duration::from_secs(10),
            workloads,
        };
        let seen = events.clone();
        let observer = Observer::new(move |event| seen.lock().unwrap().push(event));
        let task = tokio::spawn(async {
            let ended = tidegate::run(config, observer, async {
                let _ = stopped.await;
            });
            ended.await.unwrap_or_else(|error| panic!("{error}"));
        });
        let js = jetstream(&server).await;
        Self { server, plugins, js, events, stop: Some(stop), task }
    }

    /// All that the host has told so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, of: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| of(event)).count()
    }

    /// Publishes and awaits that it is stored.
    pub(crate) async fn publish(&self, subject: &str, payload: impl Into<String>) -> u64 {
        let payload = payload.into();
        self.js.publish(subject.to_owned(), payload.into()).await.unwrap().await.unwrap().sequence
    }

    /// The state of a workload's consumer.
    pub(crate) async fn consumer(&self, workload: &str) -> jetstream::consumer::Info {
        let stream = self.js.get_stream(workload).await.unwrap();
        stream.consumer_info(format!("{workload}-workers")).await.unwrap()
    }

    /// Awaits that nothing of a workload is pending or unsettled.
    pub(crate) async fn settled(&self, workload: &str) {
        eventually("everything is settled", async || {
            let info = self.consumer(workload).await;
            info.num_pending == 0 && info.num_ack_pending == 0
        })
        .await;
    }

    /// Stops the host, awaits its end, and gives back the server to look at.
    pub(crate) async fn stop(mut self) -> (Server, jetstream::Context, Vec<Event>) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(super::PATIENCE, self.task).await.expect("the host stops").unwrap();
        let events = self.events.lock().unwrap().clone();
        (self.server, self.js, events)
    }
}
