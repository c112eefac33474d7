//! What the messages of one key have in common.

use std::fmt;

use super::error::Wrong;
use super::units::quoted;

/// The highest token of a subject that a key can be.
const TOKENS: usize = 128;
/// What an order key looks like.
const REMEDY: &str = "write \"subject:2\" for the second token of the subject, \"subject\" for all of it, or \
                      \"header:Order-Id\"";

/// What the messages of one key have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderKey {
    /// The subject.
    Subject,
    /// This token of the subject, from 1.
    Token(usize),
    /// The first value of this header.
    Header(String),
}

impl OrderKey {
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |problem: &str| Wrong::new(format!("{} {problem}", quoted(text)), REMEDY);
        match text.split_once(':') {
            None if text == "subject" => Ok(Self::Subject),
            Some(("subject", number)) => match number.parse() {
                Ok(number) if (1..=TOKENS).contains(&number) => Ok(Self::Token(number)),
                _ => Err(wrong("does not name a token of the subject by its number, from 1 to 128")),
            },
            Some(("header", name)) => {
                let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
                if is_name { Ok(Self::Header(name.to_owned())) } else { Err(wrong("does not name a header")) }
            }
            _ => Err(wrong("is no key")),
        }
    }

    /// Whether messages of this subject, which may have wildcards, can have it.
    pub(super) fn may_be_in(&self, subject: &str) -> bool {
        match self {
            Self::Token(number) => subject.ends_with('>') || subject.split('.').count() >= *number,
            Self::Subject | Self::Header(_) => true,
        }
    }
}

impl fmt::Display for OrderKey {
    /// As something that a message has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("the subject"),
            Self::Token(number) => write!(f, "token {number} of the subject"),
            Self::Header(name) => write!(f, "the header {name}"),
        }
    }
}

/// Checks what a file has.
pub(super) fn rule(text: &str) -> Result<(), Wrong> {
    OrderKey::parse(text).map(|_| ())
}
