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
/// How long reading it may take. A disk that does not answer has to be told.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer is waited for: longer than it may take to read it.
const WITHIN: Duration = Duration::from_secs(12);

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
    /// Only one asks the disk at a time. Who waits for it without end keeps a thread.
    turn: Arc<tokio::sync::Mutex<()>>,
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
            turn: Arc::default(),
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
        let Request { by, quiet, answer } = request;
        let read = self.ask_disk(|this| {
            // Before it is read: what changes meanwhile is read again.
            let seen = this.0.files.as_ref().map(Snapshot::take);
            (seen, this.read())
        });
        let read = read.await.and_then(|(seen, read)| {
            if let Some(seen) = seen {
                *self.0.last.lock() = seen;
            }
            read
        });
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

    /// Asks the disk, off the async threads and for a bounded time. What hangs keeps its turn though nobody waits for
    /// it any more, and what comes of it is not used.
    ///
    /// # Errors
    /// That it did not answer.
    pub(super) async fn ask_disk<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Vec<String>> {
        let (this, turn) = (self.clone(), self.0.turn.clone());
        let asked = async move {
            let turn = turn.lock_owned().await;
            let answered = tokio::task::spawn_blocking(move || {
                let answer = ask(&this);
                drop(turn);
                answer
            });
            answered.await
        };
        match timeout(READ_WITHIN, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(vec!["reading it panicked, which is a fault of tidegate's own".to_owned()]),
            Err(_) => Err(vec![self.late()]),
        }
    }

    /// What is told of a disk that does not answer. What was seen of the files is forgotten, so that they are read when
    /// it does.
    fn late(&self) -> String {
        *self.0.last.lock() = Snapshot::default();
        let of = |files: &ConfigFiles| {
            let (file, fragments) = (files.file().display(), files.fragment_directory());
            format!(" that {file} and the files in {} are on", fragments.display())
        };
        let which = self.0.files.as_ref().map(of).unwrap_or_default();
        format!(
            "it cannot be read within {READ_WITHIN:?}; see whether each disk{which} answers. Nothing is read before \
             the read that waits has ended; if it never does, start the host again"
        )
    }

    fn read(&self) -> Result<ReloadPlan, Vec<String>> {
        let Some(read) = &self.0.read else {
            let problem = "this host was given its configuration as it is, and has no file to read it from";
            return Err(vec![problem.to_owned()]);
        };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn config() -> Config {
        let text = "[workload.orders]\nstream = \"S\"\nhandler = \"probe\"\npolicy = \"any\"\n";
        Config::from_toml(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_is_told_and_no_other_read_is_begun_before_it_does() {
        let source = ConfigSource::new(|| Ok(config().into()), None).unwrap();
        let hangs = source.0.turn.lock().await;
        for _ in 0..2 {
            source.ask("SIGHUP");
            assert_eq!(source.read_again(source.request().await).await, []);
            let problems = source.seen().unwrap().problems;
            assert!(matches!(problems.as_slice(), [one] if one.contains("within 10s")), "{problems:?}");
        }
        drop(hangs);
        source.ask("SIGHUP");
        source.read_again(source.request().await).await;
        assert_eq!(source.seen().unwrap().problems, Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_before_a_disk_did_not_answer_is_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tidegate.toml");
        std::fs::write(&file, "").unwrap();
        let flags = crate::config::Flags { file: Some(file), ..Default::default() };
        let files = ConfigFiles::of(&flags).unwrap();
        let source = ConfigSource::new(|| Ok(config().into()), Some(files.clone())).unwrap();
        assert_eq!(source.last(), Snapshot::take(&files));
        let hangs = source.0.turn.lock().await;
        assert!(source.ask_disk(|_| ()).await.is_err());
        drop(hangs);
        assert_ne!(source.last(), Snapshot::take(&files));
        source.ask("a file has changed");
        source.read_again(source.request().await).await;
        assert_eq!(source.last(), Snapshot::take(&files));
    }
}
