//! Looks at one plugin's file, loads its content and puts it into use.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::file_progress::{FileProgress, Fingerprint, RefusalCause, Refused, RefusedAction, UnreadableNotice};
use super::host::PluginHost;
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
        let fingerprint = match self.place.fingerprint(&self.host, &self.slot.name).await {
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

    async fn read(&self) -> Result<FileContent, PluginRefusal> {
        self.place.read(&self.host, &self.slot.name).await
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
            self.tell_long(&source);
            let loaded = tokio::select! {
                biased;
                loaded = self.host.make(source, &self.tried, &self.slot.wanted) => loaded,
                // Loading is dropped, and a child process that compiles is killed.
                () = withdrawn(&self.host, &self.place, &self.slot, &identity, fingerprint) => {
                    return self.tell_withdrawn(&digest);
                }
            };
            match loaded {
                // The content on disk now decides, not the content when loading began.
                Ok(_) if !is_still_there(&self.host, &self.place, &self.slot.name, &identity, fingerprint).await => {
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

    fn unreadable(&mut self, refusal: &PluginRefusal) {
        let (plugin, file) = (self.slot.name.as_str(), &self.shown);
        self.slot.history.lock().problem = Some(refusal.to_string());
        match self.progress.unreadable(&refusal.to_string()) {
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

/// Whether the file has this content, and this signature.
async fn is_still_there(host: &PluginHost, place: &Place, plugin: &str, identity: &str, known: Fingerprint) -> bool {
    match place.fingerprint(host, plugin).await {
        Some(now) if now == known => true,
        Some(_) => place.read(host, plugin).await.is_ok_and(|source| source.identity() == identity),
        None => false,
    }
}
