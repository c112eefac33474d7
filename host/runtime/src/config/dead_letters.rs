//! The stream that keeps dead letters.

use std::time::Duration;

use super::keys::{DEAD_LETTERS, HOST};
use super::reader::Reader;

/// The stream that keeps dead letters. All but its name counts only where the host makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetters {
    /// Its name.
    pub stream: String,
    /// Servers that keep a copy.
    pub replicas: usize,
    /// How long a letter is kept; `None` is for ever.
    pub max_age: Option<Duration>,
    /// Bytes of all letters together; `None` is no limit. A letter that does not fit is not taken, and its message
    /// stays in its own stream.
    pub max_bytes: Option<i64>,
}

impl DeadLetters {
    /// The stream that is used if no other is named.
    pub const STREAM: &str = DEAD_LETTERS;

    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        Self {
            stream: keys.get("dead-letters.stream"),
            replicas: keys.get("dead-letters.replicas"),
            max_age: keys.maybe("dead-letters.max-age"),
            max_bytes: keys.maybe("dead-letters.max-bytes"),
        }
    }
}

impl Default for DeadLetters {
    fn default() -> Self {
        Reader::of_nothing(HOST, Self::read)
    }
}
