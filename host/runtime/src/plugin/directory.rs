//! Keeps the plugins that workloads ask for as their files are now.
//!
//! Files are looked at when the directory changes and, slowly, even if no event came. A content that was not seen
//! before is loaded; if that fails, the generation before stays in use and the reason is told once. What is on disk now
//! decides: what is loaded is given up as soon as its file has another content.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::engine::Host;
use super::file::{Loaded, PluginFile};
use super::handler::HandlerPlugin;
use super::kind::Kind;
use super::policy::PolicyPlugin;
use super::room::Room;
use super::watch::DirectoryEvents;
use crate::config::{Limits, Plugins};
use crate::delivery::slow_lane::roam;
use crate::digest::Digest;

/// How long events are collected before files are looked at: a copy makes many.
const DEBOUNCE: Duration = Duration::from_millis(75);
/// How many plugins are named where one is missing.
const NAMED: usize = 20;

/// The plugin directory. Watching ends when this is dropped; what was loaded stays.
#[derive(Debug)]
pub struct Directory {
    host: Host,
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
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) publish: Publish,
    /// The widest that workloads with this plugin have; a trial instance runs under them.
    limits: Mutex<Limits>,
    pub(super) history: Mutex<History>,
    /// Whether something happened to its file since it was last looked at, however it may look.
    pub(super) touched: AtomicBool,
}

/// What became of the contents that a plugin's file had.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) loaded: u64,
    refused: u64,
    pub(super) problem: Option<String>,
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
pub(super) enum Publish {
    Handler(watch::Sender<Option<Arc<HandlerPlugin>>>),
    Policy(watch::Sender<Option<Arc<PolicyPlugin>>>),
}

impl Directory {
    /// Begins to watch. Nothing is loaded before it is asked for. Must be called in a tokio runtime.
    pub fn start(host: Host, plugins: &Plugins) -> Self {
        let asked = Arc::new(Asked::default());
        let keeper = Keeper {
            host: host.clone(),
            dir: plugins.dir.clone(),
            asked: Arc::clone(&asked),
            events: DirectoryEvents::new(&plugins.dir),
            dir_told: None,
        };
        let task = tokio::spawn(keeper.run(plugins.rescan));
        Self { host, dir: plugins.dir.clone(), asked, task }
    }

    /// Where a plugin's file is, or has to be put.
    pub fn file(&self, name: &str) -> PathBuf {
        file(&self.dir, name)
    }

    /// Asks for room for so many instances of a plugin: what this process has is divided between all that ask.
    pub fn room(&self, instances: u32) -> Arc<Room> {
        self.host.0.rooms.claim(instances)
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
        let slots = self.asked.slots.lock();
        let (slot, found) =
            slots.iter().filter(|slot| slot.name == name).find_map(|slot| Some((slot, of(&slot.publish)?)))?;
        let mut widest = slot.limits.lock();
        *widest = wider(&widest, limits);
        drop(widest);
        self.asked.more.notify_one();
        Some(found)
    }

    /// The plugins that somebody uses, as they are now.
    pub fn plugins(&self) -> Vec<PluginState> {
        let slots = self.asked.slots.lock().clone();
        slots.iter().map(|slot| slot.state()).collect()
    }

    fn add(&self, name: &str, limits: &Limits, publish: Publish) {
        let slot = Slot {
            name: name.to_owned(),
            publish,
            limits: Mutex::new(limits.clone()),
            history: Mutex::default(),
            touched: AtomicBool::new(false),
        };
        self.asked.slots.lock().push(Arc::new(slot));
        self.asked.more.notify_one();
    }
}

impl Slot {
    fn state(&self) -> PluginState {
        let History { loaded, refused, problem } = self.history.lock().clone();
        let kind = match self.publish {
            Publish::Handler(_) => Kind::Handler,
            Publish::Policy(_) => Kind::Policy,
        };
        PluginState { plugin: self.name.clone(), kind, generation: self.publish.generation(), loaded, refused, problem }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits.lock().clone()
    }

    pub(super) fn refused(&self, reason: &str) {
        let mut history = self.history.lock();
        history.refused += 1;
        history.problem = Some(reason.to_owned());
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
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

/// The task that says when to look. Each plugin has a task of its own that looks and loads, so that one which takes long
/// keeps no other waiting.
struct Keeper {
    host: Host,
    dir: PathBuf,
    asked: Arc<Asked>,
    events: DirectoryEvents,
    dir_told: Option<String>,
}

impl Keeper {
    async fn run(mut self, rescan: Duration) {
        // Whether the directory is there. What is sent says to look, even if it is the same again.
        let (looks, look) = watch::channel(false);
        // They end with this.
        let mut plugins = JoinSet::new();
        loop {
            let is_there = self.look_at_directory().await;
            let touched = self.events.touched();
            let slots = self.asked.slots.lock().clone();
            for slot in &slots {
                if touched.contains(file(Path::new(""), &slot.name).as_os_str()) {
                    slot.touched.store(true, Relaxed);
                }
            }
            for slot in slots.into_iter().skip(plugins.len()) {
                let path = file(&self.dir, &slot.name);
                // A plugin may compute in its trial.
                plugins.spawn(roam(PluginFile::new(self.host.clone(), path, slot, look.clone()).run()));
            }
            looks.send_replace(is_there);
            tokio::select! {
                () = self.events.changed() => tokio::time::sleep(DEBOUNCE).await,
                () = self.asked.more.notified() => {}
                () = tokio::time::sleep(rescan) => {}
            }
        }
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

impl Publish {
    pub(super) fn send(&self, loaded: Loaded) {
        match (self, loaded) {
            (Self::Handler(sender), Loaded::Handler(plugin)) => drop(sender.send_replace(Some(Arc::new(plugin)))),
            (Self::Policy(sender), Loaded::Policy(plugin)) => drop(sender.send_replace(Some(Arc::new(plugin)))),
            // `load` makes what its slot publishes.
            _ => {}
        }
    }

    pub(super) fn generation(&self) -> Option<Digest> {
        match self {
            Self::Handler(sender) => sender.borrow().as_ref().map(|plugin| plugin.generation().digest.clone()),
            Self::Policy(sender) => sender.borrow().as_ref().map(|plugin| plugin.generation().digest.clone()),
        }
    }

    pub(super) fn what_stays(&self) -> String {
        match self.generation() {
            Some(generation) => format!("generation {generation} stays in use"),
            None => "its workloads wait for another one".into(),
        }
    }
}
