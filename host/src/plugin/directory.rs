//! Keeps the plugins that workloads ask for as their files are now.
//!
//! Files are looked at when the directory changes and, slowly, even if no event came. A content that was not seen
//! before is loaded; if that fails, the generation before stays in use and the reason is told once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::engine::Host;
use super::handler::HandlerPlugin;
use super::kind::Kind;
use super::load::{Refusal, Source};
use super::look::{Fingerprint, Notice, Progress, Verdict};
use super::policy::PolicyPlugin;
use super::watch::DirectoryEvents;
use crate::clock::time_of_day;
use crate::config::{Limits, Plugins};
use crate::digest::{Digest, shown};
use crate::lanes::roam;

/// How long events are collected before files are looked at: a copy makes many.
const DEBOUNCE: Duration = Duration::from_millis(75);
/// How soon a file that may be half written is looked at again.
const SOON: Duration = Duration::from_millis(500);
/// How many plugins are named where one is missing.
const NAMED: usize = 20;

/// The plugin directory. Watching ends when this is dropped; what was loaded stays.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    asked: Arc<Asked>,
    task: JoinHandle<()>,
}

/// The current generation of one plugin, and when it changes.
#[derive(Debug)]
pub struct Watch<P>(watch::Receiver<Option<Arc<P>>>);

/// Watches a handler.
pub type HandlerWatch = Watch<HandlerPlugin>;
/// Watches a policy.
pub type PolicyWatch = Watch<PolicyPlugin>;

impl<P> Clone for Watch<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P> Watch<P> {
    /// The generation in use, and from now on [`Watch::has_changed`] speaks of later ones. `None` until one was loaded.
    pub fn current(&mut self) -> Option<Arc<P>> {
        self.0.borrow_and_update().clone()
    }

    /// Whether there is a generation that [`Watch::current`] has not returned. Cheap.
    pub fn has_changed(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Waits for a generation that [`Watch::current`] has not returned; for ever if the directory is no longer watched.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[derive(Debug, Default)]
struct Asked {
    slots: Mutex<Vec<Arc<Slot>>>,
    more: Notify,
}

/// One plugin as somebody uses it.
#[derive(Debug)]
struct Slot {
    name: String,
    publish: Publish,
    /// The widest that workloads with this plugin have; a trial instance runs under them.
    limits: Mutex<Limits>,
    history: Mutex<History>,
}

/// What became of the contents that a plugin's file had.
#[derive(Debug, Clone, Default)]
struct History {
    loaded: u64,
    refused: u64,
    problem: Option<String>,
}

/// A plugin that somebody uses, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginState {
    /// Its name.
    pub plugin: String,
    /// What it is used as.
    pub kind: Kind,
    /// The digest of the generation in use; `None` if none was loaded yet.
    pub generation: Option<Digest>,
    /// Generations loaded, ever.
    pub loaded: u64,
    /// Contents of its file that were refused, ever.
    pub refused: u64,
    /// Why the content that its file has now is not in use, if it is not.
    pub problem: Option<String>,
}

#[derive(Debug)]
enum Publish {
    Handler(watch::Sender<Option<Arc<HandlerPlugin>>>),
    Policy(watch::Sender<Option<Arc<PolicyPlugin>>>),
}

impl Directory {
    /// Begins to watch. Nothing is loaded before it is asked for. Must be called in a tokio runtime.
    pub fn start(host: Host, plugins: &Plugins) -> Self {
        let asked = Arc::new(Asked::default());
        let keeper = Keeper {
            host,
            dir: plugins.dir.clone(),
            asked: Arc::clone(&asked),
            events: DirectoryEvents::new(&plugins.dir),
            progress: Vec::new(),
            dir_told: None,
        };
        // A plugin may compute in its trial.
        let task = tokio::spawn(roam(keeper.run(plugins.rescan)));
        Self { dir: plugins.dir.clone(), asked, task }
    }

    /// Where a plugin's file is, or has to be put.
    pub fn file(&self, name: &str) -> PathBuf {
        file(&self.dir, name)
    }

    /// Asks for a handler by its plugin name, for a workload with these limits.
    pub fn handler(&self, name: &str, limits: &Limits) -> HandlerWatch {
        let found = self.ask(name, limits, |publish| match publish {
            Publish::Handler(sender) => Some(sender.subscribe()),
            Publish::Policy(_) => None,
        });
        Watch(found.unwrap_or_else(|| {
            let (sender, receiver) = watch::channel(None);
            self.add(name, limits, Publish::Handler(sender));
            receiver
        }))
    }

    /// Asks for a policy by its plugin name, for a workload with these limits.
    pub fn policy(&self, name: &str, limits: &Limits) -> PolicyWatch {
        let found = self.ask(name, limits, |publish| match publish {
            Publish::Policy(sender) => Some(sender.subscribe()),
            Publish::Handler(_) => None,
        });
        Watch(found.unwrap_or_else(|| {
            let (sender, receiver) = watch::channel(None);
            self.add(name, limits, Publish::Policy(sender));
            receiver
        }))
    }

    /// A slot that is there already, with its limits widened to these.
    fn ask<T>(&self, name: &str, limits: &Limits, of: impl Fn(&Publish) -> Option<T>) -> Option<T> {
        let slots = self.asked.lock();
        let (slot, found) =
            slots.iter().filter(|slot| slot.name == name).find_map(|slot| Some((slot, of(&slot.publish)?)))?;
        let mut widest = slot.limits.lock().unwrap_or_else(PoisonError::into_inner);
        *widest = wider(&widest, limits);
        drop(widest);
        self.asked.more.notify_one();
        Some(found)
    }

    /// The plugins that somebody uses, as they are now.
    pub fn plugins(&self) -> Vec<PluginState> {
        let slots = self.asked.lock().clone();
        slots.iter().map(|slot| slot.state()).collect()
    }

    fn add(&self, name: &str, limits: &Limits, publish: Publish) {
        let slot =
            Slot { name: name.to_owned(), publish, limits: Mutex::new(limits.clone()), history: Mutex::default() };
        self.asked.lock().push(Arc::new(slot));
        self.asked.more.notify_one();
    }
}

impl Slot {
    fn state(&self) -> PluginState {
        let History { loaded, refused, problem } = self.history().clone();
        let kind = match self.publish {
            Publish::Handler(_) => Kind::Handler,
            Publish::Policy(_) => Kind::Policy,
        };
        PluginState { plugin: self.name.clone(), kind, generation: self.publish.generation(), loaded, refused, problem }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Nothing panics while it holds the lock.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, refusal: &Refusal) {
        let mut history = self.history();
        history.refused += 1;
        history.problem = Some(refusal.to_string());
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.wasm"))
}

fn wider(a: &Limits, b: &Limits) -> Limits {
    Limits {
        time: a.time.max(b.time),
        memory: a.memory.max(b.memory),
        table_elements: a.table_elements.max(b.table_elements),
        instances: a.instances.max(b.instances),
        fuel: a.fuel.max(b.fuel),
        response: a.response.max(b.response),
        publications: a.publications.max(b.publications),
        log_rate: a.log_rate.max(b.log_rate),
        respawns: a.respawns.max(b.respawns),
    }
}

/// The task that looks and loads, one plugin after the other.
struct Keeper {
    host: Host,
    dir: PathBuf,
    asked: Arc<Asked>,
    events: DirectoryEvents,
    /// Of the slot with the same index, and the limits of its last trial.
    progress: Vec<(Progress, Limits)>,
    dir_told: Option<String>,
}

impl Keeper {
    async fn run(mut self, rescan: Duration) {
        loop {
            let settled = self.look().await;
            let pause = if settled { rescan } else { rescan.min(SOON) };
            tokio::select! {
                () = self.events.changed() => tokio::time::sleep(DEBOUNCE).await,
                () = self.asked.more.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks at every file that was asked for. False if one has to be looked at again soon.
    async fn look(&mut self) -> bool {
        if !self.look_at_directory().await {
            return true;
        }
        let slots = self.asked.lock().clone();
        let mut settled = true;
        for (index, slot) in slots.iter().enumerate() {
            let limits = slot.limits.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if self.progress.len() <= index {
                self.progress.push((Progress::default(), limits.clone()));
            }
            let Some((progress, tried)) = self.progress.get_mut(index) else {
                continue;
            };
            if *tried != limits {
                *tried = limits.clone();
                progress.reconsider();
            }
            look_at(&self.host, &self.dir, slot, &limits, progress).await;
            settled &= progress.is_settled();
        }
        settled
    }

    /// Whether the directory is there. Told once when it is not, and when it is back.
    async fn look_at_directory(&mut self) -> bool {
        let error = match tokio::fs::metadata(&self.dir).await {
            Ok(metadata) if metadata.is_dir() => {
                self.events.follow(&metadata);
                if self.dir_told.take().is_some() {
                    tracing::info!(directory = %self.dir.display(), "the plugin directory is there");
                }
                return true;
            }
            Ok(_) => "it is not a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        self.events.lose();
        if self.dir_told.as_deref() != Some(&error) {
            tracing::warn!(
                directory = %self.dir.display(), error,
                "the plugin directory cannot be read; create it, or name another with --plugins or plugins.dir; until then what is loaded \
                 stays and the rest waits"
            );
            self.dir_told = Some(error);
        }
        false
    }
}

async fn look_at(host: &Host, dir: &Path, slot: &Slot, limits: &Limits, progress: &mut Progress) {
    let file = file(dir, &slot.name);
    let fingerprint = match tokio::fs::metadata(&file).await {
        Ok(metadata) => Fingerprint::of(&metadata),
        Err(_) => return missing(host, &file, slot, progress).await,
    };
    if !progress.needs_reading(fingerprint) {
        return;
    }
    let now = time_of_day();
    let source = match host.read(&file).await {
        Ok(source) => source,
        Err(refusal) => return unreadable(&file, slot, progress, &refusal),
    };
    let digest = source.digest.clone();
    if progress.needs_loading(digest.whole()) {
        let began = Instant::now();
        let mebibytes = source.bytes.len() >> 20;
        if mebibytes > 0 {
            tracing::info!(
                plugin = slot.name, generation = %digest, mebibytes,
                "loading {}: compiling it may take some seconds, unless it is in the cache", file.display()
            );
        }
        match load(host, slot, source, limits).await {
            Ok(()) => {
                progress.loaded(digest.whole());
                slot.history().loaded += 1;
                let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(plugin = slot.name, generation = %digest, milliseconds, "loaded {}", file.display());
            }
            Err(Refusal::Stopping) => return,
            Err(refusal) => match progress.refused(digest.whole(), refusal.may_be_half_written(), fingerprint, now) {
                Verdict::Wait => {
                    tracing::debug!(plugin = slot.name, %refusal, "{} may be half written", file.display())
                }
                Verdict::Tell => {
                    slot.refused(&refusal);
                    tracing::warn!(
                        plugin = slot.name, generation = %digest,
                        "refused {}: {refusal}; {}", file.display(), slot.publish.what_stays()
                    );
                }
            },
        }
    }
    if slot.publish.generation().as_ref() == Some(&digest) {
        slot.history().problem = None;
    }
    progress.settle(fingerprint, now);
}

async fn missing(host: &Host, file: &Path, slot: &Slot, progress: &mut Progress) {
    // If it can be read after all, it came in between, and the next look is soon.
    if let Err(refusal) = host.read(file).await {
        unreadable(file, slot, progress, &refusal);
    }
}

fn unreadable(file: &Path, slot: &Slot, progress: &mut Progress, refusal: &Refusal) {
    let plugin = slot.name.as_str();
    slot.history().problem = Some(refusal.to_string());
    match progress.unreadable(&refusal.to_string()) {
        Notice::Nothing => {}
        Notice::Waiting => {
            tracing::warn!(plugin, "waiting for {}: {refusal}; {}", file.display(), others(file));
        }
        Notice::Kept(generation) => {
            let generation = shown(&generation);
            tracing::warn!(plugin, generation, "{}: {refusal}; the generation in use stays", file.display());
        }
    }
}

/// The plugins that are where `file` is missing: a name may be misspelt.
pub fn others(file: &Path) -> String {
    let entries = file.parent().and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten();
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| PathBuf::from(entry.file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "wasm"))
        .filter_map(|name| Some(name.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.truncate(NAMED);
    if names.is_empty() {
        "the directory has no plugins".into()
    } else {
        format!("the directory has {}", names.join(", "))
    }
}

async fn load(host: &Host, slot: &Slot, source: Source, limits: &Limits) -> Result<(), Refusal> {
    match &slot.publish {
        Publish::Handler(sender) => {
            let plugin = host.handler(source, limits).await?;
            sender.send_replace(Some(Arc::new(plugin)));
        }
        Publish::Policy(sender) => {
            let plugin = host.policy(source, limits).await?;
            sender.send_replace(Some(Arc::new(plugin)));
        }
    }
    Ok(())
}

impl Publish {
    fn generation(&self) -> Option<Digest> {
        match self {
            Self::Handler(sender) => sender.borrow().as_ref().map(|plugin| plugin.generation().digest.clone()),
            Self::Policy(sender) => sender.borrow().as_ref().map(|plugin| plugin.generation().digest.clone()),
        }
    }

    fn what_stays(&self) -> String {
        match self.generation() {
            Some(generation) => format!("generation {generation} stays in use"),
            None => "its workloads wait for another one".into(),
        }
    }
}
