//! Plugins that come from a bucket: what is known of it, from the events of its watch.
//!
//! A limit of the bucket's stream, or a purge, removes an object without an event. So the bucket is looked at now and
//! then, and where anything has gone or come since, the watch is begun anew: it tells first all that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::file_progress::{Fingerprint, Stamp};
use super::refusal::PluginRefusal;
use super::source::{FileContent, file};
use crate::backoff::Backoff;
use crate::config::is_plugin_name;
use crate::config::units::show_size;
use crate::plugin::run::told_text::brief;
use crate::ports::{BucketMark, ObjectEvent, ObjectEvents, PluginObject, PluginObjects};
use crate::signature;

/// The shortest and the longest pause before a bucket is watched again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How often a bucket is looked at: in so many times `plugins.rescan`.
const LOOKS: u32 = 6;
/// How many plugins a message lists where one is missing, and characters of each.
const NAMED: (usize, usize) = (20, 100);
/// How many objects of a bucket are known here. Their descriptions take memory.
const MOST: usize = 10_000;
/// The longest name of a plugin here, in bytes; that of a file is no longer.
const LONGEST: usize = 255;

/// What is wrong with an object that is not what the bucket says.
const DAMAGED: &str = "its content is not what its digest in the bucket says; push it again";
const NO_DIGEST: &str = "the bucket does not say its SHA-256; put it there with `tidegate plugin push`";

/// A bucket of plugins, as it is known here.
pub(super) struct BucketPlace {
    name: String,
    look: Duration,
    store: OnceLock<Arc<dyn PluginObjects>>,
    seen: Mutex<Seen>,
    told_of_many: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    /// Whether all that is there was told once.
    known: bool,
    objects: BTreeMap<String, PluginObject>,
    /// The plugins, as names of files, to which something happened.
    touched: BTreeSet<OsString>,
    /// The revisions of objects that are not what the bucket says they are, and what is wrong.
    damaged: BTreeMap<String, (u64, String)>,
    /// Why it is not watched.
    problem: Option<String>,
    /// Why plugins do not stay in it, as it was told.
    forgetting: Option<String>,
}

/// What is there now, until all of it is told. What was known before stays known until then.
type There = Option<BTreeMap<String, PluginObject>>;

impl Seen {
    fn touch(&mut self, plugin: &str) {
        self.touched.insert(file(Path::new(""), plugin).into_os_string());
    }
}

impl BucketPlace {
    pub(super) fn new(name: &str, rescan: Duration) -> Arc<Self> {
        let (store, seen) = (OnceLock::new(), Mutex::default());
        Arc::new(Self {
            name: name.to_owned(),
            look: rescan.saturating_mul(LOOKS),
            store,
            seen,
            told_of_many: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Watches it for ever, from now on.
    pub(super) async fn follow(self: Arc<Self>, store: Arc<dyn PluginObjects>) {
        let store = self.store.get_or_init(|| store).clone();
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        loop {
            // Before the watch, which then tells whatever the look has not seen.
            let mark = self.look_at(&*store).await;
            let problem = match store.watch().await {
                Err(problem) => Some(problem),
                Ok(events) => self.watched(&*store, events, mark, &mut backoff).await,
            };
            if let Some(problem) = problem {
                self.lost(problem);
                sleep(backoff.pause()).await;
            }
        }
    }

    /// Takes what the watch tells. Returns why it has ended; `None` if the bucket has another mark than this.
    async fn watched(
        &self,
        store: &dyn PluginObjects,
        mut events: ObjectEvents,
        mark: Option<BucketMark>,
        backoff: &mut Backoff,
    ) -> Option<String> {
        let mut there = Some(BTreeMap::new());
        let mut look = pin!(sleep(self.look));
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(Ok(event)) => self.take(event, &mut there, backoff),
                    Some(Err(problem)) => return Some(problem),
                    None => return Some("the watch has ended; it is tried again".to_owned()),
                },
                () = look.as_mut(), if there.is_none() => {
                    let now = self.look_at(store).await;
                    if now.is_some() && now != mark {
                        return None;
                    }
                    look.set(sleep(self.look));
                }
            }
        }
    }

    /// The bucket's mark, if it can be looked at: why it cannot, the watch says. Whether plugins stay there is told.
    async fn look_at(&self, store: &dyn PluginObjects) -> Option<BucketMark> {
        let seen = store.look().await.ok()?;
        let mut told = self.seen.lock();
        if told.forgetting != seen.forgetting {
            if let Some(problem) = &seen.forgetting {
                tracing::warn!(bucket = self.name, problem, "plugins do not stay in the plugin bucket");
            }
            told.forgetting = seen.forgetting;
        }
        Some(seen.mark)
    }

    fn take(&self, event: ObjectEvent, there: &mut There, backoff: &mut Backoff) {
        let mut seen = self.seen.lock();
        match (event, there.as_mut()) {
            (ObjectEvent::Known, Some(_)) => {
                backoff.reset();
                let now = there.take().unwrap_or_default();
                let names: BTreeSet<String> = seen.objects.keys().chain(now.keys()).cloned().collect();
                for name in names {
                    if seen.objects.get(&name) != now.get(&name) {
                        seen.touch(&name);
                    }
                }
                (seen.objects, seen.known) = (now, true);
                if seen.problem.take().is_some() {
                    tracing::info!(bucket = self.name, "the plugin bucket is watched again");
                }
            }
            (ObjectEvent::Known, None) => return,
            (ObjectEvent::Put(object), Some(there)) => self.keep(there, object),
            (ObjectEvent::Removed(name), Some(there)) => drop(there.remove(&name)),
            (ObjectEvent::Put(object), None) => {
                seen.touch(&object.name);
                self.keep(&mut seen.objects, object);
            }
            (ObjectEvent::Removed(name), None) => {
                seen.touch(&name);
                seen.objects.remove(&name);
            }
        }
        drop(seen);
        if there.is_none() {
            self.changed.notify_one();
        }
    }

    /// Keeps what tells an object from another one. What cannot be a plugin is not kept.
    fn keep(&self, objects: &mut BTreeMap<String, PluginObject>, object: PluginObject) {
        if !is_plugin_name(&object.name) || object.name.len() > LONGEST {
            return;
        }
        if objects.len() >= MOST && !objects.contains_key(&object.name) {
            // Not for each of them: there may be any number.
            if !self.told_of_many.swap(true, Relaxed) {
                tracing::warn!(
                    bucket = self.name,
                    most = MOST,
                    "the plugin bucket has more objects than a host looks at; remove those that are not used"
                );
            }
            return;
        }
        objects.insert(object.name.clone(), PluginObject { signature: None, ..object });
    }

    fn lost(&self, problem: String) {
        let mut seen = self.seen.lock();
        if seen.problem.as_ref() != Some(&problem) {
            tracing::warn!(
                bucket = self.name,
                problem,
                "the plugin bucket is not watched; what is loaded stays and the rest waits"
            );
            seen.problem = Some(problem);
        }
    }

    /// Why it is not watched, if it is not.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.seen.lock().problem.clone()?;
        Some(format!("the plugin bucket {} is not watched: {problem}", self.name))
    }

    /// Whether it is known what is there.
    pub(super) fn is_known(&self) -> bool {
        self.seen.lock().known
    }

    /// Waits until something happened since this was last called.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The plugins, as names of files, to which something happened since this was last called.
    pub(super) fn touched(&self) -> BTreeSet<OsString> {
        std::mem::take(&mut self.seen.lock().touched)
    }

    /// How a plugin of it is called in what is told.
    pub(super) fn show(&self, plugin: &str) -> String {
        format!("{plugin} in the bucket {}", self.name)
    }

    /// A text that lists what is there.
    pub(super) fn others(&self) -> String {
        let seen = self.seen.lock();
        if seen.objects.is_empty() {
            return "the bucket has no plugins".to_owned();
        }
        let names: Vec<String> = seen.objects.keys().take(NAMED.0).map(|name| brief(name, NAMED.1)).collect();
        format!("the bucket has {}", names.join(", "))
    }

    /// What tells an object from the one that had its name before. A revision never stays the same.
    pub(super) fn fingerprint(&self, plugin: &str) -> Option<Fingerprint> {
        let seen = self.seen.lock();
        let object = seen.objects.get(plugin)?;
        let content =
            Stamp { device: 0, inode: object.revision, length: object.bytes, modified: None, changed: (0, 0) };
        Some(Fingerprint { content, signature: None, is_exact: true })
    }

    /// Reads an object whole, if it has at most so many bytes and is what the bucket says it is.
    pub(super) async fn read(&self, plugin: &str, most: u64) -> Result<FileContent, PluginRefusal> {
        let known = self.seen.lock().objects.get(plugin).cloned();
        let gone = || PluginRefusal::NoObject { plugin: plugin.to_owned(), bucket: self.name.clone() };
        let (Some(object), Some(store)) = (known, self.store.get()) else { return Err(gone()) };
        let revision = object.revision;
        // It stays as it is until it is another one, and is not read again and again.
        if let Some((_, why)) = self.seen.lock().damaged.get(plugin).filter(|(damaged, _)| *damaged == revision) {
            return Err(PluginRefusal::Object(why.clone()));
        }
        let allowed = |size: u64| {
            if size > most { Err(PluginRefusal::TooLarge { size, most: show_size(&most) }) } else { Ok(()) }
        };
        if let Some(why) = object.problem {
            return Err(PluginRefusal::Object(why));
        }
        allowed(object.bytes)?;
        let read = store.read(plugin, most).await.map_err(PluginRefusal::Object)?;
        // It may be another one by now, and is taken as it is described now.
        let (object, content) = read.ok_or_else(gone)?;
        allowed(object.bytes)?;
        let bytes = content.map_err(|why| self.damaged(plugin, revision, &why))?;
        // It may have more than its description says.
        allowed(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        let content = FileContent::new(plugin, bytes);
        match &object.digest {
            Some(said) if said == content.generation.digest.whole() => {}
            Some(_) => return Err(self.damaged(plugin, revision, DAMAGED)),
            None => return Err(self.damaged(plugin, revision, NO_DIGEST)),
        }
        let signature = object.signature.map(|text| match text.len() {
            0..=signature::MOST => Ok(text.into_bytes()),
            _ => Err("is larger than a signature is"),
        });
        Ok(content.signed(signature))
    }

    fn damaged(&self, plugin: &str, revision: u64, why: &str) -> PluginRefusal {
        self.seen.lock().damaged.insert(plugin.to_owned(), (revision, why.to_owned()));
        PluginRefusal::Object(why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::atomic::AtomicUsize;

    use futures_util::stream;

    use super::*;
    use crate::ports::{BucketSeen, ObjectContent, ObjectEvents, ObjectFuture};

    /// A bucket with one object, of which chunks are missing. It counts how often it is read.
    #[derive(Default)]
    struct Incomplete(AtomicUsize);

    fn object(revision: u64) -> PluginObject {
        PluginObject { name: "probe".to_owned(), revision, bytes: 9, digest: None, signature: None, problem: None }
    }

    impl PluginObjects for Incomplete {
        fn look(&self) -> ObjectFuture<'_, BucketSeen> {
            Box::pin(async { Err("it is not looked at".to_owned()) })
        }

        fn watch(&self) -> ObjectFuture<'_, ObjectEvents> {
            Box::pin(async { Ok(stream::pending().boxed()) })
        }

        fn read<'a>(&'a self, _: &'a str, _: u64) -> ObjectFuture<'a, Option<(PluginObject, ObjectContent)>> {
            self.0.fetch_add(1, Relaxed);
            Box::pin(async { Ok(Some((object(0), Err("of its 3 chunks the bucket has 2".to_owned())))) })
        }
    }

    #[tokio::test]
    async fn an_object_without_all_of_its_chunks_is_read_once_until_it_is_another() {
        let (place, store) = (BucketPlace::new("PLUGINS", Duration::MAX), Arc::new(Incomplete::default()));
        place.store.get_or_init(|| store.clone());
        let (mut known, mut backoff) = (None, Backoff::new(AGAIN.0, AGAIN.1));
        for (revision, reads) in [(7, 1), (7, 1), (8, 2), (8, 2)] {
            place.take(ObjectEvent::Put(object(revision)), &mut known, &mut backoff);
            let refused = place.read("probe", 100).await.map(drop).unwrap_err().to_string();
            assert!(refused.contains("of its 3 chunks the bucket has 2"), "{refused}");
            assert_eq!(store.0.load(Relaxed), reads);
        }
    }
    /// A bucket with these objects, of which the watch tells nothing after the first. It counts how often it is
    /// watched.
    struct Silent(Mutex<(Vec<PluginObject>, BucketMark)>, AtomicUsize);

    fn mark(messages: u64) -> BucketMark {
        BucketMark { created: "then".to_owned(), last: 9, messages }
    }

    impl Silent {
        fn new() -> Arc<Self> {
            Arc::new(Self(Mutex::new((vec![object(7)], mark(2))), AtomicUsize::new(0)))
        }
    }

    impl PluginObjects for Silent {
        fn look(&self) -> ObjectFuture<'_, BucketSeen> {
            let mark = self.0.lock().1.clone();
            Box::pin(async { Ok(BucketSeen { mark, forgetting: None }) })
        }

        fn watch(&self) -> ObjectFuture<'_, ObjectEvents> {
            self.1.fetch_add(1, Relaxed);
            let there: Vec<_> = self.0.lock().0.iter().cloned().map(ObjectEvent::Put).collect();
            let told = there.into_iter().chain([ObjectEvent::Known]).map(Ok);
            Box::pin(async { Ok(stream::iter(told).chain(stream::pending()).boxed()) })
        }

        fn read<'a>(&'a self, _: &'a str, _: u64) -> ObjectFuture<'a, Option<(PluginObject, ObjectContent)>> {
            Box::pin(async { Ok(None) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_has_gone_without_a_word_is_noticed_and_nothing_is_done_before() {
        let (rescan, store) = (Duration::from_secs(5), Silent::new());
        let place = BucketPlace::new("PLUGINS", rescan);
        let follows = tokio::spawn(place.clone().follow(store.clone()));
        place.changed().await;
        assert!(place.is_known() && place.fingerprint("probe").is_some());
        place.touched();
        sleep(rescan * LOOKS * 100).await;
        assert_eq!((store.1.load(Relaxed), place.touched().len()), (1, 0));
        *store.0.lock() = (Vec::new(), mark(1));
        place.changed().await;
        assert_eq!((place.fingerprint("probe").is_some(), place.touched().len()), (false, 1));
        follows.abort();
    }
}
