//! TOML values as the types the program uses.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::document::{Field, Section, wrong_type};
use super::error::{ConfigError, Wrong};
use super::units;
use super::words::Word;

/// What one key may hold.
pub(super) trait Value: Sized {
    /// Reads it.
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong>;
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(wrong_type("a string", other, "write it in quotes")),
        }
    }
}

/// One string or a list of them, in either form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Strings(pub(super) Vec<String>);

impl Value for Strings {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let remedy = "write \"one\" or [\"one\", \"two\"]";
        match value {
            DeValue::String(text) => Ok(Self(vec![text.to_string()])),
            DeValue::Array(items) => {
                let strings = items.iter().map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok(text.to_string()),
                    other => Err(wrong_type("a list of strings", other, remedy)),
                });
                Ok(Self(strings.collect::<Result<_, _>>()?))
            }
            other => Err(wrong_type("a string or a list of strings", other, remedy)),
        }
    }
}

impl Value for i64 {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let DeValue::Integer(integer) = value else {
            let remedy = "write it without quotes and without a fraction, such as 10";
            return Err(wrong_type("an integer", value, remedy));
        };
        integer_value(integer)
            .and_then(|integer| Self::try_from(integer).ok())
            .ok_or_else(|| Wrong::new(format!("{integer} is too large"), "write a smaller integer"))
    }
}

fn integer_value(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

impl Value for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => units::duration(text),
            DeValue::Integer(integer) => Err(wrong_type(
                "a duration",
                value,
                &format!("write it with a unit and in quotes, such as \"{integer}s\" or \"{integer}ms\""),
            )),
            other => Err(wrong_type("a duration", other, "write a string such as \"5s\" or \"250ms\"")),
        }
    }
}

/// Durations, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Durations(pub(super) Vec<Duration>);

impl Value for Durations {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::Array(items) => {
                items.iter().map(|item| Duration::read(item.get_ref())).collect::<Result<_, _>>().map(Self)
            }
            other => Err(wrong_type("a list of durations", other, "write a list such as [\"1s\", \"5s\"]")),
        }
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Default)]
pub(super) struct Size(pub(super) u64);

impl Value for Size {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => units::size(text).map(Self),
            DeValue::Integer(integer) => Err(wrong_type(
                "a size",
                value,
                &format!("write it with a unit and in quotes, such as \"{integer}B\" or \"{integer}MiB\""),
            )),
            other => Err(wrong_type("a size", other, "write a string such as \"64MiB\"")),
        }
    }
}

impl<W: Word> Value for W {
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value {
            DeValue::String(text) => W::parse(text),
            other => {
                let words: Vec<String> = W::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                Err(wrong_type("a string", other, &format!("it can be {}", words.join(", "))))
            }
        }
    }
}

/// What a plugin is told: strings by name. Numbers and booleans are taken as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings(pub(super) BTreeMap<String, String>);

impl Field for Settings {
    fn take(section: &Section<'_>, key: &str, problems: &mut Vec<ConfigError>) -> Self {
        let Some(table) = section.table(key, problems) else { return Self::default() };
        let mut settings = BTreeMap::new();
        for (name, place, value) in table.entries() {
            let text = match value {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(integer) => match integer_value(integer) {
                    Some(integer) => integer.to_string(),
                    None => integer.to_string(),
                },
                DeValue::Float(float) => float.as_str().to_owned(),
                DeValue::Boolean(boolean) => boolean.to_string(),
                other => {
                    problems
                        .push(wrong_type("a string, a number or a boolean", other, "write it as a string").at(&place));
                    continue;
                }
            };
            settings.insert(name, text);
        }
        Self(settings)
    }

    fn over(self, below: Self) -> Self {
        let mut settings = below.0;
        settings.extend(self.0);
        Self(settings)
    }
}
