//! Looks at one plugin's file, loads its content and puts it into use.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::file_progress::{FileProgress, Fingerprint, RefusalCause, Refused, RefusedAction, UnreadableNotice};
use super::host::PluginHost;
use super::late::{WITHIN, tell_late};
use super::place::Place;
use super::refusal::PluginRefusal;
use super::slot::PluginSlot;
use super::source::FileContent;
use crate::clock::time_of_day;
use crate::config::Limits;
use crate::digest::{Digest, shown};
use crate::duration::millis;
use crate::plugin::run::world::{Plugin, World};

/// How often it is checked, while content is loaded, that the file still has this content.
const WATCH: Duration = Duration::from_millis(100);

/// Keeps one plugin up to date with its file.
pub(super) struct PluginFile<W> {
    host: PluginHost,
    place: Place,
    /// How it is called in what is told.
    shown: String,
    slot: Arc<PluginSlot<W>>,
    /// The limits of the last trial.
    tried: Limits,
    /// Changes when the file has to be looked at. The value is whether the directory is there.
    looks: watch::Receiver<bool>,
    progress: FileProgress,
}

impl<W: World> PluginFile<W> {
    pub(super) fn new(host: PluginHost, place: Place, slot: Arc<PluginSlot<W>>, looks: watch::Receiver<bool>) -> Self {
        let (shown, tried) = (place.show(&slot.name), slot.limits());
        Self { host, place, shown, tried, slot, looks, progress: FileProgress::default() }
    }

    pub(super) async fn run(mut self) {
        loop {
            let is_there = *self.looks.borrow_and_update();
            let again = if is_there { self.look().await } else { None };
            tokio::select! {
                changed = self.looks.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            }
        }
    }

    /// Looks at the file. Returns after how long to look again; `None` is when something happens.
    async fn look(&mut self) -> Option<Duration> {
        let limits = self.slot.limits();
        if self.tried != limits {
            self.tried = limits;
            self.progress.reconsider();
        }
        if self.slot.touched.swap(false, Relaxed) {
            self.progress.suspect();
        }
        let now = Instant::now();
        let fingerprint = match self.fingerprint().await {
            Some(fingerprint) => fingerprint,
            // A file that can be read after all came in between. The next look is soon.
            None => {
                match self.read().await {
                    Ok(_) => return Some(Duration::ZERO),
                    Err(refusal) => self.unreadable(&refusal),
                }
                return self.progress.look_again(now);
            }
        };
        if !self.progress.needs_reading(fingerprint, now) {
            return self.progress.look_again(now);
        }
        match self.read().await {
            Ok(source) => self.consider(source, fingerprint, now).await,
            Err(refusal) => {
                self.unreadable(&refusal);
                self.progress.look_again(now)
            }
        }
    }

    async fn read(&mut self) -> Result<FileContent, PluginRefusal> {
        let (host, place, slot) = self.parts();
        self.of_disk(async move { place.read(&host, &slot.name).await }).await
    }

    async fn fingerprint(&mut self) -> Option<Fingerprint> {
        let (host, place, slot) = self.parts();
        self.of_disk(async move { place.fingerprint(&host, &slot.name).await }).await
    }

    fn parts(&self) -> (PluginHost, Place, Arc<PluginSlot<W>>) {
        (self.host.clone(), self.place.clone(), self.slot.clone())
    }

    /// Waits for what asks the disk. If that takes long it is told: nothing of this file is seen before it has ended.
    /// Other places tell it themselves.
    async fn of_disk<T>(&mut self, asks: impl Future<Output = T>) -> T {
        match self.place {
            Place::Directory(_) => tell_late(asks, || self.unreadable(&PluginRefusal::NoAnswer(WITHIN))).await,
            Place::Bucket(_) | Place::Registry(_) => asks.await,
        }
    }

    /// Whether the file has this content, and this signature.
    async fn is_still_there(&mut self, identity: &str, known: Fingerprint) -> bool {
        match self.fingerprint().await {
            Some(now) if now == known => true,
            Some(_) => self.read().await.is_ok_and(|source| source.identity() == identity),
            None => false,
        }
    }

    /// Loads content that was read, unless it is known.
    async fn consider(&mut self, source: FileContent, fingerprint: Fingerprint, read: Instant) -> Option<Duration> {
        let (digest, identity) = (source.generation.digest.clone(), source.identity());
        let needs_loading = self.progress.needs_loading(&identity, read);
        let is_in_use = self.slot.generation().as_ref() == Some(&digest);
        if needs_loading && is_in_use && self.host.check_signature(&source).is_ok() {
            // It was put back after something else was refused, or is signed anew.
            self.progress.loaded(&identity);
            self.place.loaded(&digest).await;
        } else if needs_loading {
            let began = Instant::now();
            let loaded = match self.host.checked::<W>(source, &self.slot.wanted) {
                Err(refusal) => Err(refusal),
                Ok(checked) => {
                    self.tell_long(&checked.source);
                    tokio::select! {
                        biased;
                        loaded = self.host.make_checked(checked, &self.tried, &self.slot.wanted) => loaded,
                        // Loading is dropped, and a child process that compiles is killed.
                        () = withdrawn(&self.host, &self.place, &self.slot, &identity, fingerprint) => {
                            return self.tell_withdrawn(&digest);
                        }
                    }
                }
            };
            match loaded {
                // The content on disk now decides, not the content when loading began.
                Ok(_) if !self.is_still_there(&identity, fingerprint).await => {
                    return self.tell_withdrawn(&digest);
                }
                Ok(loaded) => {
                    self.adopt(loaded, &identity, began);
                    self.place.loaded(&digest).await;
                }
                Err(PluginRefusal::Stopping) => return None,
                Err(refusal) => {
                    if !self.refuse(&refusal, &identity, fingerprint, began) {
                        self.progress.suspect();
                        return self.progress.look_again(Instant::now());
                    }
                    if self.slot.generation().is_none() {
                        self.begin_with_what_was_before().await;
                    }
                }
            }
        }
        if self.progress.is_loaded(&identity) {
            self.slot.history.lock().problem = None;
        }
        self.progress.settle(fingerprint, read);
        self.progress.look_again(Instant::now())
    }

    fn tell_long(&self, source: &FileContent) {
        let mebibytes = source.bytes.len() >> 20;
        if mebibytes > 0 {
            tracing::info!(
                plugin = self.slot.name, generation = %source.generation.digest, mebibytes,
                "loading {}: compiling it may take some seconds, unless it is in the cache", self.shown
            );
        }
    }

    fn tell_withdrawn(&mut self, digest: &Digest) -> Option<Duration> {
        tracing::info!(
            plugin = self.slot.name, generation = %digest,
            "{} has changed while this generation was loaded, which will not be used", self.shown
        );
        self.progress.suspect();
        Some(Duration::ZERO)
    }

    fn adopt(&mut self, loaded: Plugin<W>, identity: &str, began: Instant) {
        self.progress.loaded(identity);
        let digest = loaded.generation().digest.clone();
        self.slot.adopt(loaded);
        let milliseconds = millis(began.elapsed());
        tracing::info!(plugin = self.slot.name, generation = %digest, milliseconds, "loaded {}", self.shown);
    }

    /// Notes and logs a refusal. `false` if the file may be half written.
    fn refuse(&mut self, refusal: &PluginRefusal, identity: &str, fingerprint: Fingerprint, began: Instant) -> bool {
        let (reason, file, digest) = (refusal.to_string(), self.shown.clone(), shown(identity));
        let cause = match refusal {
            refusal if refusal.may_be_half_written() => RefusalCause::HalfWritten,
            refusal if refusal.may_pass_later() => RefusalCause::Outside,
            _ => RefusalCause::File,
        };
        let refused = Refused { digest: identity, reason: &reason, cause, fingerprint, took: began.elapsed() };
        match self.progress.refused(refused, time_of_day(), Instant::now()) {
            RefusedAction::Wait => {
                tracing::debug!(plugin = self.slot.name, reason, "{file} may be half written");
                return false;
            }
            RefusedAction::Known => {
                tracing::debug!(plugin = self.slot.name, generation = %digest, reason, "{file} was refused again")
            }
            RefusedAction::Tell => {
                self.slot.refused(&reason);
                let later = if cause == RefusalCause::Outside { "; it will be tried again" } else { "" };
                tracing::warn!(
                    plugin = self.slot.name,
                    generation = %digest,
                    "refused {file}: {reason}; {}{later}",
                    self.slot.what_stays()
                );
            }
        }
        true
    }

    /// Where what is there now is refused at a start, puts what was good before into use. The refusal stays told, and
    /// what is there is tried again as it would be.
    async fn begin_with_what_was_before(&mut self) {
        let Some(source) = self.place.before(&self.host).await else { return };
        let identity = source.identity();
        match self.host.make(source, &self.tried, &self.slot.wanted).await {
            Ok(loaded) => {
                self.progress.began_with(&identity);
                let digest = loaded.generation().digest.clone();
                self.slot.adopt(loaded);
                tracing::warn!(
                    plugin = self.slot.name, generation = %digest,
                    "{} is refused; what was fetched before is used until another one can be", self.shown
                );
            }
            // It was good once, for another use or before the configuration was another.
            Err(refusal) => tracing::debug!(
                plugin = self.slot.name, generation = %shown(&identity), reason = %refusal,
                "what was fetched before is refused too"
            ),
        }
    }

    fn unreadable(&mut self, refusal: &PluginRefusal) {
        let (plugin, file) = (self.slot.name.as_str(), &self.shown);
        self.slot.history.lock().problem = Some(refusal.to_string());
        match self.progress.unreadable(&refusal.told_as()) {
            UnreadableNotice::Nothing => {}
            UnreadableNotice::Waiting => {
                tracing::warn!(plugin, "waiting for {file}: {refusal}; {}", self.place.others(plugin));
            }
            UnreadableNotice::Kept(generation) => {
                let generation = shown(&generation);
                tracing::warn!(plugin, generation, "{file}: {refusal}; the generation in use stays");
            }
        }
    }
}

/// Ends when the file no longer has this content, or this signature.
async fn withdrawn<W>(host: &PluginHost, place: &Place, slot: &PluginSlot<W>, identity: &str, mut known: Fingerprint) {
    loop {
        tokio::time::sleep(WATCH).await;
        let touched = slot.touched.swap(false, Relaxed);
        match place.fingerprint(host, &slot.name).await {
            Some(now) if now == known && !touched => {}
            Some(now) => match place.read(host, &slot.name).await {
                Ok(source) if source.identity() == identity => known = now,
                _ => return,
            },
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tidegate_artifacts::policies;
    use tidegate_test_artifacts::probes;

    use super::super::registry_place::tests::place;
    use super::*;
    use crate::plugin::run::handler::HandlerWorld;
    use crate::plugin::run::kind::Wanted;

    #[tokio::test]
    async fn a_disk_that_does_not_answer_is_told_until_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let host = PluginHost::new(None).unwrap();
        let slot = Arc::new(PluginSlot::<HandlerWorld>::new("a", &Wanted::default(), &Limits::default()));
        let _watch = slot.watch("work");
        let (_looks, look) = watch::channel(true);
        let mut file = PluginFile::new(host, Place::Directory(dir.path().to_owned()), slot.clone(), look);
        tokio::time::pause();
        file.of_disk(tokio::time::sleep(WITHIN / 2)).await;
        assert_eq!(slot.state().problem, None);
        file.of_disk(tokio::time::sleep(WITHIN * 2)).await;
        let problem = slot.state().problem.unwrap();
        assert!(problem.contains("has not answered for 10s"), "{problem}");
        tokio::time::resume();
        std::fs::write(dir.path().join("a.wasm"), probes::WORKER_V1).unwrap();
        file.look().await;
        let state = slot.state();
        assert_eq!((state.generation, state.problem), (Some(Digest::of(probes::WORKER_V1)), None));
    }

    #[tokio::test]
    async fn at_a_start_what_was_good_before_is_used_while_what_is_there_is_refused() {
        let (compiled, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let host = PluginHost::new(Some(compiled.path())).unwrap();
        let start = || {
            let registry = place(Some(kept.path()));
            let slot = Arc::new(PluginSlot::<HandlerWorld>::new("a", &Wanted::default(), &Limits::default()));
            let watch = slot.watch("work");
            let looks = registry.looks();
            let file = PluginFile::new(host.clone(), Place::Registry(registry.clone()), slot.clone(), looks);
            (registry, slot, watch, file)
        };
        let (registry, slot, _watch, mut file) = start();
        registry.leads_to(probes::WORKER_V1);
        file.look().await;
        let good = Digest::of(probes::WORKER_V1);
        assert_eq!(slot.generation().as_ref(), Some(&good));
        // The next start finds that the reference leads to what cannot be used.
        let (registry, slot, _watch, mut file) = start();
        registry.leads_to(policies::FIXED);
        for _ in 0..2 {
            assert_eq!(file.look().await, None);
            let state = slot.state();
            assert_eq!((state.generation.as_ref(), state.loaded, state.refused), (Some(&good), 1, 1));
            assert!(state.problem.unwrap().contains("it is a policy"));
        }
        registry.leads_to(probes::WORKER_V2);
        file.look().await;
        let state = slot.state();
        assert_eq!((state.generation, state.problem), (Some(Digest::of(probes::WORKER_V2)), None));
    }
}
