//! The words that a key with a choice may have.

use super::error::Wrong;
use super::names::nearest;
use super::units::quoted;
use super::{Isolation, Manage, Retention, Source};

/// A choice of a few words.
pub(super) trait Word: Copy + PartialEq + Send + Sync + 'static {
    /// The words and what they mean.
    const WORDS: &'static [(&'static str, Self)];

    /// Reads a word.
    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Some((_, value)) = Self::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let all: Vec<String> = Self::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let remedy = match nearest(text, Self::WORDS.iter().map(|(word, _)| *word)) {
            Some(word) => format!("did you mean \"{word}\"? It can be {}", all.join(", ")),
            None => format!("it can be {}", all.join(", ")),
        };
        Err(Wrong::new(format!("{} is unknown", quoted(text)), remedy))
    }
}

impl Word for Manage {
    const WORDS: &'static [(&'static str, Self)] = &[("bind", Self::Bind), ("create", Self::Create)];
}

impl Word for Retention {
    const WORDS: &'static [(&'static str, Self)] =
        &[("limits", Self::Limits), ("interest", Self::Interest), ("workqueue", Self::Workqueue)];
}

impl Word for Isolation {
    const WORDS: &'static [(&'static str, Self)] = &[("worker", Self::Worker), ("message", Self::Message)];
}

impl Word for Source {
    const WORDS: &'static [(&'static str, Self)] = &[("info", Self::Info), ("headers", Self::Headers)];
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_word_is_read_and_a_wrong_one_is_told_the_right_ones() {
        assert_eq!(Manage::parse("create"), Ok(Manage::Create));
        let wrong = Source::parse("header").unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "\"header\" is unknown; did you mean \"headers\"? It can be \"info\", \"headers\""
        );
    }
}
