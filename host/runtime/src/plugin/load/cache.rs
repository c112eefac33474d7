//! The cache of compiled code, which is kept between runs in a directory that only this user can write to.
//!
//! Its files are run as native code without a check, so whoever can write there owns the host.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmtime::{Cache, CacheConfig};

use crate::clock::time_of_day;

/// The beginning of the extension of files that wasmtime's cache is still writing.
const UNFINISHED: &str = "wip-atomic-write";
/// The beginning of the name of a directory that a process compiles in.
pub(super) const COMPILING: &str = "compiling-";
/// The beginning of the name of a file that is still being written, as `tempfile` has it.
const TEMPORARY: &str = ".tmp";
/// The age from which on nobody uses these any more: twice the longest that `plugins.compile-time` can be.
const ABANDONED: Duration = Duration::from_secs(2 * 60 * 60);

/// Why the directory cannot keep compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory cannot be made or read.
    #[error("the cache directory {}: {}; choose another one, or switch the cache off", dir.display(), words(source))]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The path is no directory.
    #[error("the cache directory {} is not a directory; choose another one, or switch the cache off", dir.display())]
    NotADirectory {
        /// The path.
        dir: PathBuf,
    },
    /// Others can plant code in the directory, or could before.
    #[error(
        "in the cache directory, {} can be written to by others (mode {mode:o}), and code there is run unchecked; \
         whatever they may have put there stays if only the mode is changed, so delete it (`rm -r {}`), choose another \
         directory, or switch the cache off", path.display(), dir.display()
    )]
    Shared {
        /// The directory, or what is in it.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The owner of the directory, or of a file in it, can plant code in it.
    #[error(
        "in the cache directory, {} belongs to another user (id {owner}), and code there is run unchecked; delete it \
         (`rm -r {}`), choose another directory, or switch the cache off", path.display(), dir.display()
    )]
    Foreign {
        /// The directory, or what is in it.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
        /// The user it belongs to.
        owner: u32,
    },
    /// The cache itself did not start.
    #[error("the cache in {}: {reason}; choose another directory, or switch the cache off", dir.display())]
    Broken {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
}

/// What failed, without the name of a temporary file, which is another one each time.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" at path \"").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// Opens the cache in `dir`, which is made if it is not there.
pub(super) fn open(dir: &Path) -> Result<Cache, CacheError> {
    let dir = prepare(dir)?;
    let mut config = CacheConfig::new();
    config.with_directory(&dir);
    // Compiled code is written once, by the process that compiled it and for this user alone. Nothing writes it again
    // with better compression.
    config.with_optimized_compression_usage_counter_threshold(u64::MAX);
    Cache::new(config).map_err(|error| CacheError::Broken { dir, reason: format!("{error:#}") })
}

/// Makes and checks the directory; returns its absolute path.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf, CacheError> {
    let failed = |source| CacheError::Io { dir: dir.to_owned(), source };
    let metadata = match std::fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(dir).map_err(failed)?;
            std::fs::metadata(dir).map_err(failed)?
        }
        other => other.map_err(failed)?,
    };
    if !metadata.is_dir() {
        return Err(CacheError::NotADirectory { dir: dir.to_owned() });
    }
    check(dir, &metadata)?;
    dir.canonicalize().map_err(failed)
}

fn create(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir)
}

/// Checks that the directory and all that is in it belong to this user, and that nobody else can write there.
fn check(dir: &Path, metadata: &Metadata) -> Result<(), CacheError> {
    let failed = |source| CacheError::Io { dir: dir.to_owned(), source };
    // Checked before anything is written there.
    private(dir, dir, metadata, metadata.uid())?;
    // The user of this process is the owner of the files that it makes.
    let own = tempfile::tempfile_in(dir).and_then(|file| file.metadata()).map_err(failed)?.uid();
    private(dir, dir, metadata, own)?;
    let mut unread = vec![dir.to_owned()];
    while let Some(within) = unread.pop() {
        let entries = match std::fs::read_dir(&within) {
            // Another process has just removed the directory that it compiled in.
            Err(error) if error.kind() == io::ErrorKind::NotFound && within != dir => continue,
            other => other.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let metadata = match std::fs::symlink_metadata(&path) {
                // Another host has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            // Counts of use are no code.
            if path.extension().is_some_and(|extension| extension == "stats") {
                continue;
            }
            private(dir, &path, &metadata, own)?;
            if metadata.is_dir() {
                unread.push(path);
            }
        }
    }
    Ok(())
}

/// Removes unfinished files. Another host that is writing one just now finds it gone, and tries again.
pub(super) fn forget_unfinished(dir: &Path) {
    let mut unread = vec![dir.to_owned()];
    while let Some(within) = unread.pop() {
        for entry in std::fs::read_dir(&within).into_iter().flatten().flatten() {
            let path = entry.path();
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if extension.starts_with(UNFINISHED) {
                // A file that cannot be removed fails the next write too, which is then reported.
                let _ = std::fs::remove_file(&path);
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                unread.push(path);
            }
        }
    }
}

/// Removes what processes have left in the directory that were killed while they compiled or wrote. What other hosts
/// are writing just now stays.
pub(super) fn forget_abandoned(dir: &Path) {
    let now = time_of_day();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // Another host may just have removed it.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        let is_abandoned = |age| is_abandoned(&entry.file_name().to_string_lossy(), metadata.is_dir(), age);
        if !age.is_some_and(is_abandoned) {
            continue;
        }
        // What cannot be removed is tried again the next time.
        let _ = match metadata.is_dir() {
            true => std::fs::remove_dir_all(entry.path()),
            false => std::fs::remove_file(entry.path()),
        };
    }
}

fn is_abandoned(name: &str, is_directory: bool, age: Duration) -> bool {
    name.starts_with(if is_directory { COMPILING } else { TEMPORARY }) && age > ABANDONED
}

fn private(dir: &Path, path: &Path, metadata: &Metadata, own: u32) -> Result<(), CacheError> {
    let (dir, path) = (dir.to_owned(), path.to_owned());
    let mode = metadata.mode() & 0o7777;
    // The cache makes no links. A link leads elsewhere, and its mode always has all bits.
    if mode & 0o022 != 0 {
        Err(CacheError::Shared { path, dir, mode })
    } else if metadata.uid() != own {
        Err(CacheError::Foreign { path, dir, owner: metadata.uid() })
    } else {
        Ok(())
    }
}

/// Takes the right to write from all others, for the files in a directory that only this user could write to all along.
/// A process whose umask lets its group write has made such files when it compiled.
pub(super) fn tighten(dir: &Path) {
    let mut unread = vec![dir.to_owned()];
    while let Some(within) = unread.pop() {
        // A file that cannot be read or changed is found and reported when the cache is opened the next time.
        for entry in std::fs::read_dir(&within).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.mode() & 0o022 != 0 && !metadata.is_symlink() {
                let _ = std::fs::set_permissions(entry.path(), Permissions::from_mode(metadata.mode() & 0o755));
            }
            if metadata.is_dir() {
                unread.push(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_new_directory_is_for_this_user_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        open(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o777)).unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(matches!(error, CacheError::Shared { mode: 0o777, .. }), "{error}");
        assert!(error.to_string().contains("rm -r") && !error.to_string().contains("chmod"), "{error}");
    }

    #[test]
    fn what_others_could_write_within_is_refused_after_the_directory_itself_was_closed_to_them() {
        let root = tempfile::tempdir().unwrap();
        let (dir, file) = (root.path().join("modules/wasmtime"), root.path().join("modules/wasmtime/planted"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(&file, "code").unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (path, bits) in [(&dir, 0o755), (&dir.parent().unwrap().to_owned(), 0o755), (&file, 0o644)] {
            mode(path, bits);
        }
        open(root.path()).unwrap();
        for planted in [&dir, &file] {
            mode(planted, 0o777);
            let error = open(root.path()).unwrap_err().to_string();
            assert!(error.contains(planted.to_str().unwrap()) && error.contains("delete it"), "{error}");
            mode(planted, 0o755);
        }
        mode(&file, 0o666);
        tighten(root.path());
        open(root.path()).unwrap();
    }

    #[test]
    fn what_was_not_written_to_its_end_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("modules/wasmtime");
        std::fs::create_dir_all(&dir).unwrap();
        for name in ["whole", "whole.stats", "half.wip-atomic-write-mod"] {
            std::fs::write(dir.join(name), "code").unwrap();
        }
        forget_unfinished(root.path());
        let mut left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["whole", "whole.stats"]);
    }

    #[test]
    fn what_another_user_has_put_there_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("planted");
        std::fs::write(&file, "code").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        // Only the superuser can give a file away.
        if std::os::unix::fs::chown(&file, Some(12_345), None).is_ok() {
            let error = open(root.path()).unwrap_err();
            assert!(matches!(error, CacheError::Foreign { owner: 12_345, .. }), "{error}");
        }
    }

    #[test]
    fn a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(open(file.path()), Err(CacheError::NotADirectory { .. })));
        // Whoever starts the host is told what names another one.
        let told = crate::plugin::PluginHost::new(Some(file.path())).unwrap_err().to_string();
        assert!(told.ends_with("switch the cache off (plugins.cache; --cache-dir or --no-cache)"), "{told}");
    }

    #[test]
    fn the_name_of_a_temporary_file_is_not_told() {
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        let error = tempfile::NamedTempFile::new_in(&gone).unwrap_err();
        assert!(error.to_string().contains(TEMPORARY), "{error}");
        assert_eq!(words(&error), io::Error::from_raw_os_error(2).to_string());
    }
}
