//! The words that a key with a choice may have.

use super::error::Wrong;
use super::names::nearest;
use super::units::quoted;

/// A choice of a few words.
pub(super) trait Word: Copy + PartialEq + Send + Sync + 'static {
    /// The words and what they mean.
    const WORDS: &'static [(&'static str, Self)];

    /// The words.
    fn words() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).collect()
    }

    /// Reads a word.
    fn parse(text: &str) -> Result<Self, Wrong> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| unknown(text, &Self::words()))
    }
}

/// The one of `words` that the text is.
pub(super) fn choose(text: &str, words: &[&'static str]) -> Result<&'static str, Wrong> {
    words.iter().find(|word| **word == text).copied().ok_or_else(|| unknown(text, words))
}

fn unknown(text: &str, words: &[&str]) -> Wrong {
    let all = listed(words);
    let remedy = match nearest(text, words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"? It can be {all}"),
        None => format!("it can be {all}"),
    };
    Wrong::new(format!("{} is unknown", quoted(text)), remedy)
}

/// The words in quotes, with commas between.
pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// Whether the host may make streams and consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manage {
    /// They must be there, with settings that can work.
    #[default]
    Bind,
    /// What is missing is created; what is there must have settings that can work.
    Create,
}

impl Word for Manage {
    const WORDS: &'static [(&'static str, Self)] = &[("bind", Self::Bind), ("create", Self::Create)];
}

/// When a stream lets go of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// When its limits say so.
    #[default]
    Limits,
    /// When every consumer has acknowledged it.
    Interest,
    /// When the one consumer has acknowledged it.
    Workqueue,
}

impl Word for Retention {
    const WORDS: &'static [(&'static str, Self)] =
        &[("limits", Self::Limits), ("interest", Self::Interest), ("workqueue", Self::Workqueue)];
}

/// How long a handler instance lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// As long as its worker.
    #[default]
    Worker,
    /// For one message.
    Message,
}

impl Word for Isolation {
    const WORDS: &'static [(&'static str, Self)] = &[("worker", Self::Worker), ("message", Self::Message)];
}

/// Where the signals of an observation come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignalSource {
    /// Consumer and stream state.
    #[default]
    Info,
    /// A headers-only consumer that sees every message.
    Headers,
}

impl SignalSource {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Headers => "headers",
        }
    }
}

impl Word for SignalSource {
    const WORDS: &'static [(&'static str, Self)] =
        &[(Self::Info.as_str(), Self::Info), (Self::Headers.as_str(), Self::Headers)];
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_word_is_read_and_a_wrong_one_is_told_the_right_ones() {
        assert_eq!(Manage::parse("create"), Ok(Manage::Create));
        let wrong = SignalSource::parse("header").unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "\"header\" is unknown; did you mean \"headers\"? It can be \"info\", \"headers\""
        );
    }
}
