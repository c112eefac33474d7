//! Writes a crate in one step: there is all of it, or nothing.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;

use super::{CONFIG, ScaffoldFile};

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// There is something of that name.
    #[error("{0} is there already and was not touched; choose another name, or remove it first")]
    Occupied(PathBuf),
    /// A file or directory could not be written.
    #[error("cannot write {0}: {1}; run this in a directory that may be written to and has room")]
    Write(PathBuf, io::Error),
}

/// Writes the files into the new directory `target`: first under a temporary name beside it, which then becomes its.
///
/// # Errors
/// If there is something at `target`, or a file cannot be written. Then nothing is left behind.
pub fn place(target: &Path, files: &[ScaffoldFile]) -> Result<(), PlaceError> {
    if target.symlink_metadata().is_ok() {
        return Err(PlaceError::Occupied(target.to_owned()));
    }
    let failed = |file: &Path, error| PlaceError::Write(file.to_owned(), error);
    let beside = beside(target).map_err(|error| failed(target, error))?;
    // Not the temporary directory itself, which only its owner may read.
    let part = beside.path().join("crate");
    for (path, bytes) in files {
        write(&part.join(path), bytes).map_err(|error| failed(&target.join(path), error))?;
    }
    // Of two at once one makes the directory. What is full can take the place only of what is empty.
    std::fs::create_dir(target).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => PlaceError::Occupied(target.to_owned()),
        _ => failed(target, error),
    })?;
    std::fs::rename(part, target).map_err(|error| {
        // It goes only if it is as empty as it was made.
        std::fs::remove_dir(target).ok();
        failed(target, error)
    })
}

/// Writes a configuration to begin with into the new file `target`.
///
/// # Errors
/// If there is something at `target`, or it cannot be written.
pub fn place_config(target: &Path) -> Result<(), PlaceError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => PlaceError::Occupied(target.to_owned()),
        _ => PlaceError::Write(target.to_owned(), error),
    };
    let mut file = std::fs::File::create_new(target).map_err(failed)?;
    file.write_all(CONFIG.as_bytes()).map_err(|error| {
        // Half of it would be taken for the whole.
        std::fs::remove_file(target).ok();
        failed(error)
    })
}

/// A directory on the same file system as `target`, which removes itself.
fn beside(target: &Path) -> io::Result<TempDir> {
    let parent = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    tempfile::Builder::new().prefix(".tidegate-new-").tempdir_in(parent)
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(file, bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn file(path: &str) -> ScaffoldFile {
        (path.into(), path.as_bytes().to_vec())
    }

    fn entries(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn all_files_are_in_the_new_directory_and_nothing_else_is_left() {
        let dir = TempDir::new().unwrap();
        place(&dir.path().join("new"), &[file("a"), file("b/c/d")]).unwrap();
        assert_eq!(entries(dir.path()), ["new"]);
        assert_eq!(std::fs::read(dir.path().join("new/b/c/d")).unwrap(), b"b/c/d");
    }

    #[test]
    fn the_new_directory_has_the_rights_of_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("other")).unwrap();
        place(&dir.path().join("new"), &[file("a")]).unwrap();
        let mode = |name| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("new"), mode("other"));
    }

    #[test]
    fn what_is_there_is_not_touched() {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        std::fs::write(dir.path().join("file"), "mine").unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        for name in ["empty", "file", "link"] {
            let error = place(&dir.path().join(name), &[file("a")]).unwrap_err();
            assert!(error.to_string().contains("is there already and was not touched"), "{error}");
        }
        assert_eq!(entries(dir.path()).len(), 3);
        assert!(entries(&dir.path().join("empty")).is_empty());
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"mine");
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let dir = TempDir::new().unwrap();
        // A file cannot lie in a file.
        let error = place(&dir.path().join("new"), &[file("a"), file("a/b")]).unwrap_err();
        assert!(error.to_string().contains("cannot write") && error.to_string().contains("new/a/b"), "{error}");
        assert!(entries(dir.path()).is_empty());
        assert!(matches!(place(&dir.path().join("no/new"), &[]), Err(PlaceError::Write(..))));
    }
}
