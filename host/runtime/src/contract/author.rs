//! Whose answer it is.

use std::sync::Arc;

use crate::digest::Digest;

/// Which code was running: it stands in dead letters and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The handler's plugin name.
    pub plugin: Arc<str>,
    /// The digest of its generation.
    pub generation: Digest,
}
