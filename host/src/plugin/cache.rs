//! Where compiled code is kept between runs: a directory that only this user can write to.
//!
//! What lies in it is run as native code without a check, so whoever can write there owns the host.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use wasmtime::{Cache, CacheConfig};

/// Why the directory cannot keep compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or read.
    #[error("the cache directory {}: {source}; choose another one, or switch the cache off", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// It is something else.
    #[error("the cache directory {} is not a directory; choose another one, or switch the cache off", dir.display())]
    NotADirectory {
        /// The path.
        dir: PathBuf,
    },
    /// Others could plant code in it.
    #[error(
        "the cache directory {} can be written to by others (mode {mode:o}), and code in it is run unchecked; \
         do `chmod 700 {}`, choose another one, or switch the cache off", dir.display(), dir.display()
    )]
    Shared {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Its owner could plant code in it.
    #[error(
        "the cache directory {} belongs to another user (id {owner}), and code in it is run unchecked; \
         choose another one, or switch the cache off", dir.display()
    )]
    Foreign {
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

/// Opens the cache in `dir`, which is made if it is not there.
pub(super) fn open(dir: &Path) -> Result<Cache, CacheError> {
    let dir = prepare(dir)?;
    let mut config = CacheConfig::new();
    config.with_directory(&dir);
    Cache::new(config).map_err(|error| CacheError::Broken { dir, reason: format!("{error:#}") })
}

/// Makes and checks the directory; returns its absolute path.
fn prepare(dir: &Path) -> Result<PathBuf, CacheError> {
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
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(unix)]
fn check(dir: &Path, metadata: &Metadata) -> Result<(), CacheError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(CacheError::Shared { dir: dir.to_owned(), mode });
    }
    // Who runs this is who owns the files this makes.
    let probe = tempfile::tempfile_in(dir).and_then(|file| file.metadata());
    match probe {
        Ok(own) if own.uid() == metadata.uid() => Ok(()),
        Ok(_) => Err(CacheError::Foreign { dir: dir.to_owned(), owner: metadata.uid() }),
        Err(source) => Err(CacheError::Io { dir: dir.to_owned(), source }),
    }
}

#[cfg(not(unix))]
fn check(_: &Path, _: &Metadata) -> Result<(), CacheError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt;

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
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let error = open(root.path()).unwrap_err();
        assert!(matches!(error, CacheError::Shared { mode: 0o777, .. }), "{error}");
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    #[test]
    fn a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(open(file.path()), Err(CacheError::NotADirectory { .. })));
    }
}
