//! What a new crate may be called: a name that cargo takes for a package, and tidegate for a plugin.

use std::str::FromStr;

use thiserror::Error;

/// The longest name that crates.io takes.
const LONGEST: usize = 64;
/// Words of Rust, which cannot name a library, and names that a library cannot have because others do.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "humantime",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "proptest",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "tidegate_guest",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// A name for a package and a plugin: lower-case letters, digits, `-` and `_`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrateName(String);

/// Why a name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// It is empty.
    #[error("the name is empty; write one such as queue-age")]
    Empty,
    /// It is a path.
    #[error("\"{0}\" is a path; write only the name, and run this where the new directory shall be")]
    Path(String),
    /// It has a character that it may not have.
    #[error("\"{name}\" holds {character:?}; use lower-case letters, digits, - and _{example}")]
    Character {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
        /// What may be meant, as the end of a sentence.
        example: String,
    },
    /// It begins with something other than a letter.
    #[error(
        "\"{0}\" begins with {first:?}; begin with a lower-case letter",
        first = .0.chars().next().unwrap_or_default()
    )]
    Beginning(String),
    /// It is too long.
    #[error("\"{0}\" is longer than {LONGEST} characters; choose a shorter name")]
    Long(String),
    /// The plugin that comes with the crate has the name already.
    #[error("\"{0}\" is the plugin that the new one is tried with; choose another name, such as my-{0}")]
    Companion(String),
    /// Rust or a crate that is used has the name already.
    #[error("\"{0}\" is a word of Rust or a crate that is used; choose another name, such as my-{0}")]
    Taken(String),
}

impl CrateName {
    /// The name as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the library has in Rust, and in the file that cargo makes.
    pub fn library(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for CrateName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.to_owned();
        let Some(first) = text.chars().next() else { return Err(NameError::Empty) };
        if text.contains(['/', '\\']) {
            return Err(NameError::Path(name));
        }
        if let Some(character) = text.chars().find(|c| !is_allowed(*c)) {
            return Err(NameError::Character { example: example(text), name, character });
        }
        if !first.is_ascii_lowercase() {
            return Err(NameError::Beginning(name));
        }
        if text.len() > LONGEST {
            return Err(NameError::Long(name));
        }
        let name = Self(name);
        if TAKEN.contains(&name.library().as_str()) {
            return Err(NameError::Taken(name.0));
        }
        Ok(name)
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || "-_".contains(character)
}

/// `, as in queue-age` for what was written as `QueueAge`, if that is enough to make it a name.
fn example(text: &str) -> String {
    let mut better = String::new();
    let mut after_small = false;
    for character in text.chars() {
        if character.is_ascii_uppercase() && after_small {
            better.push('-');
        }
        after_small = character.is_ascii_lowercase() || character.is_ascii_digit();
        better.push(if " .".contains(character) { '-' } else { character.to_ascii_lowercase() });
    }
    if better.chars().all(is_allowed) && better.parse::<CrateName>().is_ok() {
        format!(", as in {better}")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        text.parse::<CrateName>().unwrap_err().to_string()
    }

    #[test]
    fn a_name_is_that_of_a_package_and_of_a_library() {
        for (text, library) in [("shout", "shout"), ("queue-age", "queue_age"), ("b2_b-3", "b2_b_3")] {
            let name: CrateName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.library().as_str()), (text, library));
        }
    }

    #[test]
    fn a_name_that_cannot_be_is_refused_with_what_would_be_right() {
        assert_eq!(refused(""), "the name is empty; write one such as queue-age");
        assert!(refused("../queue").contains("\"../queue\" is a path; write only the name"));
        assert_eq!(
            refused("QueueAge"),
            "\"QueueAge\" holds 'Q'; use lower-case letters, digits, - and _, as in queue-age"
        );
        assert_eq!(
            refused("queue.wasm"),
            "\"queue.wasm\" holds '.'; use lower-case letters, digits, - and _, as in queue-wasm"
        );
        assert_eq!(refused("größe"), "\"größe\" holds 'ö'; use lower-case letters, digits, - and _");
        assert_eq!(refused("2fast"), "\"2fast\" begins with '2'; begin with a lower-case letter");
        assert_eq!(refused("-x"), "\"-x\" begins with '-'; begin with a lower-case letter");
        assert!(refused(&"a".repeat(65)).contains("longer than 64 characters"));
        for taken in ["fn", "test", "std", "tidegate-guest", "proc-macro"] {
            assert!(refused(taken).contains("choose another name"), "{taken}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_a_plugin_and_one_token_of_a_subject(text in "[a-z0-9_./ A-Z-]{0,12}") {
            if let Ok(name) = text.parse::<CrateName>() {
                prop_assert!(name.as_str().chars().all(is_allowed));
                let toml = format!(
                    r#"
                    [workload.{name}]
                    stream = "S"
                    manage = "create"
                    subjects = ["{name}.>"]
                    handler = "{name}"
                    policy = "STEP"
                    "#,
                    name = name.as_str()
                );
                let config = tidegate_runtime::config::Config::from_toml(&toml);
                prop_assert!(config.is_ok(), "{}", config.unwrap_err());
            }
        }
    }
}
