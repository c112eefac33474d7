//! Where a configuration is from, and what came of reading it again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::snapshot::Snapshot;
use crate::config::{Change, Config, ConfigErrors, ConfigFiles, Reading, ReloadPlan, plan};

/// How many requests may wait.
const WAITING: usize = 16;
/// How long an answer is waited for.
const WITHIN: Duration = Duration::from_secs(10);

/// Where a host has its configuration from, and how it is asked to read it again. Clones are the same one.
#[derive(Clone)]
pub struct ConfigSource(Arc<Shared>);

type Read = dyn Fn() -> Result<Reading, ConfigErrors> + Send + Sync;

struct Shared {
    read: Option<Box<Read>>,
    files: Option<ConfigFiles>,
    /// What the host runs by.
    running: Mutex<Reading>,
    /// The files as they were when they were read last.
    last: Mutex<Snapshot>,
    seen: Mutex<ReloadSeen>,
    requests: mpsc::Sender<Request>,
    received: tokio::sync::Mutex<mpsc::Receiver<Request>>,
}

/// What can be seen of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReloadSeen {
    /// How often the configuration was read again.
    pub(crate) reloads: u64,
    /// What is wrong with it, so that the one before stays.
    pub(crate) problems: Vec<String>,
    /// What is another than what the host runs by, and applies after its restart.
    pub(crate) after_restart: Vec<String>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reloaded {
    /// What has changed, one thing a line; nothing if it is as before.
    Done(Vec<String>),
    /// What is wrong, one thing a line. Nothing has changed.
    Refused(Vec<String>),
    /// Why it was not read.
    NotNow(String),
}

/// Somebody wants the configuration to be read again.
pub(crate) struct Request {
    /// Who, or what.
    by: &'static str,
    /// Whether nobody needs to be told that nothing has changed.
    quiet: bool,
    answer: Option<oneshot::Sender<Reloaded>>,
}

impl ConfigSource {
    /// A configuration that is read from nowhere, and never again.
    pub fn fixed(config: Config) -> Self {
        Self::of(None, None, config.into(), Snapshot::default())
    }

    /// One that `read` reads, now and each time it is asked for. `files` are those that it reads: where they change,
    /// and `reload.watch` is set, they are read again.
    ///
    /// # Errors
    /// What is wrong with it now.
    pub fn new(
        read: impl Fn() -> Result<Reading, ConfigErrors> + Send + Sync + 'static,
        files: Option<ConfigFiles>,
    ) -> Result<Self, ConfigErrors> {
        // Before it is read: what changes meanwhile is read again.
        let last = files.as_ref().map(Snapshot::take).unwrap_or_default();
        let first = read()?;
        Ok(Self::of(Some(Box::new(read)), files, first, last))
    }

    fn of(read: Option<Box<Read>>, files: Option<ConfigFiles>, first: Reading, last: Snapshot) -> Self {
        let (requests, received) = mpsc::channel(WAITING);
        Self(Arc::new(Shared {
            read,
            files,
            running: Mutex::new(first),
            last: Mutex::new(last),
            seen: Mutex::default(),
            requests,
            received: tokio::sync::Mutex::new(received),
        }))
    }

    /// What the host runs by, or is to run by.
    pub fn config(&self) -> Config {
        self.0.running.lock().config.clone()
    }

    /// Has it read again, without waiting for that. `by` is who asks, for the log.
    pub fn ask(&self, by: &'static str) {
        if self.0.requests.try_send(Request { by, quiet: false, answer: None }).is_err() {
            tracing::warn!("{by}: the configuration is about to be read anyway");
        }
    }

    /// Has it read again, and waits for what comes of it. Workloads may still drain then.
    pub async fn reload(&self, by: &'static str) -> Reloaded {
        self.request_it(by, false).await
    }

    /// The same for who does not know whether something has changed.
    pub(super) async fn look_again(&self, by: &'static str) -> Reloaded {
        self.request_it(by, true).await
    }

    async fn request_it(&self, by: &'static str, quiet: bool) -> Reloaded {
        let (answer, answered) = oneshot::channel();
        if self.0.requests.try_send(Request { by, quiet, answer: Some(answer) }).is_err() {
            return Reloaded::NotNow("too many ask for it at once; try again".to_owned());
        }
        let late = || {
            let problem = "the host has not come to it yet; it reads the configuration when it can";
            Reloaded::NotNow(problem.to_owned())
        };
        match timeout(WITHIN, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| late()),
            Err(_) => late(),
        }
    }

    /// The next request. Cancel-safe.
    pub(crate) async fn request(&self) -> Request {
        match self.0.received.lock().await.recv().await {
            Some(request) => request,
            // Never: this has a sender.
            None => std::future::pending().await,
        }
    }

    /// Reads it, tells what has changed in the log, and notes that the host runs by that now. The changes are to be
    /// carried out. `None` if it cannot be read: then nothing changes.
    pub(crate) async fn read_again(&self, request: Request) -> Vec<Change> {
        let (this, Request { by, quiet, answer }) = (self.clone(), request);
        let read = tokio::task::spawn_blocking(move || this.read());
        let read = match read.await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(problems)) => Err(problems),
            Err(_) => Err(vec!["reading it panicked, which is a fault of tidegate's own".to_owned()]),
        };
        let (came, changes) = match read {
            Ok(plan) => self.adopt(plan, by, quiet),
            Err(problems) => (self.refuse(problems, by), Vec::new()),
        };
        if let Some(answer) = answer {
            // Nobody may be waiting any more.
            let _ = answer.send(came);
        }
        changes
    }

    fn read(&self) -> Result<ReloadPlan, Vec<String>> {
        let Some(read) = &self.0.read else {
            let problem = "this host was given its configuration as it is, and has no file to read it from";
            return Err(vec![problem.to_owned()]);
        };
        if let Some(files) = &self.0.files {
            *self.0.last.lock() = Snapshot::take(files);
        }
        let are_files = self.0.files.as_ref().map_or(Ok(()), ConfigFiles::are_files);
        let new = are_files.and_then(|()| read());
        let new = new.map_err(|ConfigErrors(errors)| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(plan(&self.0.running.lock(), &new))
    }

    fn adopt(&self, plan: ReloadPlan, by: &str, quiet: bool) -> (Reloaded, Vec<Change>) {
        let ReloadPlan { changes, running } = plan;
        let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let waits = |change: &Change| matches!(change, Change::Held { .. } | Change::HostRestart(_));
        let after_restart = changes.iter().filter(|change| waits(change)).map(ToString::to_string).collect();
        let before = std::mem::take(&mut *self.0.seen.lock());
        for (change, text) in changes.iter().zip(&told) {
            match waits(change) {
                true if before.after_restart.contains(text) => {}
                true => tracing::warn!("configuration read again ({by}): {text}"),
                false => tracing::info!("configuration read again ({by}): {text}"),
            }
        }
        if !before.problems.is_empty() {
            tracing::info!("configuration read again ({by}): what was wrong with it is mended");
        } else if told.is_empty() && !quiet {
            tracing::info!("configuration read again ({by}): nothing has changed");
        }
        if running.config.workloads != self.0.running.lock().config.workloads {
            running.config.warnings().iter().for_each(|said| tracing::warn!("{said}"));
        }
        *self.0.running.lock() = running;
        *self.0.seen.lock() = ReloadSeen { reloads: before.reloads + 1, problems: Vec::new(), after_restart };
        (Reloaded::Done(told), changes)
    }

    fn refuse(&self, problems: Vec<String>, by: &str) -> Reloaded {
        let mut seen = self.0.seen.lock();
        seen.reloads += 1;
        if seen.problems != problems {
            for problem in &problems {
                tracing::error!("configuration not used ({by}), the one before stays: {problem}");
            }
        }
        seen.problems.clone_from(&problems);
        Reloaded::Refused(problems)
    }

    /// What came of it; `None` where it is never read again.
    pub(crate) fn seen(&self) -> Option<ReloadSeen> {
        self.0.read.as_ref().map(|_| self.0.seen.lock().clone())
    }

    /// The files that it is read from.
    pub(super) fn files(&self) -> Option<&ConfigFiles> {
        self.0.files.as_ref()
    }

    /// The files as they were when they were read last.
    pub(super) fn last(&self) -> Snapshot {
        self.0.last.lock().clone()
    }
}

impl std::fmt::Debug for ConfigSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSource").field("files", &self.0.files).finish_non_exhaustive()
    }
}
