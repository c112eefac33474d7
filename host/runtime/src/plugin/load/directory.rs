//! Keeps the plugins that workloads ask for up to date with their files, with the objects of a bucket, or with the
//! artifacts in registries.
//!
//! Files are looked at when the directory changes and, at long intervals, without an event. Content that was not seen
//! before is loaded. If that fails, the generation before stays in use and the reason is logged once. The content on
//! disk now decides: loading is given up as soon as the file has other content.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::host::PluginHost;
use super::place::{Changes, Place};
use super::plugin_file::PluginFile;
use super::registry_places::RegistryPlaces;
use super::slot::{PluginSlot, PluginState, Watch};
use super::source::{file, signature_file};
use crate::config::{Limits, OciReference, Plugins};
use crate::delivery::slow_lane::roam;
use crate::plugin::run::kind::Wanted;
use crate::plugin::run::room::Room;
use crate::plugin::run::world::World;
use crate::ports::PluginObjects;

/// How long events are collected before files are looked at, where none says that a change has ended: a copy causes
/// many events. Files are not looked at more often than this because of events.
const DEBOUNCE: Duration = Duration::from_millis(75);

/// The plugin directory, or the bucket in its place. Watching ends when this is dropped; generations that were loaded
/// stay.
pub struct Directory {
    host: PluginHost,
    place: Place,
    asked: Arc<RequestedPlugins>,
    task: JoinHandle<()>,
    /// The watch of the bucket, once that is connected to.
    follows: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct RequestedPlugins {
    slots: Mutex<Vec<Arc<dyn AnySlot>>>,
    more: Notify,
    /// The plugins whose tasks have panicked.
    given_up: Mutex<Vec<String>>,
}

impl RequestedPlugins {
    /// The slots of plugins that workloads use. The others are forgotten.
    fn used(&self) -> Vec<Arc<dyn AnySlot>> {
        // Whoever asks for a plugin does so under the same lock.
        let mut slots = self.slots.lock();
        slots.retain(|slot| slot.is_used());
        slots.clone()
    }
}

/// A slot of a plugin of either world.
trait AnySlot: Any + Send + Sync {
    fn name(&self) -> &str;
    fn touch(&self);
    fn state(&self) -> PluginState;
    /// Whether a workload uses it. One that none uses is forgotten.
    fn is_used(&self) -> bool;
    /// Keeps the plugin up to date with its file, for ever.
    fn keep(
        self: Arc<Self>,
        host: PluginHost,
        place: Place,
        looks: watch::Receiver<bool>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<W: World> AnySlot for PluginSlot<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn touch(&self) {
        self.touched.store(true, Relaxed);
    }

    fn state(&self) -> PluginState {
        self.state()
    }

    fn is_used(&self) -> bool {
        self.is_used()
    }

    fn keep(
        self: Arc<Self>,
        host: PluginHost,
        place: Place,
        looks: watch::Receiver<bool>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Place::Registry(registry) = &place else {
                return PluginFile::new(host, place, self, looks).run().await;
            };
            let (registry, most, slot) = (registry.clone(), host.max_size(), self.clone());
            let file = PluginFile::new(host, place, self, registry.looks());
            tokio::select! {
                () = registry.follow(most) => {}
                () = registry.tell(|problem| slot.history.lock().unasked = problem) => {}
                () = file.run() => {}
            }
        })
    }
}

impl Directory {
    /// Begins to watch. A plugin is loaded when it is asked for first. Must be called in a tokio runtime.
    pub fn start(host: PluginHost, plugins: &Plugins) -> Self {
        let asked = Arc::new(RequestedPlugins::default());
        let place = Place::of(plugins);
        let keeper = DirectoryTask {
            host: host.clone(),
            place: place.clone(),
            asked: Arc::clone(&asked),
            changes: Changes::of(&place),
            registries: RegistryPlaces::new(&plugins.origin.oci),
        };
        let task = tokio::spawn(keeper.run(plugins.rescan));
        Self { host, place, asked, task, follows: Mutex::default() }
    }

    /// From now on the bucket is reached by this, if plugins come from one.
    pub(crate) fn reach(&self, store: Arc<dyn PluginObjects>) {
        if let Place::Bucket(bucket) = &self.place {
            self.follows.lock().spawn(bucket.clone().follow(store));
        }
    }

    /// Asks for room for this many instances of a plugin. The room of the process is divided between all that ask.
    pub(crate) fn room(&self, instances: u32) -> Arc<Room> {
        self.host.engines().rooms.claim(instances)
    }

    #[cfg(test)]
    pub(crate) fn watch<W: World>(&self, name: &str, limits: &Limits) -> Watch<W> {
        self.watch_as(name, &Wanted::default(), limits)
    }

    #[cfg(test)]
    pub(crate) fn watch_as<W: World>(&self, name: &str, wanted: &Wanted, limits: &Limits) -> Watch<W> {
        self.watch_for("work", name, wanted, limits)
    }

    /// Asks for a handler, or a policy, by its plugin name, for this workload, which has these limits and asks this of
    /// it.
    pub(crate) fn watch_for<W: World>(&self, workload: &str, name: &str, wanted: &Wanted, limits: &Limits) -> Watch<W> {
        let mut slots = self.asked.slots.lock();
        let found = slots.iter().find_map(|slot| {
            let slot: Arc<dyn Any + Send + Sync> = slot.clone();
            slot.downcast::<PluginSlot<W>>().ok().filter(|slot| slot.name == name && slot.wanted == *wanted)
        });
        let slot = found.unwrap_or_else(|| {
            let slot = Arc::new(PluginSlot::new(name, wanted, limits));
            slots.push(slot.clone());
            slot
        });
        slot.widen(limits);
        self.asked.more.notify_one();
        slot.watch(workload)
    }

    /// The plugins that workloads use, as they are now.
    pub(crate) fn plugins(&self) -> Vec<PluginState> {
        let slots = self.asked.slots.lock().clone();
        PluginState::one_each(slots.iter().filter(|slot| slot.is_used()).map(|slot| slot.state()))
    }

    /// Why no new generations can be loaded, where none of the files is at fault.
    pub(crate) fn problems(&self) -> Vec<String> {
        if self.task.is_finished() {
            return vec![
                "the plugin directory is not watched any more: its task has panicked; start the host again".to_owned(),
            ];
        }
        let unwatched = match &self.place {
            Place::Bucket(bucket) => bucket.problem(),
            Place::Directory(_) | Place::Registry(_) => None,
        };
        let of = |plugin: &String| {
            format!("the file of plugin {plugin} is not watched any more: its task has panicked; start the host again")
        };
        unwatched.into_iter().chain(self.asked.given_up.lock().iter().map(of)).collect()
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("place", &self.place.show("*")).finish_non_exhaustive()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task that says when files have to be looked at. Each plugin has a task of its own that looks at its file and
/// loads it, so that a slow one does not delay the others.
struct DirectoryTask {
    host: PluginHost,
    place: Place,
    asked: Arc<RequestedPlugins>,
    changes: Changes,
    registries: RegistryPlaces,
}

impl DirectoryTask {
    async fn run(mut self, rescan: Duration) {
        // Sends whether the directory is there. Each value that is sent makes the plugins look, even if it is the same
        // again.
        let (looks, look) = watch::channel(false);
        // The plugins' tasks end when this is dropped.
        let mut plugins = JoinSet::new();
        let mut tasks: Vec<(Arc<dyn AnySlot>, AbortHandle)> = Vec::new();
        loop {
            let slots = self.asked.used();
            // Where all plugins come from registries, there need be no directory.
            let is_there = slots.iter().any(|slot| !OciReference::is_one(slot.name())) && self.changes.look().await;
            let touched = self.changes.touched();
            let is = |slot: &Arc<dyn AnySlot>, other: &Arc<dyn AnySlot>| Arc::ptr_eq(slot, other);
            // Whom no workload uses any more: one that asks for the plugin again has a new slot.
            for (_, task) in tasks.extract_if(.., |(slot, _)| !slots.iter().any(|used| is(used, slot))) {
                task.abort();
            }
            for slot in &slots {
                let of_slot = file(Path::new(""), slot.name());
                if touched.contains(of_slot.as_os_str()) || touched.contains(signature_file(&of_slot).as_os_str()) {
                    slot.touch();
                }
            }
            for slot in slots {
                if tasks.iter().any(|(known, _)| is(known, &slot)) {
                    continue;
                }
                let name = slot.name().to_owned();
                // A plugin may compute in its trial.
                let kept = roam(slot.clone().keep(self.host.clone(), self.place_of(&name), look.clone()));
                tasks.push((slot, plugins.spawn(run(self.asked.clone(), name, kept))));
            }
            while plugins.try_join_next().is_some() {}
            looks.send_replace(is_there);
            let looked = Instant::now();
            tokio::select! {
                () = self.changes.changed() => self.collect(looked).await,
                () = self.asked.more.notified() => {}
                () = tokio::time::sleep(rescan) => {}
            }
        }
    }

    /// Where the plugin of this name comes from.
    fn place_of(&mut self, name: &str) -> Place {
        self.registries.of(name).map_or_else(|| self.place.clone(), Place::Registry)
    }

    /// Waits after an event until files should be looked at, which they were last at `looked`.
    async fn collect(&self, looked: Instant) {
        let ended = async {
            self.changes.ended().await;
            sleep_until(looked + DEBOUNCE).await;
        };
        let _ = timeout(DEBOUNCE, ended).await;
    }
}

/// Runs the task of one plugin, which ends only if it panics. The others go on.
async fn run(asked: Arc<RequestedPlugins>, plugin: String, kept: impl Future<Output = ()>) {
    if AssertUnwindSafe(kept).catch_unwind().await.is_err() {
        tracing::error!(
            plugin,
            "the task that watches its file has panicked; what is loaded stays until the host is started again"
        );
        asked.given_up.lock().push(plugin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(dir: &Path) -> Directory {
        let host = PluginHost::new(None).unwrap();
        let plugins = Plugins {
            dir: dir.to_owned(),
            rescan: Duration::MAX,
            cache: None,
            compile: Default::default(),
            origin: Default::default(),
        };
        Directory::start(host, &plugins)
    }

    #[tokio::test]
    async fn a_plugin_whose_task_panicked_is_told_and_so_is_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = directory(dir.path());
        assert_eq!(directory.problems(), Vec::<String>::new());
        run(directory.asked.clone(), "receipts".into(), async { panic!("a fault of this host") }).await;
        let told = directory.problems();
        assert!(told.len() == 1 && told[0].contains("plugin receipts is not watched any more"), "{told:?}");
        directory.task.abort();
        let _ = (&mut directory.task).await;
        let told = directory.problems();
        assert!(told.len() == 1 && told[0].starts_with("the plugin directory is not watched"), "{told:?}");
    }
}
