//! Temporary directories of compiled code.

use std::fs::{DirEntry, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tempfile::{Builder, TempDir};

/// How the directories of hosts begin.
const OF_HOST: &str = "tidegate-compiled-";
/// The file in such a directory that its host has locked.
const OWNER: &str = "owner";
/// Where the compiled code is in it.
const COMPILED: &str = "compiled";
/// How often a directory is removed again in which something was written meanwhile. Few files ever are.
const REMOVALS: usize = 1000;

/// A directory that is removed with all that is in it, though a thread of wasmtime's cache, which nobody can wait for,
/// still writes there.
#[derive(Debug)]
pub(super) struct TemporaryDirectory(PathBuf);

impl From<TempDir> for TemporaryDirectory {
    fn from(dir: TempDir) -> Self {
        Self(dir.keep())
    }
}

impl TemporaryDirectory {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a directory. What cannot be removed stays: there is nobody to tell.
fn remove(dir: &Path) {
    for _ in 0..REMOVALS {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            _ => return,
        }
    }
}

/// A cache for as long as a host runs. The next host removes what one has left that was killed.
#[derive(Debug)]
pub(super) struct TemporaryCache {
    /// Removed before the lock is given up.
    dir: TemporaryDirectory,
    _owner: File,
}

impl TemporaryCache {
    /// Makes one in the directory for temporary files.
    pub(super) fn new() -> io::Result<Self> {
        Self::in_dir(&std::env::temp_dir())
    }

    fn in_dir(parent: &Path) -> io::Result<Self> {
        forget_abandoned(parent);
        let dir = TemporaryDirectory::from(Builder::new().prefix(OF_HOST).tempdir_in(parent)?);
        // It gets its name when it is locked: a host that starts beside this one finds no owner, or one that lives.
        let unnamed = dir.path().join("starts");
        let owner = File::create_new(&unnamed)?;
        owner.lock()?;
        std::fs::rename(unnamed, dir.path().join(OWNER))?;
        Ok(Self { dir, _owner: owner })
    }

    /// The directory for the compiled code.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join(COMPILED)
    }
}

/// Removes the directories of this user's hosts that are gone.
fn forget_abandoned(parent: &Path) {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for dir in entries.filter(is_own).map(|entry| entry.path()) {
        let owner = File::open(dir.join(OWNER));
        if owner.is_ok_and(|owner| owner.try_lock().is_ok()) {
            remove(&dir);
        }
    }
}

/// Whether it is a directory of a host of this user. Others may write where it is.
fn is_own(entry: &DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(OF_HOST)
        && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_a_host_has_left_is_removed_by_the_next_and_what_one_uses_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let lives = TemporaryCache::in_dir(parent.path()).unwrap();
        std::fs::create_dir(lives.path()).unwrap();
        // As a host leaves it that is killed: the lock ends with it.
        let killed = TemporaryCache::in_dir(parent.path()).unwrap();
        let TemporaryCache { dir, _owner: owner } = killed;
        let left = dir.path().to_owned();
        std::mem::forget(dir);
        owner.unlock().unwrap();
        std::fs::write(left.join("code"), "x").unwrap();
        // What another host is about to make, and what is somebody else's.
        for other in ["tidegate-compiled-new", "tidegate-other"] {
            std::fs::create_dir(parent.path().join(other)).unwrap();
        }
        let next = TemporaryCache::in_dir(parent.path()).unwrap();
        assert!(!left.exists() && lives.path().exists() && names(parent.path()) == 4);
        drop((lives, next));
        assert_eq!(names(parent.path()), 2);
    }

    #[test]
    fn a_directory_in_which_somebody_still_writes_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let dir = TemporaryDirectory::from(tempfile::tempdir_in(parent.path()).unwrap());
            let path = dir.path().to_owned();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Where it is removed meanwhile nothing can be written.
                    (0..100).for_each(|number| _ = std::fs::write(path.join(number.to_string()), "x"));
                });
                drop(dir);
            });
            assert_eq!(names(parent.path()), 0);
        }
    }
}
