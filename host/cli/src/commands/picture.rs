//! The file that `--plot` names.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

/// How a picture gets into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is written beside and renamed, so that the file is whole or not there.
    Beside,
    /// It is written into what is there: what a link leads to, a device, a pipe.
    Into,
}

/// Whether a picture can be written there: better now than after the run. Nothing is made or changed.
///
/// # Errors
/// If it cannot.
pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    match way(file)? {
        Way::Beside => beside(file).map(drop).with_context(|| cannot_write(file)),
        // To open a pipe waits until somebody reads it.
        Way::Into if fs::metadata(file).is_ok_and(|there| there.is_file()) => {
            OpenOptions::new().write(true).open(file).map(drop).with_context(|| cannot_write(file))
        }
        Way::Into => Ok(()),
    }
}

/// Writes a picture.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(file: &Path, svg: &str) -> anyhow::Result<()> {
    let written = match way(file)? {
        Way::Beside => beside(file).and_then(|mut part| {
            part.write_all(svg.as_bytes())?;
            part.flush()?;
            part.persist(file).map(drop).map_err(|error| error.error)
        }),
        Way::Into => fs::write(file, svg),
    };
    written.with_context(|| cannot_write(file))
}

fn way(file: &Path) -> anyhow::Result<Way> {
    if file.is_dir() {
        bail!("{}: it is a directory; name a file in it", cannot_write(file));
    }
    match fs::symlink_metadata(file) {
        Ok(there) if !there.is_file() => Ok(Way::Into),
        _ => Ok(Way::Beside),
    }
}

fn cannot_write(file: &Path) -> String {
    format!("--plot: cannot write {}", file.display())
}

/// A file beside this one, which becomes it when it is whole, and is gone otherwise.
fn beside(file: &Path) -> io::Result<NamedTempFile> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut named = tempfile::Builder::new();
    named.prefix(".").suffix(".part");
    #[cfg(unix)]
    named.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    named.tempfile_in(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_there_and_is_no_file_of_its_own_is_written_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, pipe) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("pipe"));
        fs::write(&real, "a long text that was there before").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        check(&link).unwrap();
        write(&link, "<svg/>").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "<svg/>");

        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // Open for both it waits for nobody.
        let mut reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        check(&pipe).unwrap();
        write(&pipe, "<svg/>").unwrap();
        let mut read = [0; 6];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"<svg/>");
        assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_new_file_is_whole_or_not_there_and_a_directory_is_refused_before_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new.svg");
        check(&file).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write(&file, "<svg/>").unwrap();
        write(&file, "<svg />").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "<svg />");
        let refused = check(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with("it is a directory; name a file in it"), "{refused}");
        let refused = check(Path::new("/nowhere/at/all.svg")).unwrap_err().to_string();
        assert_eq!(refused, "--plot: cannot write /nowhere/at/all.svg");
    }
}
