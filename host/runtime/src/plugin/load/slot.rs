//! A plugin that workloads use: the limits they give it, the generation in use, and what became of its file.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};

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

/// How many workloads are named where something is told of a plugin.
const NAMED: usize = 10;

/// The generation in use of one plugin, and when it changes. It has the name of the workload that watches it, which
/// lives as long.
pub(crate) struct Watch<W>(watch::Receiver<Option<Arc<Plugin<W>>>>, Arc<str>);

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
        Self(self.0.clone(), self.1.clone())
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
    /// The workloads that use it.
    pub workloads: BTreeSet<String>,
    /// The same of those that ask the same of it, where some have it otherwise than others.
    pub by_workload: Vec<PluginState>,
}

impl PluginState {
    /// Each plugin once, of what there is of it for workloads that ask different things of it.
    pub(super) fn one_each(slots: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut plugins: Vec<Vec<Self>> = Vec::new();
        for state in slots {
            let is_it = |of: &Self| (&of.plugin, of.kind) == (&state.plugin, state.kind);
            match plugins.iter_mut().find(|slots| slots.first().is_some_and(is_it)) {
                Some(slots) => slots.push(state),
                None => plugins.push(vec![state]),
            }
        }
        plugins.into_iter().filter_map(Self::of_all).collect()
    }

    /// One plugin. It is in use where all workloads can use it.
    fn of_all(slots: Vec<Self>) -> Option<Self> {
        let (first, others) = slots.split_first()?;
        let mut all = first.clone();
        for other in others {
            all.pin = all.pin.take().or_else(|| other.pin.clone());
            all.generation = all.generation.take().and(other.generation.clone());
            all.loaded += other.loaded;
            all.refused += other.refused;
            all.workloads.extend(other.workloads.iter().cloned());
        }
        if others.iter().any(|other| (&other.generation, &other.problem) != (&first.generation, &first.problem)) {
            all.problem = Self::told(&slots);
            all.by_workload = slots;
        }
        Some(all)
    }

    /// What is wrong for some of the workloads, and for which.
    fn told(slots: &[Self]) -> Option<String> {
        let mut problems: Vec<(&str, BTreeSet<&str>)> = Vec::new();
        for slot in slots {
            let Some(problem) = slot.problem.as_deref() else { continue };
            let names = slot.workloads.iter().map(String::as_str);
            match problems.iter_mut().find(|(told, _)| *told == problem) {
                Some((_, workloads)) => workloads.extend(names),
                None => problems.push((problem, names.collect())),
            }
        }
        let told = problems.iter().map(|(problem, workloads)| format!("{}: {problem}", named(workloads)));
        Some(told.collect::<Vec<_>>().join("; and ")).filter(|told| !told.is_empty())
    }
}

fn named(workloads: &BTreeSet<&str>) -> String {
    let names = workloads.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match workloads.len() {
        0 | 1 => format!("workload {names}"),
        2..=NAMED => format!("workloads {names}"),
        all => format!("workloads {names} and {} more", all.saturating_sub(NAMED)),
    }
}

/// One plugin as workloads use it in one world.
pub(super) struct PluginSlot<W> {
    pub(super) name: String,
    /// What its workloads ask of it. Those that ask for something else have a slot of their own, so that what is
    /// refused for one is not refused for the other.
    pub(super) wanted: Wanted,
    current: watch::Sender<Option<Arc<Plugin<W>>>>,
    /// The workloads that have a watch of it, or had one.
    workloads: Mutex<Vec<Weak<str>>>,
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
            workloads: Mutex::default(),
            limits: Mutex::new(limits.clone()),
            history: Mutex::default(),
            touched: AtomicBool::new(false),
        }
    }

    /// For a workload of this name.
    pub(super) fn watch(&self, workload: &str) -> Watch<W> {
        let name: Arc<str> = workload.into();
        let mut workloads = self.workloads.lock();
        workloads.retain(|name| name.strong_count() > 0);
        workloads.push(Arc::downgrade(&name));
        Watch(self.current.subscribe(), name)
    }

    /// Whether a workload uses it.
    pub(super) fn is_used(&self) -> bool {
        self.current.receiver_count() > 0
    }

    pub(super) fn state(&self) -> PluginState {
        let FileHistory { loaded, refused, problem, unasked } = self.history.lock().clone();
        let workloads = self.workloads.lock().iter().filter_map(Weak::upgrade).map(|name| name.to_string()).collect();
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
            workloads,
            by_workload: Vec::new(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn state(generation: &str, problem: Option<&str>, workloads: &[&str]) -> PluginState {
        PluginState {
            plugin: "probe".to_owned(),
            kind: Kind::Handler,
            pin: None,
            generation: (!generation.is_empty()).then(|| Digest::of(generation.as_bytes())),
            loaded: 1,
            refused: u64::from(problem.is_some()),
            problem: problem.map(str::to_owned),
            workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
            by_workload: Vec::new(),
        }
    }

    fn one(slots: Vec<PluginState>) -> PluginState {
        let mut all = PluginState::one_each(slots.into_iter());
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn what_only_some_workloads_have_of_a_plugin_is_told_with_their_names() {
        let refused = "it handles one delivery a call";
        let all = one(vec![
            state("new", None, &["a"]),
            state("old", Some(refused), &["c", "b"]),
            state("old", Some(refused), &["d"]),
            state("", Some("it is not signed"), &["e"]),
        ]);
        let told = format!("workloads b, c, d: {refused}; and workload e: it is not signed");
        assert_eq!(all.problem, Some(told));
        assert_eq!((all.generation, all.loaded, all.refused, all.workloads.len()), (None, 4, 3, 5));
        let names: Vec<usize> = all.by_workload.iter().map(|of| of.workloads.len()).collect();
        assert_eq!(names, [1, 2, 1, 1]);
        let many: BTreeSet<String> = (0..30).map(|number| format!("w{number:02}")).collect();
        let many = PluginState { workloads: many, ..state("old", Some(refused), &[]) };
        let told = one(vec![many, state("new", None, &["a"])]).problem.unwrap();
        assert!(told.starts_with("workloads w00, w01") && told.contains("w09 and 20 more: it handles"), "{told}");
    }

    #[test]
    fn what_all_workloads_have_alike_is_told_once() {
        let same = || state("new", Some("it is text"), &["a"]);
        let all = one(vec![same(), PluginState { workloads: BTreeSet::from(["b".to_owned()]), ..same() }]);
        assert_eq!((all.problem.as_deref(), all.by_workload.len()), (Some("it is text"), 0));
        let policy = PluginState { kind: Kind::Policy, ..same() };
        assert_eq!(PluginState::one_each([same(), policy].into_iter()).len(), 2);
    }
}
