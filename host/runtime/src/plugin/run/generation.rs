//! What names a compiled version of a plugin.

use std::sync::Arc;

use crate::digest::Digest;

/// One compiled version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The plugin's name: its file's stem.
    pub plugin: Arc<str>,
    /// The digest of the bytes that were compiled.
    pub digest: Digest,
}
