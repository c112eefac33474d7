//! Sees when the files of a configuration have changed, and has them read when they are whole.
//!
//! Both directories are watched and not the files: an editor puts another file in the place of the one before, and a
//! mounted directory of Kubernetes another directory. What is read is decided by looking, events only say when to look.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::snapshot::Snapshot;
use super::source::ConfigSource;
use crate::config::ConfigFiles;
use crate::plugin::DirectoryEvents;

/// How often files are looked at without an event.
const RESCAN: Duration = Duration::from_secs(5);
/// How long they have to stay as they are before they are read.
const CALM: Duration = Duration::from_millis(100);
/// The same where somebody has not closed one of them, or was not seen to.
const OPEN: Duration = Duration::from_secs(5);
/// What the log calls it.
const BY: &str = "a file has changed";

/// Has the configuration read again whenever its files have changed, for ever.
pub(crate) async fn watch(source: &ConfigSource) -> Infallible {
    let files = source.files().filter(|files| files.file().metadata().is_ok_and(|metadata| metadata.is_file()));
    let (Some(files), true) = (files, source.config().reload_watch) else {
        return std::future::pending().await;
    };
    let mut watched = Watched::new(source, files);
    loop {
        watched.follow().await;
        let touched = watched.was_touched();
        // A disk that does not answer is told by who reads it.
        if touched || watched.snapshot().await.is_none_or(|now| now != source.last()) {
            watched.calm().await;
            source.look_again(BY).await;
        }
        watched.changed().await;
    }
}

/// The two directories in which files of a configuration are.
struct Watched<'a> {
    source: &'a ConfigSource,
    files: &'a ConfigFiles,
    beside: DirectoryEvents,
    fragments: DirectoryEvents,
}

impl<'a> Watched<'a> {
    fn new(source: &'a ConfigSource, files: &'a ConfigFiles) -> Self {
        let events = |path: &Path| DirectoryEvents::new(path, "directory of the configuration");
        Self { source, files, beside: events(&files.directory()), fragments: events(&files.fragment_directory()) }
    }

    /// Watches the directories that are there now.
    async fn follow(&mut self) {
        let paths = [self.files.directory(), self.files.fragment_directory()];
        let is_there = |path: PathBuf| std::fs::metadata(path).ok().filter(Metadata::is_dir);
        let Ok(found) = self.source.ask_disk(move |_| paths.map(is_there)).await else { return };
        for (events, found) in [&mut self.beside, &mut self.fragments].into_iter().zip(found) {
            match found {
                Some(metadata) => events.follow(&metadata),
                None => events.lose(),
            }
        }
    }

    /// The files as they are now. `None` if the disk does not answer.
    async fn snapshot(&self) -> Option<Snapshot> {
        let files = self.files.clone();
        self.source.ask_disk(move |_| Snapshot::take(&files)).await.ok()
    }

    /// Waits until something has happened in one of them, or long enough.
    async fn changed(&self) {
        tokio::select! {
            () = self.beside.changed() => {}
            () = self.fragments.changed() => {}
            () = sleep(RESCAN) => {}
        }
    }

    /// Whether something has happened to one of the files since this was asked last, though it may look the same.
    fn was_touched(&self) -> bool {
        let touched = (self.beside.touched(), self.fragments.touched());
        touched.0.iter().any(|name| self.is_main(name)) || touched.1.iter().any(|name| is_fragment(name))
    }

    /// Waits until the files are whole, as far as can be seen.
    async fn calm(&mut self) {
        let (mut seen, mut since) = (self.snapshot().await, Instant::now());
        loop {
            sleep(CALM).await;
            self.follow().await;
            let now = self.snapshot().await;
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if !self.is_open() || since.elapsed() >= OPEN {
                // What has happened until now is read now.
                self.was_touched();
                return;
            }
        }
    }

    /// Whether somebody writes one of the files and has not closed it.
    fn is_open(&self) -> bool {
        self.beside.is_written(|name| self.is_main(name)) || self.fragments.is_written(is_fragment)
    }

    fn is_main(&self, name: &OsStr) -> bool {
        self.files.file().file_name() == Some(name)
    }
}

fn is_fragment(name: &OsStr) -> bool {
    name.to_string_lossy().ends_with(".toml")
}
