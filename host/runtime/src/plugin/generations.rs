//! Which generation of its handler a worker gets an instance of: the newest, or the one that a rollout says.

use std::sync::Arc;

use tokio::sync::watch;

use crate::contract::{Author, Fault};
use crate::digest::Digest;
use crate::plugin::{Generation, HandlerPlugin, HandlerWatch};
use crate::rollout::switch::{Choice, Newest, Switch, Version};

/// What a generation is called where nothing is known of plugins.
pub(super) fn author(generation: &Generation) -> Author {
    Author { plugin: generation.plugin.clone(), generation: generation.digest.clone() }
}

/// The rollouts of a handler.
pub(crate) type HandlerSwitch = Switch<Arc<HandlerPlugin>>;

impl Version for Arc<HandlerPlugin> {
    fn author(&self) -> Author {
        author(self.generation())
    }
}

/// The generations of a handler, as one worker meets them.
#[derive(Clone)]
pub(super) enum Generations {
    /// The newest, at once.
    Newest(HandlerWatch),
    /// As a rollout says.
    Chosen(Chosen),
}

/// What a rollout says to one worker.
#[derive(Clone)]
pub(super) struct Chosen {
    switch: Arc<HandlerSwitch>,
    choice: watch::Receiver<Choice<Arc<HandlerPlugin>>>,
    /// 0 before it is a worker's.
    worker: u64,
    /// The generation that was last taken.
    taken: Option<Digest>,
}

impl Generations {
    /// As these rollouts say.
    pub(super) fn chosen(switch: &Arc<HandlerSwitch>) -> Self {
        Self::Chosen(Chosen { switch: switch.clone(), choice: switch.choices(), worker: 0, taken: None })
    }

    /// The generation for this worker; `None` until one was loaded. From now on [`Generations::has_newer`] is about
    /// others.
    pub(super) fn take(&mut self, worker: u64) -> Option<Arc<HandlerPlugin>> {
        match self {
            Self::Newest(watch) => watch.current(),
            Self::Chosen(chosen) => {
                chosen.worker = worker;
                let plugin = chosen.choice.borrow_and_update().of(worker).cloned();
                chosen.taken = plugin.as_ref().map(|plugin| plugin.generation().digest.clone());
                plugin
            }
        }
    }

    /// What the worker gets in place of a generation that does not start: the one that a rollout compares it with, if
    /// there is a rollout. That is told of it.
    pub(super) fn in_place_of(&self, plugin: &Arc<HandlerPlugin>, fault: &Fault) -> Option<Arc<HandlerPlugin>> {
        let Self::Chosen(Chosen { switch, choice, .. }) = self else { return None };
        let stable = choice.borrow().stable().cloned()?;
        if matches!(fault, Fault::Room(_)) || stable.generation() == plugin.generation() {
            return None;
        }
        switch.does_not_start(plugin, &format!("an instance of it {fault}"));
        Some(stable)
    }

    /// Whether there is another generation for the worker than the one that was taken. Cheap.
    pub(super) fn has_newer(&mut self) -> bool {
        match self {
            Self::Newest(watch) => watch.has_changed(),
            Self::Chosen(chosen) => chosen.choice.has_changed().unwrap_or(false) && chosen.is_other(),
        }
    }

    /// Waits until [`Generations::has_newer`] is true.
    pub(super) async fn newer(&mut self) {
        match self {
            // Waiting for a change marks it as seen. Waiting on a clone leaves it for `take`.
            Self::Newest(watch) => watch.clone().changed().await,
            Self::Chosen(chosen) => chosen.newer().await,
        }
    }

    /// Waits until a generation was loaded.
    pub(super) async fn first(&mut self) -> Arc<HandlerPlugin> {
        loop {
            match self {
                Self::Newest(watch) => match watch.current() {
                    Some(plugin) => return plugin,
                    None => watch.changed().await,
                },
                Self::Chosen(chosen) => {
                    let loaded = chosen.choice.wait_for(|choice| choice.stable().is_some()).await;
                    if let Some(plugin) = loaded.ok().and_then(|choice| choice.stable().cloned()) {
                        return plugin;
                    }
                    std::future::pending().await
                }
            }
        }
    }

    /// Waits for a generation that came into use at once. A rollout tells of its own.
    pub(super) async fn another(&mut self) -> Arc<HandlerPlugin> {
        loop {
            let Self::Newest(watch) = self else { std::future::pending().await };
            watch.changed().await;
            if let Some(plugin) = watch.current() {
                return plugin;
            }
        }
    }
}

impl Chosen {
    /// Whether the choice for this worker is another than what was taken. If not, the change was none for it.
    fn is_other(&mut self) -> bool {
        let choice = self.choice.borrow_and_update();
        let is_other =
            choice.of(self.worker).is_some_and(|plugin| Some(&plugin.generation().digest) != self.taken.as_ref());
        drop(choice);
        if is_other {
            self.choice.mark_changed();
        }
        is_other
    }

    async fn newer(&mut self) {
        while !self.is_other() {
            if self.choice.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// The generations that a handler's file has, one after the other.
#[derive(Clone)]
pub(crate) struct HandlerFile {
    watch: HandlerWatch,
    given: Option<Digest>,
}

impl HandlerFile {
    pub(crate) fn new(watch: HandlerWatch) -> Self {
        Self { watch, given: None }
    }
}

impl Newest<Arc<HandlerPlugin>> for HandlerFile {
    async fn next(&mut self) -> Arc<HandlerPlugin> {
        loop {
            let current = self.watch.current();
            if let Some(plugin) = current.filter(|plugin| Some(&plugin.generation().digest) != self.given.as_ref()) {
                self.given = Some(plugin.generation().digest.clone());
                return plugin;
            }
            self.watch.changed().await;
        }
    }
}
