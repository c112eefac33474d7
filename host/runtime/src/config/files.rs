//! The files that a configuration is read from: the one that is named, and fragments in a directory beside it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::{ConfigErrors, SourcePosition};
use super::flags::Flags;
use crate::bounded_file::{self, NotRead};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "tidegate.toml";
/// The directory of the fragments, beside the file.
const FRAGMENTS: &str = "workloads.d";
/// Bytes of the largest file.
pub(super) const LARGEST: u64 = 16 << 20;

/// What is wrong with a link to nothing.
const NO_TARGET: &str = "it is a link to what is not there";

/// Where a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFiles {
    file: PathBuf,
}

/// The text of a file.
#[derive(Debug, Clone)]
pub(super) struct ConfigText {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl ConfigFiles {
    /// What these flags have read: the file that they name, or `tidegate.toml` in the current directory if it is there
    /// and no stream is given. `None` where flags alone say what is run.
    pub fn of(flags: &Flags) -> Option<Self> {
        let file = match &flags.file {
            Some(path) => path.clone(),
            None if flags.workload.has("stream") => return None,
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists())?,
        };
        Some(Self { file })
    }

    #[cfg(test)]
    fn at(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// The file that was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The directory that the file is in.
    pub fn directory(&self) -> PathBuf {
        let parent = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    }

    /// The directory of the fragments, which need not be there.
    pub fn fragment_directory(&self) -> PathBuf {
        self.file.with_file_name(FRAGMENTS)
    }

    /// The fragments that are there now, in the order of their names. Files whose names begin with a dot, or do not end
    /// in `.toml`, are none.
    ///
    /// # Errors
    /// If there is something of the directory's name and it cannot be read as one.
    pub fn fragments(&self) -> io::Result<Vec<PathBuf>> {
        let directory = self.fragment_directory();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                let is_absent = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
                // A file of that name, or a link to nothing, is no directory that is not there.
                return if is_absent && directory.symlink_metadata().is_err() { Ok(Vec::new()) } else { Err(error) };
            }
        };
        let mut fragments = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            // An editor's own files begin with a dot or end otherwise.
            if text.ends_with(".toml") && !text.starts_with(['.', '#']) {
                fragments.push(directory.join(name));
            }
        }
        fragments.sort();
        Ok(fragments)
    }

    /// The text of the file, and that of each fragment.
    pub(super) fn read(&self) -> Result<(ConfigText, Vec<ConfigText>), ConfigErrors> {
        let main = read(&self.file)?;
        let fragments = self.fragments().map_err(|error| {
            let place = SourcePosition { file: Some(self.fragment_directory()), ..SourcePosition::default() };
            match error.kind() {
                ErrorKind::NotADirectory => place
                    .error("it is not a directory", "make it one, with files of [workload.NAME] tables, or remove it"),
                ErrorKind::NotFound => place.error(NO_TARGET, "put a directory where the link leads, or remove it"),
                _ => place.error(format!("it cannot be read: {error}"), "check the directory and its permissions"),
            }
        })?;
        let fragments = fragments.iter().map(|path| fragment(path, bounded_file::read(path, LARGEST)));
        Ok((main, fragments.collect::<Result<_, _>>()?))
    }

    /// Refuses to read a pipe or a device once more: it may have given all that it had, and reading it may wait
    /// without end.
    ///
    /// # Errors
    /// If the file is none.
    pub fn are_files(&self) -> Result<(), ConfigErrors> {
        match bounded_file::is_file(&self.file) {
            Err(error @ NotRead::NoFile) => Err(not_read(&self.file, &error)),
            // What else is wrong shows when it is read.
            _ => Ok(()),
        }
    }
}

/// The text of one file. A shell gives what a command prints as a pipe: `--config <(...)`.
pub(super) fn read(path: &Path) -> Result<ConfigText, ConfigErrors> {
    text(path, bounded_file::read_any(path, LARGEST))
}

/// The text of a fragment, which was there when its directory was read.
fn fragment(path: &Path, read: Result<Vec<u8>, NotRead>) -> Result<ConfigText, ConfigErrors> {
    match read {
        Err(NotRead::Io(error)) if error.kind() == ErrorKind::NotFound => {
            let place = SourcePosition { file: Some(path.to_owned()), ..SourcePosition::default() };
            Err(place.error(NO_TARGET, "put the file where the link leads, or remove the link").into())
        }
        read => text(path, read),
    }
}

fn text(path: &Path, read: Result<Vec<u8>, NotRead>) -> Result<ConfigText, ConfigErrors> {
    let is_text = |bytes| String::from_utf8(bytes).map_err(|_| io::Error::from(ErrorKind::InvalidData).into());
    let text = read.and_then(is_text).map_err(|error| not_read(path, &error))?;
    Ok(ConfigText { path: path.to_owned(), text })
}

fn not_read(path: &Path, error: &NotRead) -> ConfigErrors {
    let place = SourcePosition { file: Some(path.to_owned()), ..SourcePosition::default() };
    let error = match error {
        NotRead::NoFile => place.error(
            "it is not a file",
            "put a file or a link to one there; a pipe is read once, at the start, as what --config names",
        ),
        NotRead::TooLarge(most) => {
            place.error(format!("it has more than {} MiB", most >> 20), "name a configuration file, which is TOML")
        }
        NotRead::Io(error) => match error.kind() {
            ErrorKind::NotFound => place.error(
                "there is no such file",
                "give the right path to --config, write one with `tidegate new config`, or leave the file out and give \
                 --stream, --handler and --policy",
            ),
            ErrorKind::InvalidData => place.error("this is not text", "a configuration file is TOML in UTF-8"),
            _ => place.error(format!("it cannot be read: {error}"), "check the path and its permissions"),
        },
    };
    error.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bounded_file::tests::pipe;

    #[test]
    fn fragments_are_what_ends_in_toml_and_is_no_file_of_an_editor() {
        let directory = tempfile::tempdir().unwrap();
        let files = ConfigFiles::at(&directory.path().join("tidegate.toml"));
        assert_eq!(files.fragments().unwrap(), Vec::<PathBuf>::new());
        let beside = directory.path().join("workloads.d");
        std::fs::create_dir(&beside).unwrap();
        for name in ["b.toml", "a.toml", ".a.toml.swp", ".c.toml", "#a.toml#", ".#a.toml", "a.toml~", "a.txt"] {
            std::fs::write(beside.join(name), "").unwrap();
        }
        assert_eq!(files.fragments().unwrap(), [beside.join("a.toml"), beside.join("b.toml")]);
    }

    #[test]
    fn what_should_be_fragments_and_is_not_there_is_told_with_what_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let (main, beside) = (directory.path().join("tidegate.toml"), directory.path().join("workloads.d"));
        let files = ConfigFiles::at(&main);
        let refused = || files.read().map(|_| ()).unwrap_err().to_string();
        std::fs::write(&main, "").unwrap();
        std::fs::write(&beside, "[workload.a]").unwrap();
        assert!(refused().contains("workloads.d: it is not a directory; make it one"), "{}", refused());
        std::fs::remove_file(&beside).unwrap();
        std::os::unix::fs::symlink("nowhere", &beside).unwrap();
        assert!(refused().contains("workloads.d: it is a link to what is not there; put a dir"), "{}", refused());
        std::fs::remove_file(&beside).unwrap();
        std::fs::create_dir(&beside).unwrap();
        std::os::unix::fs::symlink("/nonexistent", beside.join("z.toml")).unwrap();
        assert!(refused().contains("workloads.d/z.toml: it is a link to what is not there; put the"), "{}", refused());
        // What is named may be in no directory at all: there is nothing beside it.
        assert_eq!(ConfigFiles::at(&main.join("tidegate.toml")).fragments().unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_file_without_a_directory_is_in_the_current_one() {
        let files = ConfigFiles::at(Path::new("tidegate.toml"));
        assert_eq!((files.directory(), files.fragment_directory()), (".".into(), "workloads.d".into()));
    }

    #[test]
    fn what_is_no_file_or_has_no_end_is_refused_by_name_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (main, beside) = (directory.path().join("tidegate.toml"), directory.path().join("workloads.d"));
        let (files, fragment) = (ConfigFiles::at(&main), beside.join("a.toml"));
        let refused = || files.read().map(|_| ()).unwrap_err().to_string();
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(&main, "").unwrap();
        pipe(&fragment);
        assert!(refused().contains("workloads.d/a.toml: it is not a file; put a file"), "{}", refused());
        std::fs::remove_file(&fragment).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &fragment).unwrap();
        assert!(refused().contains("workloads.d/a.toml: it is not a file; put a file"), "{}", refused());
        std::fs::remove_file(&fragment).unwrap();
        let large = std::fs::File::create(&fragment).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        assert!(refused().contains("workloads.d/a.toml: it has more than 16 MiB; "), "{}", refused());
        std::fs::remove_file(&fragment).unwrap();
        assert!(files.read().is_ok() && files.are_files().is_ok());
        // The file itself may be a pipe, once.
        std::fs::remove_file(&main).unwrap();
        std::os::unix::fs::symlink("/dev/null", &main).unwrap();
        assert!(files.read().is_ok());
        assert!(files.are_files().unwrap_err().to_string().contains("tidegate.toml: it is not a file; put a file"));
        std::fs::remove_file(&main).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &main).unwrap();
        assert!(refused().contains("tidegate.toml: it has more than 16 MiB; "), "{}", refused());
    }
}
