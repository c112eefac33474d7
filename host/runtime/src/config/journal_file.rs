//! Where a journal is kept on disk.

use std::path::PathBuf;

/// What a journal's file may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes after which it is turned over.
    pub max_size: u64,
    /// How many full files are kept beside the one being written.
    pub keep: u32,
}
