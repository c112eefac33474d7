//! All that is known of a message.

use tidegate_runtime::config::Workload;
use tidegate_runtime::dead_letter::Letter;
use tidegate_runtime::jetstream::Lookup;

use super::decisions::Around;
use super::fate::Fate;

/// All that is known of a message.
pub(super) struct Known {
    pub(super) workload: Workload,
    pub(super) sequence: u64,
    pub(super) found: Lookup,
    pub(super) fate: Fate,
    /// The configuration file that says where they are.
    pub(super) file: String,
    /// The dead letters of it, the oldest first.
    pub(super) letters: Vec<Letter>,
    /// Why the dead letters are not known.
    pub(super) letters_problem: Option<String>,
    pub(super) around: Around,
}
