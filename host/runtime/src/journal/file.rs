//! A file that is turned over when it is full: `journal.jsonl`, then `journal.jsonl.1`, up to as many as are kept.

use crate::config::JournalFile;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why a journal's file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another host has it.
    #[error(
        "the journal {0} is written by another process\n  Give each host a file of its own: journal.path, or --journal."
    )]
    Taken(PathBuf),
    /// What is there is something else, which is not touched.
    #[error(
        "{0} is no journal: it does not begin as one does, and stays as it is\n  Name another file: journal.path, or \
         --journal."
    )]
    NoJournal(PathBuf),
    /// The system refuses.
    #[error(
        "the journal {path} cannot be written: {error}\n  Name a file in a directory that is there and can be written."
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// How each line begins, and so a file that is a journal.
const HEAD: &[u8] = b"{\"journal\":";

/// The file that is being written.
#[derive(Debug)]
pub(super) struct Rotated {
    options: JournalFile,
    file: File,
    size: u64,
    /// Whether it is a file, and no pipe or device, which is written and otherwise left alone.
    is_file: bool,
    /// A write did not end well, so the last line may lack its end.
    broken: bool,
}

impl Rotated {
    pub(super) fn open(options: JournalFile) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io { path: options.path.clone(), error };
        let (mut file, size, is_file) = open(&options.path).map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::Taken(options.path.clone()),
            TryLockError::Error(error) => failed(error),
        })?;
        if !is_file {
            return Ok(Self { options, file, size: 0, is_file, broken: false });
        }
        if !is_journal(&mut file).map_err(failed)? {
            return Err(OpenError::NoJournal(options.path));
        }
        let whole = whole(&mut file, size).map_err(failed)?;
        if whole < size {
            tracing::warn!(file = %options.path.display(), bytes = size - whole,
                "the journal's last line was cut off, as when a host dies; it is removed");
            file.set_len(whole).map_err(failed)?;
        }
        Ok(Self { options, file, size: whole, is_file, broken: false })
    }

    /// Begins a new file where somebody has moved or removed this one; whether that was so.
    ///
    /// # Errors
    /// If there is no place for it any more.
    pub(super) fn follow(&mut self) -> Result<bool, OpenError> {
        let failed = |error| OpenError::Io { path: self.options.path.clone(), error };
        let mine = self.file.metadata().map_err(failed)?;
        match std::fs::metadata(&self.options.path) {
            Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        *self = Self::open(self.options.clone())?;
        Ok(true)
    }

    /// Whether the file is full before so many bytes more.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.is_file && self.size > 0 && self.size.saturating_add(more as u64) > self.options.max_size
    }

    /// Begins a new file. The oldest is removed where as many are kept as may be.
    pub(super) fn turn_over(&mut self) -> io::Result<()> {
        let path = &self.options.path;
        for number in (0..=self.options.keep).rev() {
            let from = numbered(path, number);
            let moved = if number == self.options.keep {
                std::fs::remove_file(&from)
            } else {
                std::fs::rename(&from, numbered(path, number + 1))
            };
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let (file, size, is_file) = open(path).map_err(io::Error::from)?;
        (self.file, self.size, self.is_file, self.broken) = (file, size, is_file, false);
        Ok(())
    }

    /// Writes a line, whole or not at all as far as a reader can tell.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.broken && self.is_file {
            self.file.set_len(self.size)?;
        }
        self.broken = false;
        self.file.write_all(line).inspect_err(|_| self.broken = true)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

/// Opens it for this process alone: how large it is, and whether it is a file.
fn open(path: &Path) -> Result<(File, u64, bool), TryLockError> {
    let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(TryLockError::Error)?;
    file.try_lock()?;
    let there = file.metadata().map_err(TryLockError::Error)?;
    Ok((file, there.len(), there.is_file()))
}

/// Whether the file begins as a journal does, as far as it goes: a host may have died in its first line.
fn is_journal(file: &mut File) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(HEAD.len() as u64).read_to_end(&mut begin)?;
    Ok(HEAD.starts_with(&begin))
}

/// Up to where the file holds whole lines.
fn whole(file: &mut File, size: u64) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// `path` itself, or with a number.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::fs;

    use tempfile::tempdir;

    use super::*;

    fn options(dir: &Path, keep: u32) -> JournalFile {
        JournalFile { path: dir.join("j"), max_size: 10, keep }
    }

    fn write(file: &mut Rotated, line: &str) {
        if file.is_full(line.len()) {
            file.turn_over().unwrap();
        }
        file.write(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_full_file_is_turned_over_and_the_oldest_is_removed() {
        let dir = tempdir().unwrap();
        let mut file = Rotated::open(options(dir.path(), 2)).unwrap();
        for line in ["one one\n", "two two\n", "three\n", "4\n", "five five five\n"] {
            write(&mut file, line);
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!(read("j").as_deref(), Some("five five five\n"));
        assert_eq!(read("j.1").as_deref(), Some("three\n4\n"));
        assert_eq!(read("j.2").as_deref(), Some("two two\n"));
        assert_eq!(read("j.3"), None);
    }

    #[test]
    fn without_old_files_a_full_one_begins_anew() {
        let dir = tempdir().unwrap();
        let mut file = Rotated::open(options(dir.path(), 0)).unwrap();
        write(&mut file, "one one\n");
        write(&mut file, "two two\n");
        assert_eq!(fs::read_to_string(dir.path().join("j")).unwrap(), "two two\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_line_that_was_cut_off_is_removed() {
        let dir = tempdir().unwrap();
        fs::write(dir.path().join("j"), "{\"journal\":1}\n{\"journ").unwrap();
        let mut file = Rotated::open(JournalFile { max_size: 100, ..options(dir.path(), 0) }).unwrap();
        write(&mut file, "next\n");
        assert_eq!(fs::read_to_string(dir.path().join("j")).unwrap(), "{\"journal\":1}\nnext\n");
        drop(file);
        for cut in ["{\"journ", "{\"journal\":1,\"ti"] {
            fs::write(dir.path().join("j"), cut).unwrap();
            Rotated::open(options(dir.path(), 0)).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("j")).unwrap(), "");
        }
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused_and_left_as_it_is() {
        let dir = tempdir().unwrap();
        for other in [&b"\0asm\x0d\0\x01\0"[..], b"a note\nand its la", b"[journal]\npath = \"j\"\n", b"{}\n"] {
            fs::write(dir.path().join("j"), other).unwrap();
            let refused = Rotated::open(options(dir.path(), 0)).unwrap_err();
            assert!(matches!(refused, OpenError::NoJournal(_)), "{refused}");
            assert_eq!(fs::read(dir.path().join("j")).unwrap(), other);
        }
    }

    #[test]
    fn what_is_no_file_is_written_and_never_moved_away() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("j");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut file = Rotated::open(options(dir.path(), 2)).unwrap();
        for line in ["one one\n", "two two\n"] {
            write(&mut file, line);
        }
        assert!(!file.follow().unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let mut read = [0; 16];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one one\ntwo two\n");
    }

    #[test]
    fn two_hosts_cannot_write_one_file() {
        let dir = tempdir().unwrap();
        let _one = Rotated::open(options(dir.path(), 0)).unwrap();
        assert!(matches!(Rotated::open(options(dir.path(), 0)), Err(OpenError::Taken(_))));
    }
}
