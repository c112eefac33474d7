//! Tells when something in a directory may have changed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::file_progress::Stamp;

/// Events of one directory. They only say when to look at files; looking finds out what changed.
pub(crate) struct DirectoryEvents {
    path: PathBuf,
    /// What it is the directory of, for the log.
    what: &'static str,
    changed: Arc<Notify>,
    /// A change has ended: a file that was written is closed, or one has come by a rename.
    ended: Arc<Notify>,
    /// The names of files to which something happened.
    touched: Arc<Mutex<BTreeSet<OsString>>>,
    /// The names of files that somebody writes and has not closed.
    written: Arc<Mutex<BTreeSet<OsString>>>,
    watching: Option<(RecommendedWatcher, (u64, u64))>,
    /// Whether it was logged that there can be no events.
    told: bool,
}

impl DirectoryEvents {
    pub(crate) fn new(path: &Path, what: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            what,
            changed: Arc::default(),
            ended: Arc::default(),
            touched: Arc::default(),
            written: Arc::default(),
            watching: None,
            told: false,
        }
    }

    /// Waits until something happened since this was last called.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until a change has ended since this was last called.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// The names of files to which something happened since this was last called.
    pub(crate) fn touched(&self) -> BTreeSet<OsString> {
        std::mem::take(&mut *self.touched.lock())
    }

    /// Whether somebody writes a file of such a name and has not closed it, as far as events have told.
    pub(crate) fn is_written(&self, named: impl Fn(&OsStr) -> bool) -> bool {
        self.written.lock().iter().any(|name| named(name))
    }

    /// Watches the directory that the path leads to now. It may be another directory than before, or a new one.
    pub(crate) fn follow(&mut self, metadata: &std::fs::Metadata) {
        let fingerprint = Stamp::of(metadata);
        let identity = (fingerprint.device, fingerprint.inode);
        if self.watching.as_ref().is_some_and(|(_, watched)| *watched == identity) {
            return;
        }
        // The old watcher is dropped first: it may watch the same path.
        self.watching = None;
        match self.watch() {
            Ok(watcher) => self.watching = Some((watcher, identity)),
            Err(error) if !self.told => {
                self.told = true;
                tracing::warn!(
                    directory = %self.path.display(), %error,
                    "the {} cannot be watched; changes are seen at the next rescan", self.what
                );
            }
            Err(_) => {}
        }
    }

    /// Stops watching: the directory is gone.
    pub(crate) fn lose(&mut self) {
        self.watching = None;
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let (changed, ended, touched) = (self.changed.clone(), self.ended.clone(), self.touched.clone());
        let written = self.written.clone();
        // What was told of another directory is past.
        written.lock().clear();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|event| ends_a_change(event.kind)) {
                ended.notify_one();
            }
            if let Ok(event) = &event {
                let names = event.paths.iter().filter_map(|path| path.file_name()).map(OsString::from);
                match writing(event.kind) {
                    Some(true) => written.lock().extend(names),
                    Some(false) => names.for_each(|name| {
                        written.lock().remove(&name);
                    }),
                    None => {}
                }
            }
            match event {
                Ok(event) if !matters(event.kind) => return,
                Ok(event) => {
                    let names = event.paths.iter().filter_map(|path| path.file_name()).map(OsString::from);
                    touched.lock().extend(names);
                }
                // Events may have been lost, so files are looked at.
                Err(_) => {}
            }
            changed.notify_one();
        })?;
        watcher.watch(&self.path, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// Whether an event can mean that a file changed. Reading is an event too, and looking at files reads them.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether a file is being written after an event (true), is not any more (false), or the event says nothing of that.
fn writing(kind: EventKind) -> Option<bool> {
    match kind {
        EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => Some(true),
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_)) => Some(false),
        _ => None,
    }
}

/// Whether what comes with an event is whole, as far as a file system tells: `cp` closes what it has written, and what
/// comes by a rename was written elsewhere.
fn ends_a_change(kind: EventKind) -> bool {
    let renamed = [RenameMode::To, RenameMode::Both].map(|mode| EventKind::Modify(ModifyKind::Name(mode)));
    kind == EventKind::Access(AccessKind::Close(AccessMode::Write)) || renamed.contains(&kind)
}
