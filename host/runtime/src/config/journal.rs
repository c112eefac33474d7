//! Where every decision is kept with what led to it.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;

/// Where every decision is kept with what led to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalConfig {
    /// A file of this host alone.
    pub file: Option<JournalFile>,
    /// A stream.
    pub stream: Option<JournalStream>,
}

/// The file that keeps a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes after which it is turned over.
    pub max_size: u64,
    /// How many full files are kept beside the one being written.
    pub keep: u32,
}

/// The stream that keeps a journal. All but its name counts only where the host makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalStream {
    /// Its name.
    pub name: String,
    /// Servers that keep a copy.
    pub replicas: usize,
    /// How long a line is kept; `None` is until there is no room.
    pub max_age: Option<Duration>,
    /// Bytes of all lines together; the oldest go first.
    pub max_bytes: i64,
}

impl JournalConfig {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        let (max_size, keep) = (keys.get("journal.max-size"), keys.get("journal.keep"));
        let (replicas, max_age) = (keys.get("journal.replicas"), keys.maybe("journal.max-age"));
        let max_bytes = keys.get("journal.max-bytes");
        Self {
            file: keys.path("journal.path").map(|path| JournalFile { path, max_size, keep }),
            stream: keys.maybe("journal.stream").map(|name| JournalStream { name, replicas, max_age, max_bytes }),
        }
    }
}
