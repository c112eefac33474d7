//! A plugin that workloads use: the limits they give it, the generation in use, and what became of its file.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Limits;
use crate::digest::Digest;
use crate::plugin::limits::wider;
use crate::plugin::run::bindings::policy::PolicyPre;
use crate::plugin::run::guest::Guest;
use crate::plugin::run::handler::HandlerWorld;
use crate::plugin::run::kind::{Kind, Wanted};
use crate::plugin::run::world::{Plugin, World};

/// The generation in use of one plugin, and when it changes.
pub(crate) struct Watch<W>(watch::Receiver<Option<Arc<Plugin<W>>>>);

/// Watches a handler.
pub(crate) type HandlerWatch = Watch<HandlerWorld>;
/// Watches a policy.
pub(crate) type PolicyWatch = Watch<PolicyPre<Guest>>;

impl<W> std::fmt::Debug for Watch<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<W> Clone for Watch<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W> Watch<W> {
    /// The generation in use; `None` until one was loaded. After this call, [`Watch::has_changed`] is about later
    /// generations.
    pub(crate) fn current(&mut self) -> Option<Arc<Plugin<W>>> {
        self.0.borrow_and_update().clone()
    }

    /// Waits until there is a generation in use.
    pub(crate) async fn loaded(&mut self) -> Arc<Plugin<W>> {
        loop {
            match self.current() {
                Some(plugin) => return plugin,
                None => self.changed().await,
            }
        }
    }

    /// Whether there is a generation that [`Watch::current`] has not returned. Cheap.
    pub(crate) fn has_changed(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Waits for a generation that [`Watch::current`] has not returned; for ever if the directory is no longer watched.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// A plugin that workloads use, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginState {
    /// Its name.
    pub plugin: String,
    /// What the plugin is used as.
    pub kind: Kind,
    /// The digest that it is pinned to, if it is.
    pub pin: Option<Digest>,
    /// The digest of the generation in use; `None` if none was loaded yet.
    pub generation: Option<Digest>,
    /// Generations loaded, ever.
    pub loaded: u64,
    /// Contents of the file that were refused, ever.
    pub refused: u64,
    /// Why the file's content is not in use, if it is not.
    pub problem: Option<String>,
}

impl PluginState {
    /// The same plugin as other workloads ask for it. It is in use where all of them can use it.
    pub(super) fn with(&mut self, other: Self) {
        self.pin = self.pin.take().or(other.pin);
        self.generation = self.generation.take().and(other.generation);
        self.loaded += other.loaded;
        self.refused += other.refused;
        self.problem = self.problem.take().or(other.problem);
    }
}

/// One plugin as workloads use it in one world.
pub(super) struct PluginSlot<W> {
    pub(super) name: String,
    /// What its workloads ask of it. Those that ask for something else have a slot of their own, so that what is
    /// refused for one is not refused for the other.
    pub(super) wanted: Wanted,
    current: watch::Sender<Option<Arc<Plugin<W>>>>,
    /// The widest limits of the workloads with this plugin. A trial instance runs under them.
    limits: Mutex<Limits>,
    pub(super) history: Mutex<FileHistory>,
    /// Whether something happened to the file since it was last looked at, even if its fingerprint is the same.
    pub(super) touched: AtomicBool,
}

/// What became of the contents that a plugin's file had.
#[derive(Debug, Clone, Default)]
pub(super) struct FileHistory {
    loaded: u64,
    refused: u64,
    pub(super) problem: Option<String>,
    /// Why it is not known whether there is another content.
    pub(super) unasked: Option<String>,
}

impl<W: World> PluginSlot<W> {
    pub(super) fn new(name: &str, wanted: &Wanted, limits: &Limits) -> Self {
        Self {
            name: name.to_owned(),
            wanted: wanted.clone(),
            current: watch::Sender::new(None),
            limits: Mutex::new(limits.clone()),
            history: Mutex::default(),
            touched: AtomicBool::new(false),
        }
    }

    pub(super) fn watch(&self) -> Watch<W> {
        Watch(self.current.subscribe())
    }

    /// Whether a workload uses it.
    pub(super) fn is_used(&self) -> bool {
        self.current.receiver_count() > 0
    }

    pub(super) fn state(&self) -> PluginState {
        let FileHistory { loaded, refused, problem, unasked } = self.history.lock().clone();
        PluginState {
            plugin: self.name.clone(),
            kind: W::KIND,
            pin: self.wanted.pin.clone(),
            generation: self.generation(),
            loaded,
            refused,
            problem: match (problem, unasked) {
                (Some(problem), Some(unasked)) => Some(format!("{problem}; and {unasked}")),
                (problem, unasked) => problem.or(unasked),
            },
        }
    }

    /// The digest of the generation in use.
    pub(super) fn generation(&self) -> Option<Digest> {
        self.current.borrow().as_ref().map(|plugin| plugin.generation().digest.clone())
    }

    /// What a workload uses while new content is refused, as a text.
    pub(super) fn what_stays(&self) -> String {
        match self.generation() {
            Some(generation) => format!("generation {generation} stays in use"),
            None => "its workloads wait for another one".into(),
        }
    }

    /// Puts a generation into use.
    pub(super) fn adopt(&self, plugin: Plugin<W>) {
        // Counted before workloads are told, so that the count includes a generation that is in use.
        self.history.lock().loaded += 1;
        self.current.send_replace(Some(Arc::new(plugin)));
    }

    pub(super) fn refused(&self, reason: &str) {
        let mut history = self.history.lock();
        history.refused += 1;
        history.problem = Some(reason.to_owned());
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits.lock().clone()
    }

    /// Adds the limits of one more workload that uses the plugin.
    pub(super) fn widen(&self, limits: &Limits) {
        let mut widest = self.limits.lock();
        *widest = wider(&widest, limits);
    }
}
