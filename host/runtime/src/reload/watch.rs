//! Sees when the files of a configuration have changed, and has them read when they are whole.
//!
//! Both directories are watched and not the files: an editor puts another file in the place of the one before, and a
//! mounted directory of Kubernetes another directory. What is read is decided by looking, events only say when to look.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::Path;
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
    let mut watched = Watched::new(files);
    loop {
        watched.follow();
        let touched = watched.was_touched();
        if touched || Snapshot::take(files) != source.last() {
            watched.calm().await;
            source.look_again(BY).await;
        }
        watched.changed().await;
    }
}

/// The two directories in which files of a configuration are.
struct Watched<'a> {
    files: &'a ConfigFiles,
    beside: DirectoryEvents,
    fragments: DirectoryEvents,
}

impl<'a> Watched<'a> {
    fn new(files: &'a ConfigFiles) -> Self {
        let events = |path: &Path| DirectoryEvents::new(path, "directory of the configuration");
        Self { files, beside: events(&files.directory()), fragments: events(&files.fragment_directory()) }
    }

    /// Watches the directories that are there now.
    fn follow(&mut self) {
        for (events, path) in
            [(&mut self.beside, self.files.directory()), (&mut self.fragments, self.files.fragment_directory())]
        {
            match std::fs::metadata(path).ok().filter(|metadata| metadata.is_dir()) {
                Some(metadata) => events.follow(&metadata),
                None => events.lose(),
            }
        }
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
        let (mut seen, mut since) = (Snapshot::take(self.files), Instant::now());
        loop {
            sleep(CALM).await;
            self.follow();
            let now = Snapshot::take(self.files);
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
