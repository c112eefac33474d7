//! Reads files that somebody has named, which may be none: reading a pipe waits without end, and some devices have no
//! end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// It is a pipe, a device, a socket or a directory.
    #[error("it is not a file")]
    NoFile,
    /// It has more bytes than are read.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    /// The system says why.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes of a file, `most` at most.
///
/// # Errors
/// If it is none, is larger, or cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, NotRead> {
    is_file(path)?;
    read_any(path, most)
}

/// The same without blocking those who wait for other things.
pub(crate) async fn read_async(path: &Path, most: u64) -> Result<Vec<u8>, NotRead> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path, most)).await;
    read.unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

/// Whether it is a file, or a link to one.
pub(crate) fn is_file(path: &Path) -> Result<(), NotRead> {
    if std::fs::metadata(path)?.is_file() { Ok(()) } else { Err(NotRead::NoFile) }
}

/// The bytes of a file, a pipe or a device to its end, `most` at most.
pub(crate) fn read_any(path: &Path, most: u64) -> Result<Vec<u8>, NotRead> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) { Ok(bytes) } else { Err(NotRead::TooLarge(most)) }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A pipe that nobody writes to: whoever opened it would wait.
    pub(crate) fn pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let (file, fifo, link) =
            (directory.path().join("file"), directory.path().join("fifo"), directory.path().join("link"));
        std::fs::write(&file, "12345").unwrap();
        pipe(&fifo);
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert!(matches!(read(&file, 4), Err(NotRead::TooLarge(4))));
        for path in [&fifo, &link, directory.path()] as [&Path; 3] {
            assert!(matches!(read(path, 5), Err(NotRead::NoFile)), "{}", path.display());
        }
        assert!(matches!(read_any(&link, 1 << 20), Err(NotRead::TooLarge(_))));
        assert!(matches!(read(&directory.path().join("none"), 5), Err(NotRead::Io(_))));
    }
}
